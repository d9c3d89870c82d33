//! The BMC as a client: it fetches an image from a server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use crate::image::{Header, digest};
use crate::state::Bmc;

/// The file at the URL. Every try is in the journal, with what came of it.
pub(crate) async fn fetch(bmc: &Arc<Bmc>, url: &str, verify: bool) -> anyhow::Result<Vec<u8>> {
    let trust = {
        let state = bmc.lock();
        format!("{}\n{}", state.settings.trust, state.trust.pem())
    };
    let outcome = get(url, verify, &trust).await;
    let detail = match &outcome {
        Ok(bytes) => json!({
            "url": url, "verified": verify, "bytes": bytes.len(), "sha256": digest(bytes),
            "whole": Header::of_file(bytes).is_ok(),
        }),
        Err(error) => json!({"url": url, "verified": verify, "error": format!("{error:#}")}),
    };
    bmc.lock().journal.write("fetch", detail);
    outcome
}

async fn get(url: &str, verify: bool, trust: &str) -> anyhow::Result<Vec<u8>> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .user_agent("bmc-double")
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(Duration::from_secs(10));
    let builder = if verify {
        let authorities = reqwest::Certificate::from_pem_bundle(trust.as_bytes())
            .context("read the certificates of servers")?;
        builder.tls_certs_only(authorities)
    } else {
        builder.tls_danger_accept_invalid_certs(true)
    };
    let response = builder.build()?.get(url).send().await?.error_for_status()?;
    Ok(response.bytes().await?.to_vec())
}
