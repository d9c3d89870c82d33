//! The device as a client: it fetches an image from a server.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{anyhow, ensure};
use farrier_double_parts::fetch::Curl;
use serde_json::json;

use crate::device::Device;
use crate::fault::Fault;
use crate::image::digest;

/// Where an image is, and who asks for it.
#[derive(Clone)]
pub(crate) struct Remote {
    /// `http`, `https`, `ftp`, `tftp`, `scp`, `sftp`.
    pub(crate) scheme: String,
    /// Name or address; IPv6 in brackets or without; with a port if the product takes one.
    pub(crate) host: String,
    /// Absolute, or relative to the home of the user.
    pub(crate) path: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("url", &self.shown(None)).finish_non_exhaustive()
    }
}

impl Remote {
    /// Whether the server refused who asked; `why` is what curl said.
    pub(crate) fn is_login(why: &str) -> bool {
        ["Authentication", "Access denied", "401", "403"].iter().any(|word| why.contains(word))
    }

    /// Reads `protocol://user:password@host/path`.
    pub(crate) fn of_url(url: &str) -> Option<Self> {
        let url = url.trim_matches('"');
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_once('/')?;
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let owned = str::to_owned;
        (!host.is_empty() && !path.is_empty()).then(|| Self {
            scheme: scheme.to_ascii_lowercase(),
            host: owned(host),
            path: format!("/{path}"),
            user: owned(user),
            password: owned(password),
        })
    }

    /// The URL without credentials; `port` where the product cannot be told one.
    fn shown(&self, port: Option<u16>) -> String {
        let host = match &self.host {
            host if host.contains("::") && !host.starts_with('[') => format!("[{host}]"),
            host => host.clone(),
        };
        let has_port =
            host.rsplit_once(':').is_some_and(|(name, _)| !name.contains(':') || name.ends_with(']'));
        let port = port.filter(|_| !has_port).map(|port| format!(":{port}")).unwrap_or_default();
        // curl takes `/~/` for the home of the user, except with FTP, where every path begins there.
        let path = match self.path.as_str() {
            path if path.starts_with('/') => path.to_owned(),
            path if self.scheme == "ftp" => format!("/{path}"),
            path => format!("/~/{path}"),
        };
        format!("{}://{host}{port}{path}", self.scheme)
    }
}

/// The file. Every try is in the journal, with what came of it.
pub(crate) async fn fetch(device: &Arc<Device>, remote: &Remote) -> anyhow::Result<Vec<u8>> {
    let port = device.settings().ports.get(&remote.scheme).copied();
    let url = remote.shown(port);
    let outcome = if device.has(&Fault::TransferFails) {
        Err(anyhow!("connection reset"))
    } else {
        curl(remote, &url, device.source.get()).await
    };
    let mut detail = json!({"url": url, "user": remote.user});
    match &outcome {
        Ok(bytes) => {
            detail["bytes"] = json!(bytes.len());
            detail["sha256"] = json!(digest(bytes));
        }
        Err(error) => detail["error"] = json!(format!("{error:#}")),
    }
    device.lock().journal.write("fetch", detail);
    outcome
}

async fn curl(remote: &Remote, url: &str, source: Option<&IpAddr>) -> anyhow::Result<Vec<u8>> {
    let known = ["http", "https", "ftp", "tftp", "scp", "sftp"];
    ensure!(known.contains(&remote.scheme.as_str()), "no client for {}", remote.scheme);
    // A module of an enclosure has its own address, though it is the same process here.
    let source = source.filter(|source| source.is_ipv6() == url.contains('['));
    let login = (!remote.user.is_empty()).then_some((remote.user.as_str(), remote.password.as_str()));
    Curl { url, scheme: &remote.scheme, login, source: source.copied() }.fetch().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The journal is printed by tests that fail, and read by people.
    #[test]
    fn credentials_in_a_url_are_not_shown() {
        let remote = Remote::of_url("ftp://me:se@cret@10.0.0.1/a/b.bin").unwrap();
        assert_eq!((remote.user.as_str(), remote.password.as_str()), ("me", "se@cret"));
        assert_eq!(remote.shown(None), "ftp://10.0.0.1/a/b.bin");
        assert!(!format!("{remote:?}").contains("cret"));
    }

    /// Old devices cannot be told a port; the lab has servers on other ones.
    #[test]
    fn a_port_is_set_where_the_command_has_none() {
        let shown = |url: &str| Remote::of_url(url).unwrap().shown(Some(2222));
        assert_eq!(shown("scp://10.0.0.1/x"), "scp://10.0.0.1:2222/x");
        assert_eq!(shown("http://10.0.0.1:63001/x"), "http://10.0.0.1:63001/x");
        assert_eq!(shown("http://[fd00::1]/x"), "http://[fd00::1]:2222/x");
        assert_eq!(shown("http://[fd00::1]:63001/x"), "http://[fd00::1]:63001/x");
        assert!(Remote::of_url("http://10.0.0.1").is_none());
    }
}
