//! Carries out the effects of a decision. Every effect is idempotent.

use super::super::{Context, PARALLEL_WRITES};
use super::namespace;
use crate::api::node_update::{Intent as ApiIntent, NodeUpdateSpec};
use crate::api::{
    ABANDON_ANNOTATION, FINALIZER, LABEL_NODE, LABEL_RUN, LocalRef, NodeUpdate, UpdateRun, label_value,
};
use crate::exposure::{ActiveMachine, ExposeOutcome};
use crate::publish::{self, CONTROLLER, is_conflict, is_gone};
use farrier_update::NodeName;
use farrier_update::model::RunnerName;
use farrier_update::run::{Effect, Intent};
use futures::future::join_all;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Maximum length of an object name that is also valid as a label value and a host name.
const MAX_NAME_LEN: usize = 63;

/// Carries out all effects except `ReleaseRun`, which follows after the status. Returns the run after
/// our own writes; `None` if this replica has lost leadership, and the remaining effects were not
/// carried out.
pub(super) async fn act(
    context: &Context,
    mut run: Arc<UpdateRun>,
    effects: &[Effect],
    machines: &[ActiveMachine],
) -> Result<Option<Arc<UpdateRun>>, kube::Error> {
    for effects in effects.chunk_by(|one, next| is_of_node(one) && is_of_node(next)) {
        if !context.leads.is_held() {
            return Ok(None);
        }
        let [effect] = effects else {
            act_on_nodes(context, &run, effects).await?;
            continue;
        };
        match effect {
            // The list itself is written with the status. The finalizer is set first: from then on the run
            // cannot be deleted before its machines are clean.
            Effect::RecordTargets { .. } => {
                if let Some(held) = publish::finalizer(&context.client, &*run, FINALIZER, true).await? {
                    context.own_writes.remember_run(held.clone());
                    run = Arc::new(held);
                }
            }
            Effect::Start { .. } | Effect::SetIntent { .. } => act_on_node(context, &run, effect).await?,
            Effect::DeleteRun => delete(context, &run).await?,
            Effect::OpenPaths => {
                let runs = context.own_writes.runs(&context.caches);
                match context.exposer.open(&run, &runs, machines).await? {
                    ExposeOutcome::Unchanged => {}
                    ExposeOutcome::Written(written) => {
                        context.own_writes.remember_run((*written).clone());
                        run = Arc::new(*written);
                    }
                    ExposeOutcome::Failed => break,
                }
            }
            Effect::ClosePaths => {
                if let Some(written) = context.exposer.close(&run).await? {
                    context.own_writes.remember_run(written.clone());
                    run = Arc::new(written);
                }
            }
            // Starts are recorded with the status.
            Effect::RecordStarts { .. } | Effect::ReleaseRun => {}
        }
    }
    Ok(context.leads.is_held().then_some(run))
}

/// Reports whether an effect concerns one node only.
const fn is_of_node(effect: &Effect) -> bool {
    matches!(effect, Effect::Start { .. } | Effect::SetIntent { .. })
}

/// Carries out effects on nodes, some at a time. After an error no further ones are begun.
async fn act_on_nodes(context: &Context, run: &UpdateRun, effects: &[Effect]) -> Result<(), kube::Error> {
    for some in effects.chunks(PARALLEL_WRITES) {
        if !context.leads.is_held() {
            return Ok(());
        }
        // A request that is dropped may be carried out all the same, and its answer would be lost.
        let results = join_all(some.iter().map(|effect| act_on_node(context, run, effect))).await;
        results.into_iter().collect::<Result<(), _>>()?;
    }
    Ok(())
}

async fn act_on_node(context: &Context, run: &UpdateRun, effect: &Effect) -> Result<(), kube::Error> {
    match effect {
        Effect::Start { node, intent, runner } => start(context, run, node, *intent, runner).await,
        Effect::SetIntent { node, intent } => set_intent(context, run, node, *intent).await,
        Effect::RecordTargets { .. }
        | Effect::RecordStarts { .. }
        | Effect::OpenPaths
        | Effect::ClosePaths
        | Effect::ReleaseRun
        | Effect::DeleteRun => Ok(()),
    }
}

