//! Power and resets: of the host, and of the BMC itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::flash;
use crate::state::{Bmc, Net, Power, pause};

/// Carries out `ComputerSystem.Reset`; returns once the host has what it shall have.
pub(crate) async fn reset(bmc: &Arc<Bmc>, kind: &str) {
    bmc.lock().journal.write("host-reset", json!({"type": kind}));
    match kind {
        "On" | "ForceOn" => start(bmc, kind).await,
        "ForceOff" => stop(bmc, kind, 0).await,
        "GracefulShutdown" => stop(bmc, kind, bmc.settings().shutdown_ms).await,
        "PushPowerButton" => {
            let power = bmc.lock().power;
            match power {
                Power::On => stop(bmc, kind, bmc.settings().shutdown_ms).await,
                Power::Off => start(bmc, kind).await,
            }
        }
        "ForceRestart" | "PowerCycle" => {
            stop(bmc, kind, 0).await;
            start(bmc, kind).await;
        }
        "GracefulRestart" => {
            stop(bmc, kind, bmc.settings().shutdown_ms).await;
            start(bmc, kind).await;
        }
        // `Nmi`, and whatever changes no power.
        _ => {}
    }
}

async fn stop(bmc: &Arc<Bmc>, kind: &str, after_ms: u64) {
    pause(after_ms).await;
    power(bmc, Power::Off, kind).await;
}

async fn start(bmc: &Arc<Bmc>, kind: &str) {
    bmc.lock().post = true;
    power(bmc, Power::On, kind).await;
    let began = Instant::now();
    flash::in_post(bmc).await;
    let post = Duration::from_millis(bmc.settings().post_ms);
    // sleep: POST takes as long as the test has set.
    tokio::time::sleep(post.saturating_sub(began.elapsed())).await;
    bmc.lock().post = false;
    bmc.changed.notify_waiters();
}

async fn power(bmc: &Arc<Bmc>, to: Power, kind: &str) {
    let (from, hook) = {
        let mut state = bmc.lock();
        let from = std::mem::replace(&mut state.power, to);
        if from == to {
            return;
        }
        state.journal.write("power", json!({"from": from.word(), "to": to.word()}));
        (from, state.settings.power_hook.clone())
    };
    bmc.changed.notify_waiters();
    if hook.is_empty() {
        return;
    }
    let ended = tokio::process::Command::new("sh")
        .args(["-c", &hook])
        .env("FARRIER_BMC_FROM", from.word())
        .env("FARRIER_BMC_TO", to.word())
        .env("FARRIER_BMC_RESET", kind)
        .status()
        .await;
    let outcome = match ended {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    bmc.lock().journal.write("hook", json!({"to": to.word(), "outcome": outcome}));
}

/// The BMC starts again: connections end, its ports are closed for a while, sessions are gone.
pub(crate) async fn reset_bmc(bmc: &Arc<Bmc>, why: &str) {
    let down_ms = {
        let mut state = bmc.lock();
        let sessions = state.people.sessions.len();
        state.journal.write("bmc-reset", json!({"why": why, "sessions": sessions}));
        state.people.sessions.clear();
        state.resets += 1;
        state.settings.bmc_reset_ms
    };
    bmc.net.send_replace(Net::Down);
    pause(down_ms).await;
    {
        let mut state = bmc.lock();
        if bmc.variant.tasks.as_ref().is_none_or(|rules| !rules.survive_reset) {
            state.updates.iter_mut().for_each(|update| update.forgotten = true);
        }
        state.hpe.restart();
        state.warm_at = Instant::now() + Duration::from_millis(state.settings.warmup_ms);
        for target in std::mem::take(&mut state.pending_bmc) {
            state.install(&target, "bmc-reset");
        }
    }
    // A test that ends the double in the meantime wants it gone.
    bmc.net.send_if_modified(|net| {
        let was_down = *net == Net::Down;
        if was_down {
            *net = Net::Up;
        }
        was_down
    });
    // Both ports are bound again in a moment; who waits for a reset may connect afterwards.
    let mut open = bmc.open_ports.subscribe();
    let both = open.wait_for(|open| *open == crate::serve::PORTS);
    drop(tokio::time::timeout(Duration::from_secs(5), both).await);
    bmc.changed.notify_waiters();
}
