//! Which ports must be open, who gets which port, and which addresses may pass.
//!
//! Pure, like `farrier-update`: no clock, no files, no sockets, no Kubernetes.
//!
//! - [`table`]: what the manuals say of every machine type, and Farrier's own rules on top.
//! - [`ledger`]: port pairs for runs, and ports out of the ranges of older generations.
//! - [`cidr`]: sets of addresses.
//! - [`policy`]: what may connect to what, as data, and what is wrong with addresses and ports.
//!
//! One run on two runners, from ports to rules:
//!
//! ```
//! use farrier_network::cidr::{self, AddressSet};
//! use farrier_network::ledger::{self, Block, Claim, Conflict, OnConflict, Pair, PairRequest, Seat, Sharing};
//! use farrier_network::policy::{self, Machine, Stage, Way};
//! use farrier_network::{Channel, MachineType, Phase};
//!
//! let block = Some(Block { first: 63001, count: 16 });
//! let seat = |n: u8| Seat { runner: format!("farrier-{n}"), host: format!("pod-{n}"), block };
//! let mut request = PairRequest {
//!     run: "run-b".to_owned(),
//!     seats: vec![seat(0), seat(1)],
//!     wanted: Pair::USUAL,
//!     on_conflict: OnConflict::Next,
//!     sharing: PairSharing::PerRunner,
//!     standing: [].into(),
//! };
//!
//! // Another run has the usual pair on pod-0.
//! let claims = Claim::both("run-a", "farrier-0", "pod-0", Pair::USUAL);
//! let first = ledger::allocate(&request, &claims, &[]);
//! assert_eq!(first.pairs["farrier-0"], Pair { http: 63003, https: 63004 });
//! assert_eq!(first.pairs["farrier-1"], Pair::USUAL);
//!
//! // On pod-1 something else has 63002, as the runner finds out. What stands elsewhere stays.
//! request.standing = first.pairs;
//! let report = Conflict { run: "run-b".to_owned(), host: "pod-1".to_owned(), port: 63002 };
//! let second = ledger::allocate(&request, &claims, &[report]);
//! assert_eq!(second.pairs["farrier-0"], Pair { http: 63003, https: 63004 });
//! assert_eq!(second.pairs["farrier-1"], Pair { http: 63003, https: 63004 });
//!
//! // A Linux machine that calls back may reach the port with TLS, and nothing else may.
//! let addresses: Vec<_> = ["10.0.12.6", "10.0.12.7", "fe80::1%mgmt0"].iter().filter_map(|a| cidr::parse(a)).collect();
//! let machine = Machine {
//!     kind: MachineType::Linux,
//!     addresses: addresses.clone(),
//!     ssh_port: 22,
//!     listen_port: farrier_network::table::LISTEN_PORT,
//!     channel: Channel::Callback,
//!     stage: Stage::In(Phase::Inventory),
//! };
//! let input = policy::Input {
//!     machines: vec![machine],
//!     pairs: second.pairs.values().copied().collect(),
//!     peers: vec![],
//! };
//! let rules = policy::rules(&input, policy::CIDRS_PER_RULE);
//! let ingress = rules.iter().find(|rule| rule.way == Way::Ingress).unwrap();
//! assert_eq!(ingress.ports.iter().map(|p| p.port).collect::<Vec<_>>(), [63004]);
//! assert_eq!(ingress.cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.12.6/31", "fe80::1/128"]);
//!
//! // The listener asks again, before TLS.
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
pub use words::{Channel, Direction, MachineType, Phase, Transport, UnknownWord};
