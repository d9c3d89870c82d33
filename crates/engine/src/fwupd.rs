//! Asks fwupd about the firmware of the machine's devices, by its command-line client.
//!
//! fwupd is a daemon that D-Bus starts on demand. Its client prints JSON since 1.7; what it prints for people is not
//! parsed, and errors are told apart by their numbers.

use crate::command::{self, Bounds, Errors};
use farrier_protocol::{Pending, PendingUntil, Reading};
use serde::Deserialize;
use std::fs;
use std::time::Duration;

/// The client.
pub(crate) const PROGRAM: &str = "fwupdmgr";

/// Limits of a question. The client itself waits for three minutes until the daemon has found all devices
/// (`FWUPD_CLIENT_DBUS_PROXY_TIMEOUT`).
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(200), bytes: 4 * 1024 * 1024 };

/// In the locale `C`, the client replaces letters in the names of devices.
const LOCALE: &str = "LC_ALL=C.UTF-8";

/// How far two readings of the time of the same boot may differ, in seconds: it is computed from the clock.
const BOOT_TIME_DRIFT: u64 = 5;

/// Exit status of a client that has nothing to do, for instance because there is no history.
const NOTHING_TO_DO: i32 = 2;

/// Maximum number of devices that a message names.
const MAX_NAMED: usize = 12;

/// A device whose firmware fwupd knows, or one that a cabinet is for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Device {
    /// Id of the device, 40 hexadecimal digits; empty if the machine does not have the device.
    #[serde(rename = "DeviceId")]
    pub(crate) id: String,
    /// Name of the device, for people.
    pub(crate) name: String,
    /// GUIDs of the firmware that the device takes.
    #[serde(rename = "Guid")]
    pub(crate) guids: Vec<String>,
    /// Installed version.
    pub(crate) version: String,
    /// Properties such as `internal`, `updatable` and `needs-reboot`.
    pub(crate) flags: Vec<String>,
    /// What keeps the device from being updated, such as `require-ac-power`.
    pub(crate) problems: Vec<String>,
    /// State of the last update, a number of `FwupdUpdateState`.
    update_state: u32,
    /// In a history: the release that was installed.
    releases: Vec<Release>,
}

/// Numbers of `FwupdUpdateState`.
mod state {
    pub(super) const SUCCESS: u32 = 2;
    pub(super) const FAILED: u32 = 3;
    pub(super) const FAILED_TRANSIENT: u32 = 5;
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Release {
    version: String,
    /// When the machine was booted before the release was installed, in seconds since the Unix epoch.
    boot_time: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Devices {
    #[serde(default)]
    devices: Vec<Device>,
}

/// An error that the client has printed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Fault {
    /// Number of the error, from `FwupdError` of libfwupd.
    #[serde(default)]
    pub(crate) code: i32,
    /// Description.
    #[serde(default)]
    pub(crate) message: String,
}

impl Fault {
    /// Finds the error in the output of the client. Versions before 1.9 print errors for people only.
    pub(crate) fn parse(output: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            error: Fault,
        }
        let begin = output.find('{')?;
        serde_json::Deserializer::from_str(output.get(begin..)?)
            .into_iter::<Answer>()
            .next()?
            .ok()
            .map(|answer| answer.error)
    }

    /// Returns the error as text for users.
    pub(crate) fn text(&self) -> String {
        format!("fwupd error {}: {}", self.code, self.message)
    }
}

/// Lists the devices of this machine.
///
/// # Errors
/// Why they are not known, for users.
pub(crate) fn devices() -> Result<Vec<Device>, String> {
    let mut devices = ask(&["get-devices"]).map_err(|(text, _)| text)?;
    let may_be_pending = |device: &Device| device.until().is_some();
    if devices.iter().any(may_be_pending) {
        let history = ask(&["get-history"]).map_err(|(text, _)| text)?;
        for device in devices.iter_mut().filter(|device| may_be_pending(device)) {
            let entry = history.iter().find(|entry| entry.id == device.id);
            // What `get-devices` lists are the releases that could be installed.
            device.update_state = entry.map_or(0, |entry| entry.update_state);
            device.releases = entry.map(|entry| entry.releases.clone()).unwrap_or_default();
        }
    }
    Ok(devices)
}

