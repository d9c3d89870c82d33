//! A class of machines that exists only here: rack lamps. One line registers it, and nothing else of Farrier
//! knows of it. Some of them take an image that is sent to them, others fetch it.

mod pulling;
mod services;

use crate::harness::payload::of_bytes;
use crate::harness::run::to;
use crate::harness::{Conditions, Run, Site, e2e, outcome, wait};
use clap::Parser;
use farrier::api::{ManagedNode, NodeInventory};
use farrier::attempt::logbook::Intended;
use farrier::attempt::{Firmware, Job, Login, Scheme, Survey, Tools};
use farrier::cmd::operator;
use farrier::drivers::device::{Contact, Device, DeviceDriver, Image, Reading, Report, Trouble, Way};
use farrier::drivers::{Abilities, Class, CleansUp, Driver, Keys, Manager, Node, Register, linux};
use farrier::failure::Failure;
use farrier_network::MachineType;
use farrier_protocol::Facts;
use farrier_update::device::{
    Action, Answer, Artifact, ArtifactKind, BootMarks, Entry, Intent, Inventory, Limits, Method, Part,
    Progress, Task, Ticket, Verb,
};
use farrier_update::{InstallerKind, Millis, NodePlan, Reason};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The lamps, by name. They are devices without a network.
static LAMPS: Mutex<BTreeMap<String, State>> = Mutex::new(BTreeMap::new());

/// The state of a lamp.
#[derive(Default, Clone)]
struct State {
    version: String,
    sessions: BTreeMap<String, u32>,
    /// The work: its action, and the content of the image, once it is there.
    work: Option<(u32, Option<String>)>,
    /// It installs nothing for the time being.
    is_held: bool,
    /// It fetches nothing for the time being.
    is_blind: bool,
    /// The URL from which it was told to fetch its image.
    url: String,
    /// The account with which it was told to sign in, and the whole content that it fetched.
    login: Option<Login>,
    content: String,
    /// The protocols by which it can fetch; empty: HTTPS and HTTP.
    schemes: Vec<Scheme>,
    installed: Vec<String>,
    opened: u32,
}

fn lamps() -> MutexGuard<'static, BTreeMap<String, State>> {
    LAMPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lamp(name: &str) -> State {
    lamps().get(name).cloned().unwrap_or_default()
}

struct Lamps;

impl Class for Lamps {
    fn types(&self) -> &'static [MachineType] {
        // The second kind fetches by HTTP and the third by HTTPS, as the table of ports says.
        &[MachineType::SASSwitch, MachineType::FCSwitch, MachineType::SuperdomeFlex]
    }

    fn abilities(&self) -> &'static Abilities {
        &Abilities {
            installers: &[InstallerKind::DeviceImage],
            takes_engine: false,
            cleans_up: CleansUp::OnlyFarrier,
            has_products: false,
        }
    }

    fn driver(&self, node: &Node, keys: &Keys, _: Option<&Manager>) -> Result<Arc<dyn Driver>, Failure> {
        assert_eq!(keys.line("password")?.as_deref(), Some("bright"));
        Ok(Arc::new(DeviceDriver::<Lamp>::new(node.name.clone())))
    }
}

struct Lamp {
    name: String,
    type_: MachineType,
}

fn now() -> Millis {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(now.as_millis()).unwrap_or_default())
}

impl Device for Lamp {
    type Settings = String;

    fn new(name: &String, job: &Job, _: &Tools) -> Result<Self, Failure> {
        Ok(Self { name: name.clone(), type_: job.node_type })
    }

    fn limits(&self) -> Limits {
        let moment = Duration::from_millis(200);
        Limits {
            poll: moment,
            idle: moment,
            proof: moment,
            settle: Duration::from_secs(5),
            seen: Duration::from_secs(3),
            ..Limits::default()
        }
    }

    async fn read(
        &mut self,
        _: &[Action],
        mut report: impl FnMut(Contact) + Send,
    ) -> Result<Reading, Trouble> {
        let state = lamp(&self.name);
        if state.sessions.is_empty() {
            let failure = Failure::new(Reason::SessionEnded, "no session");
            return Err(Trouble { failure, is_refused: false, is_answer: false });
        }
        report(Contact::Reached { address: "the rack".into() });
        let (part, pending) = (Part::Manager, None);
        let entry = Entry { version: state.version.clone(), part, pending, members: Vec::new() };
        let sessions = state.sessions.iter().map(|(session, action)| Artifact {
            kind: ArtifactKind::Session,
            ticket: Ticket(session.clone()),
            action: farrier_update::device::ActionId(*action),
            whole: true,
        });
        let inventory = Inventory {
            at: now(),
            entries: BTreeMap::from([("lamp".to_owned(), entry)]),
            boot: BootMarks::default(),
            tasks: state.work.iter().map(|(action, _)| task(*action)).collect(),
            artifacts: sessions.collect(),
            earlier: Vec::new(),
            keeps_tasks: None,
            lists_sessions: false,
            obstacles: Vec::new(),
        };
        let firmware = Firmware {
            id: "lamp".into(),
            name: "Lamp".into(),
            version: state.version,
            updateable: true,
            ..Firmware::default()
        };
        let facts = Facts { vendor: "Acme".into(), model: "Lamp".into(), ..Facts::default() };
        let survey = Survey { facts, firmware: vec![firmware], ..Survey::default() };
        Ok(Reading {
            inventory,
            survey,
            others: Vec::new(),
            obstacles: BTreeMap::new(),
            parts: BTreeMap::new(),
        })
    }

