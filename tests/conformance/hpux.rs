//! Doubles of HP-UX as machines of the kit, each with a real sshd in an overlay of this system. Needs root.

use super::bench::{self, HOLD};
use super::order;
use super::pull::{Pulls, Server};
use farrier::attempt::{Goal, Job, Offers, Tools};
use farrier::conformance::{Bench, Fault, Footprint, Journal, Subject};
use farrier::drivers::hpux::HpUx;
use farrier::drivers::{Driver, HandOver, Node, SshSettings};
use farrier_bmc_double::image;
use farrier_network::MachineType;
use farrier_update::device::Limits;
use farrier_update::{Component, InstallerKind};
use futures::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a machine is followed after an installation began.
const TIMEOUT: Duration = Duration::from_secs(40);

/// How long a double may take to start on a busy machine.
const START: Duration = Duration::from_mins(1);

/// After so many looks without work, a double is at rest.
const LOOKS: u32 = 15;

/// The fault of a double that reports success without effect.
const LIES: &str = "fault/success-without-effect";

/// The version that is installed, and the one that is wanted.
const VERSIONS: [&str; 2] = ["A.01.00", "A.02.00"];

/// Times that fit a double. What is waited for on a real machine for minutes takes seconds.
fn limits() -> Limits {
    let seconds = Duration::from_secs;
    Limits {
        has_sessions: false,
        poll: Duration::from_millis(300),
        proof: HOLD + seconds(1),
        idle: seconds(2),
        session_timeout: None,
        away: seconds(40),
        refused: seconds(40),
        reading: seconds(90),
        seen: seconds(4),
        unseen: seconds(8),
        settle: seconds(4),
        settle_failed: seconds(1),
        reset: seconds(40),
        busy: seconds(40),
        post: seconds(20),
        overdue: seconds(20),
    }
}

/// Machines with the same programs for fetching.
pub(crate) struct Machines {
    /// What can fetch there.
    programs: &'static [&'static str],
    /// What their user wants.
    hand_over: Option<HandOver>,
    tools: Tools,
    dir: tempfile::TempDir,
}

fn depot(dir: &Path, name: &str, product: &str, options: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doubles/hpux/make-depot");
    let made = Command::new(script).arg(dir.join(name)).args([product, VERSIONS[1]]).args(options).status();
    assert!(made.unwrap().success());
}

fn key(dir: &Path, name: &str) {
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(name)).status();
    assert!(made.unwrap().success());
}

fn digest(file: &Path) -> String {
    format!("sha256:{}", image::digest(&std::fs::read(file).unwrap()))
}

impl Machines {
    /// Machines that can fetch with these programs.
    pub(crate) fn with(programs: &'static [&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        depot(dir.path(), "tool.depot", "Tool", &[]);
        depot(dir.path(), "wrong.depot", "Other", &[]);
        for name in ["host", "other", "user"] {
            key(dir.path(), name);
        }
        let tools = order::tools(dir.path());
        Self { programs, hand_over: None, tools, dir }
    }

    /// Machines that could fetch, and whose ways back are shut: their user wants depots to be sent.
    pub(crate) fn sent() -> Self {
        Self { hand_over: Some(HandOver::Push), ..Self::with(&["curl", "openssl"]) }
    }

    fn file(&self, is_wrong: bool) -> PathBuf {
        self.dir.path().join(if is_wrong { "wrong.depot" } else { "tool.depot" })
    }

    fn files(&self) -> BTreeMap<String, PathBuf> {
        [false, true].map(|is_wrong| (digest(&self.file(is_wrong)), self.file(is_wrong))).into()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    fn start(&self) -> (Child, u16) {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doubles/hpux/start"))
            .arg(self.dir.path())
            .arg(port.to_string())
            .args(self.programs)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        (child.unwrap(), port)
    }

    fn component(&self, is_wrong: bool) -> Component {
        let (installer, file) = (InstallerKind::SwinstallDepot, self.file(is_wrong));
        bench::component("Tool", VERSIONS[1], installer, &file, digest(&file), TIMEOUT)
    }
}

impl Bench for Machines {
    fn name(&self) -> String {
        format!(
            "hpux with {}",
            if self.programs.is_empty() { "nothing".to_owned() } else { self.programs.join(", ") }
        )
    }

