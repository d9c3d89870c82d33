//! The Redfish client against doubles of management processors: what it reads, and what it does when they are
//! odd, broken or hostile.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and what they share: a panic is how a test fails"
)]

mod hostile;

use farrier::drivers::Keys;
use farrier::drivers::redfish::{
    Client, Credentials, Endpoint, Entry, Inventory, Kind, Link, Request, Session, Trouble,
};
use farrier::failure::Failure;
use farrier::ssh::{Family, Target};
use farrier::tls::{Policy, Trust, TrustedBy, read_bundle};
use farrier_bmc_double::fault::{Armed, Fault};
use farrier_bmc_double::{Config, Double, Settings, Variant};
use farrier_update::Reason;
use std::time::{Duration, Instant};

/// Enough for a double to open its ports again.
const LIMIT: Duration = Duration::from_secs(20);

const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

async fn double(variant: &str) -> Double {
    Double::start(Config::new(Variant::named(variant).unwrap())).await.unwrap()
}

fn first_use() -> Trust {
    Trust { policy: Policy::TrustOnFirstUse, ..Trust::default() }
}

fn client_of(double: &Double, trust: Trust) -> Client {
    let target = Target {
        node: "bmc-7".into(),
        addresses: vec!["127.0.0.1".into()],
        families: vec![Family::V4],
        port: double.https().port(),
    };
    Client::new(Endpoint { target, trust }).unwrap()
}

fn credentials(password: &str) -> Credentials {
    let data = [("username", "admin"), ("password", password)];
    let data = data.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
    Credentials::new("bmc-7", &Keys { name: "bmc-login".into(), data }).unwrap()
}

async fn session(double: &Double) -> Session {
    Session::open(client_of(double, first_use()), &credentials("password")).await.unwrap()
}

/// Signs out.
async fn end(session: &Session) {
    if let Some(link) = session.link() {
        session.end(link).await.unwrap();
    }
}

async fn refused(double: &Double, trust: Trust, password: &str) -> Failure {
    Session::open(client_of(double, trust), &credentials(password)).await.err().unwrap()
}

fn sessions_on(double: &Double) -> usize {
    double.state()["sessions"].as_array().unwrap().len()
}

fn requests(double: &Double, method: &str, path: &str) -> usize {
    let is_such = |detail: &serde_json::Value| {
        detail["method"] == method && detail["path"].as_str().unwrap().trim_end_matches('/') == path
    };
    double.journal().iter().filter(|entry| entry.kind == "request" && is_such(&entry.detail)).count()
}

fn entry<'a>(inventory: &'a Inventory, name: &str) -> &'a Entry {
    let found = inventory.firmware.iter().find(|entry| entry.name.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("{name} is not in {:?}", inventory.firmware))
}

fn armed(fault: Fault) -> Armed {
    Armed::always(fault)
}

/// A device that cannot be read cannot be updated.
#[tokio::test]
async fn devices_of_all_kinds_are_read() {
    for (variant, name, device) in [
        ("openbmc", "Software Inventory", "bmc"),
        ("idrac9", "BIOS", "bios"),
        ("ilo5", "System ROM", "bios"),
        ("ilo6", "System ROM", "bios"),
        ("superdome-flex", "nPartition BIOS", "bios"),
        ("minimal", "BIOS", "bios"),
    ] {
        let double = double(variant).await;
        let session = session(&double).await;
        let inventory = Inventory::read(&session).await.unwrap();
        assert_eq!((&inventory.notes[..], inventory.complete), (&[][..], true), "{variant}");
        assert_eq!(entry(&inventory, name).version, double.version(device), "{variant}");
        let [system] = &inventory.systems[..] else { panic!("{variant}: {:?}", inventory.systems) };
        let [manager] = &inventory.managers[..] else { panic!("{variant}: {:?}", inventory.managers) };
        assert_eq!(system.serial.as_deref(), Some("DOUBLE0001"), "{variant}");
        assert_eq!(system.power.as_deref(), Some("On"), "{variant}");
        assert_eq!(system.bios_version, double.version("bios"), "{variant}");
        assert_eq!(manager.firmware_version, double.version("bmc"), "{variant}");
        assert!(manager.ahead.unwrap().abs().as_secs() < 60, "{variant}: {manager:?}");
        assert!(inventory.root.uuid.is_some() && inventory.root.vendor.is_some(), "{variant}");
        end(&session).await;
        assert_eq!(sessions_on(&double), 0, "{variant}");
    }
}

