//! Onboard Administrators whose users have them fetch their images, and one that is sent its own beside them.

use super::{OA, is_over, spec};
use crate::harness::console::Console;
use crate::harness::run::component;
use crate::harness::{Conditions, Run, Site, e2e, outcome, wait};
use serde_json::{Value, json};

/// The first of the ports of FTP.
const FTP: u16 = 61331;

async fn up(site: &Site, name: &str, more: Value) -> Console {
    let console = OA.up(site, name, more).await;
    console.may_not_call().await;
    console
}

async fn is_updated(run: &Run<'_>, console: &Console, ways: [usize; 2]) {
    let update = run.node(&console.name).await;
    assert_eq!(update.state("Succeeded"), "True", "{}: {}", console.name, update.words("Succeeded"));
    assert_eq!(outcome(&update, "oa"), "Updated", "{}", console.name);
    assert_eq!(console.double.version("oa-1").as_deref(), Some(OA.version), "{}", console.name);
    let moved = ["fetch", "upload"].map(|kind| console.entries(kind).len());
    assert_eq!(moved, ways, "{}: fetches and uploads", console.name);
    is_over(run, console).await;
}

/// Who lets an enclosure connect to the file service, and nothing connect to its port 443, could not update it; who does
/// not would find a port open; and who forgets one of the two would not be told which.
#[test]
fn an_onboard_administrator_fetches_its_image_if_its_user_wants_that() {
    e2e("oafetch", async |site| {
        let pull = json!({"handOver": "Pull"});
        let open = OA.up(site, "open", pull.clone()).await;
        let shut = up(site, "shut", pull).await;
        let sent = up(site, "sent", json!({"tls": {"policy": "TrustOnFirstUse"}})).await;
        site.baseline("spring", &[OA.component(site, "oa", &OA.image())]).await;
        let mut spec = spec("spring");
        spec["callback"] = Value::Null;
        let off = site.run("off", spec.clone()).await;
        off.ends(wait::LIMIT).await;
        is_updated(&off, &sent, [0, 1]).await;
        for console in [&open, &shut] {
            let update = off.node(&console.name).await;
            assert_eq!(update.reason("Succeeded"), "NotYetSupported", "{}", update.words("Succeeded"));
            let found = component(&update, "oa");
            assert!(found.message.contains("set spec.callback.ftpPort in a new run"), "{}", found.message);
            assert_eq!((console.entries("fetch").len(), console.entries("upload").len()), (0, 0));
        }

        spec["callback"] = json!({"ftpPort": FTP});
        let run = site.run("update", spec).await;
        run.ends(wait::LIMIT).await;
        is_updated(&run, &open, [1, 0]).await;
        let update = run.node("shut").await;
        let found = component(&update, "oa");
        assert_eq!(update.reason("Succeeded"), "PullNotSeen", "{}", found.message);
        let words = format!("port {FTP}");
        assert!(found.message.contains(&words) && found.message.contains("allow TCP"), "{}", found.message);
        assert_eq!(shut.entries("flash").len(), 0);
        is_over(&run, &shut).await;
        let update = run.node("open").await;
        assert!(update.status.is_some_and(|status| status.fetches_by.is_none()), "nothing is open any more");
        site.until_event("FileServiceClosed UpdateRun/update: the FTP").await;
    });
}
