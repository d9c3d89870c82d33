//! The simulated machines of `hack/bench scale`: a whole session with the operator's own code. A change of the programs
//! that the operator sends would otherwise be noticed by the next benchmark only.

use bytes::Bytes;
use farrier::drivers::Privilege;
use farrier::drivers::engine::{Deployed, Launch, NotDeployed};
use farrier::drivers::linux::{Machine, Settings};
use farrier::drivers::shell::Session;
use farrier::engine_api::{EngineApi, PayloadFiles, TaskEnd};
use farrier::engines::{Engine, hex};
use farrier::ssh::{Algorithms, Credentials, Family, Target};
use farrier_machine_double::{Fleet, fleet, server};
use farrier_protocol::{Installer, Payload, Step, Task, Work};
use russh::keys::{Algorithm, PrivateKey};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// More than any exchange takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// The machine that is updated; the other one must not change.
const NUMBER: u32 = 2;

struct OneFile(PathBuf);

impl PayloadFiles for OneFile {
    fn file(&self, _: &str) -> Option<PathBuf> {
        Some(self.0.clone())
    }
}

/// Starts two machines. Returns them, and how to sign in to the second one.
fn machines() -> (Arc<Fleet>, Arc<Settings>) {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    let authorized = key.public_key().clone();
    let settings = fleet::Settings { authorized, install: Duration::ZERO, foreign: None };
    let all = Arc::new(Fleet::new(NUMBER, "1.0", settings));
    let listener = server::bind(0).unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(server::serve(Arc::clone(&all), listener));
    let target = Target {
        node: fleet::name(NUMBER),
        addresses: vec![fleet::address(NUMBER).to_string()],
        families: vec![Family::V4],
        port,
    };
    let credentials = Credentials { key: Some((Arc::new(key), None)), ..crate::account("root") };
    let host_keys = vec![fleet::host_key(NUMBER).unwrap().public_key().to_openssh().unwrap()];
    let (algorithms, privilege) = (Algorithms::Current, Privilege::None);
    let settings = Settings { target, credentials, host_keys, trust_first: false, algorithms, privilege };
    (all, Arc::new(settings))
}

async fn performed(engine: &EngineApi, id: &str, work: Work) {
    assert_eq!(engine.perform(Task { id: id.into(), work }).await, TaskEnd::Done, "{id}");
}

fn survey() -> Work {
    Work::Survey { packages: true, detect: Vec::new(), fwupd: false, programs: Vec::new() }
}

fn step(content: &[u8]) -> Step {
    let digest = format!("sha256:{}", hex(&Sha256::digest(content)));
    Step {
        component: fleet::PACKAGE.into(),
        version: "2.0".into(),
        installer: Installer::Deb,
        payload: Some(Payload { digest, size: content.len() as u64, file_name: "agent.deb".into() }),
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

async fn session(settings: &Arc<Settings>, payload: PathBuf, content: &[u8]) {
    let id = "0b3ee0c4-3c0e-4f6e-8ff6-3f0f7ad1a3d1";
    let machine = Machine { session: Session::connect(settings, id.into(), None, |_| {}).await.unwrap() };
    let probe = machine.probe().await.unwrap();
    assert_eq!((probe.system.as_str(), probe.uid), ("Linux", 0));
    let engine = Engine { digest: "sha256:1".into(), gzip: Bytes::from(vec![7; 100_000]) };
    let launch = Launch {
        callback: None,
        engine: &engine,
        session: id,
        run: "run",
        lease_seconds: 60,
        retention: None,
    };
    let deployed: Deployed =
        machine.deploy(&launch, &probe, |_| ()).await.map_err(NotDeployed::failure).unwrap();
    assert!(machine.has_process(deployed.pid, Some(&deployed.dir)).await.unwrap());
    assert!(!machine.look().await.unwrap().is_empty(), "the engine is there");
    let engine = Arc::new(EngineApi::new(id, 60, Box::new(OneFile(payload))));
    let work = async {
        engine.greeted_by("sha256:1").await;
        performed(&engine, "survey-1", survey()).await;
        assert_eq!(engine.take_packages("survey-1").len(), fleet::PACKAGES + 1);
        performed(&engine, "apply-1", Work::Apply { steps: vec![step(content)], wait_seconds: 60 }).await;
        performed(&engine, "survey-2", survey()).await;
        let packages = engine.take_packages("survey-2");
        assert!(packages.iter().any(|package| package.name == fleet::PACKAGE && package.version == "2.0"));
        performed(&engine, "retire-1", Work::Retire).await;
    };
    let (talked, ()) = tokio::join!(machine.talk(&deployed, &engine), work);
    talked.unwrap();
    assert_eq!(machine.look().await.unwrap(), Vec::<String>::new());
    assert_eq!(machine.look_in_firewall(id).await.unwrap(), Vec::<String>::new());
    machine.session.connection.close().await;
}

#[tokio::test]
async fn the_operator_can_update_a_simulated_machine() {
    let (all, settings) = machines();
    let dir = tempfile::tempdir().unwrap();
    let (payload, content) = (dir.path().join("agent.deb"), vec![1; 3_000]);
    std::fs::write(&payload, &content).unwrap();
    tokio::time::timeout(LIMIT, session(&settings, payload, &content)).await.expect("it ends");
    let version = |number| all.machine(number).unwrap().version.clone();
    assert_eq!((version(1), version(NUMBER)), ("1.0".into(), "2.0".into()));
    assert_eq!(all.report(), "connections 1\npayloads 1\ninstalled 1\nunknown 0\nengines 0");
}
