//! Each product takes an image that it fetches itself, is away, and shows the new version.

use farrier_console_double::image::Header;
use farrier_console_double::{Config, Product};

use crate::person::{Person, until};
use crate::{image, shelf, start};

/// The words before and after the URL, the questions with their answers, the parts that get the image.
type Way<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

fn way(product: &str) -> (&'static str, Way<'static>) {
    match product {
        "oa" => ("> ", ("UPDATE IMAGE ", "", &[("(YES/NO) ", "yes")], &["oa-1", "oa-2"])),
        "moonshot" => ("-> ", ("update firmware cm ", "", &[("(y/n)? ", "y")], &["cm"])),
        "superdome-x" | "superdome-2" => {
            ("> ", ("UPDATE FIRMWARE ", " REINSTALL", &[("(YES/NO) ", "yes")], &["complex"]))
        }
        "vc" => ("->", ("update firmware url=", "", &[("(yes, no): ", "yes")], &["enc0:1", "enc0:2"])),
        "sas-switch" => ("# ", ("firmware update ", "", &[("[y/N] ", "y")], &["sas-switch"])),
        other => panic!("no way for {other}"),
    }
}

/// A double whose version does not change makes every update a failure; one that does not go away hides
/// drivers that cannot come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_product_fetches_its_image_and_runs_it_after_a_restart() {
    for product in ["oa", "moonshot", "superdome-x", "superdome-2", "vc", "sas-switch"] {
        let double = start(product, |_| ()).await;
        let server = shelf::http(image(product)).await;
        let (prompt, (before, after, questions, parts)) = way(product);
        let mut person = Person::at(&double).await;
        if product == "sas-switch" {
            person.dialogue(&[("> ", "configure")]).await;
        }
        person.dialogue(&[(prompt, &format!("{before}http://{server}/fw.bin{after}"))]).await;
        person.dialogue(questions).await;
        person.wait("100%").await;
        let last = person.end().await;
        assert!(!last.is_empty(), "{product} says goodbye");
        until(&double, product, |double| double.state()["update"]["phase"] == "done").await;
        for part in parts {
            assert_eq!(double.version(part).as_deref(), Some("9.9"), "{product} {part}");
        }
        let mut person = Person::at(&double).await;
        person.wait(if product == "sas-switch" { "> " } else { prompt }).await;
    }
}

/// Two partitions: the new version runs before the other partition has it.
#[tokio::test(flavor = "multi_thread")]
async fn fabric_os_has_the_image_in_one_partition_first() {
    let server = shelf::ftp(Header::new("fos", "v8.2.3c").to_file()).await;
    let double = start("fos", |config| {
        config.settings.ports.insert("ftp".to_owned(), server.port());
        config.settings.commit_ms = 600_000;
    })
    .await;
    let mut person = Person::at(&double).await;
    let command = "firmwaredownload -p ftp 127.0.0.1,fw,/v8.2.3c,s3cret";
    person.dialogue(&[("admin> ", command), ("(Y/N) [Y]: ", "y")]).await;
    person.wait("HA Rebooting").await;
    person.end().await;
    until(&double, "up", |double| double.state()["update"]["phase"] == "committing").await;
    let mut person = Person::at(&double).await;
    person.dialogue(&[("admin> ", "firmwareshow")]).await;
    let shown = person.wait("admin> ").await;
    assert!(shown.contains("FOS      v8.2.3c\r\n         v8.2.1c\r\n"), "{shown}");
    double.set(farrier_console_double::Settings { commit_ms: 0, ..double.settings() });
    until(&double, "done", |double| double.state()["update"]["phase"] == "done").await;
    person.say("firmwareshow\r").await;
    let shown = person.wait("admin> ").await;
    assert!(shown.contains("FOS      v8.2.3c\r\n         v8.2.3c\r\n"), "{shown}");
}

/// `-s` without `-b` leaves the restart to the administrator.
#[tokio::test(flavor = "multi_thread")]
async fn fabric_os_waits_for_a_restart_in_single_mode() {
    let server = shelf::ftp(Header::new("fos", "v8.2.3c").to_file()).await;
    let double = start("fos", |config| {
        config.settings.ports.insert("ftp".to_owned(), server.port());
    })
    .await;
    let mut person = Person::at(&double).await;
    let command = "firmwaredownload -s -p ftp 127.0.0.1,fw,/v8.2.3c,s3cret";
    person.dialogue(&[("admin> ", command), ("(Y/N) [Y]: ", "")]).await;
    person.wait("admin> ").await;
    assert_eq!(double.version("fos").as_deref(), Some("v8.2.1c"));
    person.say("reboot\r").await;
    person.dialogue(&[("[y/n]? ", "y")]).await;
    person.end().await;
    until(&double, "new", |double| double.version("fos").as_deref() == Some("v8.2.3c")).await;
}

