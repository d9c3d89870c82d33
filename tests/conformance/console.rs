//! Doubles of devices with a command line as machines of the kit.

mod answers;
mod attempt;
mod cases;
mod through;

pub(crate) use cases::{
    DIRECTOR, FETCHING_OA, FOS, MOONSHOT, OA, OTHERS, OWN_VC, SAS, SUPERDOME_2, SUPERDOME_X,
};
pub(crate) use through::VC;

use super::bench::{self, HOLD};
use super::order;
use super::services::{Services, Shelf};
use cases::Case;
use farrier::attempt::{DeviceOrder, Goal, Job, Offers, Tools};
use farrier::conformance::{Bench, Fault, Footprint, Journal, Subject};
use farrier::drivers::console::{Catalogue, Console, Product};
use farrier::drivers::{Driver, HttpsSettings, Keys, Manager, Node, SshSettings};
use farrier::payload::Tree;
use farrier::tls::{Fingerprint, Trust};
use farrier_console_double::fault::{self, Armed};
use farrier_console_double::image::{Header, digest};
use farrier_console_double::{Config, Double, Product as Doubled, Settings};
use farrier_network::MachineType;
use farrier_update::device::Limits;
use farrier_update::{Component, InstallerKind};
use futures::future::LocalBoxFuture;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Where a double's manager is: beside it, as it has an address of its own.
const ENCLOSURE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// The account of managers, and its password.
const MANAGERS: (&str, &str) = ("Administrator", "enclosure-word");

/// The password of what is in a bay.
const MODULES: &str = "module-word";

/// How long a double may have something to do.
const REST: Duration = Duration::from_secs(10);

/// After so many looks without work, a double is at rest: longer than it takes to start again.
const LOOKS: u32 = 8;

/// Times that fit a double. What is waited for on a real device for minutes takes seconds.
fn limits(case: &Case) -> Limits {
    let usual = bench::limits();
    Limits {
        overdue: case.overdue,
        idle: case.idle.unwrap_or(usual.idle),
        away: case.away.unwrap_or(usual.away),
        ..usual
    }
}

/// Devices of one product. Each is a double of its own.
pub(crate) struct Consoles {
    case: Case,
    product: Product,
    tools: Tools,
    dir: tempfile::TempDir,
}

impl Consoles {
    pub(crate) fn new(case: Case) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tools = order::tools(dir.path());
        let product = product(&case);
        let consoles = Self { case, product, tools, dir };
        for is_bad in [false, true] {
            let (image, stored) =
                (consoles.image(is_bad), consoles.tools.store.path(&consoles.digest(is_bad)));
            std::fs::write(consoles.file(is_bad), &image).unwrap();
            // Once: machines of the kit that are tried at the same time read it.
            if consoles.case.folder {
                std::fs::write(stored.unwrap(), image).unwrap();
            }
        }
        consoles
    }

    fn image(&self, bad_signature: bool) -> Vec<u8> {
        let mut header = Header { bad_signature, ..Header::new(self.case.image_for(), self.case.version) };
        (self.case.image)(&mut header);
        if self.case.folder { archive(&header.to_file()) } else { header.to_file() }
    }

    fn digest(&self, is_bad: bool) -> String {
        format!("sha256:{}", digest(&self.image(is_bad)))
    }

    fn file(&self, is_bad: bool) -> PathBuf {
        self.dir.path().join(if is_bad { "bad.tar" } else { "good.tar" })
    }

    /// The images, by digest.
    fn files(&self) -> BTreeMap<String, PathBuf> {
        let file = |is_bad| (self.digest(is_bad), self.file(is_bad));
        [file(false), file(true)].into()
    }

    /// What is in the images that are archives, by digest.
    async fn trees(&self) -> BTreeMap<String, Arc<Tree>> {
        let mut trees = BTreeMap::new();
        for is_bad in [false, true].into_iter().filter(|_| self.case.folder) {
            let digest = self.digest(is_bad);
            trees.insert(digest.clone(), self.tools.store.tree("firmware", &digest).await.unwrap());
        }
        trees
    }

    /// The product, which looks for its image at this port.
    fn product(&self, port: u16) -> Product {
        let mut product = self.product.clone();
        product.pulls.iter_mut().filter_map(|pull| pull.port.as_mut()).for_each(|fixed| *fixed = port);
        product
    }

    fn component(&self, is_bad: bool) -> Component {
        let (case, digest) = (&self.case, self.digest(is_bad));
        let (installer, file) = (InstallerKind::DeviceImage, self.file(is_bad));
        let mut component =
            bench::component("firmware", case.version, installer, &file, digest, case.timeout);
        component.firmware = Some(case.entry.to_owned());
        component.payload.as_mut().unwrap().unpack = case.folder;
        component
    }
}

/// The products, read once as by an operator: that takes longer than an attempt.
static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::default);

