//! How a machine is drained before it is disrupted.

use super::super::LocalRef;
use super::super::quantity::Span;
use super::super::tls::Tls;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How what a machine does for others is moved away before Farrier disrupts the machine, and let back afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.kubernetesNode), has(self.job), has(self.http)].filter(x, x).size() == 1").message("give exactly one of kubernetesNode, job and http"),
    validation = Rule::new("has(self.kubernetesNode) || (!self.force && !self.deleteEmptyDirData)").message("force and deleteEmptyDirData are about the pods of kubernetesNode: give that, or leave them out")
)]
pub struct Drain {
    /// The Node of the cluster that this machine is, for machines that are nodes of the cluster in which Farrier runs,
    /// and for the management processors of such machines. It is cordoned, its pods are evicted, and afterwards it is
    /// uncordoned. A Node that somebody else has cordoned is drained and stays cordoned. Needs drain.kubernetesNodes
    /// of the chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub kubernetes_node: Option<String>,

    /// Jobs that drain the machine, and undo that. Needs drain.jobs of the chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<DrainJob>,

    /// An HTTPS server that drains the machine, and undoes that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<DrainHttp>,

    /// How long the machine may take to be drained, and as long again for the reverse. A machine that is not drained
    /// by then fails with DrainTimedOut, and nothing is changed on it.
    #[serde(default = "fifteen_minutes")]
    pub timeout: Span,

    /// Also evicts pods that no controller replaces, as with kubectl drain --force. They are gone for good. Without it
    /// such a pod fails the drain before anything is done.
    #[serde(default)]
    pub force: bool,

    /// Also evicts pods with an emptyDir volume, as with kubectl drain --delete-emptydir-data. Its data are gone for
    /// good. Without it such a pod fails the drain before anything is done.
    #[serde(default)]
    pub delete_empty_dir_data: bool,
}

impl Default for Drain {
    /// Drains nothing.
    fn default() -> Self {
        Self {
            kubernetes_node: None,
            job: None,
            http: None,
            timeout: fifteen_minutes(),
            force: false,
            delete_empty_dir_data: false,
        }
    }
}

impl Drain {
    /// Returns what is drained, or what drains it, as `status.drain.what` of a NodeUpdate has it.
    pub fn what(&self) -> String {
        match (&self.kubernetes_node, &self.job, &self.http) {
            (Some(node), _, _) => format!("Node {node}"),
            (None, Some(job), _) => format!("CronJob {}", job.cron_job.name),
            // A query may be secret.
            (None, None, Some(http)) => http.url.split(['?', '#']).next().unwrap_or_default().to_owned(),
            (None, None, None) => String::new(),
        }
    }
}

fn fifteen_minutes() -> Span {
    Span::of(farrier_update::drain::DEFAULT_TIMEOUT)
}

/// Jobs that drain a machine, made from suspended CronJobs of its namespace. Their containers get the environment
/// variables FARRIER_MACHINE, FARRIER_RUN, FARRIER_PHASE (Drain or Undrain), FARRIER_DEADLINE and FARRIER_ID.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainJob {
    /// The CronJob whose template drains the machine.
    pub cron_job: LocalRef,
    /// The CronJob whose template undoes that. Without it nothing is called afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_cron_job: Option<LocalRef>,
}

/// An HTTPS server that drains a machine, and undoes that. It gets a POST with the fields machine, namespace, run,
/// phase (Drain or Undrain), deadline and id. 2xx means that it is done. 409, 425, 429, 502, 503 and 504 mean not yet:
/// the same is posted again, with the same id. Everything else fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.tls) || !has(self.tls.policy) || self.tls.policy != 'TrustOnFirstUse'").message("the certificate of a hook cannot be recorded on first use: use fingerprints, caRef or the policy System")
)]
pub struct DrainHttp {
    /// The URL, beginning with https://.
    #[schemars(length(min = 9, max = 2048), regex(pattern = r"^https://[^\s@]+$"))]
    pub url: String,

    /// How the certificate of the server is trusted. Without it, an authority of the operator's system must have signed
    /// it. TrustOnFirstUse is not possible here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// A Secret with the key token (sent as a bearer token), or username and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
}
