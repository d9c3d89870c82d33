//! Waits of a session whose machine is not needed.

use super::*;
use crate::attempt::{Awaited, CallbackOptions, CallbackTarget, Goal, ResolvedTarget, ReturnPath};
use crate::callback::{Registry, RunIdentity};
use crate::drivers::Privilege;
use crate::drivers::linux::{Machine, Settings};
use crate::drivers::shell;
use crate::engine_api::Incompatible;
use crate::engines::Engines;
use crate::metrics::Metrics;
use crate::ssh::{Algorithms, Credentials, Family, Target};
use farrier_network::MachineType;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The wait of a pinned machine for its callback server.
const LIMIT: Duration = Duration::from_secs(3);

/// What a session consists of, except the machine.
struct Parts {
    job: Job,
    settings: Arc<Settings>,
    tools: Tools,
    view: watch::Sender<View>,
    cancel: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

impl Parts {
    fn new(callback: Option<CallbackOptions>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("farrier-engine-x86_64-linux"), "").unwrap();
        let tools = Tools {
            engines: Engines::load(dir.path()).unwrap(),
            store: Store::open(&dir.path().join("store"), None).unwrap(),
            metrics: Metrics::new(),
            calls: Registry::new(),
            logs: None,
        };
        let target = Target { node: "db".into(), addresses: Vec::new(), families: Vec::new(), port: 22 };
        let settings = Settings {
            target,
            host_keys: Vec::new(),
            trust_first: true,
            algorithms: Algorithms::Current,
            credentials: Credentials::without_secrets(),
            privilege: Privilege::None,
        };
        let job = Job {
            runner: "a".into(),
            callback,
            ..Job::first("0b3ee0c4", "r1", "db", MachineType::Linux, Goal::Update)
        };
        Self {
            job,
            settings: Arc::new(settings),
            tools,
            view: watch::channel(View::default()).0,
            cancel: watch::channel(false).0,
            _dir: dir,
        }
    }

    fn session(&self) -> Session<'_, Machine> {
        Session::new(&self.settings, &self.job, &self.tools, self.cancel.subscribe(), &self.view)
    }

    fn path(&self) -> ReturnPath {
        self.view.borrow().return_path.clone()
    }
}

/// A target whose callback server listens until the token is cancelled.
fn target() -> (CallbackTarget, CancellationToken) {
    let closed = CancellationToken::new();
    let target = CallbackTarget {
        identity: Arc::new(RunIdentity::generate("r1").unwrap()),
        addresses: vec![("192.0.2.1".into(), 63002)],
        seen_port: None,
        families: (true, true),
        peers: Vec::new(),
        own: Vec::new(),
        refusals: Arc::default(),
        closed: closed.clone(),
    };
    (target, closed)
}

/// The callback of a pinned machine, and the sender of its targets, which the planner would own.
fn pinned(target: CallbackTarget) -> (CallbackOptions, watch::Sender<ResolvedTarget>) {
    let (send, plan) = watch::channel(Ok(target));
    let planner = Arc::new(AbortOnDropHandle::new(tokio::spawn(std::future::pending())));
    let awaited = Awaited { what: "ports".into(), limit: LIMIT, begun: None };
    (CallbackOptions { may_fall_back: false, plan, planner, awaited: Some(awaited) }, send)
}

