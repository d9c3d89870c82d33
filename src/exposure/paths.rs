//! The state of a run's network paths, derived from the existing objects and listeners.

mod service;

use super::{ActiveMachine, Exposer, Progress, ports, services};
use crate::api::LABEL_RUN_UID;
use crate::api::UpdateRun;
use crate::api::condition;
use crate::api::update_run::{
    CallbackStatus, Exposure, ListenerState, ListenerStatus, OnConflict, RunnerPorts,
};
use crate::membership::{RunnerLocation, Runners};
use farrier_network::FileService;
use farrier_network::ledger::{Allocation, Pair, PortOwner, Refusal};
use farrier_update::model::RunnerName;
use farrier_update::run::{NetworkPaths, PathState};
use farrier_update::{Millis, Reason};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long policies may take from being written to being enforced: kube-router took 0.16 s in a
/// measurement; other implementations take longer.
const SETTLE: Duration = Duration::from_secs(1);

/// How long the runners may take to bind before the run continues with those that have.
const BIND_TIMEOUT: Duration = Duration::from_secs(15);

/// Interval for checks of state whose changes no object reports.
const RESYNC_INTERVAL: Duration = Duration::from_secs(10);

impl Exposer {
    /// Returns the state of a run's network paths. `runs` are all runs, as they are after our own
    /// writes.
    pub fn observe(
        &self,
        run: &UpdateRun,
        runs: &[Arc<UpdateRun>],
        machines: &[ActiveMachine],
        now: Millis,
    ) -> NetworkPaths {
        let uid = run.uid().unwrap_or_default();
        let progress = self.progress().get(&uid).cloned().unwrap_or_default();
        let calls = machines.iter().any(|machine| machine.way_back.is_some());
        NetworkPaths {
            out: self.out(&uid, &progress, now),
            back: self.back(
                run,
                runs,
                &progress,
                &service::Needs { calls, services: services::needed(machines) },
                now,
            ),
            listening: self.listening(run),
        }
    }

    fn out(&self, uid: &str, progress: &Progress, now: Millis) -> PathState {
        let Some(objects) = &self.site.objects else { return PathState::Free };
        let there = objects
            .policies
            .state()
            .iter()
            .any(|p| p.labels().get(LABEL_RUN_UID).is_some_and(|of| of == uid));
        match (there, progress.policies, &progress.error_since) {
            (_, _, Some((message, _))) => {
                stuck(there, Reason::ExposureFailed, message.clone(), now.after(RESYNC_INTERVAL))
            }
            (false, Some(_), None) if progress.nothing_to_open => PathState::Free,
            (false, _, None) => PathState::Closed,
            (true, Some(at), None) if at.elapsed() >= SETTLE => PathState::Open {
                message: "the operator's pods may connect to the run's machines".to_owned(),
            },
            (true, _, None) => PathState::Opening {
                reason: Reason::Exposing,
                message: "NetworkPolicies for the run's machines exist and are in effect".to_owned(),
                until: Some(now.after(SETTLE)),
            },
        }
    }

    /// Returns the runners that listen on the ports they were given.
    fn listening(&self, run: &UpdateRun) -> BTreeSet<RunnerName> {
        let Some(status) = &run.status else { return BTreeSet::new() };
        let live = self.membership.live();
        let listeners: Vec<_> = status.listeners.iter().filter(|l| live.contains_key(&l.runner)).collect();
        let ports = status.callback.iter().flat_map(|callback| bound(callback, &listeners));
        ports.map(|ports| RunnerName(ports.runner.clone())).collect()
    }

