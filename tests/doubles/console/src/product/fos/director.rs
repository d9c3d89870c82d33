//! What a director says and does besides: two control processors, each with two partitions, of which one is active.
//!
//! Follows, for what it does: Fabric OS Upgrade Guide 53-1003240-01 (7.3), page 21: the standby downloads and restarts
//! first, then the active one fails over to it and becomes the standby that downloads; the address of the chassis moves
//! with the active one; page 11: two versions side by side may well be in sync. Fabric OS Message Reference 53-1000437-01
//! (5.3), page 487: the steps and their order (`SUS_PEER_FWDL_BEGIN` to `SUS_COMMIT`). Troubleshooting and Diagnostics
//! Guide 53-1000853-01 (6.1), page 42: what fails on the way is taken back from both partitions of the standby.
//! For what it says: test programs that the vendor's own people have published (the class `doFirmwareDownload` and
//! `hashow` beside it) find a control processor in `firmwareshow` by 19 characters of slot, name and `FOS`, then the
//! version, one word of its role, and the other partition in the next line; and compare `HA enabled, Heartbeat Up, HA
//! State synchronized` and `system is non-redundant`. A health check that others have published takes `Recovered`
//! for the active one and `Standby` with `Healthy` for the other. All other words are from memory of the examples in
//! the Command Reference: README.md lists them.

use super::super::Profile;
use crate::device::{Device, Phase, State};
use crate::fault::Fault;
use crate::job::{self, Job};
use crate::session::Session;
use crate::terminal::Stop;
use crate::trouble::Trouble;

pub(in crate::product) const PROFILE: Profile = Profile {
    name: "fos-director",
    model: "X6-4",
    host_name: "director",
    parts: &[("cp0", "v8.2.1c"), ("cp1", "v8.2.1c")],
    ..super::PROFILE
};

/// The slot of the first control processor; the other one is in the next.
const SLOT: u8 = 6;

const fn name(number: u8) -> &'static str {
    if number == 0 { "cp0" } else { "cp1" }
}

/// The number of the active control processor.
fn active(state: &State) -> u8 {
    state.active.saturating_sub(1)
}

/// Whether it is in its slot and runs. One that was taken out is away from the beginning, or after an update.
fn is_there(state: &State, number: u8) -> bool {
    let is_it = |fault: &Fault| matches!(fault, Fault::ModuleAway { part } if part == name(number));
    let is_away = state.update.is_some() && state.faults.look(|fault| is_it(fault).then_some(())).is_some();
    (number == active(state) || state.settings.standby) && !is_away && state.resting != Some(number)
}

/// What an image is for: the active one, and the standby if it is there.
pub(super) fn parts(state: &State) -> Vec<&'static str> {
    let active = active(state);
    [active, 1 - active].into_iter().filter(|number| is_there(state, *number)).map(name).collect()
}

pub(super) fn firmware_show(session: &Session) -> String {
    let state = session.device.lock();
    let local = if session.on_standby { 1 - active(&state) } else { active(&state) };
    let row = |number: u8| {
        let part = state.part(name(number))?;
        let role = if number == active(&state) { "ACTIVE" } else { "STANDBY" };
        let mark = if number == local { " *" } else { "" };
        let (slot, version) = (SLOT + number, &part.version);
        let second = part.secondary.as_deref().unwrap_or_default();
        Some(format!("{slot:3}  CP{number}        FOS      {version:<40} {role}{mark}\n{:25}{second}\n", ""))
    };
    let rows: String =
        [0, 1].into_iter().filter(|number| is_there(&state, *number)).filter_map(row).collect();
    format!(
        "Slot Name       Appl     Primary/Secondary Versions               Status\n--------------------------------------------------------------------------\n{rows}\n* Local CP\n"
    )
}

pub(super) fn ha_show(session: &Session) -> String {
    let mut state = session.device.lock();
    // Health and sync are two things: a standby that fails its diagnosis may have all of the state.
    let is_unwell = state.faults.has(&Fault::PartnerUnhealthy);
    let active = active(&state);
    let has_other = is_there(&state, 1 - active);
    let word = |number: u8| match number == active {
        true if state.update.is_some() => "Active, Warm Recovered",
        true => "Active, Cold Recovered",
        false if !has_other => "Non-Redundant",
        false if is_unwell => "Standby, Failed",
        false => "Standby, Healthy",
    };
    let line =
        |who: &str, number: u8| format!("{who} CP (Slot {}, CP{number}): {}\n", SLOT + number, word(number));
    let local = if session.on_standby { 1 - active } else { active };
    let synchronized = if has_other {
        "HA enabled, Heartbeat Up, HA State synchronized"
    } else {
        "HA enabled, Heartbeat Down, HA State not in sync"
    };
    format!("{}{}{synchronized}\n", line("Local", local), line("Remote", 1 - local))
}

