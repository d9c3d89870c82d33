//! In which manner machines are brought to a baseline: stages and fault domains.

use super::super::quantity::Span;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A group of machines that are updated together, before those of the next stage.
// The limits of numbers are schema keywords, because a rule for each stage would exceed the cost limit of the API
// server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Name of the stage.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub name: String,
    /// Selects machines of the run by their labels. If it is not set, all machines that belong to no earlier stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Number of the selected machines that belong to the stage, in the order of their names: a number, or a
    /// percentage of all machines of the run (rounded down, at least 1). If it is not set, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 1_000_000, "pattern" = "^([1-9][0-9]?|100)%$"))]
    pub count: Option<IntOrString>,
    /// Maximum number of machines of the stage that are worked on at the same time, beside maxConcurrent of the run: a
    /// number, or a percentage of the machines of the stage (rounded down, at least 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 1_000_000, "pattern" = "^([1-9][0-9]?|100)%$"))]
    pub max_concurrent: Option<IntOrString>,
    /// How long the next stage waits after all machines of this one have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Span>,
    /// Whether a user has to approve the stage: Automatic (nobody has to) or Manual (all machines of the run are planned
    /// first, and the stage waits for the annotation farrier.dev/approve=STAGE@DIGEST with the digest in status.planDigest).
    #[serde(default, skip_serializing_if = "Approval::is_automatic")]
    pub approval: Approval,
    /// How many machines of the stage may fail: a number, or a percentage of the machines of the stage (rounded down).
    /// When more have failed, the run starts no further machines. If it is not set, the next stage begins only if the
    /// failureBudget of the run, applied to this stage, is not passed; without any budget, only if all succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = 1_000_000, "pattern" = "^([0-9]|[1-9][0-9]|100)%$"))]
    pub failure_budget: Option<IntOrString>,
    /// As failureBudget, for machines that were never reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = 1_000_000, "pattern" = "^([0-9]|[1-9][0-9]|100)%$"))]
    pub unreachable_budget: Option<IntOrString>,
}

/// Whether a user has to approve a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// Nobody has to.
    #[default]
    Automatic,
    /// A user has to.
    Manual,
}

impl Approval {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_automatic(&self) -> bool {
        matches!(self, Self::Automatic)
    }
}

/// How machines in progress are spread over fault domains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// The label of ManagedNodes whose value is the fault domain, for instance rack. All machines without the label are
    /// one domain.
    #[schemars(length(min = 1, max = 317))]
    pub label: String,
    /// Maximum number of machines of a domain that are worked on at the same time, by all runs of the namespace.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_unavailable: u32,
}

fn one() -> u32 {
    1
}
