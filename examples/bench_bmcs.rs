//! Doubles of BMCs by the hundred in one process, for `hack/bench bmcs`.
//!
//! ```text
//! bench_bmcs COUNT VARIANT FLASH_MS
//! ```
//!
//! Prints a line `NAME PORT` for each double, then `ready`. For each line on standard input it prints the sums of
//! all doubles, as `name value` lines and a last line `end`; it ends with standard input.

use anyhow::Context as _;
use farrier_bmc_double::{Config, Double, Settings, Variant};
use std::io::BufRead as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [count, variant, flash_ms] = arguments.as_slice() else {
        anyhow::bail!("see the head of examples/bench_bmcs.rs for how this is called")
    };
    let count: usize = count.parse().context("COUNT is a number")?;
    let flash_ms = flash_ms.parse().context("FLASH_MS is a number")?;
    let variant = Variant::named(variant)?;
    let mut doubles = Vec::new();
    for number in 1..=count {
        let config = Config::new(variant.clone());
        let settings = Settings { flash_ms, ..config.settings.clone() };
        let double = Double::start(Config { settings, ..config }).await?;
        println!("bmc-{number:04} {}", double.https().port());
        doubles.push(double);
    }
    println!("ready");
    let doubles = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() {
                break;
            }
            report(&doubles);
        }
        doubles
    });
    drop(doubles.await?);
    Ok(())
}

fn report(doubles: &[Double]) {
    let sum = |kind: &str| -> usize {
        doubles.iter().map(|d| d.journal().iter().filter(|entry| entry.kind == kind).count()).sum()
    };
    let sessions: usize = doubles
        .iter()
        .map(|d| d.state().get("sessions").and_then(serde_json::Value::as_array).map_or(0, Vec::len))
        .sum();
    println!("requests {}\nflashes {}\nsessions {sessions}\nend", sum("request"), sum("flash"));
}
