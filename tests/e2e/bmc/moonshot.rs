//! Chassis managers of Moonshot: by Redfish if they offer it, through the ports of their row in the table only.

use super::posts::Shut;
use super::pulls::without_push;
use super::updates::{BMCS, flashes};
use super::{Bmc, inventory, is_over};
use crate::harness::run::component;
use crate::harness::{Conditions, e2e, wait};
use serde_json::json;

/// The ports of a Moonshot, beside that of its own web server: 63001 of the table, moved to one that no other test has.
const PORTS: (u16, u16) = (64_741, 64_742);

/// A firewall that is opened as `farrier ports` says must be enough, and the port that is forgotten must be named.
#[test]
fn a_moonshot_needs_the_ports_of_its_row_and_no_more() {
    e2e("bmcmoon", async |site| {
        // A double whose chassis manager speaks Redfish: none is known, so that an iLO stands in for it.
        let (variant, _, firmware) = &BMCS[3];
        let kind = (*variant, "Moonshot", *firmware);
        let (bmc, mut spec) = without_push(site, &kind, &json!({"update": {"push": null}})).await;
        spec["callback"] = json!({"httpPort": PORTS.0, "httpsPort": PORTS.1, "onConflict": "Fail"});

        let shut = Shut::port(PORTS.0).await;
        let run = site.run("fewer", spec.clone()).await;
        run.ends(wait::LIMIT).await;
        let update = run.node(variant).await;
        let found = component(&update, firmware.name);
        assert_eq!(update.reason("Succeeded"), "PullNotSeen", "{}", found.message);
        for words in ["from the machine to Farrier", &format!("port {}", PORTS.0)] {
            assert!(found.message.contains(words), "{words}: {}", found.message);
        }
        assert_eq!(flashes(&bmc, firmware.version), 0);
        is_over(&run, &bmc).await;
        drop(shut);

        // The other port of the run is of no use to it.
        let _shut = Shut::port(PORTS.1).await;
        let run = site.run("listed", spec).await;
        run.succeeds().await;
        assert_eq!(flashes(&bmc, firmware.version), 1);
        is_over(&run, &bmc).await;
    });
}

/// Without the words, a user would look for the fault in the network.
#[test]
fn a_moonshot_without_redfish_is_told_as_such() {
    e2e("bmcmoonrest", async |site| {
        let bmc = Bmc::up(site, "moonshot", "Moonshot", "password").await;
        let mut spec = inventory();
        spec["strategy"]["retries"] = json!(2);
        let run = site.run("look", spec).await;
        run.fails().await;
        let update = run.node("moonshot").await;
        assert_eq!(update.reason("Succeeded"), "NotYetSupported", "{}", update.words("Succeeded"));
        for words in ["offers no Redfish", "command line", "by hand"] {
            assert!(update.words("Succeeded").contains(words), "{words}: {}", update.words("Succeeded"));
        }
        assert_eq!(bmc.sessions(), 0);
        is_over(&run, &bmc).await;
    });
}
