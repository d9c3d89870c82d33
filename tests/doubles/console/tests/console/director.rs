//! A director, whose two control processors take an image one after the other.

use farrier_console_double::Double;
use farrier_console_double::fault::{Armed, Fault};
use farrier_console_double::image::Header;

use crate::person::{Person, until};
use crate::{shelf, start};

const PROMPT: &str = "director:admin> ";

/// Begins an update up to the answer of its last question.
async fn update(double: &Double) -> Person {
    let mut person = Person::at(double).await;
    let command = "firmwaredownload -p ftp 127.0.0.1,fw,/v8.2.3c,s3cret";
    person.dialogue(&[(PROMPT, command), ("(Y/N) [Y]: ", "y")]).await;
    person
}

async fn director(change: impl FnOnce(&mut farrier_console_double::Config)) -> Double {
    let server = shelf::ftp(Header::new("fos", "v8.2.3c").to_file()).await;
    start("fos-director", |config| {
        config.settings.ports.insert("ftp".to_owned(), server.port());
        change(config);
    })
    .await
}

/// The standby has the version, and is in sync, before the active one fails over to it and ends all sessions.
#[tokio::test(flavor = "multi_thread")]
async fn the_standby_is_first_and_the_failover_ends_the_session() {
    let double = director(|_| ()).await;
    let said = update(&double).await.end().await;
    let steps = ["downloaded to standby CP", "going to reboot", "booted successfully", "failover succeeded"];
    let places: Vec<_> = steps.iter().map(|step| said.find(step)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{said}");
    until(&double, "done", |double| double.state()["update"]["phase"] == "done").await;
    let shown = Person::command(&double, "firmwareshow").await;
    let rows = "  6  CP0        FOS      v8.2.3c                                  STANDBY\n";
    assert!(shown.contains(rows) && shown.contains("ACTIVE *"), "{shown}");
    let told = Person::command(&double, "firmwaredownloadstatus").await;
    let (before, after) =
        ("Slot 6 (CP0, active): Standby CP booted", "Slot 7 (CP1, active): Standby CP booted");
    assert!(told.contains(before) && told.contains(after) && told.contains("completed successfully. Use"));
    let synchronized = Person::command(&double, "hashow").await;
    assert!(synchronized.contains("Local CP (Slot 7, CP1): Active, Warm Recovered"), "{synchronized}");
}

/// While the standby restarts, the director shows one control processor and is not redundant.
#[tokio::test(flavor = "multi_thread")]
async fn a_control_processor_that_restarts_does_not_show() {
    let double = director(|config| config.settings.reboot_ms = 20_000).await;
    let mut person = update(&double).await;
    person.wait("going to reboot").await;
    let alone = Person::command(&double, "hashow").await;
    assert!(alone.contains("Remote CP (Slot 7, CP1): Non-Redundant"), "{alone}");
    let shown = Person::command(&double, "firmwareshow").await;
    assert!(shown.contains("CP0") && !shown.contains("CP1"), "{shown}");
}

/// What fails on the standby leaves both as they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_refuses_ends_the_update() {
    let double = director(|_| ()).await;
    double.arm(Armed::times(Fault::StandbyRefuses, 1)).unwrap();
    update(&double).await.wait("has failed on standby CP").await;
    until(&double, "failed", |double| double.state()["update"]["phase"] == "failed").await;
    let versions = [double.version("cp0"), double.version("cp1")];
    assert_eq!(versions, [Some("v8.2.1c".to_owned()), Some("v8.2.1c".to_owned())]);
}

/// One that has no standby refuses; its administrator has to ask for each control processor by itself.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_standby_nothing_is_downloaded() {
    let double = director(|config| config.settings.standby = false).await;
    let mut person = Person::at(&double).await;
    person.dialogue(&[(PROMPT, "firmwaredownload -p ftp 127.0.0.1,fw,/v8.2.3c,s3cret")]).await;
    person.wait("system is non-redundant").await;
}
