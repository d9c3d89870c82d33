//! The machines: their addresses, and what is installed on them.

use crate::engine::Engine;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PublicKey};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Number of packages that each machine has besides [`PACKAGE`], as a small server of Debian.
pub const PACKAGES: usize = 300;

/// The package that is updated.
pub const PACKAGE: &str = "farrier-agent";

/// How the machines behave.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The key with which root may sign in.
    pub authorized: PublicKey,
    /// How long an installer takes.
    pub install: Duration,
    /// Where other commands than the operator's are run, with a directory for each machine. `None`: not at all.
    pub foreign: Option<PathBuf>,
}

/// All machines.
#[derive(Debug)]
pub struct Fleet {
    /// How they behave.
    pub settings: Settings,
    /// What they have counted.
    pub counted: Counted,
    machines: Vec<Mutex<Machine>>,
}

/// Sums over all machines.
#[derive(Debug, Default)]
pub struct Counted {
    /// Connections that were accepted.
    pub connections: AtomicU64,
    /// Payloads that arrived with the expected digest.
    pub payloads: AtomicU64,
    /// Installers that ended.
    pub installed: AtomicU64,
    /// Programs of the operator that nobody here knows: the double is older than the operator.
    pub unknown: AtomicU64,
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    /// Installed version of [`PACKAGE`].
    pub version: String,
    /// The engine that is on it, between its deployment and its end.
    pub engine: Option<Arc<Engine>>,
}

impl Fleet {
    /// Creates machines 1 to `count`, which have version `version` of [`PACKAGE`].
    pub fn new(count: u32, version: &str, settings: Settings) -> Self {
        let machine = || Mutex::new(Machine { version: version.to_owned(), engine: None });
        Self {
            settings,
            counted: Counted::default(),
            machines: std::iter::repeat_with(machine).take(count as usize).collect(),
        }
    }

    /// Returns a machine.
    pub fn machine(&self, number: u32) -> Option<MutexGuard<'_, Machine>> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        Some(self.machines.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the sums, as `name value` lines.
    pub fn report(&self) -> String {
        let Counted { connections, payloads, installed, unknown } = &self.counted;
        let counts = [
            ("connections", connections),
            ("payloads", payloads),
            ("installed", installed),
            ("unknown", unknown),
        ];
        let mut lines: Vec<String> =
            counts.iter().map(|(name, count)| format!("{name} {}", count.load(Ordering::Relaxed))).collect();
        let has_engine = |machine: &&Mutex<Machine>| {
            machine.lock().unwrap_or_else(PoisonError::into_inner).engine.is_some()
        };
        lines.push(format!("engines {}", self.machines.iter().filter(has_engine).count()));
        lines.join("\n")
    }
}

/// Returns the address of a machine, in the network of the loopback interface: 127.1.0.1 for the first one.
pub fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + number)
}

/// Returns the number of the machine with this address.
pub fn number(address: Ipv4Addr) -> Option<u32> {
    address.to_bits().checked_sub(Ipv4Addr::new(127, 1, 0, 0).to_bits())
}

/// Returns the name of a machine.
pub fn name(number: u32) -> String {
    format!("m-{number:05}")
}

/// Returns the host key of a machine, which depends on its number alone.
pub fn host_key(number: u32) -> anyhow::Result<PrivateKey> {
    let mut seed = [7; 32];
    seed.iter_mut().zip(number.to_be_bytes()).for_each(|(byte, digit)| *byte = digit);
    Ok(PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed)), name(number))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_one_machine() {
        for machine in [1, 255, 256, 5_000, 65_536, 1_000_000] {
            assert_eq!(number(address(machine)), Some(machine));
        }
        assert_eq!(address(5_000), Ipv4Addr::new(127, 1, 19, 136));
        assert_eq!(number(Ipv4Addr::new(10, 0, 0, 1)), None);
    }

    /// Otherwise the operator would refuse the second machine as another one with the key of the first.
    #[test]
    fn every_machine_has_its_own_host_key() {
        let key = |number| host_key(number).unwrap().public_key().to_openssh().unwrap();
        assert_ne!(key(1), key(2));
        assert_eq!(key(1), key(1));
    }
}
