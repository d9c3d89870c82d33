//! A double of baseboard management controllers.
//!
//! [`Double::start`] opens three ports on loopback: Redfish over HTTPS, Redfish over HTTP, and a control
//! API. Firmware really changes: images ([`image::Header`]) are pushed or fetched, checked, written over
//! time, and run after the reset that they need. [`fault::Fault`]s make it go wrong, and a journal tells what
//! happened.
//!
//! It is written from the standard's and the vendors' documents (README.md). No hardware was asked.

#![expect(
    clippy::indexing_slicing,
    reason = "a key that a JSON object lacks reads as null, which is what is meant"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a place that asks for faults knows its own and no others"
)]
#![expect(clippy::struct_excessive_bools, reason = "a variant is a list of what a vendor does and does not")]

mod account;
mod certificate;
mod change;
mod control;
mod dell;
mod event;
pub mod fault;
mod fetch;
mod flash;
mod host;
mod hpe;
pub mod image;
mod message;
mod metadata;
mod multipart;
mod part;
mod query;
mod reply;
mod rest;
mod route;
mod serve;
mod service;
mod state;
mod subscription;
mod task;
mod tree;
mod trust;
mod update;
mod variant;
mod wire;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use farrier_double_parts::fault::fault_name;
use farrier_double_parts::port::Port;
use serde_json::{Value, json};

use crate::certificate::{Certificate, Validity};
use crate::fault::{Armed, Fault};
use crate::serve::Speaks;
use crate::state::{Bmc, Net};

pub use crate::state::Settings;
pub use crate::variant::{Activation, Firmware, Variant};
pub use farrier_double_parts::journal::Entry;

/// How a double is started.
#[derive(Debug, Clone)]
pub struct Config {
    /// What it is a double of.
    pub variant: Variant,
    /// Where Redfish is served.
    pub address: IpAddr,
    /// Port of HTTPS; 0: any.
    pub https_port: u16,
    /// Port of HTTP; 0: any.
    pub http_port: u16,
    /// Where the control API is served; it has no credentials, so only loopback makes sense.
    pub control: SocketAddr,
    /// The first account, an administrator's.
    pub user: String,
    /// Its password.
    pub password: String,
    /// More names and addresses for the certificate.
    pub names: Vec<String>,
    /// What may be changed later too.
    pub settings: Settings,
}

impl Config {
    /// Any ports of 127.0.0.1, account `admin` with the password `password`.
    pub fn new(variant: Variant) -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            variant,
            address: loopback,
            https_port: 0,
            http_port: 0,
            control: SocketAddr::new(loopback, 0),
            user: "admin".to_owned(),
            password: "password".to_owned(),
            names: vec![],
            settings: Settings::default(),
        }
    }
}

/// A running double. It ends when it is dropped.
#[derive(Debug)]
pub struct Double {
    inner: Arc<Inner>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    bmc: Arc<Bmc>,
    https: SocketAddr,
    http: SocketAddr,
    control: SocketAddr,
    names: Vec<String>,
    certificate: Arc<Mutex<Certificate>>,
}

