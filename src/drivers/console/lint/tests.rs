//! What the check says. Each message is for somebody who writes a file for a device that we never saw.

use super::{Finding, read};

/// The smallest file that says enough to fetch an image.
const SMALLEST: &str = r#"
format: 1
product: acme-switch
title: Acme switch
types: [FCSwitch]
documents:
  cli: {title: CLI guide, edition: "2"}
terminal: {columns: 80, rows: 100}
session: {greeting: 10s, settle: 100ms, quiet: 5s, idle: 5m, cite: cli page 1}
modes:
  admin: {prompt: 'acme\d*#', sample: "acme1# ", cite: cli page 2}
values: {allowed: '[a-z./]+', cite: cli page 3}
readings:
  versions:
    ask: {mode: admin, command: show version, limit: 30s, cite: cli page 4}
    entries:
    - {entry: Acme, version: 'Version (?P<version>\S+)', cite: cli page 4}
  work:
    ask: {mode: admin, command: show update, limit: 30s, cite: cli page 5}
    states:
    - {pattern: 'updating', means: Running, cite: cli page 5}
requests:
  Pull:
    ask: {mode: admin, command: 'update {url}', limit: 10m, cite: cli page 6}
    questions:
    - {ask: 'Continue\? \(y/n\)', answer: "y", needs: Disruption, otherwise: "n", cite: cli page 6}
    accepted: ['Update started']
pulls:
- {scheme: http, cite: cli page 6}
restart: {byItself: true, away: 5m, settles: 5m, cite: cli page 7}
"#;

/// Reads the smallest file with one thing changed.
fn findings(old: &str, new: &str) -> Vec<String> {
    assert!(SMALLEST.contains(old), "{old}");
    read(&SMALLEST.replacen(old, new, 1))
        .map_or_else(|found| found.iter().map(Finding::to_string).collect(), |_| Vec::new())
}

/// A file that is refused without a reason would not be written.
#[test]
fn the_smallest_file_has_no_findings() {
    let product = read(SMALLEST).unwrap();
    assert_eq!(product.name, "acme-switch");
    assert!(product.assumptions.is_empty());
}

/// A pattern that cannot be read, or fits everything, would hang or end each command.
#[test]
fn patterns_are_checked() {
    assert_eq!(
        findings(r"acme\d*#", r"acme(\d*#"),
        [r"modes.admin.prompt: `acme(\d*#` is no regular expression: unclosed group"]
    );
    assert_eq!(
        findings(r"acme\d*#", r".*"),
        ["modes.admin.prompt: `.*` also fits an empty line; add what is always there"]
    );
    assert_eq!(
        findings("\"acme1# \"", "\"acme1> \""),
        [r"modes.admin.prompt: it does not fit the sample `acme1> `"]
    );
    assert_eq!(
        findings(r"(?P<version>\S+)", r"(\S+)"),
        [
            "readings.versions.entries[0].version: the group `version` is missing; write (?P<version>…) around it"
        ]
    );
    assert_eq!(
        findings(r"Continue\? \(y/n\)", r"[#?]"),
        ["modes.admin.sample: `acme1#` also fits the pattern of a question"]
    );
    assert_eq!(findings("'updating'", "'(a{1000}){1000}'").len(), 1, "a pattern that takes all memory");
}

/// A complex would be updated as soon as anything in it is, because a name has a slip in it.
#[test]
fn what_consists_of_others_names_them() {
    let entry = "    - {entry: Acme, version: 'Version (?P<version>\\S+)', cite: cli page 4}\n";
    let whole = "    - {entry: All, all: Acme, cite: cli page 4}\n";
    let named = entry.replace("Version", "(?P<name>\\d) Version");
    assert_eq!(findings(entry, &format!("{named}{whole}")), [""; 0]);
    let says =
        "readings.versions.entries: `all: Acme` needs an entry `Acme` whose pattern has the group `name`";
    assert_eq!(findings(entry, &format!("{entry}{whole}")), [says]);
    assert_eq!(
        findings(entry, &format!("{named}{}", whole.replace("Acme", "Acne"))),
        [says.replace("Acme", "Acne")]
    );
}

