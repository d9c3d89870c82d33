//! The iLO Chassis Manager of a Moonshot 1500, by its command line.
//!
//! Follows: HP iLO Chassis Management IPMI User Guide, 742544-003, and HP `RESTful` API Data Model Reference for
//! Moonshot Chassis Manager, 802725-001a, for what is in a chassis (manager, two switches, cartridges). No
//! page of its command line guide was to be had: the commands are assumptions, all of them in README.md.

use super::Profile;
use super::chassis::{sure, url, words_of};
use crate::job::Restart;
use crate::session::{Draw, Next, Session, Trouble};
use crate::terminal::{Pager, Stop};

pub(super) const PROFILE: Profile = Profile {
    name: "moonshot",
    model: "moonshot-1500",
    host_name: "hpiLO",
    ssh_id: "SSH-2.0-mpSSH_0.2.1",
    sign_in_banner: None,
    idle_farewell: "\nCLI session stopped\n",
    pager: Pager { prompt: "-- more -- (q to quit)", by_line: false },
    parts: &[("cm", "1.30"), ("switch-a", "2.0.3.0"), ("switch-b", "2.0.3.0"), ("cartridge-1", "1.0.2")],
    sessions: 4,
    two_partitions: false,
};

pub(super) fn welcome(session: &Session) -> String {
    let version = session.device.lock().version("cm");
    format!(
        "User:{} logged-in to ILOCM (127.0.0.1)\niLO Chassis Manager {version} at Nov 12 2014\nServer Name: moonshot\n\n",
        session.user
    )
}

/// Inside a component (`cd`) the prompt has its name.
pub(super) fn prompt(session: &Session) -> String {
    let place = if session.mode.is_empty() { String::new() } else { format!("/{}", session.mode) };
    format!("{place}</>{}-> ", session.device.host_name())
}

pub(super) async fn run(session: &mut Session, words: &[String]) -> Result<Next, Stop> {
    let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    match lower.as_slice() {
        ["exit" | "quit"] => {
            session.terminal.write("\nCLI session stopped\n").await?;
            return Ok(Next::Leave);
        }
        ["cd", place] => place.trim_matches('/').clone_into(&mut session.mode),
        ["show", "firmware", ..] | ["show", "chassis", "firmware"] => {
            let rows: String = session
                .device
                .lock()
                .parts
                .iter()
                .map(|part| format!("{:<14} {}\n", part.name, part.version))
                .collect();
            let text =
                format!("\nstatus=0\nstatus_tag=COMMAND COMPLETED\n\nComponent      Version\n{rows}\n");
            session.page(&text, PROFILE.pager).await?;
        }
        ["show", "chassis", "info"] => {
            session.terminal.write("\nstatus=0\nstatus_tag=COMMAND COMPLETED\n\nProduct Name: Moonshot 1500 Chassis\nHealth: OK\n\n").await?;
        }
        ["show", "update"] => {
            let text = match &session.device.lock().update {
                Some(update) => format!("update: {:?} {}%\n", update.phase, update.percent),
                None => "update: Idle\n".to_owned(),
            };
            session.terminal.write(&text).await?;
        }
        ["update", "firmware", part, ..] => {
            let outcome = update(session, part, words.last().map_or("", String::as_str)).await?;
            if let Err(trouble) = outcome {
                let words = words_of(&trouble, "chassis");
                session
                    .terminal
                    .write(&format!("\nstatus=2\nstatus_tag=COMMAND PROCESSING FAILED\n{words}"))
                    .await?;
            }
        }
        _ => {
            session
                .terminal
                .write(
                    "\nstatus=2\nstatus_tag=COMMAND PROCESSING FAILED\nerror_tag=COMMAND NOT RECOGNIZED\n\n",
                )
                .await?;
        }
    }
    Ok(Next::Prompt)
}

async fn update(session: &mut Session, part: &str, word: &str) -> Result<Result<(), Trouble>, Stop> {
    if let Err(trouble) = session.gate() {
        return Ok(Err(trouble));
    }
    let known = session.device.lock().part(part).is_some();
    let Some(remote) = url(word, &["http", "https", "ftp", "tftp", "scp"]).filter(|_| known) else {
        return Ok(Err(Trouble::Transfer("no such component, or no URL".to_owned())));
    };
    session.terminal.write("\nstatus=0\nstatus_tag=COMMAND SPAWNED\n\nDownloading...\n").await?;
    let header = match session.image(&remote, part).await {
        Ok(header) => header,
        Err(trouble) => return Ok(Err(trouble)),
    };
    if part.starts_with("switch") && session.device.has(&crate::fault::Fault::StandbyRefuses) {
        return Ok(Err(Trouble::Standby));
    }
    let question = "The component will be reset to activate the firmware. Continue (y/n)? ";
    if !sure(session, question).await? || !session.second_prompt().await? {
        return Ok(Err(Trouble::Declined));
    }
    let restart = if part == "cm" { Restart::Device } else { Restart::Module };
    session.begin(&[part], header, restart, false);
    if let Err(trouble) = session.watch(Draw::Bar).await? {
        return Ok(Err(trouble));
    }
    session.terminal.write("\nUpdate complete. Resetting the component.\n").await?;
    Ok(Ok(()))
}
