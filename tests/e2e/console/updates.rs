//! Each product is updated once, all at the same time, each by its own way.

use super::{FOS, Kind, OA, SAS, is_over, port, spec};
use crate::harness::run::component;
use crate::harness::{Conditions, e2e, outcome, wait};
use serde_json::json;

/// The other products.
const OTHERS: [Kind; 4] = [
    OA,
    SAS,
    Kind { product: "superdome-x", type_: "SuperdomeX", part: "complex", entry: "Complex", version: "8.0.0" },
    Kind { product: "superdome-2", type_: "Superdome2", part: "complex", entry: "Complex", version: "3.8.0" },
];

/// The main job, and the ways that network teams opened for it: whatever is not listed must not be needed.
#[test]
fn every_product_is_updated_once_by_its_own_way() {
    e2e("chassis", async |site| {
        let _port = port().await;
        let (mut consoles, mut components) = (Vec::new(), Vec::new());
        for kind in OTHERS.into_iter().chain([FOS]) {
            let tls = json!({"tls": {"policy": "TrustOnFirstUse"}});
            let more = if kind.product == "oa" { tls } else { json!({}) };
            let console = kind.up(site, kind.product, more).await;
            if kind.product == "oa" {
                // As network teams have it: nothing comes back from it.
                console.may_not_call().await;
            }
            consoles.push((kind, console));
            components.push(kind.component(site, kind.product, &kind.image()));
        }
        site.baseline("spring", &components).await;
        let run = site.run("update", spec("spring")).await;
        run.ends(wait::LIMIT).await;
        for (kind, console) in &consoles {
            let update = run.node(&console.name).await;
            assert_eq!(update.state("Succeeded"), "True", "{}: {}", console.name, update.words("Succeeded"));
            assert_eq!(outcome(&update, kind.product), "Updated", "{}", console.name);
            assert_eq!(component(&update, kind.product).after, kind.version, "{}", console.name);
            assert_eq!(console.double.version(kind.part).as_deref(), Some(kind.version), "{}", console.name);
            assert_eq!(
                console.entries("upload").len(),
                usize::from(kind.product == "oa"),
                "{}",
                console.name
            );
            is_over(&run, console).await;
        }
    });
}
