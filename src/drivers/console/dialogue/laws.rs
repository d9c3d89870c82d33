//! Laws of a session, for any way in which bytes and time may come.

use super::tests::{FOS, QUESTION, RUNS, Talk, download, plain, signed_in, typed};
use super::*;
use crate::drivers::console::file::Verb;
use crate::drivers::console::lint;
use proptest::prelude::*;

const PAGED: &str = "Appl     Primary/Secondary Versions\r\n\x1b[1m------\x1b[0m\r\n--More--";
const REST: &str = "\r        \rFOS      v6.4.3h\r\n  1%\r 50%\r100%\r\n         v6.4.3h\r\nGr\u{f6}\u{df}e\r\nswitch:admin> ";

/// Gives a text in pieces, with pauses that are shorter than `settle`.
fn hears_in_pieces(talk: &mut Talk<'_>, text: &[u8], cuts: &[usize], pause: Duration) -> Option<Answer> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    ends.push(text.len());
    ends.sort_unstable();
    let mut begin = 0;
    for end in ends {
        let mut actions = talk.dialogue.receive(&text[begin..end], talk.now);
        talk.now += pause;
        actions.extend(talk.dialogue.tick(talk.now));
        assert!(
            !actions.iter().any(|action| matches!(action, Action::Send(_) | Action::End(_))),
            "too early"
        );
        begin = end;
    }
    talk.waits()
}

/// Versions and then a download, in pieces.
fn session(cuts: &[usize], pause: Duration) -> (Vec<Answer>, Vec<String>) {
    let mut talk = signed_in(&FOS);
    let mut answers = Vec::new();
    let exchange = Exchange::reading(&FOS.versions.command);
    talk.sent.clear();
    talk.sends(exchange, plain("firmwareshow"), &[]);
    answers.extend(hears_in_pieces(&mut talk, PAGED.as_bytes(), cuts, pause));
    answers.extend(hears_in_pieces(&mut talk, REST.as_bytes(), cuts, pause));
    talk.downloads(&[Need::Restart]);
    answers.extend(hears_in_pieces(&mut talk, typed(QUESTION).as_bytes(), cuts, pause));
    answers.extend(hears_in_pieces(&mut talk, format!("Y\r\n{}\r\n", typed(RUNS)).as_bytes(), cuts, pause));
    let closed = talk.dialogue.closed();
    answers.extend(closed.into_iter().filter_map(|action| match action {
        Action::End(answer) => Some(answer),
        Action::Send(_) | Action::Percent(_) | Action::Accepted | Action::Agreed(_) | Action::Unclear(_) => {
            None
        }
    }));
    (answers, talk.sent)
}

