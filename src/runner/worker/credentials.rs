//! Detects a failure whose credentials or trusted certificates were changed meanwhile.

use super::UpdateWorker;
use crate::attempt::End;
use crate::runner::load::Attempt;
use farrier_update::Reason;

impl UpdateWorker<'_> {
    /// Reports whether the machine, or the source of a payload, was tried with credentials or certificates
    /// that are no longer in their Secret: both sides were changed during the attempt. The new credentials
    /// have not been tried, so a retry does not lock the account.
    pub(super) async fn has_new_credentials(&self, end: &End, attempt: &Attempt) -> bool {
        let End::Failed(failure) = end else { return false };
        if self.is_cancelled() || self.control.borrow().abandon {
            return false;
        }
        let is_login = matches!(
            failure.reason,
            Reason::PasswordRejected
                | Reason::KeyRejected
                | Reason::AuthenticationFailed
                | Reason::SudoPasswordRejected
                | Reason::SuPasswordRejected
        );
        if is_login {
            return self
                .context
                .logins_now(&self.update)
                .await
                .is_ok_and(|now| now.differ_from(&attempt.driver.logins));
        }
        if !matches!(failure.reason, Reason::PayloadUntrusted | Reason::PayloadRefused) {
            return false;
        }
        let now = self.context.payload_access_now(&self.update).await;
        now.iter()
            .any(|(component, access)| access.is_ok() && attempt.job.access.get(component) != Some(access))
    }
}