/// The wrong way of handing an image over wastes an upload, or leaves a queue that nobody works off.
#[tokio::test]
async fn the_ways_of_a_device_are_those_that_it_offers() {
    // Multipart, push, simple, repository, bundle.
    for (variant, offered) in [
        ("openbmc", [true, true, true, false, false]),
        ("idrac9", [true, true, true, false, false]),
        ("ilo5", [false, true, true, true, false]),
        ("superdome-flex", [false, false, false, false, true]),
        ("minimal", [false, true, true, false, false]),
    ] {
        let double = double(variant).await;
        let session = session(&double).await;
        let service = Inventory::read(&session).await.unwrap().update.unwrap();
        let ways = service.ways;
        let found = [
            ways.multipart.is_some(),
            ways.push.is_some(),
            ways.simple.is_some(),
            ways.repository.is_some(),
            ways.bundle.is_some(),
        ];
        assert_eq!(found, offered, "{variant}");
        assert_eq!(service.enabled, Some(true), "{variant}");
        end(&session).await;
    }
    let double = double("idrac9").await;
    double.arm(armed(Fault::ServiceDisabled)).unwrap();
    let service = Inventory::read(&session(&double).await).await.unwrap().update.unwrap();
    assert_eq!(service.enabled, Some(false));
    assert_eq!(service.ways.simple.unwrap().protocols.unwrap(), ["HTTP", "HTTPS"]);
}

/// Devices throw sessions away when they reset themselves, in the middle of the work. A session that was opened
/// behind the caller's back would stay on the device if the operator died.
#[tokio::test]
async fn a_session_that_the_device_has_thrown_away_is_reported_and_not_renewed() {
    let double = double("ilo5").await;
    let session = session(&double).await;
    double.arm(armed(Fault::DropSessions)).unwrap();
    let failure = Inventory::read(&session).await.unwrap_err();
    assert_eq!(failure.reason, Reason::SessionEnded, "{failure}");
    assert_eq!((sessions_on(&double), requests(&double, "POST", SESSIONS)), (0, 1));
    end(&session).await;
}

/// Whoever takes over from an operator that died closes its session first.
#[tokio::test]
async fn the_session_of_a_predecessor_is_ended() {
    let double = double("openbmc").await;
    let (theirs, ours) = (session(&double).await, session(&double).await);
    let link = theirs.link().unwrap();
    ours.end(link).await.unwrap();
    ours.end(link).await.unwrap();
    end(&ours).await;
    assert_eq!(sessions_on(&double), 0);
}

/// `TornDown=True` must not be said of a device that ignores what it confirms.
#[tokio::test]
async fn a_session_that_is_still_there_is_reported() {
    let double = double("openbmc").await;
    let session = session(&double).await;
    double.arm(armed(Fault::Status { path: SESSIONS.into(), status: 500 })).unwrap();
    let failure = session.end(session.link().unwrap()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::DeviceUnavailable);
    double.clear(None);
    end(&session).await;
    assert_eq!(sessions_on(&double), 0);
}

/// Inventories of real devices have broken members; the others still have to be updated.
#[tokio::test]
async fn a_broken_member_costs_itself_and_a_note() {
    let double = double("ilo5").await;
    let session = session(&double).await;
    double.arm(armed(Fault::MemberError { member: "5".into(), status: 500 })).unwrap();
    double.arm(armed(Fault::MemberWithoutVersion { device: "cpld".into() })).unwrap();
    double.arm(armed(Fault::OddMembers)).unwrap();
    let inventory = Inventory::read(&session).await.unwrap();
    assert!(
        inventory.firmware.iter().all(|entry| entry.name.as_deref() != Some("Example 10Gb 2-port Adapter"))
    );
    assert_eq!(entry(&inventory, "System Programmable Logic Device").version, None);
    assert_eq!(entry(&inventory, "iLO 5").version, double.version("bmc"));
    assert!(!inventory.complete);
    let notes: Vec<_> = inventory.notes.iter().map(ToString::to_string).collect();
    for words in ["FirmwareInventory/5/ with 500", "has no version", "members of", "FirmwareInventory/Text"] {
        assert!(notes.iter().any(|note| note.contains(words)), "{words}: {notes:#?}");
    }
    end(&session).await;
}

