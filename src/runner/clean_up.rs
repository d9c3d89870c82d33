//! Loads the input of a clean-up: the machine's address and its credentials, and nothing of the run, which
//! may be gone.

use super::Context;
use super::load::Attempt;
use crate::api::{NodeUpdate, UpdateRun, condition};
use crate::attempt::{Goal, Job};
use crate::convert;
use crate::drivers::Abilities;
use crate::failure::Failure;
use farrier_update::{FailedDependency, Force, Reason, RebootOrder};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::collections::BTreeMap;
use std::time::Duration;

impl Context {
    /// Loads what is needed to clean a machine. Of the run only the baseline is used, if both still exist: it
    /// says how long an installer that still runs may take.
    ///
    /// # Errors
    /// `NodeNotFound`, `SecretNotFound`, `SecretIncomplete`, `KeyUnreadable`, `KeyPassphraseWrong`,
    /// `InternalError`.
    pub(super) async fn load_clean_up(
        &self,
        update: &NodeUpdate,
        run: Option<&UpdateRun>,
        attempt: u32,
    ) -> Result<Attempt, Failure> {
        let namespace = update.namespace().unwrap_or_default();
        let node = self.node(update, &namespace).await?;
        let driver = self.inputs().driver(&node, &namespace).await?;
        let baseline = run.and_then(|run| run.spec.baseline_ref.as_ref());
        let baseline =
            baseline.and_then(|b| self.caches.baselines.get(&ObjectRef::new(&b.name).within(&namespace)));
        let job = Job {
            session: update.uid().unwrap_or_default(),
            run: update.spec.run_ref.name.clone(),
            node: node.name_any(),
            node_type: node.spec.type_,
            installers: &[],
            all_installers: self.register.installers().clone(),
            runner: self.name.clone(),
            attempt,
            goal: Goal::CleanUp,
            touched: true,
            resumed: false,
            components: baseline.iter().flat_map(|b| &b.spec.components).map(convert::component).collect(),
            access: BTreeMap::new(),
            device: crate::attempt::DeviceOrder::default(),
            force: Force::default(),
            on_failed_dependency: FailedDependency::default(),
            lease_seconds: self.lease_seconds,
            stage_for: crate::attempt::STAGE_FOR,
            wait_seconds: self.wait_seconds,
            approved: None,
            reboot: RebootOrder::default(),
            rebooting: None,
            installed_earlier: Vec::new(),
            log: self.log_options(&driver.logins, &BTreeMap::new()),
            callback: None,
            listen: None,
        };
        Ok(Attempt { job, driver })
    }

    /// Describes what stays on a machine to which no account can sign in any more, and until when.
    pub(super) fn left_behind(
        &self,
        update: &NodeUpdate,
        failure: &Failure,
        abilities: Option<&Abilities>,
    ) -> Failure {
        let node = &update.spec.node_ref.name;
        let missing = if failure.reason == Reason::NodeNotFound {
            format!("ManagedNode {node} is gone")
        } else {
            failure.message.clone()
        };
        if !Abilities::engine_cleans_up(abilities) {
            let words = format!(
                "no account can sign in to {node} to clean it: {missing}. What status.actions shows as Begun or Intended may stay on the machine; remove it by hand"
            );
            return Failure::new(Reason::CleanupPending, words);
        }
        // The engine was in contact until now at the latest.
        let end = condition::now().0.checked_add(Duration::from_secs(self.lease_seconds));
        let end = end.and_then(|end| end.round(jiff::Unit::Second));
        let until = end.map_or_else(|_| "its lease ends".to_owned(), |end| end.to_string());
        Failure::new(
            Reason::CleanupPending,
            format!(
                "no account can sign in to {node} to clean it: {missing}. An engine on the machine, and its files, stay until {until} at the latest: when its lease of {} s without contact expires, it removes everything, after a running installer has finished",
                self.lease_seconds
            ),
        )
    }
}

/// Whether a clean-up fails because of a missing object that a user may create again.
pub(super) fn is_missing(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::NodeNotFound | Reason::ManagerNotFound | Reason::SecretNotFound)
}
