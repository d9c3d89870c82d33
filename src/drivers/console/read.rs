//! What the answers of readings say: versions, work, boot mark.

use super::dialogue::Answer;
use super::file::{Stage, Take};
use super::meaning::Meaning;
use super::product::{Boot, Check, Versions, Word, Work};
use regex::Regex;
use std::net::IpAddr;

/// A version that a device shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Name of the thing.
    pub entry: String,
    /// What the device itself calls it, if it has several of the kind: `{part}` of commands.
    pub part: Option<String>,
    /// The version in effect.
    pub version: String,
    /// The version of the second copy, if the device has one and it is another one: work is not over, or was not
    /// finished.
    pub other: Option<String>,
}

/// How far work is, as a line says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How far it is.
    pub stage: Stage,
    /// The line.
    pub words: String,
    /// How far in hundredths, if it is shown.
    pub percent: Option<u8>,
}

impl Standing {
    /// Returns the words of the device, with how far the work is.
    pub fn in_words(&self) -> String {
        match self.percent {
            Some(percent) => format!("{} ({percent} %)", self.words),
            None => self.words.clone(),
        }
    }
}

/// Reads the versions. A thing that is not found is absent.
pub fn versions(reading: &Versions, answer: &Answer) -> Vec<Installed> {
    let text = answer.text();
    let found = reading.entries.iter().flat_map(|(entry, pattern)| {
        pattern.captures_iter(&text).filter_map(move |found| {
            let version = found.name("version")?.as_str().to_owned();
            let other = found.name("other").map(|other| other.as_str().to_owned());
            // Several things of one kind have a name each.
            let part = found.name("name").map(|name| name.as_str().to_owned());
            let entry = part.as_ref().map_or_else(|| entry.clone(), |part| format!("{entry} {part}"));
            let other = other.filter(|other| *other != version);
            Some(Installed { entry, part, version, other })
        })
    });
    found.collect()
}

/// Reads how far the work is; `None` if no line has a meaning.
pub fn work(reading: &Work, answer: &Answer) -> Option<Standing> {
    let mut standings = answer.lines.iter().filter_map(|line| {
        let (pattern, stage) = reading.states.iter().find(|(pattern, _)| pattern.is_match(line))?;
        let percent = pattern.captures(line).and_then(|found| found.name("percent")?.as_str().parse().ok());
        Some(Standing { stage: *stage, words: line.trim().to_owned(), percent })
    });
    match reading.take {
        Take::First => standings.next(),
        Take::Last => standings.next_back(),
    }
}

/// Reports why a check has failed: what it means, and the line that says so; `None` if all is well. An answer that has
/// neither the line that must be there nor one that must not has failed.
pub fn failed_check(check: &Check, answer: &Answer) -> Option<(Meaning, String)> {
    let line_of = |word: &Word| answer.lines.iter().find(|line| word.pattern.is_match(line));
    let refused = check.words.iter().find_map(|word| Some((word.means, line_of(word)?.trim().to_owned())));
    let is_healthy = answer.lines.iter().any(|line| check.healthy.is_match(line));
    refused.or_else(|| (!is_healthy).then(|| (Meaning::NotReady, answer.quote())))
}

/// Finds the bay of a device whose addresses are these, in the answer of its manager. Addresses are compared as
/// addresses: a manager shows IPv6 in another form.
pub fn bay(pattern: &Regex, answer: &Answer, addresses: &[IpAddr]) -> Option<String> {
    let text = answer.text();
    pattern.captures_iter(&text).find_map(|found| {
        let address: IpAddr = found.name("address")?.as_str().parse().ok()?;
        addresses.contains(&address).then(|| found.name("bay").map(|bay| bay.as_str().to_owned()))?
    })
}

/// Reads the text that is another one after each start; empty if it is not there.
pub fn boot(reading: &Boot, answer: &Answer) -> String {
    let text = answer.text();
    let found =
        reading.pattern.captures(&text).and_then(|found| Some(found.name("mark")?.as_str().to_owned()));
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::dialogue::{Answer, End};
    use super::super::file::Stage;
    use super::super::lint;
    use super::*;

    /// The example of the documentation, with checks.
    fn product() -> super::super::Product {
        let page = include_str!("../../../docs/console-devices.md");
        let example = page
            .split("```yaml\n")
            .find(|text| text.starts_with("format:"))
            .and_then(|rest| rest.split("```").next())
            .unwrap();
        lint::read(example).unwrap_or_else(|found| panic!("{found:#?}"))
    }

    fn answer(lines: &[&str]) -> Answer {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let end = End::Prompt("user".to_owned());
        Answer { end, lines, refused: None, missing: None, answered: false, accepted: false, percent: None }
    }

    /// A device whose standby is not ready would be updated all the same, and stop what it does for others.
    #[test]
    fn a_check_needs_the_line_that_says_so() {
        let check = &product().checks[0];
        let failed = |lines: &[&str]| failed_check(check, &answer(lines));
        assert_eq!(failed(&["Redundancy: ok"]), None);
        assert_eq!(
            failed(&["Redundancy: ok", " Standby: absent"]),
            Some((Meaning::NotReady, "Standby: absent".to_owned()))
        );
        assert_eq!(
            failed(&["% ?"]),
            Some((Meaning::NotReady, "% ?".to_owned())),
            "an answer that nobody knows"
        );
        assert_eq!(failed(&[]), Some((Meaning::NotReady, String::new())));
    }

    /// How far an upgrade is decides whether the device may be asked for another one.
    #[test]
    fn the_line_that_counts_is_taken() {
        let mut work = product().work.unwrap();
        let lines = ["Upgrade in progress, 40%", "Upgrade complete"];
        assert_eq!(super::work(&work, &answer(&lines)).unwrap().stage, Stage::Done);
        work.take = Take::First;
        let first = super::work(&work, &answer(&lines)).unwrap();
        assert_eq!((first.stage, first.percent), (Stage::Running, Some(40)));
        assert_eq!(super::work(&work, &answer(&["something else"])), None);
    }
}
