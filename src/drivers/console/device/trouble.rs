//! Why a device did not do what it was asked, in words with the next step.

use super::super::dialogue::{Answer as Said, End, Unanswered};
use super::super::file::Need;
use super::super::meaning::Meaning;
use super::super::session::Ask;
use super::super::template::ValueError;
use super::Device;
use crate::drivers::device::Trouble;
use crate::failure::Failure;
use farrier_update::{Reason, device};

/// What a user has to change ends the attempt at once.
const REFUSALS: &[Reason] = &[
    Reason::PasswordRejected,
    Reason::KeyRejected,
    Reason::AuthenticationFailed,
    Reason::AccountLocked,
    Reason::PasswordChangeRequired,
    Reason::HostKeyChanged,
    Reason::HostKeyUnknown,
    Reason::SshNegotiationFailed,
    Reason::LegacyAlgorithmsNeeded,
    Reason::SshSessionRefused,
    Reason::SshCommandRefused,
    Reason::SshTerminalRefused,
    Reason::PromptUnknown,
    Reason::RightsMissing,
    Reason::DeviceRefused,
];

fn trouble(failure: Failure) -> Trouble {
    let is_refused = REFUSALS.contains(&failure.reason);
    Trouble { failure, is_refused, is_answer: false }
}

/// Returns the trouble of a connection that was not made.
pub(super) fn refused_by_ssh(failure: Failure) -> Trouble {
    trouble(failure)
}

/// Returns what the user has not said yes to, as a failure.
fn not_consented(node: &str, need: Need) -> Failure {
    let (reason, what, next) = match need {
        Need::Restart => (
            Reason::RestartNotAllowed,
            "to restart",
            "set reboot.policy of a new UpdateRun to IfRequired, at a time at which it may restart",
        ),
        Need::Disruption => (
            Reason::RestartNotAllowed,
            "to interrupt what it does for others",
            "set reboot.policy of a new UpdateRun to Always, at a time at which it may be interrupted",
        ),
        Need::Agreement => (
            Reason::AgreementMissing,
            "to accept its licence agreement",
            Meaning::AgreementMissing.next_step(),
        ),
        Need::Downgrade => {
            (Reason::DeviceRefused, "to install an older version", "set force.downgrade of a new UpdateRun")
        }
        Need::Rewrite => (
            Reason::DeviceRefused,
            "to install the same version again",
            "set force.rewrite of a new UpdateRun",
        ),
    };
    Failure::new(reason, format!("{node} asked {what}, the answer was no, and nothing was changed; {next}"))
}

/// Reports whether a command that only reads was answered.
pub(super) fn is_answer(said: &Said) -> bool {
    matches!(said.end, End::Prompt(_)) && said.refused.is_none()
}

impl Device {
    /// Returns the trouble of a sign-in that did not lead to a prompt.
    pub(super) fn no_greeting(&self, said: &Said, lost: Option<&Failure>) -> Option<Trouble> {
        match (&said.end, &said.refused, lost) {
            (End::Prompt(_), None, _) => None,
            // The server says more than the end of its text.
            (End::Closed | End::NotSent, None, Some(failure)) => Some(trouble(failure.clone())),
            _ => {
                let failure = self.why_of(&self.settings.line().target.node, "the sign-in", said);
                Some(trouble(self.by_way(failure)))
            }
        }
    }

    /// Returns a failure of the manager that the device is reached through, as one of the device.
    pub(super) fn by_way(&self, failure: Failure) -> Failure {
        let Some(manager) = self.manager() else { return failure };
        let words =
            format!("{} is reached through {manager} (spec.managedBy): {}", self.node, failure.message);
        Failure::new(failure.reason, words)
    }

    /// Returns the trouble of a session that does not begin as one with the manager does.
    pub(super) fn no_manager(&self, mode: &str) -> Trouble {
        let (node, file) = (&self.node, &self.product().name);
        let manager = self.manager().unwrap_or_default();
        trouble(Failure::new(
            Reason::PromptUnknown,
            format!(
                "{node} is reached through {manager} (spec.managedBy), and the session with {manager} begins in the mode `{mode}` of the product file {file}, which is not that of a manager; check spec.addresses of {manager}, and spec.managedBy of {node}"
            ),
        ))
    }