/// Returns the devices that a cabinet has firmware for, those that the machine does not have included.
///
/// # Errors
/// Why the cabinet cannot be read, for users, and what the client has printed.
pub(crate) fn details(cabinet: &str) -> Result<Vec<Device>, (String, Option<Fault>)> {
    ask(&["get-details", cabinet])
}

/// Finds the device with this id, name or GUID.
///
/// # Errors
/// There is none, or there are several; for users.
pub(crate) fn find<'a>(devices: &'a [Device], entry: &str) -> Result<&'a Device, Absence> {
    let found: Vec<&Device> = devices.iter().filter(|device| device.is(entry)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Absence::None(format!("fwupd lists no device {entry} here; it lists {}", names(devices)))),
        several => {
            let several = names(several.iter().copied());
            Err(Absence::Several(format!(
                "{entry} is the name of several devices: {several}; give the id of one"
            )))
        }
    }
}

/// Why one device cannot be told.
pub(crate) enum Absence {
    /// The machine has no such device.
    None(String),
    /// Several devices have the name.
    Several(String),
}

impl Absence {
    /// Returns the text for users.
    pub(crate) fn text(self) -> String {
        match self {
            Self::None(text) | Self::Several(text) => text,
        }
    }
}

/// Lists devices with their ids and versions, for users.
pub(crate) fn names<'a>(devices: impl IntoIterator<Item = &'a Device>) -> String {
    let mut names: Vec<String> = devices.into_iter().map(Device::title).collect();
    if names.is_empty() {
        return "none".into();
    }
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

impl Device {
    /// Reports whether the device has this id, this name or this GUID.
    pub(crate) fn is(&self, entry: &str) -> bool {
        !entry.is_empty()
            && (self.id == entry || self.name == entry || self.guids.iter().any(|guid| guid == entry))
    }

    /// Returns name and id, for users.
    pub(crate) fn title(&self) -> String {
        format!("{} ({})", self.name, self.id)
    }

    /// Reports whether the device has a property.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|one| one == flag)
    }

    /// Returns the installed version, and a version that waits.
    pub(crate) fn reading(&self) -> Reading {
        if self.version.is_empty() {
            return Reading::Unreadable { detail: format!("fwupd states no version of {}", self.title()) };
        }
        let pending = self.pending(booted_at());
        Reading::Present { version: self.version.clone(), instances: Vec::new(), pending }
    }

    /// Returns the version that was installed and is not in effect. `booted` is when the machine was booted.
    ///
    /// Some devices always have the flag `needs-reboot`, so the history decides: what was installed before the
    /// machine was booted waits for nothing any more.
    fn pending(&self, booted: Option<u64>) -> Option<Pending> {
        let until = self.until()?;
        let release = self.releases.last()?;
        let same_boot = release
            .boot_time
            .parse()
            .ok()
            .zip(booted)
            .map(|(then, now): (u64, u64)| then.abs_diff(now) <= BOOT_TIME_DRIFT);
        let waits = match self.update_state {
            state::FAILED | state::FAILED_TRANSIENT => false,
            // fwupd does not say of every device that it waits for a reboot.
            state::SUCCESS => same_boot.unwrap_or(until == PendingUntil::Activation),
            _ => same_boot.unwrap_or(true),
        };
        let version = release.version.clone();
        (waits && !version.is_empty() && version != self.version).then_some(Pending { version, until })
    }

    /// Returns what would put another version into effect.
    fn until(&self) -> Option<PendingUntil> {
        let flags = [
            ("needs-activation", PendingUntil::Activation),
            ("needs-shutdown", PendingUntil::PowerCycle),
            ("needs-reboot", PendingUntil::Reboot),
        ];
        flags.into_iter().find(|(flag, _)| self.has(flag)).map(|(_, until)| until)
    }
}

