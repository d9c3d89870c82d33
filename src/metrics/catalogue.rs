//! Catalogue of all metrics: name, type, labels, meaning, and when to worry.
//!
//! `docs/metrics.md` is generated from this list, and a test compares the list with the served metrics.
//! Names follow the conventions of Prometheus: base units, and `_total` for counters. Labels have few
//! values; names of machines, runs or runners are never label values.

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only increases while the process lives.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Counts observations in buckets with upper bounds.
    Histogram,
}

impl Kind {
    /// The type's name in the exposition format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric with `N` labels.
#[derive(Debug, Clone, Copy)]
pub struct MetricDescription<const N: usize> {
    /// Full name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Names of the labels.
    pub labels: &'static [&'static str; N],
    /// Help text, one sentence.
    pub help: &'static str,
    /// When to worry.
    pub worry: &'static str,
}

/// One metric, as the documentation lists it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Full name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    /// Help text, one sentence.
    pub help: &'static str,
    /// When to worry.
    pub worry: &'static str,
}

/// Declares each metric once: its constant and its entry in the list of all metrics.
macro_rules! catalogue {
    ($($(#[doc = $help:literal])+ $constant:ident: $kind:ident $name:literal [$($label:literal),*] worry $worry:literal;)+) => {
        $(
            $(#[doc = $help])+
            pub const $constant: MetricDescription<{ <[&str]>::len(&[$($label),*]) }> = MetricDescription {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: concat!($($help),+).trim_ascii(),
                worry: $worry,
            };
        )+

        /// All metrics, in the order of the documentation.
        pub const ALL: &[Entry] = &[$(Entry {
            name: $constant.name,
            kind: $constant.kind,
            labels: $constant.labels,
            help: $constant.help,
            worry: $constant.worry,
        },)+];
    };
}

catalogue! {
    // The fleet, from the API server's objects. Only the leader exports these metrics, so that a sum
    // over all replicas is correct.

    /// Update runs by state: `pending`, `waiting`, `running`, `paused`, `planned`, `cancelling`,
    /// `succeeded`, `failed` or `cancelled`.
    RUNS: Gauge "farrier_runs" ["state"] worry "`failed` grows, or `waiting` stays above 0.";
    /// Machines of runs that have not ended, by their count in `status.counts`: `pending`,
    /// `in_progress`, `succeeded`, `failed`, `unreachable`, `cancelled` or `skipped`.
    RUN_NODES: Gauge "farrier_run_nodes" ["state"] worry "`failed` or `unreachable` grows.";
    /// Runs that have not ended and whose failure budget is exhausted.
    RUNS_OVER_BUDGET: Gauge "farrier_runs_over_budget" [] worry "Above 0: such a run starts no further machines.";
    /// Machines by state: `held`, `unknown`, `unreachable`, `failing` or `ready`.
    MANAGED_NODES: Gauge "farrier_managed_nodes" ["state"] worry "`unreachable` or `failing` grows.";
    /// Machines by their baseline: `in_baseline`, `behind`, `unknown` (it could not be compared) or
    /// `none` (no update has brought it to a baseline).
    MANAGED_NODE_BASELINES: Gauge "farrier_managed_node_baselines" ["state"] worry "`behind` is above 0: a machine was changed, or its update failed.";
    /// Machines with `spec.inventory` whose last inventory is older than three times `every`.
    INVENTORIES_OVERDUE: Gauge "farrier_inventories_overdue" [] worry "Above 0: these machines are not reached, or no inventories are taken.";
    /// NodeUpdates by state: `pending`, `working`, `retrying`, `planned`, `succeeded`, `failed`,
    /// `unreachable` or `cancelled`.
    NODE_UPDATES: Gauge "farrier_node_updates" ["state"] worry "`retrying` stays high.";
    /// NodeUpdates that have ended without proof that the machine was cleaned up.
    NODE_UPDATES_UNCLEAN: Gauge "farrier_node_updates_unclean" [] worry "Above 0: files or processes of Farrier may still be on a machine.";
    /// Files, processes and settings of Farrier on machines that could not be removed, as in
    /// `status.leftovers`.
    LEFTOVERS: Gauge "farrier_leftovers" [] worry "Above 0: a user has to remove them manually.";
    /// Files, processes and settings of Farrier on machines at present, as in `status.leases`.
    LEASES: Gauge "farrier_leases" [] worry "Above 0 while `farrier_node_updates{state=\"working\"}` is 0.";
    /// Age of the oldest NodeUpdate that no runner has claimed.
    OLDEST_UNCLAIMED: Gauge "farrier_node_update_unclaimed_age_seconds" [] worry "More than a minute: no runner claims it.";

    // Attempts.

    /// NodeUpdates that ended, by result (`succeeded`, `planned`, `cancelled`, `failed` or
    /// `unreachable`), reason, and origin: `schedule` for scheduled inventories, else `user`.
    NODE_UPDATES_ENDED: Counter "farrier_node_updates_ended_total" ["origin", "result", "reason"] worry "`failed` or `unreachable` is a large share, with origin `user`.";
    /// NodeUpdates that were handed over to another runner because their runner was gone.
    HAND_OVERS: Counter "farrier_node_updates_handed_over_total" [] worry "Any increase, unless a replica was stopped on purpose.";
    /// Attempts that ended, by result (`succeeded`, `planned`, `cancelled`, `failed` or `unreachable`)
    /// and reason.
    ATTEMPTS: Counter "farrier_attempts_total" ["result", "reason"] worry "Attempts grow much faster than `farrier_node_updates_ended_total`.";
    /// Duration of attempts, by result as above.
    ATTEMPT_DURATION: Histogram "farrier_attempt_duration_seconds" ["result"] worry "The median doubles: machines, networks or installers are slow.";
    /// Time from the creation of a NodeUpdate to its first attempt.
    FIRST_ATTEMPT_DELAY: Histogram "farrier_first_attempt_delay_seconds" [] worry "Above a few seconds: runners or the API server are overloaded.";
    /// Attempts in progress in this process.
    SESSIONS: Gauge "farrier_sessions_active" [] worry "Stays at its usual value while no attempt ends.";
    /// SSH connection attempts, by result: `Connected` or the reason of the failure.
    SSH_CONNECTS: Counter "farrier_ssh_connects_total" ["result"] worry "Any increase of `HostKeyChanged`; other failures when they are a large share.";
    /// Engine deployments to machines, by result: `EngineDeployed` or the reason of the failure.
    ENGINE_DEPLOYS: Counter "farrier_engine_deploys_total" ["result"] worry "Any result other than `EngineDeployed` grows.";
    /// Clean-up checks on machines after the work, by result: `NothingLeftBehind` or the reason.
    CLEAN_UPS: Counter "farrier_clean_ups_total" ["result"] worry "`Leftovers` or `CleanupFailed` grows.";

    // Payloads.

    /// Payload lookups in the store, by result: `hit`, `fetched` or `failed`.
    PAYLOAD_LOOKUPS: Counter "farrier_payload_lookups_total" ["result"] worry "`failed` grows.";
    /// Bytes fetched from payload sources, including fetches that failed.
    PAYLOAD_FETCHED: Counter "farrier_payload_fetched_bytes_total" [] worry "Grows with each machine: the store does not keep payloads.";
    /// Bytes of payloads served to engines.
    PAYLOAD_SERVED: Counter "farrier_payload_served_bytes_total" [] worry "Its rate is zero while payloads are being transferred.";

    // The logs of machines.

    /// Bytes of machines' logs that were received and kept.
    LOG_BYTES: Counter "farrier_log_bytes_total" [] worry "Its rate stays above a megabyte per second: an installer prints without end.";
    /// Bytes of machines' logs that were received and not kept, because a limit was reached or the disk is
    /// full.
    LOG_DROPPED: Counter "farrier_log_dropped_bytes_total" [] worry "Any increase: look at the free space of `--machine-log-dir`.";

    // The callback server.

    /// Connections to the callback server whose source address was admitted.
    CALLBACK_CONNECTIONS: Counter "farrier_callback_connections_total" [] worry "Grows much faster than `farrier_callback_engines_total`.";
    /// Connections and requests that the callback server refused, by cause: `source`, `handshake`,
    /// `certificate`, `wrong_session`, `expired`, `unknown_session`, `relay`, `too_slow`, `too_many`,
    /// `path`, `account`, `request` or `silent`.
    CALLBACK_REFUSED: Counter "farrier_callback_connections_refused_total" ["cause"] worry "Any increase of `certificate`, `wrong_session`, `expired`, `account`, `request` or `source`: a host tries to connect that must not.";
    /// Open connections to the callback server.
    CALLBACK_OPEN: Gauge "farrier_callback_connections_open" [] worry "Stays at its limit.";
    /// Engine streams that authenticated with a client certificate.
    CALLBACK_ENGINES: Counter "farrier_callback_engines_total" [] worry "Grows without new attempts: streams break and engines reconnect.";
    /// Engine streams that were relayed to another replica.
    CALLBACK_RELAYED: Counter "farrier_callback_relayed_total" [] worry "Includes nearly all streams: machines reach the wrong replica.";
    /// Bytes that the callback server sent, including TLS.
    CALLBACK_SENT: Counter "farrier_callback_sent_bytes_total" [] worry "Its rate reaches the bandwidth of the network card.";

    // Control.

    /// Reconciliations of runs, by result: `ok`, `conflict` or `error`.
    RECONCILES: Counter "farrier_reconciles_total" ["result"] worry "`error` grows.";
    /// Duration of a reconciliation of a run, including its writes.
    RECONCILE_DURATION: Histogram "farrier_reconcile_duration_seconds" [] worry "Above a second: the API server is slow.";
    /// Duration of a decision about a run, from the caches, without requests to the API server.
    DECISION_DURATION: Histogram "farrier_decision_duration_seconds" [] worry "Above 0.1: runs are larger than one replica can decide about quickly.";
    /// Requests to the API server, by result: `ok`, `not_found`, `conflict`, `throttled`,
    /// `server_error`, `refused` or `no_answer`.
    API_REQUESTS: Counter "farrier_api_requests_total" ["verb", "resource", "result"] worry "`throttled`, `refused`, `server_error` or `no_answer` grows.";
    /// Time until the API server began to respond, without watches.
    API_REQUEST_DURATION: Histogram "farrier_api_request_duration_seconds" ["verb"] worry "The 99th percentile is above a second.";
    /// Watches that were interrupted and resumed, by kind.
    WATCH_INTERRUPTIONS: Counter "farrier_watch_interruptions_total" ["kind"] worry "Grows steadily.";
    /// Objects that could not be parsed and were skipped, by kind.
    OBJECTS_UNREADABLE: Counter "farrier_objects_unreadable_total" ["kind"] worry "Any increase: there is an object that this version cannot parse.";
    /// Events by result: `written`, `held_back` (too many of one kind about one object) or `failed`.
    EVENTS: Counter "farrier_events_total" ["result"] worry "`held_back` grows: the state of an object flaps.";
    /// 1 if this replica is the leader, otherwise 0.
    LEADER: Gauge "farrier_leader" [] worry "The sum over all replicas is not 1.";
    /// Runners whose Lease is fresh, as this replica sees it.
    RUNNERS_LIVE: Gauge "farrier_runners_live" [] worry "Less than the number of replicas.";
    /// Seconds since the last iteration of a loop of this process, by loop: `controller` or `runner`.
    LOOP_AGE: Gauge "farrier_loop_last_beat_age_seconds" ["loop"] worry "Above a minute: the loop hangs; `/healthz` fails when the loop's limit is reached.";
    /// 1 if the check of `/readyz` passes, otherwise 0, by check: `api-server`, `caches`, `engines` or
    /// `payload-store`.
    READY: Gauge "farrier_ready" ["check"] worry "0 for more than a minute.";

    // The process.

    /// Always 1; the label carries the version.
    BUILD_INFO: Gauge "farrier_build_info" ["version"] worry "Replicas differ when no upgrade is in progress.";
    /// CPU time that the process has used.
    PROCESS_CPU: Counter "process_cpu_seconds_total" [] worry "Its rate is near the limit of the pod.";
    /// Resident memory of the process.
    PROCESS_MEMORY: Gauge "process_resident_memory_bytes" [] worry "Near the limit of the pod.";
    /// Open file descriptors.
    PROCESS_FDS: Gauge "process_open_fds" [] worry "Near `process_max_fds`.";
    /// Limit of open file descriptors.
    PROCESS_MAX_FDS: Gauge "process_max_fds" [] worry "Below a few thousand.";
    /// Start time of the process, in seconds of Unix time.
    PROCESS_START: Gauge "process_start_time_seconds" [] worry "Changes often: the process restarts.";
}
