//! What each vendor does in its own way.

use farrier_bmc_double::Settings;
use farrier_bmc_double::image::{Header, compsig, digest};
use serde_json::{Value, json};
use std::time::Instant;

use crate::servers::{file_server, tls_file_server};
use crate::session::{LIMIT, Session, form};

/// A driver that takes a closed port or a lost session for a failure would fail here.
#[tokio::test]
async fn an_idrac_that_updates_itself_drops_connections_and_sessions_and_has_the_new_version() {
    let session = Session::of("idrac9").await;
    let image = Header::new("bmc", "7.10.30.00").to_file();
    let answer =
        session.push(&image, &json!({"Targets": [], "@Redfish.OperationApplyTime": "Immediate"})).await;
    assert_eq!(answer.status(), 202);
    let task = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(task.starts_with("/redfish/v1/TaskService/Tasks/JID_"), "{task}");

    session.installed("bmc", "7.10.30.00").await;
    let began = Instant::now();
    let after = loop {
        match session.get(&task).await {
            Ok((status, _)) => break status,
            Err(error) => assert!(error.is_connect() && began.elapsed() < LIMIT, "{error:?}"),
        }
    };
    assert_eq!(after, 401, "the session is gone");
    let mut session = session;
    session.log_in().await;
    let ended = session.until(&task, |task| task["TaskState"] == "Completed").await;
    assert_eq!(ended["Oem"]["Dell"]["JobState"], "Completed");
    assert_eq!(
        session.double.state()["flashes"],
        json!([{"device": "bmc", "version": "7.10.30.00", "times": 1}])
    );
    let (_, inventory) = session.get("/redfish/v1/UpdateService/FirmwareInventory").await.unwrap();
    assert!(inventory.to_string().contains("Installed-25227-7.10.30.00__iDRAC.Embedded.1-1"), "{inventory}");
}

/// Firmware that waits for the host must not show before the host was reset.
#[tokio::test]
async fn bios_waits_for_the_host_on_every_vendor_in_its_own_way() {
    for (variant, waiting, ended) in
        [("idrac9", "Starting", "Completed"), ("openbmc", "Stopping", "Completed")]
    {
        let session = Session::of(variant).await;
        let before = session.double.version("bios").unwrap();
        let image = Header::new("bios", "9.9.9").to_file();
        let answer = session.push(&image, &json!({"@Redfish.OperationApplyTime": "OnReset"})).await;
        assert_eq!(answer.status(), 202, "{variant}");
        let tasks = "/redfish/v1/TaskService/Tasks";
        let task = session.until(tasks, |tasks| tasks["Members@odata.count"] == 1).await;
        let task = task["Members"][0]["@odata.id"].as_str().unwrap().to_owned();
        session.until(&task, |task| task["TaskState"] == waiting).await;
        assert_eq!(session.double.version("bios").unwrap(), before);

        let (_, systems) = session.get("/redfish/v1/Systems").await.unwrap();
        let system = systems["Members"][0]["@odata.id"].as_str().unwrap();
        let reset = format!("{system}/Actions/ComputerSystem.Reset");
        let answer = session.post(&reset, &json!({"ResetType": "GracefulRestart"})).await;
        assert!(answer.status().is_success());
        session.until(&task, |task| task["TaskState"] == ended).await;
        assert_eq!(session.double.version("bios").unwrap(), "9.9.9");
    }
}

/// The image must really come from the address that the client named.
#[tokio::test]
async fn simple_update_fetches_the_image_and_the_journal_has_its_digest() {
    let session = Session::of("idrac9").await;
    let image = Header::new("diagnostics", "24.0").to_file();
    let url = format!("{}/pack.exe", file_server(image.clone()).await);
    let action = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
    let refused = session.post(action, &json!({"ImageURI": url.replace(".exe", ".bin")})).await;
    assert_eq!(refused.status(), 400, "Dell takes its own packages only");
    let answer = session.post(action, &json!({"ImageURI": url})).await;
    assert_eq!(answer.status(), 202);
    session.installed("diagnostics", "24.0").await;
    let journal = session.double.journal();
    let fetched = journal.iter().find(|entry| entry.kind == "fetch").unwrap();
    assert_eq!(fetched.detail["url"], url);
    assert_eq!(fetched.detail["sha256"], digest(&image));
}

