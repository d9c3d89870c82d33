//! A login that is refused because the credentials were changed meanwhile.

use super::UpdateWorker;
use crate::session::End;
use crate::ssh::Credentials;
use farrier_update::Reason;

impl UpdateWorker<'_> {
    /// Whether the machine has refused what the Secret does not hold any more: both were changed while
    /// the attempt went on. What is in the Secret now has not been tried, and locks nobody out.
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
