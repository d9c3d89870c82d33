//! The maintenance window of an UpdateRun.

use crate::api::quantity::Span;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// When machines may be changed. It bounds the operation Update only: plans, inventories and staging are made at
/// any time. No machine is begun outside of the window, nor one whose recent updates took longer than the rest of
/// the window; what is in progress when the window closes is finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWindow {
    /// When the window opens, as the schedule of a CronJob: minute, hour, day of the month, month and day of the
    /// week, for instance 0 22 * * 6. L is the last day, and 6#2 the second Saturday of a month. An opening at a
    /// time that the clocks skip is at the moment when they change; one at a time that comes twice is at the first.
    #[schemars(length(max = 128), regex(pattern = r"^[0-9A-Za-z*?,/#-]+( +[0-9A-Za-z*?,/#-]+){4}$"))]
    pub schedule: String,

    /// How long the window stays open each time, at least 1m: elapsed time, on days on which clocks change, too.
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("duration is at least 1m"))]
    pub duration: Span,

    /// Time zone of the schedule: a name of the IANA database, for instance Europe/Berlin.
    #[serde(default = "utc")]
    #[schemars(length(max = 64), regex(pattern = r"^[A-Za-z][0-9A-Za-z_+/-]*$"))]
    pub time_zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}
