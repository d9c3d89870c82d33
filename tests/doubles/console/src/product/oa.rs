//! The Onboard Administrator of a `BladeSystem` c7000.
//!
//! Follows: HP `BladeSystem` Onboard Administrator Command Line Interface User Guide, 695523-005: page 17 for
//! what the three access levels may, page 35 for URLs (HTTP, FTP and TFTP, `ftp://user:password@host/path`,
//! IPv6 in brackets) and FIPS mode; an earlier edition (Xw460c, page 24) for the session time-out of 10 to
//! 1440 minutes; Onboard Administrator User Guide 695522-006 for active and standby modules. That commands
//! for other programs begin with `SET SCRIPT MODE ON`, and that prompts end in `> `, is how Oxidized works with
//! real ones (`lib/oxidized/model/hpebladesystem.rb`); `SHOW OA INFO`, `SHOW OA STATUS`, the prompt in script mode and
//! the refusal of a standby module are as published sessions show them, and that `UPDATE IMAGE` asks nothing without a
//! terminal and says that it flashes the active module is how bmclib works with real ones. What is not in them is in README.md.

use super::chassis::{is_downgrade, sure, url, words_of};
use super::{Product, Profile};
use crate::device::Device;
use crate::fault::Fault;
use crate::job::Restart;
use crate::session::{Draw, Next, Session};
use crate::terminal::{Pager, Stop};
use crate::trouble::Trouble;

pub(super) const PROFILE: Profile = Profile {
    name: "oa",
    model: "c7000",
    host_name: "OA-0016355E560A",
    ssh_id: "SSH-2.0-OpenSSH_6.6.1p1",
    sign_in_banner: Some(
        "\n-----------------------------------------------------------------------------\nWARNING: This is a private system.  Do not attempt to login unless you are an\nauthorized user.  Any access and use may be monitored and can result in\ncriminal or civil prosecution under applicable law.\n-----------------------------------------------------------------------------\n\n",
    ),
    idle_farewell: "\nThe session has timed out.\n",
    pager: Pager { prompt: "\u{1b}[7m--More--\u{1b}[0m", by_line: false },
    parts: &[("oa-1", "4.60"), ("oa-2", "4.60")],
    sessions: 4,
    two_partitions: false,
    echoes_always: false,
};

const PROTOCOLS: &[&str] = &["http", "https", "ftp", "tftp"];

pub(super) fn welcome(session: &Session) -> String {
    let state = session.device.lock();
    format!(
        "Firmware Version: {}\nBuilt: 07/27/2016 @ 08:14 OS: Linux 3.10.73\nOA Bay Number:  {}\nOA Role:        {}\n\n\nHPE BladeSystem Onboard Administrator\n\nType 'HELP' to display a list of valid commands.\nType 'HELP <command>' to display detailed information about a specific command.\n\n\n",
        state.version(active(state.active)),
        if session.on_standby { 3 - state.active } else { state.active },
        if session.on_standby { "Standby" } else { "Active" }
    )
}

/// The modules that take an image: the active one, and the standby unless it refuses.
pub(crate) fn takers(device: &Device) -> Vec<&'static str> {
    let refuses = device.has(&Fault::StandbyRefuses);
    let state = device.lock();
    if state.settings.standby && !refuses { vec!["oa-1", "oa-2"] } else { vec![active(state.active)] }
}

pub(crate) const fn active(bay: u8) -> &'static str {
    if bay == 1 { "oa-1" } else { "oa-2" }
}

pub(super) fn prompt(session: &Session) -> String {
    let mode = if session.mode == "script" { " [SCRIPT MODE]" } else { "" };
    format!("\n{}{mode}> ", session.device.host_name())
}

pub(super) fn no_place(holder: &str) -> String {
    format!("\nThe maximum number of sessions has been reached ({holder}).\n")
}

