//! Hosts that are drained for their own firmware, and not for that of their management processor.

use super::is_over;
use super::updates::{BMCS, OPENBMC_BIOS, image, resets, with};
use crate::drain::drained_over_https;
use crate::harness::https::{Answer, Server};
use crate::harness::{e2e, outcome};
use farrier::api::ManagedNode;
use farrier::api::node_update::DrainState;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// The work of a host would be moved away for nothing when its management processor is updated; or not moved away when
/// the host is restarted.
#[test]
fn a_host_is_drained_for_its_own_firmware_only() {
    e2e("bmcdrain", async |site| {
        let (variant, type_, firmware) = BMCS[0];
        let (bmc, of_manager) = with(site, variant, type_, &firmware, image()).await;
        let server = Server::start(site).await;
        let url = server.at("/drain", Answer::Status(200));
        let drain = Patch::Merge(json!({"spec": drained_over_https(site, &server, &url).await}));
        let nodes = site.api::<ManagedNode>();
        nodes.patch(variant, &PatchParams::default(), &drain).await.expect("a ManagedNode with a drain");

        let run = site.run("manager", of_manager.clone()).await;
        run.succeeds().await;
        let update = run.node(variant).await;
        assert_eq!((outcome(&update, firmware.name), resets(&bmc)), ("Updated", 0));
        assert_eq!((server.posts(), update.status.and_then(|status| status.drain)), (Vec::new(), None));
        is_over(&run, &bmc).await;

        site.baseline("bios", &[OPENBMC_BIOS.component(site, image())]).await;
        let mut of_host = of_manager;
        of_host["baselineRef"]["name"] = json!("bios");
        of_host["reboot"] = json!({"policy": "IfRequired"});
        let run = site.run("host", of_host).await;
        run.succeeds().await;
        let update = run.node(variant).await;
        assert_eq!((outcome(&update, "bios"), resets(&bmc)), ("Updated", 1));
        let drained = update.status.and_then(|status| status.drain).map(|drain| drain.state);
        assert_eq!(drained, Some(DrainState::Undrained));
        let posts = server.posts();
        let phases: Vec<&Value> = posts.iter().map(|post| &post["phase"]).collect();
        assert_eq!(phases, ["Drain", "Undrain"]);
        is_over(&run, &bmc).await;
        bmc.remove(site).await;
    });
}
