//! Whether a run can be changed as a person wishes, and by what patch. Pure.

use crate::api::update_run::{Approval, DesiredState, Stage, StageState, StageStatus};
use crate::api::{APPROVE_ANNOTATION, LocalRef, NodeUpdate, UpdateRun, condition};
use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A change of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// The merge patch; `None` if the run is as it should be.
    pub(super) patch: Option<Value>,
    /// What is true of the run afterwards, for instance: paused.
    pub(super) done: String,
}

/// A change, or why there is none and what to do instead.
pub(super) type Decision = Result<Change, String>;

/// What a person wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Start,
    Pause,
    Resume,
    Cancel,
}

impl Wish {
    fn verb(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Cancel => "cancelled",
        }
    }
}

/// Decides on spec.desiredState.
pub(super) fn desire(run: &UpdateRun, wish: Wish) -> Decision {
    let (name, verb) = (run.name_any(), wish.verb());
    if let Some(reason) = ended(run) {
        return Err(format!("UpdateRun {name} has ended ({reason}), so it cannot be {verb}"));
    }
    let set = |state: DesiredState, done: &str| {
        let patch = (run.spec.desired_state != state).then(|| json!({"spec": {"desiredState": state}}));
        Ok(Change { patch, done: done.to_owned() })
    };
    match (wish, run.spec.desired_state) {
        (Wish::Start | Wish::Pause | Wish::Resume, DesiredState::Cancel) => {
            Err(format!("UpdateRun {name} is being cancelled, which is final, so it cannot be {verb}"))
        }
        (Wish::Pause, DesiredState::Plan) => {
            Err(format!("UpdateRun {name} is only planned: nothing is started that could be paused"))
        }
        (Wish::Resume, DesiredState::Plan) => Err(format!(
            "UpdateRun {name} is only planned, and was never started; start it with farrier start {name} -n {}",
            run.namespace().unwrap_or_default()
        )),
        (Wish::Start, DesiredState::Pause) => Err(format!(
            "UpdateRun {name} is paused; let it go on with farrier resume {name} -n {}",
            run.namespace().unwrap_or_default()
        )),
        (Wish::Start, DesiredState::Plan | DesiredState::Run) => set(DesiredState::Run, "started"),
        (Wish::Pause, DesiredState::Run | DesiredState::Pause) => set(DesiredState::Pause, "paused"),
        (Wish::Resume, DesiredState::Run | DesiredState::Pause) => set(DesiredState::Run, "resumed"),
        (
            Wish::Cancel,
            DesiredState::Run | DesiredState::Plan | DesiredState::Pause | DesiredState::Cancel,
        ) => set(DesiredState::Cancel, "is being cancelled"),
    }
}

/// Returns the reason with which a run ended.
fn ended(run: &UpdateRun) -> Option<&str> {
    let succeeded = condition::find(&run.status.as_ref()?.conditions, "Succeeded")?;
    (succeeded.status != "Unknown").then_some(succeeded.reason.as_str())
}

/// A stage, and the plan that is approved for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) name: String,
    pub(super) digest: String,
    is_approved: bool,
}

/// Returns the stage to approve.
pub(super) fn stage_to_approve(
    run: &UpdateRun,
    wanted: Option<&str>,
    plan: Option<&str>,
) -> Result<Chosen, String> {
    let name = run.name_any();
    if let Some(reason) = ended(run) {
        return Err(format!("UpdateRun {name} has ended ({reason}), so no stage waits for an approval"));
    }
    let status = run.status.as_ref();
    let stages = status.map(|status| status.stages.as_slice()).unwrap_or_default();
    let names = || stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join(", ");
    let awaits = |stage: &&StageStatus| stage.state == StageState::AwaitingApproval;
    let digest = status.and_then(|status| status.plan_digest.as_deref());
    let stage = match wanted {
        Some(wanted) => stages.iter().find(|stage| stage.name == wanted).ok_or_else(|| match stages {
            [] => format!("UpdateRun {name} has no stages, so nothing waits for an approval"),
            _ => format!("UpdateRun {name} has no stage {wanted}; its stages are {}", names()),
        })?,
        None => stages.iter().find(awaits).ok_or_else(|| none_waits(&name, stages))?,
    };
    let is_approved = stage.approved_plan.is_some() && stage.approved_plan.as_deref() == digest;
    let (true, Some(digest)) = (awaits(&stage) || is_approved, digest) else {
        return Err(format!(
            "stage {} of UpdateRun {name} does not wait for an approval: it is {:?}",
            stage.name, stage.state
        ));
    };
    match plan {
        Some(plan) if plan != digest => Err(format!(
            "the plan of UpdateRun {name} is {digest} now, and not {plan}: nothing was approved; see what would change with kubectl get nodeupdates -l farrier.dev/run={name} -o yaml, and approve again"
        )),
        Some(_) | None => Ok(Chosen { name: stage.name.clone(), digest: digest.to_owned(), is_approved }),
    }
}

fn none_waits(name: &str, stages: &[StageStatus]) -> String {
    if stages.is_empty() {
        return format!("UpdateRun {name} has no stages, so nothing waits for an approval");
    }
    let each: Vec<String> =
        stages.iter().map(|stage| format!("{} is {:?}", stage.name, stage.state)).collect();
    format!("no stage of UpdateRun {name} waits for an approval: {}", each.join(", "))
}

