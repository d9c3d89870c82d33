//! Events of tasks, to whom subscribed.

use std::time::{Duration, Instant};

use farrier_bmc_double::Settings;
use farrier_bmc_double::fault::{Armed, Fault};
use farrier_bmc_double::image::Header;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::servers::{Post, sink};
use crate::session::{JsonBody as _, LIMIT, Session};

const SUBSCRIPTIONS: &str = "/redfish/v1/EventService/Subscriptions";
const TEST_EVENT: &str = "/redfish/v1/EventService/Actions/EventService.SubmitTestEvent";

impl Session {
    async fn subscribe(&self, body: &Value) -> String {
        let answer = self.post(SUBSCRIPTIONS, body).await;
        assert_eq!(answer.status(), 201, "{body}");
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    async fn update(&self) -> String {
        let answer = self.push(&Header::new("diagnostics", "3").to_file(), &json!({})).await;
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    /// Waits for an entry about events.
    async fn told(&self, wanted: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        while !self.double.journal().iter().any(|entry| entry.kind == "event" && wanted(&entry.detail)) {
            assert!(began.elapsed() < LIMIT, "{:?}", self.double.journal());
            // sleep: a condition of the double, which is not asked over the network.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn post(posts: &mut UnboundedReceiver<Post>) -> Post {
    tokio::time::timeout(LIMIT, posts.recv()).await.unwrap().unwrap()
}

/// Condition `StatusPath`: whoever asks for events gets them in order and without asking again.
#[tokio::test]
async fn task_states_are_posted_in_order_to_whom_subscribed() {
    let session = Session::of("idrac9").await;
    let (url, _, mut posts) = sink(Some("127.0.0.1"), &[]).await;
    let (other, _, mut others) = sink(Some("127.0.0.1"), &[]).await;
    let body = json!({
        "Destination": url, "Protocol": "Redfish", "Context": "run-1", "HttpHeaders": [{"X-Run": "token-1"}],
    });
    let member = session.subscribe(&body).await;
    session.subscribe(&json!({"Destination": other, "RegistryPrefixes": ["Nobody"]})).await;
    let (_, shown) = session.get(&member).await.unwrap();
    assert_eq!(shown["HttpHeaders"], json!([]), "they are secrets");
    let task = session.update().await;
    let mut ids = vec![];
    loop {
        let (head, event) = post(&mut posts).await;
        assert!(head.starts_with("POST /status") && head.to_lowercase().contains("x-run: token-1"), "{head}");
        assert_eq!(event["Context"], "run-1");
        let record = &event["Events"][0];
        assert_eq!(record["OriginOfCondition"]["@odata.id"], task);
        ids.push(event["Id"].as_str().unwrap().parse::<u64>().unwrap());
        if record["MessageId"].as_str().unwrap().ends_with("RED001") {
            break;
        }
    }
    assert!(ids.is_sorted() && ids.len() > 3, "{ids:?}");
    assert!(others.try_recv().is_err(), "it asked for another registry");
    let plain = json!({"Destination": "http://127.0.0.1:1/"});
    assert_eq!(session.post(SUBSCRIPTIONS, &plain).await.status(), 400, "HTTPS only");
    assert!(session.post(TEST_EVENT, &json!({"MessageId": "X.1.0.Y"})).await.status().is_success());
    assert_eq!(post(&mut others).await.1["Events"][0]["MessageId"], "X.1.0.Y", "everybody gets a test");
}

/// A listener with the wrong certificate must not get what was meant for us, and with ours it must.
#[tokio::test]
async fn a_subscription_may_want_the_listener_s_certificate_checked() {
    let session = Session::of("openbmc").await;
    session.double.set(Settings { event_retry_ms: 10, ..Settings::default() });
    let (url, pem, mut posts) = sink(Some("127.0.0.1"), &[]).await;
    let body =
        json!({"Destination": url, "VerifyCertificate": true, "DeliveryRetryPolicy": "SuspendRetries"});
    let member = session.subscribe(&body).await;
    session.post(TEST_EVENT, &json!({})).await;
    session.told(|detail| detail["outcome"] == "SuspendRetries").await;
    assert_eq!(session.get(&member).await.unwrap().1["Status"]["State"], "Disabled");
    assert!(posts.try_recv().is_err());
    let certificate = json!({"CertificateString": pem, "CertificateType": "PEM"});
    assert_eq!(session.post(&format!("{member}/Certificates"), &certificate).await.status(), 201);
    let resume = format!("{member}/Actions/EventDestination.ResumeSubscription");
    assert_eq!(session.post(&resume, &json!({})).await.status(), 204);
    session.post(TEST_EVENT, &json!({"Message": "again"})).await;
    assert_eq!(post(&mut posts).await.1["Events"][0]["Message"], "again");
    let (plain, _, mut plain_posts) = sink(None, &[]).await;
    session.subscribe(&json!({"Destination": plain})).await;
    session.post(TEST_EVENT, &json!({})).await;
    post(&mut plain_posts).await;
}

/// A client that is away for a moment misses nothing; one that stays away is forgotten, as it was told.
#[tokio::test]
async fn posts_are_repeated_and_end_as_the_policy_says() {
    let session = Session::of("openbmc").await;
    session.double.set(Settings { event_retry_ms: 10, ..Settings::default() });
    let (url, _, mut posts) = sink(None, &[503, 500]).await;
    let member = session.subscribe(&json!({"Destination": url})).await;
    session.post(TEST_EVENT, &json!({"Message": "one"})).await;
    session.post(TEST_EVENT, &json!({"Message": "two"})).await;
    let mut texts = vec![];
    for _ in 0..4 {
        texts.push(post(&mut posts).await.1["Events"][0]["Message"].clone());
    }
    assert_eq!(texts, ["one", "one", "one", "two"]);
    drop(posts);
    let request = session.client.patch(session.url("/redfish/v1/EventService"));
    let request = session.with_login(request).json_body(&json!({"DeliveryRetryAttempts": 1}));
    assert_eq!(request.send().await.unwrap().status(), 200);
    session.post(TEST_EVENT, &json!({"Message": "the sink ends with this one"})).await;
    session.post(TEST_EVENT, &json!({"Message": "nobody is there"})).await;
    session.told(|detail| detail["outcome"] == "TerminateAfterRetries").await;
    assert_eq!(session.get(&member).await.unwrap().0, 404);
}

/// Posts that stop, or come too late, are what makes a driver ask again.
#[tokio::test]
async fn events_stop_or_come_late_if_a_test_wants_it() {
    let session = Session::of("idrac9").await;
    let (url, _, mut posts) = sink(Some("127.0.0.1"), &[]).await;
    session.subscribe(&json!({"Destination": url})).await;
    session.double.arm(Armed::always(Fault::NoEvents)).unwrap();
    let task = session.update().await;
    session.until(&task, |task| task["TaskState"] == "Completed").await;
    session.double.clear(Some("no-events"));
    session.double.arm(Armed::times(Fault::LateEvents { ms: 200 }, 1)).unwrap();
    let began = Instant::now();
    session.post(TEST_EVENT, &json!({"Message": "late"})).await;
    assert_eq!(post(&mut posts).await.1["Events"][0]["Message"], "late", "the first that comes");
    assert!(began.elapsed() >= Duration::from_millis(200));
}
