//! Generated documents agree with the code.

use farrier::metrics::catalogue::ALL;
use farrier::publish::Action;
use farrier_update::Reason;
use std::fmt::Write as _;
use std::path::Path;

/// An undocumented reason does not help a user. `UPDATE_EXPECT=1` regenerates the document.
#[test]
fn every_reason_is_documented() {
    let mut text = String::from(
        "# Reasons\n\n\
         Every condition, event and list entry that Farrier writes has one of these reasons, and no other.\n\
         They are stable: scripts may compare them.\n\
         The message beside a reason names the object and the next step.\n\n\
         `Retried`: a machine that fails for this reason is tried again, as often as `spec.strategy.retries` says.\n\
         `Unreachable`: counted under `status.counts.unreachable` instead of `failed`.\n\n\
         | reason | meaning and next step | retried | unreachable |\n| --- | --- | --- | --- |\n",
    );
    for reason in Reason::ALL {
        let mark = |yes: bool| if yes { "yes" } else { "" };
        let (retried, unreachable) = (mark(reason.retryable()), mark(reason.unreachable()));
        writeln!(text, "| {} | {} | {retried} | {unreachable} |", reason.as_str(), reason.meaning()).unwrap();
    }
    document("reasons.md", &text);
}

/// Compares a document with the generated text; `UPDATE_EXPECT=1` writes it.
fn document(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let written = std::fs::write(&path, text);
        assert!(written.is_ok(), "{}: {written:?}", path.display());
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        committed, text,
        "docs/{name} is out of date; run: UPDATE_EXPECT=1 cargo test --test documents"
    );
}

/// A user who builds an alert or a panel must find all metrics without reading code.
#[test]
fn every_metric_is_documented() {
    let mut text = String::from(
        "# Metrics\n\n\
         `/metrics` of each replica serves these, in the text format of OpenMetrics.\n\
         It is on the address of `--http-addr` (`FARRIER_HTTP_ADDR`), beside `/healthz` and `/readyz`.\n\n\
         Numbers about the fleet (`farrier_runs` to `farrier_node_update_unclaimed_age_seconds`) are served by the replica that decides only, so that a sum over all replicas is right.\n\
         Counters begin at zero with each process.\n\
         No label carries the name of a machine, a run or a runner: events, conditions and logs do.\n\
         Values of `reason` are those of [reasons.md](reasons.md).\n\n\
         | name | type | labels | meaning | when to worry |\n| --- | --- | --- | --- | --- |\n",
    );
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (metric.name, metric.kind.as_str(), labels.join(", "));
        writeln!(text, "| `{name}` | {kind} | {labels} | {} | {} |", metric.help, metric.worry).unwrap();
    }
    document("metrics.md", &text);
}

/// A user who filters events must know all actions and reasons.
#[test]
fn every_event_is_documented() {
    let mut text = String::from(
        "# Events\n\n\
         `kubectl describe` shows them beside an object; `kubectl get events` in the order of time.\n\
         The reason is one of [reasons.md](reasons.md), the action one of this table.\n\
         About one object there is at most one event a minute for each reason and action (and cause, where connections are refused); one that stands for others says how many.\n\
         Everything that lasts is in the conditions too: events are for reading along.\n\n\
         | action | about | reason | when |\n| --- | --- | --- | --- |\n",
    );
    for action in Action::ALL {
        let (name, about, reasons, when) = (action.as_str(), action.about(), action.reasons(), action.when());
        writeln!(text, "| {name} | {about} | {reasons} | {when} |").unwrap();
    }
    document("events.md", &text);
}