/// What a device may send: its words, codes, and anything.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "switch:admin> ",
        "--More--",
        "\r\n",
        "\r",
        "\x08",
        "\x1b[K",
        "\x1b[2J",
        "\x1b[",
        "hunter2",
        "hunt",
        "er2",
        "Do you want to continue [Y]: ",
        "This command will cause a warm/non-disruptive boot",
        "Firmware is being downloaded to the switch",
        "50%",
        " ",
        "x",
    ]);
    let word = prop_oneof![
        words.prop_map(|word| word.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4)
    ];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Otherwise an update would depend on the size of packets.
    #[test]
    fn any_division_of_the_bytes_gives_the_same_answers(
        cuts in prop::collection::vec(any::<usize>(), 0..30),
        pause in 0_u64..299,
    ) {
        let (answers, sent) = session(&cuts, Duration::from_millis(pause));
        let whole = session(&[], Duration::ZERO);
        prop_assert_eq!(&answers, &whole.0);
        prop_assert_eq!(&sent, &whole.1);
        prop_assert_eq!(answers.len(), 2);
        prop_assert_eq!(answers[0].lines.join("|"), "Appl     Primary/Secondary Versions|------|FOS      v6.4.3h|100%|         v6.4.3h|Gr\u{f6}\u{df}e");
    }

    /// Otherwise a machine could hold its place in a run for ever. And no secret leaves, whatever the device sends.
    #[test]
    fn each_command_ends_and_shows_no_secret(
        pieces in prop::collection::vec((noise(), 0_u64..400_000), 0..12),
        closes in any::<bool>(),
    ) {
        let mut talk = signed_in(&FOS);
        let request = &FOS.requests[&Verb::Pull];
        let (begin, limit) = (talk.now, request.command.limit);
        talk.sends(Exchange::request(request), download(&FOS), &[Need::Restart]);
        let mut ended = None;
        for (bytes, pause) in pieces {
            let mut actions = talk.dialogue.receive(&bytes, talk.now);
            talk.now += Duration::from_millis(pause);
            actions.extend(talk.dialogue.tick(talk.now));
            ended = ended.or(end_of(actions));
        }
        if closes {
            ended = ended.or(end_of(talk.dialogue.closed()));
        }
        while ended.is_none() {
            let wake = talk.dialogue.wake_at().expect("each wait has an end");
            prop_assert!(wake <= begin + limit + Duration::from_secs(1), "the limit is the limit");
            talk.now = wake.max(talk.now);
            ended = end_of(talk.dialogue.tick(talk.now));
        }
        let shown = format!("{ended:?}");
        prop_assert!(!shown.contains("hunter2"), "{shown}");
        prop_assert!(!ended.unwrap().text().replace(char::is_whitespace, "").contains("hunter2"));
    }

    /// A long command comes back in pieces, in as many ways as there are devices. None of it may stay, least of all
    /// the password in it.
    #[test]
    fn an_echo_is_dropped_however_the_device_wraps_it(width in 40_usize..120, way in 0_usize..4) {
        let (breaks, between) = [(false, ""), (false, " \r"), (true, "\r\n"), (false, "x\x08 \x08")][way];
        let text = include_str!("../products/brocade-fos.yaml");
        let terminal = format!("terminal: {{columns: {width}, rows: 100, breaksLines: {breaks}}}");
        let product = lint::read(&text.replacen("terminal: {columns: 200, rows: 1000}", &terminal, 1)).unwrap();
        let mut talk = signed_in(&product);
        let line = download(&product);
        let shown = format!("switch:admin> {}", line.text);
        let exchange = Exchange::request(&product.requests[&Verb::Pull]);
        talk.dialogue.send(exchange, line, Values::default(), BTreeSet::new(), talk.now);
        let pieces: Vec<&str> = shown.as_bytes().chunks(width).map(|p| std::str::from_utf8(p).unwrap()).collect();
        let echo = pieces.join(between);
        let answer = talk.hears(&format!("{}\r\nno\r\nswitch:admin> ", &echo["switch:admin> ".len()..])).unwrap();
        prop_assert_eq!(answer.lines, ["no"]);
    }

    /// Nothing is typed that is not in the product file.
    #[test]
    fn only_words_of_the_product_file_are_sent(pieces in prop::collection::vec(noise(), 0..12)) {
        let mut talk = signed_in(&FOS);
        talk.downloads(&[Need::Restart]);
        talk.sent.clear();
        for bytes in pieces {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let _: Option<Answer> = talk.hears(&text);
        }
        let known = [" ", "Y\r"];
        prop_assert!(talk.sent.iter().all(|sent| known.contains(&sent.as_str())), "{:?}", talk.sent);
        prop_assert!(talk.sent.iter().filter(|sent| *sent == "Y\r").count() <= 1);
    }
}

fn end_of(actions: Vec<Action>) -> Option<Answer> {
    actions.into_iter().find_map(|action| match action {
        Action::End(answer) => Some(answer),
        Action::Send(_) | Action::Percent(_) | Action::Accepted | Action::Agreed(_) | Action::Unclear(_) => {
            None
        }
    })
}