/// Otherwise a machine that must not be served in another way would fail, with a wrong explanation, because
/// its callback server moves to other ports.
#[tokio::test]
async fn a_pinned_machine_waits_for_a_callback_server_that_moves() {
    let (old, closed) = target();
    let (calls, send) = pinned(old);
    let parts = Parts::new(Some(calls.clone()));
    let session = parts.session();
    assert_eq!(calls.target_failure(), None);
    closed.cancel();
    session.handle_missing_target(&calls, calls.target_failure().unwrap());
    assert!(matches!(parts.path(), ReturnPath::Pending { .. }), "{:?}", parts.path());
    let moves = async {
        // sleep: a shorter wait is not shown.
        tokio::time::sleep(LIMIT / 2).await;
        let shown = parts.view.borrow().waits_for().cloned().expect("the wait is shown");
        assert_eq!((shown.reason, shown.short.as_str()), (Reason::Exposing, "ports"));
        assert!(shown.until.is_some());
        assert!(send.send(Ok(target().0)).is_ok());
        session.target_available().await;
        session.end_listener_wait();
        // sleep: until the deadline of the wait has passed.
        tokio::time::sleep(LIMIT).await;
        assert_eq!(parts.path(), ReturnPath::Untried, "the deadline counts only while there is no target");
        let from = [192, 0, 2, 7].into();
        parts.view.send_modify(|v| v.return_path = ReturnPath::Open { from, through: Vec::new() });
    };
    tokio::join!(session.wait_for_return_path(), moves);
    assert_eq!((session.withheld(), parts.view.borrow().waits_for()), (None, None));
}

/// Otherwise the wait would have no end, or would go on for a machine that is not to be updated any more.
#[tokio::test]
async fn the_wait_for_a_callback_server_ends_at_its_deadline_or_when_none_follows() {
    for none_follows in [false, true] {
        let (old, closed) = target();
        let (calls, send) = pinned(old);
        let parts = Parts::new(Some(calls.clone()));
        let session = parts.session();
        closed.cancel();
        session.handle_missing_target(&calls, calls.target_failure().unwrap());
        let begun = tokio::time::Instant::now();
        let mut send = Some(send);
        if none_follows {
            let failure = Failure::new(Reason::CallbackRefused, "for good");
            assert!(send.take().unwrap().send(Err(failure)).is_ok());
        }
        session.wait_for_return_path().await;
        assert_eq!(begun.elapsed() < LIMIT / 2, none_follows);
        let failure = session.withheld().expect("nothing is installed");
        assert_eq!((failure.reason, failure.message == "for good"), (Reason::CallbackRefused, none_follows));
        assert_eq!(failure.message.contains("--wait-seconds"), !none_follows, "{failure}");
    }
}

/// Otherwise an engine that cannot be understood and does not leave would be waited for again and again, and
/// each time be answered, which renews its lease.
#[tokio::test]
async fn the_wait_for_an_incompatible_engine_has_one_deadline_in_an_attempt() {
    let parts = Parts::new(None);
    let connection = crate::ssh::tests::connection().await;
    let machine = Machine {
        session: shell::Session { connection, id: parts.job.id(), settings: parts.settings.clone() },
    };
    let deployed =
        Deployed { dir: "/run/farrier-0b3ee0c4".into(), pid: 1, calls_back: false, listening: None };
    let incompatible = Incompatible { engine: "9.0.0".into(), protocol: (8, 9) };
    let session = parts.session();
    let wait = session.wait_for_incompatible_engine(machine, &deployed, &incompatible, Instant::now());
    let failure = wait.await.err().expect("the deadline has passed");
    assert_eq!(failure.reason, Reason::EngineIncompatible, "{failure}");
}

/// Otherwise a machine that answers again would be shown as unreachable while the attempt waits for another
/// engine there.
#[tokio::test]
async fn a_machine_that_answers_again_is_not_lost_whatever_follows() {
    let mut parts = Parts::new(None);
    let port = crate::ssh::tests::listening().await;
    let addresses = vec!["127.0.0.1".into()];
    let target = Target { node: "db".into(), addresses, families: vec![Family::V4], port };
    Arc::make_mut(&mut parts.settings).target = target;
    let lost = Some(Failure::new(Reason::ConnectionLost, "lost"));
    parts.view.send_modify(|v| v.lost = lost);
    // This server runs no shell, so that nothing can be deployed.
    let failure = parts.session().reconnect().await.err().expect("no shell");
    assert!(!failure.reason.retryable(), "{failure}");
    assert_eq!(parts.view.borrow().lost, None);
}

