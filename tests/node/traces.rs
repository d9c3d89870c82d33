//! What a run may leave, or must not leave, in the cluster and on the network.

use crate::harness::lab::output;
use crate::harness::{Machine, Site, wait};
use crate::release::Release;
use std::time::Duration;

/// Within this time after a run, only those connections may be open that were open before. An SSH server with
/// `ClientAliveInterval 5` needs 20 s to notice that its client is gone, on a machine that is not busy.
const MOMENTS: Duration = Duration::from_mins(1);

/// Lists everything in the cluster and on the network that a run might leave behind.
pub(crate) async fn traces(site: &Site, release: &Release<'_>, machines: &[Machine]) -> String {
    let mut text = String::new();
    for namespace in [&release.namespace, &site.name] {
        let kinds = "services,networkpolicies,secrets";
        let listed = output("kubectl", ["get", kinds, "--namespace", namespace, "--output=name"]).await;
        // Helm keeps one Secret for each upgrade.
        text.extend(listed.split_inclusive('\n').filter(|line| !line.contains("/sh.helm.release.")));
    }
    // The sockets of processes on machines, and the listeners of the operator's pods. A connection
    // whose peer was killed has no process: the kernel keeps closing it for a while.
    for machine in machines {
        let netns = format!("--net=/run/netns/{}", machine.host);
        let held = ["listening", "established", "close-wait", "syn-sent"].map(|state| ["state", state]);
        let ss = [&netns, "ss", "-Htan"].into_iter().chain(held.as_flattened().iter().copied());
        let sockets = output("nsenter", ss).await;
        for line in sockets.lines() {
            text.extend([&machine.name, ": ", &line.split_whitespace().collect::<Vec<_>>().join(" "), "\n"]);
        }
    }
    let pods = "for process in /proc/[0-9]*; do [ \"$(readlink $process/exe)\" = /farrier ] || continue; nsenter --net=$process/ns/net ss -Hltn | awk '{ print $4 }'; done | sort -u";
    text + &output("hack/node", ["exec", "sh", "-c", pods]).await
}

/// Waits until everything is as before. `when` is for the failure message.
pub(crate) async fn is_as_before(
    before: &str,
    site: &Site,
    release: &Release<'_>,
    machines: &[Machine],
    when: &str,
) {
    wait::until("everything as it was before", MOMENTS, async || {
        let now = traces(site, release, machines).await;
        if now == before { Ok(()) } else { Err(format!("{when}: {}", changes(before, &now))) }
    })
    .await;
}

/// Describes, in one line, what is there in addition and what is missing.
fn changes(before: &str, now: &str) -> String {
    let lines = |of: &str, but: &str, sign: char| {
        let but: Vec<&str> = but.lines().collect();
        let lines = of.lines().filter(|line| !but.contains(line)).map(|line| format!("{sign}{line}"));
        lines.collect::<Vec<_>>()
    };
    [lines(before, now, '-'), lines(now, before, '+')].concat().join("; ")
}

/// Opens a connection from a machine, and returns the result as one word.
pub(crate) async fn connect(machine: &Machine, address: &str, port: u16) -> &'static str {
    let script = format!(
        "timeout 4 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo open || echo closed"
    );
    if machine.sh(&script).await.trim() == "open" { "open" } else { "closed" }
}
