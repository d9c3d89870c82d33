//! An engine without a machine: the requests, events and log lines of a real one (`crates/engine`).
//!
//! It does each task at once and with success, except that an installer takes the time of the settings.

mod http;
mod record;

use crate::fleet::{Fleet, PACKAGE, PACKAGES};
use farrier_protocol::{
    Ack, Detect, EventBody, Facts, FailureCode, HEARTBEAT_SECONDS, Hello, Installer, Instance, Lease,
    LeaseKind, LogAck, Next, OLDEST_VERSION, Package, Reading, Step, StepExit, StepLimit, Task, TaskRecord,
    VERSION, Welcome, Work,
};
use http::Http;
use record::Record;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// An engine on a machine.
#[derive(Debug)]
pub struct Engine {
    number: u32,
    /// Its directory.
    pub dir: String,
    /// Its process id.
    pub pid: u32,
    session: String,
    digest: String,
    /// Held by the stream that is being served.
    record: Mutex<Record>,
}

impl Engine {
    /// Launches an engine.
    pub fn launch(number: u32, dir: String, session: &str, digest: &str) -> Self {
        let pid = 1000 + number;
        let mut record = Record::default();
        record.take(LeaseKind::Directory, dir.clone());
        record.take(LeaseKind::Process, pid.to_string());
        let (session, digest) = (session.to_owned(), digest.to_owned());
        Self { number, dir, pid, session, digest, record: Mutex::new(record) }
    }

    /// Serves an operator that has attached, until the engine retires or the stream ends.
    ///
    /// # Errors
    /// If the stream ends, or the operator refuses a request.
    pub async fn converse(
        &self,
        fleet: &Fleet,
        mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> io::Result<()> {
        let mut record = self.record.lock().await;
        stream.write_all(format!("{}\n", farrier_protocol::ATTACH_MARKER).as_bytes()).await?;
        let mut http = Http::new(stream).await?;
        let welcome: Welcome = http.post("/v1/hello", &self.hello(&record)).await?;
        record.acknowledged(welcome.ack);
        let mut stream =
            Talk { fleet, engine: self, record: &mut record, http, log: welcome.log, cancelled: false };
        stream.post().await?;
        let mut done = None;
        loop {
            let Some(task) = stream.http.ask::<Task>("/v1/next", &Next { done: done.clone() }).await? else {
                continue;
            };
            if stream.record.is_finished(&task.id) {
                done = Some(task.id);
                continue;
            }
            if task.work == Work::Retire {
                stream.record.event(EventBody::Retired { leftovers: Vec::new() });
                stream.post().await?;
                break;
            }
            stream.execute(&task).await?;
            stream.record.finish(&task.id);
            done = Some(task.id);
        }
        if let Some(mut machine) = fleet.machine(self.number) {
            machine.engine = None;
        }
        Ok(())
    }

    fn hello(&self, record: &Record) -> Hello {
        let finished = |id: &String| TaskRecord { id: id.clone(), finished: true };
        Hello {
            protocol: VERSION,
            oldest: Some(OLDEST_VERSION),
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            digest: Some(self.digest.clone()),
            now: Some(now()),
            session: self.session.clone(),
            boot_id: self.boot_id(),
            last_seq: record.last_seq(),
            tasks: record.finished().iter().map(finished).collect(),
            leases: record.leases().to_vec(),
            dials: Vec::new(),
        }
    }

    fn boot_id(&self) -> String {
        format!("{:08x}-0000-4000-8000-000000000000", self.number)
    }

    fn facts(&self) -> Facts {
        let text = |text: &str| text.to_owned();
        Facts {
            os: text("debian"),
            os_version: text("12"),
            os_name: text("Debian GNU/Linux 12 (bookworm)"),
            arch: text("x86_64"),
            kernel: text("6.1.0-25-amd64"),
            hostname: crate::fleet::name(self.number),
            vendor: text("HPE"),
            model: text("ProLiant DL360 Gen10"),
            serial: format!("SIM{:07}", self.number),
            bios_version: text("U32"),
            package_managers: text("dpkg"),
            dpkg_arch: text("amd64"),
            boot_id: self.boot_id(),
            ..Facts::default()
        }
    }
}

/// Time in milliseconds since the Unix epoch.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// One stream to the operator.
struct Talk<'a> {
    fleet: &'a Fleet,
    engine: &'a Engine,
    record: &'a mut Record,
    http: Http,
    /// Number of bytes of the log that the operator has; `None`: it takes none.
    log: Option<u64>,
    cancelled: bool,
}

