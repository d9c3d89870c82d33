//! Requests for an update: what is refused at once, and what becomes an [`Order`].

use std::sync::Arc;

use serde_json::Value;

use crate::fault::Fault;
use crate::fetch::{Remote, fetch};
use crate::flash::{self, Order, Source, examine};
use crate::message::Word;
use crate::multipart::Part;
use crate::reply::Reply;
use crate::state::{Bmc, State};
use crate::task;
use crate::tree::verifies;
use crate::variant::{Activation, Phase, Targets};

/// Whether a module for measured boot makes an override necessary that is not there.
pub(crate) fn wants_override(bmc: &Bmc, given: bool) -> bool {
    !given && bmc.lock().faults.look(|fault| (*fault == Fault::TrustedModule).then_some(())).is_some()
}

/// Why no update is taken now, whatever it is.
pub(crate) fn refuse(bmc: &Bmc, state: &mut State, tpm_override: bool, bytes: u64) -> Option<Reply> {
    let word = state.faults.take(|fault| match fault {
        Fault::ServiceDisabled => Some(Word::Disabled),
        Fault::NoLicence => Some(Word::NoLicence),
        Fault::Maintenance { .. } => Some(Word::Maintenance),
        Fault::Busy => Some(Word::Busy),
        Fault::AlreadyInstalled => Some(Word::AlreadyInstalled),
        Fault::NoRoom => Some(Word::NoRoom),
        Fault::TrustedModule if !tpm_override && bmc.variant.hpe.is_some() => Some(Word::TpmOverride),
        _ => None,
    });
    let active = |phase: Phase| !phase.is_over() && phase != Phase::Scheduled;
    let running = state.updates.iter().any(|update| active(update.phase));
    let writing = ["Verifying", "Writing"].contains(&state.hpe.service.state);
    let word = word
        .or_else(|| (!bmc.variant.update.queues && (running || writing)).then_some(Word::Busy))
        .or_else(|| (bytes > bmc.variant.update.max_bytes).then_some(Word::TooLarge))?;
    Some(Reply::error(&bmc.variant, word, &["30"]))
}

/// Takes an update, or says why not.
pub(crate) async fn accept(bmc: &Arc<Bmc>, mut order: Order) -> Reply {
    let bytes = match &order.image {
        Source::File(file) => file.len() as u64,
        Source::Url(_) => 0,
    };
    if let Some(reply) = unfit(bmc, &order, bytes) {
        return reply;
    }
    if bmc.variant.update.refuses_at_once {
        // Who has no tasks fetches before it answers.
        if let (Source::Url(remote), None) = (&order.image, &bmc.variant.tasks) {
            match fetch(bmc, remote).await {
                Ok(file) => order.image = Source::File(file),
                Err(_) => return Reply::error(&bmc.variant, Word::FetchFailed, &[&order.file, "BMC"]),
            }
        }
        if let Source::File(file) = &order.image
            && let Err(word) = examine(bmc, &bmc.lock(), &order, file)
        {
            return Reply::error(&bmc.variant, word, &[&order.file, "BMC"]);
        }
    }
    let (id, instant) = {
        let mut state = bmc.lock();
        let instant = state.faults.has(&Fault::Instant);
        (task::begin(bmc, &mut state, order.how, &order.file), instant)
    };
    if instant {
        at_once(bmc, &id, order).await;
    } else {
        tokio::spawn(flash::run(Arc::clone(bmc), id.clone(), order));
    }
    task::accepted(bmc, &mut bmc.lock(), &id)
}

/// The whole update before its answer; only the reset of a BMC comes afterwards.
async fn at_once(bmc: &Arc<Bmc>, id: &str, order: Order) {
    let flash_ms = std::mem::take(&mut bmc.lock().settings.flash_ms);
    let targets = flash::prepare(bmc, id, &order).await;
    bmc.lock().settings.flash_ms = flash_ms;
    let Some(targets) = targets else { return };
    if bmc.lock().activation(&targets) == Activation::BmcReset {
        let (bmc, id) = (Arc::clone(bmc), id.to_owned());
        tokio::spawn(async move { flash::activate(&bmc, &id, &order, targets).await });
    } else {
        flash::activate(bmc, id, &order, targets).await;
    }
}

fn unfit(bmc: &Bmc, order: &Order, bytes: u64) -> Option<Reply> {
    let mut state = bmc.lock();
    if let Some(reply) = refuse(bmc, &mut state, order.tpm_override, bytes) {
        return Some(reply);
    }
    let rules = &bmc.variant.update;
    let too_many = match rules.targets {
        Targets::Any => false,
        Targets::One => order.targets.len() > 1,
        Targets::None => !order.targets.is_empty(),
    };
    let unknown = order.targets.iter().find(|link| flash::device_of(bmc, &state, link).is_none());
    if let Some(target) = unknown.or_else(|| order.targets.first().filter(|_| too_many)) {
        return Some(Reply::error(&bmc.variant, Word::WrongTarget, &[target, "Targets"]));
    }
    let known = rules.apply_times.is_empty() || rules.apply_times.contains(&order.apply);
    (!known).then(|| {
        Reply::error(&bmc.variant, Word::PropertyValue, &[&order.apply, "@Redfish.OperationApplyTime"])
    })
}