/// The product of a case. Its times are those of a double.
fn product(case: &Case) -> Product {
    let mut product = CATALOGUE.choose(case.type_, Some(case.product)).unwrap().clone();
    product.session.settle = Duration::from_millis(100);
    if let Some(quiet) = case.quiet {
        product.requests.values_mut().for_each(|request| request.command.quiet = Some(quiet));
    }
    product.pulls.retain(|pull| pull.scheme == case.scheme);
    product
}

impl Consoles {
    /// A new double.
    async fn one(&self) -> One<'_> {
        let services = Services::open(self.case.host, self.files(), self.trees().await);
        let mut config = Config::new(Doubled::named(self.case.double).unwrap());
        config.address = self.case.host;
        let port = services.port(self.case.scheme);
        config.settings = Settings {
            flash_ms: 1000,
            reboot_ms: 300,
            commit_ms: 300,
            ports: BTreeMap::from([(self.case.scheme.to_string(), port)]),
            tree: self.case.folder,
            ..Settings::default()
        };
        if let Some(idle) = self.case.idle {
            config.settings.idle_ms = u64::try_from(idle.as_millis()).unwrap();
        }
        if let Some(bay) = self.case.bay {
            MODULES.clone_into(&mut config.password);
            config = Config {
                address: ENCLOSURE,
                user: MANAGERS.0.to_owned(),
                password: MANAGERS.1.to_owned(),
                interconnects: vec![(bay, config)],
                ..Config::new(Doubled::named("oa").unwrap())
            };
        }
        let started = Arc::new(Double::start(config).await.unwrap());
        let host_keys = RefCell::new(started.host_keys().to_vec());
        let own = if self.case.bay.is_some() { MODULES } else { "password" };
        let passwords = Cell::new((own, MANAGERS.1));
        let has_bad_image = Cell::new(false);
        One { of: self, started, services, host_keys, passwords, has_bad_image }
    }
}

/// An archive with what a switch fetches: the list of the packages, and the packages.
fn archive(image: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let (first, second) = image.split_at(image.len() / 2);
    let list: &[u8] = b"a.rpm\nb.rpm\n";
    for (path, content) in [("v/release.plist", list), ("v/a.rpm", first), ("v/b.rpm", second)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content).unwrap();
    }
    archive.into_inner().unwrap()
}

impl Bench for Consoles {
    fn name(&self) -> String {
        format!("{} on {}", self.case.product, self.case.double)
    }

    fn machine(&self) -> LocalBoxFuture<'_, Rc<dyn Subject + '_>> {
        Box::pin(async { Rc::new(self.one().await) as Rc<dyn Subject> })
    }

    fn journal(&self) -> Journal {
        Journal::Logbook
    }

    /// Doubles mostly wait, and several products are tried at the same time: with more of them on two cores, attempts end
    /// with their limits.
    fn at_once(&self) -> usize {
        8
    }

    fn limit(&self) -> Duration {
        Duration::from_mins(8)
    }

    fn hold(&self) -> Duration {
        HOLD
    }
}

/// The double that is updated: the one that was started, or the one in its bay.
fn device(started: &Double, bay: Option<u8>) -> &Double {
    bay.map_or(started, |bay| started.interconnect(bay).unwrap())
}

fn keys(name: &str, user: &str, password: &str) -> Keys {
    Keys { name: name.into(), ..order::keys(&[("username", user), ("password", password)]) }
}

/// One double.
struct One<'b> {
    of: &'b Consoles,
    /// What was started: the device, or the manager that it is reached through.
    started: Arc<Double>,
    services: Arc<Services>,
    /// Of what was started.
    host_keys: RefCell<Vec<String>>,
    /// That of the device, and that of its manager.
    passwords: Cell<(&'static str, &'static str)>,
    has_bad_image: Cell<bool>,
}

impl One<'_> {
    fn double(&self) -> &Double {
        device(&self.started, self.of.case.bay)
    }

    /// How to connect over SSH to what was started.
    fn ssh(&self, usual: &SshSettings) -> SshSettings {
        SshSettings {
            port: self.started.ssh().port(),
            host_keys: self.host_keys.borrow().clone(),
            ..usual.clone()
        }
    }

    /// The manager that the double is reached through.
    fn manager(&self) -> Option<Manager> {
        self.of.case.bay?;
        let usual = order::node("oa-1", MachineType::OnboardAdministrator, ENCLOSURE);
        let node = Node { ssh: self.ssh(&usual.ssh), ..usual };
        Some(Manager { node, keys: keys("oa-login", MANAGERS.0, self.passwords.get().1) })
    }

    /// The web server, if the product has one.
    fn https(&self) -> HttpsSettings {
        let mut trust = Trust::default();
        let digest = self.double().certificate();
        let pin = digest.map(|digest| format!("sha256:{digest}").parse::<Fingerprint>().unwrap());
        trust.fingerprints.extend(pin);
        HttpsSettings { port: self.double().https().map_or(443, |address| address.port()), trust }
    }

    /// Reports whether it is sent its image.
    fn is_sent(&self) -> bool {
        self.double().https().is_some() && self.of.case.hand_over.is_none()
    }

    fn arm(&self, fault: fault::Fault, times: u32) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move { self.double().arm(Armed::times(fault, times)).unwrap() })
    }

    fn count(&self, kind: &str, is_it: impl Fn(&Value) -> bool) -> usize {
        self.double().journal().iter().filter(|entry| entry.kind == kind && is_it(&entry.detail)).count()
    }

    /// Reports whether the double installs something.
    fn is_at_work(&self) -> bool {
        let state = self.double().state();
        let phase = state.pointer("/update/phase").and_then(Value::as_str).unwrap_or("done");
        !matches!(phase, "done" | "failed") || state.get("up") != Some(&Value::Bool(true))
    }

    /// Waits until the double is at rest, and knows of connections that have ended.
    async fn rests(&self) {
        bench::rests(LOOKS, REST, || self.is_at_work()).await;
    }
}

