//! Generated documents agree with the code.

#[path = "documents/kinds.rs"]
mod kinds;

use farrier::convert::machine_kind;
use farrier::metrics::catalogue::ALL;
use farrier::publish::Action;
use farrier_network::MachineType;
use farrier_update::Reason;
use farrier_update::run::{BY_TYPE, IfUnreachable};
use std::collections::BTreeSet;
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
         Each replica serves these metrics at `/metrics`, in the OpenMetrics text format.\n\
         The address is that of `--http-addr` (`FARRIER_HTTP_ADDR`), which also serves `/healthz` and `/readyz`.\n\n\
         Only the leader serves the metrics of the fleet (`farrier_runs` to `farrier_node_update_unclaimed_age_seconds`), so that a sum over all replicas is correct.\n\
         Counters start at zero when a process starts.\n\
         No label contains the name of a machine, a run or a runner; events, conditions and logs contain these names.\n\
         [reasons.md](reasons.md) lists the values of the label `reason`.\n\n\
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
         Farrier writes these Kubernetes events.\n\
         `kubectl describe` shows the events of an object; `kubectl get events --sort-by=.metadata.creationTimestamp` lists all events in chronological order.\n\
         The reason of an event is listed in [reasons.md](reasons.md), its action in the table below.\n\
         For each object, Farrier writes at most one event per minute with the same reason and action (for rejected connections, also the same cause); an event that represents several says how many.\n\
         Events show the progress; every lasting state is also in the conditions.\n\n\
         | action | about | reason | when |\n| --- | --- | --- | --- |\n",
    );
    for action in Action::ALL {
        let (name, about, reasons, when) = (action.as_str(), action.about(), action.reasons(), action.when());
        writeln!(text, "| {name} | {about} | {reasons} | {when} |").unwrap();
    }
    document("events.md", &text);
}

/// A user who plans a night's work by a table that is not true restarts devices in the wrong order.
#[test]
fn the_order_of_types_is_documented() {
    let pairs = |first: &str, then: &str, what: &str| {
        let types = |list: &str| list.split(", ").map(str::to_owned).collect::<Vec<_>>();
        let then = types(then);
        let pair =
            |first: String| then.iter().map(move |then| (first.clone(), then.clone())).collect::<Vec<_>>();
        let pairs = types(first).into_iter().flat_map(pair);
        pairs.map(|(first, then)| (first, then, what.to_owned())).collect::<Vec<_>>()
    };
    let text = include_str!("../docs/order.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    let documented: BTreeSet<_> = rows
        .filter(|row| !matches!(row[0], "first" | "---"))
        .flat_map(|row| pairs(row[0], row[1], row[2]))
        .collect();
    let of = |kind| {
        let types = MachineType::ALL.into_iter().filter(|type_| machine_kind(*type_) == kind);
        types.map(|type_| type_.to_string()).collect::<Vec<_>>().join(", ")
    };
    let decided: BTreeSet<_> = BY_TYPE
        .into_iter()
        .flat_map(|edge| {
            let what = match edge.if_unreachable {
                IfUnreachable::Skip => "the others are skipped",
                IfUnreachable::Proceed => "they are begun",
            };
            pairs(&of(edge.first), &of(edge.then), what)
        })
        .collect();
    assert_eq!(documented, decided);
}
