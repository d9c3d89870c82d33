//! Waits for room on the machine's disks.

use crate::apply_error::ApplyError;
use crate::shared::Shared;
use crate::space::CopyError;
use crate::wait::{Ended, Obstacle, wait};
use farrier_protocol::WaitFor;
use std::time::Duration;

/// Waits until `check` finds enough room, for at most `limit`. `component` is whose fault it is that
/// there is none, or empty.
pub(super) fn wait_for_room(
    shared: &Shared,
    component: &str,
    limit: Duration,
    check: impl Fn() -> Result<(), CopyError>,
) -> Result<(), ApplyError> {
    let failed = |trouble: CopyError| {
        let (code, message) = trouble.describe();
        ApplyError::Failed { code, component: component.into(), message }
    };
    let look = || match check() {
        Ok(()) => Ok(Ok(())),
        // Waiting does not help to find it out.
        Err(unknown @ CopyError::Unknown(_)) => Ok(Err(failed(unknown))),
        Err(CopyError::Full { path, needed, free, what: _ }) => {
            let path = path.display().to_string();
            Err(Obstacle { what: WaitFor::Room { path, needed, free }, holder: None })
        }
    };
    match wait(shared, limit, look) {
        Ok(found) => found,
        Err(Ended::Stopped(stop)) => Err(ApplyError::Stopped(stop)),
        // A last look says what is missing now. It may even find that nothing is.
        Err(Ended::Expired(_)) => check().map_err(failed),
    }
}
