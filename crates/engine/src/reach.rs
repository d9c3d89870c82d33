//! `farrier-engine reach`: whether a TCP connection to somewhere can be opened from this machine.

use crate::callback::address::Address;
use farrier_protocol::{Dial, Dialled};
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// Tries all at once and prints what came of each, in the order in which they were given.
pub(crate) fn reach(addresses: &[Address], timeout: Duration) -> ExitCode {
    let dials = thread::scope(|scope| {
        let tries: Vec<_> = addresses.iter().map(|address| scope.spawn(|| dial(address, timeout))).collect();
        tries.into_iter().filter_map(|dial| dial.join().ok()).collect::<Vec<_>>()
    });
    let mut output = io::stdout();
    let printed = dials.iter().try_for_each(|dial| {
        let json = serde_json::to_string(dial)?;
        writeln!(output, "{json}")
    });
    let all_stood = dials.iter().all(|dial| dial.result == Dialled::Connected);
    if all_stood && printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn dial(address: &Address, timeout: Duration) -> Dial {
    match address.connect(timeout) {
        Ok(_) => {
            Dial { address: address.text().to_owned(), result: Dialled::Connected, message: String::new() }
        }
        Err(dial) => dial,
    }
}
