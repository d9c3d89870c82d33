//! The test harness. A test is one function:
//!
//! ```ignore
//! /// What breaks in the world if this fails.
//! #[test]
//! fn a_machine_is_brought_to_the_baseline() {
//!     e2e("happy", async |site| {
//!         let db = site.machine("db").up().await;               // a machine, its ManagedNode and Secret
//!         let before = db.snapshot().await;
//!         site.baseline("spring", &[payload::ethtool()]).await; // a Baseline
//!         let run = site.run("r1", json!({"baselineRef": {"name": "spring"}})).await;
//!         run.succeeds().await;                                 // waits for Succeeded, prints why not
//!         let update = run.node("db").await;                    // the NodeUpdate r1-db
//!         assert_eq!(outcome(&update, "ethtool"), "Updated");
//!         before.same_but(&db.snapshot().await, &[snapshot::LOG, snapshot::ETHTOOL, snapshot::DPKG]);
//!     });
//! }
//! ```
//!
//! `e2e` gives each test a [`Site`]: its own namespace, an operator process that watches only this
//! namespace, and the machines that the test requests. Their names in the lab carry the site's name, so
//! that tests can run at the same time. When the test has passed, every machine that is on is searched for
//! remains of Farrier, every UpdateRun is deleted and must disappear, and the operator must end by itself.
//! When the test has failed, the operator's log, all objects and all events are printed. In both cases
//! machines and namespace are removed.
//!
//! Overview:
//!
//! - [`Site`]: `baseline`, `run`, `secret`, `payload` (a file of the test's own), `node`, `events`,
//!   `create` (any object as JSON; the answer of the API server is returned, not unwrapped);
//!   `operator.kill()`, `operator.start()`; `replica` starts another operator.
//! - [`machine::Builder`]: `lab(&["--no-v4"])` takes any option of `labctl add`; `login("ops")` is
//!   user `ops` with its password; `secret(key, value)` and `without(key)` change the Secret;
//!   `spec(json)` is merged over the ManagedNode's spec (RFC 7396: null removes); `label(k, v)`;
//!   `reach(Reach::LinkLocal)`.
//! - [`console::Console`]: the double of a device with a command line, at addresses of its own in the lab.
//! - [`Machine`]: `sh("script")` as root on it, `file(path)`, `labctl("crash")` and the other
//!   commands of labctl that take a name, `snapshot()`, `engines()` and `processes()` from outside.
//! - [`payload`]: components for a Baseline from the payloads of the lab's image; `with(json)` changes
//!   them.
//! - [`Run`]: `succeeds`, `fails`, `until(what, |run| …)`, `node_until(node, what, |update| …)`,
//!   `desire("Pause")`, `delete`, `gone`.
//! - [`https::Server`]: payloads by https with a private authority; it counts requests, stalls, cuts off.
//! - [`api_server::ApiServer`]: a proxy between the site's operator and the API server, which can
//!   block the connection.
//! - [`wait::until`]: any other condition. No test sleeps for a fixed time.
//! - [`snapshot`]: what may differ after an update, as lists of path prefixes.
//!
//! Command for a single test with the complete log of the operator:
//! `E2E_LOG=trace hack/lab run -- hack/cluster run -- cargo test -p farrier --test e2e -- NAME --nocapture`.
//! With `E2E_TIMES=1` each test prints how long it took.

pub(crate) mod api_server;
pub(crate) mod console;
pub(crate) mod https;
pub(crate) mod lab;
pub(crate) mod machine;
pub(crate) mod operator;
pub(crate) mod payload;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod site;
pub(crate) mod snapshot;
pub(crate) mod wait;
pub(crate) mod writes;

pub(crate) use machine::{Machine, Reach};
pub(crate) use run::{Conditions, Run, outcome};
pub(crate) use site::Site;

use futures::FutureExt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Instant;

/// Runs a test on its own site. `name` becomes part of every name: lower case, short.
pub(crate) fn e2e(name: &str, body: impl AsyncFnOnce(&Site)) {
    lab::require();
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let site = Site::new(name).await;
        let tested = async {
            body(&site).await;
            site.nothing_is_left().await;
        };
        let result = AssertUnwindSafe(tested).catch_unwind().await;
        if result.is_err() || std::env::var_os("E2E_LOG").is_some() {
            report::print(&site).await;
        }
        site.remove().await;
        report::time(&site, begun.elapsed());
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    });
}