    /// Returns the trouble of a manager that has no bay with the device. It may be absent while the device restarts.
    pub(super) fn no_bay(&self, said: &Said) -> Trouble {
        let (node, addresses) = (&self.node, self.settings.shell.target.addresses.join(", "));
        let manager = self.manager().unwrap_or_default();
        trouble(Failure::new(
            Reason::DeviceUnavailable,
            format!(
                "{manager} shows no bay with an address of {node} ({addresses}); check spec.addresses and spec.managedBy of {node}, and that the module is on; the last lines of {manager}: {}",
                said.quote()
            ),
        ))
    }

    /// Returns the trouble of a console that shows a prompt and asks for no account.
    pub(super) fn never_asked(&self) -> Trouble {
        let manager = self.manager().unwrap_or_default();
        trouble(Failure::new(
            Reason::AuthenticationFailed,
            format!(
                "the console of {} that {manager} opens shows a prompt and asks for no account, also after the session was ended that somebody had left there; end that session by hand",
                self.node
            ),
        ))
    }

    /// Returns why a way into a mode was not gone: the device asked for the account again after it was given the
    /// password.
    fn rejected(&self, ask: &Ask, said: &Said) -> Option<Failure> {
        let is_way = matches!(ask, Ask::Enter(_)) && said.signed_in;
        let is_rejected = match &said.refused {
            Some((means, _)) => *means == Meaning::CredentialsRefused,
            None => matches!(&said.end, End::Question(_, Unanswered::AskedAgain)),
        };
        if !is_way || !is_rejected {
            return None;
        }
        let credentials = &self.settings.shell.credentials;
        let place = match self.manager() {
            Some(manager) => format!(" on the console that {manager} opens"),
            None => String::new(),
        };
        Some(Failure::new(
            Reason::PasswordRejected,
            format!(
                "{} refused the password of user {}{place} ({}); correct secret {}. The account may also be locked. The password is not retried, so that the account is not locked",
                self.node,
                credentials.user,
                said.quote(),
                credentials.source
            ),
        ))
    }

    /// Returns the trouble of a command that was not answered.
    pub(super) fn no_answer(&self, ask: &Ask, said: &Said) -> Trouble {
        if let Some(failure) = self.rejected(ask, said) {
            return trouble(failure);
        }
        let is_prompt = matches!(said.end, End::Prompt(_));
        let failure = match self.asked(ask) {
            Some(manager) => self.by_way(self.why_of(manager, &self.named(ask), said)),
            None => self.why(&self.named(ask), said),
        };
        Trouble { is_answer: is_prompt, ..trouble(failure) }
    }

    /// Returns the manager, if a command is for it and not for the device.
    fn asked(&self, ask: &Ask) -> Option<&str> {
        let through = self.product().through.as_ref()?;
        let command = ask.command(self.product())?;
        self.manager().filter(|_| command.mode == through.mode)
    }

    /// Returns the command in the words of the product file.
    pub(super) fn named(&self, ask: &Ask) -> String {
        let known = ask.command(self.product());
        known.map_or_else(|| format!("{ask:?}"), |command| format!("`{}`", command.template))
    }

    /// Returns why a command that changes the device was not done. One that ends with the prompt, and with neither the
    /// words that accept it nor words that the product file knows, was refused.
    pub(super) fn why_not(&self, ask: &Ask, said: &Said) -> Failure {
        let what = self.named(ask);
        if said.refused.is_some() || said.missing.is_some() || !matches!(said.end, End::Prompt(_)) {
            return self.why(&what, said);
        }
        let (node, file, quote) = (&self.node, &self.product().name, said.quote());
        let last = if quote.is_empty() { "nothing" } else { &quote };
        Failure::new(
            Reason::DeviceRefused,
            format!(
                "{node} did not accept {what}, and said: {last}; the product file {file} does not know these words. If they are about the image, use the vendor's image for this device"
            ),
        )
    }

    /// Returns why a command was of no use: what the device refused, or how it ended.
    pub(super) fn why(&self, what: &str, said: &Said) -> Failure {
        self.why_of(&self.node, what, said)
    }

