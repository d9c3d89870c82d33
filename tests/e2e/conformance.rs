//! The conformance kit, passed by the Linux driver on machines of the lab.

use crate::harness::payload::digest;
use crate::harness::{Machine, Site, e2e, lab, operator};
use farrier::attempt::{Goal, Job, Tools};
use farrier::callback::Registry;
use farrier::conformance::{self, Bench, Fault, Footprint, Journal, Subject};
use farrier::drivers::linux::Linux;
use farrier::drivers::{Class, Driver, HttpsSettings, Keys, Node, Privilege, SshSettings};
use farrier::engines::Engines;
use farrier::metrics::Metrics;
use farrier::payload::Store;
use farrier::ssh::{Algorithms, Family};
use farrier::tls::Trust;
use farrier_network::MachineType;
use farrier_protocol::Detect;
use farrier_update::{AppliesTo, Component, InstallerKind, Needs, PayloadRef, RebootNeed};
use futures::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many machines there are. A trial mostly waits.
const MACHINES: usize = 6;

/// Installs 2.0 within two seconds, or does what the file `/etc/kit.fault` says.
const INSTALLER: &str = "#!/bin/sh
fault=$(cat /etc/kit.fault 2>/dev/null)
[ \"$fault\" = refuse ] && exit 1
[ \"$fault\" = idle ] && exit 0
echo start >>/var/log/kit.runs
sleep 2
echo 2.0 >/etc/kit.version
[ \"$fault\" != fail ]
";

/// Undoes what trials do to a machine.
const RESET: &str = "rm -f /var/log/kit.runs /etc/kit.fault; echo 1.0 >/etc/kit.version";

/// The host key of nobody.
const WRONG_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJgFnDgRf4LjzAxUD5Gm1nQb9zS1SaeWmC1Zy9kkWZ9h";

/// Machines of the lab, each for one trial after the other.
struct Linuxes {
    free: RefCell<Vec<Machine>>,
    sessions: Cell<u32>,
    tools: Tools,
}

impl Linuxes {
    async fn new(site: &Site) -> Self {
        let payloads = site.path("payloads");
        std::fs::write(payloads.join("kit.sh"), INSTALLER).expect("a payload");
        let tools = Tools {
            engines: Engines::load(&operator::engines()).expect("engines"),
            store: Store::open(&site.path("cache-kit"), Some(&payloads)).expect("a store"),
            metrics: Metrics::new(),
            calls: Registry::new(),
            logs: None,
        };
        let machines = site.machine("db").up_many(MACHINES).await;
        Self { free: RefCell::new(machines), sessions: Cell::new(0), tools }
    }
}

impl Bench for Linuxes {
    fn name(&self) -> String {
        "linux in the lab".into()
    }

    fn machine(&self) -> LocalBoxFuture<'_, Rc<dyn Subject + '_>> {
        Box::pin(async {
            let machine = self.free.borrow_mut().pop().expect("no more trials than machines");
            machine.sh(RESET).await;
            self.sessions.set(self.sessions.get() + 1);
            let session = format!("0b3ee0c4{:04}", self.sessions.get());
            Rc::new(Linuxed { of: self, machine, session, is_another: Cell::new(false) }) as Rc<dyn Subject>
        })
    }

    fn journal(&self) -> Journal {
        Journal::Machine
    }

    fn at_once(&self) -> usize {
        MACHINES
    }

    fn limit(&self) -> Duration {
        Duration::from_mins(3)
    }
}

/// One machine during a trial.
struct Linuxed<'b> {
    of: &'b Linuxes,
    machine: Machine,
    session: String,
    /// Whether another host key is expected than the machine has.
    is_another: Cell<bool>,
}

impl Drop for Linuxed<'_> {
    fn drop(&mut self) {
        self.of.free.borrow_mut().push(self.machine.clone());
    }
}

impl Linuxed<'_> {
    async fn end_sessions(&self) {
        let init = self.machine.init();
        let sessions = self.machine.processes().into_iter().filter(|(pid, args)| {
            Some(*pid) != init && args.first().is_some_and(|name| name.starts_with("sshd"))
        });
        let pids: Vec<String> = sessions.map(|(pid, _)| pid.to_string()).collect();
        assert!(!pids.is_empty(), "there is a session to kill");
        lab::output("kill", [&["-9".to_owned()], pids.as_slice()].concat()).await;
    }

    fn script(&self, script: &'static str) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move { drop(self.machine.sh(script).await) })
    }
}

