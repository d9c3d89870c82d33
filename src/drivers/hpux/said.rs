//! What users read about the requests to an HP-UX machine, and the next step.

use super::look::{Listing, TIMED_OUT};
use super::programs::{BRIEF, LISTING};
use crate::failure::Failure;
use farrier_update::Reason;

/// Why the machine's own programs did not begin what was requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    /// Whether another request may have another answer.
    pub(super) passes: bool,
}

/// Reads the words after `refused`.
pub(super) fn refusal(node: &str, component: &str, words: &str) -> Refusal {
    let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
    let rest = rest.trim().trim_end_matches(',');
    let (reason, passes, message) = match word {
        "room" => (
            Reason::DiskFull,
            false,
            format!(
                "/var/tmp of {node} has {rest} Kbytes left, which is less than twice the depot of {component}; free room in /var there, and start a new run. Nothing was copied"
            ),
        ),
        "busy" => (
            Reason::PackageManagerBusy,
            true,
            format!("process {rest} on {node} works on software, or has its lock; it is waited for"),
        ),
        "restart" => return Refusal { failure: restart_not_allowed(node, component), passes: false },
        "selection" => (
            Reason::ImageNotForMachine,
            false,
            format!(
                "the depot of {component} does not have it in the version of the baseline; it has {}; correct the payload, version or detect.package in a new baseline",
                if rest.is_empty() { "nothing that can be listed" } else { rest }
            ),
        ),
        "depot" => (
            Reason::ImageRefused,
            false,
            format!(
                "swlist on {node} cannot list the depot of {component} (exit code {rest}): it is damaged, or is no depot of Software Distributor; try `swlist -s FILE` with the payload on an HP-UX machine, and correct it in a new baseline. Nothing was installed"
            ),
        ),
        "unlisted" => (
            Reason::DeviceUnavailable,
            true,
            format!(
                "swlist on {node} lists neither the depot of {component} nor what is installed (exit code {rest}); check that swagentd runs there (/sbin/init.d/swagentd start). It is asked again"
            ),
        ),
        "shutdown" => (
            Reason::RebootFailed,
            false,
            format!(
                "{node} was not restarted: shutdown -r -y 0 failed (exit code {rest}); check /etc/shutdown.allow there, and restart it by hand"
            ),
        ),
        "foreign" => (
            Reason::NoWritableDirectory,
            false,
            format!("{rest} on {node} is not a directory of Farrier's; remove it there, and start a new run"),
        ),
        "restarted" => {
            (Reason::InProgress, true, format!("{node} was restarted meanwhile; it is read again"))
        }
        _ => (
            Reason::DeviceRefused,
            false,
            format!("{node} could not do what was requested ({words}); look at /var/tmp there"),
        ),
    };
    Refusal { failure: Failure::new(reason, message), passes }
}

/// Describes that a component restarts the machine, and the run does not allow that.
pub(super) fn restart_not_allowed(node: &str, component: &str) -> Failure {
    Failure::new(
        Reason::RestartNotAllowed,
        format!(
            "swinstall restarts {node} as soon as it has installed {component}, and reboot.policy of the run is Never; nothing was begun. Set reboot.policy to IfRequired in a run at a time at which {node} may restart"
        ),
    )
}

/// Describes that a depot does not have a component, before anything was sent.
pub(super) fn not_in_depot<'a>(
    component: &str,
    name: &str,
    revision: &str,
    has: impl Iterator<Item = &'a (String, String)>,
) -> Failure {
    let has: Vec<String> = has.take(8).map(|(name, revision)| format!("{name} {revision}")).collect();
    let has = if has.is_empty() { "nothing".to_owned() } else { has.join(", ") };
    Failure::new(
        Reason::ImageNotForMachine,
        format!(
            "the depot of {component} does not have {name} in revision {revision}, it has {has}; correct the payload, version or detect.package in a new baseline. Nothing was copied"
        ),
    )
}

/// Describes a component whose name selects no software.
pub(super) fn no_name(component: &str) -> Failure {
    Failure::new(
        Reason::BaselineInvalid,
        format!(
            "{component}: its name, or detect.package, is not the name of a bundle, a product or a fileset (product.fileset) of HP-UX; correct it in a new baseline"
        ),
    )
}

/// Describes a running node of a cluster.
pub(super) fn cluster_node(node: &str, packages: &[&str]) -> String {
    let carries = match packages {
        [] => "no package".to_owned(),
        some => some.join(", "),
    };
    format!(
        "{node} is running as a node of its Serviceguard cluster (packages on it: {carries}); halt the node (cmhaltnode -f) or move it out of the cluster, then start a new run. Farrier never halts a node"
    )
}

/// Describes a machine that is not what its type says.
pub(super) fn not_hp_ux(node: &str, system: &str) -> Failure {
    let system = if system.is_empty() { "an unknown system" } else { system };
    Failure::new(
        Reason::NotYetSupported,
        format!("{node} runs {system}, not HP-UX; correct spec.type of the ManagedNode"),
    )
}

