//! Loads what payload sources need: trusted certificates and credentials.

use super::{Inputs, ask};
use crate::api::Baseline;
use crate::api::baseline::{Component, Payload};
use crate::convert;
use crate::drivers::Keys;
use crate::failure::Failure;
use crate::payload::{Access, S3Keys, docker_credentials};
use crate::tls::read_bundle;
use farrier_update::Reason;
use farrier_update::payload_url::{OciReference, PayloadUrl};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;

/// Key of certificates in Secrets and ConfigMaps.
const CERTIFICATES: &str = "ca.crt";

/// Key of a Secret of type `kubernetes.io/dockerconfigjson`.
const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// Keys of a Secret for S3.
const ACCESS_KEY_ID: &str = "access-key-id";
const SECRET_ACCESS_KEY: &str = "secret-access-key";

impl Inputs<'_> {
    /// Returns the access data by component. A missing Secret affects only the machines that need that
    /// component.
    pub async fn payload_access(
        &self,
        baseline: Option<&Baseline>,
        namespace: &str,
    ) -> BTreeMap<String, Result<Access, Failure>> {
        let mut found = BTreeMap::new();
        for component in baseline.iter().flat_map(|b| &b.spec.components) {
            let Some(payload) = &component.payload else { continue };
            if payload.secret_ref.is_some() || payload.tls.is_some() {
                let access = self.access_for(component, payload, namespace).await;
                found.insert(component.name.clone(), access);
            }
        }
        found
    }

    async fn access_for(
        &self,
        component: &Component,
        payload: &Payload,
        namespace: &str,
    ) -> Result<Access, Failure> {
        let asked_by = format!("component {}", component.name);
        let (mut access, mut given) = (Access::default(), Vec::new());
        if let Some(secret) = &payload.secret_ref {
            let keys = self.secret(&secret.name, namespace, &asked_by).await?;
            if let Some(bytes) = keys.data.get(CERTIFICATES) {
                let place = format!("secret {}", keys.name);
                given.extend(certificates(bytes, &place, &asked_by)?);
            }
            add_credentials(&mut access, &keys, component, payload)?;
        }
        if let Some(authorities) = payload.tls.as_ref().and_then(|tls| tls.ca_ref.as_ref()) {
            given.extend(self.certificates_in(&authorities.name, namespace, &asked_by).await?);
        }
        access.trust = convert::trust(payload.tls.as_ref(), given).map_err(|error| {
            let message = format!("payload.tls.fingerprints of {asked_by}: {error}");
            Failure::new(Reason::PayloadUntrusted, message)
        })?;
        Ok(access)
    }

    /// Returns the certificates in the Secret of this name or, if there is no such Secret, in the ConfigMap.
    pub(crate) async fn certificates_in(
        &self,
        name: &str,
        namespace: &str,
        asked_by: &str,
    ) -> Result<Vec<CertificateDer<'static>>, Failure> {
        let (place, bytes) = match self.secret(name, namespace, asked_by).await {
            Ok(mut keys) => (format!("secret {name}"), keys.data.remove(CERTIFICATES)),
            Err(failure) if failure.reason == Reason::SecretNotFound => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                let Some(map) = ask(&format!("ConfigMap {name}"), || api.get_opt(name)).await? else {
                    return Err(Failure::new(
                        Reason::SecretNotFound,
                        format!(
                            "there is neither a secret nor a config map {name} in namespace {namespace}, which {asked_by} refers to; create one, or correct the reference"
                        ),
                    ));
                };
                (
                    format!("config map {name}"),
                    map.data.unwrap_or_default().remove(CERTIFICATES).map(String::into_bytes),
                )
            }
            Err(failure) => return Err(failure),
        };
        let bytes = bytes.ok_or_else(|| {
            Failure::new(
                Reason::SecretIncomplete,
                format!("{place} has no key {CERTIFICATES}, which {asked_by} refers to; add it, with certificates in PEM"),
            )
        })?;
        certificates(&bytes, &place, asked_by)
    }
}

/// Adds what the Secret has for the kind of source.
fn add_credentials(
    access: &mut Access,
    keys: &Keys,
    component: &Component,
    payload: &Payload,
) -> Result<(), Failure> {
    match PayloadUrl::parse(&payload.url) {
        Ok(PayloadUrl::S3(_)) => access.s3 = s3_keys(keys, component)?,
        Ok(PayloadUrl::Oci(OciReference { registry, .. })) if keys.data.contains_key(DOCKER_CONFIG) => {
            let json = keys.data.get(DOCKER_CONFIG).map(Vec::as_slice).unwrap_or_default();
            access.basic = Some(
                docker_credentials(json, &registry)
                    .map_err(|error| incomplete(keys, component, &format!("{DOCKER_CONFIG} {error}")))?,
            );
        }
        // A URL that cannot be used is reported when the payload is fetched.
        Ok(PayloadUrl::Oci(_) | PayloadUrl::Https | PayloadUrl::File) | Err(_) => {
            access.basic = keys.line("username")?.zip(keys.line("password")?);
            access.token = keys.line("token")?;
        }
    }
    Ok(())
}

