//! What is needed to connect to a device, and how patient one is with it.

use super::super::blot::Secrets;
use super::super::product::Product;
use super::super::template::{Slot, Values};
use crate::drivers::shell::Settings as Shell;
use crate::drivers::{HandOver, HttpsSettings, Keys, Manager, Node};
use crate::failure::Failure;
use farrier_update::Reason;
use farrier_update::device::Limits;
use std::sync::Arc;
use std::time::Duration;

/// How long a device may be silent before an attempt ends in which it does no work for us.
const AWAY: Duration = Duration::from_mins(2);

/// How long a device may refuse a command for now: another administrator works with it, a standby starts. It is longer
/// where the device itself ends a session only later.
const REFUSED: Duration = Duration::from_mins(10);

/// How much later than after the time for which nobody has used it a session ends.
const EXPIRES: Duration = Duration::from_mins(1);

/// How much longer than its timeout an update is followed that must not be interrupted.
const OVERDUE: Duration = Duration::from_hours(1);

/// Time between two readings. Each is a few commands, on a device whose processor is busy with frames.
const POLL: Duration = Duration::from_secs(5);

/// How long a device may take to restart of which the product file says nothing.
const RESTART: Duration = Duration::from_mins(20);

/// What is needed to connect to a device.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) shell: Shell,
    /// The password of a mode with more rights.
    enable_password: Option<String>,
    /// How to connect to its manager, if it is reached through that.
    pub(super) manager: Option<Shell>,
    /// How to connect over HTTPS, for images that are sent.
    pub(super) https: HttpsSettings,
    pub(super) product: Arc<Product>,
    /// How images get to the device, if the user says so.
    pub(super) hand_over: Option<HandOver>,
    pub(super) limits: Limits,
}

impl Settings {
    /// Reads the settings of a machine.
    ///
    /// # Errors
    /// `SecretIncomplete`, `KeyUnreadable`, `KeyPassphraseWrong`.
    pub(crate) fn new(
        node: &Node,
        keys: &Keys,
        manager: Option<&Manager>,
        product: Product,
        limits: Limits,
    ) -> Result<Self, Failure> {
        let manager = product.through.as_ref().and(manager);
        let shell = Shell::new(node, keys)?;
        if let Some(manager) = manager.filter(|_| shell.credentials.password.is_none()) {
            return Err(Failure::new(
                Reason::SecretIncomplete,
                format!(
                    "secret {} of ManagedNode {} has no password, and {} is reached through the console that {} opens (spec.managedBy), which knows no keys; add password",
                    keys.name, node.name, node.name, manager.node.name
                ),
            ));
        }
        let enable_password = keys.line("enable-password")?.or_else(|| shell.credentials.password.clone());
        Ok(Self {
            shell,
            enable_password,
            manager: manager.map(|manager| Shell::new(&manager.node, &manager.keys)).transpose()?,
            https: node.https.clone(),
            product: Arc::new(product),
            hand_over: node.hand_over,
            limits,
        })
    }

    /// Returns how to connect to what the session is with: the device, or its manager.
    pub(super) fn line(&self) -> &Shell {
        self.manager.as_ref().unwrap_or(&self.shell)
    }

    /// Returns what must not be shown.
    pub(super) fn secrets(&self) -> Secrets {
        let all = [Some(&self.shell), self.manager.as_ref()].into_iter().flatten().flat_map(|shell| {
            let credentials = &shell.credentials;
            [&credentials.password, &credentials.sudo_password, &credentials.su_password]
        });
        Secrets::new(all.chain([&self.enable_password]).flatten().map(String::as_str))
    }

    /// Returns the values for questions at the beginning of the session. A manager is not told what the device's own
    /// account is.
    pub(super) fn first_values(&self) -> Values {
        if self.manager.is_some() { Values::default() } else { self.values() }
    }

    /// Returns the values for questions of the device at sign-in, and for modes with more rights.
    pub(super) fn values(&self) -> Values {
        let credentials = &self.shell.credentials;
        let passwords =
            [(Slot::SessionPassword, &credentials.password), (Slot::EnablePassword, &self.enable_password)];
        let known = passwords.into_iter().filter_map(|(slot, password)| Some((slot, password.as_ref()?)));
        known
            .fold(Values::default().with(Slot::SessionUser, &credentials.user), |values, (slot, password)| {
                values.with(slot, password)
            })
    }
}

/// Returns the times of a product.
pub(crate) fn usual_limits(product: &Product) -> Limits {
    let restart = product.restart;
    let (away, settles) = restart.map_or((RESTART, RESTART), |restart| (restart.away, restart.settles));
    Limits {
        // A session is the connection; nobody can list or end those of others.
        has_sessions: false,
        session_timeout: Some(product.session.idle),
        idle: product.session.idle,
        poll: POLL,
        away: AWAY,
        reset: away.saturating_add(settles),
        settle: away.saturating_add(settles),
        // A runner that has died may have left a session, and nothing but the device can end it.
        refused: REFUSED.max(product.session.idle.saturating_add(EXPIRES)),
        overdue: OVERDUE,
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::console::{lint, products::FILES};

    /// A device whose only session a dead runner has would be given up before it has ended that session.
    #[test]
    fn a_device_may_refuse_for_longer_than_it_keeps_a_session() {
        for (name, text) in FILES {
            let mut product = lint::read(text).unwrap();
            for idle in [product.session.idle, Duration::from_hours(1)] {
                product.session.idle = idle;
                assert!(usual_limits(&product).refused > idle, "{name}");
            }
        }
    }
}
