//! The engine on the other side: its build, its clock, and whether its protocol is compatible.

use super::limits;
use farrier_protocol::{Hello, OLDEST_VERSION, VERSION, common_version};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Maximum length of a digest; more than any engine of ours sends.
const MAX_DIGEST_LEN: usize = 100;

/// Maximum length of a boot id; the kernel's has 36 characters.
const MAX_BOOT_ID_LEN: usize = 64;

/// The connected engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Digest of the engine's binary, if the engine sent it.
    pub digest: Option<String>,
    /// How far the machine's clock is ahead of the operator's, in milliseconds. Zero if the engine did not
    /// send its time.
    pub ahead: i64,
    /// Boot id of the machine; `None` if the engine could not read it.
    pub boot_id: Option<String>,
}

impl Peer {
    pub(super) fn of(hello: &Hello) -> Self {
        let digest = hello.digest.clone().filter(|digest| digest.len() <= MAX_DIGEST_LEN);
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ours = i64::try_from(ours.as_millis()).unwrap_or(i64::MAX);
        let theirs = hello.now.map_or(ours, |now| i64::try_from(now).unwrap_or(i64::MAX));
        let is_plain = |id: &&String| {
            let chars = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            chars && (1..=MAX_BOOT_ID_LEN).contains(&id.len())
        };
        let boot_id = Some(&hello.boot_id).filter(is_plain).cloned();
        Self { digest, ahead: theirs.saturating_sub(ours), boot_id }
    }
}

/// An engine that has no protocol version in common with this operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatible {
    /// Version of the engine's package.
    pub engine: String,
    /// The oldest and the newest protocol version of the engine.
    pub protocol: (u32, u32),
}

impl Incompatible {
    /// Returns the protocol version to use with an engine.
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
