//! Carries out an update: fetch, check, write, activate.

use std::sync::Arc;

use crate::fault::Fault;
use crate::fetch::{Remote, fetch};
use crate::host;
use crate::image::{Header, Target, compsig};
use crate::message::Word;
use crate::part;
use crate::state::{Bmc, State, pause};
use crate::task::step;
use crate::variant::{Activation, Firmware, HostStyle, Phase};

/// An update that somebody asked for.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) how: &'static str,
    pub(crate) file: String,
    pub(crate) image: Source,
    /// `Targets` of the request, as paths.
    pub(crate) targets: Vec<String>,
    pub(crate) apply: String,
    pub(crate) compsig: Option<String>,
    pub(crate) tpm_override: bool,
    /// Also what is installed already; only bundles may say no.
    pub(crate) reinstall: bool,
    /// Devices that a bundle leaves out.
    pub(crate) excluded: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(Vec<u8>),
    Url(Remote),
}

impl Order {
    pub(crate) fn new(how: &'static str, file: &str, image: Source) -> Self {
        Self {
            how,
            file: file.to_owned(),
            image,
            targets: vec![],
            apply: "Immediate".to_owned(),
            compsig: None,
            tpm_override: false,
            reinstall: true,
            excluded: vec![],
        }
    }
}

/// What of the image goes where, or why it does not.
pub(crate) fn examine(bmc: &Bmc, state: &State, order: &Order, file: &[u8]) -> Result<Header, Word> {
    let mut header = Header::of_file(file).map_err(|_| Word::BadImage)?;
    if header.bad_signature || (header.needs_compsig && order.compsig.as_deref() != Some(&*compsig(file))) {
        return Err(Word::BadSignature);
    }
    if !header.models.is_empty() && !header.models.contains(&bmc.variant.system.model) {
        return Err(Word::WrongModel);
    }
    let updateable = |target: &Target| state.device(&target.device).is_some_and(|entry| entry.updateable);
    if header.targets.is_empty() || !header.targets.iter().all(updateable) {
        return Err(Word::WrongModel);
    }
    for wanted in &order.targets {
        let device = device_of(bmc, state, wanted).ok_or(Word::WrongTarget)?;
        if !header.targets.iter().any(|target| target.device == device) {
            return Err(Word::WrongModel);
        }
    }
    let wanted: Vec<_> = order.targets.iter().filter_map(|link| device_of(bmc, state, link)).collect();
    header.targets.retain(|target| {
        if !wanted.is_empty() && !wanted.contains(&target.device) {
            return false;
        }
        let installed = state.device(&target.device).is_some_and(|entry| entry.version == target.version);
        !order.excluded.contains(&target.device) && (order.reinstall || !installed)
    });
    Ok(header)
}

/// The device that a link in `Targets` means.
pub(crate) fn device_of(bmc: &Bmc, state: &State, link: &str) -> Option<String> {
    let link = link.trim_end_matches('/');
    if link == bmc.variant.manager_uri() {
        return Some("bmc".to_owned());
    }
    if link == bmc.variant.system_uri() {
        return Some("bios".to_owned());
    }
    // HPE names the targets of a component by their numbers too.
    let known = |entry: &&Firmware| {
        entry.oem["Hpe"]["Targets"].as_array().is_some_and(|all| all.iter().any(|one| one == link))
    };
    if let Some(entry) = state.firmware.iter().find(known) {
        return Some(entry.device.clone());
    }
    let member = link.strip_prefix("/redfish/v1/UpdateService/FirmwareInventory/")?;
    state.firmware.iter().find(|entry| entry.member() == member).map(|entry| entry.device.clone())
}

/// From the acceptance to the end, or to where it waits for a reset of the host.
pub(crate) async fn run(bmc: Arc<Bmc>, id: String, order: Order) {
    if let Some(targets) = prepare(&bmc, &id, &order).await {
        activate(&bmc, &id, &order, targets).await;
    }
}

