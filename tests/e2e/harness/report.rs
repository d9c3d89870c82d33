//! The report of a failed test: enough to understand the failure without another run.

use super::lab;
use super::site::Site;
use farrier::api::{Baseline, ManagedNode, NodeUpdate, UpdateRun};
use farrier::publish::Kind;
use kube::ResourceExt;
use kube::api::ListParams;
use std::io::Write;
use std::time::Duration;

/// Maximum number of printed lines of the operator's log.
const LOG_LINES: usize = 800;

/// Prints the operator's log, all objects, all events, and the engines' journals.
pub(crate) async fn print(site: &Site) {
    println!("\n======== {}", site.name);
    objects::<ManagedNode>(site).await;
    objects::<Baseline>(site).await;
    objects::<UpdateRun>(site).await;
    objects::<NodeUpdate>(site).await;
    println!("\n-------- events");
    site.events().await.iter().for_each(|line| println!("{line}"));
    for machine in site.machines() {
        println!("\n-------- machine {}: {:?}", machine.host, machine.traces());
        let script = "tail -n 25 /var/log/farrier/*/journal-* 2>/dev/null | cut -c 1-400 || true";
        match lab::try_output("labctl", ["exec", &machine.host, "--", "/bin/sh", "-c", script]).await {
            Ok(journal) => println!("{journal}"),
            Err(words) => println!("the machine is off: {words}"),
        }
    }
    println!("\n-------- the operator's log");
    let log = site.logs();
    let lines: Vec<&str> = log.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).for_each(|line| println!("{line}"));
    println!("======== end of {}\n", site.name);
}

/// Prints how long a test took, directly to the terminal, because the test runner would capture it.
pub(crate) fn time(site: &Site, took: Duration) {
    if std::env::var_os("E2E_TIMES").is_some() {
        writeln!(std::io::stderr(), "time {:5.1} s {}", took.as_secs_f32(), site.name).expect("a line");
    }
}

async fn objects<K: Kind>(site: &Site) {
    let list = match site.api::<K>().list(&ListParams::default()).await {
        Ok(list) => list,
        Err(error) => return println!("{} cannot be listed: {error}", K::plural(&())),
    };
    for mut object in list.items {
        object.managed_fields_mut().clear();
        println!("\n-------- {} {}", K::kind(&()), object.name_any());
        match serde_saphyr::to_string(&object) {
            Ok(text) => println!("{text}"),
            Err(error) => println!("{error}"),
        }
    }
}