    fn machine(&self) -> LocalBoxFuture<'_, Rc<dyn Subject + '_>> {
        Box::pin(async {
            let (child, port) = self.start();
            let begun = Instant::now();
            let children = format!("/proc/{0}/task/{0}/children", child.id());
            let init = loop {
                // The kernel may leave a child out of the list while others come and go.
                let init = std::fs::read_to_string(&children).unwrap().trim().parse();
                if let (Ok(init), Ok(_)) = (init, TcpStream::connect(("127.0.0.1", port))) {
                    break init;
                }
                assert!(begun.elapsed() < START, "the double has started");
                // sleep: a process does not report that it listens.
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            let machine = Machine {
                of: self,
                child: RefCell::new(child),
                init,
                port,
                server: RefCell::new(Server::start(self.files(), self.hand_over.is_some()).await),
                has_wrong_depot: Cell::new(false),
                has_other_key: Cell::new(false),
            };
            machine.set("seconds", "1");
            Rc::new(machine) as Rc<dyn Subject>
        })
    }

    fn journal(&self) -> Journal {
        Journal::Logbook
    }

    fn at_once(&self) -> usize {
        6
    }

    fn limit(&self) -> Duration {
        Duration::from_mins(4)
    }

    fn hold(&self) -> Duration {
        HOLD
    }
}

/// One double.
struct Machine<'b> {
    of: &'b Machines,
    child: RefCell<Child>,
    /// The process number of its sshd.
    init: u32,
    port: u16,
    server: RefCell<Arc<Server>>,
    has_wrong_depot: Cell<bool>,
    has_other_key: Cell<bool>,
}

impl Machine<'_> {
    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    fn set(&self, name: &str, value: &str) {
        std::fs::write(self.path(&format!("/opt/hpux-double/state/{name}")), format!("{value}\n")).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    /// Runs a command in the machine, as root.
    fn run(&self, command: &str) -> Child {
        Command::new("nsenter")
            .args(["-t", &self.init.to_string(), "-m", "-p", "-r", "-w/", "--", "/bin/sh", "-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Returns how often the agent says that it has installed.
    fn said(&self) -> usize {
        self.read("/var/adm/sw/swagent.log").matches("Installing fileset \"Tool.").count()
    }

    /// Returns how often it was installed, which the log does not tell of a double that only says so.
    fn installed(&self) -> usize {
        if self.path(&format!("/opt/hpux-double/state/{LIES}")).exists() { 0 } else { self.said() }
    }

    /// Returns the processes that belong to the work of a driver, or to an installation.
    fn is_at_work(&self) -> bool {
        let status =
            self.run("ps -e -o args | grep -q -e '[/ ]swinstall' -e '[/ ]swagent' -e '[/]run$'").wait();
        status.unwrap().success()
    }

    async fn rests(&self) {
        bench::rests(LOOKS, TIMEOUT, || self.is_at_work()).await;
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        let mut child = self.child.borrow_mut();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Subject for Machine<'_> {
    fn driver(&self) -> Arc<dyn Driver> {
        let host_key = self.of.text(if self.has_other_key.get() { "other.pub" } else { "host.pub" });
        let usual = order::node("hp1", MachineType::HPUX, Ipv4Addr::LOCALHOST.into());
        let host_keys = vec![host_key.trim().to_owned()];
        let ssh = SshSettings { port: self.port, host_keys, ..usual.ssh };
        let keys = order::keys(&[("username", "root"), ("ssh-privatekey", &self.of.text("user"))]);
        HpUx::driver_with(&Node { ssh, hand_over: self.of.hand_over, ..usual }, &keys, limits()).unwrap()
    }

    fn tools(&self) -> Tools {
        self.of.tools.clone()
    }

    fn offers(&self) -> Arc<dyn Offers> {
        Arc::new(Pulls::new(&self.server.borrow()))
    }

    fn job(&self, goal: Goal) -> Job {
        let components = vec![self.of.component(self.has_wrong_depot.get())];
        order::job("hp1", MachineType::HPUX, &HpUx, components, goal)
    }

    fn footprint(&self) -> LocalBoxFuture<'_, Footprint> {
        Box::pin(async {
            self.rests().await;
            let index = self.read("/var/adm/sw/products/Tool/INDEX");
            let of = |key: &str| {
                index.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned()
            };
            let state = of("state ");
            let version = if state == "configured" { of("revision ") } else { state };
            let left = std::fs::read_dir(self.path("/var/tmp")).unwrap();
            let left = left.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
            Footprint {
                version,
                installed: self.installed(),
                restarts: 0,
                left: left.filter(|name| name.contains("farrier")).collect(),
            }
        })
    }

    fn has_happened(&self, fault: Fault) -> bool {
        match fault {
            Fault::SuccessThatIsNone => self.said() > 0,
            Fault::SessionLost
            | Fault::ResetsItself
            | Fault::WorkVanishes
            | Fault::FailureThatIsNone
            | Fault::AnswerLost
            | Fault::Unavailable
            | Fault::Busy
            | Fault::ImageRefused
            | Fault::AnotherIdentity
            | Fault::WayBackShut => true,
        }
    }

    fn fault(&self, fault: Fault) -> Result<LocalBoxFuture<'_, ()>, String> {
        let now = || Box::pin(std::future::ready(()));
        Ok(match fault {
            Fault::WorkVanishes => return Err("its work is in a directory of ours".into()),
            Fault::FailureThatIsNone => return Err("the double has no such fault".into()),
            Fault::AnswerLost => return Err("an answer is lost with the session only".into()),
            Fault::WayBackShut if self.of.programs.is_empty() => {
                return Err("it has nothing to connect with".into());
            }
            Fault::SessionLost => {
                let children = format!("/proc/{0}/task/{0}/children", self.init);
                for child in std::fs::read_to_string(children).unwrap().split_whitespace() {
                    let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
                    if name.starts_with("sshd") {
                        Command::new("kill").args(["-KILL", child]).status().unwrap();
                    }
                }
                now()
            }
            Fault::ResetsItself => {
                self.run("sh /restart").wait().unwrap();
                now()
            }
            Fault::SuccessThatIsNone => {
                self.set(LIES, "");
                now()
            }
            Fault::Unavailable => {
                let init = self.init.to_string();
                Command::new("kill").args(["-STOP", &init]).status().unwrap();
                std::thread::spawn(move || {
                    // sleep: the time in which it does not answer.
                    std::thread::sleep(Duration::from_secs(3));
                    Command::new("kill").args(["-CONT", &init]).status().unwrap();
                });
                now()
            }
            Fault::Busy => {
                self.set("analysis-seconds", "4");
                let mut other = self.run("/usr/sbin/swinstall -s /var/tmp/other.depot Other");
                std::thread::spawn(move || other.wait());
                now()
            }
            Fault::ImageRefused => {
                self.has_wrong_depot.set(true);
                now()
            }
            Fault::AnotherIdentity => {
                self.has_other_key.set(true);
                now()
            }
            Fault::WayBackShut => Box::pin(async {
                let shut = Server::start(self.of.files(), true).await;
                self.server.replace(shut);
            }),
        })
    }
}
