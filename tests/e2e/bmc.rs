//! BMCs over Redfish, with doubles of several vendors' management processors.

mod drained;
mod kills;
mod moonshot;
mod obstacles;
mod posts;
mod probe;
mod pulls;
mod signed;
mod staging;
mod trust;
pub(crate) mod updates;

use crate::harness::{Conditions, Run, Site, e2e, wait};
use farrier::api::{Baseline, ManagedNode, NodeInventory};
use farrier_bmc_double::fault::{Armed, Fault};
use farrier_bmc_double::{Config, Double, Variant};
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use serde_json::{Value, json};

/// The doubles, with the types of machine that they are.
const KINDS: [(&str, &str); 6] = [
    ("ilo5", "ILO"),
    ("ilo6", "ILO"),
    ("idrac9", "IDRAC"),
    ("superdome-flex", "SuperdomeFlex"),
    ("openbmc", "Redfish"),
    ("minimal", "Redfish"),
];

/// A double that is described by a ManagedNode.
pub(crate) struct Bmc {
    pub(crate) name: String,
    double: Double,
}

impl Bmc {
    async fn up(site: &Site, variant: &str, type_: &str, password: &str) -> Self {
        Self::up_as(site, variant, variant, type_, password).await
    }

    async fn up_as(site: &Site, name: &str, variant: &str, type_: &str, password: &str) -> Self {
        let double = Double::start(Config::new(Variant::named(variant).expect("a variant")))
            .await
            .expect("a double that listens");
        Self::manage(site, name, type_, password, double).await
    }

    /// Describes a double by a ManagedNode.
    async fn manage(site: &Site, name: &str, type_: &str, password: &str, double: Double) -> Self {
        let name = name.to_owned();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {"username": "admin", "password": password},
        });
        site.create::<Secret>(&secret).await.expect("a Secret");
        let node = json!({
            "apiVersion": "farrier.dev/v1alpha1", "kind": "ManagedNode",
            "metadata": {"name": name, "labels": {"name": name}},
            "spec": {
                "type": type_, "addresses": ["127.0.0.1"], "credentialsRef": {"name": name},
                "port": double.https().port(), "tls": {"policy": "TrustOnFirstUse"},
            },
        });
        site.create::<ManagedNode>(&node).await.expect("a ManagedNode");
        Self { name, double }
    }

    fn arm(&self, armed: Armed) {
        self.double.arm(armed).expect("a fault of this double");
    }

    fn sessions(&self) -> usize {
        self.double.state()["sessions"].as_array().map_or(0, Vec::len)
    }

    fn requests(&self, method: &str, path: &str) -> usize {
        let is_such = |detail: &Value| {
            let asked = detail["path"].as_str().unwrap_or_default();
            detail["method"] == method && asked.trim_end_matches('/') == path
        };
        self.double.journal().iter().filter(|entry| entry.kind == "request" && is_such(&entry.detail)).count()
    }

    /// Deletes what [`Self::up`] has created, and ends the double.
    async fn remove(self, site: &Site) {
        let params = DeleteParams::default();
        site.api::<Baseline>().delete(&self.name, &params).await.expect("a deleted Baseline");
        self.remove_node(site).await;
    }

    /// The same, where the baseline has another name.
    async fn remove_node(self, site: &Site) {
        let params = DeleteParams::default();
        site.api::<ManagedNode>().delete(&self.name, &params).await.expect("a deleted ManagedNode");
        site.api::<Secret>().delete(&self.name, &params).await.expect("a deleted Secret");
    }

    async fn node(&self, site: &Site) -> ManagedNode {
        site.api::<ManagedNode>().get(&self.name).await.expect("the ManagedNode")
    }
}

fn inventory() -> Value {
    json!({"operation": "Inventory", "strategy": {"maxConcurrent": 10, "retries": 0}})
}

/// What every NodeUpdate of a BMC must say at its end.
async fn is_over(run: &Run<'_>, bmc: &Bmc) {
    let update = run.node(&bmc.name).await;
    assert_eq!(bmc.sessions(), 0, "{}: no session is left", bmc.name);
    assert_eq!(update.state("TornDown"), "True", "{}: {}", bmc.name, update.words("TornDown"));
    assert_eq!(update.state("EngineDeployed"), "", "a BMC takes no engine");
    assert_eq!(update.status.expect("a status").leases, 0, "{}", bmc.name);
}

