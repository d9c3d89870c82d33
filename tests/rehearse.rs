//! The output of `farrier rehearse` for a small fleet in a file.
//!
//! `UPDATE_EXPECT=1` rewrites the expected output; review the difference before committing it.

#![expect(clippy::unwrap_used, reason = "tests and what they share: a panic is how a test fails")]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

const SITE: &str = "tests/rehearse/site.yaml";

/// Returns the exit code, the output and the errors of a rehearsal.
fn rehearse(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farrier"));
    command.args(["rehearse", "r12-spring"]).args(arguments);
    for name in ["KUBECONFIG", "RUST_LOG"] {
        command.env_remove(name);
    }
    let command = command.current_dir(env!("CARGO_MANIFEST_DIR")).env("HOME", "/nonexistent");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(arguments: &[&str]) -> (i32, Value) {
    let (code, text, _) = rehearse(&[arguments, &["-f", SITE, "-o", "json"]].concat());
    (code, serde_json::from_str(&text).unwrap())
}

/// Compares with a committed file; `UPDATE_EXPECT=1` writes it.
fn expect(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == text,
        "{path} is out of date; run: UPDATE_EXPECT=1 cargo test --test rehearse\n{text}"
    );
}

/// A run that goes through is what a user wants to see before it is begun.
#[test]
fn a_run_that_goes_through() {
    let (code, text, errors) = rehearse(&["-f", SITE]);
    assert_eq!((code, errors.as_str()), (0, ""));
    expect("tests/rehearse/through.txt", &text);
}

/// The budget that stops the run, when, and what is left, is named on both outputs; a script sees the exit code.
#[test]
fn a_run_that_would_be_stopped() {
    let (code, text, errors) = rehearse(&["-f", SITE, "--failure-rate", "10%", "--unreachable-rate", "1%"]);
    assert_eq!(code, 1);
    let stopped = text.lines().find_map(|line| line.strip_prefix("stopped: ")).unwrap();
    assert!(
        stopped.contains("tolerates 1: ") && stopped.ends_with(" machines would not be begun"),
        "{stopped}"
    );
    assert_eq!(errors, format!("error: UpdateRun r12-spring would be stopped: {stopped}\n"));
    expect("tests/rehearse/stopped.txt", &text);
}

/// Who may be out of service when is what the owners of machines ask.
#[test]
fn each_machine_has_its_time() {
    let (code, text, _) = rehearse(&["-f", SITE, "-o", "wide", "--no-approvals"]);
    let machines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("NODE ")).collect();
    assert_eq!((code, machines.len()), (1, 23), "{text}");
    let words = |line: &&str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let canary = ["db-05", "canary", "+0s", "+15m", "assumed", "no", "if", "disrupted:", "Node", "db-05"];
    assert_eq!(words(&machines[1]), [&canary[..], &["not", "planned"]].concat());
    let first = ["db-01", "first", "+25m", "+50m", "known", "no", "no", "not", "planned"];
    assert_eq!(words(&machines[2]), first);
    assert_eq!(words(&machines[6])[1..4], ["rest", "never", "never"], "nobody approves it");
}

/// The relations and labels of the objects reach the rehearsal: the module waits for its enclosure, the machine on
/// hold is left out, and the canary is one of those that the selector selects.
#[test]
fn stages_relations_and_durations_are_those_of_the_objects() {
    let (code, seen) = json(&["--duration", "1h"]);
    assert_eq!(
        (code, &seen["goesThrough"], &seen["reason"]),
        (0, &Value::Bool(true), &"AllSucceeded".into())
    );
    assert_eq!((&seen["nodes"], &seen["durationKnown"]), (&22.into(), &7.into()));
    let stages: Vec<(&str, i64)> = seen["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["name"].as_str().unwrap(), s["nodes"].as_i64().unwrap()))
        .collect();
    assert_eq!(stages, [("canary", 1), ("first", 4), ("rest", 17)]);
    let canary = &seen["stages"][0];
    assert_eq!(
        (&canary["begins"], &canary["ends"]),
        (&0.into(), &3600.into()),
        "db-05 has no recorded update"
    );
    assert_eq!(seen["stages"][1]["begins"], 3600 + 600);
    assert_eq!(seen["approvalsAssumed"], serde_json::json!(["rest"]));
    let drains = ["drained", "drainedBy"].map(|key| &seen["machines"][0][key]);
    assert_eq!(drains, [&Value::from("unknown"), &"Node db-05".into()]);
}

/// A stage that nobody approves is no success, and neither is a run that cannot begin.
#[test]
fn what_never_ends_is_no_success() {
    let (code, seen) = json(&["--no-approvals"]);
    assert_eq!(
        (code, &seen["reason"], &seen["hasEnded"]),
        (1, &"ApprovalNeeded".into(), &Value::Bool(false))
    );
    assert_eq!((&seen["begun"], &seen["stages"][2]["notBegun"]), (&5.into(), &17.into()));
}

#[test]
fn wrong_input_is_refused() {
    for (arguments, said) in [
        (vec!["-f", SITE, "--failure-rate", "0.05%"], "is no percentage"),
        (vec!["-f", SITE, "--failure-rate", "60%", "--unreachable-rate", "50%"], "more than 100 % together"),
        (vec!["-f", SITE, "--duration", "soon"], "is no duration"),
        (vec!["-f", SITE, "-n", "other"], "there is no ManagedNode in"),
        (vec!["-f", "examples/none.yaml"], "failed to read examples/none.yaml"),
    ] {
        let (code, text, errors) = rehearse(&arguments);
        assert!(code != 0 && text.is_empty() && errors.contains(said), "{arguments:?}: {errors}");
    }
}
