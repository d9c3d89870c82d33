//! Doubles of management processors as machines of the kit.

use super::bench::{self, HOLD};
use super::order;
use super::pull::{Pulls, Server};
use farrier::attempt::{Goal, Job, Offers, Tools};
use farrier::conformance::{Bench, Fault, Footprint, Journal, Subject};
use farrier::drivers::redfish::Redfish;
use farrier::drivers::{Driver, HandOver, HttpsSettings, Node};
use farrier::tls::{Policy, Trust, read_bundle};
use farrier_bmc_double::fault::{self, Armed};
use farrier_bmc_double::image::{Header, digest};
use farrier_bmc_double::{Config, Double, Entry, Settings, Variant};
use farrier_network::MachineType;
use farrier_update::device::Limits;
use farrier_update::{Component, InstallerKind};
use futures::future::LocalBoxFuture;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long a device is followed after an installation began. Enough for a double on a busy machine; a device of
/// which it cannot be told is followed to the end.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Size of an image without its header.
const IMAGE: u64 = 50_000;

/// How long a double may have something to do.
const REST: Duration = Duration::from_secs(10);

/// After so many looks without work, a double is at rest: longer than it takes to start again.
const LOOKS: u32 = 8;

/// The BMCs: variant, type, firmware entry of the BMC itself, a version, and the ending of an image's file.
const BMCS: [(&str, MachineType, &str, &str, &str); 5] = [
    ("openbmc", MachineType::Redfish, "bmc_active", "2.16.0", ".tar"),
    ("idrac9", MachineType::IDRAC, "Integrated Dell Remote Access Controller", "7.10.30.00", ".d9"),
    ("ilo5", MachineType::ILO, "iLO 5", "3.05 Jan 10 2024", ".bin"),
    ("minimal", MachineType::Redfish, "BMC", "9.9", ".bin"),
    ("superdome-flex", MachineType::SuperdomeFlex, "Rack Management Controller", "3.50.58", ".bundle"),
];

/// Times that fit a double. What is waited for on a real device for minutes takes seconds.
fn limits() -> Limits {
    Limits { has_sessions: true, ..bench::limits() }
}

/// BMCs of one kind. Each is a double of its own.
pub(crate) struct Bmcs {
    variant: String,
    type_: MachineType,
    entry: String,
    version: String,
    ending: String,
    /// Whether the devices take no push, and fetch their images.
    fetches: bool,
    /// What its user wants.
    hand_over: Option<HandOver>,
    tools: Tools,
    dir: tempfile::TempDir,
}

impl Bmcs {
    /// Devices that take a push.
    pub(crate) fn pushed(variant: &str) -> Self {
        Self::new(variant, false)
    }

    /// Devices that fetch their images.
    pub(crate) fn fetching(variant: &str) -> Self {
        Self::new(variant, true)
    }

    /// As [`Self::fetching`], where it is the user who wants that, although the device takes a push.
    pub(crate) fn told_to_fetch(variant: &str) -> Self {
        Self { hand_over: Some(HandOver::Pull), ..Self::new(variant, true) }
    }

    fn new(variant: &str, fetches: bool) -> Self {
        let (_, type_, entry, version, ending) = BMCS.into_iter().find(|bmc| bmc.0 == variant).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let tools = order::tools(dir.path());
        let (entry, version, ending) = (entry.to_owned(), version.to_owned(), ending.to_owned());
        let bmcs = Self {
            variant: variant.to_owned(),
            type_,
            entry,
            version,
            ending,
            fetches,
            hand_over: None,
            tools,
            dir,
        };
        std::fs::write(bmcs.file(false), bmcs.image(false)).unwrap();
        std::fs::write(bmcs.file(true), bmcs.image(true)).unwrap();
        bmcs
    }

    fn image(&self, bad_signature: bool) -> Vec<u8> {
        Header { bad_signature, payload_bytes: IMAGE, ..Header::new("bmc", &self.version) }.to_file()
    }

    fn file(&self, is_bad: bool) -> PathBuf {
        self.dir.path().join(format!("{}{}", if is_bad { "bad" } else { "good" }, self.ending))
    }

