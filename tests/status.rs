//! What `farrier status`, `farrier why` and `farrier nodes` show of objects that are in files, and how the program is called.
//!
//! `UPDATE_EXPECT=1` rewrites the expected output; review the difference before committing it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a panic is how a test fails"
)]

use farrier::api::{ManagedNode, NodeUpdate, UpdateRun};
use farrier::cmd::nodes::table::{self, Namespaces, Width};
use farrier::cmd::status::summary::{Prompt, State, Summary};
use farrier::cmd::status::text::{Look, changes, render};
use farrier::cmd::why;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

const PLAIN: Look = Look { wide: false, colours: false };

fn now() -> jiff::Timestamp {
    "2026-06-01T10:20:00Z".parse().unwrap()
}

fn prompt() -> Prompt {
    Prompt { program: "kubectl farrier".to_owned(), flags: "-n fleet".to_owned() }
}

/// Returns the objects of a file. A run is changed before it is read.
fn objects(name: &str, change: impl Fn(&mut Value)) -> (UpdateRun, Vec<NodeUpdate>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/status").join(name);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(file).unwrap()).unwrap();
    let (mut run, mut updates) = (None, Vec::new());
    for mut document in documents {
        match document["kind"].as_str().unwrap() {
            "UpdateRun" => {
                change(&mut document);
                run = Some(serde_json::from_value(document).unwrap());
            }
            "NodeUpdate" => updates.push(serde_json::from_value(document).unwrap()),
            other => panic!("{other}"),
        }
    }
    (run.unwrap(), updates)
}

fn summary(name: &str, change: impl Fn(&mut Value)) -> Summary {
    let (run, updates) = objects(name, change);
    Summary::new(&run, &updates, now(), &prompt())
}

/// Compares with a committed file; `UPDATE_EXPECT=1` writes it.
fn expect(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/status").join(path);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == text,
        "tests/status/{path} is out of date; run: UPDATE_EXPECT=1 cargo test --test status\n{text}"
    );
}

/// What a person reads while a run is under way: the texts are reviewed in the files.
#[test]
fn runs_are_shown_as_committed() {
    let rollout = summary("rollout.yaml", |_| ());
    expect("rollout.txt", &render(&rollout, now(), PLAIN));
    expect("rollout-wide.txt", &render(&rollout, now(), Look { wide: true, colours: false }));
    expect("rollout-lines.txt", &(changes(None, &rollout).join("\n") + "\n"));
    expect("rollout.json", &(serde_json::to_string_pretty(&rollout).unwrap() + "\n"));
    expect("failed.txt", &render(&summary("failed.yaml", |_| ()), now(), PLAIN));
}

/// Who is behind, who does not answer and who was never looked at must not look alike.
#[test]
fn machines_are_shown_as_committed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/status/fleet.yaml");
    let nodes: Vec<ManagedNode> =
        serde_saphyr::from_multiple(&std::fs::read_to_string(file).unwrap()).unwrap();
    let rows = table::rows(&nodes);
    expect("fleet.txt", &table::render(&rows, now(), Namespaces::Hidden, Width::Narrow));
    expect("fleet-wide.txt", &table::render(&rows, now(), Namespaces::Shown, Width::Wide));
    expect("fleet.json", &(serde_json::to_string_pretty(&rows).unwrap() + "\n"));
}

