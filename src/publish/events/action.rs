//! What was being done when an event came about: a closed list, and its documentation.

/// Declares the actions once: the enum, the list, and the texts.
macro_rules! actions {
    ($($(#[doc = $when:literal])+ $name:ident on $about:literal because $reasons:literal,)+) => {
        /// The action of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[doc = $when])+ $name,)+
        }

        impl Action {
            /// Every action there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name, as it stands in the event.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// The kind of object that such events are about.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$name => $about,)+
                }
            }

            /// The reasons that such events have.
            pub const fn reasons(self) -> &'static str {
                match self {
                    $(Self::$name => $reasons,)+
                }
            }

            /// When there is such an event, for users.
            pub const fn when(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($when),+).trim_ascii(),)+
                }
            }
        }
    };
}

actions! {
    /// The list of machines is decided, or a machine is planned.
    Plan on "UpdateRun, NodeUpdate" because "`Planned`",
    /// Machines are begun; the note names them.
    Start on "UpdateRun" because "`Started`",
    /// The run stands still; the note says what it waits for.
    Wait on "UpdateRun" because "what it waits for",
    /// The run has ended.
    Finish on "UpdateRun" because "as in the condition `Succeeded`",
    /// Connections to the run's callback server were turned away; one event for each cause and minute.
    Refuse on "UpdateRun" because "`ConnectionsRefused`",
    /// A Service or NetworkPolicy of the run was put right; the note says what somebody did to it.
    Restore on "UpdateRun" because "`ExposureRestored`",
    /// The machine cannot call back; the note says what is in the way and how it goes on.
    Preflight on "NodeUpdate" because "what is in the way, as in the condition `CallbackReachable`",
    /// Somebody else answered the engine in place of the callback server, and was not talked to.
    Distrust on "NodeUpdate" because "`CallbackUntrusted`",
    /// A host key was seen for the first time and is trusted from now on.
    Connect on "NodeUpdate" because "`HostKeyRecorded`",
    /// Components were installed, or failed; one event for each reason, naming the components.
    Install on "NodeUpdate" because "`Updated`, `RebootPending`, or why it failed",
    /// The second look at the machine found something, or could not be taken.
    CleanUp on "NodeUpdate" because "`Leftovers`, `CleanupFailed`, `CleanupPending`",
    /// The runner of the machine is gone; the note says which one takes over.
    HandOver on "NodeUpdate" because "`RunnerLost`",
    /// An attempt failed and another one follows; the note says when.
    Retry on "NodeUpdate" because "`WaitingForRetry`",
    /// Work on the machine has ended, well or not.
    Update on "NodeUpdate" because "as in the condition `Succeeded`",
    /// The inventory was taken and nothing else was asked for.
    Inventory on "NodeUpdate" because "`Succeeded`",
    /// Work on the machine has ended because the run was cancelled.
    Cancel on "NodeUpdate" because "`Cancelled`",
}
