//! Which engine is at the other end: its build, its clock, and whether it can be understood.

use super::limits;
use farrier_protocol::{Hello, OLDEST_VERSION, VERSION, common_version};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longer than any digest that an engine of ours says.
const MAX_DIGEST_LEN: usize = 100;

/// The engine at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Digest of its bytes, if it said so.
    pub digest: Option<String>,
    /// How far the machine's clock is ahead of ours, in milliseconds. Zero if the engine did not say
    /// what time it is there.
    pub ahead: i64,
}

impl Peer {
    pub(super) fn of(hello: &Hello) -> Self {
        let digest = hello.digest.clone().filter(|digest| digest.len() <= MAX_DIGEST_LEN);
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ours = i64::try_from(ours.as_millis()).unwrap_or(i64::MAX);
        let theirs = hello.now.map_or(ours, |now| i64::try_from(now).unwrap_or(i64::MAX));
        Self { digest, ahead: theirs.saturating_sub(ours) }
    }
}

/// An engine that cannot be talked to: there is no version of the protocol that both sides speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatible {
    /// Version of its package.
    pub engine: String,
    /// The oldest and the newest version of the protocol that it speaks.
    pub protocol: (u32, u32),
}

impl Incompatible {
    /// The version of the protocol to speak with an engine.
    pub(super) fn check(hello: &Hello) -> Result<u32, Self> {
        let protocol = (hello.oldest.unwrap_or(hello.protocol), hello.protocol);
        common_version(protocol).ok_or_else(|| {
            let mut engine = hello.engine.clone();
            limits::bound_name(&mut engine);
            Self { engine, protocol }
        })
    }
}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, protocol } = self;
        let (theirs, ours) = (range(*protocol), range((OLDEST_VERSION, VERSION)));
        write!(f, "engine {engine} speaks protocol {theirs}, this operator {ours}")
    }
}

fn range((oldest, newest): (u32, u32)) -> String {
    if oldest == newest { newest.to_string() } else { format!("{oldest} to {newest}") }
}