impl Subject for Linuxed<'_> {
    fn driver(&self) -> Arc<dyn Driver> {
        let key = if self.is_another.get() { WRONG_KEY } else { &self.machine.host_key };
        let node = Node {
            name: self.machine.name.clone(),
            type_: MachineType::Linux,
            product: None,
            addresses: vec![self.machine.v4.clone().expect("an address")],
            families: vec![Family::V4],
            ssh: SshSettings {
                port: 22,
                host_keys: vec![key.to_owned()],
                trust_first: false,
                algorithms: Algorithms::Current,
                privilege: Privilege::None,
            },
            https: HttpsSettings { port: 443, trust: Trust::default() },
            hand_over: None,
        };
        let data = [("username", "root"), ("password", "root-secret")];
        let data = data.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
        Linux.driver(&node, &Keys { name: "login".into(), data }, None).expect("a driver")
    }

    fn tools(&self) -> Tools {
        self.of.tools.clone()
    }

    fn job(&self, goal: Goal) -> Job {
        let installers = Linux.abilities().installers;
        let component = Component {
            name: "kit".into(),
            version: "2.0".into(),
            applies_to: AppliesTo::default(),
            installer: InstallerKind::Script,
            detect: Some(Detect::File("/etc/kit.version".into())),
            firmware: None,
            payload: Some(PayloadRef {
                url: "file:///kit.sh".into(),
                digest: digest(INSTALLER.as_bytes()),
                size: None,
                unpack: false,
                signatures: Vec::new(),
            }),
            requires: Vec::new(),
            needs: Needs::default(),
            reboot: RebootNeed::Never,
            interruptible: false,
            timeout: Duration::from_mins(1),
        };
        Job {
            installers,
            all_installers: installers.into(),
            components: vec![component],
            wait_seconds: 20,
            ..Job::first(&self.session, "kit", &self.machine.name, MachineType::Linux, goal)
        }
    }

    fn footprint(&self) -> LocalBoxFuture<'_, Footprint> {
        Box::pin(async {
            let text = |path: &str| self.machine.file(path).unwrap_or_default();
            // An engine that has removed everything takes a moment to exit.
            let begun = Instant::now();
            let mut left = self.machine.traces();
            while !left.is_empty() && begun.elapsed() < Duration::from_secs(3) {
                // sleep: a process does not report that it has exited.
                tokio::time::sleep(Duration::from_millis(100)).await;
                left = self.machine.traces();
            }
            Footprint {
                version: text("/etc/kit.version").trim().to_owned(),
                installed: text("/var/log/kit.runs").lines().count(),
                restarts: 0,
                left,
            }
        })
    }

    fn has_happened(&self, _: Fault) -> bool {
        true
    }

    fn fault(&self, fault: Fault) -> Result<LocalBoxFuture<'_, ()>, String> {
        Ok(match fault {
            Fault::SessionLost => Box::pin(self.end_sessions()),
            Fault::ResetsItself => Box::pin(async { drop(self.machine.labctl("reboot").await) }),
            Fault::SuccessThatIsNone => self.script("echo idle >/etc/kit.fault"),
            Fault::FailureThatIsNone => self.script("echo fail >/etc/kit.fault"),
            Fault::ImageRefused => self.script("echo refuse >/etc/kit.fault"),
            Fault::Unavailable => Box::pin(async {
                self.machine.labctl("unplug").await;
                let machine = self.machine.clone();
                tokio::spawn(async move {
                    // sleep: the machine is away for a while, whatever is done meanwhile.
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    machine.labctl("plug").await;
                });
            }),
            Fault::AnotherIdentity => {
                self.is_another.set(true);
                Box::pin(std::future::ready(()))
            }
            Fault::WorkVanishes => return Err("the engine keeps a journal of its work".into()),
            Fault::AnswerLost => return Err("the engine repeats its reports until they are answered".into()),
            Fault::Busy => return Err("a script needs no package manager that could be locked".into()),
            Fault::WayBackShut => return Err("the engine is served over the session".into()),
        })
    }
}

/// A fleet's machines would be updated twice, or left with things of ours, whenever an operator dies.
#[test]
fn linux_passes_the_kit() {
    e2e("kit", async |site| {
        let linuxes = Linuxes::new(site).await;
        let filter = std::env::var("KIT_FILTER").unwrap_or_default();
        let begun = Instant::now();
        let report = conformance::run_only(&linuxes, &filter).await;
        println!("{report}{} s", begun.elapsed().as_secs());
        assert!(report.is_passed(), "{report}");
    });
}
