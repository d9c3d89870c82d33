//! Everything that one BMC knows, behind one lock, and the switch of its network.
//!
//! No protocol: what clients see of it is made in `tree`, `task` and `hpe`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

pub(crate) use farrier_double_parts::port::Net;

use crate::account::People;
use crate::fault::Faults;
use crate::hpe::Hpe;
use crate::image::Header;
use crate::reply::Reply;
use crate::subscription::Subscription;
use crate::trust::Trust;
use crate::variant::{Activation, Firmware, Phase, Variant};
use farrier_double_parts::journal::Journal;

/// What a test may set, at the start or later.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// How long after the request an image is fetched.
    pub fetch_delay_ms: u64,
    /// How long it takes to write an image.
    pub flash_ms: u64,
    /// How long the BMC's ports are closed when it starts again.
    pub bmc_reset_ms: u64,
    /// How long it answers 503 after that.
    pub warmup_ms: u64,
    /// How long the host takes to shut down.
    pub shutdown_ms: u64,
    /// How long the host is in POST.
    pub post_ms: u64,
    /// The BMC's clock against the right time.
    pub skew_seconds: i64,
    /// Members of a collection in one answer; 0: all.
    pub page_size: usize,
    /// Answers without `Content-Length`.
    pub chunked: bool,
    /// Sessions that are idle for longer end; 0: as the variant says.
    pub session_idle_ms: u64,
    /// Plain HTTP is served where the variant would redirect.
    pub serve_http: bool,
    /// What `VerifyRemoteServerCertificate` says at first.
    pub verify_server: bool,
    /// PEM of the authorities that fetches trust besides `RemoteServerCertificates`.
    pub trust: String,
    /// `Retry-After` of answers 202 and of task monitors; 0: without.
    pub retry_after_seconds: u64,
    /// How long after a failed post of an event it is tried again; 0: as `DeliveryRetryIntervalSeconds` says.
    pub event_retry_ms: u64,
    /// HPE: an agent in the operating system works off its part of the queue.
    pub runtime_agent: bool,
    /// HPE: components larger than this come in sections; 0: as the variant says.
    pub section_bytes: u64,
    /// `sh -c` with `FARRIER_BMC_FROM`, `FARRIER_BMC_TO` and `FARRIER_BMC_RESET` when the host's power changes.
    pub power_hook: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            fetch_delay_ms: 0,
            flash_ms: 600,
            bmc_reset_ms: 500,
            warmup_ms: 0,
            shutdown_ms: 100,
            post_ms: 300,
            skew_seconds: 0,
            page_size: 0,
            chunked: false,
            session_idle_ms: 0,
            serve_http: false,
            verify_server: false,
            trust: String::new(),
            retry_after_seconds: 1,
            event_retry_ms: 0,
            runtime_agent: false,
            section_bytes: 0,
            power_hook: String::new(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Bmc {
    pub(crate) variant: Variant,
    state: Mutex<State>,
    pub(crate) net: watch::Sender<Net>,
    /// How many ports are open.
    pub(crate) open_ports: watch::Sender<usize>,
    /// Something happened that a waiting worker may want to see.
    pub(crate) changed: tokio::sync::Notify,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
    pub(crate) people: People,
    pub(crate) firmware: Vec<Firmware>,
    pub(crate) updates: Vec<Update>,
    pub(crate) next_update: u64,
    pub(crate) power: Power,
    pub(crate) post: bool,
    pub(crate) warm_at: Instant,
    pub(crate) hpe: Hpe,
    /// Dell: pushed, and not yet named by a `SimpleUpdate`.
    pub(crate) staged: Vec<(String, String, Vec<u8>)>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) next_subscription: u64,
    pub(crate) next_event: u64,
    /// How often an event is posted again, and after how many seconds.
    pub(crate) retries: (u64, u64),
    /// Written, and running after the next reset of the BMC.
    pub(crate) pending_bmc: Vec<crate::image::Target>,
    pub(crate) load: Load,
    pub(crate) trust: Trust,
    /// How often the BMC has started again.
    pub(crate) resets: u64,
    /// Until when clients shall not ask a path again, as an answer told them.
    pub(crate) told: BTreeMap<String, Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Power {
    On,
    Off,
}

impl Power {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::Off => "Off",
        }
    }
}

/// Requests under way, now and at most.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Load {
    pub(crate) requests_now: usize,
    pub(crate) requests_most: usize,
    pub(crate) sessions_most: usize,
}

