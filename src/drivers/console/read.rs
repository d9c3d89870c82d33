//! What the answers of readings say: versions, work, boot mark.

use super::dialogue::{Answer, shown as said};
use super::file::{Stage, Take};
use super::meaning::Meaning;
use super::product::{Boot, Check, Entry, Interruption, Versions, Word, Work};
use crate::drivers::text::clean;
use farrier_update::version::{Scheme, compare_installed};
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
    /// The things that must all have the version, if it consists of such.
    pub members: Vec<Member>,
}

/// A thing that must have the same version as others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Name of its own entry.
    pub entry: String,
    /// Its version; empty if it does not show, and should.
    pub version: String,
}

impl Installed {
    /// Returns the version that counts for one that is wanted: what is not on all members is not installed.
    pub fn version_for(&self, wanted: Option<&str>) -> &str {
        let is = |version: &str, wanted| compare_installed(Scheme::Natural, version, wanted).is_eq();
        let is_wanted = wanted.is_some_and(|wanted| is(&self.version, wanted));
        let differs = self.members.iter().find(|member| !is(&member.version, &self.version));
        differs.filter(|_| is_wanted).map_or(&self.version, |member| &member.version)
    }

    /// Returns what does not have the version, in words; `None` if all has it.
    pub fn difference(&self) -> Option<String> {
        let second = self.other.iter().map(|other| format!("the second copy is {other}"));
        let members = self.members.iter().filter(|member| member.version != self.version);
        let members = members.map(|Member { entry, version }| match version.as_str() {
            "" => format!("{entry} does not show"),
            version => format!("{entry} is {version}"),
        });
        let all: Vec<String> = second.chain(members).collect();
        let more = all.len().saturating_sub(NAMED);
        let named = all.get(..all.len() - more).unwrap_or_default().join(", ");
        match (all.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(named),
            (false, more) => Some(format!("{named}, and {more} more")),
        }
    }

    /// Adds the members that were there and do not show any more.
    pub fn misses<'a>(&mut self, were: impl IntoIterator<Item = &'a String>) {
        for entry in were {
            if !self.members.iter().any(|member| member.entry == *entry) {
                self.members.push(Member { entry: entry.clone(), version: String::new() });
            }
        }
    }
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

/// Characters of the longest version, name or mark that is taken. Real ones have a few dozen; all are in statuses, which
/// a broken device must not fill.
const LONGEST_VERSION: usize = 128;

/// The most entries that are taken. The largest complex has some dozens.
const MOST_ENTRIES: usize = 512;

/// How many differing things a message names.
const NAMED: usize = 4;

/// Reads the versions. A thing that is not found is absent, and so is one that consists of others of which none is
/// found.
pub fn versions(reading: &Versions, answer: &Answer) -> Vec<Installed> {
    let text = answer.text();
    let all = reading.entries.iter().flat_map(|entry| found(entry, &reading.entries, &text));
    all.take(MOST_ENTRIES).collect()
}

/// Reads the versions of one entry.
fn found(entry: &Entry, all: &[Entry], text: &str) -> Vec<Installed> {
    let mut shown: Vec<Installed> =
        entry.version.iter().flat_map(|version| shown(entry, version, text)).collect();
    let Some(kind) = &entry.all else { return shown };
    let of_kind = all.iter().filter(|other| other.name == *kind && other.all.is_none());
    let members = of_kind.flat_map(|other| found(other, &[], text));
    let members: Vec<Member> =
        members.map(|Installed { entry, version, .. }| Member { entry, version }).collect();
    let Some(first) = members.first() else { return Vec::new() };
    if entry.version.is_none() {
        let (name, version) = (entry.name.clone(), first.version.clone());
        shown.push(Installed { entry: name, part: None, version, other: None, members: Vec::new() });
    }
    for installed in &mut shown {
        installed.members.clone_from(&members);
    }
    shown
}

/// Finds what a pattern fits.
fn shown(entry: &Entry, version: &Regex, text: &str) -> Vec<Installed> {
    let found = version.captures_iter(text).filter_map(|found| {
        let group = |name| found.name(name).map(|group| clean(group.as_str(), LONGEST_VERSION));
        let version = group("version")?;
        let other = group("other");
        // Several things of one kind have a name each.
        let part = group("name");
        let entry = part.as_ref().map_or_else(|| entry.name.clone(), |part| format!("{} {part}", entry.name));
        let other = other.filter(|other| *other != version);
        Some(Installed { entry, part, version, other, members: Vec::new() })
    });
    found.take(MOST_ENTRIES).collect()
}

/// Reads how far the work is; `None` if no line has a meaning.
pub fn work(reading: &Work, answer: &Answer) -> Option<Standing> {
    let mut standings = answer.lines.iter().filter_map(|line| {
        let (pattern, stage) = reading.states.iter().find(|(pattern, _)| pattern.is_match(line))?;
        let percent = pattern.captures(line).and_then(|found| found.name("percent")?.as_str().parse().ok());
        Some(Standing { stage: *stage, words: said(line), percent })
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
    let refused = check.words.iter().find_map(|word| Some((word.means, said(line_of(word)?))));
    let is_healthy = answer.lines.iter().any(|line| check.healthy.is_match(line));
    refused.or_else(|| (!is_healthy).then(|| (Meaning::NotReady, answer.quote())))
}

/// Finds the bay of a device whose addresses are these, in the answer of its manager, and the address that the manager
/// shows of it. Addresses are compared as addresses: a manager shows IPv6 in another form.
pub fn bay(pattern: &Regex, answer: &Answer, addresses: &[IpAddr]) -> Option<(String, IpAddr)> {
    let text = answer.text();
    pattern.captures_iter(&text).find_map(|found| {
        let address: IpAddr = found.name("address")?.as_str().parse().ok()?;
        let bay = found.name("bay").filter(|_| addresses.contains(&address))?;
        Some((bay.as_str().to_owned(), address))
    })
}

/// Reads what an installation interrupts, in words for users; empty if no line tells.
pub fn interruption(reading: &Interruption, answer: &Answer) -> String {
    let text = answer.text();
    let fits = |pattern: &Regex| text.lines().any(|line| pattern.is_match(line));
    let remark = reading.remarks.iter().find(|(pattern, _)| fits(pattern));
    remark.map(|(_, says)| says.clone()).unwrap_or_default()
}

/// Reads the text that is another one after each start; empty if it is not there.
pub fn boot(reading: &Boot, answer: &Answer) -> String {
    let text = answer.text();
    let found =
        reading.pattern.captures(&text).and_then(|found| Some(found.name("mark")?.as_str().to_owned()));
    clean(&found.unwrap_or_default(), LONGEST_VERSION)
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
        Answer::plain(End::Prompt("user".to_owned()), lines)
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

    /// A device that is broken would fill the status of its machine, and with it that of all others in the namespace.
    #[test]
    fn what_is_read_has_a_largest_size() {
        let versions = product().versions;
        let long = format!("Acme OS version {}", "9".repeat(10_000));
        let found = super::versions(&versions, &answer(&[&long]));
        assert_eq!(found[0].version.chars().count(), LONGEST_VERSION + 1, "and a mark that it is cut");
        let many = vec!["Acme OS version 4.2"; 10_000];
        assert_eq!(super::versions(&versions, &answer(&many)).len(), MOST_ENTRIES);
        let work = product().work.unwrap();
        let endless = format!("Upgrade in progress, 40%{}", ".".repeat(10_000));
        assert!(super::work(&work, &answer(&[&endless])).unwrap().words.len() < 1000);
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