impl Talk<'_> {
    /// Sends events and log lines that the operator has not.
    async fn post(&mut self) -> io::Result<()> {
        let ack: Ack = self.http.post("/v1/events", &self.record.unsent()).await?;
        self.record.acknowledged(ack.ack);
        self.cancelled |= ack.cancel;
        if let Some(from) = self.log {
            let lines = self.record.log_from(from);
            if !lines.is_empty() {
                let ack: LogAck = self.http.post_bytes(&format!("/v1/log?from={from}"), lines).await?;
                self.log = Some(ack.next);
            }
        }
        Ok(())
    }

    async fn execute(&mut self, task: &Task) -> io::Result<()> {
        let id = task.id.clone();
        match &task.work {
            Work::Survey { packages, detect, fwupd: _, programs: _ } => {
                let version = self.version();
                let event = EventBody::SurveyDone {
                    task: id,
                    facts: Box::new(self.engine.facts()),
                    packages: if *packages { all_packages(&version) } else { Vec::new() },
                    firmware: Vec::new(),
                    readings: detect
                        .iter()
                        .map(|(name, how)| (name.clone(), reading(how, &version)))
                        .collect(),
                    programs: Vec::new(),
                };
                self.record.event(event);
            }
            Work::Apply { steps, wait_seconds: _ } => self.apply(&id, steps).await?,
            Work::Reboot { .. } | Work::Simulate { .. } | Work::Retire => {
                let message = "a simulated machine cannot do that".to_owned();
                let (code, component) = (FailureCode::Other, String::new());
                self.record.event(EventBody::TaskFailed { task: id, code, component, message });
            }
        }
        self.post().await
    }

    async fn apply(&mut self, task: &str, steps: &[Step]) -> io::Result<()> {
        let task = || task.to_owned();
        let components = steps.iter().map(|step| step.component.clone()).collect();
        self.record.event(EventBody::TaskStarted { task: task(), components });
        self.post().await?;
        for step in steps {
            let Some(payload) = &step.payload else { continue };
            let digest = self.http.digest_of(&format!("/v1/payloads/{}", payload.digest)).await?;
            if digest != payload.digest {
                let (code, component) = (FailureCode::DigestMismatch, step.component.clone());
                self.record.event(EventBody::TaskFailed { task: task(), code, component, message: digest });
                return Ok(());
            }
            self.fleet.counted.payloads.fetch_add(1, Ordering::Relaxed);
            self.record.event(EventBody::PayloadVerified {
                task: task(),
                component: step.component.clone(),
                digest,
            });
        }
        for step in steps {
            let exit = if self.cancelled { StepExit::Cancelled } else { self.install(&task(), step).await? };
            let (component, output) = (step.component.clone(), String::new());
            self.record.event(EventBody::StepFinished { task: task(), component, exit, output });
        }
        self.record.event(EventBody::TaskDone { task: task() });
        Ok(())
    }

    /// Installs one component. Meanwhile the operator is told once a second that the engine is there.
    async fn install(&mut self, task: &str, step: &Step) -> io::Result<StepExit> {
        if step.installer != Installer::Deb || step.component != PACKAGE {
            let detail = format!("simulated machines know the package {PACKAGE} only");
            return Ok(StepExit::not_started(FailureCode::InstallerMissing, detail));
        }
        let limit = Some(StepLimit { seconds: step.timeout_seconds, interruptible: step.interruptible });
        let component = step.component.clone();
        self.record.event(EventBody::StepStarted { task: task.to_owned(), component, limit });
        let lease = self.record.take(LeaseKind::Process, (self.engine.pid + 1).to_string());
        self.post().await?;
        let end = Instant::now() + self.fleet.settings.install;
        while Instant::now() < end {
            // sleep: the time that the installer takes.
            tokio::time::sleep_until(end.min(Instant::now() + Duration::from_secs(HEARTBEAT_SECONDS))).await;
            self.post().await?;
        }
        self.record.print(PACKAGE, &format!("Preparing to unpack {PACKAGE} ({}) ...", step.version));
        self.record.print(PACKAGE, &format!("Setting up {PACKAGE} ({}) ...", step.version));
        self.record.give_back(&lease);
        if let Some(mut machine) = self.fleet.machine(self.engine.number) {
            machine.version.clone_from(&step.version);
        }
        self.fleet.counted.installed.fetch_add(1, Ordering::Relaxed);
        Ok(StepExit::Exited { code: 0 })
    }

    fn version(&self) -> String {
        self.fleet.machine(self.engine.number).map(|machine| machine.version.clone()).unwrap_or_default()
    }
}

/// Returns what a detection finds on a machine with this version of the package.
fn reading(how: &Detect, version: &str) -> Reading {
    match how {
        Detect::Package(name) if name == PACKAGE => {
            let instance = Instance {
                version: version.to_owned(),
                arch: "all".to_owned(),
                kind: "deb".to_owned(),
                ..Instance::default()
            };
            Reading::Present { version: version.to_owned(), instances: vec![instance], pending: None }
        }
        Detect::Package(_)
        | Detect::Command(_)
        | Detect::File(_)
        | Detect::Firmware(_)
        | Detect::Module(_) => Reading::Absent,
    }
}

fn all_packages(version: &str) -> Vec<Package> {
    let package = |name: String, version: &str| Package {
        name,
        version: version.to_owned(),
        arch: "amd64".to_owned(),
        kind: "deb".to_owned(),
    };
    let others = (0..PACKAGES).map(|n| package(format!("lib-simulated-{n:03}"), "1:2.36-9+deb12u7"));
    std::iter::once(package(PACKAGE.to_owned(), version)).chain(others).collect()
}

/// A lease of the engine.
fn lease(id: u64, kind: LeaseKind, what: String) -> Lease {
    Lease { id: format!("lease-{id}"), kind, what, started: None }
}
