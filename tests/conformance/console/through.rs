//! A Virtual Connect module that is reached through its Onboard Administrator.

use super::cases::{Case, OWN_VC};
use super::{Consoles, MANAGERS, MODULES, One};
use farrier::attempt::{End, Goal};
use farrier::conformance::Subject;
use farrier_console_double::fault::{Armed, Fault};
use farrier_console_double::{Double, Entry, Settings};
use farrier_update::{Outcome, Reason};
use serde_json::Value;
use std::time::Duration;

/// The module in bay 2, of a domain whose manager runs on the one in bay 1.
pub(crate) const VC: Case = Case { bay: Some(2), ..OWN_VC };

/// The module that the manager of the domain runs on.
const PRIMARY: Case = Case { part: "enc0:1", entry: "Virtual Connect enc0:1", bay: Some(1), ..OWN_VC };

/// The entries of a journal of one kind.
fn entries(double: &Double, kind: &str) -> Vec<Entry> {
    double.journal().into_iter().filter(|entry| entry.kind == kind).collect()
}

/// How many sessions are open, on the module and on its manager.
fn sessions(one: &One<'_>) -> [usize; 2] {
    let count =
        |double: &Double| double.state().get("sessions").and_then(Value::as_array).map_or(0, Vec::len);
    [one.double(), &one.started].map(count)
}

/// Waits until no session is left: a device notices the end of a connection a moment later.
async fn no_session_is_left(one: &One<'_>) {
    let left = async {
        while sessions(one) != [0, 0] {
            // sleep: a double does not report the end of its sessions.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_mins(1), left).await;
    assert!(ended.is_ok(), "{:?}: {:#?}", sessions(one), one.started.journal());
}

/// No password is in what is shown.
fn is_blotted(shown: &str) {
    for password in [MODULES, MANAGERS.1] {
        assert!(!shown.contains(password), "{password}: {shown}");
    }
}

/// Makes an attempt that fails, and returns why.
async fn fails(one: &One<'_>) -> (Reason, String) {
    let (end, view) = one.attempt(&one.job(Goal::Update)).await;
    is_blotted(&format!("{view:?}"));
    assert_eq!(one.flashes(), 0, "{end:?}");
    let failure = match end {
        End::Failed(failure) => Some(failure),
        End::Finished(_) | End::Planned | End::Inventoried | End::Cancelled => None,
    };
    let failure = failure.unwrap();
    (failure.reason, failure.message)
}

/// Modules whose own port is shut could not be updated, or a password would be shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_is_updated_on_the_console_of_its_bay() {
    for case in [VC, PRIMARY] {
        let consoles = Consoles::new(case);
        let one = consoles.one().await;
        let (result, view) = one.result(|_| {}).await;
        assert_eq!(result.outcome, Outcome::Updated, "{result:#?}: {:#?}", one.double().journal());
        assert_eq!(one.flashes(), 1);
        let ways = entries(one.double(), "sign-in");
        assert!(
            ways.iter().all(|entry| entry.detail.get("how").is_some_and(|how| how == "line"))
                && !ways.is_empty(),
            "{ways:?}"
        );
        assert_eq!(view.address.as_deref(), Some("127.0.0.1"), "that of the module");
        assert_eq!(view.manager.as_ref().map(|manager| manager.name.as_str()), Some("oa-1"));
        is_blotted(&format!("{result:?}{view:?}"));
        no_session_is_left(&one).await;
    }
}

/// The wrong Secret would be corrected, or an account locked by a password that is sent again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_as_whose_it_is() {
    let consoles = Consoles::new(VC);
    let one = consoles.one().await;
    one.passwords.set(("another", MANAGERS.1));
    let (reason, words) = fails(&one).await;
    assert_eq!(reason, Reason::PasswordRejected, "{words}");
    assert!(
        words.starts_with("vc refused the password of user admin on the console that oa-1 opens"),
        "{words}"
    );
    assert!(words.contains("Login incorrect") && words.contains("correct secret login."), "{words}");
    assert_eq!(entries(one.double(), "refused").len(), 1, "it is offered once");
    no_session_is_left(&one).await;

    let one = consoles.one().await;
    one.passwords.set((MODULES, "another"));
    let (reason, words) = fails(&one).await;
    assert_eq!(reason, Reason::PasswordRejected, "{words}");
    assert!(
        words.contains("vc is reached through oa-1") && words.contains("correct secret oa-login"),
        "{words}"
    );
    assert_eq!(one.double().journal().len(), 0, "the module was not spoken to");
}