/// `Targets` and the time of application, as both kinds of request name them.
fn with_parameters(bmc: &Bmc, mut order: Order, parameters: &Value) -> Order {
    order.targets = serde_json::from_value(parameters["Targets"].clone()).unwrap_or_default();
    let apply = parameters["@Redfish.OperationApplyTime"].as_str();
    apply.unwrap_or(&bmc.variant.update.default_apply).clone_into(&mut order.apply);
    order.tpm_override = parameters["TPMOverrideFlag"] == true || parameters["TPMOverride"] == true;
    order
}

/// POST to `MultipartHttpPushUri`.
pub(crate) async fn multipart(bmc: &Arc<Bmc>, parts: &[Part]) -> Reply {
    let named = |name: &str| parts.iter().find(|part| part.name == name);
    let Some(parameters) = named("UpdateParameters") else {
        return Reply::error(&bmc.variant, Word::PropertyMissing, &["UpdateParameters"]);
    };
    let Ok(parameters) = serde_json::from_slice::<Value>(&parameters.bytes) else {
        return Reply::error(&bmc.variant, Word::Malformed, &[]);
    };
    let Some(file) = named("UpdateFile") else {
        return Reply::error(&bmc.variant, Word::PropertyMissing, &["UpdateFile"]);
    };
    let name = file.file.clone().unwrap_or_else(|| "image".to_owned());
    let order = Order::new("multipart-push", &name, Source::File(file.bytes.clone()));
    accept(bmc, with_parameters(bmc, order, &parameters)).await
}

/// POST of an image to `HttpPushUri`.
pub(crate) async fn raw(bmc: &Arc<Bmc>, body: &[u8]) -> Reply {
    let order = Order::new("push", "image", Source::File(body.to_vec()));
    accept(bmc, order).await
}

/// The action `SimpleUpdate`.
pub(crate) async fn simple(bmc: &Arc<Bmc>, body: &Value) -> Reply {
    let Some(rules) = &bmc.variant.update.simple else {
        return Reply::not_found(&bmc.variant, "SimpleUpdate");
    };
    let Some(image) = body["ImageURI"].as_str() else {
        return Reply::error(&bmc.variant, Word::PropertyMissing, &["ImageURI"]);
    };
    if let Some(order) = staged(bmc, image) {
        return accept(bmc, with_parameters(bmc, order, body)).await;
    }
    let url = match (image.contains("://"), body["TransferProtocol"].as_str()) {
        (true, _) => image.to_owned(),
        (false, Some(protocol)) => format!("{}://{image}", protocol.to_lowercase()),
        (false, None) => {
            return Reply::error(&bmc.variant, Word::PropertyMissing, &["TransferProtocol"]);
        }
    };
    let action = "UpdateService.SimpleUpdate";
    if !has_scheme(&url, &rules.schemes) {
        return Reply::error(&bmc.variant, Word::WrongProtocol, &["TransferProtocol", action]);
    }
    let name = file_name(&url);
    let fits = |ending: &String| name.to_lowercase().ends_with(ending.as_str());
    if !rules.endings.is_empty() && !rules.endings.iter().any(fits) {
        return Reply::error(&bmc.variant, Word::WrongFileType, &[image, "ImageURI", action]);
    }
    let verify = verifies(rules.verify, bmc.lock().settings.verify_server);
    let remote = Remote::new(url, verify).with_login(body["Username"].as_str(), body["Password"].as_str());
    let order = Order::new("simple-update", &name, Source::Url(remote));
    accept(bmc, with_parameters(bmc, order, body)).await
}

/// An image that was pushed before and is named by its inventory entry.
fn staged(bmc: &Bmc, image: &str) -> Option<Order> {
    let mut state = bmc.lock();
    let member = image.strip_prefix("/redfish/v1/UpdateService/FirmwareInventory/")?;
    let at = state.staged.iter().position(|(id, ..)| id == member)?;
    let (_, file, bytes) = state.staged.remove(at);
    Some(Order::new("push", &file, Source::File(bytes)))
}

/// The vendor's action that takes a bundle.
pub(crate) async fn bundle(bmc: &Arc<Bmc>, body: &Value) -> Reply {
    let Some(rules) = &bmc.variant.update.bundle else {
        return Reply::not_found(&bmc.variant, "bundle");
    };
    let Some(url) = body["ImageURI"].as_str() else {
        return Reply::error(&bmc.variant, Word::PropertyMissing, &["ImageURI"]);
    };
    if !has_scheme(url, &rules.schemes) {
        return Reply::error(&bmc.variant, Word::WrongProtocol, &["ImageURI", &rules.uri]);
    }
    let verify = verifies(rules.verify, bmc.lock().settings.verify_server);
    let source = Source::Url(Remote::new(url.to_owned(), verify));
    let mut order = Order::new("update-all", &file_name(url), source);
    order.reinstall = body["Reinstall"] == true;
    if body["ExcludeNparFw"] == true {
        order.excluded = vec!["bios".to_owned()];
    }
    accept(bmc, order).await
}

fn has_scheme(url: &str, schemes: &[String]) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| schemes.iter().any(|known| known == scheme))
}

fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}
