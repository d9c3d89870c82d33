//! BMCs that post their progress while they fetch an image from Farrier, and posts that stop.

use super::pulls::without_push;
use super::updates::{BMCS, flashes};
use super::{Bmc, Value, is_over};
use crate::harness::lab::output;
use crate::harness::{Conditions, Run, Site, e2e, wait};
use farrier_bmc_double::Settings;
use farrier_bmc_double::fault::{Armed, Fault};
use serde_json::json;
use std::time::Duration;

/// How long a run may take: posts that stop are noticed after half a minute.
const ENDS: Duration = Duration::from_mins(3);

/// An iDRAC that takes no push, and writes its image for so long.
async fn pulling(site: &Site, flash_ms: u64) -> (Bmc, Value) {
    let (bmc, spec) =
        without_push(site, &BMCS[1], &json!({"update": {"push": null, "multipart": null}})).await;
    bmc.double.set(Settings { flash_ms, ..bmc.double.settings() });
    (bmc, spec)
}

fn delivered(bmc: &Bmc) -> usize {
    let journal = bmc.double.journal();
    journal.iter().filter(|entry| entry.kind == "event" && entry.detail["outcome"] == "204").count()
}

fn subscriptions(bmc: &Bmc) -> u64 {
    bmc.double.state()["subscriptions"].as_u64().expect("a number")
}

async fn is_posted(run: &Run<'_>, bmc: &Bmc) {
    let update = run.node_until(&bmc.name, "posts", |update| update.reason("StatusPath") == "Posted").await;
    assert_eq!(update.state("StatusPath"), "True", "{}", update.words("StatusPath"));
}

async fn is_updated(run: &Run<'_>, bmc: &Bmc) {
    run.ends(ENDS).await;
    let update = run.node(&bmc.name).await;
    assert_eq!(update.state("Succeeded"), "True", "{}", update.words("Succeeded"));
    assert_eq!(flashes(bmc, BMCS[1].2.version), 1);
    assert_eq!(subscriptions(bmc), 0, "{}", bmc.double.state());
    is_over(run, bmc).await;
}

/// Otherwise slow BMCs would be asked for their progress all the time.
#[test]
fn a_bmc_that_posts_its_progress_is_asked_less_often() {
    e2e("bmcposts", async |site| {
        let (bmc, spec) = pulling(site, 15_000).await;
        let run = site.run("posts", spec).await;
        is_posted(&run, &bmc).await;
        is_updated(&run, &bmc).await;
        assert!(delivered(&bmc) >= 5, "{} posts", delivered(&bmc));
        let update = run.node(&bmc.name).await;
        let actions = update.status.as_ref().map(|status| status.actions.clone()).unwrap_or_default();
        let verbs: Vec<&str> = actions.iter().map(|action| action.verb.as_str()).collect();
        assert!(verbs.contains(&"Subscribe") && verbs.contains(&"Unsubscribe"), "{verbs:?}");
    });
}

/// A rule of the packet filter, for as long as it lives.
pub(super) struct Shut(String);

impl Shut {
    /// Drops what arrives at this port.
    pub(super) async fn port(port: u16) -> Self {
        let table = format!("shut{port}");
        let rules = format!(
            "add table inet {table}; add chain inet {table} in {{ type filter hook input priority 0; }}; add rule inet {table} in tcp dport {port} drop"
        );
        output("nft", [&rules]).await;
        Self(table)
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        let ended = std::process::Command::new("nft").args(["delete", "table", "inet", &self.0]).status();
        assert!(ended.is_ok_and(|status| status.success()), "the rule is removed");
    }
}

/// A firewall that is closed in the middle must not leave the run waiting for posts.
#[test]
fn a_way_back_that_is_shut_in_the_middle_is_noticed_and_the_run_ends() {
    e2e("bmcshut", async |site| {
        let (bmc, spec) = pulling(site, 60_000).await;
        let run = site.run("shut", spec).await;
        is_posted(&run, &bmc).await;
        let callback = run.get().await.status.and_then(|status| status.callback).expect("open ports");
        let _shut = Shut::port(callback.ports[0].https_port).await;
        let update =
            run.node_until(&bmc.name, "polling", |update| update.reason("StatusPath") == "Polled").await;
        let words = update.words("StatusPath");
        assert!(words.contains("none for 30 s"), "{words}");
        is_updated(&run, &bmc).await;
    });
}

/// Posts that are not sent are no reason to know less.
#[test]
fn a_bmc_that_subscribes_and_posts_nothing_is_polled() {
    e2e("bmcmute", async |site| {
        let (bmc, spec) = pulling(site, 3000).await;
        bmc.arm(Armed::always(Fault::NoEvents));
        let run = site.run("mute", spec).await;
        let update =
            run.node_until(&bmc.name, "polling", |update| update.reason("StatusPath") == "Polled").await;
        assert_eq!(update.state("StatusPath"), "False", "{}", update.words("StatusPath"));
        is_updated(&run, &bmc).await;
        assert_eq!(delivered(&bmc), 0);
    });
}

/// Its operator is killed while the BMC posts. Subscriptions that are left fill a BMC, which takes no more than a few.
#[test]
fn the_subscription_of_a_killed_operator_is_removed() {
    e2e("bmcsubkill", async |site| {
        let (bmc, spec) = pulling(site, 10_000).await;
        let run = site.run("kill", spec).await;
        wait::until("the BMC to write", wait::LIMIT, async || match delivered(&bmc) {
            0..3 => Err(format!("{} posts", delivered(&bmc))),
            _ => Ok(()),
        })
        .await;
        site.operator.kill();
        assert_eq!(subscriptions(&bmc), 1);
        site.operator.start();
        is_updated(&run, &bmc).await;
    });
}
