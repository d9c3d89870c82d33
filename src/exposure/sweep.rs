//! Deletes the objects of runs that are gone.

use super::Exposer;
use crate::api::{LABEL_RUN_UID, NodeUpdate, condition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use std::collections::BTreeSet;

impl Exposer {
    /// Deletes the objects of runs that no longer exist or have ended: after a crash, or after a
    /// user removed a run without waiting.
    ///
    /// # Errors
    /// Errors of the API server.
    pub async fn sweep(&self) -> Result<(), kube::Error> {
        let Some(objects) = &self.site.objects else { return Ok(()) };
        let labels = |labels: &std::collections::BTreeMap<String, String>| labels.get(LABEL_RUN_UID).cloned();
        let services = objects.services.state();
        let policies = objects.policies.state();
        let made: BTreeSet<String> = services
            .iter()
            .filter_map(|s| labels(s.labels()))
            .chain(policies.iter().filter_map(|p| labels(p.labels())))
            .collect();
        for uid in made {
            if !self.is_open(&uid) {
                tracing::info!(run_uid = %uid, "the objects of an ended run are deleted");
                self.remove_objects(&uid).await?;
            }
        }
        Ok(())
    }

    /// Reports whether a run is in progress, or is gone although its machines are not clean yet. Those are
    /// reached through the objects that were created for the run.
    fn is_open(&self, uid: &str) -> bool {
        let ended = |conditions: &[Condition]| {
            ["True", "False"].iter().any(|end| condition::is(conditions, "Succeeded", end))
        };
        let runs = self.caches.runs.state();
        let open = runs.iter().any(|run| {
            let ended = run.status.as_ref().is_some_and(|s| ended(&s.conditions));
            run.uid().as_deref() == Some(uid) && !ended
        });
        let there = runs.iter().any(|run| run.uid().as_deref() == Some(uid));
        let at_work = |update: &NodeUpdate| {
            let of_run = update.owner_references().iter().any(|owner| owner.uid == uid);
            of_run && !update.status.as_ref().is_some_and(|s| ended(&s.conditions))
        };
        open || !there && self.caches.updates.state().iter().any(|update| at_work(update))
    }
}