    async fn request(
        &mut self,
        permission: Intended,
        intent: &Intent,
        _: &[Action],
        image: Option<Image>,
        mut report: impl FnMut(Contact) + Send,
    ) -> (Answer, Option<Trouble>) {
        if permission.time_left().is_none() {
            return (Answer::NotBegun, None);
        }
        let mut lamps = lamps();
        let state = lamps.entry(self.name.clone()).or_default();
        let answer = match intent.verb {
            Verb::SignIn => {
                state.opened += 1;
                let session = format!("session-{}", state.opened);
                state.sessions.insert(session.clone(), intent.id.0);
                report(Contact::SignedIn);
                Answer::Began(Ticket(session))
            }
            Verb::SignOut => {
                let of = intent.of.expect("a session").0;
                state.sessions.retain(|_, action| *action != of);
                Answer::Done
            }
            Verb::Upload => {
                let image = image.expect("an image");
                assert!(image.name.contains(&format!("-{}-", intent.id.0)), "{}", image.name);
                let content = std::fs::read_to_string(&image.path).expect("a payload");
                state.work = Some((intent.id.0, Some(content)));
                Answer::Began(Ticket(format!("work-{}", intent.id.0)))
            }
            Verb::Pull => {
                let offer = image.and_then(|image| image.offer).expect("an offer");
                state.url.clone_from(&offer.url);
                state.login.clone_from(&offer.login);
                state.work = Some((intent.id.0, None));
                pulling::fetch(&self.name, offer, intent.id.0);
                Answer::Began(Ticket(format!("work-{}", intent.id.0)))
            }
            Verb::Enqueue
            | Verb::AdoptImage
            | Verb::AdoptWork
            | Verb::Activate
            | Verb::ResetManager
            | Verb::ResetHost
            | Verb::ImportAuthority
            | Verb::Subscribe
            | Verb::RemoveUpload
            | Verb::RemoveQueueEntry
            | Verb::RemoveAuthority
            | Verb::Unsubscribe
            | Verb::Unknown => Answer::Rejected,
        };
        (answer, None)
    }

    async fn follow(&mut self, _: &Ticket) -> Result<Report, Trouble> {
        let mut lamps = lamps();
        let state = lamps.entry(self.name.clone()).or_default();
        if state.is_held || matches!(state.work, Some((_, None))) {
            return Ok(Progress::Running.into());
        }
        if let Some((_, Some(content))) = state.work.take() {
            content.trim().clone_into(&mut state.version);
            state.content = content;
            state.installed.push(state.version.clone());
        }
        Ok(Progress::Done.into())
    }

    async fn close(&mut self) {
        lamps().entry(self.name.clone()).or_default().sessions.clear();
    }

    fn methods(&self, plan: &NodePlan) -> BTreeMap<String, Result<Way, Failure>> {
        let pushes = self.type_ == MachineType::SASSwitch;
        let method = if pushes { Method::Push } else { Method::Pull };
        plan.installs().map(|item| (item.component.name.clone(), Ok(method.into()))).collect()
    }

    fn schemes(&self) -> Vec<Scheme> {
        let own = lamp(&self.name).schemes;
        if own.is_empty() { vec![Scheme::Https, Scheme::Http] } else { own }
    }
}

fn task(action: u32) -> Task {
    let action = farrier_update::device::ActionId(action);
    Task { ticket: Ticket(format!("work-{}", action.0)), action: Some(action), progress: Progress::Running }
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: operator::Args,
}

/// Runs the operator with the lamps during `body`, instead of the site's.
async fn with_lamps(site: &Site, body: impl Future<Output = ()>) {
    site.operator.kill();
    operate(site, body).await;
    // Ends the test's runs and the site.
    site.operator.start();
}

