//! What is to be made for a run, and what somebody else has done to it. `act` writes it.

use super::act::{Trouble, is_invalid};
use super::objects::{Frame, is_of_same_words, is_same_policy};
use super::service::{differences, outer_ports};
use super::ways::bound;
use super::{Concerned, Exposer, LABEL_RUN_UID};
use crate::api::UpdateRun;
use crate::api::update_run::{Exposure, ListenerStatus};
use crate::convert;
use crate::failure::chain;
use crate::membership::{Home, Runners};
use crate::publish::Action;
use farrier_network::Channel;
use farrier_network::ledger::Pair;
use farrier_network::policy::{Input, Machine, Stage};
use farrier_network::table::LISTEN_PORT;
use farrier_update::Reason;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

impl Exposer {
    /// Makes the run's Service, or makes it what it should be.
    pub(super) async fn make_service(&self, run: &UpdateRun) -> Result<(), Trouble> {
        let Some((frame, pair)) = self.frame(run).zip(bound_pairs(run).into_iter().next()) else {
            return Ok(());
        };
        let (exposure, uid) = (run.spec.callback.exposure, run.uid().unwrap_or_default());
        let nodes = self.recorded(run);
        let Some(wanted) = frame.service(exposure, pair, nodes) else { return Ok(()) };
        let (there, name) = (self.service_of(&uid), wanted.name_any());
        let full = format!("Service {}/{name}", self.site.namespace);
        let touched = match there.as_deref() {
            Some(there) => {
                let fields = differences(there, &wanted);
                if fields.is_empty() {
                    self.saw(&uid, &name);
                    return Ok(());
                }
                let theirs = is_of_same_words(there, &wanted);
                theirs.then(|| format!("{full} was changed by somebody ({})", fields.join(", ")))
            }
            None => self.missed(&uid, &name).then(|| format!("{full} was deleted by somebody")),
        };
        let written = match self.write_service(there.as_deref(), &wanted).await {
            // Somebody else has the ports now that machines were told.
            Err(error) if is_invalid(&error) && nodes.is_some() => {
                tracing::warn!(run = %run.name_any(), error = %chain(&error), "the Service cannot have its node ports again");
                self.progress().entry(uid).or_default().ports_lost = nodes;
                let Some(other) = frame.service(exposure, pair, None) else { return Ok(()) };
                self.write_service(there.as_deref(), &other).await
            }
            written => written,
        };
        let changed = written.map_err(|error| self.in_words("Service", &name, &error))?;
        if let Some(touched) = touched.filter(|_| changed) {
            self.tell(run, &touched).await;
        }
        Ok(())
    }

    /// The ports of a run's Service as machines call them.
    pub(super) fn outer_ports(&self, run: &UpdateRun, service: Option<&Service>) -> Option<Pair> {
        self.recorded(run).or_else(|| outer_ports(service?, run.spec.callback.exposure))
    }

    /// The node ports that machines were told: the Service is to have these, whatever somebody makes
    /// of it. Not once it was seen that they cannot be had any more.
    fn recorded(&self, run: &UpdateRun) -> Option<Pair> {
        let callback = run.status.as_ref()?.callback.as_ref()?;
        let told = Pair { http: callback.http_port?, https: callback.https_port? };
        let lost = self.progress().get(&run.uid()?).and_then(|progress| progress.ports_lost);
        (run.spec.callback.exposure == Exposure::NodePort && lost != Some(told)).then_some(told)
    }

    /// An object of the run is there as it should be.
    fn saw(&self, uid: &str, name: &str) {
        self.progress().entry(uid.to_owned()).or_default().seen.insert(name.to_owned());
    }

    /// An object of the run is not there, or is not to be any more; whether it was.
    fn missed(&self, uid: &str, name: &str) -> bool {
        self.progress().entry(uid.to_owned()).or_default().seen.remove(name)
    }

    /// Tells the run's owner that somebody had his hands in it.
    async fn tell(&self, run: &UpdateRun, what: &str) {
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

    pub(super) async fn make_policies(
        &self,
        run: &UpdateRun,
        machines: &[Concerned],
        runners: &Runners,
    ) -> Result<(), Trouble> {
        let (Some(objects), Some(frame)) = (&self.site.objects, self.frame(run)) else { return Ok(()) };
        let mut input = Input { pairs: bound_pairs(run).into_iter().collect(), ..Input::default() };
        let looked_up = join_all(machines.iter().map(|machine| self.names.of(&machine.node))).await;
        for (Concerned { node, phase }, mut addresses) in machines.iter().zip(looked_up) {
            // A name may mean anything, and a policy must not open the cluster's own addresses.
            addresses.retain(|address| self.site.admits(*address));
            input.machines.push(Machine {
                kind: convert::machine_type(node.spec.type_),
                addresses,
                ssh_port: node.spec.ssh.port,
                listen_port: LISTEN_PORT,
                channel: if super::calls_back(node, run) { Channel::Callback } else { Channel::Session },
                stage: Stage::In(*phase),
            });
        }
        input.peers = runners.values().flat_map(|info| pod_ips(&info.home)).collect();
        let wanted = frame.policies(&input);
        let uid = run.uid().unwrap_or_default();
        let there: BTreeMap<String, Arc<NetworkPolicy>> = objects
            .policies
            .state()
            .into_iter()
            .filter(|p| p.labels().get(LABEL_RUN_UID) == Some(&uid))
            .map(|p| (p.name_any(), p))
            .collect();
        for policy in &wanted {
            let name = policy.name_any();
            let touched = match there.get(&name) {
                Some(there) if is_same_policy(there, policy) => {
                    self.saw(&uid, &name);
                    continue;
                }
                Some(there) => is_of_same_words(&**there, policy).then_some("changed"),
                None => self.missed(&uid, &name).then_some("deleted"),
            };
            self.apply(policy).await?;
            if let Some(touched) = touched {
                self.tell(
                    run,
                    &format!("NetworkPolicy {}/{name} was {touched} by somebody", self.site.namespace),
                )
                .await;
            }
        }
        for (name, policy) in there {
            if !wanted.iter().any(|wanted| wanted.name_any() == name) {
                self.missed(&uid, &name);
                self.take_away(&*policy).await.map_err(Trouble::Server)?;
            }
        }
        let mut all = self.progress();
        let progress = all.entry(uid).or_default();
        progress.nothing_to_open = wanted.is_empty();
        if progress.way_in.as_ref().is_none_or(|(pairs, _)| *pairs != input.pairs) {
            progress.way_in = Some((input.pairs, Instant::now()));
        }
        Ok(())
    }

    fn frame<'a>(&'a self, run: &'a UpdateRun) -> Option<Frame<'a>> {
        match &self.site.home {
            Home::Pod { selector, .. } => Some(Frame { run, namespace: &self.site.namespace, selector }),
            Home::Host { .. } => None,
        }
    }
}

/// The pairs that runners listen on.
fn bound_pairs(run: &UpdateRun) -> Vec<Pair> {
    let status = run.status.clone().unwrap_or_default();
    let listeners: Vec<&ListenerStatus> = status.listeners.iter().collect();
    let Some(callback) = &status.callback else { return Vec::new() };
    bound(callback, &listeners).map(|p| Pair { http: p.http_port, https: p.https_port }).collect()
}

fn pod_ips(home: &Home) -> Vec<IpAddr> {
    match home {
        Home::Pod { pod_ips, .. } => pod_ips.clone(),
        Home::Host { .. } => Vec::new(),
    }
}
