//! Tests whether a connection from the machine gets an answer, with the tools of the machine.
//!
//! bash can open connections itself and is nearly everywhere; Python is the second choice. On a machine that
//! has neither, the class must find another way.

use super::Session;
use super::script::{code, is_word, program};
use crate::failure::Failure;
use bytes::Bytes;
use farrier_protocol::{Dial, DialOutcome, PREFLIGHT};
use std::net::IpAddr;
use std::time::Duration;

/// Timeout for one address, in seconds: Linux sends SYNs after 0, 1 and 3 seconds.
const TRY: &str = "4";

/// Timeout for the whole test; all addresses are tried concurrently.
pub(in crate::drivers) const LIMIT: Duration = Duration::from_secs(15);

/// Exit status of `timeout` when the time has expired.
const TIMED_OUT: &str = "124";

/// Status that is printed if the machine has no tool for the test.
const NO_TOOL: &str = "127";

impl Session {
    /// Tries to get an answer over TCP from each target. Empty: the machine has no tool for the test.
    ///
    /// # Errors
    /// `ShellUnusable`, `SshCommandReplaced`, and those of running a command.
    pub async fn reach(&self, targets: &[(String, u16)]) -> Result<Vec<Dial>, Failure> {
        let lines = self.lines(reach_program(targets), LIMIT).await?;
        Ok(lines.iter().filter_map(|line| read(line)).collect())
    }
}

/// Returns the program that tries the targets with the machine's own tools. Hosts that are neither an address
/// nor a name would make the output ambiguous, and are skipped.
pub(super) fn reach_program(targets: &[(String, u16)]) -> Bytes {
    let targets = targets.iter().filter(|(host, _)| is_word(host));
    let words: Vec<String> = targets.flat_map(|(host, port)| [host.clone(), port.to_string()]).collect();
    let settings = [
        ("TRY", TRY),
        ("GREETING", PREFLIGHT),
        ("IN_BASH", &code(include_str!("reach.bash"))),
        ("IN_PYTHON", include_str!("reach.py")),
    ];
    program(include_str!("reach.sh"), &settings, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Parses one line of the script's output; `None` if no test was made.
pub(super) fn read(line: &str) -> Option<Dial> {
    let mut words = line.strip_prefix("reach ")?.splitn(4, ' ');
    let (host, port, status) = (words.next()?, words.next()?, words.next()?);
    let (from, stood, said) = parse_output(words.next().unwrap_or_default(), host);
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let says = |words: &str| said.to_ascii_lowercase().contains(words);
    let over = status == TIMED_OUT || says("timed out");
    let result = match status {
        NO_TOOL => return None,
        "0" => DialOutcome::Connected,
        _ if stood && over => DialOutcome::Silent,
        _ if stood => DialOutcome::Closed,
        _ if over => DialOutcome::TimedOut,
        _ if says("refused") => DialOutcome::Refused,
        // Linux reports a reset of a connection that it is opening only after the peer has accepted.
        _ if says("connection reset") => DialOutcome::Closed,
        // Rejected by a router or firewall, or no host has this address.
        _ if says("no route to host") || says("permission denied") => DialOutcome::Prohibited,
        _ if says("network is unreachable") => DialOutcome::NoRoute,
        _ => DialOutcome::Failed,
    };
    let message = if result == DialOutcome::Connected { "" } else { &said };
    Some(Dial { address, result, message: message.chars().take(200).collect(), from })
}

/// Parses the output of one test: the machine's own address, whether the connection was established, and the
/// rest.
fn parse_output(text: &str, host: &str) -> (Option<IpAddr>, bool, String) {
    let (mut from, mut stood, mut rest) = (None, false, Vec::new());
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "own" => {
                let pair = words.next().zip(words.next());
                from = from.or_else(|| pair.and_then(|(own, other)| own_address(own, other, host)));
            }
            "up" if !stood => stood = true,
            _ => rest.push(word),
        }
    }
    (from, stood, rest.join(" "))
}

