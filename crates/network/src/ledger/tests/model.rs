//! The rules of the texts in the simplest possible code. Shares nothing with the ledger.

use std::collections::BTreeSet;

/// "63001 and 63002 first, the next free pair on conflict", within `first..=last`.
pub(super) fn pair(
    wanted: (i64, i64),
    block: Option<(i64, i64)>,
    taken: &BTreeSet<i64>,
) -> Option<(i64, i64)> {
    let (lowest, highest) = block.unwrap_or((1, 65535));
    let good = |(a, b): (i64, i64)| {
        [a, b].iter().all(|port| (lowest..=highest).contains(port) && !taken.contains(port))
    };
    let mut order = Vec::new();
    for up in 0..65536 {
        order.push((wanted.0 + up, wanted.1 + up));
    }
    if let Some((first, last)) = block {
        for http in first..wanted.0 {
            order.push((http, http + wanted.1 - wanted.0));
        }
        for http in first..=last {
            order.push((http, http + 1));
        }
    }
    order.into_iter().find(|pair| good(*pair))
}

/// "The manager uses the next available port. HP does not guarantee that the upper limit is 60007."
pub(super) fn next_available(first: u16, taken: &BTreeSet<u16>) -> Option<u16> {
    let mut port = first;
    while taken.contains(&port) {
        port = port.checked_add(1)?;
    }
    Some(port)
}

/// "Port 80 (if available) or a random port between 63000 and 63005": all possible ports.
pub(super) fn log_server(taken: &BTreeSet<u16>) -> BTreeSet<u16> {
    if !taken.contains(&80) {
        return BTreeSet::from([80]);
    }
    (63000..=63005).filter(|port| !taken.contains(port)).collect()
}
