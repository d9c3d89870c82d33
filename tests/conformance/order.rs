//! What attempts of tests are given: the machine as its user describes it, what all attempts share, and the job.

use farrier::attempt::{Goal, Job, Tools};
use farrier::callback::Registry;
use farrier::drivers::{Class, HttpsSettings, Keys, Node, Privilege, SshSettings};
use farrier::engines::Engines;
use farrier::metrics::Metrics;
use farrier::payload::Store;
use farrier::ssh::{Algorithms, Family};
use farrier::tls::Trust;
use farrier_network::MachineType;
use farrier_update::Component;
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
        hand_over: None,
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
        installers,
        all_installers: installers.into(),
        components,
        ..Job::first("0b3ee0c4a1f2", "kit", node, node_type, goal)
    }
}
