//! Which algorithms are offered to an SSH server, and why there may be none in common.
//!
//! Old ones are offered only where the user allows it, and after the current ones, so that a server with both uses
//! the current ones. What the library does not have cannot be allowed: `hmac-md5`, the MACs that are cut to 96 bits,
//! `arcfour`, `blowfish-cbc`, `cast128-cbc`, and groups of less than 2048 bits in the group exchange.

use super::hostkey::HostKeys;
use russh::keys::ssh_key::Algorithm;
use russh::{Names, Preferred, cipher, kex, mac};
use std::borrow::Cow;

/// Which algorithms are offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Algorithms {
    /// Those that OpenSSH's client of today offers too.
    #[default]
    Current,
    /// Those that firmware of 2008 needs as well.
    WithLegacy,
}

/// What two sides must have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// How keys are agreed on.
    KeyExchange,
    /// How the server proves its identity.
    HostKey,
    /// How bytes are encrypted.
    Cipher,
    /// How bytes are authenticated.
    Mac,
}

/// All kinds, in the order in which they are agreed on.
const KINDS: [Kind; 4] = [Kind::KeyExchange, Kind::HostKey, Kind::Cipher, Kind::Mac];

/// The library's own order, and those of the NIST curves, which devices have that may use nothing else (CNSA).
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G18_SHA512,
    kex::DH_G17_SHA512,
    kex::DH_G16_SHA512,
    kex::DH_G15_SHA512,
    kex::DH_G14_SHA256,
];

/// No algorithms, but what a client can do besides.
const EXTENSIONS: &[kex::Name] =
    &[kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT];

const OLD_KEX: &[kex::Name] = &[kex::DH_G14_SHA1, kex::DH_GEX_SHA1, kex::DH_G1_SHA1];

/// Ordered by processor time per byte (measured: 0.85 s/GiB for the first, 1.7 s/GiB for chacha20, which the library
/// would prefer); counter mode is for servers that support nothing better.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_128_CTR,
    cipher::AES_192_CTR,
];

const OLD_CIPHERS: &[cipher::Name] =
    &[cipher::AES_256_CBC, cipher::AES_192_CBC, cipher::AES_128_CBC, cipher::TRIPLE_DES_CBC];

/// Ciphers that authenticate bytes themselves.
const AUTHENTICATED: &[cipher::Name] = &[cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305];

const OLD_MACS: &[mac::Name] = &[mac::HMAC_SHA1_ETM, mac::HMAC_SHA1];

/// RSA with SHA-1, and DSA.
const OLD_KEYS: [Algorithm; 2] = [Algorithm::Rsa { hash: None }, Algorithm::Dsa];

impl Kind {
    /// Returns its name in the middle of a sentence.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::KeyExchange => "key exchange",
            Self::HostKey => "host key",
            Self::Cipher => "cipher",
            Self::Mac => "MAC",
        }
    }

    fn current(self) -> Vec<String> {
        match self {
            Self::KeyExchange => names(KEX),
            Self::HostKey => current_keys().iter().map(ToString::to_string).collect(),
            Self::Cipher => names(CIPHERS),
            Self::Mac => names(&Preferred::DEFAULT.mac),
        }
    }

    fn old(self) -> Vec<String> {
        match self {
            Self::KeyExchange => names(OLD_KEX),
            Self::HostKey => OLD_KEYS.iter().map(ToString::to_string).collect(),
            Self::Cipher => names(OLD_CIPHERS),
            Self::Mac => names(OLD_MACS),
        }
    }
}

fn names(algorithms: &[impl AsRef<str>]) -> Vec<String> {
    algorithms.iter().map(|name| name.as_ref().to_owned()).collect()
}

fn current_keys() -> Vec<Algorithm> {
    Preferred::DEFAULT.key.iter().filter(|key| !OLD_KEYS.contains(key)).cloned().collect()
}

