//! A session with a switch, byte for byte.

use super::*;
use crate::drivers::console::file::Verb;
use crate::drivers::console::lint;
use crate::drivers::console::meaning::Meaning;
use crate::drivers::console::products;
use crate::drivers::console::template::{Slot, Template};
use regex::Regex;
use std::sync::LazyLock;

pub(super) static FOS: LazyLock<Product> = LazyLock::new(|| lint::read(products::FILES[0].1).unwrap());

pub(super) const RUNS: &str = include_str!("../transcripts/fos-firmwaredownload-runs.txt");
pub(super) const QUESTION: &str = include_str!("../transcripts/fos-firmwaredownload.txt");
const SHOW: &str = include_str!("../transcripts/fos-firmwareshow.txt");

/// As the device sends it: with its ends of lines, and without one after a question.
pub(super) fn typed(text: &str) -> String {
    text.trim_end_matches('\n').replace('\n', "\r\n")
}

/// A session whose clock is set by the test.
pub(super) struct Talk<'p> {
    pub(super) dialogue: Dialogue<'p>,
    pub(super) now: Duration,
    pub(super) sent: Vec<String>,
    pub(super) percents: Vec<u8>,
    pub(super) accepted: u32,
    pub(super) agreed: Vec<String>,
    pub(super) unclear: Vec<String>,
}

impl<'p> Talk<'p> {
    pub(super) fn new(product: &'p Product, secret: &str) -> Self {
        let dialogue = Dialogue::new(product, Values::default(), Secrets::new([secret]), Duration::ZERO);
        Self {
            dialogue,
            now: Duration::ZERO,
            sent: Vec::new(),
            percents: Vec::new(),
            accepted: 0,
            agreed: Vec::new(),
            unclear: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, actions: Vec<Action>) -> Option<Answer> {
        let mut answer = None;
        for action in actions {
            match action {
                Action::Send(typed) => self.sent.push(String::from_utf8_lossy(typed.bytes()).into_owned()),
                Action::Percent(percent) => self.percents.push(percent),
                Action::Accepted => self.accepted += 1,
                Action::Agreed(question) => self.agreed.push(question),
                Action::Unclear(line) => self.unclear.push(line),
                Action::End(end) => answer = Some(end),
            }
        }
        answer
    }

    /// The device sends this, and then nothing until something follows from it.
    pub(super) fn hears(&mut self, text: &str) -> Option<Answer> {
        let actions = self.dialogue.receive(text.as_bytes(), self.now);
        self.note(actions).or_else(|| self.waits())
    }

    /// The device sends nothing for as long as a prompt has to stand.
    pub(super) fn waits(&mut self) -> Option<Answer> {
        self.now += self.dialogue.product.session.settle;
        let actions = self.dialogue.tick(self.now);
        self.note(actions)
    }

    /// The device sends nothing any more.
    pub(super) fn falls_silent(&mut self) -> Answer {
        loop {
            self.now = self.dialogue.wake_at().expect("each wait has an end").max(self.now);
            let actions = self.dialogue.tick(self.now);
            if let Some(answer) = self.note(actions) {
                return answer;
            }
        }
    }

    /// A command is sent, and the device shows it again.
    pub(super) fn sends(&mut self, exchange: Exchange<'p>, line: Line, consents: &[Need]) {
        let echo = line.text.clone();
        let consents = consents.iter().copied().collect();
        let values = Values::default().with(Slot::Password, "hunter2");
        let actions = self.dialogue.send(exchange, line, values, consents, self.now);
        assert!(self.note(actions).is_none() && !self.sent.is_empty(), "it is at a prompt");
        assert_eq!(self.hears(&format!("{echo}\r\n")), None);
    }

    pub(super) fn shows_versions(&mut self) {
        let product = self.dialogue.product;
        self.sends(Exchange::reading(&product.versions.command), plain("firmwareshow"), &[]);
    }

    pub(super) fn downloads(&mut self, consents: &[Need]) {
        let product = self.dialogue.product;
        self.sends(Exchange::request(&product.requests[&Verb::Pull]), download(product), consents);
    }
}

pub(super) fn plain(text: &str) -> Line {
    Template::parse(text).unwrap().fill(&Values::default(), &Regex::new("x").unwrap()).unwrap()
}

pub(super) fn download(product: &Product) -> Line {
    let values = Values::default()
        .with(Slot::Protocol, "scp")
        .with(Slot::Host, "10.9.0.4")
        .with(Slot::User, "u1")
        .with(Slot::Password, "hunter2")
        .with(Slot::Path, "/r/o/v6.4.3h");
    product.requests[&Verb::Pull].command.template.fill(&values, &product.allowed).unwrap()
}

/// A session at its first prompt.
pub(super) fn signed_in(product: &Product) -> Talk<'_> {
    let mut talk = Talk::new(product, "hunter2");
    let answer = talk.hears("\r\nswitch:admin> ").expect("the prompt");
    assert_eq!(answer.end, End::Prompt("admin".to_owned()));
    talk
}

