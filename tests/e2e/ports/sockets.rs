//! The listening sockets of this host, from the kernel's own list.

use crate::harness::wait;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// State `LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Returns all sockets that listen on these ports: family and address as the kernel writes them, and
/// the port. Other tests run at the same time, on other ports.
pub(super) fn listening(ports: RangeInclusive<u16>) -> BTreeSet<(String, u16)> {
    let mut found = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).expect("the kernel's list");
        for line in text.lines().skip(1) {
            let mut words = line.split_whitespace().skip(1);
            let (Some(local), Some(_), Some(state)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let Some((address, port)) = local.split_once(':') else { continue };
            let port = u16::from_str_radix(port, 16).expect("a port");
            if state == LISTEN && ports.contains(&port) {
                found.insert((format!("{table} {address}"), port));
            }
        }
    }
    found
}

/// Waits until the same sockets listen as in `before`.
pub(super) async fn free_again(ports: &RangeInclusive<u16>, before: &BTreeSet<(String, u16)>) {
    wait::until("the ports to be free", wait::LIMIT, async || {
        let now = listening(ports.clone());
        if now == *before { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}

/// Returns the number of sockets on this port that do not listen: connections, and their remains.
pub(super) fn remains(port: u16) -> usize {
    let of_port = format!(":{port:04X}");
    let is = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1).is_some_and(|local| local.ends_with(&of_port))
            && words.get(3).is_some_and(|state| *state != LISTEN)
    };
    let texts =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).expect("a list"));
    texts.iter().flat_map(|text| text.lines()).filter(|line| is(line)).count()
}
