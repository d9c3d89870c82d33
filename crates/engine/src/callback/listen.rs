//! Channel `Listen`: where the engine listens, and for whom.

use super::address::Address;
use crate::digest::Digest;
use crate::work_dir::WorkDir;
use farrier_protocol::{ListenConfig, Listening};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, TcpListener};
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

/// Maximum number of ports that are tried.
const MAX_PORTS: u16 = 64;

/// How long a launch waits until the engine has reported its port: the tools of a firewall may take seconds.
const REPORT_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval between two looks at the report.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The validated form of [`ListenConfig`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenSettings {
    /// The ports to try, in order.
    ports: RangeInclusive<u16>,
    /// The machine's own address.
    local: String,
    /// The only address that may connect.
    pub(crate) peer: IpAddr,
    /// The greeting of a connection, which is its first line, with its end.
    pub(crate) greeting: Vec<u8>,
    /// Whether the engine may change the machine's firewall.
    pub(crate) open_firewall: bool,
}

/// The report of the engine, in its directory.
#[derive(Serialize, Deserialize)]
struct Report {
    /// Digest of the configuration that the report is about.
    config: String,
    listening: Listening,
}

impl ListenSettings {
    /// Validates a configuration. The error quotes no secret.
    pub(crate) fn new(config: &ListenConfig) -> Result<Self, String> {
        let ports = config.first_port..=config.last_port;
        if config.first_port == 0 || ports.is_empty() || config.last_port - config.first_port >= MAX_PORTS {
            return Err(format!("{}-{} is not a range of ports", config.first_port, config.last_port));
        }
        if config.token.is_empty() || !config.token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("the token of the channel is not hexadecimal".into());
        }
        let settings = Self {
            ports,
            local: config.local.clone(),
            peer: ip(&config.peer)?,
            greeting: format!("{}\n", config.first_line()).into_bytes(),
            open_firewall: config.open_firewall,
        };
        settings.address(config.first_port)?;
        Ok(settings)
    }

    /// Listens on the first free port. The error says why no port could be bound.
    pub(crate) fn bind(&self) -> Result<(TcpListener, u16), String> {
        for port in self.ports.clone() {
            let bound = self.address(port)?.scoped().and_then(TcpListener::bind);
            match bound.and_then(|listener| listener.set_nonblocking(true).map(|()| listener)) {
                Ok(listener) => return Ok((listener, port)),
                Err(error) if Errno::from_io_error(&error) == Some(Errno::ADDRINUSE) => {}
                Err(error) => return Err(format!("{} port {port}: {error}", self.local)),
            }
        }
        let (first, last) = (self.ports.start(), self.ports.end());
        Err(format!("other programs listen on all ports from {first} to {last}"))
    }

    /// Reports whether a listener for `other` is as good as one for these.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        (&self.ports, &self.local) == (&other.ports, &other.local)
    }

    fn address(&self, port: u16) -> Result<Address, String> {
        let text = if self.local.contains(':') {
            format!("[{}]:{port}", self.local)
        } else {
            format!("{}:{port}", self.local)
        };
        text.parse()
    }
}

/// Parses an address; a zone is dropped, because the kernel keeps it apart from the address.
fn ip(text: &str) -> Result<IpAddr, String> {
    let plain = text.split('%').next().unwrap_or_default();
    let ip: IpAddr = plain.parse().map_err(|_| format!("{text:?} is not an address"))?;
    Ok(ip.to_canonical())
}

/// Stores where the engine listens for a launch that waits for it.
pub(crate) fn report(place: &WorkDir, config: &[u8], listening: Listening) -> io::Result<()> {
    let report = Report { config: Digest::of(config).to_string(), listening };
    let path = place.listening();
    let fresh = path.with_extension("new");
    fs::File::create(&fresh)?.write_all(&serde_json::to_vec(&report)?)?;
    fs::rename(&fresh, &path)
}

/// Waits for the engine's report about this configuration.
pub(crate) fn await_report(place: &WorkDir, config: &[u8]) -> Listening {
    let config = Digest::of(config).to_string();
    let begun = Instant::now();
    loop {
        let report = fs::read(place.listening()).ok();
        let report = report.and_then(|json| serde_json::from_slice::<Report>(&json).ok());
        if let Some(report) = report.filter(|report| report.config == config) {
            return report.listening;
        }
        if begun.elapsed() >= REPORT_TIMEOUT {
            let problem = format!("the engine has not listened for {} s", REPORT_TIMEOUT.as_secs());
            return Listening { problem, ..Listening::default() };
        }
        // sleep: the engine is not a child of this process.
        thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(local: &str) -> ListenConfig {
        ListenConfig {
            first_port: 62286,
            last_port: 62289,
            local: local.into(),
            peer: "fe80::1%eth0".into(),
            token: "00ff".into(),
            open_firewall: true,
        }
    }

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let first = ListenSettings { ports: 1..=1, ..ListenSettings::new(&config("127.0.0.1")).unwrap() };
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let settings = ListenSettings { ports: port..=port.saturating_add(20), ..first.clone() };
        let (_listener, bound) = settings.bind().unwrap();
        assert!(bound > port, "{bound}");
        let error = ListenSettings { ports: port..=port, ..first }.bind().unwrap_err();
        assert!(error.contains(&format!("all ports from {port} to {port}")), "{error}");
    }

    #[test]
    fn what_cannot_be_listened_on_is_refused() {
        assert_eq!(ListenSettings::new(&config("fe80::2%eth0")).unwrap().peer.to_string(), "fe80::1");
        let good = config("10.0.0.2");
        for wrong in [
            ListenConfig { local: "db-01".into(), ..good.clone() },
            ListenConfig { peer: "runner".into(), ..good.clone() },
            ListenConfig { last_port: 62285, ..good.clone() },
            ListenConfig { last_port: 65000, ..good.clone() },
            ListenConfig { token: "a\nb".into(), ..good.clone() },
            ListenConfig { token: String::new(), ..good.clone() },
        ] {
            assert!(ListenSettings::new(&wrong).is_err(), "{wrong:?}");
        }
    }
}
