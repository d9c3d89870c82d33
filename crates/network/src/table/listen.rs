//! The ports on which an engine may listen, on channel `Listen`.

/// Default port on which an engine listens: the SOAP engine's, range `internal` of the table.
pub const LISTEN_PORT: u16 = 62286;

/// How many ports an engine tries. They are few because policies and firewalls open all of them.
const COUNT: u16 = 4;

/// The ports on which an engine may listen: it takes the first one that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenPorts {
    /// The first one.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

impl ListenPorts {
    /// The usual ports.
    pub const USUAL: Self = Self::from(LISTEN_PORT);

    /// All dynamic ports of RFC 6335, section 6: those of any session whose ports are random are among them.
    pub const DYNAMIC: Self = Self { first: 49152, last: 65535 };

    /// Returns the random ports of a session, by its UID. Each runner and each policy finds the same ones, and they
    /// are as random as the UID, which the API server makes: the network does not see it.
    pub fn random(session: &str) -> Self {
        let choices = u64::from(Self::DYNAMIC.last - Self::DYNAMIC.first - COUNT + 2);
        let nth = u16::try_from(digest(session) % choices).unwrap_or_default();
        Self::from(Self::DYNAMIC.first + nth)
    }

    /// Reports whether one of these is `port`.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    const fn from(first: u16) -> Self {
        Self { first, last: first + (COUNT - 1) }
    }
}

/// FNV-1a: spreads a UID over the ports. Nothing has to be kept secret here.
fn digest(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A port that can be guessed is found by the first scan; one outside of the range is closed by firewalls.
    #[test]
    fn random_ports_are_spread_over_the_dynamic_range() {
        let uid = |n: u32| format!("26bdb658-5af0-4c30-b050-2c49{n:08x}");
        let all: Vec<ListenPorts> = (0..20_000).map(|n| ListenPorts::random(&uid(n))).collect();
        assert!(all.iter().all(|ports| ports.last - ports.first == 3));
        let ends = (all.iter().map(|ports| ports.first).min(), all.iter().map(|ports| ports.last).max());
        let (lowest, highest) = (ends.0.unwrap(), ends.1.unwrap());
        assert!((49152..49200).contains(&lowest) && highest > 65500, "{lowest} {highest}");
        // 20,000 throws on 16,381 places hit about 70 % of them.
        let distinct: BTreeSet<u16> = all.iter().map(|ports| ports.first).collect();
        assert!((11_000..12_000).contains(&distinct.len()), "{}", distinct.len());
        assert_eq!(ListenPorts::random(&uid(7)), ListenPorts::random(&uid(7)), "for every runner");
    }
}