/// Parses the machine's own address as Python or the kernel's socket table prints it. Other sockets may use
/// the same port, but not the same target.
fn own_address(own: &str, other: &str, host: &str) -> Option<IpAddr> {
    let plain = |text: &str| text.split('%').next().and_then(|ip| ip.parse::<IpAddr>().ok());
    let own = match other {
        "here" => plain(own)?,
        other if from_table(other) == plain(host) => from_table(own)?,
        _ => return None,
    };
    Some(own).filter(|own| !own.is_unspecified())
}

/// Parses an address of `/proc/net/udp` or `udp6`: 32-bit words in host byte order, which is little-endian on
/// every architecture that has an engine.
fn from_table(text: &str) -> Option<IpAddr> {
    let (hex, _port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for word in hex.as_bytes().chunks(8) {
        let word = std::str::from_utf8(word).ok().filter(|word| word.len() == 8)?;
        bytes.extend(u32::from_str_radix(word, 16).ok()?.to_le_bytes());
    }
    let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes.as_slice()).map(|bytes| IpAddr::from(bytes).to_canonical());
    v4.or(v6).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_bash_and_python_are_understood() {
        for (line, result) in [
            ("reach 10.0.0.1 63002 0 up", DialOutcome::Connected),
            ("reach 10.0.0.1 63002 124", DialOutcome::TimedOut),
            ("reach 10.0.0.1 63002 124 up", DialOutcome::Silent),
            ("reach 10.0.0.1 63002 1 up TimeoutError: timed out", DialOutcome::Silent),
            (
                "reach 10.0.0.1 63002 1 up bash: line 1: read: read error: 3: Connection reset by peer",
                DialOutcome::Closed,
            ),
            ("reach 10.0.0.1 63002 1 up", DialOutcome::Closed),
            (
                "reach 10.0.0.1 63002 1 ConnectionResetError: [Errno 104] Connection reset by peer",
                DialOutcome::Closed,
            ),
            (
                "reach ::1 63002 1 bash: connect: Connection refused bash: line 1: /dev/tcp/::1/63002: Connection refused",
                DialOutcome::Refused,
            ),
            ("reach 10.0.0.1 63002 1 OSError: [Errno 113] No route to host", DialOutcome::Prohibited),
            ("reach 10.0.0.1 63002 1 bash: connect: Network is unreachable", DialOutcome::NoRoute),
            ("reach 10.0.0.1 63002 1 TimeoutError: timed out", DialOutcome::TimedOut),
            ("reach 10.0.0.1 63002 1 bash: name: Name or service not known", DialOutcome::Failed),
        ] {
            assert_eq!(read(line).map(|dial| dial.result), Some(result), "{line}");
        }
        assert_eq!(read("reach ::1 63002 0 up").map(|dial| dial.address), Some("[::1]:63002".to_owned()));
        assert_eq!(read("reach 10.0.0.1 63002 127"), None, "nothing to try it with");
    }

    /// A wrong address, or that of another connection, would be reported as the machine's source address.
    #[test]
    fn the_own_address_is_read_as_the_kernel_and_python_write_it() {
        let from = |line: &str| read(line).and_then(|dial| dial.from).map(|ip| ip.to_string());
        let v4 = "own 0263A8C0:9C40 0100000A:F61A";
        assert_eq!(from(&format!("reach 10.0.0.1 63002 1 {v4} up")), Some("192.168.99.2".into()));
        assert_eq!(from(&format!("reach 10.0.0.2 63002 1 {v4} up")), None, "to somebody else");
        let v6 = "own 000077FD000000000000000001000100:9C40 000077FD000000000000000001000000:F61A";
        assert_eq!(from(&format!("reach fd77::1 63002 124 {v6}")), Some("fd77::1:1".into()));
        assert_eq!(
            from("reach fe80::1%eth0 63002 0 own fe80::2%eth0 here up"),
            Some("fe80::2".into()),
            "by Python"
        );
        assert_eq!(from("reach 10.0.0.1 63002 1 own 0.0.0.0 here"), None, "no route");
        assert_eq!(from("reach 10.0.0.1 63002 1 own x"), None);
        assert_eq!(from("reach 10.0.0.1 63002 1 own zz:1 yy:2"), None);
    }
}