/// Describes a listing that has failed: nothing is decided from one that is not whole.
pub(super) fn not_listed(node: &str, listing: &Listing) -> Failure {
    let Listing { what, code, words } = listing;
    let (program, next) = match what.as_str() {
        "cluster" => ("cmviewcl -f line", "check the cluster (cmviewcl) there as root"),
        "bundle" | "product" => (
            &*format!("swlist -l {what}"),
            "run it there as root, and check that swagentd runs (/sbin/init.d/swagentd start)",
        ),
        _ => (
            "swlist -l fileset",
            "run it there as root, and check that swagentd runs (/sbin/init.d/swagentd start)",
        ),
    };
    let (reason, how) = match *code {
        TIMED_OUT if what == "cluster" => (Reason::CommandTimedOut, format!("did not end within {BRIEF} s")),
        TIMED_OUT => (Reason::CommandTimedOut, format!("did not end within {LISTING} s")),
        code => (Reason::DeviceUnavailable, format!("failed (exit code {code})")),
    };
    let said = without_urls(words.iter().map(String::as_str));
    let said = if said.is_empty() { said } else { format!(": {said}") };
    Failure::new(
        reason,
        format!(
            "{program} on {node} {how}{said}; what is installed is not known, so nothing is begun; {next}"
        ),
    )
}

/// Describes how the fetch of a depot ended.
pub(super) fn fetch_ended(code: i32, words: &str) -> (Reason, String) {
    let (reason, what) = match code {
        2 => (Reason::FetchFailed, "the depot that was fetched is not complete"),
        3 => {
            (Reason::PayloadDigestMismatch, "the depot that was fetched has another digest than the baseline")
        }
        4 => (Reason::DiskFull, "the depot could not be stored in /var/tmp"),
        _ => (Reason::FetchFailed, "the depot could not be fetched"),
    };
    (reason, joined(what, words))
}

/// Describes how `swinstall` ended, and why. `holders` are the processes that then had a lock that it needs.
pub(super) fn install_ended(code: i32, words: &str, holders: &[String]) -> (Reason, String) {
    let meaning = farrier_update::InstallerKind::SwinstallDepot.exit(code).as_str();
    let what = match code {
        2 => "swinstall ended with warnings (exit code 2)".to_owned(),
        code => format!("{meaning} (exit code {code})"),
    };
    let ended = joined(&what, words);
    match holders {
        [] => (Reason::InstallerFailed, ended),
        holders => {
            let locked = format!(
                "process {} has the lock of the depot or of the products; the next attempt waits for it. {ended}",
                without_urls(holders.iter().map(String::as_str))
            );
            (Reason::PackageManagerBusy, locked)
        }
    }
}

fn joined(what: &str, words: &str) -> String {
    if words.is_empty() { what.to_owned() } else { format!("{what}: {words}") }
}

/// Returns lines that the machine has printed in one, without URLs, which nobody may know.
pub(super) fn without_urls<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let words = lines.flat_map(str::split_whitespace);
    let words = words.map(|word| if word.contains("://") { "<url>" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(600).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An offer's URL is all that is needed to fetch the payload.
    #[test]
    fn no_url_is_quoted() {
        let lines = ["2026 URL:http://10.0.0.1:63001/token/offer/x.depot [7]", "ERROR:   no room"];
        assert_eq!(without_urls(lines.into_iter()), "2026 <url> [7] ERROR: no room");
    }

    /// Otherwise nobody learns which listing failed, why, and what to do.
    #[test]
    fn a_failed_listing_is_named_with_its_words() {
        let said = |what: &str, code, words: &[&str]| {
            let words = words.iter().map(|&words| words.to_owned()).collect();
            not_listed("hp1", &Listing { what: what.to_owned(), code, words })
        };
        let failure = said("fileset", 1, &["ERROR: Could not contact host", "hpux01."]);
        assert_eq!(failure.reason, Reason::DeviceUnavailable);
        for words in
            ["swlist -l fileset on hp1", "exit code 1", "ERROR: Could not contact host hpux01.", "swagentd"]
        {
            assert!(failure.message.contains(words), "{}", failure.message);
        }
        let slow = said("product", TIMED_OUT, &[]);
        assert_eq!(slow.reason, Reason::CommandTimedOut);
        assert!(
            slow.message.contains("swlist -l product on hp1 did not end within 180 s;"),
            "{}",
            slow.message
        );
        let cluster = said("cluster", TIMED_OUT, &[]).message;
        assert!(
            cluster.contains("cmviewcl") && cluster.contains("30 s") && !cluster.contains("swagentd"),
            "{cluster}"
        );
    }

    /// A refusal that lasts and is repeated keeps the run busy; one that passes and is final fails for nothing.
    #[test]
    fn each_refusal_has_a_reason_and_a_next_step() {
        for (words, reason, passes) in [
            ("room 1024", Reason::DiskFull, false),
            ("busy 77 /usr/sbin/swinstall -i", Reason::PackageManagerBusy, true),
            ("depot 1 ERROR: Cannot open the source", Reason::ImageRefused, false),
            ("unlisted 124", Reason::DeviceUnavailable, true),
            ("shutdown 1 ERROR: not allowed", Reason::RebootFailed, false),
            ("restart", Reason::RestartNotAllowed, false),
            ("selection Tool A.01.00,", Reason::ImageNotForMachine, false),
            ("foreign /var/tmp/farrier-a", Reason::NoWritableDirectory, false),
            ("restarted", Reason::InProgress, true),
            ("directory /x", Reason::DeviceRefused, false),
        ] {
            let refusal = refusal("hp1", "tool", words);
            assert_eq!((refusal.failure.reason, refusal.passes), (reason, passes), "{words}");
            assert!(refusal.failure.message.contains("hp1") || words.starts_with("selection"), "{words}");
        }
        assert!(
            refusal("hp1", "tool", "busy 77 swinstall -i")
                .failure
                .message
                .contains("process 77 swinstall -i")
        );
    }
}
