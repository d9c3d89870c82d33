//! What package managers say, as kinds of obstacles. All run with `LC_ALL=C`.

use farrier_protocol::{FailureCode, Refusal, StepExit};
use std::io::{self, BufRead, BufReader, Read};

/// What is said about signatures and checksums: apt; dnf; zypper.
const UNTRUSTED: [&str; 16] = [
    "GPG error",
    "NO_PUBKEY",
    "is not signed",
    "signatures couldn't be verified",
    "signatures were invalid",
    "unauthenticated packages",
    "Hash Sum mismatch",
    "File has unexpected size",
    "GPG check FAILED",
    "enabled checking of packages via GPG keys",
    "GPG signature verification error",
    "Public key for ",
    "checksum doesn't match",
    "Signature verification failed",
    "is unsigned",
    "Package header is not signed",
];

/// What is said about repositories that cannot be read: apt; dnf; zypper.
const UNREACHABLE: [&str; 10] = [
    "Failed to fetch",
    "does not have a Release file",
    "no longer has a Release file",
    "Failed to download",
    "Errors during downloading metadata",
    "Cannot download",
    "Error downloading packages",
    "Download (curl) error",
    "Valid metadata not found",
    "Can't provide",
];

/// What is said about dependencies that cannot be met: apt; dnf; zypper.
const UNMET: [&str; 5] = [
    "unmet dependencies",
    "Unable to correct problems",
    "nothing provides",
    "conflicting requests",
    "package to be installed conflicts",
];

/// What is said about a full disk: apt; dnf; both.
const FULL: [&str; 3] = ["enough free space in", "more space needed on the", "No space left on device"];

/// What is said about holds of other packages: apt.
const HELD: [&str; 2] = ["held packages will be changed", "Held packages were changed"];

/// How lines begin that are printed once packages are being changed: dpkg. Scripts of a package may print before
/// its files are unpacked.
const BEGINNINGS: [&str; 8] = [
    "(Reading database ",
    "Selecting previously unselected package ",
    "Preparing to unpack ",
    "Unpacking ",
    "Setting up ",
    "Removing ",
    "Purging configuration files for ",
    "Processing triggers for ",
];

/// What is in such lines: dnf; zypper.
const CHANGING: [&str; 3] = ["Running transaction", ") Installing: ", ") Removing: "];

/// How much of a line is looked at; the rest is taken for another line.
const LINE: u64 = 4096;

/// Number of last lines that are quoted.
const LAST_LINES: usize = 5;

fn says(text: &str, words: &[&str]) -> bool {
    words.iter().any(|words| text.contains(words))
}

/// Returns the kind of an obstacle that repositories are.
pub(super) fn kind_of(text: &str) -> Refusal {
    if says(text, &UNTRUSTED) { Refusal::RepositoryUntrusted } else { Refusal::RepositoryUnreachable }
}

/// Returns the lines that say that a repository could not be read.
pub(super) fn obstacles(text: &str) -> Vec<String> {
    let is_obstacle = |line: &&str| says(line, &UNTRUSTED) || says(line, &UNREACHABLE);
    let mut lines: Vec<String> = text.lines().map(str::trim).filter(is_obstacle).map(Into::into).collect();
    lines.dedup();
    lines.truncate(LAST_LINES);
    lines
}

/// Returns the exit of a step whose repositories could not be asked.
pub(super) fn unavailable(text: &str) -> StepExit {
    StepExit::refused(kind_of(text), last(text))
}

/// Returns the exit of a step whose trial failed; `None` if the words are not known.
pub(super) fn of_trial(text: &str) -> Option<StepExit> {
    if says(text, &HELD) {
        return Some(StepExit::refused(Refusal::Held, last(text)));
    }
    if says(text, &UNMET) {
        return Some(StepExit::DependencyMissing);
    }
    says(text, &UNREACHABLE).then(|| unavailable(text)).or_else(|| of_run(text))
}

/// Returns the exit of a step whose package manager failed before it changed anything; `None` if the words are not
/// known.
pub(super) fn of_run(text: &str) -> Option<StepExit> {
    if says(text, &FULL) {
        return Some(StepExit::not_started(FailureCode::DiskFull, last(text)));
    }
    (says(text, &UNTRUSTED) || says(text, &UNREACHABLE)).then(|| unavailable(text))
}

