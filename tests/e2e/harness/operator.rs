//! The operator as a process of its own, as a user starts it.

use super::{lab, wait};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// One operator, which may be killed and started again.
pub(crate) struct Operator {
    namespace: String,
    /// Name of its runner.
    pub(crate) runner: String,
    dir: PathBuf,
    options: Mutex<Vec<String>>,
    /// Where its engines are, if not in the usual place.
    engines: Mutex<Option<PathBuf>>,
    /// A program that starts it, with its arguments; mostly none.
    through: Mutex<Vec<String>>,
    child: Mutex<Option<Child>>,
}

impl Operator {
    /// An operator for one namespace, not started yet. Everything of it is kept in `dir`.
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

    /// Options for the next start, beside the usual ones.
    pub(crate) fn options(&self, options: &[&str]) {
        *self.options.lock().unwrap() = options.iter().map(|&o| o.to_owned()).collect();
    }

    /// Other engines for the next start, as an operator of another version has.
    pub(crate) fn engines(&self, dir: Option<PathBuf>) {
        *self.engines.lock().unwrap() = dir;
    }

    /// A program that becomes the operator at the next start, with its arguments.
    pub(crate) fn through(&self, program: &[&str]) {
        *self.through.lock().unwrap() = program.iter().map(|&word| word.to_owned()).collect();
    }

    /// Starts it; does not wait until it is at work.
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
        let mut command = Command::new(words.next().expect("there is one at least"));
        command
            .args(words)
            .args(["operator", "--namespace", &self.namespace])
            .args(["--runner-name", &self.runner])
            .arg("--engines")
            .arg(self.engines.lock().unwrap().clone().unwrap_or_else(engines))
            .arg("--payload-dir")
            .arg(self.dir.join("payloads"))
            .arg("--cache-dir")
            .arg(self.dir.join(format!("cache-{}", self.runner)))
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

    fn log_path(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.runner))
    }

    /// All that the operator has said, over all its starts.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Kills it, and starts it anew with these options beside the usual ones.
    pub(crate) fn restart(&self, options: &[&str]) {
        self.kill();
        self.options(options);
        self.start();
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            // It may have ended by itself, and then there is nothing to kill.
            child.kill().ok();
            child.wait().expect("its status");
        }
    }

    /// Stops it where it is, as a host that hangs does.
    pub(crate) async fn freeze(&self) {
        self.signal("-STOP").await;
    }

    /// Lets it go on from there.
    pub(crate) async fn thaw(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        lab::output("kill", [signal, &self.pid().to_string()]).await;
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().unwrap().as_ref().expect("the operator runs").id()
    }

    /// Asks it to end and waits for it. It must end well, and soon.
    pub(crate) async fn stop(&self) {
        let Some(mut child) = self.child.lock().unwrap().take() else { return };
        lab::output("kill", ["-TERM", &child.id().to_string()]).await;
        let status = wait::until("the operator to end", wait::LIMIT, async || {
            child.try_wait().expect("its status").ok_or_else(|| "it runs".to_owned())
        })
        .await;
        assert!(status.success(), "the operator ended with {status}");
    }

    /// How much processor time it has used since it was started, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let pid = self.child.lock().unwrap().as_ref().expect("the operator runs").id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its times");
        // After the name, which is in parentheses: utime and stime are the 12th and 13th.
        let numbers = stat.rsplit_once(") ").expect("a name").1.split(' ').skip(11).take(2);
        let ticks: f64 = numbers.map(|n| n.parse::<f64>().expect("a number")).sum();
        // USER_HZ, which is 100 on every Linux that there is.
        ticks / 100.0
    }

    /// Whether it runs at this moment.
    pub(crate) fn runs(&self) -> bool {
        self.child.lock().unwrap().as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(None)))
    }
}

/// The engines: those of `hack/engine-build`, or of `FARRIER_ENGINES`.
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
