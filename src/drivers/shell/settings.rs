//! What is needed to connect to a machine with a shell.

use crate::drivers::{Keys, Node, Privilege};
use crate::failure::Failure;
use crate::ssh::auth::{read_certificate, read_key};
use crate::ssh::{Algorithms, Credentials, Target};
use farrier_update::Reason;
use std::sync::Arc;

/// The user if the Secret names none.
const DEFAULT_USER: &str = "root";

/// What is needed to connect to a machine with a shell, and to become root there.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The machine's SSH address.
    pub target: Target,
    /// Host keys of the machine, written by the user or recorded on first use.
    pub host_keys: Vec<String>,
    /// Whether the first host key is trusted.
    pub trust_first: bool,
    /// Which algorithms are offered.
    pub algorithms: Algorithms,
    /// Credentials for the sign-in.
    pub credentials: Credentials,
    /// How commands become root.
    pub privilege: Privilege,
}

impl Settings {
    /// Reads the settings of a machine.
    ///
    /// # Errors
    /// `SecretIncomplete`, `KeyUnreadable`, `KeyPassphraseWrong`.
    pub fn new(node: &Node, keys: &Keys) -> Result<Self, Failure> {
        let target = Target {
            node: node.name.clone(),
            addresses: node.addresses.clone(),
            families: node.families.clone(),
            port: node.ssh.port,
        };
        Ok(Self {
            target,
            host_keys: node.ssh.host_keys.clone(),
            trust_first: node.ssh.trust_first,
            algorithms: node.ssh.algorithms,
            credentials: credentials(&node.name, keys)?,
            privilege: node.ssh.privilege,
        })
    }
}

/// Reads the credentials in a Secret.
fn credentials(node: &str, keys: &Keys) -> Result<Credentials, Failure> {
    let key = match keys.text("ssh-privatekey")? {
        Some(text) => {
            let key = read_key(&keys.name, &text, keys.text("passphrase")?.as_deref())?;
            let certificate = keys.text("ssh-certificate")?.map(|text| read_certificate(&keys.name, &text));
            Some((Arc::new(key), certificate.transpose()?))
        }
        None => None,
    };
    let password = keys.line("password")?;
    if key.is_none() && password.is_none() {
        return Err(Failure::new(
            Reason::SecretIncomplete,
            format!(
                "secret {} of ManagedNode {node} has neither password nor ssh-privatekey; add one of them",
                keys.name
            ),
        ));
    }
    Ok(Credentials {
        user: keys.line("username")?.unwrap_or_else(|| DEFAULT_USER.to_owned()),
        password,
        key,
        sudo_password: keys.line("sudo-password")?,
        su_password: keys.line("su-password")?,
        source: keys.name.clone(),
    })
}