/// The simplest of all: a command, its answer, the prompt.
#[test]
fn a_command_is_answered() {
    let mut talk = signed_in(&FOS);
    talk.shows_versions();
    let answer = talk.hears(&format!("{}\r\nswitch:admin> ", typed(SHOW))).unwrap();
    assert_eq!(answer.end, End::Prompt("admin".to_owned()));
    assert_eq!(answer.lines, SHOW.lines().collect::<Vec<_>>());
    assert_eq!(talk.sent, ["firmwareshow\r"]);
    assert!(talk.dialogue.is_idle());
    assert_eq!(talk.dialogue.wake_at(), None, "nothing is waited for");
}

/// A prompt that is typed at looks as one that ends the command, until the device shows something.
#[test]
fn the_prompt_that_was_typed_at_ends_nothing() {
    let mut talk = signed_in(&FOS);
    let exchange = Exchange::reading(&FOS.versions.command);
    talk.dialogue.send(exchange, plain("firmwareshow"), Values::default(), BTreeSet::new(), talk.now);
    for _ in 0..20 {
        assert_eq!(talk.waits(), None);
    }
    assert_eq!(talk.falls_silent().end, End::TimedOut(Duration::from_mins(1)));
}

/// A prompt in the middle of an answer would cut it.
#[test]
fn what_something_follows_is_no_prompt() {
    let mut talk = signed_in(&FOS);
    talk.shows_versions();
    let now = talk.now;
    talk.dialogue.receive(b"1 switch:admin> x\r\nswitch:admin> ", now);
    talk.dialogue.receive(b"firmwareshow is a command\r\nswitch:admin> ", now);
    let answer = talk.waits().unwrap();
    assert_eq!(answer.lines, ["1 switch:admin> x", "switch:admin> firmwareshow is a command"]);
}

/// A switch with default passwords would hang at its question, or get a new password.
#[test]
fn a_question_at_sign_in_is_skipped_with_its_key() {
    let mut talk = Talk::new(&FOS, "hunter2");
    assert_eq!(talk.hears(&typed(include_str!("../transcripts/fos-sign-in.txt"))), None);
    assert_eq!(talk.sent, ["\u{3}"]);
    assert_eq!(talk.hears("\r\nswitch:admin> ").unwrap().end, End::Prompt("admin".to_owned()));
    let mut talk = Talk::new(&FOS, "hunter2");
    let answer = talk.hears("Max remote sessions for login:admin is 4\r\n").or_else(|| {
        let actions = talk.dialogue.closed();
        talk.note(actions)
    });
    let answer = answer.unwrap();
    assert_eq!((answer.end, answer.refused.unwrap().0), (End::Closed, Meaning::SessionLimit));
}

