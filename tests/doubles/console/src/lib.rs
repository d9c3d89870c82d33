//! Doubles of devices with a command line: chassis managers and switches, by SSH; an Onboard Administrator by HTTPS too.
//!
//! [`Double::start`] opens an SSH port and a control API. Firmware really changes: images
//! ([`image::Header`]) are fetched by curl, checked, written over time, and run after the restart that they
//! need. [`fault::Fault`]s make it go wrong, and a journal tells what happened.
//!
//! They are written from vendors' documents (README.md). No hardware was asked. Nothing here knows Farrier.

#![expect(
    clippy::indexing_slicing,
    reason = "a key that a JSON object lacks reads as null, which is what is meant"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a place that asks for faults knows its own and no others"
)]
#![expect(clippy::format_collect, reason = "texts of a few lines, where clearness counts")]
#![expect(clippy::struct_excessive_bools, reason = "settings are a list of what a device does and does not")]

mod admission;
mod control;
mod device;
pub mod fault;
mod fetch;
pub mod image;
mod job;
mod product;
mod server;
mod session;
mod terminal;
mod trouble;
mod web;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use farrier_double_parts::fault::fault_name;
use farrier_double_parts::port::Port;
use russh::keys::PublicKeyBase64 as _;
use serde_json::{Value, json};

use crate::device::{Device, Net};
use crate::fault::{Armed, Fault};

pub use crate::device::Settings;
pub use crate::product::Product;
pub use crate::server::{Algorithms, SignIn};
pub use farrier_double_parts::journal::Entry;

/// How a double is started.
#[derive(Debug, Clone)]
pub struct Config {
    /// What it is a double of.
    pub product: Product,
    /// Its model; empty: the product's.
    pub model: String,
    /// Where SSH is served.
    pub address: IpAddr,
    /// Of an `oa`: where its standby module is served, on the same ports; it shares firmware and sessions.
    pub standby_address: Option<IpAddr>,
    /// Port of SSH; 0: any.
    pub port: u16,
    /// Port of HTTPS, where the product has it; 0: any.
    pub https_port: u16,
    /// Where the control API is served; it has no credentials, so only loopback makes sense.
    pub control: SocketAddr,
    /// The account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// What the SSH server offers.
    pub algorithms: Algorithms,
    /// How somebody signs in.
    pub sign_in: SignIn,
    /// A host key in OpenSSH's format; empty: new ones.
    pub host_key: String,
    /// What is in its interconnect bays: doubles of their own, which its line leads to as well.
    pub interconnects: Vec<(u8, Self)>,
    /// What may be changed later too.
    pub settings: Settings,
}

impl Config {
    /// Any port of 127.0.0.1, account `admin` with the password `password`.
    pub fn new(product: Product) -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            product,
            model: String::new(),
            address: loopback,
            standby_address: None,
            port: 0,
            https_port: 0,
            control: SocketAddr::new(loopback, 0),
            user: "admin".to_owned(),
            password: "password".to_owned(),
            algorithms: Algorithms::Modern,
            sign_in: SignIn::Any,
            host_key: String::new(),
            interconnects: vec![],
            settings: Settings::default(),
        }
    }
}

/// A running double. It ends when it is dropped.
#[derive(Debug)]
pub struct Double {
    inner: Arc<Inner>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    modules: Vec<(u8, Self)>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    device: Arc<Device>,
    ssh: SocketAddr,
    control: SocketAddr,
    host_keys: Vec<String>,
    web: Option<(SocketAddr, String)>,
}

