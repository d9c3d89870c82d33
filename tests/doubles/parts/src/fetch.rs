//! A file that the device fetches from a server, with curl as a child process.
//!
//! Keys and certificates of servers are not checked: no document says how these devices would know them.

use std::net::IpAddr;
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use tokio::io::AsyncWriteExt as _;

/// What is fetched, and how.
#[derive(Clone, Copy)]
pub struct Curl<'a> {
    /// Where it is.
    pub url: &'a str,
    /// Its protocol: no other one is spoken.
    pub scheme: &'a str,
    /// User and password.
    pub login: Option<(&'a str, &'a str)>,
    /// The address from which it is fetched, if not any.
    pub source: Option<IpAddr>,
}

impl Curl<'_> {
    /// The file.
    ///
    /// # Errors
    /// What curl says.
    pub async fn fetch(&self) -> anyhow::Result<Vec<u8>> {
        let config = self.config()?;
        let mut child = tokio::process::Command::new("curl")
            .args(["--disable", "--globoff", "--config", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start curl")?;
        // On standard input, where no list of processes shows the password.
        let mut input = child.stdin.take().context("no standard input")?;
        input.write_all(config.as_bytes()).await?;
        drop(input);
        let output = child.wait_with_output().await.context("wait for curl")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output.stdout)
    }

    fn config(&self) -> anyhow::Result<String> {
        let mut config = String::from(
            "silent\nshow-error\nfail\nnoproxy = \"*\"\ninsecure\nconnect-timeout = 5\nspeed-limit = 1\nspeed-time = 10\n",
        );
        let mut set = |name: &str, value: &str| -> anyhow::Result<()> {
            ensure!(!value.contains(['\n', '\r', '\0']), "{name} has a line break");
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            config.push_str(&[name, " = \"", &value, "\"\n"].concat());
            Ok(())
        };
        set("proto", &format!("={}", self.scheme))?;
        set("url", self.url)?;
        if let Some(source) = self.source {
            set("interface", &format!("host!{source}"))?;
        }
        if let Some((user, password)) = self.login {
            set("user", &format!("{user}:{password}"))?;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A password with a quote or a line break would be another option of curl.
    #[test]
    fn values_are_quoted() {
        let curl = Curl { url: "ftp://h/x", scheme: "ftp", login: Some(("u", "a\"\\b")), source: None };
        let config = curl.config().unwrap();
        assert!(
            config.ends_with("proto = \"=ftp\"\nurl = \"ftp://h/x\"\nuser = \"u:a\\\"\\\\b\"\n"),
            "{config}"
        );
        assert!(Curl { login: Some(("u", "a\nb")), ..curl }.config().is_err());
    }
}