/// Fetches, checks and writes. `None`: it has failed, or it waits.
pub(crate) async fn prepare(bmc: &Arc<Bmc>, id: &str, order: &Order) -> Option<Vec<Target>> {
    wait_for_turn(bmc, id).await;
    let file = match &order.image {
        Source::File(file) => file.clone(),
        Source::Url(remote) => {
            say(bmc, id, Phase::Fetching, 0, Word::TaskFetching, &[id, &order.file]);
            match fetch(bmc, remote).await {
                Ok(file) => file,
                Err(_) => return fail(bmc, id, Word::FetchFailed, &[&order.file, id]),
            }
        }
    };
    say(bmc, id, Phase::Verifying, 5, Word::TaskProgress, &[id, "5"]);
    let examined = examine(bmc, &bmc.lock(), order, &file);
    let header = match examined {
        Ok(header) => header,
        Err(word) => return fail(bmc, id, word, &[&order.file, id]),
    };
    let targets = header.targets.clone();
    {
        let mut state = bmc.lock();
        let waits = bmc.variant.update.host_style == HostStyle::Scheduled
            && state.activation(&targets) == Activation::HostReset;
        if let Some(update) = state.update(id) {
            update.header = Some(header.clone());
            if waits {
                update.pending.clone_from(&targets);
            }
        }
        if waits {
            step(bmc, &mut state, id, Phase::Scheduled, 0, Word::TaskScheduled, &[id]);
            drop(state);
            reset_host_if_wanted(bmc, order);
            return None;
        }
    }
    write(bmc, id, &header).await.then_some(targets)
}

/// One at a time: an update waits for those before it.
async fn wait_for_turn(bmc: &Arc<Bmc>, id: &str) {
    let mut said = false;
    loop {
        let busy = {
            let state = bmc.lock();
            let active = |phase: Phase| !phase.is_over() && phase != Phase::Scheduled;
            state.updates.iter().take_while(|update| update.id != id).any(|update| active(update.phase))
        };
        if !busy {
            return;
        }
        if !std::mem::replace(&mut said, true) {
            say(bmc, id, Phase::New, 0, Word::WaitsForOther, &[id]);
        }
        pause(20).await;
    }
}

/// The progress of writing, in ten steps; false if it broke.
async fn write(bmc: &Arc<Bmc>, id: &str, header: &Header) -> bool {
    let resets = bmc.lock().resets;
    for tenth in 1..=10_u8 {
        let percent = (tenth * 10).min(99);
        pause(bmc.settings().flash_ms / 10).await;
        // Who resets the BMC while it writes has no new firmware.
        if bmc.lock().resets != resets {
            say(bmc, id, Phase::Failed, percent, Word::TaskFailed, &[id]);
            return false;
        }
        if header.breaks_at_percent.is_some_and(|at| at <= percent) {
            say(bmc, id, Phase::Failed, percent, Word::TaskFailed, &[id]);
            return false;
        }
        say(bmc, id, Phase::Writing, percent, Word::TaskProgress, &[id, &percent.to_string()]);
        while percent >= 30 && bmc.lock().faults.look(|f| (*f == Fault::NoProgress).then_some(())).is_some() {
            pause(20).await;
        }
    }
    true
}

/// Makes the written versions run, or leaves that to a reset.
pub(crate) async fn activate(bmc: &Arc<Bmc>, id: &str, order: &Order, targets: Vec<Target>) {
    if ends_oddly(bmc, id, &targets) {
        return;
    }
    let targets = part::spoil(&mut bmc.lock(), id, targets);
    let rules = &bmc.variant.update;
    let mut of_bmc = vec![];
    let mut of_host = vec![];
    {
        let mut state = bmc.lock();
        for target in targets {
            match state.device(&target.device).map_or(Activation::None, |entry| entry.activation) {
                Activation::None => state.install(&target, order.how),
                Activation::BmcReset => of_bmc.push(target),
                Activation::HostReset => of_host.push(target),
            }
        }
    }
    if !of_bmc.is_empty() && rules.bmc_waits && order.apply == "OnReset" {
        bmc.lock().pending_bmc.append(&mut of_bmc);
        return say(bmc, id, Phase::Done, 100, Word::RebootPending, &[&order.file, "bmc"]);
    }
    if !of_bmc.is_empty() {
        reset_into(bmc, id, order, of_bmc).await;
    }
    if of_host.is_empty() {
        return say(bmc, id, Phase::Done, 100, Word::TaskDone, &[id]);
    }
    let device = of_host.first().map(|target| target.device.clone()).unwrap_or_default();
    if let Some(update) = bmc.lock().update(id) {
        update.pending = of_host;
    }
    match rules.host_style {
        HostStyle::DonePending => {
            say(bmc, id, Phase::Done, 100, Word::RebootPending, &[&order.file, &device]);
        }
        HostStyle::Staged | HostStyle::Scheduled => {
            say(bmc, id, Phase::Scheduled, 100, Word::TaskScheduled, &[id]);
        }
    }
    reset_host_if_wanted(bmc, order);
}

