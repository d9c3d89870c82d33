//! `oci://` against the registry of the distribution project.

use crate::front::{Front, answer, scripted};
use crate::registry::{Shelf, push, stored_in_s3};
use crate::s3::{Gateway, OWNER};
use crate::token::TokenServer;
use crate::{LONG, MIB, access, bytes, digest, fetch, is, is_resumed, with_password};
use farrier::payload::Access;
use farrier::tls::{Fingerprint, Policy, Trust};
use farrier_update::Reason;
use serde_json::json;

const SMALL: &[u8] = b"a firmware image\n";

/// Files that users push with `oras` cannot be installed.
#[tokio::test]
async fn a_layer_of_an_artifact_is_fetched_by_tag_and_by_digest() {
    let shelf = Shelf::new().await;
    let long = bytes(LONG, 1);
    let manifest = shelf.push("firmware/bios:2.0", &[("readme.txt", SMALL), ("bios.fd", &long)]);
    let registry = shelf.open().await;
    let host = &registry.front.host;
    assert_eq!(fetch(&format!("oci://{host}/firmware/bios:2.0"), access(), &long).await, Ok(LONG as u64));
    let by_digest = format!("oci://{host}/firmware/bios@{manifest}");
    assert_eq!(fetch(&by_digest, access(), SMALL).await, Ok(SMALL.len() as u64));
    // The certificate by its fingerprint, and not at all.
    let fingerprints = [Fingerprint::of(&crate::CERTIFICATES.server)].into();
    let pinned = Trust { policy: Policy::Pinned, fingerprints, ..Trust::default() };
    let pinned = Access { trust: pinned, ..Access::default() };
    assert_eq!(fetch(&by_digest, pinned, SMALL).await, Ok(SMALL.len() as u64));
    is(&fetch(&by_digest, Access::default(), SMALL).await, Reason::PayloadUntrusted, &["payload.secretRef"]);
}

/// Users do not learn whether to correct the URL, the digest or the registry.
#[tokio::test]
async fn what_is_not_in_the_registry_is_named() {
    let shelf = Shelf::new().await;
    shelf.push("firmware/bios:2.0", &[("bios.fd", SMALL)]);
    let registry = shelf.open().await;
    let at = |reference: &str| format!("oci://{}/{reference}", registry.front.host);
    let fetched = fetch(&at("firmware/bios:3.0"), access(), SMALL).await;
    is(&fetched, Reason::PayloadNotFound, &["tag 3.0", "repository firmware/bios", "correct payload.url"]);
    let fetched = fetch(&at("other:2.0"), access(), SMALL).await;
    is(&fetched, Reason::PayloadNotFound, &["tag 2.0", "repository other", "push the artifact"]);
    let none = format!("sha256:{}", "0".repeat(64));
    let fetched = fetch(&at(&format!("firmware/bios@{none}")), access(), SMALL).await;
    is(&fetched, Reason::PayloadNotFound, &[&format!("manifest {none}")]);
    let fetched = fetch(&at("firmware/bios:2.0"), access(), b"other").await;
    is(
        &fetched,
        Reason::PayloadDigestMismatch,
        &[&digest(b"other"), &digest(SMALL), "\"bios.fd\", 17 bytes", "Correct payload.digest"],
    );
    let fetched = fetch(&at("firmware/bios"), access(), SMALL).await;
    is(&fetched, Reason::PayloadRefused, &["add :TAG or @sha256:"]);
}

/// A multi-platform artifact is not refused in words, or another platform's file is installed.
#[tokio::test]
async fn an_index_is_refused_with_what_it_has() {
    let shelf = Shelf::new().await;
    let manifest = shelf.push("firmware/bios:2.0", &[("bios.fd", SMALL)]);
    shelf.index("firmware/bios", "2.0", "all");
    let registry = shelf.open().await;
    let fetched = fetch(&format!("oci://{}/firmware/bios:all", registry.front.host), access(), SMALL).await;
    is(&fetched, Reason::PayloadRefused, &["index of several artifacts", &manifest, "@DIGEST"]);
}