/// Who asks why nothing happens must be told what is waited for, and not only that something is.
#[test]
fn what_is_waited_for_is_said_as_committed() {
    let (run, updates) = objects("rollout.yaml", |_| ());
    let mut texts = vec![why::update_run(&run, &updates, now(), &prompt()).text()];
    let (ended, none) = objects("failed.yaml", |_| ());
    texts.push(why::update_run(&ended, &none, now(), &prompt()).text());
    let changed = |change: &dyn Fn(&mut Value)| {
        let (run, _) = objects("rollout.yaml", change);
        why::update_run(&run, &[], now(), &prompt()).text()
    };
    texts.push(changed(&|run| {
        run["metadata"]["creationTimestamp"] = json!("2026-06-01T10:18:00Z");
        run["status"] = Value::Null;
    }));
    texts.push(changed(&|run| {
        run["status"]["counts"]["inProgress"] = json!(0);
        run["status"]["stages"][1]["state"] = json!("Soaking");
        run["status"]["stages"][1]["until"] = json!("2026-06-01T11:20:00Z");
        run["status"]["stages"][2]["state"] = json!("Waiting");
        run["status"]["conditions"][0]["reason"] = json!("Soaking");
        run["status"]["conditions"][0]["message"] = json!("stage first soaks until 2026-06-01T11:20:00Z");
        run["status"]["waiting"] = json!([]);
    }));
    let documents = |name: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/status").join(name);
        std::fs::read_to_string(file).unwrap()
    };
    expect("why-runs.txt", &texts.join("---\n"));
    let updates: Vec<NodeUpdate> = serde_saphyr::from_multiple(&documents("why.yaml")).unwrap();
    let texts: Vec<String> = updates.iter().map(|u| why::node_update(u, now(), &prompt()).text()).collect();
    expect("why-nodeupdates.txt", &texts.join("---\n"));
    let nodes: Vec<ManagedNode> = serde_saphyr::from_multiple(&documents("fleet.yaml")).unwrap();
    let own = |node: &ManagedNode| {
        let own = |u: &&NodeUpdate| {
            u.spec.node_ref.name == "db-02" && node.metadata.name.as_deref() == Some("db-02")
        };
        updates.iter().filter(own).cloned().collect::<Vec<_>>()
    };
    let texts: Vec<String> = nodes.iter().map(|n| why::node(n, &own(n), now(), &prompt()).text()).collect();
    expect("why-managednodes.txt", &texts.join("---\n"));
}