/// Reports whether a package manager has begun to change packages, from everything that it has printed. Where a
/// part of it is no longer there, it has: it prints megabytes only when scripts of packages do.
pub(super) fn has_begun(output: impl Read) -> io::Result<bool> {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.by_ref().take(LINE).read_until(b'\n', &mut line)? > 0 {
        if line.contains(&0) {
            return Ok(true);
        }
        let text = String::from_utf8_lossy(&line);
        // A carriage return repaints the line, as dpkg does while it reads its database.
        let begins = |text: &str| BEGINNINGS.iter().any(|words| text.starts_with(words));
        if text.split('\r').any(begins) || says(&text, &CHANGING) {
            return Ok(true);
        }
        line.clear();
    }
    Ok(false)
}

/// Reports whether another process had a lock that the package manager needs.
pub(super) fn is_locked(text: &str) -> bool {
    text.lines().any(|line| {
        line.starts_with("E: Could not get lock") || line.starts_with("E: Unable to acquire the dpkg")
    }) || text.contains("System management is locked by the application")
}

/// Returns the last lines for a message: errors, if there are any.
pub(super) fn last(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_error = |line: &&str| {
        ["E: ", "W: ", "Error: ", "error: "].iter().any(|start| line.starts_with(start))
            || says(line, &UNTRUSTED)
            || says(line, &UNREACHABLE)
    };
    let errors: Vec<&str> = lines().filter(is_error).collect();
    let all: Vec<&str> = if errors.is_empty() { lines().collect() } else { errors };
    all.get(all.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(exit: Option<&StepExit>) -> Option<Refusal> {
        match exit {
            Some(StepExit::NotStarted { refusal, .. }) => *refusal,
            _ => None,
        }
    }

    /// A repository that is down and one that may be forged need different people.
    #[test]
    fn obstacles_are_told_apart() {
        let apt = "W: GPG error: http://x ./ InRelease: The following signatures couldn't be verified";
        assert_eq!(kind_of(apt), Refusal::RepositoryUntrusted);
        assert_eq!(
            kind_of("W: Failed to fetch http://x/  Connection refused"),
            Refusal::RepositoryUnreachable
        );
        let dnf = "Error: Failed to download metadata for repo 'x': Cannot download repomd.xml";
        assert_eq!(refusal(of_trial(dnf).as_ref()), Some(Refusal::RepositoryUnreachable));
        assert_eq!(refusal(of_run("Error: GPG check FAILED").as_ref()), Some(Refusal::RepositoryUntrusted));
        assert_eq!(
            of_trial("fx : Depends: nothere but it is not installable\nE: unmet dependencies"),
            Some(StepExit::DependencyMissing)
        );
        let full = of_run("E: You don't have enough free space in /var/cache/apt/archives/.");
        assert!(matches!(full, Some(StepExit::NotStarted { code: FailureCode::DiskFull, .. })), "{full:?}");
        assert_eq!(of_trial("E: Internal error"), None);
    }

    /// A package that is half installed would be reported as one that was not touched, and be installed again.
    #[test]
    fn what_has_begun_is_seen_whatever_is_printed_after_it() {
        let begun = |text: &str| has_begun(text.as_bytes()).unwrap();
        let more = "a line of a script\n".repeat(10_000);
        for line in [
            "Unpacking fx (2) over (1) ...",
            "(Reading database ... \r(Reading database ... 5%\r(Reading database ... 10 files.)",
            "Preparing to unpack .../archives/fx_2_all.deb ...",
            "Removing gone (1) ...",
            "Running transaction",
            "(1/2) Installing: fx-2-1.noarch [..done]",
            "( 1/12) Removing: gone-1-1.noarch [done]",
        ] {
            assert!(
                begun(&format!("Reading package lists...\n{line}\n{more}E: Failed to fetch http://x/\n")),
                "{line}"
            );
        }
        assert!(begun("of an apt whose output was released\n\0\0\0\0"));
        for text in [
            "Reading package lists...\nThe following packages will be REMOVED:\n  gone\nE: Failed to fetch http://x/\n",
            "Retrieving: fx-2-1.noarch (Plain RPM files cache) (1/1),   6.5 KiB\n",
            "",
        ] {
            assert!(!begun(&format!("{}{text}", "Get:1 http://x/ ./ fx 2\n".repeat(1000))), "{text}");
        }
        assert!(is_locked(
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt)\n"
        ));
    }
}