/// A wrong image must be refused, in the way of each vendor, and must change nothing.
#[tokio::test]
async fn an_image_for_another_model_changes_nothing() {
    let mut header = Header::new("bmc", "66");
    header.models = vec!["another machine".to_owned()];
    let session = Session::of("openbmc").await;
    let answer = session.push(&header.to_file(), &json!({})).await;
    assert_eq!(answer.status(), 500, "bmcweb says no more than this");

    let session = Session::of("idrac9").await;
    let answer = session.push(&header.to_file(), &json!({})).await;
    let task = answer.headers()["location"].to_str().unwrap().to_owned();
    let task = session.until(&task, |task| task["TaskState"] == "Exception").await;
    assert_eq!(task["TaskStatus"], "Critical");
    assert_eq!(session.count("flash"), 0);
}

/// An iLO knows no tasks: progress is in the service, and a reset follows.
#[tokio::test]
async fn an_ilo_takes_the_form_reports_its_state_and_resets() {
    let session = Session::of("ilo5").await;
    let image = Header::new("bmc", "3.00").to_file();
    let token = session.token.clone().unwrap();
    let (kind, body) =
        form(&[("sessionKey", None, token.as_bytes()), ("file", Some("ilo5_300.bin"), &image)]);
    let request = session.client.post(session.url("/cgi-bin/uploadFile")).header("content-type", kind);
    let answer = request.header("cookie", format!("sessionKey={token}")).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let service = "/redfish/v1/UpdateService/";
    let working = session.until(service, |s| s["Oem"]["Hpe"]["State"] == "Updating").await;
    assert!(working["Oem"]["Hpe"]["FlashProgressPercent"].is_u64());
    session.installed("bmc", "3.00").await;
    assert_eq!(session.count("bmc-reset"), 1);
}

/// The rack manager takes no image from a server that it does not trust.
#[tokio::test]
async fn a_superdome_flex_wants_https_and_a_trusted_certificate() {
    let session = Session::of("superdome-flex").await;
    let action = "/redfish/v1/UpdateService/Actions/SDFlexUpdateService.UpdateAll";
    let plain = file_server(Header::new("node-bmc", "4").to_file()).await;
    let answer = session.post(action, &json!({"ImageURI": format!("{plain}/sd.tars")})).await;
    assert_eq!(answer.status(), 400);
    // Any TLS server will do to be distrusted: the double itself.
    let answer = session.post(action, &json!({"ImageURI": session.url("/redfish")})).await;
    assert_eq!(answer.status(), 202);
    let task: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let uri = task["@odata.id"].as_str().unwrap();
    let ended = session.until(uri, |task| task["TaskState"] == "Completed").await;
    assert_eq!(ended["TaskStatus"], "Warning");
    assert!(ended["Messages"][0]["MessageId"].as_str().unwrap().ends_with("FirmwareUpdateDownloadFailure"));
}

/// Row N11: the chain and the name are both checked, and a good server is enough.
#[tokio::test]
async fn a_superdome_flex_takes_a_bundle_from_a_server_it_trusts() {
    let action = "/redfish/v1/UpdateService/Actions/SDFlexUpdateService.UpdateAll";
    let mut header = Header::new("node-bmc", "4.0");
    header.targets.push(Header::new("bios", "4.0").targets[0].clone());
    for (name, reaches) in [("another.example", false), ("127.0.0.1", true)] {
        let session = Session::of("superdome-flex").await;
        let (url, pem) = tls_file_server(header.to_file(), "127.0.0.1", name, "sd.tars").await;
        session.double.set(Settings { trust: pem, flash_ms: 50, ..Settings::default() });
        let answer = session.post(action, &json!({"ImageURI": url, "ExcludeNparFw": true})).await;
        let task: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let uri = task["@odata.id"].as_str().unwrap();
        let ended = session.until(uri, |task| task["TaskState"] == "Completed").await;
        assert_eq!(ended["TaskStatus"] == "OK", reaches, "{ended}");
        assert_eq!(session.double.version("node-bmc").as_deref() == Some("4.0"), reaches);
        assert_ne!(session.double.version("bios").as_deref(), Some("4.0"), "it was excluded");
    }
}