/// A shell refuses the script of another one, and a page that is missing is missed when somebody needs help.
#[test]
fn shells_and_man_know_every_command() {
    let farrier = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_farrier")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    for (shell, begins) in
        [("bash", "_farrier() {"), ("zsh", "#compdef farrier"), ("fish", "# Print an optspec")]
    {
        let (code, script) = farrier(&["completion", shell]);
        assert!(
            code == Some(0) && script.starts_with(begins) && script.contains("approve"),
            "{shell}: {script}"
        );
    }
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().to_str().unwrap();
    assert_eq!(farrier(&["man", directory]).0, Some(0));
    for page in ["farrier.1", "farrier-status.1", "farrier-approve.1", "farrier-nodes.1"] {
        let text = std::fs::read_to_string(place.path().join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    assert_eq!(farrier(&["man", &format!("{directory}/none")]).0, Some(1));
    assert_eq!(farrier(&["completion", "cmd.exe"]).0, Some(2));
}

/// The page of the commands shows what they print.
#[test]
fn the_page_shows_what_is_printed() {
    let page = include_str!("../docs/cli.md");
    for (file, text) in
        [("rollout", include_str!("status/rollout.txt")), ("fleet", include_str!("status/fleet.txt"))]
    {
        assert!(page.contains(text), "copy tests/status/{file}.txt to docs/cli.md");
    }
    let first = include_str!("status/why-nodeupdates.txt").split("---\n").next().unwrap();
    assert!(page.contains(first), "copy the beginning of tests/status/why-nodeupdates.txt to docs/cli.md");
}

/// Colour must not carry anything that the text does not.
#[test]
fn colours_change_nothing_but_the_colour() {
    for file in ["rollout.yaml", "failed.yaml"] {
        let summary = summary(file, |_| ());
        let coloured = render(&summary, now(), Look { wide: false, colours: true });
        let plain = ["31", "32", "33", "36", "0"]
            .iter()
            .fold(coloured.clone(), |text, colour| text.replace(&format!("\x1b[{colour}m"), ""));
        assert_ne!(coloured, plain);
        assert_eq!(plain, render(&summary, now(), PLAIN));
    }
}

/// A user who types the command that is shown must get on.
#[test]
fn the_next_command_is_the_one_that_helps() {
    let next = |change: &dyn Fn(&mut Value)| summary("rollout.yaml", change).next;
    assert_eq!(next(&|_| ()).unwrap(), "kubectl farrier approve r12-spring rest --plan sha256:aa11 -n fleet");
    let paused = |run: &mut Value| run["spec"]["desiredState"] = json!("Pause");
    assert_eq!(next(&paused).unwrap(), "kubectl farrier resume r12-spring -n fleet");
    let cancelled = |run: &mut Value| run["spec"]["desiredState"] = json!("Cancel");
    assert_eq!(next(&cancelled), None);
    let approved = |run: &mut Value| run["status"]["stages"][2]["state"] = json!("Waiting");
    assert_eq!(next(&approved), None);
    assert_eq!(summary("failed.yaml", |_| ()).next.unwrap(), "kubectl farrier retry nightly -n fleet");
}

/// A script waits for the end of a run: one that stands still has not ended, and time that nobody knows is not shown.
#[test]
fn states_and_estimates_follow_from_the_objects() {
    let seen = |change: &dyn Fn(&mut Value)| {
        let summary = summary("rollout.yaml", change);
        (summary.state, summary.time_left_seconds)
    };
    // Two machines ended in 20 minutes, and eight are left.
    assert_eq!(seen(&|_| ()), (State::InProgress, Some(80 * 60)));
    assert_eq!(
        seen(&|run| run["status"]["counts"]["inProgress"] = json!(0)),
        (State::AwaitingApproval, None)
    );
    assert_eq!(seen(&|run| run["spec"]["desiredState"] = json!("Pause")), (State::Paused, None));
    assert_eq!(seen(&|run| run["spec"]["desiredState"] = json!("Cancel")), (State::Cancelling, None));
    assert_eq!(seen(&|run| run["status"] = Value::Null), (State::Pending, None));
    let succeeded = |run: &mut Value| run["status"]["conditions"][1]["status"] = json!("True");
    assert_eq!(seen(&succeeded), (State::Succeeded, None));
    for (state, is_final) in [(State::Succeeded, true), (State::Failed, true), (State::Planned, true)]
        .into_iter()
        .chain([(State::Paused, false), (State::AwaitingApproval, false), (State::Waiting, false)])
    {
        assert_eq!(state.is_final(), is_final, "{state}");
    }
}

/// A log of a pipeline has each change once.
#[test]
fn only_what_changed_gets_a_line() {
    let before = summary("rollout.yaml", |_| ());
    assert!(changes(Some(&before), &before).is_empty());
    let after = summary("rollout.yaml", |run| run["status"]["stages"][2]["state"] = json!("Waiting"));
    assert_eq!(changes(Some(&before), &after), ["stage rest: Waiting"]);
}

/// kubectl finds the program by its file name, and people read how to call it.
#[cfg(unix)]
#[test]
fn usage_names_the_program_as_it_was_called() {
    let place = tempfile::tempdir().unwrap();
    let plugin = place.path().join("kubectl-farrier");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_farrier"), &plugin).unwrap();
    for (program, name) in
        [(plugin.as_path(), "kubectl farrier"), (Path::new(env!("CARGO_BIN_EXE_farrier")), "farrier")]
    {
        let run = |arguments: &[&str]| {
            let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
            (
                output.status.code(),
                String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
            )
        };
        let (code, help) = run(&["status", "--help"]);
        assert_eq!(code, Some(0));
        assert!(help.contains(&format!("Usage: {name} status [OPTIONS] <RUN>")), "{help}");
        assert!(help.contains("Exit codes:") && help.contains("--context"), "{help}");
        let (code, said) = run(&["status"]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&format!("Usage: {name} status <RUN>")), "{said}");
    }
}