/// The whole of a download: the question, the answer, the restart that ends the session.
#[test]
fn a_download_is_confirmed_and_ends_with_the_connection() {
    let mut talk = signed_in(&FOS);
    talk.downloads(&[Need::Restart]);
    assert_eq!(talk.hears(&typed(QUESTION)), None);
    assert_eq!(talk.sent.last().unwrap(), "Y\r");
    assert_eq!(talk.accepted, 0);
    assert_eq!(talk.hears("Y\r\nFirmware is being downloaded to the switch. This"), None);
    assert_eq!(talk.accepted, 1, "the device is at work, and the command goes on");
    assert_eq!(talk.hears(&format!(" step may\r\n{}\r\n", typed(RUNS))), None);
    assert_eq!(talk.accepted, 1);
    let actions = talk.dialogue.closed();
    let answer = talk.note(actions).unwrap();
    assert_eq!(answer.end, End::Closed);
    assert!(answer.accepted && answer.refused.is_none(), "{answer:?}");
    assert!(answer.quote().ends_with("HA Rebooting ..."), "{}", answer.quote());
    assert_eq!(talk.sent.len(), 2, "nothing else was sent");
}

/// A user's consent is the user's: without it the device is told no, and the command has not begun.
#[test]
fn without_consent_the_answer_is_no() {
    let mut talk = signed_in(&FOS);
    talk.downloads(&[Need::Disruption]);
    talk.hears(&typed(QUESTION));
    assert_eq!(talk.sent.last().unwrap(), "n\r");
    let answer = talk.hears("n\r\nswitch:admin> ").unwrap();
    assert_eq!((answer.missing, answer.accepted), (Some(Need::Restart), false));
}

/// Nobody would know to which licence agreement Farrier has said yes, or it would say so for a no.
#[test]
fn a_licence_agreement_that_is_accepted_is_told() {
    let question = "Do you accept the agreement (yes/no)?";
    for (consents, sent, agreed) in
        [(&[Need::Agreement][..], "y\r", vec![question.to_owned()]), (&[Need::Restart], "n\r", Vec::new())]
    {
        let mut talk = signed_in(&FOS);
        talk.downloads(consents);
        talk.hears(&format!("\r\nEnd User License Agreement\r\n{question} "));
        assert_eq!((talk.sent.last().unwrap().as_str(), &talk.agreed), (sent, &agreed));
    }
}

/// The same words ask for a restart that interrupts and for one that does not.
#[test]
fn what_comes_before_a_question_decides() {
    let mut talk = signed_in(&FOS);
    talk.downloads(&[Need::Restart]);
    talk.hears(
        "This command will cause a cold/disruptive boot on the switch.\r\n\r\nDo you want to continue [Y]: ",
    );
    assert_eq!(talk.sent.last().unwrap(), "n\r");
    let mut talk = signed_in(&FOS);
    talk.downloads(&[Need::Restart, Need::Disruption]);
    talk.hears("\r\nDo you want to continue [Y]: ");
    assert_eq!(talk.sent.len(), 1, "nobody knows what it is about");
    let answer = talk.falls_silent();
    assert_eq!(answer.end, End::Question("Do you want to continue [Y]:".to_owned(), Unanswered::Unknown));
    assert!(!talk.dialogue.is_idle());
}

/// An answer that was not taken would be given again and again.
#[test]
fn a_question_is_answered_once() {
    let mut talk = signed_in(&FOS);
    talk.downloads(&[Need::Restart]);
    talk.hears(&typed(QUESTION));
    let again = format!("Y\r\nPlease enter Y or N.\r\n{}", typed(QUESTION));
    let answer = talk.hears(&again).unwrap();
    assert_eq!(answer.end, End::Question("Do you want to continue [Y]:".to_owned(), Unanswered::AskedAgain));
}

/// A package that takes long to install ends with a bar that looks like a prompt. Giving the session up there might
/// interrupt a flash.
#[test]
fn work_that_was_accepted_is_not_disturbed() {
    let mut talk = signed_in(&FOS);
    talk.downloads(&[Need::Restart]);
    talk.hears(&typed(QUESTION));
    talk.hears("Y\r\nFirmware is being downloaded to the switch.\r\nkernel ######");
    let sent = talk.sent.len();
    let answer = talk.falls_silent();
    assert_eq!((answer.end, answer.accepted), (End::TimedOut(Duration::from_hours(1)), true));
    assert_eq!(talk.unclear, ["kernel ######"], "it is said once");
    assert_eq!(talk.sent.len(), sent, "nothing is sent");
}

