//! What is assumed about the nodes of a rehearsal.

use crate::model::NodeName;
use crate::run::TargetFacts;
use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);

/// A rate in thousandths.
pub type Permille = u16;

/// What is assumed about the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// How long a node takes of which no duration is known.
    pub duration: Duration,
    /// How many nodes of a thousand fail.
    pub failing: Permille,
    /// How many nodes of a thousand are not reached.
    pub unreachable: Permille,
    /// Another seed lets other nodes fail.
    pub seed: u64,
    /// Whether each stage that needs an approval gets it as soon as all plans are known. Otherwise the rehearsal ends
    /// there.
    pub approves: bool,
}

/// How a node of a rehearsal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is updated.
    Succeeds,
    /// All attempts fail.
    Fails,
    /// It is never reached.
    IsUnreachable,
}

impl Model {
    /// Returns how long a node takes: as long as its own updates are known to take, or the default. It is rounded up to
    /// whole minutes, so that many nodes end at the same time, which needs one decision: no duration is known better.
    pub fn duration_of(&self, facts: &TargetFacts) -> Duration {
        let known = facts.expected.unwrap_or(self.duration);
        if known < MINUTE { known } else { Duration::from_mins(known.as_secs().div_ceil(60)) }
    }

    /// Returns how a node ends. It depends on the seed and the name of the node only, so a node that fails at a rate
    /// also fails at each higher one, whatever else is changed.
    pub fn fate(&self, node: &NodeName) -> Fate {
        let drawn = scattered(self.seed, node) % 1000;
        let failing = u64::from(self.failing);
        if drawn < failing {
            Fate::Fails
        } else if drawn >= 1000_u64.saturating_sub(u64::from(self.unreachable)) {
            Fate::IsUnreachable
        } else {
            Fate::Succeeds
        }
    }
}

/// Returns a number that looks random: FNV-1a over seed and name. Its low bits depend on few bits of the input, so the
/// finalizer of splitmix64 mixes them.
fn scattered(seed: u64, node: &NodeName) -> u64 {
    const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = seed.to_le_bytes().into_iter().chain(node.0.bytes());
    let hash = bytes.fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
