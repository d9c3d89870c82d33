//! HPE's repository, queue and install sets, and what waits for one reset together.

use farrier_bmc_double::image::Header;
use serde_json::{Value, json};

use crate::session::Session;

/// What the queue cannot do now holds up all that stands behind it.
#[tokio::test]
async fn an_ilo_queue_is_worked_off_in_order_by_whom_it_names() {
    let session = Session::of("ilo5").await;
    for (file, device) in [("nic.fwpkg", "nic"), ("rom.bin", "bios")] {
        session.store(file, Header::new(device, "2.0")).await;
    }
    let queue = "/redfish/v1/UpdateService/UpdateTaskQueue/";
    for (name, file, agent) in [("first", "nic.fwpkg", "Uefi"), ("second", "rom.bin", "Bmc")] {
        let body = json!({"Name": name, "Command": "ApplyUpdate", "Filename": file, "UpdatableBy": [agent]});
        assert_eq!(session.post(queue, &body).await.status(), 201);
    }
    assert_eq!(session.count("flash"), 0, "the first waits for the host");
    session.double.reset_host("ForceRestart").await;
    session.installed("nic", "2.0").await;
    let done = |queue: &Value| {
        let states: Vec<_> = queue["Members"].as_array().unwrap().iter().map(|one| &one["State"]).collect();
        states == ["Complete", "Complete"]
    };
    session.until(&format!("{queue}?$expand=."), done).await;
    assert_ne!(session.double.version("bios").unwrap(), "2.0", "the ROM waits for one more start");
    session.double.reset_host("ForceRestart").await;
    assert_eq!(session.double.version("bios").unwrap(), "2.0");
}

/// A driver that leaves its set behind fills the iLO; one that invokes it twice must be told.
#[tokio::test]
async fn an_install_set_is_made_invoked_and_deleted_as_the_manual_says() {
    const SETS: &str = "/redfish/v1/UpdateService/InstallSets/";
    const QUEUE: &str = "/redfish/v1/UpdateService/UpdateTaskQueue/";
    let session = Session::of("ilo5").await;
    session.store("rom.bin", Header::new("bios", "2.0")).await;
    session.store("nic.fwpkg", Header::new("nic", "2.0")).await;
    let repository = "/redfish/v1/UpdateService/ComponentRepository/?$expand=.";
    let (_, components) = session.get(repository).await.unwrap();
    let nic = components["Members"][1]["@odata.id"].clone();
    let step = |name: &str, agent: &str, component: Value| json!({"Name": name, "Command": "ApplyUpdate", "UpdatableBy": [agent], "Component": component});
    let twice = json!({"Name": "set", "Sequence": [step("a", "Bmc", json!("rom.bin")), step("a", "Uefi", json!("rom.bin"))]});
    assert_eq!(session.post(SETS, &twice).await.status(), 400, "names of steps are unique");
    let set = json!({"Name": "farrier", "Sequence": [
        step("rom", "Bmc", json!("rom.bin")), step("nic", "Uefi", json!({"@odata.id": nic})),
    ]});
    let answer = session.post(SETS, &set).await;
    assert_eq!(answer.status(), 201);
    let location = answer.headers()["location"].to_str().unwrap();
    let member = location[location.find("/redfish").unwrap()..].trim_end_matches('/').to_owned();
    assert_eq!(session.post(SETS, &set).await.status(), 400, "names of sets are unique");
    let (_, components) = session.get(repository).await.unwrap();
    assert_eq!([&components["Members"][0]["Locked"], &components["Members"][1]["Locked"]], [true, true]);

    let (_, one) = session.get(&member).await.unwrap();
    let invoke = one["Actions"]["#HpeComponentInstallSet.Invoke"]["target"].as_str().unwrap();
    let started = session.post(invoke, &json!({"ClearTaskQueue": true})).await;
    assert!(started.status().is_success());
    assert_eq!(session.post(invoke, &json!({})).await.status(), 400, "its tasks are there already");
    let all = format!("{QUEUE}?$expand=.");
    let waits = session.until(&all, |queue| queue["Members"][0]["State"] == "Complete").await;
    assert_eq!(waits["Members"][1]["State"], "Pending", "{waits}");
    session.double.reset_host("ForceRestart").await;
    let versions = ["bios", "nic"].map(|device| session.double.version(device).unwrap());
    assert_eq!(versions, ["2.0", "2.0"], "one reset is enough for both");
    let gone = session.with_login(session.client.delete(session.url(&member))).send().await.unwrap();
    assert!(gone.status().is_success());
    assert_eq!(session.get(&member).await.unwrap().0, 404);
    assert_eq!(session.double.state()["install-sets"], json!([]));
}

/// Images for `OnReset` are visible while they wait, and one reset of the host is enough for all.
#[tokio::test]
async fn several_images_wait_for_one_reset_and_are_written_in_it() {
    for (variant, devices, waiting) in [
        ("idrac9", ["bios", "nic"], "Starting"),
        ("lenovo-xcc", ["bios", "bmc-backup"], "Pending"),
        ("openbmc", ["bios", "bmc"], "Stopping"),
    ] {
        let session = Session::of(variant).await;
        let mut tasks = vec![];
        for device in devices {
            let image = Header::new(device, "9.9").to_file();
            let answer = session.push(&image, &json!({"@Redfish.OperationApplyTime": "OnReset"})).await;
            assert_eq!(answer.status(), 202, "{variant} {device}");
            let task: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            let task = task["@odata.id"].as_str().unwrap().to_owned();
            let waits = |task: &Value| [waiting, "Completed"].iter().any(|state| task["TaskState"] == *state);
            session.until(&task, waits).await;
            tasks.push(task);
        }
        let first = session.until(&tasks[0], |task| task["TaskState"] == waiting).await;
        if variant == "idrac9" {
            assert_eq!(first["Oem"]["Dell"]["JobState"], "Scheduled");
            let (_, job) =
                session.get(&tasks[1].replace("TaskService/Tasks", "JobService/Jobs")).await.unwrap();
            assert_eq!(job["JobState"], "Pending");
        }
        assert_ne!(session.double.version(devices[0]).unwrap(), "9.9");
        session.double.reset_host("GracefulRestart").await;
        session.until(&tasks[0], |task| task["TaskState"] == "Completed").await;
        assert_eq!(session.double.version(devices[0]).unwrap(), "9.9");
        assert_eq!(session.double.version(devices[1]).unwrap() == "9.9", variant != "openbmc", "{variant}");
        assert_eq!(session.count("host-reset"), 1);
        if variant == "openbmc" {
            session.double.reset_bmc().await;
            assert_eq!(session.double.version("bmc").unwrap(), "9.9", "a BMC waits for its own reset");
        }
    }
}
