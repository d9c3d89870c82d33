//! From the objects of the cluster to what an attempt needs: the driver of a machine, its credentials, and access
//! to payloads. Everything is read now, not from caches.

mod access;

use crate::api::ManagedNode;
use crate::convert;
use crate::drivers::{Abilities, Class, Driver, Keys, Register};
use crate::failure::{Failure, chain};
use farrier_update::Reason;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use std::sync::Arc;

/// The driver of a machine, and the values of the Secret that it was created with.
#[derive(Clone)]
pub struct MachineDriver {
    /// The driver.
    pub driver: Arc<dyn Driver>,
    /// What the machine's class can do.
    pub abilities: &'static Abilities,
    /// The values of the Secret.
    pub keys: Keys,
}

/// Time between two requests while the API server is unavailable.
const RETRY_INTERVAL: std::time::Duration = std::time::Duration::from_secs(2);

/// Reads the objects that machines and components refer to.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Client of the API server.
    pub client: &'a Client,
    /// The classes of machines.
    pub register: &'a Register,
}

impl Inputs<'_> {
    /// Returns the values of a Secret that `asked_by` refers to.
    ///
    /// # Errors
    /// `SecretNotFound`, `InternalError`.
    pub async fn secret(&self, name: &str, namespace: &str, asked_by: &str) -> Result<Keys, Failure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = ask(&format!("Secret {name}"), || api.get_opt(name)).await?.ok_or_else(|| {
            Failure::new(
                Reason::SecretNotFound,
                format!(
                    "there is no secret {name} in namespace {namespace}, which {asked_by} refers to; create it, or correct the reference"
                ),
            )
        })?;
        let data = found.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        Ok(Keys { name: name.to_owned(), data: data.collect() })
    }

    /// Returns the values of a machine's Secret.
    ///
    /// # Errors
    /// `SecretNotFound`, `InternalError`.
    pub async fn keys(&self, node: &ManagedNode, namespace: &str) -> Result<Keys, Failure> {
        let asked_by = format!("ManagedNode {}", node.name_any());
        self.secret(&node.spec.credentials_ref.name, namespace, &asked_by).await
    }

    /// Creates the driver of a machine.
    ///
    /// # Errors
    /// `NotYetSupported`, `SecretNotFound`, `SecretIncomplete`, `CertificateUntrusted`, `InternalError`, and those
    /// of [`Class::driver`].
    pub async fn driver(&self, node: &ManagedNode, namespace: &str) -> Result<MachineDriver, Failure> {
        let class = self.class(node)?;
        let keys = self.keys(node, namespace).await?;
        let certificates = match node.spec.tls.as_ref().and_then(|tls| tls.ca_ref.as_ref()) {
            Some(ca) => {
                let asked_by = format!("spec.tls.caRef of ManagedNode {}", node.name_any());
                self.certificates_in(&ca.name, namespace, &asked_by).await?
            }
            None => Vec::new(),
        };
        let described = convert::node(node, certificates).map_err(|error| {
            let message = format!("spec.tls.fingerprints of ManagedNode {}: {error}", node.name_any());
            Failure::new(Reason::CertificateUntrusted, message)
        })?;
        let driver = class.driver(&described, &keys)?;
        Ok(MachineDriver { driver, abilities: class.abilities(), keys })
    }

    /// Returns the class of a machine.
    ///
    /// # Errors
    /// `NotYetSupported`.
    pub fn class(&self, node: &ManagedNode) -> Result<&'static dyn Class, Failure> {
        self.register.class(node.spec.type_, node.spec.product.as_deref()).ok_or_else(|| {
            Failure::new(
                Reason::NotYetSupported,
                format!(
                    "{} is of type {}, for which this version has no driver; set spec.hold on it, or leave it out of the run's selector",
                    node.name_any(),
                    node.spec.type_
                ),
            )
        })
    }
}

/// Repeats a request until the API server answers. While the API server is unavailable or busy, no failure
/// could be reported to it either.
pub async fn ask<T, F>(what: &str, question: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    loop {
        match question().await {
            Ok(answer) => return Ok(answer),
            Err(error) if is_refused(&error) => {
                return Err(Failure::new(
                    Reason::InternalError,
                    format!("{what} cannot be read: {}; check the operator's permissions", chain(&error)),
                ));
            }
            Err(error) => {
                tracing::warn!(what, error = %chain(&error), "the API server does not answer; retrying");
                // sleep: an API server does not report when it is available again.
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

/// Whether the API server has understood the request and rejects it. A busy or restarting API server answers
/// 429 or 5xx, and will answer later.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code < 500 && status.code != 429)
}
