//! A Brocade switch with Fabric OS, and a director, which has two control processors.
//!
//! Follows: Brocade, Fabric OS Administrator's Guide, 53-1001763-02 (6.4), pages 190 and 194, and
//! 53-1002446-01 (7.0.1), page 192, for the two partitions, their exchange by an HA reboot, the automatic
//! commit, FTP, SFTP and SCP, and `release.plist`; Dell's edition for the M6505, page 18, for the questions that
//! `firmwaredownload` asks when it has no operands or wrong ones; Fabric OS Administrator's Guide
//! 53-0000518-09, page 4-7, for the fields of `version`; Fabric OS Command Reference 53-1001337-01
//! (6.3), page 305, for `firmwarecommit` and `firmwarerestore`. The texts of `firmwaredownload`, of its status and of
//! `firmwareshow` are as sessions show them that users of 6.0 to 9.2 have published. The rest is in README.md.

pub(crate) mod director;
mod operands;

use std::fmt::Write as _;

pub(super) use self::director::PROFILE as DIRECTOR;
pub(super) use self::operands::blotted;

use self::operands::{Wanted, interview, operands, yes};
use super::{Product, Profile};
use crate::device::Phase;
use crate::fetch::{Remote, fetch};
use crate::image::Header;
use crate::job::{self, Restart};
use crate::session::{Draw, Next, Session};
use crate::terminal::{Pager, Stop};
use crate::trouble::Trouble;

pub(super) const PROFILE: Profile = Profile {
    name: "fos",
    model: "G620",
    host_name: "switch",
    ssh_id: "SSH-2.0-OpenSSH_6.2",
    sign_in_banner: None,
    idle_farewell: "\ntimed out waiting for input: auto-logout\n",
    pager: Pager { prompt: "Type <CR> to continue, Q<CR> to stop: ", by_line: true },
    parts: &[("fos", "v8.2.1c")],
    sessions: 2,
    two_partitions: true,
    echoes_always: false,
};

pub(super) fn welcome() -> String {
    "-----------------------------------------------------------------\nAuthorized use only.\n\n".to_owned()
}

/// What it asks after the sign-in while its accounts have the passwords of the factory.
pub(super) async fn greet(session: &mut Session) -> Result<(), Stop> {
    if !session.device.settings().default_passwords {
        return Ok(());
    }
    let question = "Please change passwords for switch default accounts now.\nUse Control-C to exit or press 'Enter' key to proceed.\n";
    let answered = match session.terminal.ask(question).await {
        Ok(_) => {
            session.terminal.write("\nfor user - root\nChanging password for root\n").await?;
            session.terminal.ask_secret("Enter new password: ").await
        }
        Err(stop) => Err(stop),
    };
    match answered {
        Ok(_) | Err(Stop::Interrupted) => {
            let text =
                "Password was not changed. Will prompt again at next login\nuntil password is changed.\n";
            session.terminal.write(text).await
        }
        Err(stop) => Err(stop),
    }
}

pub(super) fn prompt(session: &Session) -> String {
    format!("{}:{}> ", session.device.host_name(), session.user)
}

pub(super) fn no_place(holder: &str) -> String {
    format!("Max remote sessions for login: {holder} exceeded\n")
}

pub(super) async fn run(session: &mut Session, words: &[String]) -> Result<Next, Stop> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (name, rest) = words.split_first().map_or(("", &[][..]), |(name, rest)| (*name, rest));
    let answer = match name.to_ascii_lowercase().as_str() {
        "exit" | "logout" => return Ok(Next::Leave),
        "firmwareshow" if is_director(session) => director::firmware_show(session),
        "firmwareshow" => firmware_show(session),
        "firmwaredownloadstatus" => status(session),
        "version" => version(session),
        "switchshow" => format!(
            "switchName:\t{}\nswitchType:\t{}\nswitchState:\tOnline\nswitchMode:\tNative\n",
            session.device.host_name(),
            // The one of a Brocade 8000, which restarts with an interruption.
            if session.device.settings().ha { "162.0" } else { "76.7" }
        ),
        "hashow" if is_director(session) => director::ha_show(session),
        "hashow" => "hashow: Not supported on this platform\n".to_owned(),
        "switchstatusshow" => switch_status(session),
        "errshow" | "help" => {
            let text: String =
                (1..60).map(|n| format!("{n}: [SEC-1203], INFO, Login information\n")).collect();
            session.page(&text, PROFILE.pager).await?;
            String::new()
        }
        "firmwaredownload" => return download(session, rest).await,
        "firmwarecommit" => return commit(session).await,
        "firmwarerestore" => return restore(session).await,
        "reboot" | "fastboot" => return reboot(session).await,
        other => format!("rbash: {other}: command not found\n"),
    };
    session.terminal.write(&answer).await?;
    Ok(Next::Prompt)
}

