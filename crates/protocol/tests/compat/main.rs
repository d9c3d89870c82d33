//! An operator and an engine of neighbouring versions understand each other, in both directions.
//!
//! Every message of this version is read with the types of the previous one, and every message of that
//! one with ours. What both know must arrive as it was sent; what only one of them knows must do no
//! harm.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod previous;
mod samples;

use farrier_protocol as current;
use samples::{ENGINE_SAYS, OPERATOR_SAYS};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads JSON with one version's type, and says what that version understood.
fn understood<T: Serialize + DeserializeOwned>(json: &Value) -> Result<Value, String> {
    let read: T = serde_json::from_value(json.clone()).map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(read).unwrap())
}

/// Whether all of `part` stands in `whole` as well. Fields may be added, elements of lists may not.
fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|other| is_part(value, other)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| is_part(part, whole))
        }
        (part, whole) => part == whole || (part == "unknown" && NEW_WORDS.iter().any(|new| whole == new)),
    }
}

/// Kinds inside of messages that came with this version. The previous one reads them as unknown.
const NEW_WORDS: [&str; 3] = ["bootFile", "firewall", "hold"];

/// A message by its name, read with the types of a version.
fn read_by(version: &str, name: &str, json: &Value) -> Result<Value, String> {
    macro_rules! table {
        ($($kind:ident),*) => {
            match (version, name) {
                $(("previous", stringify!($kind)) => understood::<previous::$kind>(json),)*
                $(("current", stringify!($kind)) => understood::<current::$kind>(json),)*
                _ => panic!("no message {name}"),
            }
        };
    }
    table!(Hello, Welcome, Next, Task, Event, Ack, LaunchReport, Dial, CallbackConfig)
}

/// An operator that was rolled back, or an engine that is older than its operator, takes a message for
/// broken: the stream ends, again and again, and the machine's update with it.
#[test]
fn what_this_version_says_is_understood_by_the_previous_one() {
    for (name, json) in ENGINE_SAYS.iter().chain(OPERATOR_SAYS) {
        let json: Value = serde_json::from_str(json).unwrap();
        let sent = read_by("current", name, &json).unwrap();
        assert_eq!(sent, json, "the sample is not as this version writes it");
        match read_by("previous", name, &sent) {
            Ok(read) if is_unknown(&read) => assert!(is_new(&json), "{name} is not known any more: {json}"),
            Ok(read) => assert!(is_part(&read, &sent), "{name}: {json} was read as {read}"),
            Err(error) => assert!(samples::only_for_own_engines(&json), "{name}: {error}: {json}"),
        }
    }
}

/// The same the other way around: an operator that was upgraded meets the engines that it had brought
/// before, and their journals.
#[test]
fn what_the_previous_version_says_is_understood_by_this_one() {
    for (name, json) in ENGINE_SAYS.iter().chain(OPERATOR_SAYS) {
        let json: Value = serde_json::from_str(json).unwrap();
        // What of this is known to the previous version, as it writes it.
        let Ok(sent) = read_by("previous", name, &json) else { continue };
        if is_unknown(&sent) {
            continue;
        }
        let read = read_by("current", name, &sent).unwrap();
        assert!(is_part(&sent, &read), "{name}: {sent} was read as {read}");
    }
}

/// Samples that leave a kind out prove nothing about it.
#[test]
fn there_is_a_sample_of_every_kind() {
    samples::are_complete();
}

/// A journal that an engine of the previous version wrote, on a machine.
#[test]
fn a_journal_of_the_previous_version_is_understood() {
    let lines = include_str!("journal-of-the-previous-version.jsonl").lines();
    for line in lines.clone() {
        let event: current::Event = serde_json::from_str(line).unwrap();
        assert_ne!(event.body, current::EventBody::Unknown, "{line}");
        let json: Value = serde_json::from_str(line).unwrap();
        assert!(is_part(&json, &serde_json::to_value(event).unwrap()), "{line}");
    }
    assert!(lines.count() > 5);
}

/// What neither side knows yet.
#[test]
fn kinds_of_a_later_version_are_read_as_unknown() {
    let later = r#"{"seq": 1, "at": 2, "colour": 3, "body": {"kind": "painted", "colour": {"r": 1}}}"#;
    let event: current::Event = serde_json::from_str(later).unwrap();
    assert_eq!(event.body, current::EventBody::Unknown);
    assert_eq!(
        parsed::<current::StepExit>(r#"{"how": "evaporated", "after": 3}"#),
        current::StepExit::Unknown
    );
    assert_eq!(parsed::<current::Reading>(r#"{"state": "both", "versions": []}"#), current::Reading::Unknown);
    assert_eq!(parsed::<current::NoReboot>(r#"{"cause": "moon"}"#), current::NoReboot::Unknown);
    assert_eq!(parsed::<current::WaitFor>(r#"{"kind": "moon"}"#), current::WaitFor::Unknown);
    assert_eq!(parsed::<current::FailureCode>(r#""Flood""#), current::FailureCode::Other);
    assert_eq!(parsed::<current::LaunchError>(r#""Flood""#), current::LaunchError::Other);
    assert_eq!(parsed::<current::DialOutcome>(r#""flooded""#), current::DialOutcome::Failed);
    assert_eq!(parsed::<current::Simulation>(r#"{"result": "perhaps"}"#), current::Simulation::Unknown);
    assert_eq!(parsed::<current::ChangeKind>(r#""melt""#), current::ChangeKind::Other);
    assert_eq!(parsed::<current::LeaseKind>(r#""firewallRule""#), current::LeaseKind::Unknown);
}

fn parsed<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

/// The newest version that both speak is spoken, if there is one.
#[test]
fn versions_are_agreed_on() {
    let (oldest, newest) = (current::OLDEST_VERSION, current::VERSION);
    assert_eq!(current::common_version((oldest, newest)), Some(newest));
    assert_eq!(current::common_version((newest, newest + 1)), Some(newest), "a newer engine");
    assert_eq!(current::common_version((newest + 1, newest + 2)), None, "one that is too new");
    assert_eq!(current::common_version((0, oldest - 1)), None, "one that is too old");
    assert!(newest - oldest <= 1, "no more than one minor version is promised");
}

/// An event of a kind that its reader does not know.
fn is_unknown(event: &Value) -> bool {
    event.pointer("/body/kind").is_some_and(|kind| kind == "unknown")
}

/// Kinds that came with this version.
fn is_new(event: &Value) -> bool {
    let new = ["waiting", "rebootBegun", "rebootRequested", "rebooted", "notRebooted", "simulated"];
    event.pointer("/body/kind").is_some_and(|kind| new.iter().any(|new| kind == new))
}