    fn back(
        &self,
        run: &UpdateRun,
        runs: &[Arc<UpdateRun>],
        progress: &Progress,
        needs: &service::Needs,
        now: Millis,
    ) -> PathState {
        let uid = run.uid().unwrap_or_default();
        let runners = self.membership.live();
        let status = run.status.clone().unwrap_or_default();
        let listeners: Vec<&ListenerStatus> =
            status.listeners.iter().filter(|l| runners.contains_key(&l.runner)).collect();
        let service = self.service_of(&uid);
        let Some(callback) = &status.callback else {
            let open = listeners.iter().filter(|l| l.state == ListenerState::Bound).count();
            if open > 0 || service.is_some() {
                return PathState::Closing { message: format!("{open} runners still listen") };
            }
            return if needs.calls { possible(run, &runners, now) } else { PathState::Closed };
        };
        if let Some((message, _)) = &progress.error_since {
            return stuck(true, Reason::ExposureFailed, message.clone(), now.after(RESYNC_INTERVAL));
        }
        let allocation = ports::allocation(run, runs, &runners);
        let since = u64::try_from(callback.since.0.as_millisecond()).map_or(now, Millis);
        if let Some(way) = unbound(run, runs, &listeners, &allocation, since, now) {
            return way;
        }
        let services = services::allocation(run, runs, &runners, &allocation, &needs.services);
        if let Some(way) = service::unbound(run, runs, &listeners, &services, now) {
            return way;
        }
        let open: BTreeSet<_> = services::bound(callback, &listeners).collect();
        let bound: Vec<&RunnerPorts> = bound(callback, &listeners).collect();
        if let Some(way) = self.ingress_path(&bound, open, progress, now) {
            return way;
        }
        self.reachable(run, callback, service.as_deref(), &bound, since, now)
    }

    /// Returns the state of the policies that allow ingress from machines, or `None` if they are in
    /// effect.
    fn ingress_path(
        &self,
        bound: &[&RunnerPorts],
        services: BTreeSet<(FileService, u16)>,
        progress: &Progress,
        now: Millis,
    ) -> Option<PathState> {
        self.site.objects.as_ref()?;
        let pairs = bound.iter().map(|p| Pair { http: p.http_port, https: p.https_port }).collect();
        let ports = (pairs, services);
        let opened = progress.ingress_path.as_ref().filter(|(to, _)| *to == ports);
        if opened.is_some_and(|(_, at)| at.elapsed() >= SETTLE) {
            return None;
        }
        Some(PathState::Opening {
            reason: Reason::Exposing,
            message: "NetworkPolicies that allow ingress from the run's machines exist and are in effect"
                .to_owned(),
            until: Some(now.after(SETTLE)),
        })
    }

    /// Returns whether machines can reach the runners that listen.
    fn reachable(
        &self,
        run: &UpdateRun,
        callback: &CallbackStatus,
        service: Option<&Service>,
        bound: &[&RunnerPorts],
        since: Millis,
        now: Millis,
    ) -> PathState {
        let exposing = |message: String| PathState::Opening {
            reason: Reason::Exposing,
            message,
            until: Some(now.after(RESYNC_INTERVAL)),
        };
        if run.spec.callback.exposure == Exposure::HostPort {
            let list: Vec<String> = bound.iter().map(|ports| listens(ports)).collect();
            return PathState::Open { message: format!("the callback server listens: {}", list.join(", ")) };
        }
        let Some(service) = service else { return exposing("the run's Service is being made".to_owned()) };
        let name = format!("{}/{}", self.site.namespace, service.name_any());
        let wait = AddressWait { since, timeout: self.site.balancer_timeout, now };
        addressed(callback, run.spec.callback.exposure, &name, wait)
    }

    pub(super) fn service_of(&self, uid: &str) -> Option<Arc<Service>> {
        let services = self.site.objects.as_ref()?.services.state();
        services.into_iter().find(|s| s.labels().get(LABEL_RUN_UID).is_some_and(|of| of == uid))
    }
}

/// How long the run waits for an address.
#[derive(Clone, Copy)]
struct AddressWait {
    /// Start of the wait.
    since: Millis,
    /// How long a missing address is not reported.
    timeout: Duration,
    now: Millis,
}

