//! The operator as a separate process, started as a user starts it.

use super::{lab, wait};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// An operator that may be killed and started again.
pub(crate) struct Operator {
    namespace: String,
    /// Name of its runner.
    pub(crate) runner: String,
    dir: PathBuf,
    options: Mutex<Vec<String>>,
    /// Directory of its engines, if it is not the usual one.
    engines: Mutex<Option<PathBuf>>,
    /// A program that executes the operator, with its arguments; usually empty.
    through: Mutex<Vec<String>>,
    child: Mutex<Option<Child>>,
}

/// Reports whether a process handles SIGTERM, by its status in /proc.
fn handles_term(status: &str) -> bool {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal 15.
    caught.is_some_and(|mask| mask & (1 << 14) != 0)
}

impl Operator {
    /// Creates an operator for one namespace without starting it. All its files are in `dir`.
    pub(crate) fn new(namespace: &str, name: &str, dir: &Path) -> Self {
        Self {
            namespace: namespace.to_owned(),
            runner: format!("{namespace}-{name}"),
            dir: dir.to_owned(),
            options: Mutex::default(),
            engines: Mutex::default(),
            through: Mutex::default(),
            child: Mutex::default(),
        }
    }

    /// Sets options for the next start, in addition to the usual ones.
    pub(crate) fn options(&self, options: &[&str]) {
        *self.options.lock().unwrap() = options.iter().map(|&o| o.to_owned()).collect();
    }

    /// Sets the engines for the next start, such as those of another version.
    pub(crate) fn engines(&self, dir: Option<PathBuf>) {
        *self.engines.lock().unwrap() = dir;
    }

    /// Sets the program that executes the operator at the next start, with its arguments.
    pub(crate) fn through(&self, program: &[&str]) {
        *self.through.lock().unwrap() = program.iter().map(|&word| word.to_owned()).collect();
    }

    /// Starts the operator. Does not wait until it is ready.
    pub(crate) fn start(&self) {
        let mut child = self.child.lock().unwrap();
        assert!(child.is_none(), "the operator runs already");
        *child = Some(self.command().spawn().expect("the operator starts"));
    }

    fn command(&self) -> Command {
        let mut log = self.log_file();
        writeln!(log, "---- started").expect("the log takes a line");
        let level = std::env::var("E2E_LOG").unwrap_or_else(|_| "debug".into());
        let through = self.through.lock().unwrap().clone();
        let mut words = through.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_farrier")]);
        let mut command = Command::new(words.next().expect("the program"));
        command
            .args(words)
            .args(["operator", "--namespace", &self.namespace])
            .args(["--runner-name", &self.runner])
            .arg("--engines")
            .arg(self.engines.lock().unwrap().clone().unwrap_or_else(engines))
            .arg("--payload-dir")
            .arg(self.dir.join("payloads"))
            .arg("--cache-dir")
            .arg(self.cache())
            .args(&*self.options.lock().unwrap())
            .env("RUST_LOG", format!("info,farrier={level}"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        command
    }

    fn log_file(&self) -> File {
        OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file")
    }

    /// Returns the directory of fetched payloads.
    pub(crate) fn cache(&self) -> PathBuf {
        self.dir.join(format!("cache-{}", self.runner))
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.runner))
    }

    /// Returns the operator's log, with the logs of its earlier processes.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Kills the operator, and starts it with these options in addition to the usual ones.
    pub(crate) fn restart(&self, options: &[&str]) {
        self.kill();
        self.options(options);
        self.start();
    }

    /// Kills the operator with SIGKILL, if it is running.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            // An error means that it has already ended by itself.
            child.kill().ok();
            child.wait().expect("its status");
        }
    }

    /// Suspends the operator, as if its host hung.
    pub(crate) async fn freeze(&self) {
        self.signal("-STOP").await;
    }

    /// Resumes the operator.
    pub(crate) async fn thaw(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        lab::output("kill", [signal, &self.pid().to_string()]).await;
    }

    /// Returns the process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().unwrap().as_ref().expect("the operator runs").id()
    }

    /// Sends SIGTERM and waits until the operator has ended. Panics if that takes too long, or if it reports an
    /// error. A process that was started a moment ago is given the time to handle the signal.
    pub(crate) async fn stop(&self) {
        let Some(mut child) = self.child.lock().unwrap().take() else { return };
        let status = format!("/proc/{}/status", child.id());
        wait::until("the operator to handle SIGTERM", wait::LIMIT, async || {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            if handles_term(&status) || child.try_wait().expect("its status").is_some() {
                Ok(())
            } else {
                Err(status)
            }
        })
        .await;
        lab::output("kill", ["-TERM", &child.id().to_string()]).await;
        let status = wait::until("the operator to end", wait::LIMIT, async || {
            child.try_wait().expect("its status").ok_or_else(|| "it is still running".to_owned())
        })
        .await;
        assert!(status.success(), "the operator ended with {status}");
    }

    /// Returns the processor time that the operator has used since its start, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let pid = self.child.lock().unwrap().as_ref().expect("the operator runs").id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its times");
        // utime and stime are the 12th and 13th field after the name, which is in parentheses.
        let numbers = stat.rsplit_once(") ").expect("a name").1.split(' ').skip(11).take(2);
        let ticks: f64 = numbers.map(|n| n.parse::<f64>().expect("a number")).sum();
        // USER_HZ, which is 100 on every Linux.
        ticks / 100.0
    }

    /// Reports whether the operator is running.
    pub(crate) fn runs(&self) -> bool {
        self.child.lock().unwrap().as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(None)))
    }
}

/// Returns the directory of the engines: that of `FARRIER_ENGINES`, or the one of `hack/engine-build`.
pub(crate) fn engines() -> PathBuf {
    if let Some(dir) = std::env::var_os("FARRIER_ENGINES") {
        return dir.into();
    }
    // target/debug/farrier → target/dist/engines
    let target = Path::new(env!("CARGO_BIN_EXE_farrier")).ancestors().nth(2).expect("a target directory");
    let dir = target.join("dist/engines");
    assert!(
        dir.is_dir(),
        "there are no engines in {}. Next: hack/engine-build {}",
        dir.display(),
        dir.display()
    );
    dir
}
