//! One machine over the product's own SSH code, in parts: used by `hack/bench` for measurements.
//!
//! ```text
//! bench_machine upload  ADDRESS USER KEY FILE PATH    the file to PATH by `cat`, as engines go
//! bench_machine payload ADDRESS USER KEY FILE         the file through the engine, as payloads go
//! bench_machine session ADDRESS USER KEY COUNT        sessions that find nothing to do, step by step
//! bench_machine engine  ADDRESS USER KEY              memory of an engine: idle, after a survey
//! ```
//!
//! Engines are taken from the directory in `FARRIER_ENGINES`. Results go to standard output,
//! one `name value` per line.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use farrier::drivers::Privilege;
use farrier::drivers::engine::{Deployed, Launch, NotDeployed};
use farrier::drivers::linux::{Machine, Settings};
use farrier::drivers::shell::Session;
use farrier::engine_api::{EngineApi, PayloadFiles, TaskEnd};
use farrier::engines::Engines;
use farrier::ssh::auth::read_key;
use farrier::ssh::exec::Terminal;
use farrier::ssh::{Algorithms, Credentials, Family, Target};
use farrier_protocol::{EventBody, Installer, Payload, Step, Task, Work};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of bytes that the product reads of a payload at a time.
const CHUNK: usize = 128 * 1024;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // As in the product, where the work does not run on the main thread.
    tokio::spawn(measure(std::env::args().skip(1).collect())).await?
}

async fn measure(arguments: Vec<String>) -> anyhow::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["upload", address, user, key, file, path] => {
            upload(&Login::new(address, user, key)?, file, path).await
        }
        ["payload", address, user, key, file] => payload(&Login::new(address, user, key)?, file).await,
        ["session", address, user, key, count] => {
            let (login, engines) = (Login::new(address, user, key)?, engines()?);
            for _ in 0..count.parse::<u32>().context("COUNT is a number")? {
                session(&login, &engines).await?;
            }
            Ok(())
        }
        ["engine", address, user, key] => engine(&Login::new(address, user, key)?).await,
        _ => bail!("see the head of examples/bench_machine.rs for how this is called"),
    }
}

/// Address and credentials.
struct Login(Arc<Settings>);

impl Login {
    fn new(address: &str, user: &str, key: &str) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(key).with_context(|| format!("failed to read the key {key}"))?;
        Ok(Self(Arc::new(Settings {
            target: Target {
                node: address.to_owned(),
                addresses: vec![address.to_owned()],
                families: vec![Family::V4, Family::V6],
                port: 22,
            },
            credentials: Credentials {
                user: user.to_owned(),
                source: key.to_owned(),
                password: None,
                key: Some((Arc::new(read_key(key, &text, None)?), None)),
                sudo_password: None,
                su_password: None,
            },
            host_keys: Vec::new(),
            trust_first: true,
            algorithms: Algorithms::Current,
            privilege: Privilege::Sudo,
        })))
    }

    async fn machine(&self, id: &str) -> anyhow::Result<Machine> {
        Ok(Machine { session: Session::connect(&self.0, id.to_owned(), None, |_| {}).await? })
    }
}

/// Wall time and processor time since the start.
struct Meter {
    begun: Instant,
    processor: Duration,
}

impl Meter {
    fn start() -> Self {
        Self { begun: Instant::now(), processor: processor_time() }
    }

    fn report(&self, bytes: u64) {
        println!("bytes {bytes}");
        println!("seconds {:.6}", self.begun.elapsed().as_secs_f64());
        println!("cpu {:.6}", processor_time().saturating_sub(self.processor).as_secs_f64());
    }
}

/// Returns the processor time of all threads of this process, in nanoseconds.
fn processor_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let used = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(used.sum())
}

async fn upload(login: &Login, file: &str, path: &str) -> anyhow::Result<()> {
    let content = Bytes::from(std::fs::read(file)?);
    // From here on the work is the same as that of `scp`, sign-in included.
    let meter = Meter::start();
    let machine = login.machine("bench").await?;
    let mut running = machine.session.connection.start(&format!("cat > {path}"), Terminal::No).await?;
    let mut at = 0;
    while at < content.len() {
        let end = content.len().min(at + CHUNK);
        running.send(content.slice(at..end)).await?;
        at = end;
    }
    running.end_input().await;
    let output = running.finish().await?;
    anyhow::ensure!(output.status == Some(0), "cat failed: {}", output.stderr);
    machine.session.connection.close().await;
    meter.report(content.len() as u64);
    Ok(())
}

/// The only file of a benchmark.
struct OneFile(PathBuf);

impl PayloadFiles for OneFile {
    fn file(&self, _digest: &str) -> Option<PathBuf> {
        Some(self.0.clone())
    }
}

fn engines() -> anyhow::Result<Engines> {
    let dir = PathBuf::from(std::env::var_os("FARRIER_ENGINES").context("set FARRIER_ENGINES")?);
    Engines::load(&dir).with_context(|| format!("no engines in {}", dir.display()))
}

/// A machine with an engine on it.
struct Ready {
    machine: Machine,
    deployed: Deployed,
    engine_api: Arc<EngineApi>,
}