/// iDRAC gives 50 members at a time; those of the other pages would never be updated.
#[tokio::test]
async fn pages_and_answers_without_length_are_read() {
    let mut config = Config::new(Variant::named("idrac9").unwrap());
    config.settings = Settings { page_size: 2, chunked: true, ..Settings::default() };
    let double = Double::start(config).await.unwrap();
    let session = session(&double).await;
    let inventory = Inventory::read(&session).await.unwrap();
    assert_eq!(inventory.firmware.len(), 5, "{:?}", inventory.firmware);
    assert_eq!(inventory.notes, []);
    end(&session).await;
}

/// The accounts of BMCs are locked after three failures, and the same account is on all machines.
#[tokio::test]
async fn a_wrong_password_is_offered_once() {
    for variant in ["openbmc", "idrac9", "ilo5"] {
        let double = double(variant).await;
        let failure = refused(&double, first_use(), "hunter2").await;
        assert_eq!(failure.reason, Reason::PasswordRejected, "{variant}: {failure}");
        assert!(!failure.message.contains("hunter2") && failure.message.contains("bmc-login"), "{failure}");
        assert_eq!(requests(&double, "POST", SESSIONS), 1, "{variant}");
    }
    let double = double("minimal").await;
    let failure = refused(&double, first_use(), "hunter2").await;
    assert_eq!(failure.reason, Reason::PasswordRejected, "{failure}");
    assert_eq!(requests(&double, "GET", "/redfish/v1/Systems"), 1);
}

/// iLO says when it does not look at passwords; others answer as to a wrong one.
#[tokio::test]
async fn a_locked_account_is_told_where_the_device_tells() {
    for (variant, reason) in [("ilo5", Reason::AccountLocked), ("idrac9", Reason::PasswordRejected)] {
        let double = double(variant).await;
        double.arm(armed(Fault::LockAccount { user: "admin".into() })).unwrap();
        let failure = refused(&double, first_use(), "password").await;
        assert_eq!(failure.reason, reason, "{variant}: {failure}");
        assert!(failure.message.contains("locked") || failure.message.contains("attempts"), "{failure}");
    }
}

/// A device without a free session has to be waited for; a corrected password would not help.
#[tokio::test]
async fn a_device_without_a_free_session_is_a_reason_of_its_own() {
    let double = double("idrac9").await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(session(&double).await);
    }
    let failure = refused(&double, first_use(), "password").await;
    assert_eq!(failure.reason, Reason::SessionLimitReached, "{failure}");
    end(&open.pop().unwrap()).await;
    end(&session(&double).await).await;
}

/// The first certificate is recorded; another one is an attack until somebody says otherwise.
#[tokio::test]
async fn certificates_are_trusted_as_the_user_says() {
    let double = double("openbmc").await;
    let client = client_of(&double, first_use());
    client.send(&Request::get(Link::root()), None).await.unwrap();
    let first = client.first_certificate().unwrap();
    assert_eq!(client.address().as_deref(), Some("127.0.0.1"));
    let pinned = Trust { fingerprints: [first].into(), ..Trust::default() };
    let client = client_of(&double, pinned.clone());
    client.send(&Request::get(Link::root()), None).await.unwrap();
    assert_eq!(
        (client.certificate(), client.first_certificate()),
        (Some((first, TrustedBy::Fingerprint)), None)
    );
    let certificates = read_bundle(double.authority_pem().as_bytes()).unwrap();
    let authority = Trust { certificates, ..Trust::default() };
    let client = client_of(&double, authority.clone());
    client.send(&Request::get(Link::root()), None).await.unwrap();
    assert_eq!(client.certificate(), Some((first, TrustedBy::Authority)));

    let nothing = refused(&double, Trust::default(), "password").await;
    assert_eq!(nothing.reason, Reason::CertificateUntrusted);
    assert!(
        nothing.message.contains(&first.to_string()) && nothing.message.contains("spec.tls"),
        "{nothing}"
    );
    double.arm(armed(Fault::ChangeCertificate)).unwrap();
    assert_eq!(refused(&double, pinned, "password").await.reason, Reason::CertificateChanged);
    assert_eq!(refused(&double, authority.clone(), "password").await.reason, Reason::CertificateUntrusted);
    double.arm(armed(Fault::ExpireCertificate)).unwrap();
    assert_eq!(refused(&double, authority, "password").await.reason, Reason::CertificateUntrusted);
}

