//! The operator's log of its work on machines.

use crate::harness::e2e;
use crate::harness::payload::ethtool;
use crate::harness::run::to;
use serde_json::Value;

/// Modules whose log lines are about one machine.
const ABOUT_A_MACHINE: [&str; 5] =
    ["farrier::runner", "farrier::drivers", "farrier::engine_api", "farrier::ssh", "farrier::payload"];

/// Among the log lines of a thousand machines, lines without the machine's name are useless.
#[test]
fn each_line_about_a_machine_says_which_one() {
    e2e("logged", async |site| {
        site.machine("db").up().await;
        site.machine("web").up().await;
        site.baseline("spring", &[ethtool()]).await;
        site.run("r1", to("spring")).await.succeeds().await;
        let log = site.operator.log();
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        for node in ["db", "web"] {
            let of_node = |line: &&Value| line["node"] == node;
            let words: Vec<&str> =
                lines.iter().filter(of_node).filter_map(|l| l["message"].as_str()).collect();
            assert!(
                words.contains(&"the attempt begins") && words.contains(&"the NodeUpdate has ended"),
                "{node}: {words:?}"
            );
        }
        for line in &lines {
            let target = line["target"].as_str().unwrap_or_default();
            if !ABOUT_A_MACHINE.iter().any(|module| target.starts_with(module)) {
                continue;
            }
            assert_eq!(line["run"], "r1", "{line}");
            assert_eq!(line["namespace"], site.name, "{line}");
            assert!(line["node"] == "db" || line["node"] == "web", "{line}");
            assert!(line["runner"].is_string(), "{line}");
            if line["message"] == "the attempt begins" {
                assert_eq!(line["attempt"], 1, "{line}");
            }
        }
    });
}