    /// The images, by digest.
    fn files(&self) -> BTreeMap<String, PathBuf> {
        let file = |is_bad| (format!("sha256:{}", digest(&self.image(is_bad))), self.file(is_bad));
        [file(false), file(true)].into()
    }

    fn without_push(&self) -> anyhow::Result<Variant> {
        let variants = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doubles/bmc/variants");
        let text = std::fs::read_to_string(format!("{variants}/{}.json", self.variant))?;
        let mut data: Value = serde_json::from_str(&text)?;
        json_patch::merge(&mut data, &json!({"update": {"push": null, "multipart": null}}));
        let file = self.dir.path().join("variant.json");
        std::fs::write(&file, data.to_string())?;
        Variant::of_file(&file)
    }

    fn component(&self, is_bad: bool) -> Component {
        let digest = format!("sha256:{}", digest(&self.image(is_bad)));
        let (installer, file) = (InstallerKind::RedfishImage, self.file(is_bad));
        let usual = bench::component("bmc", &self.version, installer, &file, digest, TIMEOUT);
        Component { firmware: Some(self.entry.clone()), ..usual }
    }
}

impl Bench for Bmcs {
    fn name(&self) -> String {
        format!("redfish on {}{}", self.variant, if self.fetches { ", which fetches" } else { "" })
    }

    fn machine(&self) -> LocalBoxFuture<'_, Rc<dyn Subject + '_>> {
        Box::pin(async {
            let variant = if self.fetches && self.hand_over.is_none() {
                self.without_push()
            } else {
                Variant::named(&self.variant)
            };
            let server = Server::start(self.files(), false).await;
            let mut config = Config::new(variant.unwrap());
            config.settings = Settings {
                flash_ms: 1000,
                bmc_reset_ms: 300,
                trust: server.authority.clone(),
                ..Settings::default()
            };
            let double = Arc::new(Double::start(config).await.unwrap());
            let certificates = read_bundle(double.authority_pem().as_bytes()).unwrap();
            let trust = Trust { certificates, policy: Policy::Pinned, ..Trust::default() };
            let server = RefCell::new(server);
            let has_bad_image = Cell::new(false);
            Rc::new(Bmc { of: self, double, server, trust, has_bad_image }) as Rc<dyn Subject>
        })
    }

    fn journal(&self) -> Journal {
        Journal::Logbook
    }

    /// Doubles mostly wait.
    fn at_once(&self) -> usize {
        48
    }

    fn limit(&self) -> Duration {
        Duration::from_mins(4)
    }

    fn hold(&self) -> Duration {
        HOLD
    }
}

/// One double.
struct Bmc<'b> {
    of: &'b Bmcs,
    double: Arc<Double>,
    server: RefCell<Arc<Server>>,
    trust: Trust,
    has_bad_image: Cell<bool>,
}

impl Bmc<'_> {
    fn arm(&self, fault: fault::Fault, times: u32) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move { self.double.arm(Armed::times(fault, times)).unwrap() })
    }

    fn count(&self, kinds: &[&str]) -> usize {
        self.double.journal().iter().filter(|entry| kinds.contains(&entry.kind.as_str())).count()
    }

    /// Reports whether the double was sent an image, or has fetched one.
    fn has_taken_an_image(&self) -> bool {
        let bytes = |entry: &Entry| entry.detail.get("bytes").and_then(Value::as_u64).unwrap_or_default();
        self.double.journal().iter().any(|entry| bytes(entry) >= IMAGE)
    }

    /// Reports whether the double installs something, or has yet to begin.
    fn is_at_work(&self) -> bool {
        let state = self.double.state();
        let is_any = |kind: &str, name: &str, words: &[&str]| {
            let things = state.get(kind).and_then(Value::as_array);
            things.is_some_and(|things| {
                let word = |thing: &Value| thing.get(name).and_then(Value::as_str).map(str::to_owned);
                things.iter().filter_map(word).any(|word| words.contains(&word.as_str()))
            })
        };
        is_any("updates", "phase", &["new", "fetching", "verifying", "writing", "resetting"])
            || is_any("queue", "state", &["Pending", "InProgress"])
    }

    /// Waits until the double is at rest. An entry that stays in its queue is seen afterwards.
    async fn rests(&self) {
        bench::rests(LOOKS, REST, || self.is_at_work()).await;
    }

    fn is_minimal(&self) -> bool {
        self.of.variant == "minimal"
    }
}