/// Otherwise somebody who gets between operator and device later would be sent the token.
#[tokio::test]
async fn a_certificate_that_changes_during_the_work_is_refused() {
    let mut config = Config::new(Variant::named("openbmc").unwrap());
    config.settings.bmc_reset_ms = 50;
    let double = Double::start(config).await.unwrap();
    let session = session(&double).await;
    double.arm(armed(Fault::ChangeCertificate)).unwrap();
    // A reset ends the connection, so that there is a handshake.
    double.reset_bmc().await;
    let began = Instant::now();
    let mut failure = Inventory::read(&session).await.unwrap_err();
    while failure.reason == Reason::ConnectionRefused && began.elapsed() < LIMIT {
        failure = Inventory::read(&session).await.unwrap_err();
    }
    assert_eq!(failure.reason, Reason::CertificateChanged, "{failure}");
}

/// Many BMCs answer one request at a time, and 503 to others.
#[tokio::test]
async fn a_device_gets_one_request_at_a_time() {
    let double = double("openbmc").await;
    let session = session(&double).await;
    double.arm(armed(Fault::Slow { path: String::new(), ms: 5 })).unwrap();
    double.arm(armed(Fault::TooManyRequests { limit: 1 })).unwrap();
    let root = Link::root();
    futures::future::try_join_all((0..20).map(|_| session.get(&root))).await.unwrap();
    assert_eq!(double.state()["load"]["requests_most"], 1);
    double.clear(None);
    end(&session).await;
}

async fn trouble(double: &Double, request: Request) -> Trouble {
    client_of(double, first_use()).send(&request, None).await.err().unwrap()
}

/// After an answer that is lost, nobody may say that nothing has begun.
#[tokio::test]
async fn it_is_known_whether_a_request_may_have_begun() {
    let double = double("openbmc").await;
    double.arm(Armed::times(Fault::CutAnswer { path: String::new() }, 1)).unwrap();
    let cut = trouble(&double, Request::get(Link::root())).await;
    assert!(matches!(cut.kind, Kind::Lost { begun: true, .. }), "{cut:?}");
    double.arm(Armed::times(Fault::LostAnswer { path: String::new() }, 1)).unwrap();
    let post = Request::post(Link::parse(SESSIONS).unwrap(), serde_json::json!({}));
    let lost = trouble(&double, post).await;
    assert!(lost.may_have_begun(), "{lost:?}");
    assert_eq!(Failure::from(lost).reason, Reason::ConnectionLost);
    double.arm(armed(Fault::Slow { path: String::new(), ms: 5000 })).unwrap();
    let limit = Duration::from_millis(300);
    let slow = trouble(&double, Request { limit, ..Request::get(Link::root()) }).await;
    assert!(matches!(slow.kind, Kind::TimedOut { begun: true, .. }), "{slow:?}");
    let closed = double.https().port();
    drop(double);
    let target = Target {
        node: "bmc-7".into(),
        addresses: vec!["127.0.0.1".into()],
        families: vec![Family::V4],
        port: closed,
    };
    let gone = Client::new(Endpoint { target, trust: first_use() }).unwrap();
    let gone = gone.send(&Request::get(Link::root()), None).await.err().unwrap();
    assert!(!gone.may_have_begun());
    assert_eq!(Failure::from(gone).reason, Reason::ConnectionRefused);
}

/// A user who gives the wrong port must not look for the fault in certificates or passwords.
#[tokio::test]
async fn what_is_no_redfish_service_is_told() {
    let double = double("minimal").await;
    let target = Target {
        node: "bmc-7".into(),
        addresses: vec!["127.0.0.1".into()],
        families: vec![Family::V4],
        port: double.http().port(),
    };
    let client = Client::new(Endpoint { target, trust: first_use() }).unwrap();
    let failure = Session::open(client, &credentials("password")).await.err().unwrap();
    assert_eq!(failure.reason, Reason::NotARedfishService, "{failure}");
}

/// A device that is starting answers 503 for minutes, and is well afterwards.
#[tokio::test]
async fn a_device_that_is_starting_is_tried_again() {
    let double = double("idrac9").await;
    double.arm(armed(Fault::Status { path: String::new(), status: 503 })).unwrap();
    let failure = refused(&double, first_use(), "password").await;
    assert_eq!(failure.reason, Reason::DeviceUnavailable, "{failure}");
    assert!(failure.reason.retryable());
    double.clear(None);
    let session = session(&double).await;
    double.arm(armed(Fault::Status { path: "/FirmwareInventory/".into(), status: 503 })).unwrap();
    let failure = Inventory::read(&session).await.unwrap_err();
    assert_eq!(failure.reason, Reason::DeviceUnavailable, "{failure}");
}
