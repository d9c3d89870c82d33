//! Devices that want to be left alone for a while.

use super::super::Device;
use super::Walk;
use crate::attempt;

impl<D: Device> Walk<'_, D> {
    /// Notes when the device wants to be asked again, according to its last answer. However long that is, it is asked
    /// again before it would count as refusing for too long.
    pub(super) fn note_rest(&mut self) {
        let longest = self.device.limits().refused;
        let rest = self.device.wants_rest().map(|rest| rest.min(longest));
        self.not_before = rest.map(|rest| attempt::now().after(rest));
    }
}