/// What the device refuses is said in its own words, and with what it means.
#[test]
fn a_refusal_has_a_meaning_and_words() {
    let mut talk = signed_in(&FOS);
    talk.downloads(&[Need::Restart]);
    let step = typed(include_str!("../transcripts/fos-firmwaredownload-step.txt"));
    let answer = talk.hears(&format!("{step}\r\nswitch:admin> ")).unwrap();
    let (means, words) = answer.refused.clone().unwrap();
    assert_eq!(means, Meaning::StepMissing);
    assert_eq!(words, "Cannot upgrade directly to 7.2. Please upgrade to 7.0 first and then upgrade");
    assert!(!answer.accepted);
}

/// A pager that nobody answers holds the session until its time is over.
#[test]
fn pages_are_turned_and_leave_no_trace() {
    let mut talk = signed_in(&FOS);
    talk.shows_versions();
    for erased in ["\r        \r", "\x08\x08\x08\x08\x08\x08\x08\x08\x1b[K", "\r\x1b[2K"] {
        assert_eq!(talk.hears("line\r\n--More--"), None);
        assert_eq!(talk.sent.last().unwrap(), " ");
        assert_eq!(talk.waits(), None, "the key is pressed once");
        assert_eq!(talk.hears(&format!("{erased}next\r\n")), None);
    }
    let answer = talk.hears("switch:admin> ").unwrap();
    assert_eq!(answer.lines, ["line", "next", "line", "next", "line", "next"]);
    assert_eq!(talk.sent.len(), 4);
}

/// A report of the device between prompt and command hides the prompt, and the command would run into its limit.
#[test]
fn a_report_after_the_prompt_does_not_hide_it() {
    let mut talk = signed_in(&FOS);
    talk.shows_versions();
    talk.hears(&format!(
        "{}\r\nswitch:admin> \r\n2026/11/30-10:00:00, [SULB-1001], 7,, INFO\r\n",
        typed(SHOW)
    ));
    let answer = talk.falls_silent();
    assert_eq!(answer.end, End::Prompt("admin".to_owned()));
    assert!(answer.lines.iter().any(|line| line.starts_with("FOS      v6.4.3h")));
    assert!(talk.now < Duration::from_secs(30), "long before the limit");
}

/// A device of another kind would be typed at, or waited for until the limit.
#[test]
fn an_unknown_prompt_is_said() {
    let mut talk = Talk::new(&FOS, "hunter2");
    assert_eq!(talk.hears("Welcome to hunter2\r\nCLI# "), None);
    let answer = talk.falls_silent();
    assert_eq!(answer.end, End::Question("CLI#".to_owned(), Unanswered::Unknown));
    assert_eq!(answer.quote(), "Welcome to *** / CLI#");
    assert_eq!(talk.sent, [""; 0]);
    let mut talk = Talk::new(&FOS, "hunter2");
    assert_eq!(talk.hears("switch:admin> \r\nthe standby is ready\r\n"), None);
    assert_eq!(talk.falls_silent().end, End::Prompt("admin".to_owned()), "a report came after the prompt");
}

/// Reports between two commands would fill the memory as well.
#[test]
fn a_flood_between_two_commands_ends_the_session() {
    let mut talk = signed_in(&FOS);
    assert_eq!(talk.hears("\r\n[SULB-1001] x\r\nswitch:admin> "), None);
    talk.shows_versions();
    let answer = talk.hears(&format!("{}\r\nswitch:admin> ", typed(SHOW))).unwrap();
    assert_eq!(answer.lines.len(), 4);
    assert_eq!(talk.hears(&"x".repeat(ANSWER_LIMIT + 1)), None);
    assert!(talk.dialogue.is_over());
}