/// A network team would look for the module's address, which is not what was dialled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_does_not_answer_or_is_another_one_is_named() {
    let consoles = Consoles::new(VC);
    let one = consoles.one().await;
    let known = one.host_keys.replace(one.double().host_keys().to_vec());
    let (reason, words) = fails(&one).await;
    assert_eq!(reason, Reason::HostKeyChanged, "{words}");
    assert!(words.contains("oa-1 at 127.0.0.2"), "{words}");
    one.host_keys.replace(known);
    one.started.arm(Armed::always(Fault::StaysDown)).unwrap();
    let reboot = one.started.reboot();
    let attempt = async {
        while one.started.state().get("up") != Some(&Value::Bool(false)) {
            tokio::task::yield_now().await;
        }
        let failed = fails(&one).await;
        one.started.clear(None);
        failed
    };
    let ((), (reason, words)) = tokio::join!(reboot, attempt);
    assert_eq!(reason, Reason::ConnectionRefused, "{words}");
    assert!(words.contains("vc is reached through oa-1 (spec.managedBy)"), "{words}");
    assert_eq!(one.double().journal().len(), 0, "the module was not spoken to");
}

/// A domain in CNSA mode would be changed, which HP's own tool refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_in_cnsa_mode_is_refused() {
    let consoles = Consoles::new(VC);
    let one = consoles.one().await;
    one.double().set(Settings { mode: "CNSA".into(), ..one.double().settings() });
    let (result, _) = one.result(|_| {}).await;
    assert_eq!((result.outcome, result.reason), (Outcome::Failed, Reason::DeviceLocked), "{result:#?}");
    assert!(result.message.contains("CNSA"), "{result:#?}");
    let fetches = entries(one.double(), "fetch");
    assert!(fetches.is_empty() && one.flashes() == 0, "{fetches:?}");
    no_session_is_left(&one).await;
}

/// The Onboard Administrator restarts, or a cable is pulled: the module would be flashed twice, or never looked at again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_lost_in_the_middle_goes_on() {
    let consoles = Consoles::new(VC);
    let one = consoles.one().await;
    let cut = async {
        while one.double().state().pointer("/update/phase").is_none_or(|phase| phase != "writing") {
            // sleep: a double does not report that it begins to write.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        one.started.arm(Armed::times(Fault::DropSessions, 1)).unwrap();
    };
    let ((result, _), ()) = tokio::join!(one.result(|_| {}), cut);
    assert_eq!(result.outcome, Outcome::Updated, "{result:#?}");
    assert_eq!(one.flashes(), 1);
    assert!(entries(&one.started, "sign-in").len() > 1, "it has signed in again");
    no_session_is_left(&one).await;
}

/// Work would be done under the account of whoever has left a session on the console.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_somebody_has_left_is_ended_first() {
    let left = || Fault::LeftOpen { user: "root".into() };
    let consoles = Consoles::new(VC);
    let one = consoles.one().await;
    one.double().arm(Armed::times(left(), 1)).unwrap();
    let (result, _) = one.result(|_| {}).await;
    assert_eq!(result.outcome, Outcome::Updated, "{result:#?}");
    let first = entries(one.double(), "command").into_iter().next().unwrap();
    assert_eq!(first.detail.get("line"), Some(&Value::from("exit")), "{first:?}");

    let one = consoles.one().await;
    one.double().arm(Armed::always(left())).unwrap();
    let (reason, words) = fails(&one).await;
    assert_eq!(reason, Reason::AuthenticationFailed, "{words}");
    assert!(words.contains("asks for no account"), "{words}");
}