impl Drop for Double {
    fn drop(&mut self) {
        if self.tasks.is_empty() {
            return; // A view of the control API's.
        }
        self.inner.bmc.net.send_replace(Net::Gone);
        self.inner.bmc.changed.notify_waiters();
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Double {
    /// Opens the ports and serves them in the background of the current runtime.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let bmc = Bmc::new(config.variant, config.settings, &config.user, &config.password);
        let certificate = Arc::new(Mutex::new(Certificate::make(&config.names, Validity::Valid)?));
        let secure = Port::bind(SocketAddr::new(config.address, config.https_port), serve::BACKLOG)?;
        let plain = Port::bind(SocketAddr::new(config.address, config.http_port), serve::BACKLOG)?;
        let (https, http) = (secure.address(), plain.address());
        // Who starts a double may connect at once.
        secure.listen()?;
        plain.listen()?;
        let listener = tokio::net::TcpListener::bind(config.control).await?;
        let inner = Arc::new(Inner {
            https,
            http,
            control: listener.local_addr()?,
            names: config.names,
            certificate: Arc::clone(&certificate),
            bmc: Arc::clone(&bmc),
        });
        let served = |port, speaks| {
            let bmc = Arc::clone(&bmc);
            tokio::spawn(async move { drop(serve::serve(bmc, port, speaks).await) })
        };
        let mut tasks = vec![
            served(secure, Speaks::Https(certificate)),
            served(plain, Speaks::Http(https.port())),
            tokio::spawn(farrier_double_parts::control::serve(Self::view(&inner), listener)),
        ];
        if bmc.variant.hpe.is_some() {
            tasks.push(tokio::spawn(hpe::work(Arc::clone(&bmc))));
        }
        Ok(Self { inner, tasks })
    }

    /// The same for the control API; dropping it ends nothing.
    pub(crate) fn view(inner: &Arc<Inner>) -> Self {
        Self { inner: Arc::clone(inner), tasks: vec![] }
    }

    /// Where Redfish is served with TLS.
    pub fn https(&self) -> SocketAddr {
        self.inner.https
    }

    /// Where it is served without.
    pub fn http(&self) -> SocketAddr {
        self.inner.http
    }

    /// Where the control API is.
    pub fn control(&self) -> SocketAddr {
        self.inner.control
    }

    /// The authority of the BMC's certificate.
    pub fn authority_pem(&self) -> String {
        self.inner.certificate.lock().unwrap_or_else(PoisonError::into_inner).authority_pem.clone()
    }

    /// What it is and where.
    pub fn describe(&self) -> Value {
        json!({
            "variant": self.inner.bmc.variant.name,
            "https": self.https().to_string(),
            "http": self.http().to_string(),
            "control": self.control().to_string(),
            "authority": self.authority_pem(),
        })
    }

    /// Switches a fault on; those that are events happen now.
    pub fn arm(&self, armed: Armed) -> anyhow::Result<()> {
        let name = fault_name(&armed.fault);
        let mut state = self.inner.bmc.lock();
        state.journal.write("fault", json!({"name": name}));
        match &armed.fault {
            Fault::DropSessions => state.people.sessions.clear(),
            Fault::ForgetTasks => state.updates.iter_mut().for_each(|update| update.forgotten = true),
            Fault::LockAccount { user } => state.people.lock(user, &self.inner.bmc.variant.lock),
            Fault::ChangeCertificate => self.replace_certificate(Validity::Valid)?,
            Fault::ExpireCertificate => self.replace_certificate(Validity::Expired)?,
            Fault::PowerOff => state.power = state::Power::Off,
            Fault::ForeignEntry { .. } if self.inner.bmc.variant.hpe.is_none() => {
                task::begin_foreign(&self.inner.bmc, &mut state);
            }
            _ => state.faults.arm(armed),
        }
        drop(state);
        self.inner.bmc.changed.notify_waiters();
        Ok(())
    }

    fn replace_certificate(&self, validity: Validity) -> anyhow::Result<()> {
        let new = Certificate::make(&self.inner.names, validity)?;
        *self.inner.certificate.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Switches faults off: those of this name, or all.
    pub fn clear(&self, name: Option<&str>) {
        let mut state = self.inner.bmc.lock();
        state.faults.clear(name);
        if name.is_none_or(|name| name == "foreign-entry") {
            task::end_foreign(&self.inner.bmc, &mut state);
        }
        drop(state);
        self.inner.bmc.changed.notify_waiters();
    }

    /// The faults that are on.
    pub fn armed(&self) -> Vec<Armed> {
        self.inner.bmc.lock().faults.armed().to_vec()
    }

    /// The settings as they are.
    pub fn settings(&self) -> Settings {
        self.inner.bmc.settings()
    }

    /// Replaces the settings.
    pub fn set(&self, settings: Settings) {
        self.inner.bmc.lock().settings = settings;
        self.inner.bmc.changed.notify_waiters();
    }

    /// Everything that happened.
    pub fn journal(&self) -> Vec<Entry> {
        self.journal_since(0)
    }

    /// What happened after the line of this number.
    pub fn journal_since(&self, number: u64) -> Vec<Entry> {
        self.inner.bmc.lock().journal.since(number)
    }

    /// Begins an empty journal.
    pub fn forget_journal(&self) {
        self.inner.bmc.lock().journal.clear();
    }

    /// What is there now: sessions, versions, updates, queue, uploads, load.
    pub fn state(&self) -> Value {
        let state = &mut *self.inner.bmc.lock();
        let sessions: Vec<_> =
            state.people.sessions.iter().map(|one| json!({"id": one.id, "user": one.user})).collect();
        let versions: serde_json::Map<_, _> =
            state.firmware.iter().map(|one| (one.device.clone(), json!(one.version))).collect();
        let updates = state.updates.iter().map(|one| {
            json!({
                "id": one.id, "how": one.how, "file": one.file, "phase": one.phase, "status": one.status,
                "percent": one.percent, "forgotten": one.forgotten, "pending": one.pending,
            })
        });
        let updates: Vec<_> = updates.collect();
        let queue: Vec<_> = state
            .hpe
            .queue
            .iter()
            .map(|one| json!({"name": one.name, "state": one.state, "file": one.file}))
            .collect();
        let components: Vec<_> = state.hpe.components.iter().map(|one| one.file.clone()).collect();
        let staged: Vec<_> = state.staged.iter().map(|(id, ..)| id.clone()).collect();
        json!({
            "power": state.power.word(),
            "post": state.post,
            "sessions": sessions,
            "versions": versions,
            "updates": updates,
            "queue": queue,
            "components": components,
            "install-sets": state.hpe.sets.iter().map(|set| set.name.clone()).collect::<Vec<_>>(),
            "staged": staged,
            "partial-upload": state.hpe.partial.as_ref().map(|(file, bytes)| json!({"file": file, "bytes": bytes.len()})),
            "subscriptions": state.subscriptions.len(),
            "certificates": state.trust.ids(),
            "flashes": state.journal.flashes("device"),
            "load": state.load,
        })
    }

    /// The version that runs on a device.
    pub fn version(&self, device: &str) -> Option<String> {
        self.inner.bmc.lock().device(device).map(|entry| entry.version.clone())
    }

    /// Resets the BMC, as if somebody pressed its button; returns when it is up again.
    pub async fn reset_bmc(&self) {
        host::reset_bmc(&self.inner.bmc, "control").await;
    }

    /// `ComputerSystem.Reset`, as if somebody else did it; returns when POST is over.
    pub async fn reset_host(&self, kind: &str) {
        host::reset(&self.inner.bmc, kind).await;
    }
}
