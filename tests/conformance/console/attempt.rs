//! One attempt on a double, outside the kit.

use super::One;
use crate::bench::HOLD;
use farrier::attempt::logbook::apply;
use farrier::attempt::{Desk, End, Goal, Job, Logbook, NoDrain, View, now};
use farrier::conformance::Subject;
use farrier_update::ComponentResult;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

impl One<'_> {
    /// Makes an attempt whose actions are all recorded, and returns what is shown at its end.
    pub(crate) async fn attempt(&self, job: &Job) -> (End, View) {
        let (view, _) = watch::channel(View::default());
        let (logbook, mut requests) = Logbook::new();
        let (_stop, stop) = watch::channel(false);
        let (tools, driver) = (self.tools(), self.driver());
        let offers = self.offers();
        let reboot_recorded = watch::channel(true).1;
        let (actions, drain) = (Vec::new(), Arc::new(NoDrain));
        let desk =
            Desk { tools: &tools, stop, view: &view, logbook, actions, offers, drain, reboot_recorded };
        let mut attempt = driver.attempt(job, desk);
        let mut actions = Vec::new();
        let end = loop {
            tokio::select! {
                biased;
                Some(request) = requests.recv() => {
                    apply(&mut actions, &request.entry, "kit", now());
                    request.answer.send(Ok(Instant::now() + HOLD + Duration::from_secs(10))).ok();
                }
                end = &mut attempt => break end,
            }
        };
        let shown = view.borrow().clone();
        (end, shown)
    }

    /// Updates it, and returns the result of its component.
    pub(crate) async fn result(&self, change: impl FnOnce(&mut Job)) -> (ComponentResult, View) {
        let mut job = self.job(Goal::Update);
        change(&mut job);
        let (end, view) = self.attempt(&job).await;
        assert!(!view.results.is_empty(), "no result: {end:?}");
        (view.results.first().unwrap().clone(), view)
    }

    /// How often something was written to it, of whatever version.
    pub(crate) fn flashes(&self) -> usize {
        self.count("flash", |_| true)
    }
}