/// Removes the finalizer, because nothing of the run is left on any machine.
pub(super) async fn release(context: &Context, run: &UpdateRun) -> Result<(), kube::Error> {
    let api: Api<UpdateRun> = Api::namespaced(context.client.clone(), &namespace(run));
    match api.get(&run.name_any()).await {
        Ok(fresh) if fresh.uid() == run.uid() => {
            publish::finalizer(&context.client, &fresh, FINALIZER, false).await.map(|_| ())
        }
        Ok(_) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Abandons a run whose user does not want to wait for its machines: annotates and deletes every
/// NodeUpdate, and releases the run.
pub(super) async fn abandon(
    context: &Context,
    run: &UpdateRun,
    updates: &[Arc<NodeUpdate>],
) -> Result<(), kube::Error> {
    let api: Api<NodeUpdate> = Api::namespaced(context.client.clone(), &namespace(run));
    let patch = json!({"metadata": {"annotations": {ABANDON_ANNOTATION: "with its run"}}});
    for update in updates {
        let name = update.name_any();
        let told = api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        let deleted = match told {
            Ok(_) => api.delete(&name, &DeleteParams::default()).await.map(|_| ()),
            Err(error) => Err(error),
        };
        match deleted {
            Err(error) if !is_gone(&error) => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    context.exposer.close(run).await?;
    release(context, run).await
}

async fn start(
    context: &Context,
    run: &UpdateRun,
    node: &NodeName,
    intent: Intent,
    runner: &RunnerName,
) -> Result<(), kube::Error> {
    let update = build(run, node, intent, runner);
    let api: Api<NodeUpdate> = Api::namespaced(context.client.clone(), &namespace(run));
    match api
        .create(&PostParams { field_manager: Some(CONTROLLER.into()), ..PostParams::default() }, &update)
        .await
    {
        Ok(created) => {
            tracing::info!(node = %node, "started");
            context.own_writes.remember_update(created);
            Ok(())
        }
        // An earlier decision of ours created it, and the cache does not show it yet.
        Err(error) if is_conflict(&error) => {
            context.own_writes.remember_update(api.get(&update.name_any()).await?);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn build(run: &UpdateRun, node: &NodeName, intent: Intent, runner: &RunnerName) -> NodeUpdate {
    let mut update = NodeUpdate::new(
        &update_name(&run.name_any(), &node.0),
        NodeUpdateSpec {
            run_ref: LocalRef { name: run.name_any() },
            node_ref: LocalRef { name: node.0.clone() },
            runner: runner.0.clone(),
            intent: api_intent(intent),
        },
    );
    update.metadata.namespace = run.namespace();
    update.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    update.metadata.owner_references = run.controller_owner_ref(&()).map(|owner| vec![owner]);
    update.metadata.labels = Some(BTreeMap::from([
        (LABEL_RUN.to_owned(), label_value(&run.name_any())),
        (LABEL_NODE.to_owned(), label_value(&node.0)),
    ]));
    update
}

/// Returns `<run>-<node>`, shortened with a hash if it is too long.
fn update_name(run: &str, node: &str) -> String {
    let full = format!("{run}-{node}");
    if full.len() <= MAX_NAME_LEN {
        return full;
    }
    let hash = crate::engines::hex(&Sha256::digest(full.as_bytes()));
    let hash = hash.get(..10).unwrap_or_default();
    let kept: String = full.chars().take(MAX_NAME_LEN - hash.len() - 1).collect();
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}

fn api_intent(intent: Intent) -> ApiIntent {
    match intent {
        Intent::Plan => ApiIntent::Plan,
        Intent::Run => ApiIntent::Run,
        Intent::Cancel => ApiIntent::Cancel,
    }
}

async fn set_intent(
    context: &Context,
    run: &UpdateRun,
    node: &NodeName,
    intent: Intent,
) -> Result<(), kube::Error> {
    let api: Api<NodeUpdate> = Api::namespaced(context.client.clone(), &namespace(run));
    let patch = json!({"spec": {"intent": api_intent(intent)}});
    let name = update_name(&run.name_any(), &node.0);
    match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(patched) => {
            context.own_writes.remember_update(patched);
            Ok(())
        }
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn delete(context: &Context, run: &UpdateRun) -> Result<(), kube::Error> {
    let api: Api<UpdateRun> = Api::namespaced(context.client.clone(), &namespace(run));
    let this_one = Preconditions { uid: run.uid(), resource_version: None };
    let parameters = DeleteParams::background().preconditions(this_one);
    match api.delete(&run.name_any(), &parameters).await {
        Ok(_) => Ok(()),
        Err(error) if is_gone(&error) || is_conflict(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::update_name;

    #[test]
    fn long_names_are_shortened_and_stay_different() {
        let run = "r".repeat(40);
        let (a, b) = (update_name(&run, &"n".repeat(50)), update_name(&run, &format!("{}x", "n".repeat(50))));
        assert!(a.len() <= 63 && b.len() <= 63);
        assert_ne!(a, b);
        assert_eq!(update_name("r12", "db-01"), "r12-db-01");
    }
}
