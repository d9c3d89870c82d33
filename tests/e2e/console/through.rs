//! Virtual Connect modules that are reached through their Onboard Administrators.

use super::{Kind, config, spec};
use crate::harness::console::Console;
use crate::harness::payload::merge;
use crate::harness::run::component;
use crate::harness::{Conditions, Site, e2e, outcome, wait};
use farrier::api::ManagedNode;
use farrier_console_double::Config;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// The module in bay 2, of a domain whose manager runs on the one in bay 1.
const VC: Kind = Kind {
    product: "vc",
    type_: "VirtualConnect",
    part: "enc0:2",
    entry: "Virtual Connect enc0:2",
    version: "4.50",
};

/// The password of enclosures, and that of modules.
const WORDS: [&str; 2] = ["enclosure-word", "module-word"];

/// An Onboard Administrator with a module in bay 2 that is described with this password.
async fn enclosure(site: &Site, number: u8, password: &str) -> Console {
    let module = Config { password: WORDS[1].to_owned(), ..config("vc") };
    let oa = Config { password: WORDS[0].to_owned(), interconnects: vec![(2, module)], ..config("oa") };
    let trust = json!({"ssh": {"hostKeys": [], "hostKeyPolicy": "TrustOnFirstUse"}});
    let console = Console::up(site, &format!("oa-{number}"), "OnboardAdministrator", oa, trust).await;
    console.describe(site, 2, &format!("vc-{number}"), VC.type_, ("admin", password)).await;
    console
}

/// A run for the modules alone.
fn modules() -> Value {
    let mut spec = spec("spring");
    spec["callback"] = Value::Null;
    let names =
        json!({"matchExpressions": [{"key": "name", "operator": "In", "values": ["vc-1", "vc-2", "vc-3"]}]});
    merge(&mut spec, json!({"selector": names}));
    spec
}

/// A module whose own port is shut would not be updated, its firmware would be written with another account's rights,
/// or a user would correct the wrong one of two Secrets.
#[test]
fn a_module_is_updated_through_its_onboard_administrator_with_two_accounts() {
    e2e("bays", async |site| {
        let good = enclosure(site, 1, WORDS[1]).await;
        let wrong = enclosure(site, 2, "another").await;
        let closed = enclosure(site, 3, WORDS[1]).await;
        let another = Patch::Merge(json!({"stringData": {"password": "another"}}));
        let secrets = site.api::<Secret>();
        secrets.patch("oa-3", &PatchParams::default(), &another).await.expect("a Secret that can be changed");
        site.baseline("spring", &[VC.component(site, "vc", &VC.image())]).await;
        let run = site.run("update", modules()).await;
        run.ends(wait::LIMIT).await;

        let update = run.node("vc-1").await;
        assert_eq!(update.state("Succeeded"), "True", "{}", update.words("Succeeded"));
        assert_eq!(outcome(&update, "vc"), "Updated");
        assert_eq!(component(&update, "vc").after, VC.version);
        let module = good.double.interconnect(2).expect("a module");
        assert_eq!(module.version(VC.part).as_deref(), Some(VC.version));
        let node: ManagedNode = site.api().get("vc-1").await.expect("a ManagedNode");
        let status = node.status.clone().expect("a status");
        assert_eq!((status.address, status.host_key), (Some(good.address(2)), None));
        let identity = node.words("HostKeyVerified");
        assert!(identity.contains("oa-1, through which"), "{identity}");
        let manager: ManagedNode = site.api().get("oa-1").await.expect("a ManagedNode");
        let recorded = manager.status.and_then(|status| status.host_key).expect("a recorded key");
        assert!(good.double.host_keys().contains(&recorded), "{recorded}");

        for (name, console, words) in [
            ("vc-2", &wrong, "on the console that oa-2 opens"),
            ("vc-3", &closed, "vc-3 is reached through oa-3 (spec.managedBy): oa-3 refused the password"),
        ] {
            let update = run.node(name).await;
            assert_eq!(update.reason("Succeeded"), "PasswordRejected", "{}", update.words("Succeeded"));
            assert!(update.words("Succeeded").contains(words), "{}", update.words("Succeeded"));
            let module = console.double.interconnect(2).expect("a module");
            assert_eq!(module.version(VC.part).as_deref(), Some("4.45"), "{name}");
        }
        for console in [&good, &wrong, &closed] {
            let module = console.double.interconnect(2).expect("a module").state();
            let left = [console.sessions(), module["sessions"].as_array().map_or(0, Vec::len)];
            assert_eq!(left, [0, 0], "{}", console.name);
        }
        for name in ["vc-1", "vc-2", "vc-3"] {
            let shown = json!(run.node(name).await).to_string();
            assert!(WORDS.iter().all(|word| !shown.contains(word)), "{shown}");
        }
    });
}
