//! Faults, limits, journal: what tests set and read.

use std::time::Instant;

use farrier_bmc_double::Settings;
use farrier_bmc_double::fault::{Armed, Fault};
use farrier_bmc_double::image::Header;
use reqwest::Client;
use serde_json::{Value, json};

use crate::session::{JsonBody as _, LIMIT, Session, form};

/// Somebody else's update comes first: ours waits, where the vendor has a queue, or is refused.
#[tokio::test]
async fn an_update_of_somebody_elses_comes_first() {
    let foreign = Fault::ForeignEntry { updatable_by: "Uefi".to_owned() };
    let session = Session::of("idrac9").await;
    session.double.arm(Armed::always(foreign.clone())).unwrap();
    let answer = session.push(&Header::new("diagnostics", "3").to_file(), &json!({})).await;
    let task = answer.headers()["location"].to_str().unwrap().to_owned();
    session.until(&task, |task| task["Messages"].to_string().contains("Lifecycle Controller in use")).await;
    session.double.clear(Some("foreign-entry"));
    session.installed("diagnostics", "3").await;

    let session = Session::of("openbmc").await;
    session.double.arm(Armed::always(foreign)).unwrap();
    assert_eq!(session.push(&Header::new("bmc", "3").to_file(), &json!({})).await.status(), 503);
}

/// Each of these is a trap that the driver's tests set; if it does not close, they prove nothing.
#[tokio::test]
async fn faults_happen_as_often_as_they_are_wanted() {
    let session = Session::of("openbmc").await;
    let fault = |fault| session.double.arm(Armed::times(fault, 1)).unwrap();
    let root = "/redfish/v1/Systems";

    fault(Fault::Unauthorized { path: String::new() });
    assert_eq!(session.get(root).await.unwrap().0, 401);
    assert_eq!(session.get(root).await.unwrap().0, 200);

    fault(Fault::Status { path: "Systems".to_owned(), status: 503 });
    assert_eq!(session.get("/redfish/v1/Managers").await.unwrap().0, 200);
    assert_eq!(session.get(root).await.unwrap().0, 503);

    fault(Fault::CutAnswer { path: String::new() });
    assert!(session.get(root).await.is_err());

    fault(Fault::OddMembers);
    let (_, odd) = session.get("/redfish/v1/UpdateService/FirmwareInventory").await.unwrap();
    assert_eq!(odd["Members@odata.count"], "many");

    fault(Fault::LiesSuccess);
    let answer = session.push(&Header::new("bmc", "3").to_file(), &json!({})).await;
    let monitor = answer.headers()["location"].to_str().unwrap().to_owned();
    let began = Instant::now();
    while session.get(&monitor).await.unwrap().0 == 202 {
        assert!(began.elapsed() < LIMIT);
    }
    assert_eq!(session.get(&monitor).await.unwrap().0, 404, "a monitor answers 204 once");
    assert_ne!(session.double.version("bmc").unwrap(), "3");

    fault(Fault::Busy);
    assert_eq!(session.push(&Header::new("bmc", "3").to_file(), &json!({})).await.status(), 503);

    session.double.arm(Armed::always(Fault::DropSessions)).unwrap();
    assert_eq!(session.get(root).await.unwrap().0, 401);
    session.double.arm(Armed::always(Fault::ChangeCertificate)).unwrap();
    let fresh = Client::builder().no_proxy().build().unwrap();
    assert!(fresh.get(session.url("/redfish")).send().await.is_err());
}