/// Returns whether the Service of this name has an address that machines can connect to.
fn addressed(callback: &CallbackStatus, exposure: Exposure, name: &str, wait: AddressWait) -> PathState {
    let AddressWait { since, timeout, now } = wait;
    if let (Some(https), false) = (callback.https_port, callback.addresses.is_empty()) {
        let to = callback.addresses.join(", ");
        return PathState::Open {
            message: format!("machines connect to {to} port {https}, which is Service {name}"),
        };
    }
    let over = since.after(timeout);
    if exposure == Exposure::LoadBalancer && over <= now {
        let message = format!(
            "no load balancer has given Service {name} an address within {} s; install one, or start a run with another spec.callback.exposure",
            timeout.as_secs()
        );
        return stuck(true, Reason::LoadBalancerPending, message, now.after(RESYNC_INTERVAL));
    }
    PathState::Opening {
        reason: Reason::Exposing,
        message: format!("Service {name} has no address for machines yet"),
        until: Some(over.max(now.after(Duration::from_secs(1)))),
    }
}

/// Checks, before anything is opened, whether the exposure is possible.
fn possible(run: &UpdateRun, runners: &Runners, now: Millis) -> PathState {
    let told = run.status.as_ref().and_then(|s| condition::find(&s.conditions, "Exposed"));
    let fails = run.spec.callback.on_conflict == OnConflict::Fail;
    if let Some(told) = told.filter(|told| fails && told.reason == Reason::PortsTaken.as_str()) {
        return PathState::Refused { reason: Reason::PortsTaken, message: told.message.clone(), open: false };
    }
    match impossible(run.spec.callback.exposure, runners) {
        Some(message) => PathState::Blocked {
            reason: Reason::ExposureNotPossible,
            message,
            until: Some(now.after(RESYNC_INTERVAL)),
        },
        None => PathState::Closed,
    }
}

/// Returns the ports of the runners that listen on them.
pub(super) fn bound<'a>(
    callback: &'a CallbackStatus,
    listeners: &'a [&ListenerStatus],
) -> impl Iterator<Item = &'a RunnerPorts> {
    callback.ports.iter().filter(|ports| {
        reported_state(ports, listeners).is_some_and(|listener| listener.state == ListenerState::Bound)
    })
}

/// Returns the state that a runner reports for exactly these ports.
fn reported_state<'a>(ports: &RunnerPorts, listeners: &[&'a ListenerStatus]) -> Option<&'a ListenerStatus> {
    listeners.iter().copied().find(|listener| {
        listener.runner == ports.runner
            && (listener.http_port, listener.https_port) == (ports.http_port, ports.https_port)
    })
}

/// Returns what keeps the runners from listening, or `None` if enough of them listen.
fn unbound(
    run: &UpdateRun,
    runs: &[Arc<UpdateRun>],
    listeners: &[&ListenerStatus],
    allocation: &Allocation,
    since: Millis,
    now: Millis,
) -> Option<PathState> {
    let callback = run.status.as_ref()?.callback.as_ref()?;
    let bound = bound(callback, listeners).count();
    let patient = now < since.after(BIND_TIMEOUT);
    let wait = callback.ports.iter().filter(|ports| {
        allocation.pairs.contains_key(&ports.runner) && reported_state(ports, listeners).is_none()
    });
    let late: Vec<&str> = wait.map(|ports| ports.runner.as_str()).collect();
    if bound > 0 && (late.is_empty() || !patient) {
        return None;
    }
    if let Some((runner, refusal)) = allocation.refused.iter().next().filter(|_| allocation.pairs.is_empty())
    {
        return Some(refused(run, runs, runner, refusal, now));
    }
    let failed = callback
        .ports
        .iter()
        .filter_map(|ports| reported_state(ports, listeners))
        .find(|listener| matches!(listener.state, ListenerState::NotPermitted | ListenerState::Failed));
    if let Some(listener) = failed.filter(|_| bound == 0) {
        let (reason, next) = if listener.state == ListenerState::NotPermitted {
            let next = "; start a run with ports from 1024 up in spec.callback, or let the operator have the capability";
            (Reason::PortNotPermitted, next)
        } else {
            (Reason::ExposureFailed, "")
        };
        let message = format!("runner {}: {}{next}", listener.runner, listener.message);
        return Some(stuck(true, reason, message, now.after(RESYNC_INTERVAL)));
    }
    let who = if late.is_empty() { "runners".to_owned() } else { late.join(", ") };
    Some(PathState::Opening {
        reason: Reason::Exposing,
        message: format!("waiting for {who} to listen on the ports of status.callback"),
        until: Some(now.after(RESYNC_INTERVAL)),
    })
}