/// A fleet has BMCs of several vendors; each must be read, and none may keep a session of ours.
#[test]
fn bmcs_of_all_kinds_are_inventoried_and_left_without_a_session() {
    e2e("bmcs", async |site| {
        let mut bmcs = Vec::new();
        for (variant, type_) in KINDS {
            bmcs.push(Bmc::up(site, variant, type_, "password").await);
        }
        // The channel is that of engines; a BMC needs no port of ours.
        let mut spec = inventory();
        spec["channel"] = json!("Callback");
        let run = site.run("look", spec).await;
        let ended = run.succeeds().await;
        assert_eq!(ended.status.expect("a status").callback, None, "nothing was opened");
        for bmc in &bmcs {
            is_over(&run, bmc).await;
            let found = site.api::<NodeInventory>().get(&bmc.name).await.expect("an inventory");
            let found = found.status.expect("a status");
            let versions: Vec<&str> = found.firmware.iter().map(|entry| entry.version.as_str()).collect();
            let version = bmc.double.version("bmc").expect("a version");
            assert!(versions.contains(&version.as_str()), "{}: {:?}", bmc.name, found.firmware);
            assert_eq!(found.facts.serial, "DOUBLE0001", "{}", bmc.name);
            let node = bmc.node(site).await;
            assert_eq!(node.reason("CertificateVerified"), "CertificateRecorded", "{}", bmc.name);
            assert_eq!((node.state("Authenticated"), node.state("HostKeyVerified")), ("True", ""));
            let recorded = node.status.expect("a status").certificate.expect("a fingerprint");
            assert!(recorded.starts_with("sha256:"), "{recorded}");
        }
        // From now on the certificate must be the recorded one.
        bmcs[0].arm(Armed::always(Fault::ChangeCertificate));
        let again = site.run("again", inventory()).await;
        again.fails().await;
        let update = again.node(&bmcs[0].name).await;
        assert_eq!(update.reason("Succeeded"), "CertificateChanged", "{}", update.words("Succeeded"));
        assert_eq!(bmcs[0].node(site).await.reason("CertificateVerified"), "CertificateChanged");
        assert_eq!(again.node(&bmcs[1].name).await.state("Succeeded"), "True");
    });
}

/// A password that is offered again and again locks the account of a whole fleet.
#[test]
fn a_wrong_password_of_a_bmc_is_offered_once() {
    e2e("bmcpw", async |site| {
        let bmc = Bmc::up(site, "idrac9", "IDRAC", "hunter2").await;
        let mut spec = inventory();
        spec["strategy"]["retries"] = json!(2);
        let run = site.run("look", spec).await;
        run.fails().await;
        let update = run.node("idrac9").await;
        assert_eq!(update.reason("Succeeded"), "PasswordRejected", "{}", update.words("Succeeded"));
        assert!(!update.words("Succeeded").contains("hunter2"));
        assert_eq!(bmc.requests("POST", "/redfish/v1/SessionService/Sessions"), 1);
        is_over(&run, &bmc).await;
    });
}

/// The operator is killed while it has a session. An iDRAC has eight: those that are left lock everybody out.
#[test]
fn the_session_of_a_killed_operator_is_ended_by_its_successor() {
    e2e("bmckill", async |site| {
        let bmc = Bmc::up(site, "idrac9", "IDRAC", "password").await;
        bmc.arm(Armed::always(Fault::Slow { path: "/FirmwareInventory".into(), ms: 1500 }));
        let run = site.run("look", inventory()).await;
        wait::until("a session that is in use", wait::LIMIT, async || {
            let asked = bmc.double.journal().iter().filter(|entry| entry.kind == "request").count();
            if bmc.sessions() == 1 && asked > 4 { Ok(()) } else { Err(format!("{asked} requests")) }
        })
        .await;
        site.operator.kill();
        assert_eq!(bmc.sessions(), 1, "nobody has ended it");
        bmc.double.clear(None);
        site.operator.start();
        run.succeeds().await;
        is_over(&run, &bmc).await;
    });
}

/// A BMC that restarts throws its sessions away; the reading goes on with another one.
#[test]
fn a_session_that_a_bmc_throws_away_is_replaced() {
    e2e("bmcdrop", async |site| {
        let bmc = Bmc::up(site, "openbmc", "Redfish", "password").await;
        bmc.arm(Armed::times(Fault::Unauthorized { path: "/Managers".into() }, 1));
        let run = site.run("look", inventory()).await;
        run.succeeds().await;
        assert_eq!(bmc.requests("POST", "/redfish/v1/SessionService/Sessions"), 2);
        is_over(&run, &bmc).await;
    });
}