impl Drop for Double {
    fn drop(&mut self) {
        if self.tasks.is_empty() {
            return; // A view of the control API's.
        }
        self.inner.device.net.send_replace(Net::Gone);
        self.inner.device.changed.notify_waiters();
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Double {
    /// Opens the ports and serves them in the background of the current runtime.
    ///
    /// # Errors
    /// When a port is taken, or the host key is none.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let profile = config.product.profile();
        let model = if config.model.is_empty() { profile.model.to_owned() } else { config.model };
        let device = Device::new(config.product, model, config.settings, (&config.user, &config.password));
        let keys = if config.host_key.is_empty() {
            server::host_keys(config.algorithms)?
        } else {
            vec![russh::keys::decode_secret_key(&config.host_key, None).context("read the host key")?]
        };
        let public = keys.iter().map(russh::keys::PrivateKey::public_key);
        let host_keys =
            public.map(|key| format!("{} {}", key.algorithm(), key.public_key_base64())).collect();
        let ssh_config = server::config(&device, config.algorithms, config.sign_in, keys);
        let bind = |address, port| Port::bind(SocketAddr::new(address, port), server::BACKLOG);
        let port = bind(config.address, config.port)?;
        let ssh = port.address();
        let listener = tokio::net::TcpListener::bind(config.control).await?;
        let mut modules = vec![];
        for (bay, module) in config.interconnects {
            modules.push((bay, Box::pin(Self::start(module)).await?));
        }
        let devices = modules.iter().map(|(bay, module)| (*bay, Arc::clone(&module.inner.device)));
        device.interconnects.get_or_init(|| devices.collect());
        if !config.address.is_unspecified() {
            device.source.get_or_init(|| config.address);
        }
        let mut served = vec![(port, server::Service::Ssh(Arc::clone(&ssh_config), false))];
        let mut web = None;
        if device.product.has_web() {
            let service = web::Web::new(&device, config.address, false)?;
            let port = bind(config.address, config.https_port)?;
            web = Some((port.address(), service.fingerprint.clone()));
            served.push((port, server::Service::Web(Arc::new(service))));
        }
        if let Some(address) = config.standby_address {
            served.push((bind(address, config.port)?, server::Service::Ssh(ssh_config, true)));
            let service = web::Web::new(&device, address, true)?;
            served.push((bind(address, config.https_port)?, server::Service::Web(Arc::new(service))));
        }
        device.ports.store(served.len(), std::sync::atomic::Ordering::Relaxed);
        let control = listener.local_addr()?;
        let inner = Arc::new(Inner { ssh, control, host_keys, web, device: Arc::clone(&device) });
        let mut tasks = vec![];
        for (port, service) in served {
            // Who starts a double may connect at once.
            port.listen()?;
            let device = Arc::clone(&device);
            tasks.push(tokio::spawn(async move { drop(server::serve(device, port, service).await) }));
        }
        tasks.push(tokio::spawn(farrier_double_parts::control::serve(Self::view(&inner), listener)));
        Ok(Self { inner, tasks, modules })
    }

    /// The same for the control API; dropping it ends nothing.
    pub(crate) fn view(inner: &Arc<Inner>) -> Self {
        Self { inner: Arc::clone(inner), tasks: vec![], modules: vec![] }
    }

    /// Where SSH is served.
    pub fn ssh(&self) -> SocketAddr {
        self.inner.ssh
    }

    /// Where HTTPS is served, by products that have it.
    pub fn https(&self) -> Option<SocketAddr> {
        self.inner.web.as_ref().map(|(address, _)| *address)
    }

    /// The SHA-256 of its certificate in hexadecimal, by products that have one.
    pub fn certificate(&self) -> Option<&str> {
        self.inner.web.as_ref().map(|(_, fingerprint)| fingerprint.as_str())
    }

    /// Where the control API is.
    pub fn control(&self) -> SocketAddr {
        self.inner.control
    }

    /// The public host keys, as in `known_hosts`, without the host.
    pub fn host_keys(&self) -> &[String] {
        &self.inner.host_keys
    }

    /// The double in an interconnect bay.
    pub fn interconnect(&self, bay: u8) -> Option<&Self> {
        self.modules.iter().find(|(number, _)| *number == bay).map(|(_, module)| module)
    }

    /// What it is and where.
    pub fn describe(&self) -> Value {
        let modules: serde_json::Map<_, _> =
            self.modules.iter().map(|(bay, module)| (bay.to_string(), module.describe())).collect();
        json!({
            "interconnects": modules,
            "product": self.inner.device.product.name(),
            "model": self.inner.device.model,
            "ssh": self.ssh().to_string(),
            "https": self.https().map(|address| address.to_string()),
            "certificate": self.certificate(),
            "control": self.control().to_string(),
            "host-keys": self.host_keys(),
        })
    }

    /// Switches a fault on; those that are events happen now.
    ///
    /// # Errors
    /// None today.
    pub fn arm(&self, armed: Armed) -> anyhow::Result<()> {
        let name = fault_name(&armed.fault);
        let device = &self.inner.device;
        device.lock().journal.write("fault", json!({"name": name}));
        if armed.fault == Fault::DropSessions {
            device.cut_lines();
        } else {
            device.lock().faults.arm(armed);
        }
        device.changed.notify_waiters();
        Ok(())
    }

    /// Switches faults off: those of this name, or all.
    pub fn clear(&self, name: Option<&str>) {
        self.inner.device.lock().faults.clear(name);
        self.inner.device.changed.notify_waiters();
    }

    /// The faults that are on.
    pub fn armed(&self) -> Vec<Armed> {
        self.inner.device.lock().faults.armed().to_vec()
    }

    /// The settings as they are.
    pub fn settings(&self) -> Settings {
        self.inner.device.settings()
    }

    /// Replaces the settings.
    pub fn set(&self, settings: Settings) {
        self.inner.device.lock().settings = settings;
        self.inner.device.changed.notify_waiters();
    }

    /// Everything that happened.
    pub fn journal(&self) -> Vec<Entry> {
        self.journal_since(0)
    }

    /// What happened after the line of this number.
    pub fn journal_since(&self, number: u64) -> Vec<Entry> {
        self.inner.device.lock().journal.since(number)
    }

    /// Begins an empty journal.
    pub fn forget_journal(&self) {
        self.inner.device.lock().journal.clear();
    }

    /// What is there now: versions, the update, sessions.
    pub fn state(&self) -> Value {
        let state = self.inner.device.lock();
        let versions: serde_json::Map<_, _> =
            state.parts.iter().map(|one| (one.name.clone(), json!(one.version))).collect();
        json!({
            "up": *self.inner.device.net.borrow() == Net::Up,
            "versions": versions,
            "parts": state.parts,
            "update": state.update,
            "pending": state.pending.is_some(),
            "active": state.active,
            "sessions": state.sessions,
            "flashes": state.journal.flashes("part"),
        })
    }

    /// The version that runs on a part.
    pub fn version(&self, part: &str) -> Option<String> {
        self.inner.device.lock().part(part).map(|part| part.version.clone())
    }

    /// Sets the version of a part, as if it had always been so.
    ///
    /// # Errors
    /// When there is no such part.
    pub fn set_version(&self, part: &str, version: &str) -> anyhow::Result<()> {
        let mut state = self.inner.device.lock();
        let found = state.parts.iter_mut().find(|one| one.name == part);
        let found = found.with_context(|| format!("there is no part {part}"))?;
        version.clone_into(&mut found.version);
        found.secondary = found.secondary.as_ref().map(|_| version.to_owned());
        Ok(())
    }

    /// Restarts the device, as if somebody pressed its button; returns when it is up again.
    pub async fn reboot(&self) {
        self.inner.device.restart("control").await;
    }
}
