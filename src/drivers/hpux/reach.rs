//! What the machine says about the ways back to Farrier: the answers of `reach.sh`.
//!
//! Each program has words and codes of its own. A way is open if our server has answered on it; that a certificate or
//! a version of TLS is not understood says that the port is open, and that the machine cannot use it.

use super::look::Tool;
use crate::attempt::{Place, Scheme};
use farrier_protocol::{Dial, DialOutcome, PREFLIGHT};

/// The result for one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    /// What is shown.
    pub(super) dial: Dial,
    /// What the machine can fetch by it with.
    pub(super) by: Option<Tool>,
}

/// Returns the results, in the order of the places; empty if one of them was not tried.
pub(super) fn read(lines: &[String], places: &[Place]) -> Vec<Tried> {
    let tried = places.iter().enumerate().map(|(index, place)| {
        let start = format!("reach {index} ");
        let of_place = lines.iter().filter_map(|line| line.strip_prefix(start.as_str()));
        of_place.filter_map(|line| one(line, place)).reduce(better)
    });
    tried.collect::<Option<Vec<Tried>>>().unwrap_or_default()
}

/// Returns what is known of a port after another tool has tried it: a tool that cannot be used says nothing of it.
fn better(before: Tried, after: Tried) -> Tried {
    let rank = |tried: &Tried| match (tried.by, tried.dial.result) {
        (Some(_), _) => 3,
        (None, DialOutcome::Connected) => 2,
        (None, DialOutcome::Failed) => 0,
        (None, _) => 1,
    };
    let words: Vec<&str> = [before.dial.message.as_str(), after.dial.message.as_str()]
        .into_iter()
        .filter(|words| !words.is_empty())
        .collect();
    let words = words.join("; ");
    let mut best = if rank(&after) > rank(&before) { after } else { before };
    if best.dial.result != DialOutcome::Connected {
        best.dial.message = words;
    }
    best
}

fn one(line: &str, place: &Place) -> Option<Tried> {
    let mut words = line.splitn(3, ' ');
    let (tool, code, said) = (words.next()?, words.next()?, words.next().unwrap_or_default());
    let tool = Tool::named(tool)?;
    let (result, is_usable) = match (tool, code) {
        // The shell's own codes: it cannot be started.
        (_, "126" | "127") => (DialOutcome::Failed, false),
        (Tool::Curl | Tool::Wget, "0") if said.trim() == PREFLIGHT => (DialOutcome::Connected, true),
        (Tool::Curl | Tool::Wget, "0") => (DialOutcome::Untrusted, false),
        (Tool::Curl, code) => by_curl(code, said),
        (Tool::Wget, _) => by_words(said),
        (Tool::Perl, "0") => by_perl(said)?,
        (Tool::Perl, _) => (DialOutcome::Failed, false),
    };
    // Perl has no TLS: that it hears something proves the port and nothing else.
    let is_usable = is_usable && (tool != Tool::Perl || place.scheme == Scheme::Http);
    let host = if place.host.contains(':') { format!("[{}]", place.host) } else { place.host.clone() };
    let own = said.split_once("own ").and_then(|(_, rest)| rest.split_whitespace().next());
    let from = own.and_then(|own| own.parse().ok());
    let message = if result == DialOutcome::Connected { "" } else { said };
    let message = message.chars().filter(|letter| !letter.is_control()).take(200).collect();
    let dial = Dial { address: format!("{host}:{}", place.port), result, message, from };
    Some(Tried { dial, by: is_usable.then_some(tool) })
}

/// The exit codes of curl ("EXIT CODES" in its manual).
fn by_curl(code: &str, said: &str) -> (DialOutcome, bool) {
    match code {
        // Its TLS is too old, or it has none; or it does not accept our certificate.
        "1" | "35" | "51" | "59" | "60" | "77" => (DialOutcome::Connected, false),
        "28" => (DialOutcome::TimedOut, false),
        "52" | "56" => (DialOutcome::Closed, false),
        "7" => by_words(said),
        _ => (DialOutcome::Failed, false),
    }
}

/// Programs that quote the system's own words.
fn by_words(said: &str) -> (DialOutcome, bool) {
    let said = said.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| said.contains(words));
    if says(&["timed out", "timeout"]) {
        (DialOutcome::TimedOut, false)
    } else if says(&["refused"]) {
        (DialOutcome::Refused, false)
    } else if says(&["network is unreachable"]) {
        (DialOutcome::NoRoute, false)
    } else if says(&["no route to host", "permission denied"]) {
        (DialOutcome::Prohibited, false)
    } else if says(&["ssl", "certificate", "tls", "unsupported scheme", "https support not"]) {
        (DialOutcome::Connected, false)
    } else if says(&["connection reset", "closed", "no data received"]) {
        (DialOutcome::Closed, false)
    } else if says(&["couldn't connect", "failed to connect", "could not connect"]) {
        (DialOutcome::Refused, false)
    } else {
        (DialOutcome::Failed, false)
    }
}

