//! Doubles of devices with a command line, each in a network namespace of the lab with addresses of its own: SSH on 22,
//! HTTPS on 443, and images fetched from there.

use super::site::Site;
use super::{lab, payload};
use farrier::api::ManagedNode;
use farrier_console_double::fault::{Armed, Fault};
use farrier_console_double::{Config, Double, Entry, Settings};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsFd;
use std::sync::mpsc;
use tokio::sync::oneshot;

/// A double that is described by a ManagedNode.
pub(crate) struct Console {
    /// Name of the ManagedNode.
    pub(crate) name: String,
    /// Its network namespace.
    host: String,
    /// The device.
    pub(crate) double: Double,
    /// The addresses of what is in its bays.
    modules: BTreeMap<u8, IpAddr>,
    /// The thread of the double ends when this is dropped.
    _life: oneshot::Sender<()>,
}

impl Console {
    /// Starts a double, and creates its Secret and its ManagedNode; `spec` is merged over that of the ManagedNode.
    pub(crate) async fn up(site: &Site, name: &str, type_: &str, config: Config, spec: Value) -> Self {
        let host = format!("{}-{name}", site.name);
        site.expect_machine(&host);
        lab::output("labctl", ["add", host.as_str(), "--flavour", "none"]).await;
        let shown = lab::output("labctl", ["show", host.as_str()]).await;
        let shown: Value = serde_json::from_str(&shown).expect("JSON of labctl show");
        let (user, password) = (config.user.clone(), config.password.clone());
        let own: IpAddr = shown["v4"].as_str().expect("an address").parse().expect("an address");
        let (config, modules) = with_addresses(&host, own, config).await;
        site.secret(name, &[("username", user.as_str()), ("password", password.as_str())]).await;
        let (double, life) = inside(&host, config);
        let mut full = json!({
            "type": type_,
            "addresses": [shown["v4"]],
            "credentialsRef": {"name": name},
            "ssh": {"hostKeys": double.host_keys()},
        });
        payload::merge(&mut full, spec);
        let node = json!({
            "apiVersion": "farrier.dev/v1alpha1", "kind": "ManagedNode",
            "metadata": {"name": name, "labels": {"name": name}}, "spec": full,
        });
        site.create::<ManagedNode>(&node).await.expect("a ManagedNode that the API server accepts");
        Self { name: name.to_owned(), host, double, modules, _life: life }
    }

    /// Creates the Secret and the ManagedNode of what is in a bay, which is managed by this device.
    pub(crate) async fn describe(&self, site: &Site, bay: u8, name: &str, type_: &str, login: (&str, &str)) {
        site.secret(name, &[("username", login.0), ("password", login.1)]).await;
        let node = json!({
            "apiVersion": "farrier.dev/v1alpha1", "kind": "ManagedNode",
            "metadata": {"name": name, "labels": {"name": name}},
            "spec": {
                "type": type_,
                "addresses": [self.address(bay)],
                "credentialsRef": {"name": name},
                "managedBy": {"name": self.name},
            },
        });
        site.create::<ManagedNode>(&node).await.expect("a ManagedNode that the API server accepts");
    }

    /// The address of what is in a bay.
    pub(crate) fn address(&self, bay: u8) -> String {
        self.modules[&bay].to_string()
    }

    /// Drops every connection that the device itself begins.
    pub(crate) async fn may_not_call(&self) {
        let rules = "table inet deny { chain out { type filter hook output priority 0; \
                     oifname lo accept; meta l4proto { tcp, udp } ct state new drop; }; }";
        let netns = format!("--net=/run/netns/{}", self.host);
        lab::output("nsenter", [netns.as_str(), "nft", rules]).await;
    }

    /// Switches a fault on.
    pub(crate) fn arm(&self, armed: Armed) {
        self.double.arm(armed).expect("a fault of this double");
    }

    /// Switches a fault on until it is cleared.
    pub(crate) fn always(&self, fault: Fault) {
        self.arm(Armed::always(fault));
    }

    /// Changes settings.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.double.settings();
        change(&mut settings);
        self.double.set(settings);
    }

    /// Its model.
    pub(crate) fn model(&self) -> String {
        self.double.describe()["model"].as_str().expect("a model").to_owned()
    }

    /// How many times a version was written.
    pub(crate) fn flashes(&self, version: &str) -> usize {
        self.entries("flash").iter().filter(|entry| entry.detail["version"] == version).count()
    }

    /// The entries of its journal of one kind.
    pub(crate) fn entries(&self, kind: &str) -> Vec<Entry> {
        self.double.journal().into_iter().filter(|entry| entry.kind == kind).collect()
    }

    /// How many sessions are open.
    pub(crate) fn sessions(&self) -> usize {
        self.double.state()["sessions"].as_array().map_or(0, Vec::len)
    }
}

/// Gives what is in the bays addresses of their own, beside that of the device: the lab has none of the second half of
/// its network.
async fn with_addresses(host: &str, own: IpAddr, mut config: Config) -> (Config, BTreeMap<u8, IpAddr>) {
    let mut modules = BTreeMap::new();
    let IpAddr::V4(own) = own else { panic!("an enclosure has an address of IPv4, not {own}") };
    let [a, b, c, d] = own.octets();
    let netns = format!("--net=/run/netns/{host}");
    for (bay, module) in &mut config.interconnects {
        // Eight bays of enclosures whose third number is below 16, which are the first 3000 machines of a lab.
        assert!(c < 16 && *bay <= 8, "an address for bay {bay} of the machine at {own}");
        module.address = IpAddr::from([a, b, 120 + 16 * (*bay - 1) + c, d]);
        let address = format!("{}/16", module.address);
        lab::output("nsenter", [netns.as_str(), "ip", "address", "add", &address, "dev", "eth0"]).await;
        modules.insert(*bay, module.address);
    }
    (config, modules)
}

/// Starts a double on a thread that is in the machine's network namespace, and so are the programs that it starts.
fn inside(host: &str, config: Config) -> (Double, oneshot::Sender<()>) {
    let namespace =
        File::open(format!("/run/netns/{host}")).expect("the network namespace of the lab's machine");
    let config = Config { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), port: 22, https_port: 443, ..config };
    let (send, receive) = mpsc::channel();
    let (life, ended) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), None)
            .expect("the namespace can be entered");
        // One thread, because a namespace belongs to a thread.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            send.send(Double::start(config).await.expect("a double that listens"))
                .expect("a test that waits");
            ended.await.ok();
        });
    });
    (receive.recv().expect("a double"), life)
}