impl Subject for Bmc<'_> {
    fn driver(&self) -> Arc<dyn Driver> {
        let usual = order::node(&self.of.variant, self.of.type_, Ipv4Addr::LOCALHOST.into());
        let https = HttpsSettings { port: self.double.https().port(), trust: self.trust.clone() };
        let keys = order::keys(&[("username", "admin"), ("password", "password")]);
        let hand_over = self.of.hand_over;
        Redfish::driver_with(&Node { https, hand_over, ..usual }, &keys, limits()).unwrap()
    }

    fn tools(&self) -> Tools {
        self.of.tools.clone()
    }

    fn offers(&self) -> Arc<dyn Offers> {
        Arc::new(Pulls::new(&self.server.borrow()))
    }

    fn job(&self, goal: Goal) -> Job {
        let components = vec![self.of.component(self.has_bad_image.get())];
        order::job(&self.of.variant, self.of.type_, &Redfish, components, goal)
    }

    fn footprint(&self) -> LocalBoxFuture<'_, Footprint> {
        Box::pin(async {
            self.rests().await;
            let state = self.double.state();
            let mut left = Vec::new();
            for kind in ["sessions", "queue", "components", "install-sets", "staged", "partial-upload"] {
                match state.get(kind) {
                    Some(Value::Array(things)) => {
                        left.extend(things.iter().map(|thing| format!("{kind} {thing}")));
                    }
                    Some(Value::Null) | None => {}
                    Some(thing) => left.push(format!("{kind} {thing}")),
                }
            }
            Footprint {
                version: self.double.version("bmc").unwrap_or_default(),
                installed: self.count(&["flash"]),
                restarts: self.count(&["bmc-reset", "host-reset"]),
                left,
            }
        })
    }

    fn has_happened(&self, fault: Fault) -> bool {
        match fault {
            // Faults of the double end when they have happened.
            Fault::WorkVanishes
            | Fault::SuccessThatIsNone
            | Fault::FailureThatIsNone
            | Fault::AnswerLost
            | Fault::Unavailable
            | Fault::Busy => self.double.armed().is_empty(),
            Fault::ResetsItself => self.count(&["bmc-reset"]) > 0,
            Fault::ImageRefused => self.has_taken_an_image(),
            Fault::WayBackShut => self.count(&["fetch"]) > 0,
            Fault::SessionLost | Fault::AnotherIdentity => true,
        }
    }

    fn fault(&self, fault: Fault) -> Result<LocalBoxFuture<'_, ()>, String> {
        let (some, path) = (1, "UpdateService".to_owned());
        Ok(match fault {
            Fault::SessionLost if self.is_minimal() => return Err("it has no sessions".into()),
            Fault::WorkVanishes if self.is_minimal() => return Err("it has no tasks".into()),
            Fault::WayBackShut if !self.of.fetches => {
                return Err("it takes a push and connects to nobody".into());
            }
            Fault::WayBackShut => Box::pin(async {
                let shut = Server::start(self.of.files(), true).await;
                self.server.replace(shut);
            }),
            Fault::SessionLost => self.arm(fault::Fault::DropSessions, some),
            Fault::ResetsItself => {
                let double = self.double.clone();
                Box::pin(async move { drop(tokio::spawn(async move { double.reset_bmc().await })) })
            }
            Fault::WorkVanishes => self.arm(fault::Fault::TaskVanishes, some),
            Fault::SuccessThatIsNone => self.arm(fault::Fault::LiesSuccess, some),
            Fault::FailureThatIsNone => self.arm(fault::Fault::LiesFailure, some),
            Fault::AnswerLost => self.arm(fault::Fault::LostAnswer { path }, some),
            Fault::Unavailable => self.arm(fault::Fault::Status { path: String::new(), status: 503 }, 2),
            Fault::Busy => self.arm(fault::Fault::Busy, some),
            Fault::ImageRefused => {
                self.has_bad_image.set(true);
                Box::pin(std::future::ready(()))
            }
            Fault::AnotherIdentity => self.arm(fault::Fault::ChangeCertificate, some),
        })
    }
}
