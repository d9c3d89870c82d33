//! Lines that break, stay silent or have something in between; a device that is away.

use std::time::Duration;

use farrier_console_double::fault::{Armed, Fault};
use farrier_console_double::image::Header;

use crate::person::{Person, until};
use crate::{shelf, start};

/// A driver must wait for the port, and not believe that a closed one is a broken device.
#[tokio::test(flavor = "multi_thread")]
async fn the_port_is_closed_while_the_device_is_away() {
    let double = start("moonshot", |_| ()).await;
    double.arm(Armed::always(Fault::StaysDown)).unwrap();
    let mut person = Person::at(&double).await;
    person.wait("-> ").await;
    let restart = async { double.reboot().await };
    let look = async {
        person.end().await;
        until(&double, "down", |double| double.state()["up"] == false).await;
        let refused = tokio::net::TcpStream::connect(double.ssh()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        double.clear(Some("stays-down"));
    };
    tokio::join!(restart, look);
    Person::at(&double).await.wait("-> ").await;
}

/// Many devices vanish without a word: only a limit of time finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_line_is_not_closed() {
    let double = start("fos", |_| ()).await;
    double.arm(Armed::times(Fault::Silent, 1)).unwrap();
    let mut person = Person::at(&double).await;
    person.wait("admin> ").await;
    double.arm(Armed::always(Fault::DropSessions)).unwrap();
    let end = tokio::time::timeout(Duration::from_millis(500), person.end()).await;
    assert!(end.is_err(), "the line ended");
}

/// A closed line ends at once.
#[tokio::test(flavor = "multi_thread")]
async fn all_lines_can_be_cut() {
    let double = start("fos", |_| ()).await;
    let mut person = Person::at(&double).await;
    person.wait("admin> ").await;
    double.arm(Armed::always(Fault::DropSessions)).unwrap();
    person.end().await;
    Person::at(&double).await.wait("admin> ").await;
}

/// A message of the log before the prompt is no answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_the_log_comes_in_between() {
    let double = start("fos", |_| ()).await;
    let mut person = Person::at(&double).await;
    person.wait("admin> ").await;
    let text = "2026/11/30-10:00:00, [SULB-1001], 1, WARNING, switch, Firmwaredownload command has started.";
    double.arm(Armed::times(Fault::Noise { text: text.to_owned() }, 1)).unwrap();
    person.say("version\r").await;
    let shown = person.wait("admin> ").await;
    assert!(shown.contains("Fabric OS:  v8.2.1c\r\n") && shown.contains(text), "{shown}");
}

/// Without a terminal there is one command, no echo, no prompt and no pager.
#[tokio::test(flavor = "multi_thread")]
async fn one_command_goes_without_a_terminal() {
    let double = start("fos", |_| ()).await;
    let answer = Person::command(&double, "errshow").await;
    assert_eq!(answer.lines().count(), 59, "{answer}");
    assert!(answer.starts_with("1: [SEC-1203]"), "{answer}");
}

/// This one repeats the command even so, with one return too many.
#[tokio::test(flavor = "multi_thread")]
async fn moonshot_repeats_a_command_without_a_terminal() {
    let double = start("moonshot", |_| ()).await;
    let answer = Person::command(&double, "show node list").await;
    assert!(answer.starts_with("show node list\r\r\nSlot ID "), "{answer:?}");
    assert!(answer.contains(" 01  c1n1  "), "{answer:?}");
}

/// Who may not update is told so, and nothing is fetched.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_the_right_fetches_nothing() {
    for product in ["fos", "oa", "moonshot", "superdome-x", "vc"] {
        let double = start(product, |config| config.settings.role = "user".to_owned()).await;
        let server = shelf::http(Header::new(product, "9.9").to_file()).await;
        let command = match product {
            "fos" => "firmwaredownload -p scp 127.0.0.1,fw,/x,s3cret".to_owned(),
            "oa" => format!("UPDATE IMAGE http://{server}/x"),
            "moonshot" => format!("update firmware cm http://{server}/x"),
            "vc" => format!("update firmware url=http://{server}/x"),
            _ => format!("UPDATE FIRMWARE http://{server}/x"),
        };
        let answer = Person::command(&double, &command).await;
        assert!(answer.to_ascii_lowercase().contains("permission"), "{product}: {answer}");
        assert!(double.journal().iter().all(|entry| entry.kind != "fetch"), "{product}");
    }
}

/// Real switches take a folder; a server that has one file is not enough for them.
#[tokio::test(flavor = "multi_thread")]
async fn fabric_os_fetches_a_folder_if_it_is_told_so() {
    let server = shelf::ftp(Header::new("fos", "v8.2.3c").to_file()).await;
    let double = start("fos", |config| {
        config.settings.ports.insert("ftp".to_owned(), server.port());
        config.settings.tree = true;
    })
    .await;
    let command = "firmwaredownload -p ftp 127.0.0.1,fw,/v8.2.3c,s3cret";
    Person::command(&double, command).await;
    let journal = double.journal();
    let first = journal.iter().find(|entry| entry.kind == "fetch").unwrap();
    let url = first.detail.get("url").unwrap().as_str().unwrap();
    assert!(url.ends_with("/v8.2.3c/release.plist"), "{url}");
    assert_eq!(double.version("fos").as_deref(), Some("v8.2.1c"));
}
