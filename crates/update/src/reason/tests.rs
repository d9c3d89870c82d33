//! Tests of the reasons.

use super::*;
use std::collections::BTreeSet;

/// A reason that cannot be parsed from a status is lost at the next restart.
#[test]
fn every_reason_is_read_back_by_its_name() {
    for &reason in Reason::ALL {
        assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        assert_eq!(serde_json::to_value(reason).unwrap(), serde_json::json!(reason.as_str()));
    }
    assert_eq!(Reason::parse("NoSuchReason"), None);
    assert_eq!(Reason::parse(""), None);
}

/// Kubernetes rejects a condition whose reason is not in CamelCase or is too long.
#[test]
fn names_fit_a_condition_and_differ() {
    let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    for name in names {
        assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
        assert!(name.len() <= 64, "{name}");
    }
}

/// A reason without an explanation does not help a user.
#[test]
fn every_reason_is_explained_in_whole_sentences() {
    for &reason in Reason::ALL {
        assert!(reason.meaning().ends_with('.'), "{reason}: {}", reason.meaning());
        assert!(!reason.meaning().contains("  "), "{reason}: {}", reason.meaning());
    }
}

/// Retrying a wrong password locks the account of the whole fleet.
#[test]
fn failures_of_credentials_and_trust_are_not_retried() {
    for reason in [
        Reason::PasswordRejected,
        Reason::KeyRejected,
        Reason::AccountLocked,
        Reason::AuthenticationFailed,
        Reason::SudoPasswordRejected,
        Reason::SudoAsksAnotherPassword,
        Reason::SuPasswordRejected,
        Reason::HostKeyChanged,
        Reason::HostKeyUnknown,
        Reason::CertificateChanged,
        Reason::CertificateUntrusted,
        Reason::PasswordChangeRequired,
        Reason::PayloadDigestMismatch,
        Reason::InstallerInterrupted,
    ] {
        assert!(!reason.retryable(), "{reason}");
    }
}

/// A machine that reboots for five minutes must not fail its run.
#[test]
fn an_unreachable_machine_is_retried() {
    for &reason in Reason::ALL {
        // A list without a usable address stays that way until a user changes it.
        if reason.unreachable() && reason != Reason::NoUsableAddress {
            assert!(reason.retryable(), "{reason}");
        }
    }
}