fn is_director(session: &Session) -> bool {
    session.device.product == Product::Director
}

/// The parts that an image is for, first the one that runs.
fn parts(session: &Session) -> Vec<&'static str> {
    if is_director(session) { director::parts(&session.device.lock()) } else { vec!["fos"] }
}

/// The part that runs.
fn own(session: &Session) -> &'static str {
    parts(session).first().copied().unwrap_or("fos")
}

fn firmware_show(session: &Session) -> String {
    let state = session.device.lock();
    let part = state.part("fos");
    let (primary, secondary) =
        part.map_or(("", ""), |part| (part.version.as_str(), part.secondary.as_deref().unwrap_or_default()));
    format!(
        "Appl     Primary/Secondary Versions \n------------------------------------------\nFOS      {primary}\n         {secondary}\n"
    )
}

fn version(session: &Session) -> String {
    let own = own(session);
    let version = session.device.lock().version(own);
    format!(
        "Kernel:     2.6.34.6\nFabric OS:  {version}\nMade on:    Wed Feb 6 18:13:24 2019\nFlash:      Fri May 10 13:20:16 2019\nBootProm:   1.0.11\n"
    )
}

fn switch_status(session: &Session) -> String {
    let bad = session
        .device
        .lock()
        .faults
        .look(|fault| matches!(fault, crate::fault::Fault::PartnerUnhealthy).then_some(()));
    let word = if bad.is_some() { "MARGINAL" } else { "HEALTHY" };
    format!("Switch Health Report\nSwitchState:\t{word}\n")
}

/// What has happened so far, numbered.
fn status(session: &Session) -> String {
    let state = session.device.lock();
    if is_director(session) {
        return director::status(&state);
    }
    let lines = [
        "Firmware is being downloaded to the switch. This step may take up to 30 minutes.",
        "Firmware has been downloaded to the secondary partition of the switch.",
        "The firmware commit operation has started. This may take up to 10 minutes.",
        "The commit operation has completed successfully.",
        "Firmwaredownload command has completed successfully. Use firmwareshow to verify the firmware versions.",
    ];
    let Some(update) = &state.update else { return "No firmwaredownload session found.\n".to_owned() };
    let past = match update.phase {
        Phase::Fetching | Phase::Writing => 1,
        Phase::Written | Phase::Restarting => 2,
        Phase::Committing => 3,
        Phase::Done if state.pending.is_some() => 2,
        Phase::Done => 5,
        Phase::Failed => {
            return format!(
                "[1]: {}\n\n[2]: Firmwaredownload failed. (0x13)\n",
                lines.first().unwrap_or(&"")
            );
        }
    };
    let mut text = String::new();
    for (number, line) in (1..).zip(lines.iter().take(past)) {
        let _fits = write!(text, "[{number}]: Thu Jan  9 10:0{number}:00 2020\n{line}\n\n");
    }
    text
}

async fn download(session: &mut Session, words: &[&str]) -> Result<Next, Stop> {
    let mut wanted = match operands(words) {
        Some(wanted) => wanted,
        None => interview(session, words).await?,
    };
    if wanted.password.is_none() {
        wanted.password = Some(session.terminal.ask_secret("Password: ").await?);
    }
    if let Err(trouble) = update(session, &wanted).await? {
        session.terminal.write(&words_of(&trouble)).await?;
    }
    Ok(Next::Prompt)
}