/// Otherwise a restart of the operator while a machine reboots would end the attempt of this machine.
#[tokio::test]
async fn a_resumed_attempt_reconnects_to_a_machine_that_does_not_answer() {
    let mut parts = Parts::new(None);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let addresses = vec!["127.0.0.1".into()];
    let target = Target { node: "db".into(), addresses, families: vec![Family::V4], port };
    Arc::make_mut(&mut parts.settings).target = target;
    let refused = parts.session().keep().await.err().expect("nothing listens");
    assert_eq!(refused.reason, Reason::ConnectionRefused, "{refused}");
    parts.job.resumed = true;
    let mut view = parts.view.subscribe();
    let session = parts.session();
    tokio::select! {
        kept = session.keep() => panic!("{:?}", kept.err()),
        lost = view.wait_for(|v| v.lost.is_some()) => assert!(lost.is_ok()),
    }
}

/// Otherwise a machine whose port breaks off again and again could not be updated through SSH, although it can be
/// reached: the connection was closed when the runner connected to the port.
#[tokio::test]
async fn the_session_that_replaces_a_bad_port_gets_a_connection_of_its_own() {
    let mut parts = Parts::new(None);
    let port = crate::ssh::tests::listening().await;
    let addresses = vec!["127.0.0.1".into()];
    let target = Target { node: "db".into(), addresses, families: vec![Family::V4], port };
    Arc::make_mut(&mut parts.settings).target = target;
    let connection = crate::ssh::tests::connection().await;
    let machine = Machine {
        session: shell::Session { connection, id: parts.job.id(), settings: parts.settings.clone() },
    };
    Host::close(&machine).await;
    let closed = async {
        while !machine.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, closed).await.expect("the connection is closed");
    let deployed = parts.session().deploy_otherwise(machine).await;
    // The other server was reached, and runs no shell.
    let failure = deployed.err().expect("no shell");
    assert!(!failure.reason.retryable(), "{failure}");
    assert!(parts.view.borrow().authenticated);
}

/// Otherwise an engine that listens on a machine that goes down would be given up before the machine is back.
#[test]
fn streams_that_a_reboot_ends_do_not_count_as_failed() {
    let parts = Parts::new(None);
    let session = parts.session();
    assert!(session.is_short(Instant::now()));
    let (since, until) = (crate::attempt::now(), crate::attempt::now().after(Duration::from_mins(1)));
    let underway = crate::attempt::Reboot::Underway { since, until, requested: true, boot_id: None };
    parts.view.send_modify(|v| v.reboot = Some(underway));
    assert!(!session.is_short(Instant::now()));
}

/// Otherwise a rule that an earlier attempt has made would stay in the firewall of a machine that counts as clean,
/// because the channel has been edited since.
#[test]
fn the_firewall_is_looked_at_unless_no_engine_can_have_changed_it() {
    let mut parts = Parts::new(None);
    assert!(!parts.session().may_have_opened_firewall());
    parts.job.touched = true;
    assert!(parts.session().may_have_opened_firewall(), "the journal is not known");
    (parts.job.touched, parts.job.goal) = (false, Goal::CleanUp);
    assert!(parts.session().may_have_opened_firewall(), "nothing is known of the attempts before");
}

/// Otherwise what is known to be left on a machine would not be named, because its firewall could not be asked.
#[test]
fn what_is_left_is_named_although_another_check_fails() {
    let parts = Parts::new(None);
    let failed = || Err(Failure::new(Reason::CleanupFailed, "nft cannot list the rules"));
    for (found, reason) in
        [(Vec::new(), Reason::CleanupFailed), (vec!["/run/farrier-1".into()], Reason::Leftovers)]
    {
        parts.session().conclude_cleaning(Looked::default().and(Ok(found)).and(failed()));
        let clean = parts.view.borrow().clean.clone();
        assert_eq!(clean.expect("looked").map_err(|failure| failure.reason), Err(reason));
    }
}