impl Algorithms {
    /// Returns what is offered to a server with these host keys.
    pub(super) fn preferred(self, keys: &HostKeys) -> Preferred {
        Preferred {
            kex: Cow::Owned([KEX, self.old(OLD_KEX), EXTENSIONS].concat()),
            key: Cow::Owned(keys.preferred(&[current_keys(), self.old(&OLD_KEYS).to_vec()].concat())),
            cipher: Cow::Owned([CIPHERS, self.old(OLD_CIPHERS)].concat()),
            mac: Cow::Owned([&Preferred::DEFAULT.mac, self.old(OLD_MACS)].concat()),
            ..Preferred::DEFAULT
        }
    }

    /// Returns the names that are offered.
    fn offered(self, kind: Kind) -> Vec<String> {
        [kind.current(), self.old(&kind.old()).to_vec()].concat()
    }

    fn old<T>(self, old: &[T]) -> &[T] {
        match self {
            Self::Current => &[],
            Self::WithLegacy => old,
        }
    }
}

/// Returns the old ones among the algorithms that were agreed on, in words.
pub(super) fn old(agreed: &Names) -> Vec<String> {
    let all = [
        (Kind::KeyExchange, agreed.kex.as_ref().to_owned()),
        (Kind::HostKey, agreed.key.to_string()),
        (Kind::Cipher, agreed.cipher.as_ref().to_owned()),
        (Kind::Mac, agreed.client_mac.as_ref().to_owned()),
        (Kind::Mac, agreed.server_mac.as_ref().to_owned()),
    ];
    let mut old: Vec<String> = Vec::new();
    for (kind, name) in all {
        if kind.old().contains(&name) && !old.iter().any(|words| words.ends_with(&name)) {
            old.push(format!("{} {name}", kind.as_str()));
        }
    }
    old
}

/// What a server offers, by the first packet of its handshake (RFC 4253, section 7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    lists: [Vec<String>; 4],
}

/// A kind of algorithm that two sides have none of in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) kind: Kind,
    /// What the server has.
    pub(super) theirs: Vec<String>,
    /// What it was offered.
    pub(super) ours: Vec<String>,
}

impl Offer {
    /// Reads the first bytes of a server; `None` if they have no such packet, or not all of it.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = after_identification(bytes)?;
        let (length, padding) = (number(&mut rest)?, *take(&mut rest, 1)?.first()?);
        let mut payload = take(&mut rest, length.checked_sub(usize::from(padding) + 1)?)?;
        let (kind, _cookie) = (*take(&mut payload, 1)?.first()?, take(&mut payload, 16)?);
        if kind != KEXINIT {
            return None;
        }
        let kex = list(&mut payload)?;
        let keys = list(&mut payload)?;
        let (ciphers, _to_client) = (list(&mut payload)?, list(&mut payload)?);
        let (macs, _to_client) = (list(&mut payload)?, list(&mut payload)?);
        Some(Self { lists: [kex, keys, ciphers, macs] })
    }

    /// Returns what the two sides have none of in common.
    pub(super) fn gaps(&self, algorithms: Algorithms) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut is_authenticated = false;
        for (kind, theirs) in KINDS.into_iter().zip(&self.lists) {
            let ours = algorithms.offered(kind);
            let common = ours.iter().find(|name| theirs.contains(name));
            match (kind, common) {
                (Kind::Mac, None) if is_authenticated => {}
                (Kind::Cipher, Some(name)) => {
                    is_authenticated = AUTHENTICATED.iter().any(|cipher| cipher.as_ref() == name);
                }
                (_, Some(_)) => {}
                (_, None) => gaps.push(Gap { kind, theirs: theirs.clone(), ours }),
            }
        }
        gaps
    }
}

/// The number of the message with which a key exchange begins.
const KEXINIT: u8 = 20;

