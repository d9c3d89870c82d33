//! Payloads from servers that nobody here wrote: the registry of the distribution project, versitygw for S3,
//! nginx. `hack/test payload-servers` brings them and runs this.
//!
//! Each server stands behind a [`front::Front`], which has TLS, remembers what was asked and cuts connections.

#![expect(clippy::panic, clippy::expect_used, reason = "what a test cannot do fails it")]
#![expect(clippy::indexing_slicing, reason = "a test that looks at what is not there fails")]

mod front;
mod https;
mod oci;
mod process;
mod registry;
mod s3;
mod token;

use farrier::failure::Failure;
use farrier::payload::{Access, Source, Store};
use farrier::tls::{Policy, Trust, read_bundle};
use farrier_update::Reason;
use front::{CERTIFICATES, Seen};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Length of the payload that is cut on the way, in bytes.
const LONG: usize = 8 * 1024 * 1024;

const MIB: usize = 1024 * 1024;

/// Bytes that no two of which are alike for long, so that nothing fits in the wrong place.
fn bytes(length: usize, seed: u8) -> Vec<u8> {
    let mut block = Sha256::digest([seed]);
    let mut bytes = Vec::with_capacity(length + block.len());
    while bytes.len() < length {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    bytes.truncate(length);
    bytes
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text");
        text
    })
}

/// Puts a file there, whole from the first moment.
fn put(file: &Path, bytes: &[u8]) {
    let new = file.with_extension("new");
    std::fs::write(&new, bytes).expect("a file");
    std::fs::rename(new, file).expect("a file");
}

/// Lets a file be older than one that replaces it, by which servers tell them apart.
fn made_earlier(file: &Path) {
    let earlier = SystemTime::now() - Duration::from_hours(1);
    File::options().write(true).open(file).and_then(|file| file.set_modified(earlier)).expect("a file");
}

/// Trust in the authority of the servers here.
fn access() -> Access {
    let certificates = read_bundle(CERTIFICATES.authority.as_bytes()).expect("a certificate");
    Access { trust: Trust { policy: Policy::Pinned, certificates, ..Trust::default() }, ..Access::default() }
}

fn with_password(user: &str, password: &str) -> Access {
    Access { basic: Some((user.to_owned(), password.to_owned())), ..access() }
}

/// Fetches a payload that is expected to be `expected`, and compares what is stored.
async fn fetch(url: &str, access: Access, expected: &[u8]) -> Result<u64, Failure> {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), None).expect("a store");
    let source = Source {
        component: "bios".into(),
        url: url.to_owned(),
        digest: digest(expected),
        size: None,
        access,
    };
    let stored = store.ensure(&source).await?;
    assert!(std::fs::read(&stored.path).expect("a file") == expected, "other bytes are stored");
    Ok(stored.size)
}

/// A failure with this reason, in words that contain these and name the component.
fn is(fetched: &Result<u64, Failure>, reason: Reason, words: &[&str]) {
    let failure = fetched.as_ref().expect_err("a failure");
    assert_eq!(failure.reason, reason, "{failure}");
    for word in words.iter().chain(&["component bios"]) {
        assert!(failure.message.contains(word), "{word:?} is missing in: {failure}");
    }
}

/// The payload came in the last `connections` connections, each of which began where the one before it ended.
fn is_resumed(seen: &[Seen], connections: usize) {
    let seen: Vec<&Seen> = seen.iter().rev().take(connections).rev().collect();
    assert_eq!(seen.len(), connections, "{seen:?}");
    let sent: usize = seen.iter().map(|seen| seen.sent).sum();
    assert!((LONG..LONG + MIB / 2).contains(&sent), "{sent} bytes were sent for {LONG}");
    for later in &seen[1..] {
        assert!(later.asked.to_lowercase().contains("\r\nrange: bytes="), "{}", later.asked);
    }
}
