//! Facts that are needed before the deployment: system, architecture, user.

use super::{Machine, PLACES, directory};
use crate::drivers::engine::Probe;
use crate::drivers::shell::script::{as_user, between, program};
use crate::failure::Failure;
use farrier_protocol::STAGED_DIRECTORY;
use std::time::Duration;

/// How long the few lines of a probe may take on a machine under load.
const LIMIT: Duration = Duration::from_secs(20);

impl Machine {
    /// Probes the machine.
    ///
    /// # Errors
    /// `ShellUnusable`, `SshCommandReplaced`, and those of running a command.
    pub async fn probe(&self) -> Result<Probe, Failure> {
        let settings = [("NAME", &*directory(&self.session.id)), ("STAGED", STAGED_DIRECTORY)];
        let program = program(include_str!("probe.sh"), &settings, PLACES);
        let output = self.session.connection.run(&as_user(), vec![program], LIMIT).await?;
        match between(&output.stdout) {
            Some(lines) => Ok(read(&lines)),
            None => Err(self.session.unusable_or_sftp(&output).await),
        }
    }
}

pub(super) fn read(lines: &[String]) -> Probe {
    let mut probe = Probe { uid: u32::MAX, ..Probe::default() };
    for line in lines {
        match line.split_once(' ') {
            Some(("from", value)) => probe.seen_from = Some(value.to_owned()),
            Some(("at", value)) => probe.seen_at = Some(value.to_owned()),
            Some(("system", value)) => value.clone_into(&mut probe.system),
            Some(("arch", value)) => value.clone_into(&mut probe.arch),
            Some(("uid", value)) => probe.uid = value.parse().unwrap_or(u32::MAX),
            Some(("gzip", _)) => probe.gzip = true,
            Some(("existing", value)) => probe.existing.push(value.to_owned()),
            Some(("staged", _)) => probe.has_staged = true,
            Some(_) | None => {}
        }
    }
    probe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_read_line_by_line() {
        let lines: Vec<String> = [
            "from fe80::1%eth0",
            "at fe80::2%eth0",
            "system Linux",
            "arch x86_64",
            "uid 0",
            "gzip yes",
            "existing /run/farrier-1",
            "staged /var/lib/farrier-staged",
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
        assert!(probe.has_staged);
        let seen = (probe.seen_from.as_deref(), probe.seen_at.as_deref());
        assert_eq!(seen, (Some("fe80::1%eth0"), Some("fe80::2%eth0")));
    }
}
