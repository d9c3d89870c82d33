//! What the answers of readings say: versions, work, boot mark.

use super::dialogue::Answer;
use super::file::{Stage, Take};
use super::product::{Boot, Versions, Work};

/// A version that a device shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Name of the thing.
    pub entry: String,
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

/// Reads the versions. A thing that is not found is absent.
pub fn versions(reading: &Versions, answer: &Answer) -> Vec<Installed> {
    let text = answer.text();
    let found = reading.entries.iter().flat_map(|(entry, pattern)| {
        pattern.captures_iter(&text).filter_map(move |found| {
            let version = found.name("version")?.as_str().to_owned();
            let other = found.name("other").map(|other| other.as_str().to_owned());
            // Several things of one kind have a name each.
            let name = found.name("name").map(|name| format!("{entry} {}", name.as_str()));
            let other = other.filter(|other| *other != version);
            Some(Installed { entry: name.unwrap_or_else(|| entry.clone()), version, other })
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

/// Reads the text that is another one after each start; empty if it is not there.
pub fn boot(reading: &Boot, answer: &Answer) -> String {
    let text = answer.text();
    let found =
        reading.pattern.captures(&text).and_then(|found| Some(found.name("mark")?.as_str().to_owned()));
    found.unwrap_or_default()
}
