//! The iLO Chassis Manager of a Moonshot 1500, by its command line.
//!
//! Follows: HP iLO Chassis Management IPMI User Guide, 742544-003, and HP `RESTful` API Data Model Reference for
//! Moonshot Chassis Manager, 802725-001a, for what is in a chassis (manager, two switches, cartridges). No page of
//! its command line guide was to be had. `show node list`, with the echo of the command that comes even without a
//! terminal, is as MAAS has it from a real one (`provisioningserver/drivers/hardware/mscm.py`, its examples of
//! output). The commands for firmware are assumptions, all of them in README.md.

use super::Profile;
use super::chassis::{sure, url, words_of};
use crate::job::Restart;
use crate::session::{Draw, Next, Session};
use crate::terminal::{Pager, Stop};
use crate::trouble::Trouble;

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
    echoes_always: true,
};

pub(super) fn welcome(session: &Session) -> String {
    let version = session.device.lock().version("cm");
    format!(
        "User:{} logged-in to ILOCM (127.0.0.1)\niLO Chassis Manager {version} at Nov 12 2014\nServer Name: moonshot\n\n",
        session.user
    )
}

pub(super) fn prompt(session: &Session) -> String {
    format!("{}-> ", session.device.host_name())
}

pub(super) async fn run(session: &mut Session, words: &[String]) -> Result<Next, Stop> {
    let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    match lower.as_slice() {
        ["exit" | "quit"] => {
            session.terminal.write("\nCLI session stopped\n").await?;
            return Ok(Next::Leave);
        }
        ["show", "firmware", ..] | ["show", "chassis", "firmware"] => {
            let rows: String = session
                .device
                .lock()
                .parts
                .iter()
                .map(|part| format!("{:<14} {}\n", part.name, part.version))
                .collect();
            let text = format!("Component      Version\n-------------- ----------\n{rows}\n");
            session.page(&text, PROFILE.pager).await?;
        }
        ["show", "chassis", "info"] => {
            session.terminal.write("Product Name: Moonshot 1500 Chassis\nHealth: OK\n\n").await?;
        }
        ["show", "node", "list"] => {
            let text = "Slot ID    Proc Manufacturer      Architecture         Memory Power Health\n---- ----- ---------------------- -------------------- ------ ----- ------\n 01  c1n1  Intel Corporation      x86 Architecture     32 GB  On    OK \n\n";
            session.terminal.write(text).await?;
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
                session.terminal.write(&words).await?;
            }
        }
        _ => {
            session.terminal.write("Invalid command.\n\n").await?;
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
    session.terminal.write("Downloading...\n").await?;
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
