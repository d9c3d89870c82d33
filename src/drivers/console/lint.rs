//! The check of a product file: all that is wrong in it, with the place and what to write instead.

mod parts;
mod push;
mod whole;

use super::file::File;
use super::product::{Command, Product};
use super::span::Span;
use super::template::Template;
use regex::{Regex, RegexBuilder};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// The version of the format that is known.
const FORMAT: u32 = 1;

/// The largest program of one pattern. Patterns of prompts have a few hundred bytes; a class that is repeated a
/// thousand times has megabytes.
const PATTERN_SIZE: usize = 256 * 1024;

/// Something that is wrong in a product file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The place, for example `requests.Pull.questions[1].answer`.
    pub at: String,
    /// What is wrong, and what to write.
    pub says: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.says)
    }
}

/// Reads and checks a product file.
///
/// # Errors
/// All that is wrong in it. A file that is no YAML, or has a key that is not known, has one finding.
pub fn read(text: &str) -> Result<Product, Vec<Finding>> {
    // The first line says where and what, those after it show the place.
    let says = |error: serde_saphyr::Error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    };
    let file: File = serde_saphyr::from_str(text)
        .map_err(|error| vec![Finding { at: "the file".to_owned(), says: says(error) }])?;
    check(&file)
}

/// Checks a file, and makes the product of it.
///
/// # Errors
/// All that is wrong in it, in the order of the file.
pub fn check(file: &File) -> Result<Product, Vec<Finding>> {
    let mut lint = Lint { file, findings: Vec::new(), assumptions: Vec::new(), cited: BTreeSet::new() };
    let product = lint.product();
    for name in file.documents.keys().filter(|name| !lint.cited.contains(*name)).collect::<Vec<_>>() {
        lint.find(format!("documents.{name}"), "it is cited nowhere");
    }
    match product {
        Some(product) if lint.findings.is_empty() => Ok(product),
        Some(_) | None => Err(lint.findings),
    }
}

/// How a pattern is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// To a whole line.
    Whole,
    /// To the end of a line.
    End,
    /// To a part of a line, or of an answer.
    Part,
}

/// What was found so far.
struct Lint<'a> {
    file: &'a File,
    findings: Vec<Finding>,
    assumptions: Vec<String>,
    /// The documents that are cited.
    cited: BTreeSet<String>,
}

impl Lint<'_> {
    fn find(&mut self, at: impl Into<String>, says: impl Into<String>) {
        self.findings.push(Finding { at: at.into(), says: says.into() });
    }

    /// Compiles a pattern. One that fits nothing at all would end each command at once.
    fn pattern(&mut self, at: &str, pattern: Option<&String>, fit: Fit) -> Option<Regex> {
        let Some(pattern) = pattern else {
            self.find(at, "the pattern is missing; write a regular expression in single quotes");
            return None;
        };
        let whole = match fit {
            Fit::Whole => format!("^(?:{pattern})$"),
            Fit::End => format!("(?:{pattern})$"),
            Fit::Part => pattern.clone(),
        };
        match RegexBuilder::new(&whole).size_limit(PATTERN_SIZE).build() {
            Ok(regex) if regex.is_match("") => {
                self.find(at, format!("`{pattern}` also fits an empty line; add what is always there"));
                None
            }
            Ok(regex) => Some(regex),
            Err(error) => {
                // The last line of the error says what, those before it show where.
                let says = error.to_string();
                let last = says.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.find(at, format!("`{pattern}` is no regular expression: {last}"));
                None
            }
        }
    }

    /// Compiles a pattern that must have a group.
    fn with_group(&mut self, at: &str, pattern: Option<&String>, group: &str) -> Option<Regex> {
        let regex = self.pattern(at, pattern, Fit::Part)?;
        if regex.capture_names().flatten().any(|name| name == group) {
            return Some(regex);
        }
        self.find(at, format!("the group `{group}` is missing; write (?P<{group}>…) around it"));
        None
    }

    /// Checks that it is said where something is from.
    fn source(&mut self, at: &str, cite: Option<&String>, assumed: Option<&String>) {
        match (cite, assumed) {
            (None, None) => self.find(
                at,
                "the citation is missing; write `cite: DOCUMENT page or section`, or `assumed:` and why",
            ),
            (Some(_), Some(_)) => self.find(at, "it is either cited or assumed, not both"),
            (None, Some(why)) if why.trim().is_empty() => self.find(at, "`assumed` is empty; say why"),
            (None, Some(why)) => self.assumptions.push(format!("{at}: {why}")),
            (Some(cite), None) => {
                let (document, place) = cite.split_once(' ').unwrap_or((cite, ""));
                self.cited.insert(document.to_owned());
                if !self.file.documents.contains_key(document) {
                    self.find(at, format!("`{document}` is not in `documents`"));
                } else if place.trim().is_empty() {
                    self.find(at, format!("`{cite}` has no page or section"));
                }
            }
        }
    }

    fn limit(&mut self, at: &str, limit: Option<Span>) -> Option<Duration> {
        if limit.is_none() {
            self.find(at, "the time limit is missing; write for example 30s");
        }
        limit.map(|span| span.0)
    }

    fn template(&mut self, at: &str, text: &str) -> Option<Template> {
        Template::parse(text).map_err(|error| self.find(at, error.to_string())).ok()
    }

    /// Checks a command.
    fn command(&mut self, at: &str, ask: &super::file::Ask) -> Option<Command> {
        self.source(at, ask.cite.as_ref(), ask.assumed.as_ref());
        let limit = self.limit(&format!("{at}.limit"), ask.limit);
        let mode = self.mode(&format!("{at}.mode"), ask.mode.as_ref());
        let template = match ask.command.as_deref() {
            Some(text) if !text.trim().is_empty() => self.template(&format!("{at}.command"), text),
            Some(_) | None => {
                self.find(format!("{at}.command"), "the command is missing");
                None
            }
        };
        Some(Command { mode: mode?, template: template?, limit: limit?, quiet: ask.quiet.map(|span| span.0) })
    }

    /// Checks that a mode is there, and with it a prompt by which the end of the command is recognised.
    fn mode(&mut self, at: &str, mode: Option<&String>) -> Option<String> {
        let known: Vec<&str> = self.file.modes.keys().map(String::as_str).collect();
        let list = known.join(", ");
        match mode {
            Some(mode) if known.contains(&mode.as_str()) => Some(mode.clone()),
            Some(mode) => {
                self.find(at, format!("there is no mode `{mode}` with a prompt in `modes` ({list})"));
                None
            }
            None => {
                self.find(
                    at,
                    format!("the mode is missing, and with it the prompt; it is one of `modes` ({list})"),
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