/// One update, from its acceptance to its end; a task and a job are views of it.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) id: String,
    pub(crate) how: &'static str,
    pub(crate) file: String,
    pub(crate) phase: Phase,
    pub(crate) status: &'static str,
    pub(crate) percent: u8,
    pub(crate) messages: Vec<Value>,
    pub(crate) began: jiff::Timestamp,
    pub(crate) ended: Option<jiff::Timestamp>,
    /// The monitor has answered that it is over.
    pub(crate) monitored: bool,
    /// Not shown any more, though it may go on.
    pub(crate) forgotten: bool,
    pub(crate) vanishes: bool,
    pub(crate) header: Option<Header>,
    /// Parts that keep their version.
    pub(crate) failed: crate::part::Failed,
    /// What waits for a reset of the host.
    pub(crate) pending: Vec<crate::image::Target>,
}

impl Bmc {
    pub(crate) fn new(variant: Variant, settings: Settings, user: &str, password: &str) -> Arc<Self> {
        let state = State {
            faults: Faults::default(),
            journal: Journal::new(),
            people: People::new(user, password),
            firmware: variant.firmware.clone(),
            updates: vec![],
            next_update: 0,
            power: Power::On,
            post: false,
            warm_at: Instant::now(),
            hpe: Hpe::default(),
            staged: vec![],
            subscriptions: vec![],
            next_subscription: 1,
            next_event: 0,
            // Three and thirty: within what bmcweb allows (1 to 3, 5 to 180).
            retries: (3, 30),
            pending_bmc: vec![],
            load: Load::default(),
            trust: Trust::default(),
            resets: 0,
            told: BTreeMap::new(),
            settings,
        };
        let (net, _) = watch::channel(Net::Up);
        let (open_ports, _) = watch::channel(0);
        let changed = tokio::sync::Notify::new();
        Arc::new(Self { variant, state: Mutex::new(state), net, open_ports, changed })
    }

    /// Never held across an await: the guard is not `Send`.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn settings(&self) -> Settings {
        self.lock().settings.clone()
    }
}

impl State {
    /// With the header that says when to ask again, if the test wants one.
    pub(crate) fn later(&self, reply: Reply) -> Reply {
        match self.settings.retry_after_seconds {
            0 => reply,
            seconds => reply.with("retry-after", seconds.to_string()),
        }
    }

    /// The BMC's clock.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        let skew = jiff::SignedDuration::from_secs(self.settings.skew_seconds);
        jiff::Timestamp::now().checked_add(skew).unwrap_or(jiff::Timestamp::MAX)
    }

    pub(crate) fn update(&mut self, id: &str) -> Option<&mut Update> {
        self.updates.iter_mut().find(|update| update.id == id)
    }

    pub(crate) fn device(&self, device: &str) -> Option<&Firmware> {
        self.firmware.iter().find(|entry| entry.device == device)
    }

    /// The device has the version from now on.
    pub(crate) fn install(&mut self, target: &crate::image::Target, how: &str) {
        let mut before = None;
        if let Some(entry) = self.firmware.iter_mut().find(|entry| entry.device == target.device) {
            before = Some(std::mem::replace(&mut entry.version, target.version.clone()));
        }
        let previous = format!("{}-previous", target.device);
        if let Some(entry) = self.firmware.iter_mut().find(|entry| entry.device == previous) {
            entry.version = before.clone().unwrap_or_default();
        }
        let detail = serde_json::json!({
            "device": target.device, "version": target.version, "before": before, "how": how,
        });
        self.journal.write("flash", detail);
    }

    /// What must happen after writing so that all targets run; the host's reset wins.
    pub(crate) fn activation(&self, targets: &[crate::image::Target]) -> Activation {
        let of = |target: &crate::image::Target| self.device(&target.device).map(|entry| entry.activation);
        let all: Vec<_> = targets.iter().filter_map(of).collect();
        if all.contains(&Activation::HostReset) {
            Activation::HostReset
        } else if all.contains(&Activation::BmcReset) {
            Activation::BmcReset
        } else {
            Activation::None
        }
    }

    /// Ends the sessions that are idle for too long.
    pub(crate) fn expire_sessions(&mut self, rules: &crate::variant::SessionRules) {
        let idle = match self.settings.session_idle_ms {
            0 => Duration::from_secs(rules.idle_seconds),
            ms => Duration::from_millis(ms),
        };
        self.people.expire(idle);
    }

    pub(crate) fn is_warm(&self) -> bool {
        self.warm_at <= Instant::now()
    }
}

pub(crate) async fn pause(ms: u64) {
    // sleep: a BMC takes its time; how much is the test's choice.
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
