//! The state of the file services that machines need.

use super::super::named::from_api;
use super::super::services;
use super::{RESYNC_INTERVAL, refused, stuck};
use crate::api::UpdateRun;
use crate::api::update_run::{ListenerState, ListenerStatus};
use farrier_network::FileService;
use farrier_network::ledger::ServiceAllocation;
use farrier_update::run::PathState;
use farrier_update::{Millis, Reason};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the machines of a run need at present.
pub(super) struct Needs {
    /// Whether any machine has to reach a runner.
    pub(super) calls: bool,
    /// The file services that machines fetch by.
    pub(super) services: BTreeSet<FileService>,
}

/// Returns what keeps the runners from opening a file service, or `None` if each is open on one of them at least.
pub(super) fn unbound(
    run: &UpdateRun,
    runs: &[Arc<UpdateRun>],
    listeners: &[&ListenerStatus],
    services: &BTreeMap<FileService, ServiceAllocation>,
    now: Millis,
) -> Option<PathState> {
    let callback = run.status.as_ref()?.callback.as_ref()?;
    let open: BTreeSet<FileService> =
        services::bound(callback, listeners).map(|(service, _)| service).collect();
    let (service, allocation) = services.iter().find(|(service, _)| !open.contains(service))?;
    if let Some((runner, refusal)) = allocation.refused.iter().next().filter(|_| allocation.first.is_empty())
    {
        return Some(refused(run, runs, runner, refusal, now));
    }
    let until = now.after(RESYNC_INTERVAL);
    let reports =
        listeners.iter().flat_map(|listener| listener.services.iter().map(|of| (&listener.runner, of)));
    let mut failed = reports.filter(|(_, report)| {
        from_api(report.service) == *service
            && matches!(report.state, ListenerState::NotPermitted | ListenerState::Failed)
    });
    Some(match failed.next() {
        Some((runner, report)) if report.state == ListenerState::NotPermitted => {
            let next = "start a run with ports from 1024 up in spec.callback, or let the operator have the capability";
            stuck(
                true,
                Reason::PortNotPermitted,
                format!("runner {runner}: {}; {next}", report.message),
                until,
            )
        }
        Some((runner, report)) => {
            stuck(true, Reason::ExposureFailed, format!("runner {runner}: {}", report.message), until)
        }
        None => PathState::Opening {
            reason: Reason::Exposing,
            message: format!("waiting for a runner to open the {service} service"),
            until: Some(until),
        },
    })
}