/// Returns what follows the line with which a server identifies itself; other lines may come before it.
fn after_identification(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, after) = rest.split_at_checked(end.checked_add(1)?)?;
        if line.starts_with(b"SSH-") {
            return Some(after);
        }
        rest = after;
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let bytes = take(rest, 4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

fn list(rest: &mut &[u8]) -> Option<Vec<String>> {
    let length = number(rest)?;
    let text = std::str::from_utf8(take(rest, length)?).ok()?;
    Some(text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(lists: [&str; 4]) -> Offer {
        Offer { lists: lists.map(|list| list.split(',').map(str::to_owned).collect()) }
    }

    fn kinds(gaps: &[Gap]) -> Vec<Kind> {
        gaps.iter().map(|gap| gap.kind).collect()
    }

    /// Otherwise a user would be told to allow old algorithms where that does not help, or not where it would.
    #[test]
    fn what_is_not_in_common_is_known_for_both_settings() {
        let firmware = offer(["diffie-hellman-group1-sha1", "ssh-dss", "3des-cbc", "hmac-sha1,hmac-md5"]);
        assert_eq!(kinds(&firmware.gaps(Algorithms::Current)), KINDS);
        assert_eq!(kinds(&firmware.gaps(Algorithms::WithLegacy)), []);
        let older = offer(["diffie-hellman-group1-sha1", "ssh-rsa", "arcfour,blowfish-cbc", "hmac-md5"]);
        assert_eq!(kinds(&older.gaps(Algorithms::WithLegacy)), [Kind::Cipher, Kind::Mac]);
        let restricted =
            offer(["ecdh-sha2-nistp384", "ecdsa-sha2-nistp384", "aes256-gcm@openssh.com", "hmac-sha1"]);
        assert_eq!(kinds(&restricted.gaps(Algorithms::Current)), [], "CNSA; the cipher needs no MAC");
    }

    /// Otherwise old algorithms would be used although nobody allowed them, or although the server has others.
    #[test]
    fn old_algorithms_are_offered_last_and_only_if_they_are_allowed() {
        let keys = HostKeys::default();
        for kind in KINDS {
            let (current, all) = (Algorithms::Current.offered(kind), Algorithms::WithLegacy.offered(kind));
            assert!(all.starts_with(&current) && all.ends_with(&kind.old()), "{all:?}");
            assert!(!current.iter().any(|name| kind.old().contains(name)), "{current:?}");
            for name in &all {
                let old = ["sha1", "cbc", "ssh-rsa", "ssh-dss"].iter().any(|mark| name.contains(mark));
                assert_eq!(kind.old().contains(name), old, "{name}");
            }
        }
        let preferred = Algorithms::Current.preferred(&keys);
        let offered = [names(&preferred.kex), names(&preferred.cipher), names(&preferred.mac)].concat();
        let keys: Vec<String> = preferred.key.iter().map(ToString::to_string).collect();
        let is_old = |name: &&String| KINDS.iter().any(|kind| kind.old().contains(name));
        assert_eq!(offered.iter().chain(&keys).find(is_old), None);
    }

    /// A server that sends anything must not end the operator, and half a packet says nothing.
    #[test]
    fn the_first_packet_is_read_or_nothing_is() {
        let mut payload = vec![20];
        payload.extend([0; 16]);
        for list in ["kex", "a,b", "c", "c", "m", "m", "none", "none", "", ""] {
            payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            payload.extend(list.as_bytes());
        }
        payload.extend([0; 5]);
        let mut packet = b"Keep out!\r\nSSH-2.0-mpSSH_0.0.1\r\n".to_vec();
        packet.extend(u32::try_from(payload.len() + 1 + 6).unwrap().to_be_bytes());
        packet.push(6);
        packet.extend(&payload);
        packet.extend([0; 6]);
        assert_eq!(Offer::read(&packet), Some(offer(["kex", "a,b", "c", "m"])));
        for end in 0..packet.len() - 40 {
            assert_eq!(Offer::read(&packet[..end]), None, "{end}");
        }
        let mut huge = packet;
        huge[32] = 255;
        assert_eq!(Offer::read(&huge), None);
    }
}
