//! Snapshots of a machine before and after a run, and the allowed differences.

use super::machine::Machine;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Paths that may differ: each stands for the path itself and all paths below it; with `*` at its end,
/// for every path with this prefix.
pub(crate) type Allowed<'a> = &'a [&'static str];

/// The log that Farrier leaves on the machine.
pub(crate) const LOG: Allowed<'static> = &["/var/log/farrier"];

/// Debian's package database and its log.
pub(crate) const DPKG: Allowed<'static> =
    &["/var/lib/dpkg/status", "/var/lib/dpkg/status-old", "/var/log/dpkg.log", "/var/log/alternatives.log"];

/// The files of the package ethtool.
pub(crate) const ETHTOOL: Allowed<'static> = &[
    "/usr/sbin/ethtool",
    "/usr/share/bash-completion/completions/ethtool",
    "/usr/share/doc/ethtool",
    "/usr/share/man/man8/ethtool.8.gz",
    "/var/lib/dpkg/info/ethtool.*",
];

/// The files of the package farrier-agent, and the file that its postinst writes.
pub(crate) const AGENT: Allowed<'static> =
    &["/usr/bin/farrier-agent", "/var/log/farrier-agent.log", "/var/lib/dpkg/info/farrier-agent.*"];

/// The files of the package hello. It brings directories back that the image leaves out, with documentation and
/// translations; then dpkg writes the lists of all packages that have these directories.
pub(crate) const HELLO: Allowed<'static> = &[
    "/usr/bin/hello",
    "/usr/share/doc/hello",
    "/usr/share/info/hello.info.gz",
    "/usr/share/locale",
    "/usr/share/man/man1",
    "/var/lib/dpkg/info",
];

/// The package database of RPM.
pub(crate) const RPM: Allowed<'static> = &["/var/lib/rpm"];

/// The file that bmc-tool.sh writes.
pub(crate) const BMC_TOOL: Allowed<'static> = &["/etc/bmc-tool.version"];

/// The files that slow.sh writes.
pub(crate) const SLOW: Allowed<'static> = &["/etc/slow.version", "/var/log/slow.runs"];

/// The output of `labctl snapshot`: files with mode, owner, size and digest, processes, sockets,
/// firewall rules.
pub(crate) struct Snapshot {
    /// Lines, each with the number of its occurrences.
    lines: BTreeMap<String, isize>,
}

impl Snapshot {
    pub(crate) fn of(text: &str) -> Self {
        let mut lines = BTreeMap::new();
        for line in text.lines() {
            *lines.entry(line.to_owned()).or_default() += 1;
        }
        Self { lines }
    }

    /// Panics unless all differences to `after` are allowed.
    pub(crate) fn same_but(&self, after: &Self, allowed: &[Allowed<'_>]) {
        let mut wrong = String::new();
        for line in self.difference(after) {
            let path = line.strip_prefix("+ file ").or_else(|| line.strip_prefix("- file "));
            let path = path.and_then(|rest| rest.split(' ').next());
            if !path.is_some_and(|path| allowed.iter().any(|list| list.iter().any(|a| covers(a, path)))) {
                writeln!(wrong, "{line}").expect("a string takes it");
            }
        }
        assert!(wrong.is_empty(), "the machine is not as it was before:\n{wrong}");
    }

    /// Returns the lines that were removed and the lines that were added.
    pub(crate) fn difference(&self, after: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (line, count) in &self.lines {
            let now = after.lines.get(line).copied().unwrap_or_default();
            if now < *count {
                lines.push(format!("- {line}"));
            }
        }
        for (line, count) in &after.lines {
            let before = self.lines.get(line).copied().unwrap_or_default();
            if before < *count {
                lines.push(format!("+ {line}"));
            }
        }
        lines
    }
}

/// Takes snapshots of several machines at the same time.
pub(crate) async fn of_all(machines: &[Machine]) -> Vec<Snapshot> {
    futures::future::join_all(machines.iter().map(Machine::snapshot)).await
}

/// Compares snapshots of the same machines. Panics unless all differences are allowed.
pub(crate) fn all_same_but(before: &[Snapshot], after: &[Snapshot], allowed: &[Allowed<'_>]) {
    assert_eq!(before.len(), after.len());
    before.iter().zip(after).for_each(|(before, after)| before.same_but(after, allowed));
}

fn covers(allowed: &str, path: &str) -> bool {
    match allowed.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        None => path.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

/// A comparison that misses a difference would make every "left clean" check of this suite worthless.
#[test]
fn every_difference_that_is_not_allowed_is_found() {
    let before =
        Snapshot::of("file /a f 644 0:0 1 x\nfile /b f 644 0:0 1 x\nprocess sshd\nsocket tcp LISTEN :22\n");
    before.same_but(
        &Snapshot::of("file /a f 644 0:0 1 x\nfile /b f 644 0:0 1 x\nprocess sshd\nsocket tcp LISTEN :22\n"),
        &[],
    );
    for (after, found) in [
        ("file /a f 600 0:0 1 x\nfile /b f 644 0:0 1 x\nprocess sshd\nsocket tcp LISTEN :22", 2),
        ("file /a f 644 0:0 1 x\nprocess sshd\nsocket tcp LISTEN :22", 1),
        (
            "file /a f 644 0:0 1 x\nfile /b f 644 0:0 1 x\nprocess sshd\nprocess sshd\nsocket tcp LISTEN :22",
            1,
        ),
        ("file /a f 644 0:0 1 x\nfile /b f 644 0:0 1 x\nprocess sshd\nsocket tcp LISTEN :23", 2),
    ] {
        let difference = before.difference(&Snapshot::of(after));
        assert_eq!(difference.len(), found, "{after}: {difference:?}");
    }
    for (allowed, path, wanted) in [
        ("/var/log/farrier", "/var/log/farrier/r1/x.log", true),
        ("/var/log/farrier", "/var/log/farrier", true),
        ("/var/log/farrier", "/var/log/farrier-agent.log", false),
        ("/var/lib/dpkg/info/ethtool.*", "/var/lib/dpkg/info/ethtool.list", true),
        ("/var/lib/dpkg/info/ethtool.*", "/var/lib/dpkg/info/ethtools", false),
    ] {
        assert_eq!(covers(allowed, path), wanted, "{allowed} {path}");
    }
}
