//! What users see of an attempt.

use super::super::{Contact, Device, Reading};
use super::Walk;
use crate::attempt::{self, Step, Waiting};
use farrier_update::Reason;
use farrier_update::device::{self, Intent, Obstacle, Verb};
use tokio::sync::watch;

impl<D: Device> Walk<'_, D> {
    /// Returns the reason of a wait, and what the device says about it.
    pub(super) fn why(&self, on: device::Waiting) -> (Reason, String) {
        if let Some(trouble) = self.trouble.as_ref().filter(|_| self.silence.is_some()) {
            return (trouble.reason, trouble.message.clone());
        }
        match on {
            device::Waiting::Task(action, _) => {
                let report = self.component_of(action).and_then(|component| self.reports.get(&component));
                (on.reason(), report.map(|report| report.words.clone()).unwrap_or_default())
            }
            device::Waiting::Other(_) => {
                let others = self.latest.as_ref().and_then(Reading::for_others);
                others.unwrap_or((on.reason(), String::new()))
            }
            device::Waiting::Retry(_) => {
                let failure = self.actions.last().and_then(|action| self.refusals.get(&action.component));
                let said = failure.map(|failure| (failure.reason, failure.message.clone()));
                said.unwrap_or((on.reason(), String::new()))
            }
            device::Waiting::Post(_) => {
                let obstacle =
                    self.latest.as_ref().and_then(|latest| latest.obstacles.get(&Obstacle::HostInPost));
                (on.reason(), obstacle.cloned().unwrap_or_default())
            }
            device::Waiting::Device(_)
            | device::Waiting::Asked(_)
            | device::Waiting::Fence(_)
            | device::Waiting::Reading => (on.reason(), String::new()),
        }
    }

    pub(super) fn show_step(&self, step: Step) {
        self.desk.view.send_modify(|v| v.step = step);
    }

    pub(super) fn show_verb(&self, intent: &Intent) {
        self.show_step(match intent.verb {
            Verb::SignIn => Step::Connecting,
            Verb::SignOut
            | Verb::RemoveUpload
            | Verb::RemoveQueueEntry
            | Verb::RemoveAuthority
            | Verb::Unsubscribe => Step::CleaningUp,
            Verb::ImportAuthority
            | Verb::Subscribe
            | Verb::Upload
            | Verb::Pull
            | Verb::Enqueue
            | Verb::Activate
            | Verb::AdoptImage
            | Verb::AdoptWork
            | Verb::ResetManager
            | Verb::ResetHost
            | Verb::Unknown => Step::Applying { component: intent.component.clone() },
        });
    }

    pub(super) fn show_wait(&self, waiting: Waiting) {
        self.desk.view.send_modify(|v| v.waits = vec![waiting]);
    }
}

pub(super) fn show_contact(view: &watch::Sender<attempt::View>, contact: Contact) {
    view.send_modify(|v| match contact {
        Contact::Reached { address } => v.address = Some(address),
        Contact::CertificateAccepted { first } => {
            v.certificate_accepted = true;
            v.first_certificate = first.or(v.first_certificate.take());
        }
        Contact::HostKeyAccepted { first } => {
            v.host_key_accepted = true;
            v.first_key = first.or(v.first_key.take());
        }
        Contact::ManagerKeyAccepted { manager, first } => {
            v.host_key_accepted = true;
            let first_key = first.or_else(|| v.manager.take().and_then(|manager| manager.first_key));
            v.manager = Some(attempt::Manager { name: manager, first_key });
        }
        Contact::Negotiated { old } => v.old_algorithms = Some(old),
        Contact::SignedIn => v.authenticated = true,
        Contact::AgreementAccepted { question } => {
            if !v.agreements.contains(&question) {
                v.agreements.push(question);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::View;
    use crate::ssh::connect::Milestone;

    /// Otherwise the key of a device that is trusted on first use would not be recorded, and another device at its
    /// address would be trusted too.
    #[test]
    fn a_host_key_is_shown_and_one_of_a_first_use_is_kept() {
        let (view, shown) = watch::channel(View::default());
        let accepted = |first: Option<&str>| Milestone::HostKeyAccepted { first: first.map(str::to_owned) };
        show_contact(&view, accepted(Some("ssh-rsa AAAA")).into());
        show_contact(&view, accepted(None).into());
        let shown = shown.borrow();
        assert!(shown.host_key_accepted && !shown.certificate_accepted);
        assert_eq!(shown.first_key.as_deref(), Some("ssh-rsa AAAA"));
    }
}
