//! What keeps a device from an update is told as its administrator would want it, and nothing is changed.

use super::{FOS, SAS, is_over, port, spec};
use crate::harness::console::Console;
use crate::harness::run::component;
use crate::harness::{Conditions, Site, e2e, wait};
use farrier::api::NodeUpdate;
use farrier_console_double::Config;
use farrier_console_double::fault::Fault;
use farrier_console_double::image::Header;
use serde_json::json;

/// What is wrong with a switch, which has its name from it; the reason, what the switch says, and the next step.
struct Obstacle {
    name: &'static str,
    reason: &'static str,
    words: &'static str,
    next: &'static str,
}

const OBSTACLES: [Obstacle; 6] = [
    Obstacle {
        name: "role",
        reason: "RightsMissing",
        words: "RBAC permission denied",
        next: "rights of an administrator",
    },
    Obstacle {
        name: "step",
        reason: "PrerequisiteMissing",
        words: "Cannot upgrade directly",
        next: "install the version in between first",
    },
    Obstacle { name: "room", reason: "DeviceFull", words: "not enough space", next: "remove images" },
    Obstacle {
        name: "eula",
        reason: "AgreementMissing",
        words: "the answer was no",
        next: "spec.acceptEula",
    },
    Obstacle {
        name: "model",
        reason: "ImageNotForMachine",
        words: "doesn't support this platform",
        next: "the image for this model",
    },
    Obstacle {
        name: "fetch",
        reason: "PullNotSeen",
        words: "firmware path is invalid",
        next: "farrier ports",
    },
];

async fn hindered(site: &Site, name: &str) -> Console {
    if name == "model" {
        // And it restarts with an interruption.
        let change = |config: &mut Config| (config.model, config.settings.ha) = ("another".into(), false);
        return FOS.up_as(site, name, change).await;
    }
    let console = FOS.up(site, name, json!({})).await;
    match name {
        "fetch" => console.always(Fault::TransferFails),
        "role" => console.set(|settings| settings.role = "user".into()),
        "step" => console.double.set_version("fos", "v8.0.1").expect("a part of the switch"),
        "room" => console.always(Fault::NoRoom),
        "eula" => console.set(|settings| settings.eula_from = "v8".into()),
        other => panic!("{other}"),
    }
    console
}

/// An administrator who reads "failed" calls somebody; one who reads what is missing mends it. And a wrong name of a
/// product must not end in commands of another one.
#[test]
fn what_keeps_a_switch_from_an_update_is_named_and_changes_nothing() {
    e2e("fcrefuse", async |site| {
        let _port = port().await;
        let mut consoles = Vec::new();
        for one in &OBSTACLES {
            consoles.push((one, hindered(site, one.name).await));
        }
        let unknown = FOS.up(site, "product", json!({"product": "brocade-fso"})).await;
        // The one release from which a step to it is allowed, and the one model that takes it.
        let model = consoles.iter().find(|(one, _)| one.name == "role").expect("a switch").1.model();
        let image = Header { from: vec!["v8.2.1c".into()], models: vec![model], ..FOS.image() };
        site.baseline("spring", &[FOS.component(site, "fos", &image)]).await;
        let run = site.run("update", spec("spring")).await;
        run.ends(wait::LIMIT).await;
        for (one, console) in &consoles {
            let update = run.node(one.name).await;
            let found = component(&update, "fos");
            assert_eq!(update.reason("Succeeded"), one.reason, "{}: {}", one.name, found.message);
            for words in [one.words, one.next] {
                assert!(found.message.contains(words), "{}: {words}: {}", one.name, found.message);
            }
            assert_eq!(update.state("Succeeded"), "False", "{}", one.name);
            let interruption = if one.name == "model" { "disruptive" } else { "HA reboot" };
            let plan = json!(update.status.as_ref().map(|status| &status.plan)).to_string();
            assert!(plan.contains(interruption), "{}: {plan}", one.name);
            assert_eq!(console.entries("flash").len(), 0, "{}", one.name);
            is_over(&run, console).await;
        }
        let words = run.node("product").await.words("Succeeded");
        for word in ["brocade-fso", "brocade-fos", "spec.product"] {
            assert!(words.contains(word), "{word}: {words}");
        }
        assert_eq!(unknown.entries("sign-in").len(), 0);
    });
}

/// Another administrator at work, or a partner that is not well, passes. A user who only saw a run stand still would
/// not know whom to ask.
#[test]
fn what_passes_is_named_and_waited_for() {
    e2e("fcwait", async |site| {
        let _port = port().await;
        let (fos, sas) = (FOS.up(site, "fos", json!({})).await, SAS.up(site, "sas", json!({})).await);
        fos.always(Fault::OtherSession { user: "jsmith".into() });
        sas.always(Fault::PartnerUnhealthy);
        let components =
            [FOS.component(site, "fos", &FOS.image()), SAS.component(site, "sas-switch", &SAS.image())];
        site.baseline("spring", &components).await;
        let run = site.run("update", spec("spring")).await;
        for (console, reason, words) in
            [(&fos, "SessionLimitReached", "jsmith"), (&sas, "DeviceUnavailable", "Partner: FAILED")]
        {
            let named = |update: &NodeUpdate| {
                let shown = json!(update.status).to_string();
                shown.contains(reason) && shown.contains(words)
            };
            let update = run.node_until(&console.name, &format!("{reason}: {words}"), named).await;
            assert_eq!(update.state("Succeeded"), "Unknown", "{}", update.words("Succeeded"));
            assert_eq!(console.entries("flash").len(), 0, "{}", console.name);
        }
        for console in [&fos, &sas] {
            console.double.clear(None);
        }
        run.succeeds().await;
        for (console, kind) in [(&fos, FOS), (&sas, SAS)] {
            assert_eq!(console.flashes(kind.version), 1, "{}", console.name);
            is_over(&run, console).await;
        }
    });
}
