//! The reasons about whole runs: what a run waits for, and how it ends.

/// Declares the given reasons and those about runs.
macro_rules! with_reasons_of_runs {
    ($($others:tt)*) => {
        reasons! {
            $($others)*

            /// The node no longer exists.
            NodeNotFound: Permanent,
            /// The baseline does not exist. Create it: a run waits for it for the duration of `arrivalTimeout`. If
            /// the message says that the baseline was replaced, create it again with its earlier content, or start a
            /// new run.
            BaselineNotFound: Permanent,
            /// The machine lacks something of the baseline that a run brought it to; the message names it. Nothing was
            /// installed. Find out who changed the machine, then start a run with that baseline.
            BehindBaseline: Informational,
            /// The baseline cannot be carried out; the message gives the cause. Create a corrected baseline and a new
            /// run.
            BaselineInvalid: Permanent,
            /// The run's selector matches no node that may be updated. Check the labels. A run waits for nodes for
            /// the duration of `arrivalTimeout`.
            NoNodesSelected: Permanent,
            /// The run's selector cannot be parsed. Start a new run with a corrected selector.
            SelectorInvalid: Permanent,
            /// The maintenance window of the run cannot be used: its schedule cannot be parsed or matches no day, or its
            /// time zone is unknown; the message says which. Start a new run with a corrected `spec.strategy.window`.
            WindowInvalid: Permanent,
            /// All nodes succeeded.
            AllSucceeded: Informational,
            /// At least one node did not succeed; see `status.failing`.
            SomeFailed: Permanent,
            /// Another run is working on the node. The node is started when that run has finished with it.
            WaitingForNode: Informational,
            /// A node that comes before this one has not ended; the message names it. This node is begun when that has
            /// succeeded. See docs/order.md.
            WaitingForPredecessor: Informational,
            /// A partner of the node is being worked on; the message names it, and its run if that is another one. The node
            /// is begun when that has ended.
            PartnerAtWork: Informational,
            /// The node was not begun, because a node before it or a partner did not succeed; the message names it. See to
            /// that node, then start a new run.
            Skipped: Permanent,
            /// `spec.managedBy` names a ManagedNode that does not exist. Create it, or correct the field: a run waits for it
            /// for the duration of `arrivalTimeout`.
            ManagerNotFound: Permanent,
            /// The order of the nodes goes in a circle, which the message draws. Correct `spec.managedBy` of one of them, then
            /// start a new run.
            OrderCycle: Permanent,
            /// The number of nodes in progress has reached `maxConcurrent`. The node is started when another node is
            /// done.
            WaitingForSlot: Informational,
            /// The maintenance window of the run is closed, or what is to be done does not fit in the rest of it. The message
            /// names the time at which it closes or opens next.
            OutsideWindow: Informational,
            /// An earlier stage of the run comes first; the message names it. See `status.stages`.
            WaitingForStage: Informational,
            /// A stage has ended, and the next one begins after its `soak`, at the given time.
            Soaking: Informational,
            /// The stage has to be approved by a user, for the plan that the message names. See what would change, then
            /// set the annotation that the message quotes.
            ApprovalNeeded: Informational,
            /// As many nodes of the same fault domain are in progress as `spread` allows. The node is started when another
            /// node of it is done.
            WaitingForFaultDomain: Informational,
            /// More nodes failed than the failure budget of the run or of a stage tolerates, so no further node was started.
            /// See `status.failing`, correct the cause, then start a run with `retryOf`.
            FailureBudgetExceeded: Permanent,
            /// More nodes were not reached than the unreachable budget of the run or of a stage tolerates, so no further node
            /// was started. See `status.failing`, correct the cause, then start a run with `retryOf`.
            UnreachableBudgetExceeded: Permanent,
            /// Nodes of a stage did not succeed, so the next stage was not begun. See `status.failing`, correct the cause,
            /// then start a run with `retryOf`; or give the stage a budget.
            StageIncomplete: Permanent,
            /// A node belongs to no stage of the run, or to one before the node that manages it; the message says what to
            /// change. Start a new run.
            StagesInvalid: Permanent,
            /// An attempt failed, and another attempt follows at the given time.
            WaitingForRetry: Informational,
            /// The node waits for a runner. Check that the operator's pods are running.
            WaitingForRunner: Informational,
            /// The runner that worked on the machine no longer answers, and another runner continues its work.
            /// Nothing is done twice. Find out why the runner ended.
            RunnerLost: Informational,
            /// The run is being cancelled: components in progress finish, and machines are cleaned up. Wait.
            Cancelling: Informational,
            /// This does not apply to the run, the node or the component; the message says why.
            NotRequired: Informational,
            /// The UpdateRun that `spec.retryOf` names does not exist. Create a run that selects machines by their labels.
            RunNotFound: Permanent,
            /// The run that `spec.retryOf` names has not ended. This run begins when it has.
            WaitingForRun: Informational,
            /// A run with `retryOf` differs from the run that it repeats in what is done on machines; the message names the
            /// fields. Start a run with the same values.
            RetryDiffers: Permanent,
            /// What would be changed on the machine is not what was approved; the message says what differs. Nothing was
            /// changed. Start a run with `retryOf`, and approve its plan.
            PlanChanged: Permanent,
        }
    };
}
