//! Limits for the number of messages of one engine and for the length of their texts.
//!
//! Root on a machine has the engine's certificate and can impersonate the engine. The reports about the
//! machine itself cannot be verified, but they are limited to what an honest engine reports. The texts end
//! up in statuses and logs. A status that the API server rejects would never be written, so that the run
//! would never end.

use crate::token_bucket::TokenBucket;
use farrier_protocol::{
    Change, Dial, Event, EventBody, Firmware, Instance, Leftover, NoReboot, Package, Pending, Reading,
    Simulation, StepExit, Wait, WaitFor,
};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use std::fmt;
use std::time::Instant;

/// Maximum total length on the wire of the events of one attempt. Surveys make up most of it: three surveys
/// of a machine with ten thousand packages are three megabytes.
pub(super) const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Maximum number of events of one attempt. A component has about six.
pub(super) const MAX_EVENTS: usize = 50_000;

/// Maximum number of events in one request. An engine sends a quarter of a megabyte at once.
const MAX_AT_ONCE: usize = 10_000;

/// Maximum length of the output of an installer in bytes, which is also the engine's own limit.
const OUTPUT: usize = 4096;

/// Maximum length of a message for users. The API server accepts conditions of 32 KiB.
const MESSAGE: usize = 1000;

/// Maximum length of a name, a version, an id or a path.
const NAME: usize = 512;

/// Maximum number of leftovers that are listed. If there are more, the user finds them in the directory.
const MAX_LEFTOVERS: usize = 50;

/// Maximum number of installed versions of one package. dnf keeps three kernels.
const MAX_INSTANCES: usize = 64;

/// Maximum number of firmware entries. A server with 24 disks and four network cards has some fifty.
const MAX_FIRMWARE: usize = 500;

/// A simulation changes no more packages.
const MAX_CHANGES: usize = 500;

/// Maximum number of addresses that an engine reports as tried.
const MAX_DIALS: usize = 64;

/// A request costs one unit, and one more unit for each multiple of this length.
const BYTES_PER_UNIT: usize = 16 * 1024;

/// Units that may be used at once, and units that are restored per second. A working engine makes a few
/// requests per second, and sends a survey of a megabyte occasionally.
const BURST: u32 = 300;
const PER_SECOND: u32 = 100;

/// The events of one request. The number is limited because a small body could otherwise become a large
/// list.
pub(super) struct Batch(pub(super) Vec<Event>);

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Events;
        impl<'de> Visitor<'de> for Events {
            type Value = Batch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_AT_ONCE} events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Batch, A::Error> {
                let mut events = Vec::new();
                while let Some(event) = all.next_element()? {
                    if events.len() == MAX_AT_ONCE {
                        return Err(serde::de::Error::invalid_length(MAX_AT_ONCE + 1, &self));
                    }
                    events.push(event);
                }
                Ok(Batch(events))
            }
        }
        from.deserialize_seq(Events)
    }
}

/// Returns a token bucket for the requests of one engine.
pub(super) fn bucket(now: Instant) -> TokenBucket {
    TokenBucket::new(BURST, PER_SECOND, now)
}

/// Returns the cost of a request of this length.
pub(super) fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes / BYTES_PER_UNIT).unwrap_or(u32::MAX).saturating_add(1)
}