async fn update(session: &mut Session, wanted: &Wanted) -> Result<Result<(), Trouble>, Stop> {
    session
        .terminal
        .write(&format!(
            "\nServer IP: {}, Protocol IPv4\nChecking system settings for firmwaredownload...\n",
            wanted.host
        ))
        .await?;
    if session.on_standby {
        return Ok(Err(Trouble::Standby));
    }
    if let Err(trouble) = session.gate() {
        return Ok(Err(trouble));
    }
    if is_director(session) && parts(session).len() == 1 && !wanted.single {
        return Ok(Err(Trouble::Partner));
    }
    let header = match image(session, wanted).await {
        Ok(header) => header,
        Err(trouble) => return Ok(Err(trouble)),
    };
    session.terminal.write("System settings check passed.\n\n").await?;
    if !consent(session, &header, wanted).await? {
        return Ok(Err(Trouble::Declined));
    }
    let restart = if wanted.single && !wanted.reboot { Restart::Later } else { Restart::Device };
    if is_director(session) && restart == Restart::Device {
        session.device.lock().told.clear();
        session.begin(&parts(session), header, restart, wanted.commit);
        return director::follow(session).await;
    }
    session
        .terminal
        .write(
            "Firmware is being downloaded to the switch. This step may take up to 30 minutes.\nPreparing for firmwaredownload...\nStart to install packages...\n",
        )
        .await?;
    session.begin(&parts(session), header, restart, wanted.commit);
    if let Err(trouble) = session.watch(Draw::Packages).await? {
        return Ok(Err(trouble));
    }
    let last = if restart == Restart::Later {
        "Please use firmwareshow to verify, and reboot the switch to activate the new firmware.\n"
    } else if wanted.single || !session.device.settings().ha {
        "Rebooting ...\n"
    } else {
        "HA Rebooting ...\n"
    };
    session
        .terminal
        .write(&format!(
            "Removing unneeded files, please wait ...\nFinished removing unneeded files.\n\nAll packages have been downloaded successfully.\nFirmware has been downloaded to the secondary partition of the switch.\n{last}"
        ))
        .await?;
    Ok(Ok(()))
}

/// The terms of use, and the question before everything that is disruptive or ends sessions.
async fn consent(session: &mut Session, header: &Header, wanted: &Wanted) -> Result<bool, Stop> {
    let settings = session.device.settings();
    if !settings.eula_from.is_empty()
        && header.version.starts_with(&settings.eula_from)
        && !settings.eula_accepted
    {
        let terms: String =
            (1..40).map(|n| format!("{n}. Term of the end user license agreement.\n")).collect();
        session.page(&terms, PROFILE.pager).await?;
        let question = "Do you accept the terms of the End User License Agreement (EULA)? (Y/N) [N]: ";
        if !yes(&session.terminal.ask(question).await?, false) {
            return Ok(false);
        }
        session.device.lock().settings.eula_accepted = true;
    }
    if !session.second_prompt().await? {
        return Ok(false);
    }
    let kind = if wanted.single || !settings.ha { "cold/disruptive" } else { "warm/non-disruptive" };
    let but = if kind.starts_with("cold") { "and will" } else { "but will" };
    let form = if settings.short_questions { "[Y]" } else { "(Y/N) [Y]" };
    let (both, on) = if is_director(session) {
        let both = "This command will upgrade the firmware on both CP blades. If you want to\nupgrade firmware on a single CP only, please use -s option.\n\n";
        (both, "on the active CP")
    } else {
        ("", "on the switch")
    };
    let cause = if is_director(session) && settings.short_questions {
        "This command will cause the active CP to reset and will".to_owned()
    } else {
        format!("This command will cause a {kind} boot {on},\n{but}")
    };
    let question = format!(
        "{both}You can run firmwaredownloadstatus to get the status\nof this command.\n\n{cause} require that existing telnet, secure telnet or SSH sessions\nbe restarted.\n\nDo you want to continue {form}: "
    );
    Ok(yes(&session.terminal.ask(&question).await?, true))
}

/// Fetches the image: one file, or what `release.plist` names.
async fn image(session: &mut Session, wanted: &Wanted) -> Result<Header, Trouble> {
    let schemes: &[&str] = match wanted.protocol.as_str() {
        "ftp" => &["ftp"],
        "scp" => &["scp"],
        "sftp" => &["sftp"],
        _ => &["scp", "sftp", "ftp"],
    };
    let mut last = Trouble::Transfer(String::new());
    for scheme in schemes {
        let remote = Remote {
            scheme: (*scheme).to_owned(),
            host: wanted.host.clone(),
            path: wanted.path.clone(),
            user: wanted.user.clone(),
            password: wanted.password.clone().unwrap_or_default(),
        };
        let outcome = if session.device.settings().tree {
            tree(session, remote).await
        } else {
            session.image(&remote, own(session)).await
        };
        match outcome {
            Err(Trouble::Transfer(why)) => last = Trouble::Transfer(why),
            other => return other,
        }
    }
    Err(last)
}

