//! Images for several devices, of which one may fail.

use farrier_bmc_double::Settings;
use farrier_bmc_double::fault::{Armed, Fault, Says};
use farrier_bmc_double::image::Header;
use serde_json::{Value, json};

use crate::servers::tls_file_server;
use crate::session::Session;

fn bundle(devices: &[&str], version: &str) -> Header {
    let mut header = Header::new(devices[0], version);
    header.targets = devices.iter().flat_map(|device| Header::new(device, version).targets).collect();
    header
}

fn partial(device: &str, says: Says) -> Armed {
    Armed::times(Fault::Partial { device: device.to_owned(), says }, 1)
}

/// A driver that judges a bundle by its task alone would take a part for done that is not.
#[tokio::test]
async fn one_part_of_a_bundle_fails_and_the_task_says_so_or_not() {
    for (says, state, status, told) in [
        (Says::Exception, "Exception", "Critical", true),
        (Says::Warning, "Completed", "Warning", true),
        (Says::Nothing, "Completed", "OK", false),
    ] {
        let session = Session::of("lenovo-xcc").await;
        session.double.arm(partial("bmc-backup", says)).unwrap();
        let before = session.double.version("bmc-backup");
        let image = bundle(&["bmc-backup", "bios"], "9.9").to_file();
        let answer = session.push(&image, &json!({})).await;
        let task = answer.headers()["location"].to_str().unwrap().to_owned();
        session.until(&task, |task| task["TaskState"] == "Pending").await;
        session.double.reset_host("ForceRestart").await;
        let ended = session.until(&task, |task| task["TaskState"] == state).await;
        assert_eq!(ended["TaskStatus"], status, "{says:?}");
        assert_eq!(session.double.version("bios").unwrap(), "9.9");
        assert_eq!(session.double.version("bmc-backup"), before);
        let text = ended["Messages"].to_string();
        assert_eq!(text.contains("Update.1.0.ApplyFailed") && text.contains("BMC-Backup"), told, "{text}");
        assert!(text.contains("Update.1.0.UpdateSuccessful") && text.contains("FirmwareInventory/UEFI"));
        let subs = ended["SubTasks"]["@odata.id"].as_str().unwrap();
        let (_, subs) = session.get(&format!("{subs}?$expand=.")).await.unwrap();
        let states: Vec<_> =
            subs["Members"].as_array().unwrap().iter().map(|one| &one["TaskState"]).collect();
        assert_eq!(states, [if told { "Exception" } else { "Completed" }, "Completed"]);
    }
}

/// RMC, BMC, BIOS and FPGA come in one bundle.
#[tokio::test]
async fn a_superdome_flex_bundle_updates_what_it_can() {
    let session = Session::of("superdome-flex").await;
    let image = bundle(&["bmc", "node-bmc", "bios", "fpga"], "3.50").to_file();
    let (url, pem) = tls_file_server(image, "127.0.0.1", "127.0.0.1", "sd.tars").await;
    let short = Settings { trust: pem, flash_ms: 50, bmc_reset_ms: 100, post_ms: 10, ..Settings::default() };
    session.double.set(short);
    session.double.arm(partial("node-bmc", Says::Exception)).unwrap();
    let action = "/redfish/v1/UpdateService/Actions/SDFlexUpdateService.UpdateAll";
    let answer = session.post(action, &json!({"ImageURI": url})).await;
    let task = answer.headers()["location"].to_str().unwrap().to_owned();
    session.installed("bmc", "3.50").await;
    let mut session = session;
    session.until("/redfish/v1/", |root| root["Id"] == "RootService").await;
    session.log_in().await;
    let ended = session.until(&task, |task| task["TaskState"] == "Completed").await;
    assert_eq!(ended["TaskStatus"], "Warning");
    assert!(ended["Messages"].to_string().contains("r001u01b"), "{ended}");
    session.double.reset_host("ForceRestart").await;
    let versions = ["bmc", "bios", "fpga", "node-bmc"].map(|device| session.double.version(device).unwrap());
    assert_eq!(versions, ["3.50", "3.50", "3.50", "3.40.146"]);
}

/// A component of HPE's names its targets by numbers, and a task of the queue may choose among them.
#[tokio::test]
async fn a_task_of_an_ilo_6_chooses_targets_of_a_component() {
    const CPLD: &str = "00000000-0000-0000-0000-000000040009";
    let session = Session::of("ilo6").await;
    session.store("both.fwpkg", bundle(&["bios", "cpld"], "9.9")).await;
    let (_, repository) =
        session.get("/redfish/v1/UpdateService/ComponentRepository/?$expand=.").await.unwrap();
    assert_eq!(repository["Members"][0]["Targets"], json!(["00000000-0000-0000-0000-000000000204", CPLD]));
    let queue = "/redfish/v1/UpdateService/UpdateTaskQueue/";
    let task = |name: &str, targets: Value| json!({"Name": name, "Command": "ApplyUpdate", "Filename": "both.fwpkg", "Targets": targets});
    assert_eq!(session.post(queue, &task("bad", json!(["nothing"]))).await.status(), 400);
    assert_eq!(session.post(queue, &task("one", json!([CPLD]))).await.status(), 201);
    let all = format!("{queue}?$expand=.");
    session.until(&all, |queue| queue["Members"][0]["State"] == "Complete").await;
    session.double.reset_host("ForceRestart").await;
    assert_eq!(session.double.version("cpld").unwrap(), "9.9");
    assert_ne!(session.double.version("bios").unwrap(), "9.9", "it was not meant");

    session.double.arm(partial("cpld", Says::Exception)).unwrap();
    assert_eq!(session.post(queue, &task("two", json!([]))).await.status(), 201);
    let queue = session.until(&all, |queue| queue["Members"][1]["State"] == "Exception").await;
    assert!(queue["Members"][1]["Result"]["MessageId"].as_str().is_some_and(|id| !id.is_empty()), "{queue}");
    session.double.reset_host("ForceRestart").await;
    assert_eq!(session.double.version("bios").unwrap(), "9.9", "the other part is written");
}
