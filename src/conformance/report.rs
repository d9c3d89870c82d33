//! What the kit found: one line for each check.

use std::fmt;
use std::time::Duration;

/// The results of all checks.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was tried on what.
    pub of: String,
    /// The checks, in the order of the table.
    pub lines: Vec<Line>,
}

/// The result of one check.
#[derive(Debug, Clone)]
pub struct Line {
    /// Name of the check.
    pub check: String,
    /// The result.
    pub verdict: Verdict,
    /// When the result was there, counted from the beginning of all checks.
    pub after: Duration,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The driver does what it must. The text says what was seen.
    Passed(String),
    /// The driver does not, and how.
    Failed(String),
    /// The check has no meaning here, and why.
    Skipped(String),
}

/// Why a check ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    Failed(String),
    Skipped(String),
}

impl Broken {
    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}

impl From<Result<String, Broken>> for Verdict {
    fn from(tried: Result<String, Broken>) -> Self {
        match tried {
            Ok(seen) => Self::Passed(seen),
            Err(Broken::Failed(why)) => Self::Failed(why),
            Err(Broken::Skipped(why)) => Self::Skipped(why),
        }
    }
}

impl Report {
    /// Reports whether no check has failed.
    pub fn is_passed(&self) -> bool {
        !self.lines.iter().any(|line| matches!(line.verdict, Verdict::Failed(_)))
    }

    /// Returns the checks that have no meaning here, by name.
    pub fn skipped(&self) -> Vec<&str> {
        let skipped = self.lines.iter().filter(|line| matches!(line.verdict, Verdict::Skipped(_)));
        skipped.map(|line| line.check.as_str()).collect()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.verdict {
            Verdict::Passed(text) => ("passed", text),
            Verdict::Failed(text) => ("FAILED", text),
            Verdict::Skipped(text) => ("skipped", text),
        };
        write!(f, "{word:7}  {:22}", self.check)?;
        if text.is_empty() { Ok(()) } else { write!(f, "  {text}") }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.of)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failed check that reads like a passed one would be overlooked.
    #[test]
    fn one_line_tells_one_check() {
        let line = |verdict| Line { check: "plan".into(), verdict, after: Duration::ZERO };
        let failed = line(Verdict::Failed("a session is left".into()));
        assert_eq!(failed.to_string(), "FAILED   plan                    a session is left");
        let skipped = line(Verdict::Skipped("no baseline".into()));
        let mut report =
            Report { of: "x".into(), lines: vec![line(Verdict::Passed(String::new())), skipped] };
        assert!(report.is_passed());
        assert_eq!(report.skipped(), ["plan"]);
        report.lines.push(failed);
        assert!(!report.is_passed());
    }
}