pub(super) async fn run(session: &mut Session, words: &[String]) -> Result<Next, Stop> {
    let upper: Vec<String> = words.iter().map(|word| word.to_ascii_uppercase()).collect();
    let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
    let standby = session.on_standby;
    let answer = match upper.as_slice() {
        ["EXIT" | "QUIT" | "LOGOUT"] => return Ok(Next::Leave),
        ["SHOW" | "UPDATE" | "FORCE" | "CONNECT", ..] if standby => {
            "\nNot a valid request while running in standby mode.\n".to_owned()
        }
        ["SHOW", "OA", "INFO", which @ ..] => oa_info(session, which),
        ["SHOW", "OA", "STATUS", which @ ..] => oa_status(session, which),
        ["SHOW", "FIRMWARE", "SUMMARY"] | ["SHOW", "FIRMWARE"] => return summary(session).await,
        ["SHOW", "FIPS", "MODE"] => format!("FIPS Mode is {}\n", mode_word(session)),
        ["SHOW", "ENCLOSURE", "INFO"] => {
            "\nEnclosure Information:\n        Enclosure Name: c7000-1\n        Enclosure Type: BladeSystem c7000 Enclosure G3\n".to_owned()
        }
        ["SHOW", "INTERCONNECT", "LIST"] => interconnects(session),
        ["CONNECT", "INTERCONNECT", bay] => match session.device.interconnect(bay) {
            Some(module) => {
                session.connect(bay, &module).await?;
                String::new()
            }
            None => "\nThe specified bay is empty.\n".to_owned(),
        },
        ["SET", "SCRIPT", "MODE", on @ ("ON" | "1" | "OFF" | "0")] => {
            session.mode = if matches!(*on, "ON" | "1") { "script".to_owned() } else { String::new() };
            format!("SCRIPT MODE set to {}.\n", if session.mode.is_empty() { "OFF" } else { "ON" })
        }
        ["FORCE", "TAKEOVER"] => return takeover(session).await,
        ["UPDATE", "IMAGE", "SYNC"] => return told(update_standby(session).await?, session).await,
        ["UPDATE", "IMAGE", ..] => {
            let remote = words.last().and_then(|word| url(word, PROTOCOLS));
            match remote {
                Some(remote) => return told(update(session, &remote).await?, session).await,
                None => "\nInvalid Arguments\n\nUPDATE IMAGE { SYNC | <url> }\n".to_owned(),
            }
        }
        ["HELP", ..] => {
            "\nCLEAR | CONNECT | EXIT | FORCE | HELP | QUIT | SET | SHOW | UPDATE\n".to_owned()
        }
        _ => "\nInvalid command. Type 'HELP' for a list of commands.\n".to_owned(),
    };
    session.terminal.write(&answer).await?;
    Ok(Next::Prompt)
}

async fn told(outcome: Result<(), Trouble>, session: &mut Session) -> Result<Next, Stop> {
    if let Err(trouble) = outcome {
        session.terminal.write(&words_of(&trouble, "Onboard Administrator")).await?;
    }
    Ok(Next::Prompt)
}

fn mode_word(session: &Session) -> String {
    let mode = session.device.lock().settings.mode.clone();
    if mode == "FIPS" { "On".to_owned() } else { "Off".to_owned() }
}

/// The bays that a command means.
fn bays(session: &Session, which: &[&str]) -> Vec<u8> {
    let state = session.device.lock();
    let is_away = |bay: u8| {
        let is_it = |fault: &Fault| matches!(fault, Fault::ModuleAway { part } if part == active(bay));
        state.update.is_some() && state.faults.look(|fault| is_it(fault).then_some(())).is_some()
    };
    let there = |bay: u8| (bay == state.active || state.settings.standby) && !is_away(bay);
    let wanted: Vec<u8> = match which {
        ["1"] => vec![1],
        ["2"] => vec![2],
        ["ALL"] => vec![1, 2],
        _ => vec![state.active],
    };
    wanted.into_iter().filter(|bay| there(*bay)).collect()
}

fn oa_info(session: &Session, which: &[&str]) -> String {
    let info = |bay: u8| {
        let version = session.device.lock().version(active(bay));
        format!(
            "\nOnboard Administrator #{bay} information:\n        Product Name  : BladeSystem c7000 DDR2 Onboard Administrator with KVM\n        Part Number   : 456204-B21\n        Spare Part No.: 503826-001\n        Serial Number : OB94BP123{bay}\n        UUID          : 09OB94BP123{bay}\n        Manufacturer  : HP\n        Firmware Ver. : {version} Jul 27 2016\n        Hw Board Type : 2\n        Hw Version    : B1\n        Loader Version: U-Boot 1.2.0 (Aug 24 2011 - 14:22:07)\n"
        )
    };
    bays(session, which).into_iter().map(info).collect()
}

fn oa_status(session: &Session, which: &[&str]) -> String {
    let status = |bay: u8| {
        let state = session.device.lock();
        let role = if bay == state.active { "Active" } else { "Standby" };
        let same = state.version("oa-1") == state.version("oa-2") || !state.settings.standby;
        let word = if same { "OK" } else { "Degraded" };
        let match_word = if same { "OK" } else { "Mismatch" };
        format!(
            "\nOnboard Administrator #{bay} Status:\n\tName:   {}-{bay}\n\tRole:   {role}\n\tUID:    Off\n\tStatus: {word}\n\tDiagnostic Status:\n                Internal Data                            OK\n                Firmware Mismatch                        {match_word}\n",
            PROFILE.host_name
        )
    };
    bays(session, which).into_iter().map(status).collect()
}