async fn tree(session: &mut Session, remote: Remote) -> Result<Header, Trouble> {
    let folder = remote.path.trim_end_matches("/release.plist").trim_end_matches('/').to_owned();
    let at = |file: &str| Remote { path: format!("{folder}/{file}"), ..remote.clone() };
    let failed = |error: anyhow::Error| Trouble::Transfer(format!("{error:#}"));
    let list = fetch(&session.device, &at("release.plist")).await.map_err(failed)?;
    let mut whole = Vec::new();
    for file in String::from_utf8_lossy(&list).lines().filter(|line| !line.is_empty()) {
        whole.extend(fetch(&session.device, &at(file)).await.map_err(failed)?);
    }
    session.check(&whole, own(session))
}

async fn commit(session: &mut Session) -> Result<Next, Stop> {
    session
        .terminal
        .write("Validating primary partition...\nDoing firmwarecommit now.\nPlease wait ...\n")
        .await?;
    session.device.lock().parts.iter_mut().for_each(|part| part.secondary = Some(part.version.clone()));
    session.terminal.write("Replicate kernel image\nFirmwarecommit completes successfully.\n").await?;
    Ok(Next::Prompt)
}

/// Only what runs already can be taken back; an image that waits for its restart is forgotten.
async fn restore(session: &mut Session) -> Result<Next, Stop> {
    let restored = {
        let mut state = session.device.lock();
        let waits = state.pending.take().is_some();
        state.parts.iter_mut().any(|part| {
            let old = part.secondary.clone().filter(|old| *old != part.version);
            if waits {
                part.secondary = Some(part.version.clone());
            } else if let Some(old) = &old {
                part.version.clone_from(old);
            }
            old.is_some() && !waits
        })
    };
    let says = if restored {
        job::restart(&session.device, "firmwarerestore");
        "Restore old image to be active ...\nRebooting ...\n"
    } else {
        "No need to restore: both partitions are the same.\n"
    };
    session.terminal.write(says).await?;
    Ok(Next::Prompt)
}

async fn reboot(session: &mut Session) -> Result<Next, Stop> {
    let question = "Warning: This command would cause the switch to reboot\nand result in traffic disruption.\nAre you sure you want to reboot the switch [y/n]? ";
    if yes(&session.terminal.ask(question).await?, false) {
        session
            .terminal
            .write("Broadcast message from root: The system is going down for reboot NOW !!\n")
            .await?;
        job::restart(&session.device, "reboot");
    }
    Ok(Next::Prompt)
}

fn words_of(trouble: &Trouble) -> String {
    let words = match trouble {
        Trouble::Privilege => "RBAC permission denied.",
        Trouble::Busy => "Firmwaredownload is already running. Please try again later.",
        Trouble::Mode(mode) => {
            return format!(
                "Cannot download the requested firmware: not allowed while the switch is in {mode} mode.\n"
            );
        }
        Trouble::Standby => "Firmwaredownload is not allowed on the standby CP.",
        Trouble::Partner => "Sanity check failed because system is non-redundant.",
        Trouble::Transfer(why) => {
            let why = if Remote::is_login(why) {
                "The server is inaccessible or the user name or password is not correct."
            } else {
                "The server is inaccessible or the firmware path is invalid."
            };
            return format!("{why}\nFirmwaredownload failed: cannot access release.plist.\n");
        }
        Trouble::NoRoom => "There is not enough space left on the secondary partition.",
        Trouble::NotAnImage => {
            "Cannot download the requested firmware because the firmware file is corrupted."
        }
        Trouble::WrongModel => {
            "Cannot download the requested firmware because the firmware doesn't support this platform."
        }
        Trouble::Signature => "Cannot verify the signature of the firmware.",
        Trouble::StepMissing(from) => {
            return format!(
                "Cannot upgrade directly to the requested firmware. Please upgrade to {from} first, then to the requested version.\n"
            );
        }
        Trouble::Declined => "Firmwaredownload is aborted by the user.",
        Trouble::Broken => "Firmwaredownload failed. Failed to install RPM packages.",
    };
    format!("{words}\n")
}
