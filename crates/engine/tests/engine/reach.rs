//! `farrier-engine reach` distinguishes the causes why an address cannot be reached.

use crate::machine::program;
use crate::sandbox::shell;
use farrier_protocol::{Dial, DialOutcome};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};

fn reach(words: &[&str]) -> Output {
    // The command needs no privileges.
    let anybody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", program(), "reach"];
    Command::new("setpriv").args(anybody).args(words).output().unwrap()
}

fn results(words: &[&str]) -> Vec<(String, DialOutcome)> {
    let output = reach(words);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<Dial>(line).unwrap())
        .map(|dial| {
            assert_eq!(dial.result == DialOutcome::Connected, dial.message.is_empty(), "{dial:?}");
            assert!(dial.from.is_some() || dial.result != DialOutcome::Connected, "{dial:?}");
            (dial.address, dial.result)
        })
        .collect()
}

/// Starts a server that responds to any client that sends a byte.
fn answers(at: &str) -> SocketAddr {
    let listener = TcpListener::bind(at).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(b"?").unwrap();
        }
    });
    address
}

sandboxed! {
    /// When a machine with several addresses is rejected, users must learn which source address it
    /// used.
    fn the_source_address_is_reported() {
        shell("ip link add front type veth peer name back && ip link set front up && ip link set back up");
        shell("ip address add 10.0.0.1/24 dev front && ip address add 10.0.0.2/24 dev front");
        shell("ip route add 10.3.0.0/24 dev front src 10.0.0.2");
        shell("nft 'add table inet t; add chain inet t out { type filter hook output priority 0; }
             add rule inet t out ip daddr 10.3.0.0/24 drop'");
        let output = reach(&["--timeout-ms", "300", "10.3.0.1:1"]);
        let dial: Dial = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(dial.from, "10.0.0.2".parse().ok(), "{dial:?}");
    }
}

sandboxed! {
    fn each_kind_of_failure_has_its_own_result() {
        shell("ip link add front type veth peer name back && ip link set front up && ip link set back up");
        shell("ip address add 10.0.0.1/24 dev front && ip address add fe80::1/64 dev front nodad");
        shell("ip address add fd00::1/64 dev front nodad");
        shell("ip route add prohibit 10.1.0.0/24 && ip -6 route add prohibit fd01::/64");
        shell(
            "nft 'add table inet t; add chain inet t in { type filter hook input priority 0; }
             add rule inet t in tcp dport 1001 drop
             add rule inet t in tcp dport 1002 reject with icmpx type admin-prohibited
             add rule inet t in tcp dport 1003 reject with tcp reset
             add rule inet t in tcp dport 1004 reject with icmpx type port-unreachable'",
        );
        let (open4, port6) = (answers("10.0.0.1:0").to_string(), answers("[::]:0").port());
        // A firewall that admits only known peers, and a proxy without a backend.
        let (shut, mute) = (TcpListener::bind("10.0.0.1:0").unwrap(), TcpListener::bind("10.0.0.1:0").unwrap());
        let (shut_at, mute_at) = (shut.local_addr().unwrap().to_string(), mute.local_addr().unwrap().to_string());
        std::thread::spawn(move || shut.incoming().for_each(drop));
        let (open6, zoned) = (format!("[fd00::1]:{port6}"), format!("[fe80::1%front]:{port6}"));
        let expected = [
            (open4.as_str(), DialOutcome::Connected),
            (&open6, DialOutcome::Connected),
            (&zoned, DialOutcome::Connected),
            (&shut_at, DialOutcome::Closed),
            (&mute_at, DialOutcome::Silent),
            ("10.0.0.1:1", DialOutcome::Refused),
            ("[fd00::1]:1", DialOutcome::Refused),
            ("10.0.0.1:1003", DialOutcome::Refused),
            ("10.0.0.1:1004", DialOutcome::Refused),
            ("10.0.0.1:1001", DialOutcome::TimedOut),
            ("[fd00::1]:1001", DialOutcome::TimedOut),
            ("10.0.0.1:1002", DialOutcome::Prohibited),
            ("[fd00::1]:1002", DialOutcome::Prohibited),
            ("10.1.0.1:1", DialOutcome::Prohibited),
            ("[fd01::1]:1", DialOutcome::Prohibited),
            ("10.2.0.1:1", DialOutcome::NoRoute),
            ("[fd02::1]:1", DialOutcome::NoRoute),
            ("[fe80::1%gone]:1", DialOutcome::NoRoute),
            // The host is absent: the kernel's own three requests take three seconds.
            ("10.0.0.9:1", DialOutcome::TimedOut),
            ("[fd00::9]:1", DialOutcome::TimedOut),
        ];
        let mut words = vec!["--timeout-ms", "5000"];
        words.extend(expected.iter().map(|(address, _)| *address));
        let expected: Vec<_> = expected.iter().map(|(address, result)| ((*address).to_owned(), *result)).collect();
        assert_eq!(results(&words), expected);
        assert_eq!(reach(&["--timeout-ms", "5000", &open4, &open6]).status.code(), Some(0));
        assert_eq!(reach(&[&open4, "10.0.0.1:1"]).status.code(), Some(1));
    }
}

sandboxed! {
    fn nonsense_is_refused_before_anything_is_dialled() {
        for words in [&[][..], &["10.0.0.1"], &["runner:1"], &["--timeout-ms"], &["--timeout-ms", "0", "10.0.0.1:1"]] {
            let output = reach(words);
            assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{words:?}");
        }
    }
}
