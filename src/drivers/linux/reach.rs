//! Whether a connection from the machine gets anywhere, tried by what the machine has.
//!
//! bash can open connections by itself and is nearly everywhere; Python is the second choice. A
//! machine that has neither is not asked: there the engine finds out.

use super::Machine;
use super::probe::unusable;
use super::script::{END, as_user, between, one_line};
use crate::failure::Failure;
use bytes::Bytes;
use farrier_protocol::{Dial, Dialled};
use std::time::Duration;

/// How long one address is tried: three SYNs of Linux, sent after 0, 1 and 3 seconds.
const TRY: u32 = 4;

/// How long all of it may take; the addresses are tried at the same time.
const LIMIT: Duration = Duration::from_secs(15);

/// What `timeout` exits with when the time is over.
const TIMED_OUT: &str = "124";

/// What is printed where the machine has nothing to try with.
const NO_TOOL: &str = "127";

impl Machine {
    /// Tries to open a TCP connection from the machine to each of these. Empty: the machine has
    /// nothing to try it with.
    ///
    /// # Errors
    /// `ShellUnusable`, `ConnectionLost`.
    pub async fn reach(&self, targets: &[(String, u16)]) -> Result<Vec<Dial>, Failure> {
        let targets = targets.iter().filter(|(host, _)| is_plain(host));
        let calls: Vec<String> = targets.map(|(host, port)| format!("t {host} {port} &")).collect();
        let calls = calls.join(" ");
        // Words of the system are in English, and in one line.
        let script = one_line(&format!(
            "export LC_ALL=C;
             t() {{
               s={NO_TOOL}; m=;
               if command -v timeout >/dev/null 2>&1 && command -v bash >/dev/null 2>&1; then
                 m=$(timeout {TRY} bash -c 'exec 3<>/dev/tcp/$0/$1' $1 $2 2>&1 </dev/null); s=$?;
               elif command -v python3 >/dev/null 2>&1; then
                 m=$(python3 -c 'import socket,sys;socket.create_connection((sys.argv[1],int(sys.argv[2])),{TRY})' $1 $2 2>&1 </dev/null); s=$?;
               fi;
               echo reach $1 $2 $s $m;
             }};
             {calls} wait; echo {END};"
        ));
        let output = self.connection.run(&as_user(), vec![Bytes::from(script)], LIMIT).await?;
        let lines = between(&output.stdout).ok_or_else(|| unusable(self, &output))?;
        Ok(lines.iter().filter_map(|line| read(line)).collect())
    }
}

/// Whether a text is an address or a name and nothing else: it becomes part of a script.
fn is_plain(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".:%-_".contains(&b))
}

/// One line of the script's; `None` where nothing was tried.
fn read(line: &str) -> Option<Dial> {
    let mut words = line.strip_prefix("reach ")?.splitn(4, ' ');
    let (host, port, status) = (words.next()?, words.next()?, words.next()?);
    let said = words.next().unwrap_or_default();
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let says = |words: &str| said.to_ascii_lowercase().contains(words);
    let result = match status {
        NO_TOOL => return None,
        "0" => Dialled::Connected,
        TIMED_OUT => Dialled::TimedOut,
        _ if says("timed out") => Dialled::TimedOut,
        _ if says("refused") => Dialled::Refused,
        // By a router or firewall, or for want of anybody with that address.
        _ if says("no route to host") || says("permission denied") => Dialled::Prohibited,
        _ if says("network is unreachable") => Dialled::NoRoute,
        _ => Dialled::Failed,
    };
    let message = if result == Dialled::Connected { "" } else { said };
    Some(Dial { address, result, message: message.chars().take(200).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_bash_and_python_are_understood() {
        for (line, result) in [
            ("reach 10.0.0.1 63002 0", Dialled::Connected),
            ("reach 10.0.0.1 63002 124", Dialled::TimedOut),
            (
                "reach ::1 63002 1 bash: connect: Connection refused bash: line 1: /dev/tcp/::1/63002: Connection refused",
                Dialled::Refused,
            ),
            ("reach 10.0.0.1 63002 1 OSError: [Errno 113] No route to host", Dialled::Prohibited),
            ("reach 10.0.0.1 63002 1 bash: connect: Network is unreachable", Dialled::NoRoute),
            ("reach 10.0.0.1 63002 1 TimeoutError: timed out", Dialled::TimedOut),
            ("reach 10.0.0.1 63002 1 bash: name: Name or service not known", Dialled::Failed),
        ] {
            assert_eq!(read(line).map(|dial| dial.result), Some(result), "{line}");
        }
        assert_eq!(read("reach ::1 63002 0").map(|dial| dial.address), Some("[::1]:63002".to_owned()));
        assert_eq!(read("reach 10.0.0.1 63002 127"), None, "nothing to try it with");
    }

    #[test]
    fn nothing_but_addresses_and_names_gets_into_a_script() {
        for host in ["", "10.0.0.1; reboot", "$(reboot)", "a b", "`x`", "a'b"] {
            assert!(!is_plain(host), "{host}");
        }
        assert!(is_plain("fe80::1%eth0.7") && is_plain("runner-1.example.net"));
    }
}
