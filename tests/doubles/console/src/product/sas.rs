//! A 6Gb SAS switch of a `BladeSystem`.
//!
//! No page of its guide with a command was to be had (HP 6Gb SAS BL Switch, Virtual SAS Manager): the commands
//! are assumptions, all of them in README.md. That it has no IPv6 is from HP SUM's online help.

use super::Profile;
use super::chassis::{url, words_of};
use crate::fault::Fault;
use crate::job::Restart;
use crate::session::{Draw, Next, Session};
use crate::terminal::{Pager, Stop};
use crate::trouble::Trouble;

pub(super) const PROFILE: Profile = Profile {
    name: "sas-switch",
    model: "6gb-sas-bl",
    host_name: "switch",
    ssh_id: "SSH-2.0-dropbear_0.50",
    sign_in_banner: None,
    idle_farewell: "\nInactivity timeout\n",
    pager: Pager { prompt: "--More--", by_line: false },
    parts: &[("sas-switch", "2.2.15.0")],
    sessions: 1,
    two_partitions: false,
    echoes_always: false,
};

pub(super) fn welcome(session: &Session) -> String {
    format!("\nHP 6Gb SAS BL Switch\nFirmware {}\n\n", session.device.lock().version("sas-switch"))
}

/// Commands that change something are in a mode of their own.
pub(super) fn prompt(session: &Session) -> String {
    if session.mode == "config" { "switch(config)# ".to_owned() } else { "switch> ".to_owned() }
}

/// The switch has one session.
pub(super) fn no_place(holder: &str) -> String {
    format!("\nThe switch is in use by {holder}. Try again later.\n")
}

pub(super) async fn run(session: &mut Session, words: &[String]) -> Result<Next, Stop> {
    let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let config = session.mode == "config";
    let text = match lower.as_slice() {
        ["exit"] if config => {
            session.mode = String::new();
            String::new()
        }
        ["exit" | "quit" | "logout"] => return Ok(Next::Leave),
        ["configure"] => {
            "config".clone_into(&mut session.mode);
            String::new()
        }
        ["show", "version"] => {
            format!(
                "Firmware version: {}\nHardware: 6Gb SAS BL Switch\n",
                session.device.lock().version("sas-switch")
            )
        }
        ["show", "status"] => {
            let bad = |fault: &Fault| (*fault == Fault::PartnerUnhealthy).then_some(());
            let partner = if session.device.lock().faults.take(bad).is_some() { "FAILED" } else { "OK" };
            format!("Switch: OK\nPartner: {partner}\n")
        }
        ["show", "zonegroups"] => {
            let text: String = (1..60).map(|n| format!("zonegroup-{n}  active\n")).collect();
            session.page(&text, PROFILE.pager).await?;
            String::new()
        }
        ["firmware", "update", ..] if config => {
            if let Err(trouble) = update(session, words.last().map_or("", String::as_str)).await? {
                let said = words_of(&trouble, "switch");
                session.terminal.write(&format!("% {}", said.trim_start())).await?;
            }
            String::new()
        }
        ["reset"] if config => {
            crate::job::restart(&session.device, "reset");
            "Resetting...\n".to_owned()
        }
        ["firmware" | "reset", ..] => "% Command is available in configuration mode only\n".to_owned(),
        _ => "% Unknown command\n".to_owned(),
    };
    session.terminal.write(&text).await?;
    Ok(Next::Prompt)
}

async fn update(session: &mut Session, word: &str) -> Result<Result<(), Trouble>, Stop> {
    if let Err(trouble) = session.gate() {
        return Ok(Err(trouble));
    }
    // Neither in its own address nor in a URL.
    let remote = url(word, &["http", "ftp", "tftp"]).filter(|remote| !remote.host.starts_with('['));
    let Some(remote) = remote else { return Ok(Err(Trouble::Transfer("no URL with IPv4".to_owned()))) };
    let header = match session.image(&remote, "sas-switch").await {
        Ok(header) => header,
        Err(trouble) => return Ok(Err(trouble)),
    };
    if session.device.has(&Fault::StandbyRefuses) {
        return Ok(Err(Trouble::Standby));
    }
    let answer = session.terminal.ask("Paths through this switch are interrupted. Proceed? [y/N] ").await?;
    if !answer.eq_ignore_ascii_case("y") || !session.second_prompt().await? {
        return Ok(Err(Trouble::Declined));
    }
    session.terminal.write("Writing flash: ").await?;
    session.begin(&["sas-switch"], header, Restart::Device, false);
    if let Err(trouble) = session.watch(Draw::Percent).await? {
        return Ok(Err(trouble));
    }
    session.terminal.write("Done. The switch restarts.\n").await?;
    Ok(Ok(()))
}