/// Truncates texts to their maximum lengths and replaces the control characters that a terminal would
/// execute.
pub(super) fn bound(event: &mut Event) {
    match &mut event.body {
        EventBody::LeaseTaken { lease } => names([&mut lease.id, &mut lease.what]),
        EventBody::LeaseReturned { id } => names([id]),
        EventBody::SurveyDone { task, facts, packages, firmware, readings, programs } => {
            names(programs);
            let facts = &mut **facts;
            names([task, &mut facts.os, &mut facts.os_version, &mut facts.os_like, &mut facts.os_name]);
            names([&mut facts.arch, &mut facts.kernel, &mut facts.hostname, &mut facts.vendor]);
            names([
                &mut facts.model,
                &mut facts.serial,
                &mut facts.bios_version,
                &mut facts.package_managers,
                &mut facts.dpkg_arch,
                &mut facts.rpm_arch,
                &mut facts.kernel_headers,
            ]);
            for Package { name, version, arch, kind } in packages {
                names([name, version, arch, kind]);
            }
            bound_firmware(firmware);
            for (component, reading) in readings {
                names([component]);
                bound_reading(reading);
            }
        }
        EventBody::Simulated { task, simulations } => {
            names([task]);
            for (component, simulation) in simulations {
                names([component]);
                bound_simulation(simulation);
            }
        }
        EventBody::TaskStarted { task, components } => names(std::iter::once(task).chain(components)),
        EventBody::PayloadVerified { task, component, digest } => names([task, component, digest]),
        EventBody::StepStarted { task, component, limit: _ }
        | EventBody::StepOverdue { task, component, .. } => names([task, component]),
        EventBody::Waiting { wait } => wait.iter_mut().for_each(bound_wait),
        EventBody::StepFinished { task, component, exit, output } => {
            names([task, component]);
            cut(output, OUTPUT);
            if let StepExit::NotStarted { detail, .. } = exit {
                cut(detail, MESSAGE);
            }
        }
        EventBody::TaskDone { task } | EventBody::RebootRequested { task } => names([task]),
        EventBody::RebootBegun { task, boot_id } | EventBody::Rebooted { task, boot_id } => {
            names([task, boot_id]);
        }
        EventBody::NotRebooted { task, why } => {
            names([task]);
            bound_no_reboot(why);
        }
        EventBody::TaskFailed { task, component, message, .. } => {
            names([task, component]);
            cut(message, MESSAGE);
        }
        EventBody::Retired { leftovers } => bound_leftovers(leftovers),
        EventBody::Unknown => {}
    }
}

/// Truncates the results of an engine's callback attempts in the same way.
pub(super) fn bound_dials(dials: &mut Vec<Dial>) {
    dials.truncate(MAX_DIALS);
    for dial in dials {
        cut(&mut dial.address, NAME);
        cut(&mut dial.message, MESSAGE);
    }
}

fn bound_wait(wait: &mut Wait) {
    match &mut wait.what {
        WaitFor::PackageLock { path } | WaitFor::Room { path, needed: _, free: _ } => cut(path, NAME),
        WaitFor::Installer { component } => cut(component, NAME),
        WaitFor::Inhibitor { who, why } => names([who, why]),
        WaitFor::Firmware | WaitFor::RebootDelay | WaitFor::Unknown => {}
    }
    if let Some(holder) = &mut wait.holder {
        cut(&mut holder.name, NAME);
    }
}

fn bound_no_reboot(why: &mut NoReboot) {
    match why {
        NoReboot::Inhibited { who, why, holder } => {
            names([who, why]);
            names(holder.iter_mut().map(|holder| &mut holder.name));
        }
        NoReboot::Failed { detail } => cut(detail, MESSAGE),
        NoReboot::Cancelled | NoReboot::Unknown => {}
    }
}

fn bound_reading(reading: &mut Reading) {
    match reading {
        Reading::Absent | Reading::Unknown => {}
        Reading::Present { version, instances, pending } => {
            cut(version, NAME);
            bound_instances(instances);
            if let Some(Pending { version, until: _ }) = pending {
                cut(version, NAME);
            }
        }
        Reading::Broken { version, detail, instances } => {
            cut(version, NAME);
            cut(detail, MESSAGE);
            bound_instances(instances);
        }
        Reading::Unreadable { detail } => cut(detail, MESSAGE),
    }
}

fn bound_simulation(simulation: &mut Simulation) {
    match simulation {
        Simulation::Possible { changes } => {
            changes.truncate(MAX_CHANGES);
            for Change { name, arch, version, kind: _ } in changes {
                names([name, arch, version]);
            }
        }
        Simulation::Refused { detail, refusal: _ } => cut(detail, MESSAGE),
        Simulation::Failed { message } => cut(message, MESSAGE),
        Simulation::Unknown => {}
    }
}

fn bound_instances(instances: &mut Vec<Instance>) {
    instances.truncate(MAX_INSTANCES);
    for Instance { version, arch, kind, broken, booted: _ } in instances {
        names([version, arch, kind, broken]);
    }
}

fn bound_firmware(firmware: &mut Vec<Firmware>) {
    firmware.truncate(MAX_FIRMWARE);
    for Firmware { id, name, version, source, software_id, updateable: _ } in firmware {
        names([id, name, version, source, software_id]);
    }
}