/// Without a prompt nobody knows when a command is over.
#[test]
fn a_verb_has_a_prompt() {
    assert_eq!(
        findings("{mode: admin, command: 'update {url}'", "{mode: root, command: 'update {url}'"),
        ["requests.Pull.ask.mode: there is no mode `root` with a prompt in `modes` (admin)"]
    );
    assert_eq!(
        findings("{mode: admin, command: show version", "{command: show version"),
        [
            "readings.versions.ask.mode: the mode is missing, and with it the prompt; it is one of `modes` (admin)"
        ]
    );
    assert_eq!(
        findings(r"prompt: 'acme\d*#', ", ""),
        ["modes.admin.prompt: the pattern is missing; write a regular expression in single quotes"]
    );
}

/// A question without an answer would be answered with nothing, which is Enter, which is yes.
#[test]
fn a_question_has_an_answer_and_a_way_to_say_no() {
    let said = findings(r#"answer: "y", "#, "");
    assert!(
        said[0].starts_with("requests.Pull.questions[0].answer: the question has no answer;"),
        "{said:?}"
    );
    let said = findings(r#", otherwise: "n""#, "");
    assert_eq!(
        said,
        [
            "requests.Pull.questions[0].otherwise: what is sent without the user's consent (Disruption) is missing, \
          for example \"n\""
        ]
    );
}

/// A command without a limit would wait for ever.
#[test]
fn each_wait_has_a_limit() {
    assert_eq!(
        findings("command: show version, limit: 30s", "command: show version"),
        ["readings.versions.ask.limit: the time limit is missing; write for example 30s"]
    );
    assert_eq!(
        findings("idle: 5m, ", ""),
        ["session.idle: the time limit is missing; write for example 30s"]
    );
    let said = findings("limit: 10m", "limit: 10");
    assert!(said[0].contains("`10` is no time limit; write a number and ms, s, m or h"), "{said:?}");
    assert_eq!(
        findings("settle: 100ms", "settle: 5s"),
        ["session.quiet: it is longer than `session.settle`"]
    );
}

/// A command that nobody can look up is a guess.
#[test]
fn each_command_is_cited_or_said_to_be_assumed() {
    let missing = "the citation is missing; write `cite: DOCUMENT page or section`, or `assumed:` and why";
    assert_eq!(
        findings(", limit: 10m, cite: cli page 6", ", limit: 10m"),
        [format!("requests.Pull.ask: {missing}")]
    );
    assert_eq!(
        findings("cite: cli page 2", "cite: web page 2"),
        ["modes.admin: `web` is not in `documents`"]
    );
    assert_eq!(findings("cite: cli page 2", "cite: cli"), ["modes.admin: `cli` has no page or section"]);
    assert_eq!(
        findings("documents:\n", "documents:\n  old: {title: Old guide, edition: \"1\"}\n"),
        ["documents.old: it is cited nowhere"]
    );
    let assumed = SMALLEST.replacen("cite: cli page 2", "assumed: seen on one device", 1);
    assert_eq!(read(&assumed).unwrap().assumptions, ["modes.admin: seen on one device"]);
}

/// A file that lacks a part would fail in the middle of an update.
#[test]
fn what_a_fetch_needs_is_there() {
    assert_eq!(
        findings("update {url}", "update now"),
        ["requests.Pull.ask.command: neither {path} nor {url} is in it or in an answer"]
    );
    assert_eq!(
        findings("pulls:\n- {scheme: http, cite: cli page 6}", "pulls: []").last().unwrap(),
        "pulls: `requests.Pull` fetches an image, and no protocol is there"
    );
    assert_eq!(
        findings("accepted: ['Update started']", "accepted: []"),
        [
            "requests.Pull.accepted: the words are missing without which the command was not accepted; a prompt alone \
          proves nothing"
        ]
    );
    let said = findings("update {url}", "update {uri}");
    assert!(
        said[0].starts_with("requests.Pull.ask.command: {uri} is no value; there are protocol"),
        "{said:?}"
    );
    assert_eq!(findings("format: 1", "format: 2"), ["format: this version of Farrier reads format 1, not 2"]);
}

/// A slip of the pen in a key would be a setting that does nothing.
#[test]
fn an_unknown_key_is_named_with_its_line() {
    let said = findings("accepted: [", "accept: [");
    assert!(
        said[0].starts_with("the file: ") && said[0].contains("accept") && said[0].contains("line"),
        "{said:?}"
    );
}
