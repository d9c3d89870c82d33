//! Files that machines without an engine may fetch: what is offered, to whom, and under which path.
//!
//! The path of an offer is `/<run token>/<offer token>/<file name>`, of a file in a folder that is offered
//! `/<run token>/<offer token>/<folder name>/<path in it>`. The offer token is computed from the run's
//! identity, the NodeUpdate and the action, so that every runner of the run knows it, also after a crash.
//! Machines that post their events have a path of the same form.

use crate::failure::Failure;
use crate::payload::{Content, Tree, TreeEntry, TreeFile};
use farrier_network::FileService;
use futures::future::BoxFuture;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Characters of a file name that are escaped in a URL: all but those that RFC 3986 calls unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A file that is offered to one machine for one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOffer {
    /// UID of the NodeUpdate.
    pub session: String,
    /// Number of the action.
    pub action: u32,
    /// Name of the file.
    pub name: String,
    /// Digest of the content.
    pub digest: String,
    /// Whether it is an archive, of which the machine sees a folder.
    pub unpack: bool,
}

/// What an offer has.
#[derive(Debug, Clone)]
pub enum OfferContent {
    /// A file.
    File(PathBuf),
    /// A folder.
    Tree(Arc<Tree>),
}

/// What is at a path of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A folder.
    Folder,
    /// A file, with its number in the offer.
    File(Content, u32),
}

impl OfferContent {
    /// Returns what is at a path below the name of the offer. A machine may have left the escapes of a URL in it.
    pub(super) fn find(&self, path: &str) -> Option<Found> {
        match self {
            Self::File(file) => path.is_empty().then(|| Found::File(file.clone().into(), 0)),
            Self::Tree(tree) => {
                let unescaped = || tree.entry(&percent_decode_str(path).decode_utf8().ok()?);
                Some(match tree.entry(path).or_else(unescaped)? {
                    TreeEntry::Folder => Found::Folder,
                    TreeEntry::File(file) => Self::part(tree, file),
                })
            }
        }
    }

    /// Returns what is directly in the folder at a path, with names.
    pub(super) fn list(&self, path: &str) -> Vec<(String, Found)> {
        let Self::Tree(tree) = self else { return Vec::new() };
        let found = |entry| match entry {
            TreeEntry::Folder => Found::Folder,
            TreeEntry::File(file) => Self::part(tree, file),
        };
        tree.children(path).map(|(name, entry)| (name.to_owned(), found(entry))).collect()
    }

    fn part(tree: &Tree, file: TreeFile) -> Found {
        let TreeFile { number, begin, size } = file;
        Found::File(Content { path: tree.path.clone(), part: Some((begin, size)) }, number)
    }
}

/// An action for which one machine may post its events.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenPosts {
    /// UID of the NodeUpdate.
    pub session: String,
    /// Number of the action.
    pub action: u32,
}

/// Last part of the path to which machines post their events.
pub const POSTS: &str = "status";

/// Knows the offers of a run. Any runner may be asked for any of them.
pub trait OpenOffers: Send + Sync {
    /// Returns the offers to the machines with this address whose actions have not ended.
    fn to(&self, source: IpAddr) -> Vec<OpenOffer>;

    /// Reports whether a machine with this address fetches by this file service at present.
    fn is_served(&self, source: IpAddr, service: FileService) -> bool;

    /// Returns what an offer has. If this runner does not have it, it is fetched, and unpacked, first.
    fn content(&self, offer: &OpenOffer) -> BoxFuture<'static, Result<OfferContent, Failure>>;

    /// Returns for which actions the machines with this address may post their events.
    fn posts_from(&self, source: IpAddr) -> Vec<OpenPosts>;

    /// Notes a post. Returns false if there are too many of them. Nothing of its content is read.
    fn note_post(&self, posts: &OpenPosts) -> bool;

    /// Returns the address at which a machine with this address reaches this server, where it is known: the server
    /// itself may see another one, in a pod or behind a translation of addresses.
    fn reached_at(&self, source: IpAddr) -> Option<IpAddr>;

    /// Notes that a machine with this address has connected.
    fn note_connection(&self, source: IpAddr);

    /// Notes that a machine with this address has rejected the server's certificate.
    fn note_rejection(&self, source: IpAddr, how: &str);

    /// Notes that the machine of an offer has asked for it.
    fn note_request(&self, offer: &OpenOffer, source: IpAddr);

    /// Notes that the file with this number in the offer was sent up to this position.
    fn note_sent(&self, offer: &OpenOffer, number: u32, position: u64);
}

/// Returns a file name as it is in a URL.
pub fn in_url(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

/// Reports whether a part of a path is this file name. A machine may escape other characters than we do.
pub(super) fn is_name(part: &str, name: &str) -> bool {
    percent_decode_str(part).eq(name.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a payload with a space or an umlaut in its name could not be fetched.
    #[test]
    fn a_name_survives_its_way_through_a_url() {
        assert_eq!(in_url("farrier-0b3e-4-ilo5_2.70.bin"), "farrier-0b3e-4-ilo5_2.70.bin");
        for name in ["a b.bin", "ä+%2f.fwpkg", "x?y#z:@&=.exe", "[v6].img"] {
            let shown = in_url(name);
            assert!(shown.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{shown}");
            assert!(is_name(&shown, name) && is_name(&shown.to_lowercase(), name), "{shown}");
        }
        assert!(is_name("a+b:c.bin", "a+b:c.bin"), "some clients do not escape these");
        for other in ["a.bin", "A.bin%00", "a.bi", "", "..%2fA.bin", "a.bin%"] {
            assert!(!is_name(other, "A.bin"), "{other}");
        }
    }
}
