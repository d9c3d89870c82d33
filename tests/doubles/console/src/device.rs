//! What a device is at a moment: its firmware, its settings, the update that runs, who is signed in.
//!
//! How it talks is the business of its product; how an update goes on is in `job`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

pub(crate) use farrier_double_parts::port::Net;

use crate::fault::{Fault, Faults};
use crate::job::Job;
use crate::product::Product;
use farrier_double_parts::journal::Journal;

/// What may be changed while the double runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Settings {
    /// How long an image takes to be written.
    pub flash_ms: u64,
    /// How long the device is away.
    pub reboot_ms: u64,
    /// How long the second partition takes afterwards, where there are two.
    pub commit_ms: u64,
    /// A session without input ends after that.
    pub idle_ms: u64,
    /// The account's rights: `admin` may update, `operator` and `user` may not.
    pub role: String,
    /// How many sessions there may be at a time; 0: as the product has it.
    pub sessions: usize,
    /// Output that is longer than the terminal stops until a key is pressed.
    pub pager: bool,
    /// The device repeats what is typed, if there is a terminal.
    pub echo: bool,
    /// `off`, `FIPS`, `CNSA`: what the device does in it is the product's business.
    pub mode: String,
    /// The terms of use have been accepted, where there are any.
    pub eula_accepted: bool,
    /// The device updates itself without an interruption of its service, where it can at all.
    pub ha: bool,
    /// There is a standby or backup module.
    pub standby: bool,
    /// Versions that begin like this ask for the terms of use.
    pub eula_from: String,
    /// Port of a protocol (`{"scp": 2222}`) where the device's command takes none.
    pub ports: BTreeMap<String, u16>,
    /// FOS: its accounts have the passwords of the factory, which it asks to change after each sign-in.
    pub default_passwords: bool,
    /// FOS: questions end in `[Y]: `, as before 7.0 and sometimes later, and not in `(Y/N) [Y]: `.
    pub short_questions: bool,
    /// OA and directors: this address is that of the standby, which takes no commands for the whole.
    pub on_standby: bool,
    /// FOS: the path is a folder with `release.plist`, as the real ones want it, and not one file.
    pub tree: bool,
    /// An image has room up to this size.
    pub room_bytes: usize,
    /// Name that its prompt shows; empty: the product's.
    pub host_name: String,
    /// Accounts that it signs in to other devices with, or takes from them: `{"user": "password"}`.
    pub accounts: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            flash_ms: 1500,
            reboot_ms: 1000,
            commit_ms: 800,
            idle_ms: 600_000,
            role: "admin".to_owned(),
            sessions: 0,
            pager: true,
            echo: true,
            mode: "off".to_owned(),
            eula_accepted: false,
            ha: true,
            standby: true,
            eula_from: "v9".to_owned(),
            ports: BTreeMap::new(),
            tree: false,
            default_passwords: false,
            short_questions: false,
            on_standby: false,
            room_bytes: 64 << 20,
            host_name: String::new(),
            accounts: BTreeMap::new(),
        }
    }
}

/// A piece of firmware.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Part {
    /// For example `fos`, `oa-1`, `vc-2`.
    pub name: String,
    /// What runs.
    pub version: String,
    /// What the other partition has, where there are two.
    pub secondary: Option<String>,
}

impl Part {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), version: version.to_owned(), secondary: None }
    }
}

/// Where an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// The image comes.
    Fetching,
    /// The image is written.
    Writing,
    /// It is written; the device is about to restart.
    Written,
    /// The device is away.
    Restarting,
    /// The second partition is written.
    Committing,
    Done,
    Failed,
}

/// An update that runs, or the last one.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Update {
    pub(crate) parts: Vec<String>,
    pub(crate) version: String,
    pub(crate) phase: Phase,
    pub(crate) percent: u8,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) parts: Vec<Part>,
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
    pub(crate) update: Option<Update>,
    /// What waits for a restart.
    pub(crate) pending: Option<Job>,
    pub(crate) sessions: Vec<String>,
    /// Which of two modules leads.
    pub(crate) active: u8,
    /// Of a director: which control processor restarts.
    pub(crate) resting: Option<u8>,
    /// Of a director: what it says of its download, in the order of the steps.
    pub(crate) told: Vec<String>,
    /// Connections that came before this number are cut.
    pub(crate) cut: u64,
}

