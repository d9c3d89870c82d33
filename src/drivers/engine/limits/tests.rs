//! Engines that are alive and make no progress.

use super::*;
use crate::engine_api::{EngineApi, PayloadFiles};
use farrier_protocol::{FailureCode, Hello, Installer, Payload, Task};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

struct NoFiles;
impl PayloadFiles for NoFiles {
    fn file(&self, _: &str) -> Option<PathBuf> {
        None
    }
}

const HOUR: Duration = Duration::from_hours(1);
const SHORT_STREAM: Duration = Duration::from_millis(300);

async fn post(stream: &mut DuplexStream, path: &str, body: &str) -> std::io::Result<String> {
    let head = format!("POST /v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let n = stream.read(&mut answer).await?;
    answer.truncate(n);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// An engine that sends its hello and then only heartbeats.
async fn heartbeats_only(mut stream: DuplexStream, last_seq: u64) -> std::io::Result<()> {
    let hello = Hello {
        protocol: farrier_protocol::VERSION,
        engine: "0".into(),
        session: "s1".into(),
        last_seq,
        ..Hello::default()
    };
    let hello = serde_json::to_string(&hello).unwrap();
    let answer = post(&mut stream, "hello", &hello).await?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    loop {
        post(&mut stream, "events", "[]").await?;
        // sleep: the interval between heartbeats.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn beside_an_engine<T>(
    last_seq: u64,
    work: impl AsyncFnOnce(Arc<EngineApi>, watch::Sender<bool>) -> T,
) -> T {
    let engine_api = Arc::new(EngineApi::new("s1", 60, Box::new(NoFiles)));
    let (engine, runner) = tokio::io::duplex(4096);
    let (stop, _) = watch::channel(false);
    tokio::select! {
        done = work(engine_api.clone(), stop) => done,
        ended = engine_api.serve(runner, || {}) => panic!("{ended:?}"),
        ended = heartbeats_only(engine, last_seq) => panic!("{ended:?}"),
    }
}

/// Regression: a run with such a machine never ended and could not be cancelled.
#[tokio::test]
async fn an_engine_that_only_sends_heartbeats_exceeds_the_limit_of_its_task() {
    let task = || Task { id: "a1-retire-0".into(), work: Work::Retire };
    beside_an_engine(0, async |engine_api, stop| {
        let stop = stop.subscribe();
        let limit = Limit::of(SHORT_STREAM, HOUR);
        assert_eq!(within(limit, &stop, engine_api.greeted()).await, Some(0), "it was greeted");
        assert_eq!(within(limit, &stop, engine_api.perform(task())).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_task_ends_although_the_engine_makes_no_progress() {
    let task = || Task { id: "a1-retire-0".into(), work: Work::Retire };
    beside_an_engine(0, async |engine_api, stop| {
        let stopped = stop.subscribe();
        let limit = Limit::of(HOUR, SHORT_STREAM);
        let cancel = async {
            engine_api.greeted().await;
            stop.send_replace(true);
        };
        let (performed, ()) = tokio::join!(within(limit, &stopped, engine_api.perform(task())), cancel);
        assert_eq!(performed, None);
    })
    .await;
}

/// The session does not wait for announced events that never arrive.
#[tokio::test]
async fn an_incomplete_greeting_exceeds_its_limit() {
    beside_an_engine(7, async |engine_api, stop| {
        let greeted = within(Limit::of(SHORT_STREAM, HOUR), &stop.subscribe(), engine_api.greeted()).await;
        assert_eq!(greeted, None);
    })
    .await;
}

fn step(timeout_seconds: u64, interruptible: bool, size: u64) -> Step {
    let payload = Some(Payload { digest: String::new(), size, file_name: String::new() });
    let (component, version) = ("c".to_owned(), "1".to_owned());
    let installer = Installer::Script;
    Step {
        component,
        version,
        installer,
        payload,
        after: Vec::new(),
        timeout_seconds,
        interruptible,
        downgrade: false,
        rewrite: false,
        package: None,
        firmware: None,
        overrides_trusted_module: false,
        respect_holds: false,
    }
}

#[test]
fn the_limit_of_an_installation_is_the_sum_of_its_steps_and_allowances() {
    let limit =
        |steps: &[Step]| of(&Work::Apply { steps: steps.to_vec(), wait_seconds: 0 }, &[], &[]).at_most;
    let two = limit(&[step(3600, true, 0), step(7200, true, 0)]);
    assert_eq!(two, 3 * HOUR + 2 * PREPARATION + SLACK);
    assert_eq!(limit(&[step(3600, false, 0)]), HOUR + OVERTIME + PREPARATION + SLACK);
    assert_eq!(limit(&[step(0, true, SLOWEST * 60)]), Duration::from_mins(1) + PREPARATION + SLACK);
    let patient = Work::Apply { steps: vec![step(0, true, 0)], wait_seconds: 60 };
    assert_eq!(of(&patient, &[], &[]).at_most, limit(&[step(0, true, 0)]) + Duration::from_mins(3));
    assert_eq!(limit(&[step(u64::MAX, false, u64::MAX), step(u64::MAX, true, u64::MAX)]), Duration::MAX);
}

#[test]
fn an_engine_that_is_still_installing_retires_later() {
    let event = |seq, body| Arc::new(Event { seq, at: 0, body });
    let begun = event(1, EventBody::TaskStarted { task: "a1-apply".into(), components: Vec::new() });
    let ended = event(2, EventBody::TaskDone { task: "a1-apply".into() });
    let failed = EventBody::TaskFailed {
        task: "a1-apply".into(),
        code: FailureCode::Other,
        component: String::new(),
        message: String::new(),
    };
    assert!(is_busy(std::slice::from_ref(&begun)));
    assert!(!is_busy(&[]) && !is_busy(&[begun.clone(), ended]) && !is_busy(&[begun, event(2, failed)]));
}
