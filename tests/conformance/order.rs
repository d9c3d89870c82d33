//! What attempts of tests are given: the machine as its user describes it, what all attempts share, and the job.

use farrier::attempt::{DeviceOrder, Goal, Job, LogOptions, Tools};
use farrier::callback::Registry;
use farrier::drivers::{Class, HttpsSettings, Keys, Node, Privilege, SshSettings};
use farrier::engines::Engines;
use farrier::metrics::Metrics;
use farrier::payload::Store;
use farrier::ssh::{Algorithms, Family};
use farrier::tls::Trust;
use farrier_network::MachineType;
use farrier_update::{Component, FailedDependency, Force, RebootOrder};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

/// A machine with the usual ports, whose keys and certificates nobody trusts yet.
pub(crate) fn node(name: &str, type_: MachineType, address: IpAddr) -> Node {
    let family = if address.is_ipv6() { Family::V6 } else { Family::V4 };
    Node {
        name: name.to_owned(),
        type_,
        product: None,
        addresses: vec![address.to_string()],
        families: vec![family],
        ssh: SshSettings {
            port: 22,
            host_keys: vec![],
            trust_first: false,
            algorithms: Algorithms::Current,
            privilege: Privilege::None,
        },
        https: HttpsSettings { port: 443, trust: Trust::default() },
    }
}

/// A Secret with these values.
pub(crate) fn keys(values: &[(&str, &str)]) -> Keys {
    let data = values.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    Keys { name: "login".into(), data: data.collect() }
}

/// Payloads are files of this directory, and what is stored lies below it.
pub(crate) fn tools(dir: &Path) -> Tools {
    Tools {
        engines: Engines::none(),
        store: Store::open(&dir.join("store"), Some(dir)).unwrap(),
        metrics: Metrics::new(),
        calls: Registry::new(),
        logs: None,
    }
}

/// The first attempt at a machine, with the defaults of a run.
pub(crate) fn job(
    node: &str,
    node_type: MachineType,
    class: &dyn Class,
    components: Vec<Component>,
    goal: Goal,
) -> Job {
    let installers = class.abilities().installers;
    Job {
        session: "0b3ee0c4a1f2".into(),
        run: "kit".into(),
        node: node.to_owned(),
        node_type,
        installers,
        all_installers: installers.into(),
        runner: String::new(),
        attempt: 1,
        goal,
        touched: false,
        resumed: false,
        components,
        access: BTreeMap::new(),
        device: DeviceOrder::default(),
        force: Force::default(),
        on_failed_dependency: FailedDependency::default(),
        lease_seconds: 900,
        wait_seconds: 60,
        approved: None,
        reboot: RebootOrder::default(),
        rebooting: None,
        installed_earlier: Vec::new(),
        log: LogOptions::default(),
        callback: None,
        listen: None,
    }
}