impl State {
    pub(crate) fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// The version of a part, or nothing.
    pub(crate) fn version(&self, name: &str) -> String {
        self.part(name).map(|part| part.version.clone()).unwrap_or_default()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.update.as_ref().is_some_and(|update| !matches!(update.phase, Phase::Done | Phase::Failed))
    }
}

/// The device behind all its connections.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) product: Product,
    pub(crate) model: String,
    pub(crate) user: String,
    pub(crate) password: String,
    state: Mutex<State>,
    /// What is in its interconnect bays, reached by its own line to them.
    pub(crate) interconnects: OnceLock<BTreeMap<u8, Arc<Self>>>,
    pub(crate) net: watch::Sender<Net>,
    /// Where its connections come from; nothing: wherever the system says.
    pub(crate) source: OnceLock<IpAddr>,
    /// How many ports are open, which follows [`Device::net`].
    pub(crate) listening: watch::Sender<usize>,
    /// How many ports it has.
    pub(crate) ports: AtomicUsize,
    /// Something changed that somebody may wait for.
    pub(crate) changed: Notify,
}

impl Device {
    pub(crate) fn new(product: Product, model: String, settings: Settings, login: (&str, &str)) -> Arc<Self> {
        let state = State {
            settings,
            parts: product.parts(),
            faults: Faults::default(),
            journal: Journal::new(),
            update: None,
            pending: None,
            sessions: vec![],
            active: 1,
            resting: None,
            told: vec![],
            cut: 0,
        };
        Arc::new(Self {
            product,
            model,
            user: login.0.to_owned(),
            password: login.1.to_owned(),
            state: Mutex::new(state),
            interconnects: OnceLock::new(),
            net: watch::Sender::new(Net::Up),
            source: OnceLock::new(),
            listening: watch::Sender::new(0),
            ports: AtomicUsize::new(1),
            changed: Notify::new(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody may sign in, which the journal tells.
    pub(crate) fn accepts(&self, user: &str, password: &str, how: &str) -> bool {
        let mut state = self.lock();
        let own = user == self.user && password == self.password;
        let known = own || state.settings.accounts.get(user).is_some_and(|secret| secret == password);
        let kind = if known { "sign-in" } else { "refused" };
        state.journal.write(kind, serde_json::json!({"user": user, "how": how}));
        known
    }

    /// The module in a bay.
    pub(crate) fn interconnect(&self, bay: &str) -> Option<Arc<Self>> {
        self.interconnects.get()?.get(&bay.parse().ok()?).cloned()
    }

    pub(crate) fn settings(&self) -> Settings {
        self.lock().settings.clone()
    }

    pub(crate) fn has(&self, fault: &Fault) -> bool {
        self.lock().faults.has(fault)
    }

    /// The name in its prompt.
    pub(crate) fn host_name(&self) -> String {
        let name = self.lock().settings.host_name.clone();
        if name.is_empty() { self.product.host_name().to_owned() } else { name }
    }

    /// Ends all connections; the device goes on.
    pub(crate) fn cut_lines(&self) {
        self.lock().cut += 1;
        self.changed.notify_waiters();
    }

    /// Is away for a while, as long as a restart takes.
    pub(crate) async fn restart(&self, why: &str) {
        self.lock().journal.write("reboot", serde_json::json!({"why": why}));
        self.net.send_replace(Net::Down);
        let span = Duration::from_millis(self.lock().settings.reboot_ms);
        // sleep: a restart takes time, and nothing else happens in it.
        tokio::time::sleep(span).await;
        self.until(|state| state.faults.look(|fault| (*fault == Fault::StaysDown).then_some(())).is_none())
            .await;
        if *self.net.borrow() == Net::Down {
            self.net.send_replace(Net::Up);
            // Who waits for the restart may connect at once.
            let mut listening = self.listening.subscribe();
            let ports = self.ports.load(Ordering::Relaxed);
            drop(
                tokio::time::timeout(Duration::from_secs(5), listening.wait_for(|open| *open == ports)).await,
            );
        }
    }

    /// Waits until the state is as wanted. Whoever changes it tells [`Device::changed`].
    pub(crate) async fn until(&self, wanted: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if wanted(&self.lock()) {
                return;
            }
            // A fault with a time limit ends without a notice.
            drop(tokio::time::timeout(Duration::from_millis(200), changed).await);
        }
    }
}