/// Returns the keys for S3; none if the Secret is only there for its certificates.
fn s3_keys(keys: &Keys, component: &Component) -> Result<Option<S3Keys>, Failure> {
    let lacks =
        |key: &str| incomplete(keys, component, &format!("has no key {key}, which s3:// needs; add it"));
    match (keys.line(ACCESS_KEY_ID)?, keys.line(SECRET_ACCESS_KEY)?) {
        (Some(access_key_id), Some(secret_access_key)) => {
            let session_token = keys.line("session-token")?;
            Ok(Some(S3Keys { access_key_id, secret_access_key, session_token }))
        }
        (Some(_), None) => Err(lacks(SECRET_ACCESS_KEY)),
        (None, None) if keys.data.contains_key(CERTIFICATES) => Ok(None),
        (None, Some(_) | None) => Err(lacks(ACCESS_KEY_ID)),
    }
}

fn incomplete(keys: &Keys, component: &Component, what: &str) -> Failure {
    let Keys { name, .. } = keys;
    let message = format!("secret {name} (payload.secretRef of component {}) {what}", component.name);
    Failure::new(Reason::SecretIncomplete, message)
}

fn certificates(bytes: &[u8], place: &str, asked_by: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    read_bundle(bytes).map_err(|error| {
        let message = format!("{CERTIFICATES} of {place} ({asked_by}) cannot be used: {error}");
        Failure::new(Reason::SecretIncomplete, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(url: &str, data: &[(&str, &str)]) -> Result<Access, Failure> {
        let payload = json!({"url": url, "digest": "sha256:0"});
        let component = json!({"name": "bios", "version": "1", "installer": "Script", "payload": payload});
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
        let mut access = Access::default();
        let component: Component = serde_json::from_value(component).unwrap();
        let payload = component.payload.as_ref().unwrap();
        add_credentials(&mut access, &Keys { name: "source".into(), data }, &component, payload)
            .map(|()| access)
    }

    #[test]
    fn each_kind_of_source_has_its_own_keys() {
        let user = Some(("user".to_owned(), "pass".to_owned()));
        let basic = [("username", "user\n"), ("password", "pass\n")];
        for url in ["https://r.example.net/a", "oci://r.example.net/a:1"] {
            assert_eq!(read(url, &basic).unwrap().basic, user, "{url}");
            assert_eq!(read(url, &[("token", "t")]).unwrap().token, Some("t".to_owned()), "{url}");
        }
        let config =
            json!({"auths": {"r.example.net": {"username": "user", "password": "pass"}}}).to_string();
        let config = [(".dockerconfigjson", config.as_str())];
        assert_eq!(read("oci://r.example.net/a:1", &config).unwrap().basic, user);
        let failure = read("oci://other.example.net/a:1", &config).unwrap_err();
        assert_eq!(failure.reason, Reason::SecretIncomplete);
        for words in ["secret source", "component bios", "other.example.net", "r.example.net", "add them"] {
            assert!(failure.message.contains(words), "{failure}");
        }
        assert!(!failure.message.contains("pass"), "{failure}");
    }

    /// A request that is anonymous by mistake is refused by the server, which does not say why.
    #[test]
    fn a_secret_for_s3_is_complete_or_refused() {
        let url = "s3://bucket/key";
        let (id, secret) = (("access-key-id", "id\n"), ("secret-access-key", "secret"));
        let keys = read(url, &[id, secret, ("session-token", "t")]).unwrap().s3.unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.session_token.as_deref()), ("id", Some("t")));
        assert_eq!(read(url, &[("ca.crt", "")]).unwrap().s3, None);
        let cases: [(&[(&str, &str)], &str); 4] = [
            (&[id], "secret-access-key"),
            (&[secret, ("ca.crt", "")], "access-key-id"),
            (&[("username", "u"), ("password", "p")], "access-key-id"),
            (&[], "access-key-id"),
        ];
        for (data, lacks) in cases {
            let failure = read(url, data).unwrap_err();
            assert_eq!(failure.reason, Reason::SecretIncomplete);
            assert!(failure.message.contains(&format!("has no key {lacks}")), "{failure}");
        }
    }
}