/// From version 9 on nothing is installed before somebody has accepted the terms, and nobody but the user may.
#[tokio::test(flavor = "multi_thread")]
async fn fabric_os_9_asks_for_the_terms_of_use() {
    let server = shelf::ftp(Header::new("fos", "v9.1.1").to_file()).await;
    let double = start("fos", |config| {
        config.settings.ports.insert("ftp".to_owned(), server.port());
    })
    .await;
    let mut person = Person::at(&double).await;
    let command = "firmwaredownload -p ftp 127.0.0.1,fw,/v9.1.1,s3cret";
    person.dialogue(&[("admin> ", command), ("to stop: ", ""), ("(EULA)? (Y/N) [N]: ", "")]).await;
    person.wait("aborted").await;
    person.wait("admin> ").await;
    assert_eq!(double.version("fos").as_deref(), Some("v8.2.1c"));
}

/// The modules of an enclosure are reached through it, with a second account, and the line outlives their restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_updated_on_the_line_of_its_enclosure() {
    let double = start("oa", |config| {
        let mut module = Config::new(Product::named("vc").unwrap());
        (module.user, module.password) = ("vcadmin".to_owned(), "vcsecret".to_owned());
        module.settings = config.settings.clone();
        config.interconnects.push((1, module));
    })
    .await;
    let server = shelf::http(image("vc")).await;
    let mut person = Person::at(&double).await;
    let update = format!("update firmware url=http://{server}/vc.bin");
    let steps = [
        ("> ", "CONNECT INTERCONNECT 1"),
        ("console:", ""),
        ("vc login: ", "admin"),
        ("Password: ", "password"),
        ("incorrect\r\n\r\nvc login: ", "vcadmin"),
        ("Password: ", "vcsecret"),
        ("->", &update),
        ("(yes, no): ", "yes"),
        ("vc login: ", "vcadmin"),
        ("Password: ", "vcsecret"),
        ("->", "show firmware"),
    ];
    person.dialogue(&steps).await;
    person.wait("enc0:1    HP VC Flex-10/10D Module        9.9 ").await;
    person.say("\u{1f}").await;
    person.dialogue(&[("command mode > ", "d"), ("> ", "SHOW INTERCONNECT LIST")]).await;
    person.wait("Ethernet").await;
    assert_eq!(double.interconnect(1).unwrap().version("enc0:2").as_deref(), Some("9.9"));
}

/// An image that waits for its restart can still be taken back.
#[tokio::test(flavor = "multi_thread")]
async fn fabric_os_forgets_an_image_that_waits() {
    let server = shelf::ftp(Header::new("fos", "v8.2.3c").to_file()).await;
    let double = start("fos", |config| {
        config.settings.ports.insert("ftp".to_owned(), server.port());
    })
    .await;
    let mut person = Person::at(&double).await;
    let command = "firmwaredownload -s -p ftp 127.0.0.1,fw,/v8.2.3c,s3cret";
    person.dialogue(&[("admin> ", command), ("(Y/N) [Y]: ", "")]).await;
    person.dialogue(&[("admin> ", "firmwarerestore"), ("admin> ", "reboot"), ("[y/n]? ", "y")]).await;
    person.end().await;
    until(&double, "up", |double| double.state()["up"] == true && double.state()["pending"] == false).await;
    assert_eq!(double.version("fos").as_deref(), Some("v8.2.1c"));
}

/// One side of a pair is away while it starts its firmware, and the other must not be touched then.
#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_connect_module_loses_its_links_while_it_restarts() {
    let double = start("vc", |config| config.settings.reboot_ms = 600_000).await;
    let server = shelf::http(image("vc")).await;
    let mut person = Person::at(&double).await;
    let update = format!("update firmware url=http://{server}/vc.bin module=enc0:2");
    person.dialogue(&[("->", &update), ("(yes, no): ", "yes"), ("SUCCESS", "")]).await;
    until(&double, "away", |double| double.state()["update"]["phase"] == "restarting").await;
    person.dialogue(&[("->", "show interconnect")]).await;
    let shown = person.wait("Not connected").await;
    assert!(shown.contains("Primary  OK       Connected"), "{shown}");
    person.dialogue(&[("->", &update)]).await;
    person.wait("already in progress").await;
    assert_eq!(double.version("enc0:1").as_deref(), Some("4.45"));
}
