//! Runs the Jobs that drain a machine, and undo that.

use super::{MachineDrain, Target, Trouble, act, phase};
use crate::api::managed_node::DrainJob;
use crate::attempt;
use crate::failure::{Failure, chain};
use crate::inputs::answer;
use crate::publish::is_refused;
use farrier_update::Reason;
use farrier_update::drain::{Aim, Answer, Record};
use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, EnvVar};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Resource, ResourceExt};
use std::collections::BTreeMap;
use std::time::Duration;

/// The rights that Jobs need.
const RIGHTS: &str = "get on cronjobs, and get, create and delete on jobs";

/// How long a Job outlives the deadline of the drain, at most. A Job counts whole seconds, and from a whole second on:
/// one that ended before would have failed by itself.
const GRACE: Duration = Duration::from_secs(2);

/// Jobs from `CronJobs`.
pub(super) struct JobHook<'a> {
    drain: &'a MachineDrain,
    job: &'a DrainJob,
    what: &'a str,
}

impl<'a> JobHook<'a> {
    pub(super) fn new(drain: &'a MachineDrain, job: &'a DrainJob, target: &'a Target) -> Self {
        Self { drain, job, what: &target.what }
    }

    /// Creates the Job, if it is not there, and looks at it.
    pub(super) async fn call(&self, record: Record, aim: Aim) -> Result<Answer, Trouble> {
        let cron_job = match aim {
            Aim::Drain => &self.job.cron_job.name,
            Aim::Undrain => match &self.job.undo_cron_job {
                _ if !self.stopped(record).await? => {
                    return Ok(Answer::NotYet("the Job that was to drain it to end".to_owned()));
                }
                Some(undo) => &undo.name,
                None => return Ok(Answer::Done),
            },
        };
        let name = self.name(record, aim);
        let api = self.jobs();
        let found = answer(&format!("Job {name}"), || api.get_opt(&name)).await;
        let job = match found.map_err(|error| self.refusal(&error))? {
            Some(job) => job,
            None => self.begin(cron_job, &name, record, aim).await?,
        };
        Ok(outcome(&job, &name, record))
    }

    /// Deletes the Job that drains the machine, unless it has ended. Returns whether nothing of it runs any more.
    async fn stopped(&self, record: Record) -> Result<bool, Trouble> {
        let (api, name) = (self.jobs(), self.name(record, Aim::Drain));
        let found = answer(&format!("Job {name}"), || api.get_opt(&name)).await;
        let Some(job) = found.map_err(|error| self.refusal(&error))? else { return Ok(true) };
        if ended(&job).is_some() {
            return Ok(true);
        }
        let deleted = act::delete(&self.drain.context.client, &self.drain.namespace(), &name).await;
        deleted.map(|()| false).map_err(|error| self.refusal(&error))
    }

    async fn begin(&self, from: &str, name: &str, record: Record, aim: Aim) -> Result<Job, Trouble> {
        let namespace = self.drain.namespace();
        let cron_jobs: Api<CronJob> = Api::namespaced(self.drain.context.client.clone(), &namespace);
        let found = answer(&format!("CronJob {from}"), || cron_jobs.get_opt(from)).await;
        let template = found.map_err(|error| self.refusal(&error))?.ok_or_else(|| {
            Failure::new(
                if aim == Aim::Drain { Reason::DrainFailed } else { Reason::UndrainFailed },
                format!(
                    "there is no CronJob {from} in namespace {namespace}, which spec.drain.job of ManagedNode {} names; create it, suspended",
                    self.drain.machine()
                ),
            )
        })?;
        let job = self.build(&template, name, record, aim);
        let created = act::create(&self.drain.context.client, &job).await;
        created.map(|()| job).map_err(|error| self.refusal(&error))
    }

    fn build(&self, from: &CronJob, name: &str, record: Record, aim: Aim) -> Job {
        let template = from.spec.as_ref().map(|spec| spec.job_template.clone()).unwrap_or_default();
        let metadata = template.metadata.unwrap_or_default();
        let mut spec = template.spec.unwrap_or_default();
        let left = record.until.since(attempt::now());
        spec.active_deadline_seconds = Some(lasts(left, spec.active_deadline_seconds));
        self.add_environment(&mut spec, name, record, aim);
        Job {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(self.drain.namespace()),
                labels: metadata.labels,
                annotations: metadata.annotations,
                // It is gone with its NodeUpdate.
                owner_references: self.drain.update.owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
            status: None,
        }
    }

