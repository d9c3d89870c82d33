//! A line that outlives the sessions on it: the console of a module, that its manager opens.

use super::tests::{Talk, plain};
use super::*;
use crate::drivers::console::file::Verb;
use crate::drivers::console::lint;
use crate::drivers::console::products;
use crate::drivers::console::template::Slot;
use std::sync::LazyLock;

static VC: LazyLock<Product> = LazyLock::new(|| {
    let file = products::FILES.iter().find(|(name, _)| *name == "virtual-connect").unwrap();
    lint::read(file.1).unwrap()
});

const PRESS: &str =
    "\r\nConnecting to integrated switch 2 at 115200,N81...\r\nPress [Enter] to display the switch console:";

/// Goes from the manager to the question for an account, whichever way the line before it ends.
fn connects<'p>(end: &str) -> Talk<'p> {
    let mut talk = Talk::new(&VC, "module-word");
    let greeting = talk.hears("\r\nOA-0016355E560A> ").expect("the prompt");
    assert_eq!(greeting.end, End::Prompt("manager".to_owned()));
    let way = VC.modes["vcm"].enter.as_ref().unwrap();
    let values =
        Values::default().with(Slot::SessionUser, "admin").with(Slot::SessionPassword, "module-word");
    let now = talk.now;
    let sent = talk.dialogue.send(Exchange::way(way, &VC), plain("CONNECT 2"), values, BTreeSet::new(), now);
    assert_eq!(talk.note(sent), None);
    assert_eq!(talk.hears(&format!("CONNECT 2\r\n{PRESS}{end}")), None);
    assert_eq!(talk.hears("\r\nvc login: "), None);
    assert_eq!(talk.hears("admin\r\nPassword: "), None);
    assert_eq!(talk.sent, ["CONNECT 2\r", "\r", "admin\r", "module-word\r"]);
    talk
}

fn signed_in<'p>() -> Talk<'p> {
    let mut talk = connects("\r\n");
    let answer = talk.hears("\r\nGETTING STARTED:\r\n\r\n->").expect("the prompt");
    assert_eq!(answer.end, End::Prompt("vcm".to_owned()));
    assert!(answer.signed_in, "the module has asked who it is");
    talk
}

fn asks_for_versions(talk: &mut Talk<'_>) {
    let command = &VC.versions.command;
    talk.sends(Exchange::reading(command), plain("show firmware"), &[]);
}

/// The line that asks for Enter is complete, so that nothing would ever be pressed; and a module that takes no password
/// would get it again, until its account is locked.
#[test]
fn a_module_is_signed_in_to_on_its_console() {
    signed_in();
    let mut talk = connects(" ");
    let answer = talk.hears("\r\nLogin incorrect\r\nvc login: ").expect("the end");
    assert_eq!(answer.end, End::Question("vc login:".to_owned(), Unanswered::AskedAgain));
    assert!(answer.signed_in && answer.quote().contains("Login incorrect"), "{answer:?}");
    assert_eq!(talk.sent.len(), 4, "nothing more is typed");
}

/// A question that says yes to something may be quoted in a line of its own, and yes would go to another one.
#[test]
fn only_a_key_is_pressed_for_a_line_that_has_ended() {
    let mut talk = signed_in();
    talk.sends(Exchange::request(&VC.requests[&Verb::Pull]), plain("update"), &[Need::Disruption]);
    let sent = talk.sent.len();
    assert_eq!(talk.hears("Are you sure you want to continue (yes, no):\r\n"), None);
    assert_eq!(talk.sent.len(), sent);
    assert_eq!(talk.hears("Are you sure you want to continue (yes, no): "), None);
    assert_eq!(talk.sent.last().map(String::as_str), Some("yes\r"));
}

/// A session that ends with the restart of the module would be waited for until the limit.
#[test]
fn the_question_for_an_account_ends_a_command() {
    let mut talk = signed_in();
    asks_for_versions(&mut talk);
    let answer = talk.hears("\r\n\r\nvc login: ").expect("the end");
    assert_eq!((answer.end, answer.answered), (End::Closed, false));
    assert!(talk.dialogue.is_over());
}

/// The next command would be typed as the name of an account, and the module would lock somebody out.
#[test]
fn nothing_is_typed_at_the_question_for_an_account() {
    let mut talk = signed_in();
    assert_eq!(talk.hears("\r\n\r\nvc login: "), None);
    assert!(talk.dialogue.is_over());
}

/// A command that a restarting module takes for a name was not carried out, and may be sent again.
#[test]
fn a_command_that_was_taken_for_a_name_was_not_sent() {
    let mut talk = signed_in();
    let command = &VC.versions.command;
    let now = talk.now;
    let line = plain("show firmware");
    let sent = talk.dialogue.send(Exchange::reading(command), line, Values::default(), BTreeSet::new(), now);
    assert_eq!(talk.note(sent), None);
    let answer = talk.hears("\r\nvc login: show firmware\r\nPassword: ").expect("the end");
    assert_eq!(answer.end, End::NotSent);
    assert_eq!(talk.sent.last().map(String::as_str), Some("show firmware\r"), "no password");
}
