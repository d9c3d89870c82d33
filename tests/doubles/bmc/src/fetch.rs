//! The BMC as a client: it fetches an image from a server.
//!
//! HTTP and HTTPS by reqwest; FTP, SFTP and SCP by curl.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use farrier_double_parts::fetch::Curl;
use reqwest::Url;
use serde_json::json;

use crate::image::{Header, digest};
use crate::state::{Bmc, pause};

/// Where an image is, and how it is fetched.
#[derive(Clone)]
pub(crate) struct Remote {
    /// May have a user and a password, as Lenovo writes them.
    url: String,
    /// The server's certificate is checked.
    verify: bool,
    /// `Username` and `Password`.
    login: Option<(String, String)>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("url", &self.shown()).finish_non_exhaustive()
    }
}

impl Remote {
    pub(crate) const fn new(url: String, verify: bool) -> Self {
        Self { url, verify, login: None }
    }

    pub(crate) fn with_login(mut self, user: Option<&str>, password: Option<&str>) -> Self {
        self.login = user.map(|user| (user.to_owned(), password.unwrap_or_default().to_owned()));
        self
    }

    /// Without credentials.
    fn shown(&self) -> String {
        match (self.url.split_once("://"), self.parsed()) {
            (Some((scheme, rest)), Ok(url)) if !url.username().is_empty() || url.password().is_some() => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let from = rest.get(..end).and_then(|host| host.rfind('@')).map_or(0, |at| at + 1);
                format!("{scheme}://{}", rest.get(from..).unwrap_or_default())
            }
            (_, Ok(_)) => self.url.clone(),
            (_, Err(_)) => "(not a URL)".to_owned(),
        }
    }

    fn parsed(&self) -> anyhow::Result<Url> {
        Url::parse(&self.url).context("read the URL")
    }

    fn user(&self) -> Option<String> {
        let of_url = self.parsed().ok().map(|url| url.username().to_owned()).filter(|user| !user.is_empty());
        self.login.as_ref().map(|(user, _)| user.clone()).or(of_url)
    }
}

/// The file at the URL. Every try is in the journal, with what came of it.
pub(crate) async fn fetch(bmc: &Arc<Bmc>, remote: &Remote) -> anyhow::Result<Vec<u8>> {
    pause(bmc.settings().fetch_delay_ms).await;
    let trust = {
        let state = bmc.lock();
        format!("{}\n{}", state.settings.trust, state.trust.pem())
    };
    let outcome = match remote.parsed() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => web(remote, &trust).await,
        Ok(url) => curl(remote, url.scheme()).await,
        Err(error) => Err(error),
    };
    let mut detail = json!({"url": remote.shown(), "verified": remote.verify, "user": remote.user()});
    match &outcome {
        Ok(bytes) => {
            detail["bytes"] = json!(bytes.len());
            detail["sha256"] = json!(digest(bytes));
            detail["whole"] = json!(Header::of_file(bytes).is_ok());
        }
        Err(error) => detail["error"] = json!(format!("{error:#}")),
    }
    bmc.lock().journal.write("fetch", detail);
    outcome
}

async fn web(remote: &Remote, trust: &str) -> anyhow::Result<Vec<u8>> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .user_agent("bmc-double")
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(Duration::from_secs(10));
    let builder = if remote.verify {
        let authorities = reqwest::Certificate::from_pem_bundle(trust.as_bytes())
            .context("read the certificates of servers")?;
        builder.tls_certs_only(authorities)
    } else {
        builder.tls_danger_accept_invalid_certs(true)
    };
    let mut request = builder.build()?.get(&remote.url);
    if let Some((user, password)) = &remote.login {
        request = request.basic_auth(user, Some(password));
    }
    // A URL in an error may have a password in it.
    let response = request.send().await.and_then(reqwest::Response::error_for_status);
    let response = response.map_err(reqwest::Error::without_url)?;
    Ok(response.bytes().await.map_err(reqwest::Error::without_url)?.to_vec())
}

async fn curl(remote: &Remote, scheme: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(matches!(scheme, "ftp" | "sftp" | "scp"), "no client for {scheme}");
    let login = remote.login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
    Curl { url: &remote.url, scheme, login, source: None }.fetch().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The journal is printed by tests that fail, and read by people.
    #[test]
    fn credentials_in_a_url_are_not_shown() {
        let shown = |url: &str| Remote::new(url.to_owned(), false).shown();
        assert_eq!(shown("sftp://me:secret@10.0.0.1:/a/b@c.bin"), "sftp://10.0.0.1:/a/b@c.bin");
        assert_eq!(shown("https://10.0.0.1/a@b.bin"), "https://10.0.0.1/a@b.bin");
        assert_eq!(shown("ftp://me:se/cret@10.0.0.1/x"), "(not a URL)");
    }
}
