//! What a run leaves, or must not leave, in the cluster and on the wire.

use crate::harness::lab::output;
use crate::harness::{Machine, Site, wait};
use crate::release::Release;
use std::time::Duration;

/// What may be open after a run: what was open before, within this.
const MOMENTS: Duration = Duration::from_secs(15);

/// Everything in the cluster and on the wire that a run might leave behind.
pub(crate) async fn traces(site: &Site, release: &Release<'_>, machines: &[Machine]) -> String {
    let mut text = String::new();
    for namespace in [&release.namespace, &site.name] {
        let kinds = "services,networkpolicies,secrets";
        let listed = output("kubectl", ["get", kinds, "--namespace", namespace, "--output=name"]).await;
        // Helm keeps one for each upgrade.
        text.extend(listed.split_inclusive('\n').filter(|line| !line.contains("/sh.helm.release.")));
    }
    // What processes of machines hold, and listeners of the operator's pods. A connection whose
    // other end was killed is nobody's: the kernel goes on saying good-bye for a while.
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

/// Waits until nothing more is there than before, and nothing less. `when`: for the last word.
pub(crate) async fn is_as_before(
    before: &str,
    site: &Site,
    release: &Release<'_>,
    machines: &[Machine],
    when: &str,
) {
    wait::until("everything as it was before", MOMENTS, async || {
        let now = traces(site, release, machines).await;
        if now == before { Ok(()) } else { Err(format!("{when}\nbefore: {before}\nnow: {now}")) }
    })
    .await;
}

/// Opens a connection from a machine; what came of it in one word.
pub(crate) async fn connect(machine: &Machine, address: &str, port: u16) -> &'static str {
    let script = format!(
        "timeout 4 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo open || echo closed"
    );
    if machine.sh(&script).await.trim() == "open" { "open" } else { "closed" }
}