fn bound_leftovers(leftovers: &mut Vec<Leftover>) {
    let more = leftovers.len().saturating_sub(MAX_LEFTOVERS);
    leftovers.truncate(MAX_LEFTOVERS);
    for Leftover { what, why } in &mut *leftovers {
        names([what, why]);
    }
    if more > 0 {
        leftovers.push(Leftover { what: format!("{more} more"), why: "too many to name".into() });
    }
}

/// Truncates a name.
pub(super) fn bound_name(name: &mut String) {
    cut(name, NAME);
}

fn names<'a>(texts: impl IntoIterator<Item = &'a mut String>) {
    texts.into_iter().for_each(|text| cut(text, NAME));
}

/// Truncates to this many bytes and replaces control characters other than line feed and tab.
fn cut(text: &mut String, bytes: usize) {
    text.truncate(text.floor_char_boundary(bytes));
    if text.chars().any(is_forbidden) {
        *text = text
            .chars()
            .map(|c| match c {
                '\r' => '\n',
                c if is_forbidden(c) => char::REPLACEMENT_CHARACTER,
                c => c,
            })
            .collect();
    }
}

fn is_forbidden(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn failed(message: &str) -> Event {
        let (task, component, code) = ("t".into(), String::new(), farrier_protocol::FailureCode::Other);
        Event {
            seq: 1,
            at: 0,
            body: EventBody::TaskFailed { task, code, component, message: message.into() },
        }
    }

    /// Regression test: a message of 40 KB became a status that the API server rejected for ever.
    #[test]
    fn texts_are_truncated_and_control_characters_replaced() {
        let mut event = failed(&"ä".repeat(40_000));
        bound(&mut event);
        assert_eq!(event, failed(&"ä".repeat(500)));
        let mut event = failed("10 %\r20 %\x1b[2J\n\tdone\0");
        bound(&mut event);
        assert_eq!(event, failed("10 %\n20 %\u{fffd}[2J\n\tdone\u{fffd}"));
    }

    /// Otherwise a machine with a thousand versions of one package would fill the status of its NodeUpdate.
    #[test]
    fn the_number_of_versions_of_a_package_is_limited() {
        let instance = Instance { version: "ä".repeat(1000), ..Instance::default() };
        let mut reading =
            Reading::Present { version: "1".into(), instances: vec![instance; 1000], pending: None };
        bound_reading(&mut reading);
        assert_eq!(reading.instances().len(), MAX_INSTANCES);
        assert!(reading.instances().iter().all(|one| one.version.len() == NAME));
    }

    /// Otherwise the NodeInventory of such a machine would become too large to be written.
    #[test]
    fn the_number_of_firmware_entries_is_limited() {
        let entry = Firmware { name: "ä".repeat(1000), ..Firmware::default() };
        let mut firmware = vec![entry; 1000];
        bound_firmware(&mut firmware);
        assert_eq!(firmware.len(), MAX_FIRMWARE);
        assert!(firmware.iter().all(|one| one.name.len() == NAME));
    }

    #[test]
    fn leftovers_beyond_the_limit_are_counted() {
        let leftover = |what: &str| Leftover { what: what.into(), why: "busy".into() };
        let mut many: Vec<Leftover> = (0..1000).map(|n| leftover(&n.to_string())).collect();
        bound_leftovers(&mut many);
        assert_eq!((many.len(), many.last().map(|l| l.what.as_str())), (51, Some("950 more")));
    }

    /// An honest engine is never slowed down; an engine that floods the runner is.
    #[test]
    fn an_engine_that_floods_waits_for_its_answers() {
        let start = Instant::now();
        let mut bucket = bucket(start);
        for request in 0..600 {
            let at = start + Duration::from_millis(50 * request);
            assert_eq!(bucket.charge(cost(4096), at), Duration::ZERO);
        }
        let later = start + Duration::from_mins(10);
        assert_eq!(bucket.charge(cost(2 * 1024 * 1024), later), Duration::ZERO, "a large survey");
        let waits: Vec<_> = (0..1000).map(|_| bucket.charge(cost(0), later)).collect();
        assert!(waits.is_sorted() && waits.last() == Some(&Duration::from_secs(3)), "{:?}", waits.last());
    }
}