/// The BMC starts again with its new version. Who forgets tasks says before that it is done.
async fn reset_into(bmc: &Arc<Bmc>, id: &str, order: &Order, of_bmc: Vec<Target>) {
    let survives = bmc.variant.tasks.as_ref().is_some_and(|rules| rules.survive_reset);
    if survives {
        say(bmc, id, Phase::Resetting, 99, Word::TaskProgress, &[id, "99"]);
    } else {
        say(bmc, id, Phase::Done, 100, Word::TaskDone, &[id]);
    }
    // Time for a client to see that.
    pause(bmc.settings().flash_ms / 4).await;
    bmc.lock().pending_bmc.extend(of_bmc);
    host::reset_bmc(bmc, order.how).await;
}

fn reset_host_if_wanted(bmc: &Arc<Bmc>, order: &Order) {
    if bmc.variant.update.resets_host && order.apply == "Immediate" {
        let bmc = Arc::clone(bmc);
        tokio::spawn(async move { host::reset(&bmc, "GracefulRestart").await });
    }
}

/// The ends that a test asked for.
fn ends_oddly(bmc: &Arc<Bmc>, id: &str, targets: &[Target]) -> bool {
    let mut state = bmc.lock();
    let odd = state.faults.take(|fault| match fault {
        Fault::LiesSuccess
        | Fault::LiesFailure
        | Fault::CompletedCritical
        | Fault::RebootPending
        | Fault::UserIntervention => Some(fault.clone()),
        _ => None,
    });
    let device = targets.first().map(|target| target.device.clone()).unwrap_or_default();
    match odd {
        Some(Fault::LiesSuccess) => step(bmc, &mut state, id, Phase::Done, 100, Word::TaskDone, &[id]),
        Some(Fault::LiesFailure) => {
            for target in targets {
                state.install(target, "lies-failure");
            }
            step(bmc, &mut state, id, Phase::Failed, 100, Word::TaskFailed, &[id]);
        }
        Some(Fault::CompletedCritical) => {
            step(bmc, &mut state, id, Phase::Done, 100, Word::UpdateCritical, &["image", &device]);
            if let Some(update) = state.update(id) {
                update.status = "Critical";
            }
        }
        Some(Fault::RebootPending) => {
            if let Some(update) = state.update(id) {
                update.pending = targets.to_vec();
            }
            step(bmc, &mut state, id, Phase::Done, 100, Word::RebootPending, &["image", &device]);
        }
        Some(Fault::UserIntervention) => {
            step(bmc, &mut state, id, Phase::Intervention, 100, Word::Intervention, &[id]);
        }
        _ => return false,
    }
    true
}

/// What waited for the host is done while it starts.
pub(crate) async fn in_post(bmc: &Arc<Bmc>) {
    let waiting: Vec<_> = {
        let state = bmc.lock();
        let waits = state.updates.iter().filter(|update| !update.pending.is_empty());
        waits.map(|update| (update.id.clone(), update.pending.clone(), update.phase)).collect()
    };
    for (id, targets, phase) in waiting {
        let writes = bmc.variant.update.host_style == HostStyle::Scheduled && phase == Phase::Scheduled;
        let header = bmc.lock().update(&id).and_then(|update| update.header.clone()).filter(|_| writes);
        if let Some(header) = header
            && (!write(bmc, &id, &header).await || ends_oddly(bmc, &id, &targets))
        {
            if let Some(update) = bmc.lock().update(&id) {
                update.pending.clear();
            }
            continue;
        }
        let mut state = bmc.lock();
        let targets = if writes { part::spoil(&mut state, &id, targets) } else { targets };
        for target in &targets {
            state.install(target, "host-reset");
        }
        if let Some(update) = state.update(&id) {
            update.pending.clear();
        }
        if phase == Phase::Scheduled {
            step(bmc, &mut state, &id, Phase::Done, 100, Word::TaskDone, &[&id]);
        }
    }
    crate::hpe::uefi(bmc).await;
}

pub(crate) fn say(bmc: &Arc<Bmc>, id: &str, phase: Phase, percent: u8, word: Word, args: &[&str]) {
    step(bmc, &mut bmc.lock(), id, phase, percent, word, args);
}

fn fail<T>(bmc: &Arc<Bmc>, id: &str, word: Word, args: &[&str]) -> Option<T> {
    say(bmc, id, Phase::Failed, 0, word, args);
    None
}
