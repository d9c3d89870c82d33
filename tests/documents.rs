//! Documents that are made from the code say what the code says.

use farrier_update::Reason;
use std::fmt::Write as _;
use std::path::Path;

/// A reason that is in no document leaves a user alone with a word. `UPDATE_EXPECT=1` writes the
/// document anew.
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        committed, text,
        "docs/reasons.md is out of date; run: UPDATE_EXPECT=1 cargo test --test documents"
    );
}
