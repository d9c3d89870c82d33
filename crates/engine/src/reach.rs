//! `farrier-engine reach`: checks whether this machine gets a TCP response from addresses.

use crate::callback::address::Address;
use crate::callback::failed_dial;
use farrier_protocol::{Dial, DialOutcome, PREFLIGHT};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// Tries all addresses at once and prints the results in the given order.
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
    let all_stood = dials.iter().all(|dial| dial.result == DialOutcome::Connected);
    if all_stood && printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn dial(address: &Address, timeout: Duration) -> Dial {
    let until = Instant::now() + timeout;
    let stream = match address.connect(timeout) {
        Ok(stream) => stream,
        Err(dial) => return dial,
    };
    let from = stream.local_addr().ok().map(|own| own.ip());
    match is_answered(stream, until) {
        Ok(()) => Dial {
            address: address.text().to_owned(),
            result: DialOutcome::Connected,
            message: String::new(),
            from,
        },
        Err(error) => failed_dial(address.text(), from, &error),
    }
}

/// Sends a line and waits for any response.
fn is_answered(mut stream: TcpStream, until: Instant) -> io::Result<()> {
    stream.write_all(format!("{PREFLIGHT}\n").as_bytes())?;
    // Zero would mean no timeout.
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    stream.read_exact(&mut [0])
}
