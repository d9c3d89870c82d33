//! Which engine may get the task that reboots the machine: none that has forgotten that the machine was rebooted.
//!
//! An engine knows from its journal that the machine was rebooted for the session. On a machine whose root is in
//! memory the journal looks permanent and is gone after the reboot, and the next engine would do it again.

use super::{EngineApi, State};
use farrier_protocol::{EventBody, Task, Work};

impl EngineApi {
    /// Sets the boot that the reboot of this session ends. It must be recorded before the task is handed out, so that
    /// another runner can set it again.
    pub fn reboot_ends(&self, boot_id: &str) {
        self.lock().boot_to_end = Some(boot_id.to_owned());
        self.changed.notify_waiters();
    }

    /// Reports whether the machine was booted again since, and its engine has lost the journal.
    pub fn has_forgotten_reboot(&self) -> bool {
        self.lock().has_forgotten_reboot()
    }

    /// Waits for an engine for which [`Self::has_forgotten_reboot`] is true.
    pub async fn forgotten_reboot(&self) {
        self.wait(|state| state.has_forgotten_reboot().then_some(())).await;
    }
}

impl State {
    /// Reports whether the connected engine may get the task.
    pub(super) fn may_get(&self, task: &Task) -> bool {
        let is_reboot = matches!(task.work, Work::Reboot { .. });
        !is_reboot || !self.is_other_boot() || (self.is_greeted() && self.journal_has_work())
    }

    fn has_forgotten_reboot(&self) -> bool {
        self.is_greeted() && self.is_other_boot() && !self.journal_has_work()
    }

    /// Reports whether the engine is in another boot than the one that the reboot ends. Not if one is not known.
    fn is_other_boot(&self) -> bool {
        let now = self.peer.as_ref().and_then(|peer| peer.boot_id.as_ref());
        now.zip(self.boot_to_end.as_ref()).is_some_and(|(now, then)| now != then)
    }

    /// Reports whether the journal of the connected engine has a task. Every task before the reboot is in it, unless
    /// it was lost.
    fn journal_has_work(&self) -> bool {
        let from = self.lost_journal.map_or(0, |lost| lost.saturating_add(1));
        self.events.range(from..).any(|(_, event)| {
            matches!(
                event.body,
                EventBody::SurveyDone { .. }
                    | EventBody::TaskStarted { .. }
                    | EventBody::TaskDone { .. }
                    | EventBody::RebootBegun { .. }
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{engine_api, event, hello, survey_done};
    use super::*;
    use farrier_protocol::Hello;
    use std::time::Duration;

    fn in_boot(boot: &str, last_seq: u64) -> Hello {
        Hello { boot_id: boot.into(), ..hello(last_seq) }
    }

    async fn is_handed_out(api: &EngineApi) -> bool {
        tokio::time::timeout(Duration::from_millis(20), api.next_task(None)).await.is_ok()
    }

    /// A machine that boots from the network into memory would be rebooted again and again.
    #[tokio::test]
    async fn an_engine_that_has_lost_its_journal_by_a_reboot_is_not_told_to_reboot_again() {
        let begun = EventBody::RebootBegun { task: "a-reboot".into(), boot_id: "one".into() };
        let work = Work::Reboot {
            delay_seconds: 0,
            message: String::new(),
            wait_seconds: 0,
            ignore_inhibitors: false,
        };
        let task = Task { id: "a-reboot".into(), work };
        // The runner is the one that has asked for the reboot, or another one, which has only the record.
        for events in [vec![event(1, survey_done("a-verify")), event(2, begun)], Vec::new()] {
            let api = engine_api();
            api.lock().task = Some(task.clone());
            let last = events.len() as u64;
            api.greet(&in_boot("one", last)).unwrap();
            api.take(events, 0).unwrap();
            api.reboot_ends("one");
            assert!(is_handed_out(&api).await && !api.has_forgotten_reboot(), "in the same boot");
            api.greet(&in_boot("two", 0)).unwrap();
            assert!(!is_handed_out(&api).await, "the machine was rebooted");
            assert!(api.has_forgotten_reboot());
            api.forgotten_reboot().await;
        }
    }

    /// A machine that keeps its journal would not be proven to be rebooted, or its attempt would not go on.
    #[tokio::test]
    async fn an_engine_that_has_kept_its_journal_goes_on() {
        let api = engine_api();
        api.reboot_ends("one");
        api.greet(&in_boot("two", 1)).unwrap();
        assert!(!api.has_forgotten_reboot(), "its events have not arrived");
        api.take(vec![event(1, survey_done("a-verify"))], 0).unwrap();
        assert!(!api.has_forgotten_reboot());
        // An engine that does not know its boot is not suspected.
        let api = engine_api();
        api.reboot_ends("one");
        api.greet(&in_boot("", 0)).unwrap();
        assert!(!api.has_forgotten_reboot());
    }
}