/// What is in the interconnect bays.
fn interconnects(session: &Session) -> String {
    let row = |(bay, module): (&u8, &std::sync::Arc<crate::device::Device>)| {
        let kind = match module.product {
            Product::Vc => "Ethernet",
            Product::SasSwitch => "SAS",
            Product::Fos | Product::Director => "Fibre Channel",
            Product::Oa | Product::Moonshot | Product::SuperdomeX | Product::Superdome2 => "Unknown",
        };
        let address = module.source.get().map_or_else(|| "0.0.0.0".to_owned(), ToString::to_string);
        format!("{bay:3} {kind:<17} {:<20} On      OK         Off {address}\n", "HP")
    };
    let rows: String = session.device.interconnects.get().into_iter().flatten().map(row).collect();
    format!(
        "\nBay Interconnect Type Manufacturer         Power   Health     UID Management IP\n--- ----------------- -------------------- ------- ---------- --- ---------------\n{rows}"
    )
}

async fn summary(session: &mut Session) -> Result<Next, Stop> {
    let row = |bay: u8| {
        let version = session.device.lock().version(active(bay));
        format!("{bay}    BladeSystem c7000 DDR2 Onboard Administrator w/KVM {version}\n")
    };
    let modules: String = bays(session, &["ALL"]).into_iter().map(row).collect();
    let blades: String = (1..=16)
        .map(|bay| format!("{bay:<4} ProLiant BL460c Gen9\n       System ROM   I36 09/12/2016\n       iLO4         2.54 Jun 15 2017\n"))
        .collect();
    let text = format!(
        "\nEnclosure Firmware Summary\n\nOnboard Administrator Firmware Information\n\nBay  Model                                              Firmware Version\n---  -------------------------------------------------- ----------------\n{modules}\nDevice Firmware Information\n\n{blades}"
    );
    session.page(&text, PROFILE.pager).await?;
    Ok(Next::Prompt)
}

async fn takeover(session: &mut Session) -> Result<Next, Stop> {
    if !session.device.settings().standby {
        session.terminal.write("\nThere is no redundant Onboard Administrator.\n").await?;
        return Ok(Next::Prompt);
    }
    if sure(session, "\nAre you sure you want to force the standby to become active? (YES/NO) ").await? {
        {
            let mut state = session.device.lock();
            state.active = 3 - state.active;
        }
        crate::job::restart(&session.device, "takeover");
    }
    Ok(Next::Prompt)
}

async fn update(session: &mut Session, remote: &crate::fetch::Remote) -> Result<Result<(), Trouble>, Stop> {
    if let Err(trouble) = session.gate() {
        return Ok(Err(trouble));
    }
    let own = active(session.device.lock().active);
    session.terminal.write("\nDownloading image...\n").await?;
    let header = match session.image(remote, own).await {
        Ok(header) => header,
        Err(trouble) => return Ok(Err(trouble)),
    };
    let settings = session.device.settings();
    let runs = session.device.lock().version(own);
    if settings.mode == "FIPS" && is_downgrade(&header.version, &runs) {
        return Ok(Err(Trouble::Mode("FIPS".to_owned())));
    }
    session.terminal.write(&format!("Image version: {}\nVerifying image... OK\n", header.version)).await?;
    let question = "\nThe Onboard Administrator will restart after the update.\nAre you sure you want to update the firmware? (YES/NO) ";
    if !sure(session, question).await? || !session.second_prompt().await? {
        return Ok(Err(Trouble::Declined));
    }
    let parts = takers(&session.device);
    if settings.standby && parts.len() == 1 {
        session
            .terminal
            .write("\nThe Standby Onboard Administrator does not respond and is not updated.\n")
            .await?;
    }
    session.terminal.write("\nFlashing Active Onboard Administrator: ").await?;
    session.begin(&parts, header, Restart::Device, false);
    if let Err(trouble) = session.watch(Draw::Percent).await? {
        return Ok(Err(trouble));
    }
    session.terminal.write("Flash complete. Restarting Onboard Administrator...\n").await?;
    Ok(Ok(()))
}

/// The standby gets the firmware of the active one.
async fn update_standby(session: &mut Session) -> Result<Result<(), Trouble>, Stop> {
    if let Err(trouble) = session.gate() {
        return Ok(Err(trouble));
    }
    let (other, version, there) = {
        let state = session.device.lock();
        (active(3 - state.active), state.version(active(state.active)), state.settings.standby)
    };
    if !there || session.device.has(&Fault::StandbyRefuses) {
        return Ok(Err(Trouble::Standby));
    }
    session.terminal.write("\nSynchronizing Standby Onboard Administrator: ").await?;
    session.begin(&[other], crate::image::Header::new("oa", &version), Restart::Module, false);
    if let Err(trouble) = session.watch(Draw::Percent).await? {
        return Ok(Err(trouble));
    }
    session.terminal.write("The standby is restarting.\n").await?;
    Ok(Ok(()))
}
