//! The driver of devices with a command line against the switches of fake-switches, which nobody here has written: real
//! sessions over SSH, with product files of a user as the operator reads them (`--console-dir`).
//!
//! `hack/test fake-switches` brings the package and sets `FARRIER_FAKE_SWITCHES`, the Python that has it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests and what they share: a panic is how a test fails"
)]

#[path = "../conformance/order.rs"]
mod order;
mod switch;

use farrier_update::Reason;
use std::path::Path;
use switch::{Model, Switches};

/// The product files of this folder, which are examples for users.
const PRODUCTS: &str = "tests/fake_switches/products";

/// The passwords of the switches: to sign in, and for `enable`. Commands must not have such characters.
const PASSWORD: &str = "first, to sign in";
const ENABLE: &str = "second; for #enable";

/// A device for which a user has written a file would not be worked at all, or be shown with wrong versions.
#[tokio::test]
async fn switches_are_read_by_files_of_a_user() {
    let switches = Switches::start();
    let secret = [("password", PASSWORD), ("enable-password", ENABLE)];
    let versions = async |model| switches.inventory(model, Path::new(PRODUCTS), &secret).await.versions();
    assert_eq!(
        versions(Model::Cisco).await,
        [("Boot loader", "12.2(44)SE5"), ("IOS", "12.2(58)SE2")].map(owned)
    );
    let of_stack = [
        ("Second image of unit 1", "3.3.7.3"),
        ("Second image of unit 2", "3.3.13.1"),
        ("Unit 1", "3.3.7.3"),
        ("Unit 2", "3.3.7.3"),
    ];
    assert_eq!(versions(Model::Dell).await, of_stack.map(owned));
}

/// A version would be missing that is on a later page, or one be read from the words of the pager.
#[tokio::test]
async fn an_answer_of_several_pages_is_read_whole() {
    let switches = Switches::start();
    // The list of ports has pages, that of versions has not.
    let products = switch::changed(Model::Dell, |text| {
        text.replace("command: show version", "command: show interfaces status")
            .replace(r"^ +(?P<name>\d+) +(?P<version>\d\S+) +\S+ +image1 +image\d$", PORT)
    });
    let secret = [("password", PASSWORD), ("enable-password", ENABLE)];
    let shown = switches.inventory(Model::Dell, products.path(), &secret).await.versions();
    let mut ports: Vec<_> = [1, 2]
        .into_iter()
        .flat_map(|unit| (1..=24).map(move |number| (format!("Unit {unit}/g{number}"), "Down".to_owned())))
        .collect();
    ports.sort();
    assert_eq!(shown, ports);
}

/// A line of the list of ports.
const PORT: &str = r"^(?P<name>\d/g\d+) +Gigabit - Level +Full +Unknown +Auto (?P<version>\S+) +Inactive$";

/// The user would look for the cause in the network, or for the wrong password.
#[tokio::test]
async fn a_wrong_password_is_named() {
    let switches = Switches::start();
    let failed = async |model, secret: &[(&str, &str)]| {
        switches.inventory(model, Path::new(PRODUCTS), secret).await.failure()
    };
    for (model, refused) in [(Model::Cisco, "% Access denied"), (Model::Dell, "Incorrect Password!")] {
        let (reason, message) = failed(model, &[("password", "wrong"), ("enable-password", ENABLE)]).await;
        assert_eq!(reason, Reason::PasswordRejected, "{message}");
        for words in [model.node(), "secret login"] {
            assert!(message.contains(words), "{words}: {message}");
        }
        // Without a second password it is the first one.
        for secret in [&[("password", PASSWORD), ("enable-password", "wrong")][..], &[("password", PASSWORD)]]
        {
            let (reason, message) = failed(model, secret).await;
            assert_eq!(reason, Reason::AuthenticationFailed, "{message}");
            for words in ["refused `enable`", refused, "check the account and its passwords in the Secret"] {
                assert!(message.contains(words), "{words}: {message}");
            }
            assert!(!message.contains(PASSWORD), "{message}");
        }
    }
}

/// The author of a product file would not see what the device says to a command that it does not have.
#[tokio::test]
async fn an_unknown_command_is_shown_with_the_words_of_the_switch() {
    let switches = Switches::start();
    let secret = [("password", PASSWORD), ("enable-password", ENABLE)];
    for (model, reason, words) in [
        // The file has no word for it.
        (Model::Cisco, Reason::DeviceAnswerInvalid, "its last lines: No such command : display versions"),
        (Model::Dell, Reason::DeviceRefused, "% Invalid input detected at '^' marker."),
    ] {
        let products =
            switch::changed(model, |text| text.replace("command: show version", "command: display versions"));
        let (found, message) = switches.inventory(model, products.path(), &secret).await.failure();
        assert_eq!(found, reason, "{message}");
        for words in [words, "`display versions`"] {
            assert!(message.contains(words), "{words}: {message}");
        }
    }
}

/// A device that asks for something that the file does not have would get an answer that nobody has given.
#[tokio::test]
async fn a_question_that_is_not_in_the_file_is_not_answered() {
    let switches = Switches::start();
    let secret = [("password", PASSWORD), ("enable-password", ENABLE)];
    let products = switch::changed(Model::Cisco, |text| {
        text.replace("quiet: 10s", "quiet: 1s").replace("ask: 'Password:'", "ask: 'Enable secret:'")
    });
    let (reason, message) = switches.inventory(Model::Cisco, products.path(), &secret).await.failure();
    assert_eq!(reason, Reason::PromptUnknown, "{message}");
    assert!(message.contains("shows `Password:`"), "{message}");
}

fn owned((entry, version): (&str, &str)) -> (String, String) {
    (entry.to_owned(), version.to_owned())
}
