//! Virtual Connect Manager, by its command line.
//!
//! Follows: HP Virtual Connect Manager Command Line Interface for c-Class `BladeSystem`, 449298-001, page 6, for
//! the prompt `->`, case, and the form `subcommand element parameters properties`; HP Virtual Connect for
//! c-Class `BladeSystem` Version 3.00 Setup and Installation Guide, page 77, for the privilege `domain`, which may
//! update firmware; HP SUM's note "`hpsum_vcfw_upgrade_fails`" (2013.02) for the refusal when the domain's health
//! is not good. HPE moved updates to the utility VCSU later. What is not in them is in README.md.

use super::Profile;
use super::chassis::{url, words_of};
use crate::device::{Phase, State};
use crate::fault::Fault;
use crate::job::Restart;
use crate::session::{Draw, Next, Session};
use crate::terminal::{Pager, Stop};
use crate::trouble::Trouble;

pub(super) const PROFILE: Profile = Profile {
    name: "vc",
    model: "flex-10-10d",
    host_name: "vc",
    ssh_id: "SSH-2.0-OpenSSH_6.0",
    sign_in_banner: None,
    idle_farewell: "\nSession timed out.\n",
    pager: Pager { prompt: "Press any key to continue (Q to quit)...", by_line: false },
    parts: &[("enc0:1", "4.45"), ("enc0:2", "4.45")],
    sessions: 4,
    two_partitions: false,
    echoes_always: false,
};

const RULE: &str = "-------------------------------------------------------------------------------";

pub(super) fn welcome(session: &Session) -> String {
    let version = session.device.lock().version("enc0:1");
    format!(
        "{RULE}\nHP Virtual Connect Management CLI v{version}\nBuild: {version}-6 (r312858) Jul 14 2015 10:11:12\n(C) Copyright 2006-2015 Hewlett-Packard Development Company, L.P.\nAll Rights Reserved\n{RULE}\n\n\nGETTING STARTED:\n\nhelp           : displays a list of available subcommands\nexit           : quits the command shell\n<subcommand> ? : displays a list of managed elements for a subcommand\n\n\n"
    )
}

pub(super) async fn run(session: &mut Session, words: &[String]) -> Result<Next, Stop> {
    let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let text = match lower.as_slice() {
        ["exit" | "quit"] => return Ok(Next::Leave),
        ["show", "version"] => {
            format!(
                "\nHP Virtual Connect Management CLI v{}\nBuild: {}-6 (r312858)\n",
                runs(session),
                runs(session)
            )
        }
        ["show", "firmware", ..] => firmware(session),
        ["show", "domain" | "status", ..] => format!(
            "\nDomain Name       : vc_domain\nDomain Status     : {}\nSecurity Mode     : {}\n",
            health(session),
            session.device.lock().settings.mode
        ),
        ["show", "interconnect", ..] => interconnects(session),
        ["update", "firmware", ..] => {
            if let Err(trouble) = update(session, words).await? {
                let said = words_of(&trouble, "Virtual Connect domain");
                session.terminal.write(&format!("ERROR: {}", said.trim_start())).await?;
            }
            return Ok(Next::Prompt);
        }
        ["reset", "vcm", ..] => {
            crate::job::restart(&session.device, "reset vcm");
            "SUCCESS: VCM will be reset\n".to_owned()
        }
        ["help", ..] => "add | copy | exit | help | remove | reset | set | show | update\n".to_owned(),
        _ => "ERROR: Invalid command syntax\n".to_owned(),
    };
    let pager = PROFILE.pager;
    session.page(&text, pager).await?;
    Ok(Next::Prompt)
}

fn runs(session: &Session) -> String {
    session.device.lock().version("enc0:1")
}

/// Whether the module is away, because it starts new firmware.
fn is_away(state: &State, module: &str) -> bool {
    state.update.as_ref().is_some_and(|update| {
        let restarts = matches!(update.phase, Phase::Written | Phase::Restarting);
        restarts && update.parts.iter().any(|part| part == module)
    })
}

fn health(session: &Session) -> &'static str {
    let mut state = session.device.lock();
    let bad = |fault: &Fault| (*fault == Fault::PartnerUnhealthy).then_some(());
    let away = state.parts.iter().any(|part| is_away(&state, &part.name));
    // One that is switched on for one time passes once it was seen.
    if state.faults.take(bad).is_some() || away { "Degraded" } else { "OK" }
}

fn firmware(session: &Session) -> String {
    let rows: String = session
        .device
        .lock()
        .parts
        .iter()
        .map(|part| format!("{:<9} HP VC Flex-10/10D Module        {:<18} OK\n", part.name, part.version))
        .collect();
    format!("\nID        Type                           Firmware Version   Status\n{RULE}\n{rows}")
}

/// Both modules with their links, which are gone while one restarts.
fn interconnects(session: &Session) -> String {
    let state = session.device.lock();
    let row = |bay: u8| {
        let role = if bay == state.active { "Primary" } else { "Backup" };
        let away = is_away(&state, &format!("enc0:{bay}"));
        let (status, links) = if away { ("Unknown", "Not connected") } else { ("OK", "Connected") };
        format!("enc0:{bay}    c7000-1    {bay}    {role:<8} {status:<8} {links}\n")
    };
    format!("\nID        Enclosure  Bay  Role     Status   Connectivity\n{RULE}\n{}{}", row(1), row(2))
}

/// `update firmware url=URL [module=enc0:1]`; without a module both sides are updated, one after the other.
async fn update(session: &mut Session, words: &[String]) -> Result<Result<(), Trouble>, Stop> {
    if let Err(trouble) = session.gate() {
        return Ok(Err(trouble));
    }
    let mode = session.device.lock().settings.mode.clone();
    if mode == "CNSA" {
        return Ok(Err(Trouble::Mode(mode)));
    }
    let property = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    let Some(remote) = property("url=").and_then(|word| url(word, &["ftp", "tftp", "scp", "sftp", "http"]))
    else {
        return Ok(Err(Trouble::Transfer("no URL".to_owned())));
    };
    let module = property("module=").unwrap_or_default().to_owned();
    let parts: &[&str] = match module.as_str() {
        "" => &["enc0:1", "enc0:2"],
        "enc0:1" => &["enc0:1"],
        "enc0:2" => &["enc0:2"],
        _ => return Ok(Err(Trouble::WrongModel)),
    };
    if parts.contains(&"enc0:2") && session.device.has(&Fault::StandbyRefuses) {
        return Ok(Err(Trouble::Standby));
    }
    let header = match session.image(&remote, "enc0:1").await {
        Ok(header) => header,
        Err(trouble) => return Ok(Err(trouble)),
    };
    session.terminal.write("WARNING: The modules are reset, which interrupts their traffic.\n").await?;
    let answer = session.terminal.ask("Are you sure you want to continue (yes, no): ").await?;
    if answer != "yes" || !session.second_prompt().await? {
        return Ok(Err(Trouble::Declined));
    }
    let restart = if parts.contains(&"enc0:1") { Restart::Device } else { Restart::Module };
    session.begin(parts, header, restart, false);
    if let Err(trouble) = session.watch(Draw::Bar).await? {
        return Ok(Err(trouble));
    }
    session.terminal.write("SUCCESS: Firmware updated; the modules are being activated\n").await?;
    Ok(Ok(()))
}
