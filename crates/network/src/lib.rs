//! Port requirements, port allocation, and the addresses that may connect.
//!
//! Pure, like `farrier-update`: no clock, no files, no sockets, no Kubernetes.
//!
//! - [`table`]: the ports of every machine type in the manuals, and Farrier's own rules on top.
//! - [`ledger`]: port pairs for runs, and ports from the ranges of older generations.
//! - [`cidr`]: sets of addresses.
//! - [`policy`]: the allowed connections, as data, and checks of addresses and ports.
//!
//! One run on two runners, from ports to rules:
//!
//! ```
//! use farrier_network::cidr::{self, AddressSet};
//! use farrier_network::ledger::{
//!     self, Block, Claim, Conflict, OnConflict, Pair, PairRequest, PairSharing, RunnerHost,
//! };
//! use farrier_network::policy::{self, Machine, PolicyType, Stage};
//! use farrier_network::{Channel, MachineType, Phase};
//!
//! let block = Some(Block { first: 63001, count: 16 });
//! let runner = |n: u8| RunnerHost { runner: format!("farrier-{n}"), host: format!("pod-{n}"), block };
//! let mut request = PairRequest {
//!     run: "run-b".to_owned(),
//!     runners: vec![runner(0), runner(1)],
//!     wanted: Pair::USUAL,
//!     on_conflict: OnConflict::Next,
//!     sharing: PairSharing::PerRunner,
//!     previous: [].into(),
//! };
//!
//! // Another run has the usual pair on pod-0.
//! let claims = Claim::both("run-a", "farrier-0", "pod-0", Pair::USUAL);
//! let first = ledger::allocate(&request, &claims, &[]);
//! assert_eq!(first.pairs["farrier-0"], Pair { http: 63003, https: 63004 });
//! assert_eq!(first.pairs["farrier-1"], Pair::USUAL);
//!
//! // On pod-1 another program has 63002, as the runner reports. The pair on pod-0 stays.
//! request.previous = first.pairs;
//! let report = Conflict { run: "run-b".to_owned(), host: "pod-1".to_owned(), port: 63002 };
//! let second = ledger::allocate(&request, &claims, &[report]);
//! assert_eq!(second.pairs["farrier-0"], Pair { http: 63003, https: 63004 });
//! assert_eq!(second.pairs["farrier-1"], Pair { http: 63003, https: 63004 });
//!
//! // A Linux machine on channel `Callback` may connect to the HTTPS port, and to no other.
//! let texts = ["10.0.12.6", "10.0.12.7", "fe80::1%mgmt0"];
//! let addresses: Vec<_> = texts.iter().filter_map(|text| cidr::parse(text)).collect();
//! let machine = Machine {
//!     kind: MachineType::Linux,
//!     addresses: addresses.clone(),
//!     ssh_port: 22,
//!     api_port: farrier_network::table::API_PORT,
//!     listen: farrier_network::table::ListenPorts::USUAL,
//!     channel: Channel::Callback,
//!     fetches: None,
//!     stage: Stage::In(Phase::Inventory),
//! };
//! let input = policy::Input {
//!     machines: vec![machine],
//!     pairs: second.pairs.values().copied().collect(),
//!     services: [].into(),
//!     peers: vec![],
//! };
//! let rules = policy::rules(&input, policy::CIDRS_PER_RULE);
//! let ingress = rules.iter().find(|rule| rule.way == PolicyType::Ingress).unwrap();
//! assert_eq!(ingress.ports.iter().map(|p| p.port).collect::<Vec<_>>(), [63004]);
//! let cidrs: Vec<_> = ingress.cidrs.iter().map(ToString::to_string).collect();
//! assert_eq!(cidrs, ["10.0.12.6/31", "fe80::1/128"]);
//!
//! // The listener checks the address once more, before TLS.
//! let allowed: AddressSet = addresses.into_iter().collect();
//! assert!(allowed.contains("::ffff:10.0.12.7".parse().unwrap()));
//! assert!(!allowed.contains("10.0.12.8".parse().unwrap()));
//! ```

pub mod cidr;
pub mod ledger;
pub mod policy;
pub mod table;
mod words;

pub use ipnet::IpNet;
pub use words::{
    Channel, Direction, FTP_DATA_PORTS, FileService, MachineType, Phase, Scheme, Transport, UnknownWord,
};
