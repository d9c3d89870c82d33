//! BMCs that verify the server from which they fetch: the authority of the run is on them as long as they need it.

use super::pulls::without_push;
use super::updates::{BMCS, FLEX, flashes};
use super::{Bmc, is_over};
use crate::harness::run::component;
use crate::harness::{Conditions, e2e, outcome, wait};
use farrier_bmc_double::Settings;
use serde_json::{Value, json};

/// An `OpenBMC` that takes no push.
fn pulling() -> Value {
    json!({"update": {"push": null, "multipart": null}})
}

fn verify(bmc: &Bmc) {
    bmc.double.set(Settings { verify_server: true, ..bmc.double.settings() });
}

/// What became of certificates, in order.
fn certificates(bmc: &Bmc) -> Vec<String> {
    let journal = bmc.double.journal();
    let of = |entry: &farrier_bmc_double::Entry| entry.detail["what"].as_str().unwrap_or_default().to_owned();
    journal.iter().filter(|entry| entry.kind == "certificate").map(of).collect()
}

fn trusted(bmc: &Bmc) -> usize {
    bmc.double.state()["certificates"].as_array().map_or(0, Vec::len)
}

/// Otherwise an administrator would have to import the authority by hand, during the run, on each machine.
#[test]
fn the_authority_is_imported_for_the_fetch_and_removed() {
    e2e("bmctrust", async |site| {
        let (bmc, spec) = without_push(site, &BMCS[0], &pulling()).await;
        verify(&bmc);
        let run = site.run("trust", spec).await;
        run.succeeds().await;
        let firmware = &BMCS[0].2;
        assert_eq!(flashes(&bmc, firmware.version), 1);
        assert_eq!(certificates(&bmc), ["added", "removed"]);
        assert_eq!(trusted(&bmc), 0);
        let update = run.node("openbmc").await;
        let actions = update.status.as_ref().map(|status| status.actions.clone()).unwrap_or_default();
        let verbs: Vec<&str> = actions.iter().map(|action| action.verb.as_str()).collect();
        assert!(verbs.contains(&"ImportAuthority") && verbs.contains(&"RemoveAuthority"), "{verbs:?}");
        is_over(&run, &bmc).await;
    });
}

/// A device that trusts the authority of a run for ever would fetch from whoever has its key.
#[test]
fn the_authority_is_removed_after_a_kill() {
    e2e("bmctrustkill", async |site| {
        let (bmc, spec) = without_push(site, &BMCS[0], &pulling()).await;
        verify(&bmc);
        bmc.double.set(Settings { flash_ms: 4000, ..bmc.double.settings() });
        let run = site.run("trust", spec).await;
        wait::until("the authority to be imported", wait::LIMIT, async || match trusted(&bmc) {
            0 => Err("it trusts nobody".to_owned()),
            _ => Ok(()),
        })
        .await;
        site.operator.kill();
        site.operator.start();
        run.ends(wait::LIMIT * 2).await;
        let update = run.node("openbmc").await;
        let outcome = outcome(&update, BMCS[0].2.name);
        // The request to fetch may have been under way. An interrupted fetch is told again.
        assert!(["Updated", "Unverified"].contains(&outcome), "{outcome}");
        assert_eq!(trusted(&bmc), 0, "{:?}", certificates(&bmc));
        is_over(&run, &bmc).await;
    });
}

/// Without the reason, it would look as if the device was slow.
#[test]
fn a_device_that_rejects_the_certificate_is_told_as_such() {
    e2e("bmcreject", async |site| {
        let (bmc, spec) = without_push(site, &FLEX, &json!({})).await;
        let run = site.run("reject", spec).await;
        run.ends(wait::LIMIT).await;
        let update = run.node(FLEX.0).await;
        let found = component(&update, FLEX.2.name);
        assert_eq!(update.reason("Succeeded"), "PullUntrusted", "{}", found.message);
        for words in ["rejected the certificate", "UnknownCA", "import ca.crt"] {
            assert!(found.message.contains(words), "{words}: {}", found.message);
        }
        assert_eq!(
            update.reason("CallbackReachable"),
            "PullUntrusted",
            "{}",
            update.words("CallbackReachable")
        );
        assert_eq!(flashes(&bmc, FLEX.2.version), 0);
        is_over(&run, &bmc).await;
    });
}
