//! The callback server alone, and its clients: used by `hack/bench callback` for measurements.
//!
//! ```text
//! bench_callback serve   DIR N                 the product's server, for DIR/payload
//! bench_callback fetch   DIR ADDRESS PATH N    N clients fetch the same thing at once
//! bench_callback idle    DIR N                 N engines that wait for a task, until input ends
//! bench_callback latency DIR SECONDS           one engine that says something all the time
//! bench_callback pull    DIR WAY ADDRESS PATH N N devices fetch the same thing at once; WAY is http or https
//! bench_callback scan    ADDRESS SECONDS       connects from addresses that are not the run's
//! ```
//!
//! `serve` writes into DIR what the other commands need: `https` and `http` (the addresses), `engines` (a line of
//! JSON for each session), `offers` (a path for each device) and `ca.crt` (for another server that knows the same engines). Results go to standard
//! output, one `name value` per line.

mod client;
mod devices;
mod engines;
mod server;

use anyhow::bail;
use devices::Way;
use std::path::Path;
use std::time::Duration;

/// The server serves one file under this digest, whatever its content is.
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", dir, sessions] => server::answer(Path::new(dir), sessions.parse()?).await,
        ["fetch", dir, address, path, clients] => {
            let path = if *path == "payload" { format!("/v1/payloads/{DIGEST}") } else { (*path).to_owned() };
            engines::fetch(Path::new(dir), address.parse()?, path, clients.parse()?).await
        }
        ["idle", dir, engines] => engines::idle(Path::new(dir), engines.parse()?).await,
        ["latency", dir, seconds] => {
            engines::latency(Path::new(dir), Duration::from_secs(seconds.parse()?)).await
        }
        ["pull", dir, way, address, path, devices] => {
            let way = if *way == "http" { Way::Http } else { Way::Https };
            devices::pull(Path::new(dir), way, address.parse()?, path, devices.parse()?).await
        }
        ["scan", address, seconds] => {
            devices::scan(address.parse()?, Duration::from_secs(seconds.parse()?)).await
        }
        _ => bail!("see the head of examples/bench_callback.rs for how this is called"),
    }
}