    fn add_environment(&self, spec: &mut JobSpec, name: &str, record: Record, aim: Aim) {
        let Some(pod) = &mut spec.template.spec else { return };
        let values = BTreeMap::from([
            ("FARRIER_MACHINE", self.drain.machine().to_owned()),
            ("FARRIER_RUN", self.drain.update.spec.run_ref.name.clone()),
            ("FARRIER_PHASE", phase(aim).to_owned()),
            ("FARRIER_DEADLINE", record.until.to_string()),
            ("FARRIER_ID", name.to_owned()),
        ]);
        let add = |container: &mut Container| {
            let own = values.iter().map(|(name, value)| EnvVar {
                name: (*name).to_owned(),
                value: Some(value.clone()),
                value_from: None,
            });
            let list = container.env.get_or_insert_default();
            list.retain(|variable| !values.contains_key(variable.name.as_str()));
            list.extend(own);
        };
        pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten()).for_each(add);
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.drain.context.client.clone(), &self.drain.namespace())
    }

    fn name(&self, record: Record, aim: Aim) -> String {
        let session = self.drain.update.uid().unwrap_or_default();
        format!("farrier-{}-{session}-{}", phase(aim).to_ascii_lowercase(), record.round)
    }

    fn refusal(&self, error: &kube::Error) -> Trouble {
        let words = if let kube::Error::Api(status) = error { status.message.clone() } else { chain(error) };
        debug_assert!(is_refused(error), "the API server was asked until it answered");
        Trouble::Refused(format!(
            "the API server refuses a Job of {}: {words}. Farrier needs {RIGHTS} in namespace {}; set drain.jobs: true in the chart's values, or grant them",
            self.what,
            self.drain.namespace()
        ))
    }
}

/// Returns for how many seconds a Job may run at most: `own` is what its template says.
fn lasts(left: Duration, own: Option<i64>) -> i64 {
    let left = i64::try_from((left + GRACE).as_secs()).unwrap_or(i64::MAX);
    own.map_or(left, |own| own.min(left))
}

/// Returns whether a Job has succeeded, or why not; `None`: it has not ended.
fn ended(job: &Job) -> Option<Result<(), String>> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.status == "True").find_map(|condition| {
        match condition.type_.as_str() {
            "Complete" => Some(Ok(())),
            "Failed" => Some(Err(condition.message.clone().or(condition.reason.clone()).unwrap_or_default())),
            _ => None,
        }
    })
}

fn outcome(job: &Job, name: &str, record: Record) -> Answer {
    match ended(job) {
        Some(Ok(())) => Answer::Done,
        // It was ended because of the deadline of the drain.
        Some(Err(why)) if attempt::now() >= record.until => Answer::NotYet(format!("Job {name}: {why}")),
        Some(Err(why)) => {
            Answer::Failed(format!("Job {name} has failed: {why}; look at the logs of its pods"))
        }
        None => Answer::NotYet(format!("Job {name} to end")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::Millis;
    use farrier_update::drain::State;
    use serde_json::json;

    /// Otherwise the cluster ends the Job before the deadline, and a drain that takes too long is not tried again.
    #[test]
    fn a_job_ends_by_itself_or_after_the_deadline() {
        for millis in [0, 1, 999, 1000, 5900] {
            let left = Duration::from_millis(millis);
            let seconds = u64::try_from(lasts(left, None)).unwrap();
            // The cluster may count from up to a second before its beginning.
            assert!(Duration::from_secs(seconds - 1) >= left, "{left:?}: {seconds}");
        }
        assert_eq!((lasts(Duration::from_mins(1), Some(7)), lasts(Duration::ZERO, Some(7))), (7, 2));
    }

    /// Otherwise a machine is changed while a Job still drains it; or a user who has to raise the timeout is sent to the
    /// logs of pods that were only slow.
    #[test]
    fn only_a_job_that_has_ended_by_itself_has_succeeded_or_failed() {
        let job = |condition: &str, is: &str| -> Job {
            let condition = json!({"type": condition, "status": is, "message": "said"});
            serde_json::from_value(json!({"status": {"conditions": [condition]}})).unwrap()
        };
        let record = |until| Record { state: State::Draining, round: 1, since: Millis(0), until };
        let (late, early) = (record(attempt::now()), record(attempt::now().after(Duration::from_hours(1))));
        assert_eq!(outcome(&job("Complete", "True"), "j", early), Answer::Done);
        assert_eq!(outcome(&job("Complete", "True"), "j", late), Answer::Done);
        assert!(matches!(outcome(&job("Failed", "True"), "j", early), Answer::Failed(_)));
        for (condition, is, record) in [
            ("Failed", "True", late),
            ("Failed", "False", early),
            ("Complete", "False", early),
            ("FailureTarget", "True", early),
            ("Suspended", "True", early),
        ] {
            let found = outcome(&job(condition, is), "j", record);
            assert!(matches!(found, Answer::NotYet(_)), "{condition} {is}: {found:?}");
        }
    }
}
