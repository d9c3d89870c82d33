//! An UpdateRun that a test observes.

use super::site::Site;
use super::wait::{self, LIMIT};
use farrier::api::node_update::ComponentOutcome;
use farrier::api::{Baseline, ManagedNode, NodeUpdate, UpdateRun};
use farrier::publish::is_gone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;

/// An UpdateRun that a test observes.
pub(crate) struct Run<'a> {
    site: &'a Site,
    /// Name of the run.
    pub(crate) name: String,
}

impl<'a> Run<'a> {
    pub(crate) fn new(site: &'a Site, name: &str) -> Self {
        Self { site, name: name.to_owned() }
    }

    /// Returns the current object.
    pub(crate) async fn get(&self) -> UpdateRun {
        self.site.api().get(&self.name).await.expect("the UpdateRun")
    }

    /// Waits until the run has ended, and panics unless it succeeded.
    pub(crate) async fn succeeds(&self) -> UpdateRun {
        let run = self.ends(LIMIT).await;
        let words = run.words("Succeeded");
        assert_eq!(run.state("Succeeded"), "True", "{} should have succeeded; {words}", self.name);
        run
    }

    /// Waits until the run has ended, and panics unless it failed.
    pub(crate) async fn fails(&self) -> UpdateRun {
        let run = self.ends(LIMIT).await;
        let words = run.words("Succeeded");
        assert_eq!(run.state("Succeeded"), "False", "{} should have failed; {words}", self.name);
        run
    }

    /// Waits until the run has ended.
    pub(crate) async fn ends(&self, limit: Duration) -> UpdateRun {
        let ended = |run: &UpdateRun| run.state("Succeeded") == "True" || run.state("Succeeded") == "False";
        self.until_in(limit, "the run to end", ended).await
    }

    /// Waits until `is` returns true for the run.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&UpdateRun) -> bool) -> UpdateRun {
        self.until_in(LIMIT, what, is).await
    }

    /// Waits until `is` returns true for the run, within another limit.
    pub(crate) async fn until_in(
        &self,
        limit: Duration,
        what: &str,
        is: impl Fn(&UpdateRun) -> bool,
    ) -> UpdateRun {
        wait::until(what, limit, async || {
            let run = self.get().await;
            let instead = format!("{}: {}", self.name, run.words("Succeeded"));
            if is(&run) { Ok(run) } else { Err(instead) }
        })
        .await
    }

    /// Returns the current NodeUpdate of a machine.
    pub(crate) async fn node(&self, node: &str) -> NodeUpdate {
        self.site.api().get(&format!("{}-{node}", self.name)).await.expect("the NodeUpdate")
    }

    /// Returns all NodeUpdates of the run.
    pub(crate) async fn nodes(&self) -> Vec<NodeUpdate> {
        let of_run = ListParams::default().fields(&format!("spec.runRef.name={}", self.name));
        self.site.api().list(&of_run).await.expect("NodeUpdates").items
    }

    /// Waits until `is` returns true for the NodeUpdate of a machine. The NodeUpdate need not exist yet.
    pub(crate) async fn node_until(
        &self,
        node: &str,
        what: &str,
        is: impl Fn(&NodeUpdate) -> bool,
    ) -> NodeUpdate {
        let name = format!("{}-{node}", self.name);
        wait::until(what, LIMIT, async || {
            let Some(update) = self.site.api::<NodeUpdate>().get_opt(&name).await.expect("an answer") else {
                return Err(format!("there is no {name}"));
            };
            let instead = format!("{name}: {}", update.words("Succeeded"));
            if is(&update) { Ok(update) } else { Err(instead) }
        })
        .await
    }

    /// Sets `spec.desiredState`.
    pub(crate) async fn desire(&self, state: &str) {
        let patch = Patch::Merge(json!({"spec": {"desiredState": state}}));
        let api = self.site.api::<UpdateRun>();
        api.patch(&self.name, &PatchParams::default(), &patch).await.expect("a changed UpdateRun");
    }

    /// Sets an annotation.
    pub(crate) async fn annotate(&self, key: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {key: "true"}}}));
        let api = self.site.api::<UpdateRun>();
        api.patch(&self.name, &PatchParams::default(), &patch).await.expect("an annotated UpdateRun");
    }

    /// Deletes the run; does not wait.
    pub(crate) async fn delete(&self) {
        let api = self.site.api::<UpdateRun>();
        api.delete(&self.name, &DeleteParams::background()).await.expect("a deleted UpdateRun");
    }

    /// Waits until the run does not exist any more.
    pub(crate) async fn gone(&self) {
        wait::until("the UpdateRun to be deleted", LIMIT, async || {
            match self.site.api::<UpdateRun>().get(&self.name).await {
                Err(error) if is_gone(&error) => Ok(()),
                Err(error) => panic!("{error}"),
                Ok(run) => Err(format!("it still exists; {}", run.words("Succeeded"))),
            }
        })
        .await;
    }
}

