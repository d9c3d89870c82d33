//! Payloads that cannot be fetched, or differ from the baseline.

use super::{all_at_once, ends_with, only, said};
use crate::harness::https::{Answer, Server};
use crate::harness::payload::{Component, ethtool, of_bytes};
use crate::harness::snapshot::{self, LOG};
use crate::harness::{Machine, Site, e2e};
use farrier_update::Reason;
use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

/// A wrong file would be installed, or users would not learn whether to correct file, digest, address,
/// credentials or certificate.
#[test]
fn a_payload_that_is_wrong_or_cannot_be_had_is_not_installed() {
    e2e("payload", async |site| {
        let good = site.machine("good").up().await;
        let names: Vec<&str> = EXPECTED.iter().map(|said| said.node).collect();
        let machines = join_all(names.iter().map(|name| site.machine(name).up())).await;
        let before = snapshot::of_all(&machines).await;
        let server = Server::start(site).await;
        site.secret("with-ca", &[("ca.crt", &server.ca)]).await;
        site.secret(
            "with-badca",
            &[("ca.crt", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")],
        )
        .await;
        site.secret("with-token", &[("ca.crt", &server.ca), ("token", "not-it")]).await;
        let mut components = vec![only(ethtool(), &good)];
        // These components succeed: the server has a self-signed certificate, which is trusted in several
        // ways.
        let lone = Server::self_signed(site).await;
        site.secret("with-self", &[("ca.crt", &lone.ca)]).await;
        for (name, trusted) in [
            ("given", json!({"secretRef": {"name": "with-self"}})),
            ("pinned", json!({"tls": {"fingerprints": [lone.fingerprint()]}})),
            ("shared", json!({"tls": {"caRef": {"name": "site-ca"}, "policy": "Pinned"}})),
            // A Secret and a ConfigMap have this name; the Secret takes precedence.
            ("both", json!({"tls": {"caRef": {"name": "both-ca"}}})),
        ] {
            components.push(only(from_lone(&lone, name, &trusted), &good));
        }
        site.secret("both-ca", &[("ca.crt", &lone.ca)]).await;
        for (name, ca) in [("site-ca", &lone.ca), ("both-ca", &server.ca)] {
            site.create::<ConfigMap>(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": ca}}))
                .await
                .expect("a ConfigMap");
        }
        for machine in &machines {
            components.push(only(component(site, &server, machine), machine));
        }
        site.baseline("spring", &components).await;
        let run = site.run("r1", all_at_once("spring")).await;
        ends_with(site, &run, EXPECTED).await;
        snapshot::all_same_but(&before, &snapshot::of_all(&machines).await, &[LOG]);
    });
}

/// Returns a script from the server with the self-signed certificate, and with this kind of trust.
fn from_lone(server: &Server, name: &str, trusted: &Value) -> Component {
    let bytes = format!("#!/bin/sh\necho 1.0 >/etc/{name}.version\n").into_bytes();
    let url = server.at(&format!("/{name}.sh"), Answer::Whole(bytes.clone()));
    of_bytes(name, "1.0", "Script", name, &bytes)
        .with(json!({"detect": {"file": format!("/etc/{name}.version")}, "payload": {"url": url}}))
        .with(json!({"payload": trusted}))
}

/// Returns the component of the case that the machine is named after.
fn component(site: &Site, server: &Server, machine: &Machine) -> Component {
    let name = machine.name.as_str();
    // Each case has its own content, because a payload is fetched only once for each digest.
    let bytes = format!("#!/bin/sh\n# {name}\necho 1.0 >/etc/{name}.version\n").into_bytes();
    let file = format!("{name}.sh");
    let right = of_bytes(name, "1.0", "Script", &file, &bytes);
    let detect = json!({"detect": {"file": format!("/etc/{name}.version")}});
    let at = |answer: Answer| json!({"url": server.at(&format!("/{file}"), answer), "secretRef": {"name": "with-ca"}});
    let other = [bytes.as_slice(), b"# and more"].concat();
    let half = bytes[..bytes.len() / 2].to_vec();
    let on_disk = |bytes: &[u8], patch: Value| {
        site.payload(&file, "1.0", "Script", bytes);
        patch
    };
    let patch = match name {
        "digest" => at(Answer::Whole(other)),
        "filedigest" => on_disk(&other, json!({})),
        "cut" => at(Answer::Cut(bytes.clone())),
        "shortfile" => on_disk(&half, json!({"size": bytes.len()})),
        "longfile" => on_disk(&bytes, json!({"size": 5})),
        "missing" => at(Answer::Status(404)),
        "missingfile" => json!({}),
        "refused" => merged(at(Answer::Status(401)), json!({"secretRef": {"name": "with-token"}})),
        "forbidden" => at(Answer::Status(403)),
        "trouble" => at(Answer::Status(500)),
        "nobodythere" => json!({"url": "https://localhost:1/x.sh"}),
        "untrusted" => merged(at(Answer::Whole(bytes.clone())), json!({"secretRef": null})),
        "badca" => merged(at(Answer::Whole(bytes.clone())), json!({"secretRef": {"name": "with-badca"}})),
        "nosecret" => {
            merged(at(Answer::Whole(bytes.clone())), json!({"secretRef": {"name": "no-such-secret"}}))
        }
        "dotdot" => json!({"url": "file:///../operator.log"}),
        "symlink" => {
            let link = site.path("payloads").join(&file);
            std::os::unix::fs::symlink("/etc/hostname", link).expect("a link");
            json!({})
        }
        "oci" => json!({"url": "oci://localhost:1/firmware/x:1"}),
        _ => unreachable!("{name}"),
    };
    right.with(detect).with(json!({"payload": patch}))
}

fn merged(mut value: Value, patch: Value) -> Value {
    crate::harness::payload::merge(&mut value, patch);
    value
}

const EXPECTED: &[super::Said] = &[
    said(
        "digest",
        Reason::PayloadDigestMismatch,
        &["component digest", "https://", "sha256:", "nothing was installed"],
    ),
    said("filedigest", Reason::PayloadDigestMismatch, &["component filedigest", "file:///filedigest.sh"]),
    said("cut", Reason::PayloadTruncated, &["component cut", "https://", "was interrupted"]),
    said("shortfile", Reason::PayloadTruncated, &["component shortfile", "bytes", "check the file"]),
    said("longfile", Reason::PayloadSizeMismatch, &["component longfile", "5 bytes", "correct size"]),
    said("missing", Reason::PayloadNotFound, &["component missing", "404", "correct payload.url"]),
    said("missingfile", Reason::PayloadNotFound, &["component missingfile", "put the file there"]),
    said("refused", Reason::PayloadRefused, &["component refused", "401", "payload.secretRef"]),
    said("forbidden", Reason::PayloadRefused, &["component forbidden", "403", "payload.secretRef"]),
    said("trouble", Reason::PayloadUnavailable, &["component trouble", "500", "check the source"]),
    said(
        "nobodythere",
        Reason::PayloadUnavailable,
        &["component nobodythere", "https://localhost:1", "reaches it"],
    ),
    said(
        "untrusted",
        Reason::PayloadUntrusted,
        &["component untrusted", "https://", "issued by CN=lab-ca", "ca.crt"],
    ),
    said("badca", Reason::SecretIncomplete, &["component badca", "ca.crt", "PEM"]),
    said("nosecret", Reason::SecretNotFound, &["no-such-secret", "component nosecret", "create it"]),
    said("dotdot", Reason::PayloadRefused, &["component dotdot", "..", "payload directory"]),
    said("symlink", Reason::PayloadRefused, &["component symlink", "outside of the payload directory"]),
    said(
        "oci",
        Reason::PayloadUnavailable,
        &["component oci", "oci://localhost:1/firmware/x:1", "reaches it"],
    ),
];
