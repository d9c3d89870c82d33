//! What became of each part of a machine that an image is for.
//!
//! The parts are those that the device names at the end of the work, and the entries of its inventory whose version has
//! changed meanwhile. The inventory decides: a part that is said to have failed and has another version was updated.

use super::{Part, Report};
use crate::attempt::Firmware;
use farrier_update::{Component, ComponentResult, Outcome, PartResult, Reason};
use std::collections::BTreeMap;

/// Adds the parts to the results of components, and corrects the results of those of which a part has failed.
pub(super) fn add(
    results: &mut [ComponentResult],
    components: &[Component],
    reports: &BTreeMap<String, Report>,
    before: &[Firmware],
    after: &[Firmware],
) {
    let is_done =
        |result: &ComponentResult| matches!(result.outcome, Outcome::Updated | Outcome::RebootPending);
    let installs = results.iter().filter(|result| is_done(result) || reports.contains_key(&result.name));
    // What nobody names was changed by the only image.
    let is_only = installs.count() == 1;
    for result in results.iter_mut() {
        let report = reports.get(&result.name);
        if report.is_none() && !is_done(result) {
            continue;
        }
        let told = report.map_or(&[][..], |report| &report.parts);
        let parts: Vec<PartResult> = after
            .iter()
            .filter_map(|entry| {
                let old = before.iter().find(|old| old.id == entry.id)?;
                let said = told.iter().find(|part| part.entry == entry.id);
                let changed = old.version != entry.version;
                let is_ours = is_only && changed && !is_of_another(entry, &result.name, components);
                (said.is_some() || is_ours).then(|| part(old, entry, said))
            })
            .collect();
        if parts.len() < 2 {
            continue;
        }
        judge(result, &parts);
        result.parts = parts;
    }
}

fn part(old: &Firmware, new: &Firmware, said: Option<&Part>) -> PartResult {
    let failed = said.is_some_and(|part| part.failed) && old.version == new.version;
    let entry = if new.name.is_empty() { new.id.clone() } else { new.name.clone() };
    PartResult { entry, before: old.version.clone(), after: new.version.clone(), failed }
}

/// Reports whether an entry is that of another component of the baseline.
fn is_of_another(entry: &Firmware, component: &str, components: &[Component]) -> bool {
    components.iter().any(|other| {
        let wanted = other.firmware_entry();
        let is_it = |text: &String| !text.is_empty() && wanted == Some(text.as_str());
        other.name != component && [&entry.id, &entry.name, &entry.software_id].into_iter().any(is_it)
    })
}

/// A component of which a part has failed has failed, whatever became of the part that it is detected by.
fn judge(result: &mut ComponentResult, parts: &[PartResult]) {
    let failed: Vec<String> = parts
        .iter()
        .filter(|part| part.failed)
        .map(|part| format!("{} (still {})", part.entry, part.after))
        .collect();
    if failed.is_empty() {
        return;
    }
    if !matches!(result.outcome, Outcome::Updated | Outcome::RebootPending) {
        result.message = format!("{}. Not updated: {}", result.message, failed.join(", "));
        return;
    }
    result.outcome = Outcome::Failed;
    result.reason = Reason::PartlyApplied;
    result.message = format!(
        "the image of {} was not installed on all of its parts: {} kept the version; look at the log of the machine, then start a new UpdateRun with force.rewrite",
        result.name,
        failed.join(", ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::device::Progress;

    fn firmware(id: &str, version: &str) -> Firmware {
        Firmware { id: id.to_owned(), version: version.to_owned(), ..Firmware::default() }
    }

    fn updated(name: &str) -> ComponentResult {
        ComponentResult {
            name: name.to_owned(),
            outcome: Outcome::Updated,
            reason: Reason::Updated,
            before: "1".to_owned(),
            after: "2".to_owned(),
            exit_code: None,
            started_at: None,
            finished_at: None,
            message: String::new(),
            parts: Vec::new(),
        }
    }

    fn judged(told: &[(&str, bool)], after: &[(&str, &str)]) -> ComponentResult {
        let parts = told.iter().map(|(entry, failed)| Part { entry: (*entry).to_owned(), failed: *failed });
        let report = Report { parts: parts.collect(), ..Progress::Done.into() };
        let before: Vec<Firmware> = after.iter().map(|(id, _)| firmware(id, "1")).collect();
        let after: Vec<Firmware> = after.iter().map(|(id, version)| firmware(id, version)).collect();
        let mut results = [updated("bundle")];
        let reports = BTreeMap::from([("bundle".to_owned(), report)]);
        add(&mut results, &[], &reports, &before, &after);
        let [result] = results;
        result
    }

    /// A chassis whose RMC is updated and whose BMCs are not does not start.
    #[test]
    fn a_part_that_keeps_its_version_makes_the_component_fail() {
        let result = judged(&[("rmc", false), ("bmc", true)], &[("rmc", "2"), ("bmc", "1"), ("fan", "1")]);
        assert_eq!((result.outcome, result.reason), (Outcome::Failed, Reason::PartlyApplied));
        assert!(result.message.contains("bmc (still 1)"), "{}", result.message);
        assert_eq!(result.parts.len(), 2);
    }

    /// The user would look for the part that was left out in the log of the machine.
    #[test]
    fn a_part_that_keeps_its_version_is_named_in_a_failure() {
        let report = Report {
            parts: vec![
                Part { entry: "oa".to_owned(), failed: false },
                Part { entry: "blade 3".to_owned(), failed: true },
            ],
            ..Progress::Done.into()
        };
        let versions = |oa: &str| [firmware("oa", oa), firmware("blade 3", "1")];
        let failed = ComponentResult {
            outcome: Outcome::Failed,
            reason: Reason::VersionNotReached,
            ..updated("bundle")
        };
        let mut results = [ComponentResult { message: "it has 1".to_owned(), ..failed }];
        let reports = BTreeMap::from([("bundle".to_owned(), report)]);
        add(&mut results, &[], &reports, &versions("1"), &versions("2"));
        let [result] = results;
        assert_eq!((result.outcome, result.reason), (Outcome::Failed, Reason::VersionNotReached));
        assert_eq!(result.message, "it has 1. Not updated: blade 3 (still 1)");
    }

    /// The device's word is no proof.
    #[test]
    fn a_part_with_a_new_version_was_updated() {
        let result = judged(&[("rmc", false), ("bmc", true)], &[("rmc", "2"), ("bmc", "2")]);
        assert_eq!(result.outcome, Outcome::Updated);
        assert!(result.parts.iter().all(|part| !part.failed));
    }

    /// Not all devices name the parts.
    #[test]
    fn entries_that_have_changed_are_parts() {
        let result = judged(&[], &[("rmc", "2"), ("bmc", "2"), ("fan", "1")]);
        let names: Vec<&str> = result.parts.iter().map(|part| part.entry.as_str()).collect();
        assert_eq!(names, ["rmc", "bmc"]);
    }
}