/// Returns when the machine was booted, in seconds since the Unix epoch, from where fwupd has it.
fn booted_at() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Asks the daemon by its client.
fn ask(question: &[&str]) -> Result<Vec<Device>, (String, Option<Fault>)> {
    let name = question.first().copied().unwrap_or_default();
    if command::find(PROGRAM).is_none() {
        return Err((format!("this machine has no {PROGRAM}; install its package fwupd"), None));
    }
    let arguments = [&[LOCALE, PROGRAM], question, &["--json"]].concat();
    let output = command::capture("env", &arguments, Errors::Merge, BOUNDS).map_err(|text| (text, None))?;
    match output.status.code() {
        Some(0) => {}
        Some(NOTHING_TO_DO) => return Ok(Vec::new()),
        _ => {
            let fault = Fault::parse(&output.text);
            let last =
                || output.text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
            let words = fault.as_ref().map_or_else(last, Fault::text);
            let text =
                format!("{PROGRAM} {name} failed ({}): {words}; fwupd 1.7 or later is needed", output.status);
            return Err((text, fault));
        }
    }
    let begin = output.text.find('{').unwrap_or_default();
    let json = output.text.get(begin..).unwrap_or_default();
    // The client may print warnings before and after.
    let answer = serde_json::Deserializer::from_str(json).into_iter::<Devices>().next();
    match answer {
        Some(Ok(answer)) => Ok(answer.devices),
        Some(Err(error)) => Err((format!("the answer of {PROGRAM} {name} cannot be read: {error}"), None)),
        None => Err((format!("{PROGRAM} {name} answered nothing"), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(json: &str) -> Device {
        serde_json::from_str(json).unwrap()
    }

    /// Otherwise the wrong one of two devices is flashed.
    #[test]
    fn a_device_is_named_by_its_id_its_name_or_a_guid() {
        let devices = [
            device(r#"{"Name": "NIC", "DeviceId": "a1", "Guid": ["g1", "g2"], "Version": "1"}"#),
            device(r#"{"Name": "NIC", "DeviceId": "b2", "Guid": ["g1"], "Version": "1"}"#),
        ];
        for (entry, id) in [("a1", "a1"), ("b2", "b2"), ("g2", "a1")] {
            assert_eq!(find(&devices, entry).ok().map(|device| device.id.as_str()), Some(id), "{entry}");
        }
        assert!(matches!(find(&devices, "NIC"), Err(Absence::Several(text)) if text.contains("NIC (b2)")));
        assert!(matches!(find(&devices, "nic"), Err(Absence::None(text)) if text.contains("NIC (a1)")));
        assert!(matches!(find(&devices, ""), Err(Absence::None(_))));
    }

    /// The flag alone says nothing: the firmware of a PC always has it.
    #[test]
    fn a_version_waits_only_if_the_history_says_so() {
        let booted = 1_795_966_264;
        let pending = |flag: &str, state: u32, to: &str, boot: &str| {
            let release = format!(r#"{{"Version": "{to}", "BootTime": "{boot}"}}"#);
            let json = format!(
                r#"{{"Version": "1", "Flags": ["{flag}"], "UpdateState": {state}, "Releases": [{release}]}}"#
            );
            device(&json).pending(Some(booted)).map(|pending| (pending.version, pending.until))
        };
        let two = |until| Some(("2".to_owned(), until));
        let (now, earlier, needs_reboot) = ("1795966265", "1795960000", 4);
        assert_eq!(pending("needs-reboot", needs_reboot, "2", now), two(PendingUntil::Reboot));
        assert_eq!(pending("needs-shutdown", needs_reboot, "2", ""), two(PendingUntil::PowerCycle));
        assert_eq!(pending("needs-reboot", state::SUCCESS, "2", now), two(PendingUntil::Reboot));
        assert_eq!(pending("needs-activation", state::SUCCESS, "2", ""), two(PendingUntil::Activation));
        assert_eq!(pending("needs-reboot", state::SUCCESS, "2", ""), None);
        assert_eq!(
            pending("needs-reboot", needs_reboot, "2", earlier),
            None,
            "the machine was rebooted since"
        );
        assert_eq!(pending("needs-reboot", state::FAILED, "2", now), None);
        assert_eq!(pending("needs-reboot", needs_reboot, "1", now), None, "it is in effect");
        assert_eq!(pending("updatable", needs_reboot, "2", now), None);
    }

    #[test]
    fn errors_are_found_between_warnings() {
        let output = "(fwupdmgr:7): WARNING\n{\n  \"Error\" : {\n    \"Domain\" : \"FwupdError\",\n    \"Code\" : 10,\n    \
                      \"Message\" : \"device was not in supported mode\"\n  }\n}\n";
        let fault = Fault::parse(output).unwrap();
        assert_eq!(
            (fault.code, fault.text().as_str()),
            (10, "fwupd error 10: device was not in supported mode")
        );
        assert_eq!(Fault::parse("{\"Devices\": []}"), None);
        assert_eq!(Fault::parse("failed"), None);
    }
}
