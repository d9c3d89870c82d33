//! What a director says and does besides: two control processors, each with two partitions, of which one is active.
//!
//! Follows: Fabric OS Upgrade Guide 53-1003240-01 (7.3), page 21, for the order (standby, failover, then the other one),
//! and that both must be in sync before; the line about the HA state as public scripts compare it. The tables of
//! `firmwareshow` and `hashow`, and what begins the lines of `firmwaredownloadstatus`, are from memory.

use super::super::Profile;
use crate::device::State;
use crate::fault::Fault;
use crate::session::Session;

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

fn is_there(state: &State, number: u8) -> bool {
    let is_it = |fault: &Fault| matches!(fault, Fault::ModuleAway { part } if part == name(number));
    let is_away = state.update.is_some() && state.faults.look(|fault| is_it(fault).then_some(())).is_some();
    (number == active(state) || state.settings.standby) && !is_away
}

/// What an image is for, first the active one.
pub(super) fn parts(state: &State) -> Vec<&'static str> {
    let active = active(state);
    [active, 1 - active].into_iter().filter(|number| is_there(state, *number)).map(name).collect()
}

/// Who says how far a download is.
pub(super) fn speaker(state: &State) -> String {
    let active = active(state);
    format!("Slot {} (CP{active}, active): ", SLOT + active)
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
    let is_unwell = state.faults.has(&Fault::PartnerUnhealthy);
    let active = active(&state);
    let has_other = is_there(&state, 1 - active);
    let is_same = state.version("cp0") == state.version("cp1");
    let word = |number: u8| match number == active {
        true => "Active, Warm Recovered",
        false if is_unwell => "Standby, Faulty",
        false => "Standby, Healthy",
    };
    let line =
        |who: &str, number: u8| format!("{who} CP (Slot {}, CP{number}): {}\n", SLOT + number, word(number));
    let local = if session.on_standby { 1 - active } else { active };
    let remote = if has_other { line("Remote", 1 - local) } else { String::new() };
    let state = match (has_other, is_unwell || !is_same) {
        (true, false) => "HA enabled, Heartbeat Up, HA State synchronized",
        (true, true) => "HA enabled, Heartbeat Up, HA State not in sync",
        (false, _) => "HA enabled, Heartbeat Down, HA State not in sync",
    };
    format!("{}{remote}{state}\n", line("Local", local))
}
