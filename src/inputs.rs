//! From the objects of the cluster to what an attempt needs: the driver of a machine, its credentials, and access
//! to payloads. Everything is read now, not from caches.

mod access;

use crate::api::ManagedNode;
use crate::convert;
use crate::drivers::{Abilities, Class, Driver, Keys, Manager, Node, Register};
use crate::failure::{Failure, chain};
use crate::publish::is_refused;
use farrier_update::Reason;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

/// The driver of a machine, and the values of the Secrets that it was created with.
#[derive(Clone)]
pub struct MachineDriver {
    /// The driver.
    pub driver: Arc<dyn Driver>,
    /// What the machine's class can do.
    pub abilities: &'static Abilities,
    /// The values of the Secrets.
    pub logins: Logins,
}

/// What somebody signs in to a machine with: the values of its Secret, and of that of the manager that it is reached
/// through.
#[derive(Clone)]
pub struct Logins {
    own: Keys,
    manager: Option<Keys>,
}

impl Logins {
    /// Reports whether a sign-in with these values differs from one with `other`.
    pub fn differ_from(&self, other: &Self) -> bool {
        let is_other = match (&self.manager, &other.manager) {
            (Some(manager), Some(other)) => manager.differ_from(other),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        };
        is_other || self.own.differ_from(&other.own)
    }

    /// Returns the values that must not get into logs.
    pub fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        [Some(&self.own), self.manager.as_ref()].into_iter().flatten().flat_map(Keys::secrets)
    }
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

    /// Returns what somebody signs in to a machine with now.
    ///
    /// # Errors
    /// As [`Self::driver`].
    pub async fn logins(&self, node: &ManagedNode, namespace: &str) -> Result<Logins, Failure> {
        let class = self.class(node)?;
        let manager = self.manager(class, node, namespace).await?;
        let own = self.keys(node, namespace).await?;
        Ok(Logins { own, manager: manager.map(|manager| manager.keys) })
    }

    /// Creates the driver of a machine.
    ///
    /// # Errors
    /// `NotYetSupported`, `SecretNotFound`, `SecretIncomplete`, `CertificateUntrusted`, `ManagerNotFound`,
    /// `InternalError`, and those of [`Class::driver`].
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
        let described = described(node, certificates)?;
        let manager = self.manager(class, node, namespace).await?;
        let driver = class.driver(&described, &keys, manager.as_ref())?;
        let logins = Logins { own: keys, manager: manager.map(|manager| manager.keys) };
        Ok(MachineDriver { driver, abilities: class.abilities(), logins })
    }

    /// Returns the manager that a machine is reached through; `None` if it is dialled itself.
    async fn manager(
        &self,
        class: &dyn Class,
        node: &ManagedNode,
        namespace: &str,
    ) -> Result<Option<Manager>, Failure> {
        let Some(named) = &node.spec.managed_by else { return Ok(None) };
        let types = class.managers(node.spec.type_, node.spec.product.as_deref());
        if types.is_empty() {
            return Ok(None);
        }
        let name = &named.name;
        let api: Api<ManagedNode> = Api::namespaced(self.client.clone(), namespace);
        let found = ask(&format!("ManagedNode {name}"), || api.get_opt(name)).await?.ok_or_else(|| {
            Failure::new(
                Reason::ManagerNotFound,
                format!(
                    "there is no ManagedNode {name} in namespace {namespace}, through which {} is reached (spec.managedBy); create it, or correct the reference",
                    node.name_any()
                ),
            )
        })?;
        if !types.contains(&found.spec.type_) {
            return Ok(None);
        }
        let keys = self.keys(&found, namespace).await?;
        Ok(Some(Manager { node: described(&found, Vec::new())?, keys }))
    }

    /// Returns the values of a machine's Secret.
    async fn keys(&self, node: &ManagedNode, namespace: &str) -> Result<Keys, Failure> {
        let asked_by = format!("ManagedNode {}", node.name_any());
        self.secret(&node.spec.credentials_ref.name, namespace, &asked_by).await
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

/// Returns a machine as its driver knows it.
fn described(node: &ManagedNode, certificates: Vec<CertificateDer<'static>>) -> Result<Node, Failure> {
    convert::node(node, certificates).map_err(|error| {
        let message = format!("spec.tls.fingerprints of ManagedNode {}: {error}", node.name_any());
        Failure::new(Reason::CertificateUntrusted, message)
    })
}

/// Repeats a request until the API server answers; a refusal is a failure.
///
/// # Errors
/// `InternalError`.
pub async fn ask<T, F>(what: &str, question: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    answer(what, question).await.map_err(|error| {
        let words = format!("{what} cannot be read: {}; check the operator's permissions", chain(&error));
        Failure::new(Reason::InternalError, words)
    })
}

/// Repeats a request until the API server answers. While the API server is unavailable or busy, no failure
/// could be reported to it either.
///
/// # Errors
/// The refusal of the API server.
pub async fn answer<T, F>(what: &str, question: impl Fn() -> F) -> Result<T, kube::Error>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    loop {
        match question().await {
            Ok(answer) => return Ok(answer),
            Err(error) if is_refused(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(what, error = %chain(&error), "the API server does not answer; retrying");
                // sleep: an API server does not report when it is available again.
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}
