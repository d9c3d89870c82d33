//! The manifest of an artifact, and the layer in it that is the payload.

use crate::failure::Failure;
use crate::payload::source::Source;
use farrier_update::Reason;
use farrier_update::payload_url::Version;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What is accepted, and lists of manifests, which are recognised.
pub(super) const MEDIA_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// How many layers or manifests a message names.
const NAMED: usize = 3;

/// What a file is called in an artifact, by a tool that packs files.
const TITLE: &str = "org.opencontainers.image.title";

/// A manifest or an index: only what is needed of both.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Part>,
    manifests: Option<Vec<Part>>,
}

#[derive(Deserialize)]
struct Part {
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

impl Part {
    /// Describes the part for a message. Names that somebody gave it are quoted and cut.
    fn describe(&self) -> String {
        let short = |text: &str| text.chars().take(80).collect::<String>();
        let digest = short(&self.digest);
        match (&self.platform, self.annotations.get(TITLE)) {
            (Some(Platform { os, architecture }), _) => {
                format!("{digest} ({:?})", short(&format!("{os}/{architecture}")))
            }
            (None, Some(title)) => format!("{digest} ({:?}, {} bytes)", short(title), self.size),
            (None, None) => format!("{digest} ({} bytes)", self.size),
        }
    }
}

/// Checks that one layer of the manifest is the payload. `manifest` is `None` if it is too long.
pub(super) fn find_layer(source: &Source, version: &Version, manifest: Option<&[u8]>) -> Result<(), Failure> {
    let Source { component, url, digest, size, .. } = source;
    let failure = |reason, text: String| Err(Failure::new(reason, text));
    let Some(bytes) = manifest else {
        return failure(
            Reason::PayloadRefused,
            format!("the manifest at {url} (component {component}) has more than 4 MiB; correct payload.url"),
        );
    };
    if let Version::Digest(expected) = version {
        let found = format!("sha256:{}", crate::engines::hex(&Sha256::digest(bytes)));
        if found != *expected {
            return failure(
                Reason::PayloadDigestMismatch,
                format!(
                    "the registry of {url} (component {component}) sent a manifest with the digest {found}; find out who changed it"
                ),
            );
        }
    }
    let Ok(Manifest { layers, manifests }) = serde_json::from_slice(bytes) else {
        return failure(
            Reason::PayloadRefused,
            format!(
                "what is at {url} (component {component}) is no manifest of an OCI artifact; correct payload.url, or push the file again"
            ),
        );
    };
    if let Some(manifests) = manifests {
        return failure(
            Reason::PayloadRefused,
            format!(
                "{url} (component {component}) is an index of several artifacts; name one of them in payload.url as @DIGEST: {}",
                list(&manifests)
            ),
        );
    }
    let Some(layer) = layers.iter().find(|layer| layer.digest == *digest) else {
        return failure(
            Reason::PayloadDigestMismatch,
            format!(
                "the artifact at {url} has no layer with the digest {digest} of component {component}; it has {}. Correct payload.digest or payload.url",
                list(&layers)
            ),
        );
    };
    if let Some(size) = size.filter(|size| *size != layer.size) {
        return failure(
            Reason::PayloadSizeMismatch,
            format!(
                "the layer of {url} with the digest of component {component} has {} bytes, but the baseline gives {size}; correct payload.size",
                layer.size
            ),
        );
    }
    Ok(())
}

fn list(parts: &[Part]) -> String {
    let mut words: Vec<String> = parts.iter().take(NAMED).map(Part::describe).collect();
    match parts.len() {
        0 => words.push("none".to_owned()),
        more if more > NAMED => words.push(format!("and {} more", more - NAMED)),
        _ => {}
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Access;
    use serde_json::{Value, json};

    fn digest(of: &[u8]) -> String {
        format!("sha256:{}", crate::engines::hex(&Sha256::digest(of)))
    }

    fn find(version: &Version, size: Option<u64>, manifest: &Value) -> Result<(), Failure> {
        let source = Source {
            component: "bios".into(),
            url: "oci://registry.example.net/bios:2.0".into(),
            digest: digest(b"payload"),
            size,
            access: Access::default(),
        };
        find_layer(&source, version, Some(manifest.to_string().as_bytes()))
    }

    fn layer(of: &[u8], title: &str) -> Value {
        json!({"digest": digest(of), "size": of.len(), "annotations": {TITLE: title}})
    }

    #[test]
    fn the_payload_is_one_of_the_layers() {
        let manifest = json!({"layers": [layer(b"other", "other"), layer(b"payload", "bios.fd")]});
        let tag = Version::Tag("2.0".into());
        assert_eq!(find(&tag, None, &manifest), Ok(()));
        assert_eq!(find(&tag, Some(7), &manifest), Ok(()));
        let failure = find(&tag, Some(8), &manifest).unwrap_err();
        assert_eq!(failure.reason, Reason::PayloadSizeMismatch);
        let by_digest = Version::Digest(digest(manifest.to_string().as_bytes()));
        assert_eq!(find(&by_digest, None, &manifest), Ok(()));
    }

    /// Whoever can write to the registry replaces an artifact that is named by its digest.
    #[test]
    fn a_manifest_with_another_digest_is_refused() {
        let manifest = json!({"layers": [layer(b"payload", "bios.fd")]});
        let failure = find(&Version::Digest(digest(b"another")), None, &manifest).unwrap_err();
        assert_eq!(failure.reason, Reason::PayloadDigestMismatch);
    }

    #[test]
    fn what_is_there_instead_is_named() {
        let layers: Vec<Value> = (0..5_u8).map(|at| layer(&[at], &format!("file-{at}"))).collect();
        let platform = json!({"os": "linux", "architecture": "arm64"});
        let index = json!([{"digest": digest(b"a"), "size": 1, "platform": platform}]);
        let cases = [
            (json!({ "layers": layers }), Reason::PayloadDigestMismatch, "\"file-2\", 1 bytes), and 2 more"),
            (json!({"layers": []}), Reason::PayloadDigestMismatch, "it has none"),
            (json!({ "manifests": index }), Reason::PayloadRefused, "(\"linux/arm64\")"),
            (json!({"layers": 3}), Reason::PayloadRefused, "no manifest"),
        ];
        for (manifest, reason, words) in cases {
            let failure = find(&Version::Tag("2.0".into()), None, &manifest).unwrap_err();
            assert_eq!(failure.reason, reason, "{failure}");
            assert!(
                failure.message.contains(words) && failure.message.contains("component bios"),
                "{failure}"
            );
        }
    }
}
