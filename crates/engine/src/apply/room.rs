//! Waits for free space on the machine's disks.

use crate::apply_error::ApplyError;
use crate::shared::Shared;
use crate::space::SpaceError;
use crate::wait::{Ended, Obstacle, wait};
use farrier_protocol::WaitFor;
use std::time::Duration;

/// Waits until `check` finds enough free space, for at most `limit`. `component` is the component that
/// needs the space, or empty.
pub(super) fn wait_for_room(
    shared: &Shared,
    component: &str,
    limit: Duration,
    check: impl Fn() -> Result<(), SpaceError>,
) -> Result<(), ApplyError> {
    let failed = |trouble: SpaceError| {
        let (code, message) = trouble.describe();
        ApplyError::Failed { code, component: component.into(), message }
    };
    let look = || match check() {
        Ok(()) => Ok(Ok(())),
        // Waiting does not help if the free space cannot be determined.
        Err(unknown @ SpaceError::Unknown(_)) => Ok(Err(failed(unknown))),
        Err(SpaceError::Full { path, needed, free, what: _ }) => {
            let path = path.display().to_string();
            Err(Obstacle { what: WaitFor::Room { path, needed, free }, holder: None })
        }
    };
    match wait(shared, limit, look) {
        Ok(found) => found,
        Err(Ended::Stopped(stop)) => Err(ApplyError::Stopped(stop)),
        // The last check reports what is missing at this moment, or finds that there is enough space now.
        Err(Ended::Expired(_)) => check().map_err(failed),
    }
}