#[tokio::test]
async fn a_registry_with_passwords_gets_the_right_one_only() {
    let shelf = Shelf::new().await;
    shelf.push("firmware/bios:2.0", &[("bios.fd", SMALL)]);
    let registry = shelf.by_password().await;
    let url = format!("oci://{}/firmware/bios:2.0", registry.front.host);
    assert_eq!(fetch(&url, with_password("user", "password"), SMALL).await, Ok(SMALL.len() as u64));
    is(
        &fetch(&url, access(), SMALL).await,
        Reason::PayloadRefused,
        &["401", "give credentials", ".dockerconfigjson"],
    );
    let before = registry.front.asked().matches("authorization:").count();
    let fetched = fetch(&url, with_password("user", "wrong-secret"), SMALL).await;
    is(&fetched, Reason::PayloadRefused, &["401", "correct the credentials"]);
    let message = fetched.expect_err("a failure").message;
    assert!(!message.contains("wrong-secret"), "{message}");
    let after = registry.front.asked().matches("authorization:").count();
    assert_eq!(after - before, 1, "a wrong password is offered once");
    let token = Access { token: Some("wrong-token".into()), ..access() };
    let fetched = fetch(&url, token, SMALL).await;
    is(&fetched, Reason::PayloadRefused, &["401", "correct the credentials"]);
    assert!(!fetched.expect_err("a failure").message.contains("wrong-token"));
}

#[tokio::test]
async fn a_token_is_got_where_the_registry_says() {
    let shelf = Shelf::new().await;
    shelf.push("firmware/bios:2.0", &[("bios.fd", SMALL)]);
    let tokens = TokenServer::start(shelf.path()).await;
    let registry = shelf.by_token(&tokens.realm(), &tokens.certificate).await;
    let url = format!("oci://{}/firmware/bios:2.0", registry.front.host);
    assert_eq!(fetch(&url, with_password("user", "password"), SMALL).await, Ok(SMALL.len() as u64));
    assert!(!registry.front.asked().contains("basic"), "the registry gets the token only");
    is(&fetch(&url, access(), SMALL).await, Reason::PayloadRefused, &["401", "give credentials"]);
    let fetched = fetch(&url, with_password("user", "wrong"), SMALL).await;
    is(
        &fetched,
        Reason::PayloadRefused,
        &[&format!("token server {}", tokens.front.host), "correct username"],
    );
    let fetched = fetch(&url, with_password("guest", "password"), SMALL).await;
    is(&fetched, Reason::PayloadRefused, &["allow the account", "firmware/bios"]);
}

/// An unreliable line makes every download of a large image begin again.
#[tokio::test]
async fn a_cut_download_goes_on_with_the_token() {
    let shelf = Shelf::new().await;
    let long = bytes(LONG, 2);
    shelf.push("firmware/bios:2.0", &[("bios.fd", &long)]);
    let tokens = TokenServer::start(shelf.path()).await;
    let registry = shelf.by_token(&tokens.realm(), &tokens.certificate).await;
    registry.front.cut(&[3 * MIB, 2 * MIB]);
    let url = format!("oci://{}/firmware/bios:2.0", registry.front.host);
    assert_eq!(fetch(&url, with_password("user", "password"), &long).await, Ok(LONG as u64));
    is_resumed(&registry.front.seen(), 3);
}

/// The registry's users read, at the storage, each other's credentials.
// With a second thread, because `oras` is waited for while the storage is in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_in_object_storage_is_resumed_and_the_storage_sees_no_credentials() {
    let gateway = Gateway::start().await;
    gateway.bucket("registry");
    let dir = tempfile::tempdir().expect("a directory");
    let registry = stored_in_s3(dir.path(), &gateway.front.host, "registry", OWNER).await;
    let long = bytes(LONG, 3);
    push(registry.port, dir.path(), "firmware/bios:2.0", &[("bios.fd", &long)]);
    let before = gateway.front.seen().len();
    let access = Access { token: Some("for-the-registry".into()), ..access() };
    gateway.front.cut(&[3 * MIB, 2 * MIB]);
    let url = format!("oci://{}/firmware/bios:2.0", registry.front.host);
    assert_eq!(fetch(&url, access, &long).await, Ok(LONG as u64));
    assert!(registry.front.asked().contains("authorization: bearer for-the-registry"));
    let seen = gateway.front.seen().split_off(before);
    let of_farrier: Vec<_> = seen.into_iter().filter(|seen| seen.asked.contains("farrier/")).collect();
    for seen in &of_farrier {
        assert!(seen.asked.contains("X-Amz-Signature"), "{}", seen.asked);
        assert!(!seen.asked.to_lowercase().contains("authorization:"), "{}", seen.asked);
        assert!(!seen.asked.to_lowercase().contains("referer:"), "{}", seen.asked);
    }
    is_resumed(&of_farrier, 3);
}

