//! Cordons a Node, evicts its pods, and uncordons it.

use super::{MachineDrain, Trouble, act, pods};
use crate::api::managed_node::Drain as DrainSpec;
use crate::api::{CORDONED_BY_ANNOTATION as CORDONED_BY, NodeUpdate};
use crate::attempt;
use crate::failure::chain;
use crate::inputs::answer;
use crate::publish::is_refused;
use farrier_update::Millis;
use farrier_update::drain::{
    Aim, Blocked, Clock, CordonedBy, Next, NodeFacts, NodeSeen, Permissions, Pod, Record, intent,
    next_of_node,
};
use k8s_openapi::api::core::v1::{Node, Pod as KubePod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;

/// How many pods one answer of the API server has: more than a Node usually carries.
const PAGE: u32 = 500;

/// How many pods a message names.
const MAX_NAMED: usize = 5;

/// Longest reason for a refused eviction that a message has.
const MAX_WHY_LEN: usize = 200;

/// The rights that a drain of a Node needs.
const RIGHTS: &str =
    "get and patch on nodes, list on pods, and create on pods/eviction, in the whole cluster";

/// The drain of a Node.
pub(super) struct NodeDrain<'a> {
    drain: &'a MachineDrain,
    name: &'a str,
    allowed: Permissions,
    /// When the eviction of a pod was refused, and why, by UID.
    refused: BTreeMap<String, (Millis, String)>,
    node: Option<Node>,
    pods: Vec<KubePod>,
}

impl<'a> NodeDrain<'a> {
    pub(super) fn new(drain: &'a MachineDrain, name: &'a str, spec: &DrainSpec) -> Self {
        let allowed = Permissions { alone: spec.force, local_data: spec.delete_empty_dir_data };
        Self { drain, name, allowed, refused: BTreeMap::new(), node: None, pods: Vec::new() }
    }

    /// Looks at the Node and, to drain it, at its pods, and decides.
    pub(super) async fn next(
        &mut self,
        record: Option<Record>,
        aim: Aim,
        clock: Clock,
    ) -> Result<Next, Trouble> {
        // Without a record there is no deadline for which a missing right could be waited for.
        if let Some(record) = intent(record, aim, clock) {
            return Ok(Next::Record(record));
        }
        let what = format!("Node {}", self.name);
        let api = self.nodes();
        self.node = answer(&what, || api.get_opt(self.name)).await.map_err(|error| self.refusal(&error))?;
        self.pods = match aim {
            Aim::Drain => self.list().await.map_err(|error| self.refusal(&error))?,
            Aim::Undrain => Vec::new(),
        };
        let node = match &self.node {
            Some(node) => Some(NodeFacts {
                unschedulable: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default(),
                cordoned_by: self.cordoned_by(node).await,
            }),
            None => None,
        };
        let facts: Vec<Pod> = self.pods.iter().map(|pod| self.facts(pod)).collect();
        let seen = NodeSeen { node: node.as_ref(), pods: &facts, allowed: self.allowed };
        Ok(next_of_node(record, aim, clock, seen))
    }

