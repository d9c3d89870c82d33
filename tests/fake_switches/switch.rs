//! The switches, and an attempt to take the inventory of one.

use super::{PRODUCTS, order};
use clap::Parser;
use farrier::attempt::logbook::apply;
use farrier::attempt::{Desk, End, Goal, Logbook, NoDrain, View, now};
use farrier::cmd::console::Options;
use farrier::conformance::NoOffers;
use farrier::drivers::{Node, SshSettings};
use farrier_network::MachineType;
use farrier_update::Reason;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The type of machine of the product files.
const TYPE: MachineType = MachineType::FCSwitch;

/// A switch of the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    Cisco,
    Dell,
}

impl Model {
    /// The name that the switch has, too.
    pub(crate) const fn node(self) -> &'static str {
        match self {
            Self::Cisco => "cisco-7",
            Self::Dell => "dell-7",
        }
    }

    /// The product file.
    pub(crate) const fn product(self) -> &'static str {
        match self {
            Self::Cisco => "cisco-ios",
            Self::Dell => "dell-powerconnect",
        }
    }
}

/// A folder with the product file of a switch, in which something is changed.
pub(crate) fn changed(model: Model, change: impl FnOnce(&str) -> String) -> tempfile::TempDir {
    let name = format!("{}.yaml", model.product());
    let text = std::fs::read_to_string(Path::new(PRODUCTS).join(&name)).unwrap();
    let changed = change(&text);
    assert_ne!(changed, text, "nothing was changed in {name}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), changed).unwrap();
    dir
}

/// The options of the operator that are about product files.
#[derive(Parser)]
struct Operator {
    #[command(flatten)]
    console: Options,
}

/// The switches, which end when they are dropped.
pub(crate) struct Switches {
    process: Child,
    cisco: u16,
    dell: u16,
}

impl Drop for Switches {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What came of an attempt.
pub(crate) struct Inventory {
    end: End,
    view: View,
}

impl Switches {
    pub(crate) fn start() -> Self {
        let Ok(python) = std::env::var("FARRIER_FAKE_SWITCHES") else {
            panic!("run hack/test fake-switches")
        };
        let mut process = Command::new(python)
            .args(["-B", "-W", "ignore", "tests/fake_switches/serve.py"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let [cisco, dell] = ["cisco ", "dell "].map(|model| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(model).unwrap().parse().unwrap()
        });
        Self { process, cisco, dell }
    }

    /// Takes the inventory of a switch, with the product files of a folder and what is in the Secret besides the user.
    pub(crate) async fn inventory(
        &self,
        model: Model,
        products: &Path,
        secret: &[(&str, &str)],
    ) -> Inventory {
        let arguments = ["farrier", "--console-dir", products.to_str().unwrap()];
        let register = Operator::try_parse_from(arguments).unwrap().console.register().unwrap();
        let class = register.class(TYPE, Some(model.product())).unwrap();
        let keys = order::keys(&[secret, &[("username", "admin")]].concat());
        let driver = class.driver(&self.node(model), &keys, None).unwrap();
        let job = order::job(model.node(), TYPE, class, vec![], Goal::Inventory);
        let dir = tempfile::tempdir().unwrap();
        let tools = order::tools(dir.path());
        let (view, _) = watch::channel(View::default());
        let (logbook, mut requests) = Logbook::new();
        let (_stop, stop) = watch::channel(false);
        let desk = Desk {
            tools: &tools,
            stop,
            view: &view,
            logbook,
            actions: Vec::new(),
            offers: Arc::new(NoOffers),
            drain: Arc::new(NoDrain),
            reboot_recorded: watch::channel(true).1,
        };
        let mut attempt = driver.attempt(&job, desk);
        let mut actions = Vec::new();
        let end = loop {
            tokio::select! {
                biased;
                Some(request) = requests.recv() => {
                    apply(&mut actions, &request.entry, "test", now());
                    request.answer.send(Ok(Instant::now() + Duration::from_mins(1))).ok();
                }
                end = &mut attempt => break end,
            }
        };
        drop(attempt);
        assert!(actions.is_empty(), "an inventory requests nothing: {actions:?}");
        let view = view.borrow().clone();
        Inventory { end, view }
    }

    fn node(&self, model: Model) -> Node {
        let usual = order::node(model.node(), TYPE, Ipv4Addr::LOCALHOST.into());
        let port = match model {
            Model::Cisco => self.cisco,
            Model::Dell => self.dell,
        };
        let ssh = SshSettings { port, trust_first: true, ..usual.ssh };
        Node { product: Some(model.product().to_owned()), ssh, ..usual }
    }
}

impl Inventory {
    /// The entries and their versions, in order.
    pub(crate) fn versions(&self) -> Vec<(String, String)> {
        assert_eq!(self.end, End::Inventoried);
        let survey = self.view.survey.as_ref().unwrap();
        let mut versions: Vec<_> =
            survey.firmware.iter().map(|entry| (entry.name.clone(), entry.version.clone())).collect();
        versions.sort();
        versions
    }

    /// Why there is none.
    pub(crate) fn failure(&self) -> (Reason, String) {
        let End::Failed(failure) = &self.end else { panic!("{:?}: {:?}", self.end, self.view.survey) };
        println!("{failure}");
        (failure.reason, failure.message.clone())
    }
}