/// Runs the operator with the lamps during `body`, and ends it as if it were killed.
async fn operate(site: &Site, body: impl Future<Output = ()>) {
    let (payloads, cache) = (site.path("payloads"), site.path("cache-lamps"));
    let engines = crate::harness::operator::engines();
    let words = [
        "farrier".as_ref(),
        "--namespace".as_ref(),
        site.name.as_ref(),
        "--runner-name".as_ref(),
        "lamps".as_ref(),
        "--engines".as_ref(),
        engines.as_os_str(),
        "--payload-dir".as_ref(),
        payloads.as_os_str(),
        "--cache-dir".as_ref(),
        cache.as_os_str(),
        "--operator-namespace".as_ref(),
        site.name.as_ref(),
    ];
    let Cli { args } = Cli::try_parse_from(words).expect("arguments of the operator");
    let register = Register::new(&[&linux::Linux, &Lamps]);
    tokio::select! {
        ended = Box::pin(operator::run_with(args, register)) => panic!("the operator ended: {ended:?}"),
        () = body => {}
    }
}

async fn install(site: &Site, name: &str, version: &str) {
    install_kind(site, name, version, "SASSwitch", "rack.invalid").await;
}

async fn install_kind(site: &Site, name: &str, version: &str, type_: &str, address: &str) {
    lamps().insert(name.to_owned(), State { version: version.to_owned(), ..State::default() });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "stringData": {"password": "bright"},
    });
    site.create::<Secret>(&secret).await.expect("a Secret");
    let node = json!({
        "apiVersion": "farrier.dev/v1alpha1", "kind": "ManagedNode", "metadata": {"name": name},
        "spec": {"type": type_, "addresses": [address], "credentialsRef": {"name": name}},
    });
    site.create::<ManagedNode>(&node).await.expect("a ManagedNode");
}

/// What every finished NodeUpdate of a lamp must say.
async fn is_over(run: &Run<'_>, name: &str) {
    let update = run.node(name).await;
    assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
    assert_eq!(update.state("EngineDeployed"), "", "a lamp takes no engine");
    let status = update.status.expect("a status");
    assert!(status.actions.iter().all(|action| action.state == "Ended" || action.verb == "SignIn"));
    assert_eq!(status.leases, 0);
    assert_eq!(lamp(name).sessions.len(), 0, "no session is left");
}

/// Otherwise a class of machines would need more than its folder and its line.
#[test]
fn a_class_that_is_registered_in_one_line_is_inventoried_updated_and_cancelled() {
    e2e("lamps", async |site| {
        install(site, "red", "1.0").await;
        let image = of_bytes("lamp", "2.0", "DeviceImage", "lamp-2.0.img", b"2.0");
        std::fs::write(site.path("payloads").join("lamp-2.0.img"), "2.0").expect("a payload");
        site.baseline("bright", &[image]).await;
        with_lamps(site, async {
            let first = site.run("look", json!({"operation": "Inventory"})).await;
            first.succeeds().await;
            is_over(&first, "red").await;
            let inventory = site.api::<NodeInventory>().get("red").await.expect("an inventory");
            let status = inventory.status.expect("a status");
            assert_eq!(
                (status.firmware[0].name.as_str(), status.firmware[0].version.as_str()),
                ("Lamp", "1.0")
            );
            assert_eq!(status.facts.vendor, "Acme");

            let update = site.run("update", to("bright")).await;
            update.succeeds().await;
            is_over(&update, "red").await;
            assert_eq!(outcome(&update.node("red").await, "lamp"), "Updated");
            assert_eq!(lamp("red").installed, ["2.0"]);

            let again = site.run("again", to("bright")).await;
            again.succeeds().await;
            assert_eq!(outcome(&again.node("red").await, "lamp"), "UpToDate");
            assert_eq!(lamp("red").installed.len(), 1);
            is_cancelled(site).await;
        })
        .await;
    });
}

/// What the lamp has begun is followed to its end, and reported.
async fn is_cancelled(site: &Site) {
    lamps().entry("red".into()).and_modify(|state| {
        (state.version, state.is_held) = ("1.0".into(), true);
    });
    let run = site.run("cancelled", to("bright")).await;
    wait::until("the lamp to be at work", wait::LIMIT, async || {
        lamp("red").work.map(|_| ()).ok_or_else(|| "it has no image".to_owned())
    })
    .await;
    run.desire("Cancel").await;
    run.node_until("red", "the cancel to arrive", |update| {
        update.spec.intent == farrier::api::node_update::Intent::Cancel
    })
    .await;
    lamps().entry("red".into()).and_modify(|state| state.is_held = false);
    run.ends(wait::LIMIT).await;
    is_over(&run, "red").await;
    assert_eq!(outcome(&run.node("red").await, "lamp"), "Updated");
    assert_eq!(lamp("red").installed, ["2.0", "2.0"]);
}
