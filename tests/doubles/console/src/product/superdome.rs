//! The Onboard Administrator of Superdome 2 and Superdome X.
//!
//! Follows: HP Integrity Superdome 2 Onboard Administrator Command Line Interface User Guide, chapter 28,
//! page 176 (one bundle for the complex; the analysis before the update; `REINSTALL`; an update that could harm
//! a running partition is aborted), page 177 (management is not available during an online update of the
//! complex; bundles before 2.2.27 cannot be updated online), and the edition for 16 sockets, page 70 (up to 150 minutes).
//! HPE Integrity Superdome X and Superdome 2 Onboard Administrator Guide for Users, 794237-007, for two
//! modules. What is not in them is in README.md.

use super::Profile;
use super::chassis::{is_downgrade, sure, url, words_of};
use crate::device::Phase;
use crate::job::Restart;
use crate::session::{Draw, Next, Session};
use crate::terminal::{Pager, Stop};
use crate::trouble::Trouble;

pub(super) const X: Profile = Profile {
    name: "superdome-x",
    model: "bl920s-gen9",
    host_name: "sdx-oa1",
    ssh_id: "SSH-2.0-OpenSSH_5.8p1",
    sign_in_banner: super::oa::PROFILE.sign_in_banner,
    idle_farewell: super::oa::PROFILE.idle_farewell,
    pager: Pager { prompt: "--More--", by_line: false },
    parts: &[("complex", "7.6.0"), (BLADE, "7.6.0")],
    sessions: 4,
    two_partitions: false,
    echoes_always: false,
};

pub(super) const TWO: Profile = Profile {
    name: "superdome-2",
    model: "cb900s-i4",
    host_name: "sd2-oa1",
    parts: &[("complex", "3.7.34"), (BLADE, "3.7.34")],
    sign_in_banner: X.sign_in_banner,
    ..X
};

/// The entity that a fault may leave out of an update. All others have the version of the complex.
const BLADE: &str = "Blade 1/3";

const PROTOCOLS: &[&str] = &["http", "https", "ftp", "tftp", "scp", "sftp"];

pub(super) fn welcome(session: &Session) -> String {
    let version = session.device.lock().version("complex");
    format!(
        "\nHPE Integrity Superdome Onboard Administrator\nComplex firmware: {version}\nOA Bay Number:  1\nOA Role:        Active\n\nType 'HELP' to display a list of valid commands.\n\n"
    )
}

pub(super) fn prompt(session: &Session) -> String {
    super::oa::prompt(session)
}

pub(super) async fn run(session: &mut Session, words: &[String]) -> Result<Next, Stop> {
    let upper: Vec<String> = words.iter().map(|word| word.to_ascii_uppercase()).collect();
    let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
    match upper.as_slice() {
        ["EXIT" | "QUIT" | "LOGOUT"] => return Ok(Next::Leave),
        ["UPDATE", "SHOW", "FIRMWARE"] | ["SHOW", "FIRMWARE", ..] => {
            let text = firmware(session);
            let pager = session.device.product.pager();
            session.page(&text, pager).await?;
        }
        ["SHOW", "COMPLEX", "INFO"] => {
            let model = session.device.model.clone();
            session
                .terminal
                .write(&format!("\nComplex Name: complex-1\nProduct: {model}\nStatus: OK\n"))
                .await?;
        }
        ["SHOW", "UPDATE", "STATUS"] => {
            let text = status(session);
            session.terminal.write(&text).await?;
        }
        ["SET", "SCRIPT", "MODE", on @ ("ON" | "OFF")] => {
            session.mode = if *on == "ON" { "script".to_owned() } else { String::new() };
            session.terminal.write(&format!("SCRIPT MODE set to {on}.\n")).await?;
        }
        ["UPDATE", "FIRMWARE", _, rest @ ..] => {
            let reinstall = rest.contains(&"REINSTALL");
            let bundle = words.get(2).map_or("", String::as_str);
            if let Err(trouble) = update(session, bundle, reinstall).await? {
                session.terminal.write(&words_of(&trouble, "complex")).await?;
            }
        }
        _ => session.terminal.write("\nInvalid command. Type 'HELP' for a list of commands.\n").await?,
    }
    Ok(Next::Prompt)
}

fn firmware(session: &Session) -> String {
    let (version, blade) = {
        let state = session.device.lock();
        (state.version("complex"), state.version(BLADE))
    };
    let row = |bay: u8| {
        let name = format!("Blade 1/{bay}");
        let version = if name == BLADE { &blade } else { &version };
        format!("{name}   {version}\n")
    };
    let rows: String = (1..=8).map(row).collect();
    let modules = format!(
        "OA 1/1      {version}\nOA 1/2      {version}\nGPSM 1/1    {version}\nXFM 1/1     {version}\n"
    );
    format!("\nConfigured complex firmware version: {version}\n\nFirmware on entities:\n{modules}{rows}")
}

fn status(session: &Session) -> String {
    match &session.device.lock().update {
        None => "No firmware update has been run.\n".to_owned(),
        Some(update) => {
            let word = match update.phase {
                Phase::Done => "Completed",
                Phase::Failed => "Failed",
                Phase::Fetching | Phase::Writing | Phase::Written | Phase::Restarting | Phase::Committing => {
                    "In progress"
                }
            };
            format!("Firmware update to {}: {word} {}%\n", update.version, update.percent)
        }
    }
}

async fn update(session: &mut Session, bundle: &str, reinstall: bool) -> Result<Result<(), Trouble>, Stop> {
    if let Err(trouble) = session.gate() {
        return Ok(Err(trouble));
    }
    let Some(remote) = url(bundle, PROTOCOLS) else {
        return Ok(Err(Trouble::Transfer("no URL".to_owned())));
    };
    session.terminal.write("\nDownloading firmware bundle...\n").await?;
    let header = match session.image(&remote, "complex").await {
        Ok(header) => header,
        Err(trouble) => return Ok(Err(trouble)),
    };
    let runs = session.device.lock().version("complex");
    session.terminal.write("Analyzing...\n").await?;
    if header.version == runs && !reinstall {
        session.terminal.write("\nAll entities are at the revision of the bundle. Nothing to do.\n").await?;
        return Ok(Ok(()));
    }
    let kind = if is_downgrade(&header.version, &runs) { "downgraded" } else { "updated" };
    let modules = session.device.has(&crate::fault::Fault::StandbyRefuses);
    if modules {
        return Ok(Err(Trouble::Standby));
    }
    let question = format!(
        "\nThe complex will be {kind} from {runs} to {}.\nManagement is not available during the update.\nDo you want to continue? (YES/NO) ",
        header.version
    );
    if !sure(session, &question).await? || !session.second_prompt().await? {
        return Ok(Err(Trouble::Declined));
    }
    session.begin(&["complex", BLADE], header, Restart::Device, false);
    if let Err(trouble) = session.watch(Draw::Bar).await? {
        return Ok(Err(trouble));
    }
    session.terminal.write("Firmware update of all entities finished. The OA restarts.\n").await?;
    Ok(Ok(()))
}
