//! The machine under test: deploys, starts, kills and finds the engine.

use crate::sandbox::shell;
use farrier_protocol::{CallbackConfig, Event, EventBody, Installer, LaunchReport, Payload, Step};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Directory of the engine.
pub(crate) const DIR: &str = "/mnt/farrier-1";

/// Name of the run.
pub(crate) const RUN: &str = "spring";

/// The program under test: the build of this test run, or the one that is shipped (hack/check.d/40-engine).
pub(crate) fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let shipped = std::env::var("FARRIER_TEST_ENGINE");
        shipped.unwrap_or_else(|_| env!("CARGO_BIN_EXE_farrier-engine").into())
    })
}

/// The session of one engine on the machine.
pub(crate) struct Machine {
    pub(crate) dir: String,
    pub(crate) session: String,
    pub(crate) lease: u64,
    pub(crate) pid: u32,
}

impl Machine {
    /// Creates a session without an engine on the machine.
    pub(crate) fn new(session: &str) -> Self {
        Self { dir: DIR.into(), session: session.into(), lease: 60, pid: 0 }
    }

    pub(crate) fn in_dir(self, dir: &str) -> Self {
        Self { dir: dir.into(), ..self }
    }

    pub(crate) fn lease(self, lease: u64) -> Self {
        Self { lease, ..self }
    }

    /// Deploys the engine as the runner does.
    pub(crate) fn deploy(self) -> Self {
        fs::create_dir_all(&self.dir).unwrap();
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o711)).unwrap();
        let engine = format!("{}/engine", self.dir);
        if !Path::new(&engine).exists() {
            fs::copy(program(), &engine).unwrap();
            fs::set_permissions(&engine, fs::Permissions::from_mode(0o711)).unwrap();
        }
        self
    }

    /// Deploys the engine and starts it.
    pub(crate) fn started(self) -> Self {
        let machine = self.deploy();
        let report = machine.launch();
        machine.of(&report)
    }

    /// Deploys the engine and starts it on channel `Callback`.
    pub(crate) fn calling(self, config: &CallbackConfig) -> Self {
        let machine = self.deploy();
        let report = machine.launch_callback(config);
        machine.of(&report)
    }

    pub(crate) fn of(self, report: &LaunchReport) -> Self {
        match report {
            LaunchReport::Started { pid, .. } => Self { pid: *pid, ..self },
            other => panic!("not started: {other:?}"),
        }
    }

    pub(crate) fn launch(&self) -> LaunchReport {
        self.launch_with(&[], engine_digest())
    }

    /// Launches with a prefix before the command.
    pub(crate) fn launch_with(&self, prefix: &[&str], digest: &str) -> LaunchReport {
        report(&self.launch_line(prefix, digest, ""), "")
    }

    /// Launches on channel `Callback`.
    pub(crate) fn launch_callback(&self, config: &CallbackConfig) -> LaunchReport {
        self.launch_line_of_input(&serde_json::to_string(config).unwrap())
    }

    /// Launches on channel `Listen`.
    pub(crate) fn launch_listen(&self, config: &CallbackConfig) -> LaunchReport {
        let line = self.launch_line(&[], engine_digest(), "--channel listen");
        report(&line, &format!("{}\n", serde_json::to_string(config).unwrap()))
    }

    /// Launches on channel `Callback`, with any text in place of the configuration.
    pub(crate) fn launch_line_of_input(&self, input: &str) -> LaunchReport {
        report(&self.launch_line(&[], engine_digest(), "--channel callback"), &format!("{input}\n"))
    }

    /// Returns the command line for a shell; no part of it needs quotes.
    pub(crate) fn launch_line(&self, prefix: &[&str], digest: &str, more: &str) -> String {
        let Self { dir, session, lease, .. } = self;
        let prefix: String = prefix.iter().fold(String::new(), |line, word| format!("{line}'{word}' "));
        format!(
            "{prefix}{dir}/engine launch --dir {dir} --session {session} --run {RUN} --peer-uid 65534 \
             --digest {digest} --lease {lease} {more}"
        )
    }

    pub(crate) fn sweep(&self) -> Output {
        let engine = format!("{}/engine", self.dir);
        Command::new(engine).args(["sweep", "--dir", &self.dir, "--session", &self.session]).output().unwrap()
    }

    pub(crate) fn journal_path(&self) -> String {
        format!("/var/log/farrier/{RUN}/journal-{}.jsonl", self.session)
    }

    pub(crate) fn journal(&self) -> Vec<Event> {
        let text = fs::read_to_string(self.journal_path()).unwrap_or_default();
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn kill(&self) {
        // The engine may already have ended.
        Command::new("kill").args(["-9", &self.pid.to_string()]).output().unwrap();
        self.await_end();
    }

    pub(crate) fn await_end(&self) {
        until("the engine's end", || !is_alive(self.pid));
    }

    /// Asserts that only the logs are left.
    pub(crate) fn assert_clean(&self) {
        assert!(
            !Path::new(&self.dir).exists(),
            "{} is still there: {}",
            self.dir,
            shell(&format!("ls -lR {}", self.dir))
        );
        let commands = shell("ps -eo args");
        assert!(!commands.contains("farrier-engine run"), "{commands}");
        let mut leases = Vec::new();
        for event in self.journal() {
            match event.body {
                EventBody::LeaseTaken { lease } => leases.push(lease.id),
                EventBody::LeaseReturned { id } => leases.retain(|lease| *lease != id),
                _ => {}
            }
        }
        assert_eq!(leases, Vec::<String>::new(), "leases that the journal says are still taken");
    }
}

/// Returns the output of a launch that has `input` as its standard input.
fn report(line: &str, input: &str) -> LaunchReport {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {line}")]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    // A command that does not read its input may have ended already.
    shell.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    let output = shell.wait_with_output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    let json = line.strip_prefix(LaunchReport::PREFIX).unwrap_or_else(|| panic!("{line:?}"));
    let report: LaunchReport = serde_json::from_str(json).unwrap();
    let runs = !matches!(report, LaunchReport::Failed { .. });
    assert_eq!(output.status.success(), runs, "{report:?}");
    report
}

/// Computed once, because a debug build takes long.
pub(crate) fn engine_digest() -> &'static str {
    static DIGEST: OnceLock<String> = OnceLock::new();
    DIGEST.get_or_init(|| digest(&fs::read(program()).unwrap()))
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits until a condition is true.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < limit, "waited in vain for {what}");
        // sleep: between two checks of the condition.
        thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Returns a step whose payload is `bytes`.
pub(crate) fn step(component: &str, installer: Installer, bytes: &[u8]) -> Step {
    Step {
        component: component.into(),
        version: "1".into(),
        installer,
        payload: Some(Payload {
            digest: digest(bytes),
            size: bytes.len() as u64,
            file_name: format!("{component}.run"),
        }),
        after: Vec::new(),
        timeout_seconds: 60,
        interruptible: true,
        downgrade: false,
        rewrite: false,
        package: None,
        firmware: None,
        overrides_trusted_module: false,
        respect_holds: false,
    }
}
