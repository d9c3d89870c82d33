//! What must be known before an engine can be brought: system, architecture, who we are.

use super::script::{END, as_user, between, one_line};
use super::{Machine, PLACES, directory};
use crate::failure::Failure;
use crate::ssh::Output;
use bytes::Bytes;
use farrier_update::Reason;
use std::time::Duration;

/// How long the few lines of a probe may take on a machine under load.
const LIMIT: Duration = Duration::from_secs(20);

/// What the probe found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// `uname -s`.
    pub system: String,
    /// `uname -m`.
    pub arch: String,
    /// Numeric user id.
    pub uid: u32,
    /// Whether `gzip` is there.
    pub gzip: bool,
    /// The address that the machine sees us come from, with the zone where it is link-local.
    pub seen_from: Option<String>,
    /// Directories of this session that are there already.
    pub existing: Vec<String>,
}

impl Machine {
    /// Probes the machine.
    ///
    /// # Errors
    /// `ShellUnusable`, `ConnectionLost`.
    pub async fn probe(&self) -> Result<Probe, Failure> {
        let name = directory(&self.id);
        let script = one_line(&format!(
            "echo from ${{SSH_CONNECTION%% *}}; echo system $(uname -s); echo arch $(uname -m); echo uid $(id -u);
             command -v gzip >/dev/null 2>&1 && echo gzip yes;
             for b in {PLACES}; do [ -d $b/{name} ] && echo existing $b/{name}; done;
             echo {END};"
        ));
        let output = self.connection.run(&as_user(), vec![Bytes::from(script)], LIMIT).await?;
        let lines = between(&output.stdout).ok_or_else(|| unusable(self, &output))?;
        Ok(read(&lines))
    }
}

fn read(lines: &[String]) -> Probe {
    let mut probe = Probe { uid: u32::MAX, ..Probe::default() };
    for line in lines {
        match line.split_once(' ') {
            Some(("from", value)) => probe.seen_from = Some(value.to_owned()),
            Some(("system", value)) => value.clone_into(&mut probe.system),
            Some(("arch", value)) => value.clone_into(&mut probe.arch),
            Some(("uid", value)) => probe.uid = value.parse().unwrap_or(u32::MAX),
            Some(("gzip", _)) => probe.gzip = true,
            Some(("existing", value)) => probe.existing.push(value.to_owned()),
            Some(_) | None => {}
        }
    }
    probe
}

/// The user's shell does not run commands.
pub(super) fn unusable(machine: &Machine, output: &Output) -> Failure {
    let printed = [output.stdout.as_str(), output.stderr.as_str()].join(" ");
    let printed: String =
        printed.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    let words = if printed.is_empty() { String::new() } else { format!(", it printed \"{printed}\"") };
    Failure::new(
        Reason::ShellUnusable,
        format!(
            "user {} of {} signed in, but its login shell did not run /bin/sh (exit status {}{words}); give the user a shell that runs commands",
            machine.connection.user,
            machine.connection.node,
            output.status.map_or_else(|| "unknown".to_owned(), |s| s.to_string()),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_read_line_by_line() {
        let lines: Vec<String> = [
            "from fe80::1%eth0",
            "system Linux",
            "arch x86_64",
            "uid 0",
            "gzip yes",
            "existing /run/farrier-1",
            "noise",
        ]
        .iter()
        .map(|l| (*l).to_owned())
        .collect();
        let probe = read(&lines);
        assert_eq!(
            (probe.system.as_str(), probe.arch.as_str(), probe.uid, probe.gzip),
            ("Linux", "x86_64", 0, true)
        );
        assert_eq!(probe.existing, ["/run/farrier-1"]);
        assert_eq!(probe.seen_from.as_deref(), Some("fe80::1%eth0"));
    }
}