/// Decides on the annotation. Approvals of other stages stay.
pub(super) fn approve(run: &UpdateRun, wanted: Option<&str>, plan: Option<&str>) -> Decision {
    let chosen = stage_to_approve(run, wanted, plan)?;
    let Chosen { name, digest, is_approved } = &chosen;
    let own = format!("{name}@{digest}");
    let before = run.annotations().get(APPROVE_ANNOTATION).map(String::as_str).unwrap_or_default();
    let others = before.split(',').map(str::trim).filter(|pair| {
        let stage = pair.split_once('@').map(|(stage, _)| stage.trim());
        !pair.is_empty() && stage != Some(name)
    });
    let all: Vec<&str> = others.chain([own.as_str()]).collect();
    let is_there = before.split(',').any(|pair| pair.trim() == own);
    let patch = json!({"metadata": {"annotations": {APPROVE_ANNOTATION: all.join(",")}}});
    Ok(Change {
        patch: (!is_approved && !is_there).then_some(patch),
        done: format!("approved for stage {name}"),
    })
}

/// Says what an approval is for: the changes, each with the number of its machines.
pub(super) fn approved(run: &UpdateRun, updates: &[NodeUpdate], chosen: &Chosen) -> String {
    let nodes = nodes_of(run, &chosen.name);
    let mut changes: BTreeMap<String, usize> = BTreeMap::new();
    let (mut unchanged, mut unplanned) = (0, 0);
    for node in nodes {
        let update = updates.iter().find(|update| update.spec.node_ref.name == *node);
        let Some(status) =
            update.and_then(|update| update.status.as_ref()).filter(|s| s.plan_digest.is_some())
        else {
            unplanned += 1;
            continue;
        };
        let mut installs = status.plan.iter().filter(|component| component.installs()).peekable();
        if installs.peek().is_none() {
            unchanged += 1;
        }
        for component in installs {
            let from = if component.from.is_empty() { "not installed" } else { &component.from };
            *changes.entry(format!("{}: {from} -> {}", component.name, component.to)).or_default() += 1;
        }
    }
    let mut text = format!(
        "stage {} of UpdateRun {}: {}, plan {}\n",
        chosen.name,
        run.name_any(),
        machines(nodes.len()),
        chosen.digest
    );
    for (change, count) in &changes {
        text.extend([format!("  {change} on {}\n", machines(*count))]);
    }
    for (count, what) in [(unchanged, "nothing to install"), (unplanned, "no plan yet")] {
        if count > 0 {
            text.extend([format!("  {what} on {}\n", machines(count))]);
        }
    }
    text
}

fn machines(count: usize) -> String {
    if count == 1 { "1 machine".to_owned() } else { format!("{count} machines") }
}

/// Returns the machines of a stage: the list of the run is in the order of its stages.
fn nodes_of<'a>(run: &'a UpdateRun, stage: &str) -> &'a [String] {
    let Some(status) = &run.status else { return &[] };
    let nodes = status.nodes.as_deref().unwrap_or_default();
    let mut begin = 0;
    for known in &status.stages {
        let end = begin + known.nodes as usize;
        if known.name == stage {
            return nodes.get(begin..end.min(nodes.len())).unwrap_or_default();
        }
        begin = end;
    }
    &[]
}

/// Returns the run that repeats another one for the machines that did not succeed.
pub(super) fn retry(run: &UpdateRun, name: Option<&str>) -> Result<UpdateRun, String> {
    let earlier = run.name_any();
    let counts = run.status.as_ref().map(|status| status.counts).unwrap_or_default();
    if ended(run).is_some() && counts.total == counts.succeeded {
        return Err(format!(
            "all {} of UpdateRun {earlier} succeeded, so there is nothing to retry",
            machines(counts.total as usize)
        ));
    }
    let mut spec = run.spec.clone();
    spec.desired_state = DesiredState::Run;
    spec.selector = None;
    spec.nodes = Vec::new();
    spec.retry_of = Some(LocalRef { name: earlier.clone() });
    // The selector of each stage must select a machine, which those of a canary that succeeded do not.
    let approval = spec.strategy.stages.iter().any(|stage| stage.approval == Approval::Manual);
    spec.strategy.stages = if approval { vec![approved_stage()] } else { Vec::new() };
    let name = name.map_or_else(|| following(&earlier), str::to_owned);
    let metadata = ObjectMeta { name: Some(name), namespace: run.namespace(), ..ObjectMeta::default() };
    Ok(UpdateRun { metadata, spec, status: None })
}

/// Returns a stage with all machines that somebody has to approve.
fn approved_stage() -> Stage {
    Stage {
        name: "retry".to_owned(),
        selector: None,
        count: None,
        max_concurrent: None,
        soak: None,
        approval: Approval::Manual,
        failure_budget: None,
        unreachable_budget: None,
    }
}

/// Returns the name of the run after this one: x-retry, then x-retry-2.
fn following(earlier: &str) -> String {
    match earlier.rsplit_once("-retry") {
        Some((base, "")) => format!("{base}-retry-2"),
        Some((base, number)) => {
            match number.strip_prefix('-').and_then(|number| number.parse::<u32>().ok()) {
                Some(number) => format!("{base}-retry-{}", number.saturating_add(1)),
                None => format!("{earlier}-retry"),
            }
        }
        None => format!("{earlier}-retry"),
    }
}

/// Says what a retry does.
pub(super) fn retried(run: &UpdateRun) -> String {
    let name = run.name_any();
    match (ended(run), run.status.as_ref().map(|status| status.counts)) {
        (Some(_), Some(counts)) => {
            let left = counts.total.saturating_sub(counts.succeeded) as usize;
            format!("It updates the {} of UpdateRun {name} that did not succeed.", machines(left))
        }
        (Some(_) | None, _) => {
            format!(
                "It waits until UpdateRun {name} has ended, and updates its machines that did not succeed."
            )
        }
    }
}
