//! Works the queue off, in strict order: what cannot be done now stops all that is behind it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Task;
use crate::flash::{self, Order, Source};
use crate::host;
use crate::image::compsig;
use crate::message::Word;
use crate::state::{Bmc, Net, Power, pause};
use crate::task;
use crate::variant::{Activation, Phase};

/// Who works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agent {
    Bmc,
    Uefi,
    Runtime,
}

impl Agent {
    const fn word(self) -> &'static str {
        match self {
            Self::Bmc => "Bmc",
            Self::Uefi => "Uefi",
            Self::Runtime => "RuntimeAgent",
        }
    }
}

/// The BMC's part, and that of an agent in the operating system; ends with the double.
pub(crate) async fn work(bmc: Arc<Bmc>) {
    loop {
        let net = *bmc.net.borrow();
        if net == Net::Gone {
            return;
        }
        let runtime = {
            let state = bmc.lock();
            state.settings.runtime_agent && state.power == Power::On && !state.post
        };
        let done =
            net == Net::Up && (turn(&bmc, Agent::Bmc).await || (runtime && turn(&bmc, Agent::Runtime).await));
        if !done {
            let changed = bmc.changed.notified();
            // Times in tasks come without a notice.
            drop(tokio::time::timeout(Duration::from_millis(50), changed).await);
        }
    }
}

/// The firmware's part, while the host starts.
pub(crate) async fn uefi(bmc: &Arc<Bmc>) {
    if bmc.variant.hpe.is_some() {
        while turn(bmc, Agent::Uefi).await {}
    }
}

/// Executes the first open task if it is this agent's; whether it did.
async fn turn(bmc: &Arc<Bmc>, agent: Agent) -> bool {
    let Some(task) = next(bmc, agent) else { return false };
    set(bmc, &task.id, "InProgress", &Value::Null);
    let (state, result) = match task.command.as_str() {
        "Wait" => {
            // sleep: this is what the command is.
            tokio::time::sleep(Duration::from_secs(task.wait_seconds)).await;
            ("Complete", Value::Null)
        }
        "ResetServer" => {
            restart_host(bmc);
            ("Complete", Value::Null)
        }
        "ResetBmc" => {
            set(bmc, &task.id, "Complete", &Value::Null);
            host::reset_bmc(bmc, "queue").await;
            ("Complete", Value::Null)
        }
        _ => apply(bmc, &task, agent).await,
    };
    set(bmc, &task.id, state, &result);
    true
}

/// Not async, so that the future of a reset does not contain itself.
fn restart_host(bmc: &Arc<Bmc>) {
    let bmc = Arc::clone(bmc);
    tokio::spawn(async move { host::reset(&bmc, "GracefulRestart").await });
}

fn next(bmc: &Bmc, agent: Agent) -> Option<Task> {
    let mut state = bmc.lock();
    let now = state.now();
    let open = |task: &&mut Task| !matches!(task.state, "Complete" | "Canceled");
    let first = state.hpe.queue.iter_mut().find(open)?;
    if first.state != "Pending" {
        return None;
    }
    if first.expire.is_some_and(|at| at < now) {
        first.state = "Expired";
        return None;
    }
    let begins = first.start_after.is_none_or(|at| at <= now);
    (begins && first.updatable_by.iter().any(|by| by == agent.word())).then(|| first.clone())
}

fn set(bmc: &Bmc, id: &str, to: &'static str, result: &Value) {
    if let Some(task) = bmc.lock().hpe.queue.iter_mut().find(|task| task.id == id) {
        task.state = to;
        if !result.is_null() {
            task.result = json!({"MessageId": result["MessageId"], "MessageArgs": result["MessageArgs"]});
        }
    }
    bmc.changed.notify_waiters();
}

async fn apply(bmc: &Arc<Bmc>, task: &Task, agent: Agent) -> (&'static str, Value) {
    let component = bmc.lock().hpe.component(&task.file).cloned();
    let Some(component) = component else {
        return ("Exception", bmc.variant.message(Word::BadImage).render(&[&task.file]));
    };
    if crate::update::wants_override(bmc, task.tpm_override) {
        return ("Exception", bmc.variant.message(Word::TpmOverride).render(&["TPMOverride"]));
    }
    let mut order = Order::new("queue", &task.file, Source::File(component.bytes.clone()));
    // It was checked when it came into the repository.
    order.compsig = Some(compsig(&component.bytes));
    order.targets.clone_from(&task.targets);
    let id = task::begin(bmc, &mut bmc.lock(), "queue", &task.file);
    if let Some(targets) = flash::prepare(bmc, &id, &order).await {
        if agent == Agent::Uefi {
            finish_in_post(bmc, &id, targets);
        } else {
            flash::activate(bmc, &id, &order, targets).await;
        }
    }
    while bmc.lock().update(&id).is_some_and(|update| !update.phase.is_over()) {
        pause(20).await;
    }
    let ended = bmc.lock().update(&id).map(|update| (update.phase, update.messages.last().cloned()));
    match ended {
        Some((Phase::Done, message)) => ("Complete", message.unwrap_or_default()),
        Some((_, message)) => ("Exception", message.unwrap_or_default()),
        None => ("Exception", Value::Null),
    }
}

/// The host starts right now, so that what needs that runs at once.
fn finish_in_post(bmc: &Arc<Bmc>, id: &str, targets: Vec<crate::image::Target>) {
    let mut state = bmc.lock();
    for target in crate::part::spoil(&mut state, id, targets) {
        match state.device(&target.device).map_or(Activation::None, |entry| entry.activation) {
            Activation::BmcReset => state.pending_bmc.push(target),
            Activation::None | Activation::HostReset => state.install(&target, "uefi"),
        }
    }
    task::step(bmc, &mut state, id, Phase::Done, 100, Word::TaskDone, &[id]);
}