/// Runs `meanwhile` while the run is in progress, and waits until the run has succeeded; panics as soon
/// as more than `limit` machines are in progress.
pub(crate) async fn watched(run: &Run<'_>, limit: usize, meanwhile: impl Future<Output = ()>) {
    let ended = |u: &NodeUpdate| matches!(u.state("Succeeded"), "True" | "False");
    let watch = async {
        loop {
            let busy: Vec<String> = run
                .nodes()
                .await
                .iter()
                .filter(|update| !ended(update))
                .map(|update| update.spec.node_ref.name.clone())
                .collect();
            assert!(busy.len() <= limit, "more than {limit} at once: {busy:?}");
            wait::pass(Duration::from_millis(20)).await;
        }
    };
    let work = async {
        meanwhile.await;
        run.succeeds().await;
    };
    tokio::select! {
        () = watch => {}
        () = work => {}
    }
}

/// Common interface of kinds with conditions.
pub(crate) trait Conditions: ResourceExt {
    /// Returns all conditions.
    fn conditions(&self) -> &[Condition];

    /// Returns a condition. Panics if it does not exist.
    fn condition(&self, type_: &str) -> &Condition {
        let found = self.conditions().iter().find(|c| c.type_ == type_);
        found.unwrap_or_else(|| panic!("{} has no condition {type_}", self.name_any()))
    }

    /// Returns the status of a condition; empty if it does not exist.
    fn state(&self, type_: &str) -> &str {
        self.conditions().iter().find(|c| c.type_ == type_).map_or("", |c| &c.status)
    }

    /// Returns the reason of a condition; empty if it does not exist.
    fn reason(&self, type_: &str) -> &str {
        self.conditions().iter().find(|c| c.type_ == type_).map_or("", |c| &c.reason)
    }

    /// Formats a condition as one line.
    fn words(&self, type_: &str) -> String {
        match self.conditions().iter().find(|c| c.type_ == type_) {
            Some(c) => format!("{type_}={} {}: {}", c.status, c.reason, c.message),
            None => format!("no condition {type_}"),
        }
    }
}

macro_rules! conditions {
    ($($kind:ty),*) => {
        $(impl Conditions for $kind {
            fn conditions(&self) -> &[Condition] {
                self.status.as_ref().map_or(&[], |status| &status.conditions)
            }
        })*
    };
}
conditions!(Baseline, ManagedNode, NodeUpdate, UpdateRun);

/// Returns the result of a component. Panics if the status does not contain it.
pub(crate) fn component<'a>(update: &'a NodeUpdate, name: &str) -> &'a ComponentOutcome {
    let components = update.status.as_ref().map_or(&[][..], |s| &s.components);
    components.iter().find(|c| c.name == name).unwrap_or_else(|| {
        panic!("{} has no result of {name}; {}", update.name_any(), update.words("Succeeded"))
    })
}

/// Returns the outcome of a component in one word.
pub(crate) fn outcome<'a>(update: &'a NodeUpdate, name: &str) -> &'a str {
    &component(update, name).outcome
}

/// Returns a `baselineRef` for a run's spec.
pub(crate) fn to(baseline: &str) -> Value {
    json!({"baselineRef": {"name": baseline}})
}