/// The words of `fetch.pl`; `None` if perl cannot try this address.
fn by_perl(said: &str) -> Option<(DialOutcome, bool)> {
    let last = said.split_whitespace().last().unwrap_or_default();
    Some(match last {
        "notool" => return None,
        "answered" => (DialOutcome::Connected, true),
        "timeout" => (DialOutcome::TimedOut, false),
        "silent" => (DialOutcome::Silent, false),
        "closed" => (DialOutcome::Closed, false),
        "foreign" => (DialOutcome::Untrusted, false),
        _ => by_words(said),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str) -> Place {
        Place { scheme: Scheme::Https, host: host.to_owned(), port: 63002, authority: String::new() }
    }

    /// Otherwise an open port is reported as shut because the machine is old, or a shut one as open.
    #[test]
    fn the_words_of_each_program_are_understood() {
        use DialOutcome::{
            Closed, Connected, Failed, NoRoute, Prohibited, Refused, Silent, TimedOut, Untrusted,
        };
        for (line, result, is_usable) in [
            ("curl 0 farrier-preflight", Connected, true),
            ("curl 0 <html>", Untrusted, false),
            (
                "curl 35 curl: (35) error:1409442E:SSL routines:ssl3_read_bytes:tlsv1 alert protocol version",
                Connected,
                false,
            ),
            ("curl 60 curl: (60) SSL certificate problem", Connected, false),
            ("curl 1 curl: (1) Protocol https not supported or disabled in libcurl", Connected, false),
            ("curl 7 curl: (7) Failed to connect to 10.0.0.1 port 63002: Connection refused", Refused, false),
            (
                "curl 7 curl: (7) Failed to connect to 10.0.0.1 port 63002 after 0 ms: Couldn't connect to server",
                Refused,
                false,
            ),
            ("curl 7 curl: (7) Failed to connect to 10.0.0.1: No route to host", Prohibited, false),
            ("curl 28 curl: (28) Connection timed out after 6001 milliseconds", TimedOut, false),
            ("curl 52 curl: (52) Empty reply from server", Closed, false),
            ("curl 2 curl: (2) out of order", Failed, false),
            ("wget 0 farrier-preflight", Connected, true),
            ("wget 4 failed: Connection refused.", Refused, false),
            ("wget 4 failed: Connection timed out. Giving up.", TimedOut, false),
            ("wget 4 failed: Network is unreachable.", NoRoute, false),
            ("wget 5 ERROR: cannot verify 10.0.0.1's certificate", Connected, false),
            ("perl 0 own 10.0.0.2 answered", Connected, false),
            ("perl 2 Can't locate IO/Socket.pm in @INC", Failed, false),
            ("curl 127 sh: curl: not found", Failed, false),
            ("perl 0 timeout", TimedOut, false),
            ("perl 0 failed Connection refused", Refused, false),
            ("perl 0 own 10.0.0.2 silent", Silent, false),
            ("perl 0 own 10.0.0.2 closed", Closed, false),
        ] {
            let tried = one(line, &place("10.0.0.1")).unwrap();
            assert_eq!((tried.dial.result, tried.by.is_some()), (result, is_usable), "{line}");
        }
        let http = Place { scheme: Scheme::Http, ..place("10.0.0.1") };
        assert_eq!(one("perl 0 own 10.0.0.2 answered", &http).unwrap().by, Some(Tool::Perl));
        assert_eq!(one("perl 0 notool", &place("fd00::1")), None);
        let own = one("perl 0 own 10.0.0.2 closed", &place("10.0.0.1")).unwrap().dial.from;
        assert_eq!(own, Some("10.0.0.2".parse().unwrap()));
    }

    /// Otherwise a machine with a curl that is too old, or cannot be started, fetches by nothing, though its wget could.
    #[test]
    fn what_one_tool_cannot_do_another_one_may() {
        let tried = |said: &[&str]| {
            let lines: Vec<String> = said.iter().map(|said| format!("reach 0 {said}")).collect();
            let [tried] = <[Tried; 1]>::try_from(read(&lines, &[place("10.0.0.1")])).unwrap();
            (tried.by, tried.dial.result, tried.dial.message)
        };
        let connected = DialOutcome::Connected;
        let old = "curl 35 curl: (35) tlsv1 alert protocol version";
        let broken = "curl 127 sh: curl: not found";
        for first in [old, broken] {
            let by_wget = tried(&[first, "wget 0 farrier-preflight"]);
            assert_eq!(by_wget, (Some(Tool::Wget), connected, String::new()), "{first}");
        }
        assert_eq!(tried(&[old, "wget 127 x"]), (None, connected, String::new()), "the port is open");
        assert_eq!(tried(&[broken, "perl 0 own 10.0.0.2 answered"]), (None, connected, String::new()));
        let shut = tried(&[broken, "wget 4 failed: Connection refused."]);
        assert_eq!(shut.1, DialOutcome::Refused);
        assert_eq!(shut.2, "sh: curl: not found; failed: Connection refused.");
    }

    /// A result of another port would open or shut the wrong one.
    #[test]
    fn results_come_in_the_order_of_the_places() {
        let places = [place("fd00::1"), Place { port: 63001, ..place("fd00::1") }];
        let lines = ["reach 1 curl 28 x", "reach 0 curl 0 farrier-preflight"].map(str::to_owned);
        let tried = read(&lines, &places);
        let shown: Vec<_> =
            tried.iter().map(|tried| (tried.dial.address.as_str(), tried.dial.result)).collect();
        assert_eq!(
            shown,
            [("[fd00::1]:63002", DialOutcome::Connected), ("[fd00::1]:63001", DialOutcome::TimedOut)]
        );
        assert_eq!(read(&lines[..1], &places), []);
    }
}