/// A client that asks before the time it was told makes an overloaded BMC slower still.
#[tokio::test]
async fn retry_after_is_told_and_who_comes_earlier_is_in_the_journal() {
    let session = Session::of("openbmc").await;
    let early = || {
        let journal = session.double.journal();
        journal.iter().filter(|entry| entry.detail["early-ms"].is_u64()).count()
    };
    let fault = Fault::Status { path: "Systems".to_owned(), status: 503 };
    session.double.arm(Armed::times(fault.clone(), 1).retry_after(60)).unwrap();
    let request = session.with_login(session.client.get(session.url("/redfish/v1/Systems")));
    assert_eq!(request.send().await.unwrap().headers()["retry-after"], "60");
    assert_eq!(session.get("/redfish/v1/Managers").await.unwrap().0, 200);
    assert_eq!(early(), 0, "another resource may be asked");
    assert_eq!(session.get("/redfish/v1/Systems/").await.unwrap().0, 200);
    assert_eq!(early(), 1);
    session.double.arm(Armed::times(fault, 1).retry_after(0)).unwrap();
    assert_eq!(session.get("/redfish/v1/Systems").await.unwrap().0, 503);
    assert_eq!(session.get("/redfish/v1/Systems").await.unwrap().0, 200);
    assert_eq!(early(), 1, "the time was over");

    // An accepted update means its monitor.
    session.double.set(Settings { retry_after_seconds: 30, flash_ms: 100, ..Settings::default() });
    let answer = session.push(&Header::new("bios", "3").to_file(), &json!({})).await;
    assert_eq!(answer.headers()["retry-after"], "30");
    let monitor = answer.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(session.get(&monitor).await.unwrap().0, 202);
    assert_eq!(early(), 2);
}

/// The account of a real BMC is locked by a client that tries a wrong password too often.
#[tokio::test]
async fn wrong_passwords_lock_the_account() {
    let session = Session::of("idrac9").await;
    let with = |password: &'static str| {
        let request = session.client.get(session.url("/redfish/v1/Systems"));
        async move { request.basic_auth("admin", Some(password)).send().await.unwrap().status() }
    };
    assert_eq!(with("password").await, 200);
    for _ in 0..3 {
        assert_eq!(with("wrong").await, 401);
    }
    assert_eq!(with("password").await, 401);
    assert_eq!(session.get("/redfish/v1/Systems").await.unwrap().0, 200, "sessions go on");
}

/// Tests in other processes have nothing but the control API.
#[tokio::test]
async fn the_control_api_sets_faults_and_tells_the_journal() {
    let session = Session::of("openbmc").await;
    let control = |path: &str| format!("http://{}{path}", session.double.control());
    let client = Client::builder().no_proxy().build().unwrap();
    let fault = json!({"name": "status", "path": "Chassis", "status": 404, "times": 1});
    assert_eq!(client.post(control("/faults")).json_body(&fault).send().await.unwrap().status(), 200);
    assert_eq!(session.get("/redfish/v1/Chassis").await.unwrap().0, 404);
    let set = client.patch(control("/settings")).json_body(&json!({"page-size": 1}));
    assert_eq!(set.send().await.unwrap().status(), 200);
    let (_, page) = session.get("/redfish/v1/UpdateService/FirmwareInventory").await.unwrap();
    let next = page["Members@odata.nextLink"].as_str().unwrap();
    assert_eq!(session.get(next).await.unwrap().1["Members"].as_array().unwrap().len(), 1);
    let journal = client.get(control("/journal?since=0")).send().await.unwrap().text().await.unwrap();
    assert!(journal.contains("\"path\":\"/redfish/v1/Chassis\""), "{journal}");
    let state: Value =
        serde_json::from_str(&client.get(control("/state")).send().await.unwrap().text().await.unwrap())
            .unwrap();
    assert_eq!(state["sessions"].as_array().unwrap().len(), 1);
}