/// What happened so far, by whoever was active then.
pub(super) fn status(state: &State) -> String {
    if state.told.is_empty() {
        return "No firmwaredownload session found.\n".to_owned();
    }
    let entry = |(number, told): (usize, &String)| {
        format!("[{}]: Thu Jan  9 10:{:02}:00 2020\n{told}\n\n", number + 1, number * 3)
    };
    state.told.iter().enumerate().map(entry).collect()
}

/// Begins an entry of `firmwaredownloadstatus`, and a line of the session that follows it.
fn tell(device: &Device, words: &str) {
    let mut state = device.lock();
    let number = active(&state);
    state.told.push(format!("Slot {} (CP{number}, active): {words}", SLOT + number));
    drop(state);
    device.changed.notify_waiters();
}

const DOWNLOADS: &str = "Firmware is being downloaded to standby CP. This step may take up to 30 minutes.";

/// One control processor after the other, each while it is the standby. The first is followed by a failover, which ends
/// all sessions. Returns whether all of it went well.
pub(crate) async fn upgrade(device: &Device, job: &Job) -> bool {
    let wrong = job::wrong_version(device);
    for is_first in [true, false] {
        let standby = 1 - active(&device.lock());
        job::enter(device, Phase::Writing, "the standby downloads");
        tell(device, DOWNLOADS);
        if device.has(&Fault::StandbyRefuses) || !job::write(device, job).await {
            tell(device, "Firmwaredownload has failed on standby CP. (0x23)");
            return false;
        }
        job::enter(device, Phase::Written, "the standby has it");
        tell(device, "Firmware has been downloaded successfully to standby CP.");
        tell(device, "Standby CP is going to reboot with new firmware.");
        device.lock().resting = Some(standby);
        job::activate(device, job, &[name(standby).to_owned()], wrong.as_deref());
        rest(device).await;
        tell(device, "Standby CP booted successfully with new firmware.");
        if is_first {
            tell(device, "Active CP forced failover succeeded. Now this CP becomes standby.");
            fail_over(device).await;
        }
    }
    true
}

/// A control processor that restarts is away, and the other one goes on.
async fn rest(device: &Device) {
    let span = std::time::Duration::from_millis(device.settings().reboot_ms);
    // sleep: a control processor takes time to start.
    tokio::time::sleep(span).await;
    device.lock().resting = None;
    device.changed.notify_waiters();
}

/// The address of the chassis moves to the other control processor, so that all connections end.
async fn fail_over(device: &Device) {
    job::farewell().await;
    job::enter(device, Phase::Restarting, "fails over");
    {
        let mut state = device.lock();
        state.resting = Some(active(&state));
        state.active = 3 - state.active;
    }
    device.restart("failover").await;
    device.lock().resting = None;
}

/// How the commit ends, which both do by themselves.
pub(crate) fn tell_end(device: &Device, is_over: bool) {
    if is_over {
        tell(device, "The firmware commit operation has completed successfully on both CPs.");
        let words = "Firmwaredownload command has completed successfully. Use firmwareshow to verify the firmware versions.";
        tell(device, words);
    } else {
        tell(device, "The firmware commit operation has started on both active and standby CPs.");
    }
}

/// Shows the steps as they come, until the failover ends the session or all is over.
pub(super) async fn follow(session: &mut Session) -> Result<Result<(), Trouble>, Stop> {
    let mut shown = 0;
    loop {
        let (lines, phase) = {
            let state = session.device.lock();
            let lines: Vec<String> = state.told.iter().skip(shown).cloned().collect();
            (lines, state.update.as_ref().map_or(Phase::Done, |update| update.phase))
        };
        shown += lines.len();
        for line in lines {
            let words = line.split_once("): ").map_or(line.as_str(), |(_, words)| words);
            session.terminal.write(&format!("{words}\n")).await?;
        }
        session.noise().await?;
        match phase {
            Phase::Failed => return Ok(Err(Trouble::Broken)),
            Phase::Done => return Ok(Ok(())),
            Phase::Fetching | Phase::Writing | Phase::Written | Phase::Restarting | Phase::Committing => {
                let device = std::sync::Arc::clone(&session.device);
                let moved = |state: &State| {
                    let is_over =
                        |update: &crate::device::Update| matches!(update.phase, Phase::Done | Phase::Failed);
                    state.told.len() != shown || state.update.as_ref().is_none_or(is_over)
                };
                device.until(moved).await;
            }
        }
    }
}
