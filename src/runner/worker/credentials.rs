//! Detects a failed sign-in whose credentials were changed meanwhile.

use super::UpdateWorker;
use crate::session::End;
use crate::ssh::Credentials;
use farrier_update::Reason;

impl UpdateWorker<'_> {
    /// Reports whether the machine has rejected credentials that are no longer in the Secret: both were
    /// changed during the attempt. The new credentials have not been tried, so a retry does not lock the
    /// account.
    pub(super) async fn has_new_credentials(&self, end: &End, refused: &Credentials) -> bool {
        let End::Failed(failure) = end else { return false };
        let is_login = matches!(
            failure.reason,
            Reason::PasswordRejected
                | Reason::KeyRejected
                | Reason::AuthenticationFailed
                | Reason::SudoPasswordRejected
                | Reason::SuPasswordRejected
        );
        if !is_login || self.is_cancelled() || self.control.borrow().abandon {
            return false;
        }
        self.context.credentials_now(&self.update).await.is_ok_and(|now| now != *refused)
    }
}