    /// Returns why a command to this machine was of no use.
    fn why_of(&self, node: &str, what: &str, said: &Said) -> Failure {
        if let Some(need) = said.missing {
            return not_consented(node, need);
        }
        if let Some((means, line)) = &said.refused {
            let next = means.next_step();
            return Failure::new(means.reason(), format!("{node} refused {what}: {}; {next}", line.trim()));
        }
        let file = &self.product().name;
        let quote = said.quote();
        let last =
            if quote.is_empty() { "it said nothing".to_owned() } else { format!("its last lines: {quote}") };
        match &said.end {
            End::Question(line, Unanswered::Unknown) => Failure::new(
                Reason::PromptUnknown,
                format!(
                    "at {what}, {node} shows `{line}`, which is no prompt and no question of the product file {file}, and nothing was answered ({last}); check spec.product, or add it to a product file of your own (docs/console-devices.md)"
                ),
            ),
            End::Question(line, Unanswered::AskedAgain) => Failure::new(
                Reason::PromptUnknown,
                format!(
                    "at {what}, {node} asks `{line}` again, so that the answer in the product file {file} is not the right one ({last}); correct it in a product file of your own (docs/console-devices.md)"
                ),
            ),
            End::Question(line, Unanswered::NoValue(error)) => Failure::new(
                Reason::DeviceRefused,
                format!(
                    "at {what}, {node} asks `{line}`, and {error}; correct the Secret or the product file {file}"
                ),
            ),
            End::Closed | End::NotSent => Failure::new(
                Reason::ConnectionLost,
                format!("{node} ended the connection at {what} ({last}); look at its log"),
            ),
            End::TimedOut(limit) => Failure::new(
                Reason::CommandTimedOut,
                format!(
                    "{node} did not end {what} within {} s ({last}); look at its load and its log, or raise the limit in a product file of your own",
                    limit.as_secs()
                ),
            ),
            End::TooMuch => Failure::new(
                Reason::DeviceAnswerInvalid,
                format!(
                    "{node} answered {what} with more than 256 KiB of text ({last}); look at what it shows"
                ),
            ),
            End::Prompt(_) => Failure::new(
                Reason::DeviceAnswerInvalid,
                format!(
                    "the product file {file} finds nothing in the answer of {node} to {what} ({last}); check spec.product, or correct it in a product file of your own"
                ),
            ),
        }
    }

    /// Returns the trouble of an answer in which nothing was found.
    pub(super) fn nothing_found(&self, ask: &Ask, said: &Said) -> Trouble {
        trouble(self.why(&self.named(ask), said))
    }

    /// Returns the failure of a check that was made before the device is changed.
    pub(super) fn unhealthy(&self, name: &str, means: Meaning, line: &str) -> Failure {
        let said = if line.is_empty() { "it said nothing" } else { line };
        let next = means.next_step();
        Failure::new(means.reason(), format!("{name} of {} is not as it must be: {said}; {next}", self.node))
    }

    /// Returns the trouble of a mode that cannot be entered.
    pub(super) fn no_way(&self, ask: &Ask) -> Trouble {
        let mode = ask.command(self.product()).map(|command| command.mode.clone()).unwrap_or_default();
        trouble(Failure::new(
            Reason::RightsMissing,
            format!(
                "{} was not led to its mode `{mode}`, which {} needs; check what the account may do there, and `modes` of the product file {}",
                self.node,
                self.named(ask),
                self.product().name
            ),
        ))
    }

    /// Returns the trouble of a command that the product does not have.
    pub(super) fn not_in_product(&self, ask: &Ask) -> Trouble {
        answer(Failure::new(
            Reason::NotYetSupported,
            format!("the product file {} has no command for {ask:?}; add it", self.product().name),
        ))
    }

    /// Returns the trouble of a verb that no product has.
    pub(super) fn no_command(&self, verb: device::Verb) -> Trouble {
        let words = format!("a device with a command line is not told {verb:?}, and {} was not", self.node);
        answer(Failure::new(Reason::NotYetSupported, words))
    }

    /// Returns the trouble of a command that cannot be written.
    pub(super) fn not_writable(&self, ask: &Ask, error: &ValueError) -> Trouble {
        answer(Failure::new(
            Reason::DeviceRefused,
            format!(
                "nothing was sent to {}: {}: {error}; change the value, or `values.allowed` of the product file {}",
                self.node,
                self.named(ask),
                self.product().name
            ),
        ))
    }
}

/// A refusal of one request; the device itself is well.
pub(super) fn answer(failure: Failure) -> Trouble {
    Trouble { failure, is_refused: false, is_answer: true }
}