    fn facts(&self, pod: &KubePod) -> Pod {
        let refused = pod.uid().and_then(|uid| self.refused.get(&uid).map(|(at, _)| *at));
        pods::facts(pod, refused)
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.drain.context.client.clone())
    }

    async fn list(&self) -> Result<Vec<KubePod>, kube::Error> {
        let api: Api<KubePod> = Api::all(self.drain.context.client.clone());
        let what = format!("the pods of Node {}", self.name);
        let mut params = ListParams::default().fields(&format!("spec.nodeName={}", self.name)).limit(PAGE);
        let mut pods = Vec::new();
        loop {
            let page = answer(&what, || api.list(&params)).await?;
            pods.extend(page.items);
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => params = params.continue_token(&more),
                None => return Ok(pods),
            }
        }
    }

    fn mark(&self) -> String {
        let update = &self.drain.update;
        format!("{}/{}/{}", self.drain.namespace(), update.name_any(), update.uid().unwrap_or_default())
    }

    /// Determines who has cordoned the Node.
    async fn cordoned_by(&self, node: &Node) -> CordonedBy {
        let Some(mark) = node.annotations().get(CORDONED_BY) else { return CordonedBy::Nobody };
        if *mark == self.mark() {
            return CordonedBy::Us;
        }
        let mut parts = mark.splitn(3, '/');
        let (Some(namespace), Some(name), Some(uid)) = (parts.next(), parts.next(), parts.next()) else {
            return CordonedBy::Gone;
        };
        let api: Api<NodeUpdate> = Api::namespaced(self.drain.context.client.clone(), namespace);
        match answer(&format!("NodeUpdate {namespace}/{name}"), || api.get_opt(name)).await {
            Ok(found) => {
                let is_over = |update: &NodeUpdate| {
                    update.status.as_ref().is_some_and(|status| status.finished_at.is_some())
                };
                match found.filter(|found| found.uid().as_deref() == Some(uid) && !is_over(found)) {
                    Some(_) => CordonedBy::Other(format!("NodeUpdate {namespace}/{name}")),
                    None => CordonedBy::Gone,
                }
            }
            // It belongs to an installation whose objects this one may not read.
            Err(_) => CordonedBy::Other(format!("NodeUpdate {namespace}/{name}")),
        }
    }

    /// Carries out one step.
    pub(super) async fn act(&mut self, next: &Next) -> Result<(), Trouble> {
        match next {
            Next::Cordon => self.write(Some(self.mark())).await,
            Next::Uncordon => self.write(None).await,
            Next::Evict(pods) => self.evict_all(pods).await,
            Next::Record(_) | Next::Call | Next::Wait(_) | Next::Done | Next::Fail(..) => Ok(()),
        }
    }

    /// Cordons or uncordons the Node, unless somebody has changed it meanwhile: then it is looked at again.
    async fn write(&self, by: Option<String>) -> Result<(), Trouble> {
        let Some(node) = &self.node else { return Ok(()) };
        let written = act::cordon(&self.drain.context.client, node, by.as_deref()).await;
        written.map_err(|error| self.refusal(&error))
    }

    /// Asks for the eviction of these pods, one after the other.
    async fn evict_all(&mut self, positions: &[usize]) -> Result<(), Trouble> {
        for pod in positions.iter().filter_map(|at| self.pods.get(*at)) {
            match act::evict(&self.drain.context.evictions, pod).await {
                Ok(()) => {}
                Err(error) if is_refused(&error) => return Err(self.refusal(&error)),
                // Its budget does not allow it now; or the API server does not answer.
                Err(error) => {
                    let why = why(&error);
                    tracing::info!(pod = pods::name(pod), why, "an eviction was refused for now");
                    self.refused.insert(pod.uid().unwrap_or_default(), (attempt::now(), why));
                }
            }
        }
        Ok(())
    }

    fn refusal(&self, error: &kube::Error) -> Trouble {
        Trouble::Refused(format!(
            "the API server refuses to let Farrier drain Node {}: {}. Farrier needs {RIGHTS}; set drain.kubernetesNodes: true in the chart's values, or grant them",
            self.name,
            why(error)
        ))
    }

    /// Describes what the drain waits for, or has failed because of.
    pub(super) fn words(&self, next: &Next) -> (String, String) {
        match next {
            Next::Wait(blocked) | Next::Fail(_, blocked) => self.blocked(blocked),
            Next::Record(_) | Next::Cordon | Next::Uncordon | Next::Evict(_) | Next::Call | Next::Done => {
                (String::new(), String::new())
            }
        }
    }

    fn blocked(&self, blocked: &Blocked) -> (String, String) {
        let machine = self.drain.machine();
        match blocked {
            Blocked::Other(other) => (
                format!("{other}, which has cordoned Node {}, to give it back", self.name),
                "another drain".to_owned(),
            ),
            Blocked::Pods(pods) => (
                format!("{} to leave Node {}: {}", count(pods.len()), self.name, self.named(pods)),
                "pods".to_owned(),
            ),
            Blocked::Forbidden(pods) => (
                format!(
                    "{} would be gone for good, or lose data: {}; move them away, or allow it with force or deleteEmptyDirData in spec.drain of ManagedNode {machine}",
                    count(pods.len()),
                    self.named(pods)
                ),
                "pods".to_owned(),
            ),
            Blocked::NoNode => (
                format!(
                    "the cluster has no Node {}; correct spec.drain.kubernetesNode of ManagedNode {machine}",
                    self.name
                ),
                "the Node".to_owned(),
            ),
            Blocked::Hook(words) => (words.clone(), "the hook".to_owned()),
        }
    }

    /// Names pods, each with what keeps it.
    fn named(&self, positions: &[usize]) -> String {
        let pods = positions.iter().filter_map(|at| self.pods.get(*at));
        let named: Vec<String> = pods.take(MAX_NAMED).map(|pod| self.described(pod)).collect();
        match positions.len().saturating_sub(named.len()) {
            0 => named.join(", "),
            more => format!("{} and {more} more", named.join(", ")),
        }
    }

    fn described(&self, pod: &KubePod) -> String {
        let facts = self.facts(pod);
        let name = pods::name(pod);
        let refused = pod.uid().and_then(|uid| self.refused.get(&uid)).map(|(_, why)| why);
        match (facts.is_leaving, refused) {
            (true, _) => format!("{name} (terminating)"),
            (false, Some(why)) => format!("{name} ({why})"),
            (false, None) if facts.has_local_data => format!("{name} (emptyDir)"),
            (false, None) if facts.kind == farrier_update::drain::PodKind::Alone => {
                format!("{name} (no controller)")
            }
            (false, None) => name,
        }
    }

    /// Says how a user uncordons the Node.
    pub(super) fn by_hand(&self) -> String {
        format!(
            "uncordon it by hand: kubectl uncordon {0} && kubectl annotate node {0} {CORDONED_BY}-",
            self.name
        )
    }
}

fn count(pods: usize) -> String {
    if pods == 1 { "1 pod".to_owned() } else { format!("{pods} pods") }
}

/// Returns what the API server says, with the budget that it names.
fn why(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else { return chain(error) };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let budget = causes.map(|cause| cause.message.clone()).find(|message| !message.is_empty());
    budget.unwrap_or_else(|| status.message.clone()).chars().take(MAX_WHY_LEN).collect()
}