/// A BMC without sessions and tasks answers nothing but 204.
#[tokio::test]
async fn the_minimal_bmc_takes_basic_and_says_nothing_more() {
    let mut session = Session::of("minimal").await;
    assert_eq!(session.token, None);
    let image = Header::new("bmc", "1.1").to_file();
    let uri = session.url("/redfish/v1/UpdateService/upload");
    let request = session.client.post(uri).header("content-type", "application/octet-stream").body(image);
    assert_eq!(session.with_login(request).send().await.unwrap().status(), 204);
    session.installed("bmc", "1.1").await;
    session.until("/redfish/v1/", |root| root["Id"] == "RootService").await;
    assert_eq!(session.get("/redfish/v1/TaskService").await.unwrap().0, 404);
    session.token = Some("a token that nobody gave".to_owned());
    assert_eq!(session.get("/redfish/v1/Systems").await.unwrap().0, 401);
}

/// A driver that takes every HP machine for a Redfish service must be told that this one is none.
#[tokio::test]
async fn a_moonshot_chassis_has_no_redfish_and_takes_no_firmware() {
    let mut session = Session::of("moonshot").await;
    for path in ["/redfish", "/redfish/v1/", "/redfish/v1/UpdateService"] {
        assert_eq!(session.get(path).await.unwrap().0, 404, "{path}");
    }
    let body = json!({"UserName": "admin", "Password": "password"});
    let answer = session.post("/rest/v1/Sessions", &body).await;
    session.token = Some(answer.headers()["x-auth-token"].to_str().unwrap().to_owned());
    let (_, manager) = session.get("/rest/v1/Managers/1").await.unwrap();
    assert_eq!(manager["Firmware"]["Current"]["VersionString"], "1.50");
    let (_, switch) = session.get("/rest/v1/chassis/1/switches/sa").await.unwrap();
    assert_eq!(switch["SwitchInfo"]["HealthStatus"], "OK");
    let (_, cartridges) = session.get("/rest/v1/Chassis/1/Cartridges").await.unwrap();
    assert_eq!(cartridges["Total"], 1);
    assert_eq!(session.get("/rest/v1/UpdateService").await.unwrap().0, 404);
}

/// Components above the limit come in sections, each with its signature.
#[tokio::test]
async fn a_large_component_comes_in_sections() {
    let session = Session::of("ilo5").await;
    session.double.set(Settings { section_bytes: 4096, flash_ms: 80, ..Settings::default() });
    let mut header = Header::new("nic", "2.0");
    header.payload_bytes = 10_000;
    header.needs_compsig = true;
    let image = header.to_file();
    let send = async |section: usize, bytes: &[u8]| {
        let parameters =
            json!({"UpdateRepository": true, "UpdateTarget": false, "Section": section}).to_string();
        let signature = compsig(bytes);
        let (kind, body) = form(&[
            ("parameters", None, parameters.as_bytes()),
            ("compsig", Some("part.compsig"), signature.as_bytes()),
            ("file", Some("nic.fwpkg"), bytes),
        ]);
        let request =
            session.client.post(session.url("/cgi-bin/uploadFile")).header("content-type", kind).body(body);
        session.with_login(request).send().await.unwrap().status()
    };
    assert_eq!(send(0, &image).await, 413, "in one piece it is too large");
    for (section, bytes) in image.chunks(4096).enumerate() {
        assert_eq!(session.double.state()["components"], json!([]));
        assert_eq!(send(section, bytes).await, 200);
    }
    let repository = "/redfish/v1/UpdateService/ComponentRepository/?$expand=.";
    let one = session.until(repository, |all| all["Members@odata.count"] == 1).await;
    assert_eq!(one["Members"][0]["SizeBytes"], image.len());
}
