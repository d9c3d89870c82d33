//! Loads what payload sources need: trusted certificates and credentials.

use super::{Inputs, ask};
use crate::api::Baseline;
use crate::api::baseline::Component;
use crate::convert;
use crate::failure::Failure;
use crate::payload::Access;
use crate::tls::read_bundle;
use farrier_update::Reason;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;

/// Key of certificates in Secrets and ConfigMaps.
const CERTIFICATES: &str = "ca.crt";

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
            if component.payload.secret_ref.is_some() || component.payload.tls.is_some() {
                let access = self.access_for(component, namespace).await;
                found.insert(component.name.clone(), access);
            }
        }
        found
    }

    async fn access_for(&self, component: &Component, namespace: &str) -> Result<Access, Failure> {
        let asked_by = format!("component {}", component.name);
        let payload = &component.payload;
        let (mut access, mut given) = (Access::default(), Vec::new());
        if let Some(secret) = &payload.secret_ref {
            let keys = self.secret(&secret.name, namespace, &asked_by).await?;
            if let Some(bytes) = keys.data.get(CERTIFICATES) {
                let place = format!("secret {}", keys.name);
                given.extend(certificates(bytes, &place, &asked_by)?);
            }
            access.basic = keys.line("username")?.zip(keys.line("password")?);
            access.token = keys.line("token")?;
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
    pub(super) async fn certificates_in(
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

fn certificates(bytes: &[u8], place: &str, asked_by: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    read_bundle(bytes).map_err(|error| {
        let message = format!("{CERTIFICATES} of {place} ({asked_by}) cannot be used: {error}");
        Failure::new(Reason::SecretIncomplete, message)
    })
}