impl Ready {
    async fn new(login: &Login, engines: &Engines, file: &Path) -> anyhow::Result<Self> {
        // A new session each time, because the journal of an earlier session would answer for it.
        let session = format!("bench{}", jiff::Timestamp::now().as_nanosecond());
        let step = Stopwatch::new();
        let machine = login.machine(&session).await?;
        let step = step.next("connect");
        let probe = machine.probe().await?;
        let step = step.next("probe");
        let engine = engines.for_machine("bench", &probe.system, &probe.arch).await?;
        let launch = Launch {
            callback: None,
            engine: &engine,
            session: &session,
            run: "bench",
            lease_seconds: 60,
            retention: None,
        };
        let deployed = machine.deploy(&launch, &probe, |_| ()).await.map_err(NotDeployed::failure)?;
        step.next("deploy");
        let engine_api = Arc::new(EngineApi::new(&session, 60, Box::new(OneFile(file.to_owned()))));
        Ok(Self { machine, deployed, engine_api })
    }

    /// Runs `work` while the stream is open, retires the engine, and checks the machine.
    async fn during<T>(&self, work: impl Future<Output = anyhow::Result<T>> + Send) -> anyhow::Result<T> {
        let talk = self.machine.talk(&self.deployed, &self.engine_api);
        let work = async {
            let step = Stopwatch::new();
            self.engine_api.greeted().await;
            step.next("attach");
            let result = work.await;
            let step = Stopwatch::new();
            self.perform("retire", Work::Retire).await?;
            step.next("retire");
            result
        };
        let (talked, result) = tokio::join!(talk, work);
        talked?;
        let step = Stopwatch::new();
        let left = self.machine.look().await?;
        step.next("look");
        anyhow::ensure!(left.is_empty(), "left on the machine: {}", left.join(" "));
        result
    }

    async fn perform(&self, id: &str, work: Work) -> anyhow::Result<()> {
        match self.engine_api.perform(Task { id: id.to_owned(), work }).await {
            TaskEnd::Done => Ok(()),
            TaskEnd::Failed { message, .. } => bail!("{id}: {message}"),
        }
    }

    async fn memory(&self, field: &str) -> anyhow::Result<String> {
        let command = format!("grep {field}: /proc/{}/status", self.deployed.pid);
        let output =
            self.machine.session.connection.run(&command, Vec::new(), Duration::from_secs(10)).await?;
        output.stdout.split_whitespace().nth(1).map(str::to_owned).context("the engine is gone")
    }
}

/// Prints the duration of each step.
struct Stopwatch(Instant);

impl Stopwatch {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn next(self, name: &str) -> Self {
        println!("{name} {:.6}", self.0.elapsed().as_secs_f64());
        Self::new()
    }
}

async fn payload(login: &Login, file: &str) -> anyhow::Result<()> {
    let content = std::fs::read(file)?;
    let digest = format!("sha256:{}", farrier::engines::hex(&Sha256::digest(&content)));
    let size = content.len() as u64;
    drop(content);
    let ready = Ready::new(login, &engines()?, Path::new(file)).await?;
    let step = Step {
        component: "bench".to_owned(),
        version: "1".to_owned(),
        installer: Installer::Script,
        payload: Some(Payload { digest, size, file_name: "payload".to_owned() }),
        after: Vec::new(),
        timeout_seconds: 60,
        interruptible: true,
        downgrade: false,
        rewrite: false,
        package: None,
        firmware: None,
        overrides_trusted_module: false,
        respect_holds: false,
    };
    ready
        .during(async {
            let meter = Meter::start();
            let engine_api = &ready.engine_api;
            let arrived = async {
                let mut seen = 0;
                loop {
                    engine_api.wait_for_events_after(seen).await;
                    for event in engine_api.events_after(seen) {
                        seen = event.seq;
                        if matches!(event.body, EventBody::PayloadVerified { .. }) {
                            meter.report(size);
                            return;
                        }
                    }
                }
            };
            // A payload that fails never arrives, so the wait has a timeout.
            let apply = ready.perform("apply", Work::Apply { steps: vec![step], wait_seconds: 0 });
            let (applied, ()) = tokio::join!(apply, async {
                tokio::time::timeout(Duration::from_mins(2), arrived).await.ok();
            });
            applied
        })
        .await
}

async fn session(login: &Login, engines: &Engines) -> anyhow::Result<()> {
    let whole = Stopwatch::new();
    let ready = Ready::new(login, engines, Path::new("/dev/null")).await?;
    ready
        .during(async {
            let step = Stopwatch::new();
            ready
                .perform(
                    "survey",
                    Work::Survey { packages: true, detect: Vec::new(), fwupd: false, programs: Vec::new() },
                )
                .await?;
            step.next("survey");
            Ok(())
        })
        .await?;
    let step = Stopwatch::new();
    ready.machine.session.connection.close().await;
    step.next("close");
    whole.next("whole");
    Ok(())
}

async fn engine(login: &Login) -> anyhow::Result<()> {
    let ready = Ready::new(login, &engines()?, Path::new("/dev/null")).await?;
    ready
        .during(async {
            println!("idle {}", ready.memory("VmRSS").await?);
            ready
                .perform(
                    "survey",
                    Work::Survey { packages: true, detect: Vec::new(), fwupd: false, programs: Vec::new() },
                )
                .await?;
            println!("survey {}", ready.memory("VmHWM").await?);
            Ok(())
        })
        .await
}
