//! The action of an event: a closed list, and its documentation.

/// Declares each action once: its variant, its entry in the list, and its texts.
macro_rules! actions {
    ($($(#[doc = $when:literal])+ $name:ident on $about:literal because $reasons:literal,)+) => {
        /// The action during which an event occurred.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[doc = $when])+ $name,)+
        }

        impl Action {
            /// All actions.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name, as written in the event.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// The kinds of the objects that events with this action are about.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$name => $about,)+
                }
            }

            /// The reasons of events with this action.
            pub const fn reasons(self) -> &'static str {
                match self {
                    $(Self::$name => $reasons,)+
                }
            }

            /// When events with this action are published, for users.
            pub const fn when(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($when),+).trim_ascii(),)+
                }
            }
        }
    };
}

actions! {
    /// The list of machines was decided, or a machine was planned.
    Plan on "UpdateRun, NodeUpdate" because "`Planned`",
    /// Machines were started; the note names them.
    Start on "UpdateRun" because "`Started`",
    /// Machines will not be begun because of another one; the note names that one.
    Skip on "UpdateRun" because "`Skipped`",
    /// The run is waiting, or the work on a machine waits for the maintenance window; the note says for what.
    Wait on "UpdateRun, NodeUpdate" because "as in the condition `Progressing`; `OutsideWindow`",
    /// The run has ended.
    Finish on "UpdateRun" because "as in the condition `Succeeded`",
    /// Connections to the run's callback server were rejected; one event for each cause and minute.
    Refuse on "UpdateRun" because "`ConnectionsRefused`",
    /// A file service was turned on for a run; the note names it and its ports.
    Open on "UpdateRun" because "`FileServiceOpened`",
    /// A file service was turned off.
    Close on "UpdateRun" because "`FileServiceClosed`",
    /// A Service or NetworkPolicy of the run was restored; the note says how it had been changed.
    Restore on "UpdateRun" because "`ExposureRestored`",
    /// The machine cannot call back, or does not fetch its image; the note names the obstacle and says how the
    /// update continues.
    Preflight on "NodeUpdate" because "the obstacle, as in the condition `CallbackReachable`",
    /// Another server answered the engine in place of the callback server, and the engine refused to
    /// talk to it.
    Distrust on "NodeUpdate" because "`CallbackUntrusted`",
    /// A host key or certificate was seen for the first time and will be trusted from now on; or the connection uses
    /// algorithms that are not safe any more, which the note names.
    Connect on "NodeUpdate" because "`HostKeyRecorded`, `CertificateRecorded`, `LegacyAlgorithmsInUse`",
    /// A device asked about a licence agreement, and the answer was yes, because `spec.acceptEula` of the run says
    /// so; the note quotes the question.
    Consent on "NodeUpdate" because "`AgreementAccepted`",
    /// The clean-up check on the machine found leftovers, or could not run.
    CleanUp on "NodeUpdate" because "`Leftovers`, `CleanupFailed`, `CleanupPending`",
    /// The runner of the machine is gone; the note names the runner that takes over.
    HandOver on "NodeUpdate" because "`RunnerLost`",
    /// The machine is being rebooted, was rebooted, or was not; the note says until when it is waited for, or why
    /// not.
    Reboot on "NodeUpdate" because "`Rebooting`, `Rebooted`, `RebootInhibited`, `RebootFailed`, `RebootTimedOut`, `Cancelled`",
    /// The machine is drained before it is changed; or it could not be given back, and the note has the command.
    Drain on "NodeUpdate" because "`Draining`, `UndrainFailed`",
    /// Another tool has taken the machine's Lease while Farrier worked on the machine; the note names it. The
    /// component in progress finishes, and the next attempt waits for the Lease.
    Yield on "NodeUpdate" because "`NodeInUse`",
    /// An attempt failed and will be retried; the note says when.
    Retry on "NodeUpdate" because "`WaitingForRetry`",
    /// Work on the machine has ended, successfully or not; the note names the components that changed
    /// and those that failed.
    Update on "NodeUpdate" because "as in the condition `Succeeded`",
    /// The inventory was taken and no other work was requested. Scheduled inventories have no such event: the machine's
    /// conditions have the result.
    Inventory on "NodeUpdate" because "`Succeeded`",
    /// Work on the machine has ended because the run was cancelled.
    Cancel on "NodeUpdate" because "`Cancelled`",
}