/// Each line is a trap of another kind that the driver must not fall into.
#[tokio::test]
async fn updates_end_as_the_fault_says() {
    let ends = [
        (Fault::LiesSuccess, "Completed", "OK", false),
        (Fault::LiesFailure, "Exception", "Critical", true),
        (Fault::CompletedCritical, "Completed", "Critical", false),
        (Fault::UserIntervention, "UserIntervention", "OK", false),
        (Fault::RebootPending, "Completed", "OK", false),
        (Fault::Instant, "Completed", "OK", true),
    ];
    for (fault, state, status, changed) in ends {
        let session = Session::of("idrac9").await;
        session.double.arm(Armed::times(fault.clone(), 1)).unwrap();
        let answer = session.push(&Header::new("diagnostics", "3").to_file(), &json!({})).await;
        let task = answer.headers()["location"].to_str().unwrap().to_owned();
        let task = session.until(&task, |task| task["PercentComplete"] == 100).await;
        assert_eq!(
            (task["TaskState"].as_str(), task["TaskStatus"].as_str()),
            (Some(state), Some(status)),
            "{fault:?}"
        );
        assert_eq!(session.double.version("diagnostics").as_deref() == Some("3"), changed, "{fault:?}");
    }
}

/// Answers that do not come, or not in the usual form, are no reason to send the image again.
#[tokio::test]
async fn an_update_goes_on_though_its_answer_is_lost_or_odd() {
    let session = Session::of("idrac9").await;
    session.double.arm(Armed::times(Fault::LostAnswer { path: "MultipartUpload".to_owned() }, 1)).unwrap();
    let uri = session.url("/redfish/v1/UpdateService/MultipartUpload");
    let (kind, body) = form(&[
        ("UpdateParameters", None, b"{}"),
        ("UpdateFile", Some("a.exe"), &Header::new("diagnostics", "3").to_file()),
    ]);
    let request = session.client.post(uri).header("content-type", kind).body(body);
    assert!(session.with_login(request).send().await.is_err());
    session.installed("diagnostics", "3").await;

    session.double.arm(Armed::times(Fault::NoContent, 1)).unwrap();
    session.double.arm(Armed::times(Fault::TaskVanishes, 1)).unwrap();
    let answer = session.push(&Header::new("diagnostics", "4").to_file(), &json!({})).await;
    assert_eq!(answer.status(), 204);
    let task = answer.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(session.get(&task).await.unwrap().0, 200);
    assert_eq!(session.get(&task).await.unwrap().0, 404);
    session.installed("diagnostics", "4").await;
}

/// Somebody else's reset in mid-flight leaves the old firmware, and says so where jobs are kept.
#[tokio::test]
async fn a_reset_while_it_writes_leaves_the_old_version() {
    let mut session = Session::of("idrac9").await;
    session.double.set(Settings { flash_ms: 1000, bmc_reset_ms: 200, ..Settings::default() });
    let answer = session.push(&Header::new("diagnostics", "3").to_file(), &json!({})).await;
    let task = answer.headers()["location"].to_str().unwrap().to_owned();
    session.until(&task, |task| task["PercentComplete"] == 30).await;
    let refused = async {
        let began = Instant::now();
        while !session.get("/redfish/v1/").await.is_err_and(|error| error.is_connect()) {
            assert!(began.elapsed() < LIMIT, "the port stays open");
        }
    };
    tokio::join!(session.double.reset_bmc(), refused);
    session.log_in().await;
    session.until(&task, |task| task["TaskState"] == "Exception").await;
    assert_eq!(session.count("flash"), 0);
}

/// A driver that opens a session for each request would lock everybody out.
#[tokio::test]
async fn sessions_and_requests_are_limited_and_counted() {
    let session = Session::of("idrac9").await;
    let body = json!({"UserName": "admin", "Password": "password"});
    for expected in [201, 201, 201, 201, 201, 201, 201, 503] {
        assert_eq!(session.post("/redfish/v1/SessionService/Sessions", &body).await.status(), expected);
    }
    session.double.arm(Armed::always(Fault::TooManyRequests { limit: 1 })).unwrap();
    session.double.arm(Armed::times(Fault::Slow { path: "Systems".to_owned(), ms: 300 }, 1)).unwrap();
    let many = futures::future::join_all((0..3).map(|_| session.get("/redfish/v1/Systems"))).await;
    let refused =
        many.iter().filter(|answer| answer.as_ref().is_ok_and(|(status, _)| *status == 503)).count();
    assert!(refused >= 1, "{many:?}");
    let load = &session.double.state()["load"];
    assert_eq!(load["sessions_most"], 8);
    assert!(load["requests_most"].as_u64() >= Some(2), "{load}");
}