/// Whoever a registry refers to asks for the password, and gets it.
#[tokio::test]
async fn a_storage_that_asks_for_credentials_gets_none() {
    let basic = "www-authenticate: Basic realm=\"registry\"\r\n".to_owned();
    let thief = scripted(vec![answer("200 OK", "", br#"{"token": "t"}"#)]).await;
    let bearer = format!("www-authenticate: Bearer realm=\"https://{}/t\",service=\"s\"\r\n", thief.host);
    let layers = json!({"layers": [{"digest": digest(SMALL), "size": SMALL.len()}]}).to_string();
    let manifest = answer("200 OK", "", layers.as_bytes());
    // With a registry that knows the password already, and with one that asks nobody.
    for (challenge, asks) in [(&basic, true), (&bearer, true), (&basic, false), (&bearer, false)] {
        let storage = scripted(vec![answer("401 Unauthorized", challenge, b""); 2]).await;
        let redirect = format!("location: https://{}/blob?signature=secret\r\n", storage.host);
        let redirect = answer("307 Temporary Redirect", &redirect, b"");
        let mut answers = vec![manifest.clone(), redirect.clone(), redirect];
        if asks {
            answers.insert(0, answer("401 Unauthorized", &basic, b""));
        }
        let registry = scripted(answers).await;
        let url = format!("oci://{}/firmware/bios:2.0", registry.host);
        let fetched = fetch(&url, with_password("user", "password"), SMALL).await;
        is(&fetched, Reason::PayloadUnavailable, &[&format!("refers to {}", storage.host), "401"]);
        assert!(!fetched.expect_err("a failure").message.contains("secret"));
        assert_eq!(registry.asked().contains("authorization: basic"), asks, "{}", registry.asked());
        assert_eq!(storage.seen().len(), 1);
        assert!(!storage.asked().contains("authorization"), "{}", storage.asked());
    }
    assert!(thief.seen().is_empty(), "{}", thief.asked());
}

/// A download that takes longer than a token lives fails, however often it is tried.
#[tokio::test]
async fn a_token_that_ended_is_replaced() {
    let tokens = scripted(vec![
        answer("200 OK", "", br#"{"token": "first"}"#),
        answer("200 OK", "", br#"{"access_token": "second"}"#),
    ])
    .await;
    let bearer = format!("www-authenticate: Bearer realm=\"https://{}/t\",service=\"s\"\r\n", tokens.host);
    let layers = json!({"layers": [{"digest": digest(SMALL), "size": SMALL.len()}]}).to_string();
    let mut half = answer("200 OK", "", SMALL);
    half.truncate(half.len() - 7);
    let rest = format!("content-range: bytes {}-{}/{}\r\n", SMALL.len() - 7, SMALL.len() - 1, SMALL.len());
    let registry: Front = scripted(vec![
        answer("401 Unauthorized", &bearer, b""),
        answer("200 OK", "", layers.as_bytes()),
        half,
        answer("401 Unauthorized", &bearer, b""),
        answer("206 Partial Content", &rest, &SMALL[SMALL.len() - 7..]),
    ])
    .await;
    let url = format!("oci://{}/firmware/bios:2.0", registry.host);
    assert_eq!(fetch(&url, access(), SMALL).await, Ok(SMALL.len() as u64));
    let seen = registry.seen();
    assert!(seen[3].asked.contains("Bearer first") && seen[4].asked.contains("Bearer second"), "{seen:?}");
    assert!(tokens.asked().contains("scope=repository%3afirmware%2fbios%3apull"), "{}", tokens.asked());
}