/// Describes where a runner listens.
fn listens(ports: &RunnerPorts) -> String {
    let RunnerPorts { runner, http_port, https_port, sftp_port, ftp_port } = ports;
    let service =
        |name: &str, port: &Option<u16>| port.map(|port| format!(", {name} {port}")).unwrap_or_default();
    format!("{runner} on {http_port}/{https_port}{}{}", service("SFTP", sftp_port), service("FTP", ftp_port))
}

fn refused(
    run: &UpdateRun,
    runs: &[Arc<UpdateRun>],
    runner: &str,
    refusal: &Refusal,
    now: Millis,
) -> PathState {
    let until = now.after(RESYNC_INTERVAL);
    let text = refusal.at(&format!("the host of runner {runner}"));
    match refusal {
        Refusal::PortsTaken { host: _, taken } => PathState::Refused {
            reason: Reason::PortsTaken,
            open: true,
            message: format!(
                "{text}, and spec.callback.onConflict is Fail; start a run with other ports, or with onConflict: Next{}",
                found(runs, taken)
            ),
        },
        Refusal::OutsideBlock { .. } | Refusal::ServiceOutsideBlock { .. } => stuck(
            true,
            Reason::PortsInvalid,
            format!(
                "{text}; start a run with ports among them, or change hostPorts of the operator's installation"
            ),
            until,
        ),
        Refusal::Exhausted { .. } | Refusal::ServiceExhausted { .. } | Refusal::HostShared { .. } => stuck(
            true,
            Reason::PortsExhausted,
            format!(
                "{text}; stop what uses them, or wait for another run to end. It is retried every half minute (run {})",
                run.name_any()
            ),
            until,
        ),
    }
}

/// Describes what runners found out about foreign owners of these ports.
fn found(runs: &[Arc<UpdateRun>], taken: &[(u16, PortOwner)]) -> String {
    let foreign = |port: u16| taken.contains(&(port, PortOwner::Foreign));
    let listener_status = runs.iter().flat_map(|run| run.status.iter().flat_map(|s| &s.listeners));
    let told: BTreeSet<String> = listener_status
        .filter(|listener_status| {
            listener_status.state == ListenerState::Conflict
                && listener_status.taken.iter().any(|port| foreign(*port))
        })
        .filter(|listener_status| foreign(listener_status.http_port) || foreign(listener_status.https_port))
        .map(|listener_status| format!(". Runner {}: {}", listener_status.runner, listener_status.message))
        .collect();
    told.into_iter().collect()
}

/// Returns why this exposure is not possible here, or `None` if it is.
pub(super) fn impossible(exposure: Exposure, runners: &Runners) -> Option<String> {
    let any = |fits: fn(&RunnerLocation) -> bool| runners.values().any(|info| fits(&info.location));
    match exposure {
        Exposure::HostPort => {
            let possible = any(|location| match location {
                RunnerLocation::Host { .. } => true,
                RunnerLocation::Pod { host_ports, .. } => host_ports.is_some(),
            });
            (!possible).then(|| "the operator's pods have no host ports; set hostPorts.enabled=true in the chart's values, or start a run with spec.callback.exposure NodePort".to_owned())
        }
        Exposure::NodePort | Exposure::LoadBalancer => {
            let possible = any(|location| matches!(location, RunnerLocation::Pod { .. }));
            (!possible).then(|| "the operator runs outside the cluster, where no Service leads to it; start a run with spec.callback.exposure HostPort".to_owned())
        }
    }
}

fn stuck(open: bool, reason: Reason, message: String, until: Millis) -> PathState {
    let until = Some(until);
    if open {
        PathState::Stuck { reason, message, until }
    } else {
        PathState::Blocked { reason, message, until }
    }
}

#[cfg(test)]
mod tests;