/// A device that fills the memory would take the operator down, and all other machines with it.
#[test]
fn an_answer_has_a_largest_size() {
    let mut talk = signed_in(&FOS);
    talk.shows_versions();
    let flood = "x".repeat(ANSWER_LIMIT);
    let answer = talk.hears(&flood).unwrap();
    assert_eq!(answer.end, End::TooMuch);
    assert_eq!(talk.dialogue.wake_at(), None);
    assert!(talk.dialogue.is_over());
    assert_eq!(talk.hears("switch:admin> "), None, "the session is over");
}

/// An update that draws its bar again and again would be given up in the middle, because it takes long.
#[test]
fn what_is_drawn_over_does_not_count() {
    let mut talk = signed_in(&FOS);
    talk.downloads(&[Need::Restart]);
    assert_eq!(talk.hears("Firmware is being downloaded to the switch.\r\n"), None);
    let bar = "\r[####      ] 40 %\x1b[K";
    for _ in 0..2 * ANSWER_LIMIT / bar.len() {
        assert_eq!(talk.dialogue.receive(bar.as_bytes(), talk.now), [], "it goes on");
    }
    assert_eq!(talk.hears("\r\n"), None);
    let answer = talk.hears("switch:admin> ").unwrap();
    assert_eq!((answer.end, answer.accepted), (End::Prompt("admin".to_owned()), true));
}

/// A switch would interrupt its hosts with nothing but the user's consent to a restart that does not.
#[test]
fn a_question_about_two_things_needs_consent_to_both() {
    let both = QUESTION.replace(
        "This command will cause a warm",
        "This command will cause a cold/disruptive boot, if the switch cannot make a warm",
    );
    for (consents, expected) in [
        (&[Need::Restart][..], ("n\r", Some(Need::Disruption))),
        (&[Need::Disruption], ("n\r", Some(Need::Restart))),
        (&[Need::Restart, Need::Disruption], ("Y\r", None)),
    ] {
        let mut talk = signed_in(&FOS);
        talk.downloads(consents);
        assert_eq!(talk.hears(&typed(&both)), None);
        assert_eq!(talk.sent.last().unwrap(), expected.0, "{consents:?}");
        let answer = talk.hears("\r\nswitch:admin> ").unwrap();
        assert_eq!(answer.missing, expected.1, "{consents:?}");
    }
}

/// Who reads a status could fetch the image, and a device that never ends its line would fill it.
#[test]
fn what_is_quoted_is_short_and_has_no_path() {
    let mut talk = signed_in(&FOS);
    let product = talk.dialogue.product;
    let values = Values::default().hiding(["0123456789abcdef"]);
    let request = Exchange::request(&product.requests[&Verb::Pull]);
    let line = download(product);
    let echo = line.text.clone();
    let sent = talk.dialogue.send(request, line, values, BTreeSet::new(), talk.now);
    assert_eq!(sent.len(), 1);
    let said =
        "http://10.0.0.1:63001/run/0123456789abcdef/x.bin: no /run/0123456789abcdef/x.bin, command failed";
    let long = "y".repeat(5000);
    let answer = talk.hears(&format!("{echo}\r\n{long}\r\n{said}\r\nswitch:admin> ")).unwrap();
    let (_, refused) = answer.refused.clone().unwrap();
    assert_eq!(refused, "http://10.0.0.1:63001/…/x.bin: no /run/***/x.bin, command failed");
    assert!(answer.quote().ends_with(&refused) && answer.quote().chars().count() < 500, "{}", answer.quote());
}

/// A percentage is shown while it changes.
#[test]
fn progress_is_told_as_it_is_drawn() {
    let text = include_str!("../products/brocade-fos.yaml");
    let text = text.replacen("    accepted:\n", "    progress: ['(?P<percent>\\d+)%']\n    accepted:\n", 1);
    let product = lint::read(&text).unwrap();
    let mut talk = signed_in(&product);
    talk.downloads(&[]);
    for percent in ["\r 1%", "\r 1%", "\r50%", "\r99% --More--", "\r99%           "] {
        assert_eq!(talk.hears(percent), None);
    }
    assert_eq!(talk.percents, [1, 50, 99]);
    let answer = talk.falls_silent();
    assert_eq!((answer.end, answer.percent), (End::TimedOut(Duration::from_hours(1)), Some(99)));
}