impl Subject for One<'_> {
    fn driver(&self) -> Arc<dyn Driver> {
        let case = &self.of.case;
        let usual = order::node(case.double, case.type_, case.host);
        let hand_over = case.hand_over;
        let node = Node { ssh: self.ssh(&usual.ssh), https: self.https(), hand_over, ..usual };
        let keys = keys("login", "admin", self.passwords.get().0);
        let product = self.of.product(self.services.port(case.scheme));
        Console::driver_with(&node, &keys, self.manager().as_ref(), product, limits(case)).unwrap()
    }

    fn tools(&self) -> Tools {
        self.of.tools.clone()
    }

    fn offers(&self) -> Arc<dyn Offers> {
        Arc::new(Shelf::new(&self.services))
    }

    fn job(&self, goal: Goal) -> Job {
        let Case { double, type_, .. } = self.of.case;
        let class = Console::new(CATALOGUE.clone());
        let components = vec![self.of.component(self.has_bad_image.get())];
        Job {
            device: DeviceOrder { resets_host: true, interrupts: true, ..DeviceOrder::default() },
            ..order::job(double, type_, &class, components, goal)
        }
    }

    fn footprint(&self) -> LocalBoxFuture<'_, Footprint> {
        Box::pin(async {
            self.rests().await;
            Footprint {
                version: self.double().version(self.of.case.part).unwrap_or_default(),
                installed: self.count("flash", |flash| {
                    flash["part"] == self.of.case.part && flash["version"] == self.of.case.version
                }),
                restarts: self.count("reboot", |reboot| reboot["why"] == "reboot"),
                // A session is a connection, which a runner keeps while it is suspended.
                left: Vec::new(),
            }
        })
    }

    fn has_happened(&self, fault: Fault) -> bool {
        match fault {
            // Faults of the double end when they have happened.
            Fault::SuccessThatIsNone | Fault::AnswerLost | Fault::Unavailable | Fault::Busy => {
                self.double().armed().is_empty()
            }
            Fault::ResetsItself => self.count("reboot", |reboot| reboot["why"] == "control") > 0,
            Fault::ImageRefused => {
                self.count("fetch", |fetch| fetch.get("bytes").is_some()) + self.count("upload", |_| true) > 0
            }
            Fault::WayBackShut => self.count("fetch", |fetch| fetch.get("error").is_some()) > 0,
            Fault::WorkVanishes | Fault::FailureThatIsNone => false,
            Fault::SessionLost | Fault::AnotherIdentity => true,
        }
    }

    fn fault(&self, fault: Fault) -> Result<LocalBoxFuture<'_, ()>, String> {
        let some = 1;
        Ok(match fault {
            Fault::WorkVanishes => return Err("it remembers its last work".into()),
            Fault::FailureThatIsNone => return Err("its status is what it does".into()),
            Fault::WayBackShut if self.is_sent() => {
                return Err("it is sent its image".into());
            }
            // What is sent into a line that breaks may have begun, as where an answer is lost.
            Fault::SessionLost => return Err("a session is a connection".into()),
            Fault::ResetsItself => {
                let (started, bay) = (self.started.clone(), self.of.case.bay);
                Box::pin(async move {
                    drop(tokio::spawn(async move { device(&started, bay).reboot().await }));
                })
            }
            Fault::SuccessThatIsNone => self.arm(fault::Fault::WrongVersion { version: String::new() }, some),
            Fault::AnswerLost => self.arm(fault::Fault::DropLine { percent: 0 }, some),
            Fault::Unavailable => self.arm(fault::Fault::OtherSession { user: "root".into() }, 2),
            Fault::Busy => self.arm(fault::Fault::PartnerUnhealthy, some),
            Fault::ImageRefused => {
                self.has_bad_image.set(true);
                Box::pin(std::future::ready(()))
            }
            Fault::AnotherIdentity => Box::pin(async {
                let other = Double::start(Config::new(Doubled::named(self.of.case.double).unwrap()));
                self.host_keys.replace(other.await.unwrap().host_keys().to_vec());
            }),
            Fault::WayBackShut => Box::pin(async { self.services.shut().await }),
        })
    }
}
