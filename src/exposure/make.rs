//! The Service of a run, and what somebody else has done to it. `act` writes it.

use super::act::{Trouble, Wrote, lacks_node_port};
use super::objects::{Frame, is_of_same_words};
use super::service::{differences, outer_ports};
use super::ways::bound;
use super::{Exposer, LABEL_RUN_UID};
use crate::api::UpdateRun;
use crate::api::update_run::{CallbackStatus, Exposure, ListenerStatus, UpdateRunStatus};
use crate::failure::chain;
use crate::membership::Home;
use crate::publish::{self, Action, CONTROLLER};
use farrier_network::ledger::Pair;
use farrier_update::Reason;
use k8s_openapi::api::core::v1::Service;
use kube::{Resource, ResourceExt};
use std::time::{Duration, Instant};

/// How often an object is put right within [`MEND_SPAN`]. Whoever changes it more often does so at once,
/// as an admission policy would, and each round is a write and a decision.
const MOST_MENDS: usize = 10;

/// The time in which that is counted.
const MEND_SPAN: Duration = Duration::from_mins(1);

impl Exposer {
    /// Makes the run's Service, or makes it what it should be. Returns the run if its status was
    /// written: the ports that machines were told cannot be had any more.
    pub(super) async fn make_service(&self, run: &UpdateRun) -> Result<Option<UpdateRun>, Trouble> {
        let Some((frame, pair)) = self.frame(run).zip(bound_pairs(run).into_iter().next()) else {
            return Ok(None);
        };
        let (exposure, uid) = (run.spec.callback.exposure, run.uid().unwrap_or_default());
        let nodes = recorded(run);
        let Some(wanted) = frame.service(exposure, pair, nodes) else { return Ok(None) };
        let (there, name) = (self.service_of(&uid), wanted.name_any());
        let full = format!("Service {}/{name}", self.site.namespace);
        let touched = match there.as_deref() {
            Some(there) => {
                let fields = differences(there, &wanted);
                if fields.is_empty() {
                    self.saw(&uid, &name);
                    return Ok(None);
                }
                if is_of_same_words(there, &wanted) {
                    self.may_mend(&uid, "Service", &name, &fields)?;
                    Some(format!("{full} was changed by somebody ({})", fields.join(", ")))
                } else {
                    None
                }
            }
            None => self.was_seen(&uid, &name).then(|| format!("{full} was deleted by somebody")),
        };
        let (mut written, mut lost) = (self.write_service(there.as_deref(), &wanted).await, None);
        if let (Err(error), Some(_)) = (&written, nodes)
            && lacks_node_port(error)
        {
            // Somebody else has the ports now that machines were told. Intent before effect: whoever
            // comes next must not take the new ones for somebody's doing.
            tracing::warn!(run = %run.name_any(), error = %chain(error), "the Service cannot have its node ports again");
            lost = Some(self.forget_ports(run).await?);
            let Some(other) = frame.service(exposure, pair, None) else { return Ok(lost) };
            written = self.write_service(there.as_deref(), &other).await;
        }
        let changed = written.map_err(|error| self.in_words("Service", &name, &error))?;
        if changed != Wrote::Nothing {
            self.lost_sight_of(&uid, &name);
            if let Some(touched) = touched {
                self.tell(run, &touched).await;
            }
        }
        Ok(lost)
    }

    /// Writes that machines cannot call any more where they were told.
    async fn forget_ports(&self, run: &UpdateRun) -> Result<UpdateRun, Trouble> {
        let status = run.status.clone().unwrap_or_default();
        let callback = status.callback.map(without_ports);
        let status = UpdateRunStatus { callback, ..status };
        publish::status_of_version(&self.client, run, CONTROLLER, &status).await.map_err(Trouble::Server)
    }

    /// An object of the run is there as it should be.
    pub(super) fn saw(&self, uid: &str, name: &str) {
        self.progress().entry(uid.to_owned()).or_default().seen.insert(name.to_owned());
    }

    /// Whether an object of the run was there as it should be.
    pub(super) fn was_seen(&self, uid: &str, name: &str) -> bool {
        self.progress().get(uid).is_some_and(|progress| progress.seen.contains(name))
    }

    /// An object of the run was written or taken away: whoever does not find it there looks at a cache
    /// that lags behind.
    pub(super) fn lost_sight_of(&self, uid: &str, name: &str) {
        self.progress().entry(uid.to_owned()).or_default().seen.remove(name);
    }

    /// Whether what somebody has changed is put right once more, or left until there is less of it.
    pub(super) fn may_mend(&self, uid: &str, kind: &str, name: &str, fields: &[&str]) -> Result<(), Trouble> {
        let mut all = self.progress();
        let mended = all.entry(uid.to_owned()).or_default().mended.entry(name.to_owned()).or_default();
        mended.retain(|at| at.elapsed() < MEND_SPAN);
        if mended.len() < MOST_MENDS {
            mended.push(Instant::now());
            return Ok(());
        }
        Err(Trouble::Words(format!(
            "{kind} {}/{name} is changed by somebody ({}) as often as it is put right; find out who does that, an admission policy perhaps, and leave objects with the label {LABEL_RUN_UID} out of it",
            self.site.namespace,
            fields.join(", ")
        )))
    }

    /// Tells the run's owner that somebody had his hands in it.
    pub(super) async fn tell(&self, run: &UpdateRun, what: &str) {
        let note = format!("{what}, and is put right; it is the operator's, and goes with the run");
        tracing::warn!(run = %run.name_any(), "{note}");
        self.events.warning(&run.object_ref(&()), Reason::ExposureRestored, Action::Restore, &note).await;
    }

    pub(super) fn in_words(&self, kind: &str, name: &str, error: &kube::Error) -> Trouble {
        Trouble::Words(format!(
            "{kind} {name} in namespace {} cannot be made: {}; check the operator's permissions and the cluster's admission",
            self.site.namespace,
            chain(error)
        ))
    }

    pub(super) fn frame<'a>(&'a self, run: &'a UpdateRun) -> Option<Frame<'a>> {
        match &self.site.home {
            Home::Pod { selector, .. } => Some(Frame { run, namespace: &self.site.namespace, selector }),
            Home::Host { .. } => None,
        }
    }
}

/// The ports of a run's Service as machines call them.
pub(super) fn called_ports(run: &UpdateRun, service: Option<&Service>) -> Option<Pair> {
    recorded(run).or_else(|| outer_ports(service?, run.spec.callback.exposure))
}

/// The node ports that machines were told: the Service is to have these, whatever somebody makes
/// of it. The status does not name them any more once they cannot be had.
fn recorded(run: &UpdateRun) -> Option<Pair> {
    let callback = run.status.as_ref()?.callback.as_ref()?;
    let told = Pair { http: callback.http_port?, https: callback.https_port? };
    (run.spec.callback.exposure == Exposure::NodePort).then_some(told)
}

/// The same without what machines were told: it is not there any more.
fn without_ports(callback: CallbackStatus) -> CallbackStatus {
    CallbackStatus { addresses: Vec::new(), http_port: None, https_port: None, ..callback }
}

/// The pairs that runners listen on.
pub(super) fn bound_pairs(run: &UpdateRun) -> Vec<Pair> {
    let status = run.status.clone().unwrap_or_default();
    let listeners: Vec<&ListenerStatus> = status.listeners.iter().collect();
    let Some(callback) = &status.callback else { return Vec::new() };
    bound(callback, &listeners).map(|p| Pair { http: p.http_port, https: p.https_port }).collect()
}
