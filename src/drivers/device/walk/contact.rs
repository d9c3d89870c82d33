//! Whether the device answers, and when it wants to be asked again.

use super::super::{Device, Trouble};
use super::Walk;
use crate::attempt;
use farrier_update::Reason;
use farrier_update::device::Silence;

impl<D: Device> Walk<'_, D> {
    /// Notes when the device wants to be asked again, according to its last answer. However long that is, it is asked
    /// again before it would count as refusing for too long.
    pub(super) fn note_rest(&mut self) {
        let longest = self.device.limits().refused;
        let rest = self.device.wants_rest().map(|rest| rest.min(longest));
        self.not_before = rest.map(|rest| attempt::now().after(rest));
    }

    /// The device answered.
    pub(super) fn answered(&mut self) {
        self.silence = None;
        self.desk.view.send_modify(|v| v.lost = None);
    }

    /// The device did not answer, or not usefully.
    pub(super) fn troubled(&mut self, trouble: Trouble) {
        let Trouble { failure, is_refused, is_answer: _ } = trouble;
        tracing::info!(reason = %failure.reason, "{}", failure.message);
        if failure.reason == Reason::SessionEnded {
            self.session = None;
            self.readings.clear();
            self.ended_sessions = self.ended_sessions.saturating_add(1);
            if self.ended_sessions == 1 {
                return;
            }
        }
        // What was read before may not hold any more: the device may have restarted.
        self.readings.clear();
        let now = attempt::now();
        let (since, times) = self.silence.map_or((now, 0), |silence| (silence.since, silence.times));
        let refused = is_refused.then_some(failure.reason);
        self.silence = Some(Silence { since, last: now, times: times.saturating_add(1), refused });
        if self.latest.is_some() {
            self.desk.view.send_modify(|v| v.lost = Some(failure.clone()));
        }
        self.trouble = Some(failure);
    }
}