/// What a driver must see before it sends anything: who else manages the machine, and how far its host is.
#[tokio::test]
async fn another_manager_post_and_power_are_visible() {
    let session = Session::of("ilo5").await;
    let always = |fault| session.double.arm(Armed::always(fault)).unwrap();
    always(Fault::ManagedBy { by: "OneView".to_owned(), firmware: true });
    let (_, root) = session.get("/redfish/v1/").await.unwrap();
    let manager = &root["Oem"]["Hpe"]["Manager"][0]["IPManager"];
    assert_eq!([&manager["ManagerType"], &manager["ManagerProductName"]], ["OneView", "HPE OneView"]);
    assert_eq!(manager["FirmwareManaged"], true);
    let system = async || session.get("/redfish/v1/Systems/1").await.unwrap().1;
    let before = system().await;
    assert_eq!(before["Oem"]["Hpe"]["PostState"], "FinishedPost");
    for (shown, progress) in [
        ("InPost", "SystemHardwareInitializationComplete"),
        ("InPostDiscoveryComplete", "OSBootStarted"),
        ("Unknown", "None"),
    ] {
        always(Fault::PostState { state: shown.to_owned() });
        let seen = system().await;
        assert_eq!(seen["Oem"]["Hpe"]["PostState"], shown);
        assert_eq!(seen["BootProgress"]["LastState"], progress);
        session.double.clear(Some("post-state"));
    }
    always(Fault::PowerState { state: "PoweringOff".to_owned() });
    assert_eq!(system().await["PowerState"], "PoweringOff");
    session.double.clear(None);
    session.double.arm(Armed::always(Fault::PowerOff)).unwrap();
    let off = system().await;
    assert_eq!([&off["PowerState"], &off["Oem"]["Hpe"]["PostState"]], ["Off", "PowerOff"]);
    let (_, root) = session.get("/redfish/v1/").await.unwrap();
    assert_eq!(root["Oem"]["Hpe"]["Manager"][0]["IPManager"], Value::Null);
}

/// What a test sets for the host's power must reach the host.
#[tokio::test]
async fn the_power_hook_is_told_of_every_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("power");
    let session = Session::of("openbmc").await;
    let power_hook =
        format!("echo $FARRIER_BMC_FROM $FARRIER_BMC_TO $FARRIER_BMC_RESET >> '{}'", file.display());
    session.double.set(Settings { power_hook, post_ms: 0, shutdown_ms: 0, ..Settings::default() });
    session.double.reset_host("GracefulRestart").await;
    let told = std::fs::read_to_string(file).unwrap();
    assert_eq!(told, "On Off GracefulRestart\nOff On GracefulRestart\n");
}

/// A driver that restarts a machine which is off must hear of it, and may switch it on.
#[tokio::test]
async fn a_host_that_is_off_can_only_be_switched_on() {
    for (variant, system, status) in [("ilo5", "1", 400), ("idrac9", "System.Embedded.1", 409)] {
        let session = Session::of(variant).await;
        session.double.arm(Armed::always(Fault::PowerOff)).unwrap();
        let system = format!("/redfish/v1/Systems/{system}");
        let reset = format!("{system}/Actions/ComputerSystem.Reset");
        let answer = session.post(&reset, &json!({"ResetType": "GracefulRestart"})).await;
        assert_eq!(answer.status(), status, "{variant}");
        assert_eq!(session.get(&system).await.unwrap().1["PowerState"], "Off");
        assert!(session.post(&reset, &json!({"ResetType": "On"})).await.status().is_success());
        session.until(&system, |system| system["PowerState"] == "On").await;
    }
}
