//! Components on their way into the repository, or straight into the flash.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Component, is_locked, updatable_by};
use crate::fetch::{Remote, fetch};
use crate::flash::{self, Order, Source};
use crate::image::{Header, compsig};
use crate::message::Word;
use crate::multipart::Part;
use crate::reply::Reply;
use crate::state::{Bmc, State, pause};
use crate::task;
use crate::update::refuse;

/// What a client says in the part `parameters`.
#[derive(Debug, Clone)]
struct Wishes {
    repository: bool,
    target: bool,
    etag: String,
    section: Option<u64>,
    tpm_override: bool,
}

impl Wishes {
    /// Without `parameters` the image is flashed; with them a component goes where they say.
    fn of(parameters: Option<&Value>) -> Self {
        let flag = |name: &str| parameters.and_then(|p| p[name].as_bool());
        let etag = parameters.and_then(|p| p["UploadCurrentEtag"].as_str().or_else(|| p["ETag"].as_str()));
        Self {
            repository: flag("UpdateRepository").unwrap_or(parameters.is_some()),
            target: flag("UpdateTarget").unwrap_or(parameters.is_none()),
            etag: etag.unwrap_or_default().to_owned(),
            section: parameters.and_then(|p| p["Section"].as_u64()),
            tpm_override: flag("TPMOverride").unwrap_or(false) || flag("TPMOverrideFlag").unwrap_or(false),
        }
    }
}

/// POST of the form to `HttpPushUri`.
pub(crate) fn push(bmc: &Arc<Bmc>, parts: &[Part]) -> Reply {
    let json_part = parts.iter().find(|part| part.name == "parameters");
    let parameters = match json_part.map(|part| serde_json::from_slice::<Value>(&part.bytes)) {
        Some(Ok(value)) => Some(value),
        Some(Err(_)) => return Reply::error(&bmc.variant, Word::Malformed, &[]),
        None => None,
    };
    let Some(file) = parts.iter().find(|part| part.file.is_some() && part.name != "compsig") else {
        return Reply::error(&bmc.variant, Word::PropertyMissing, &["file"]);
    };
    let signature = parts.iter().find(|part| part.name == "compsig");
    let signature = signature.map(|part| String::from_utf8_lossy(&part.bytes).into_owned());
    let name = file.file.clone().unwrap_or_default();
    let wishes = Wishes::of(parameters.as_ref());
    let whole = {
        let mut state = bmc.lock();
        if let Some(reply) = refuse_upload(bmc, &mut state, &name, &wishes, file.bytes.len() as u64) {
            return reply;
        }
        state.hpe.service.etag.clone_from(&wishes.etag);
        match assemble(&mut state, &name, &wishes, file, signature.as_deref()) {
            Ok(whole) => whole,
            Err(word) => return Reply::error(&bmc.variant, word, &[&name]),
        }
    };
    if let Some((bytes, signature)) = whole {
        tokio::spawn(take_in(Arc::clone(bmc), name, bytes, signature, wishes));
    }
    Reply::success(&bmc.variant)
}

fn refuse_upload(bmc: &Bmc, state: &mut State, name: &str, wishes: &Wishes, bytes: u64) -> Option<Reply> {
    let rules = bmc.variant.hpe.as_ref()?;
    if let Some(reply) = refuse(bmc, state, wishes.tpm_override || !wishes.target, bytes) {
        return Some(reply);
    }
    let set = state.settings.section_bytes;
    let limit = if set == 0 { rules.section_bytes } else { set };
    if bytes > limit {
        return Some(Reply::error(&bmc.variant, Word::TooLarge, &[]));
    }
    if wishes.repository && is_locked(state, name) {
        return Some(Reply::error(&bmc.variant, Word::Locked, &[]));
    }
    let free = rules.repository_bytes.saturating_sub(state.hpe.used_bytes());
    (wishes.repository && bytes > free).then(|| Reply::error(&bmc.variant, Word::NoRoom, &[]))
}

/// A component with its signature.
type Whole = (Vec<u8>, Option<String>);

/// The file and its signature, once all of its sections are there.
fn assemble(
    state: &mut State,
    name: &str,
    wishes: &Wishes,
    file: &Part,
    signature: Option<&str>,
) -> Result<Option<Whole>, Word> {
    let first = wishes.section.unwrap_or(0) == 0;
    let before = match state.hpe.partial.take() {
        Some((partial, bytes)) if !first && partial == name => bytes,
        _ if first => vec![],
        _ => return Err(Word::BadImage),
    };
    let alone = before.is_empty();
    let mut bytes = before;
    bytes.extend(&file.bytes);
    let length = Header::whole_length(&bytes).map_err(|_| Word::BadImage)?;
    let whole = bytes.len() as u64 >= length;
    if whole && alone {
        return Ok(Some((bytes, signature.map(str::to_owned))));
    }
    // Every section has a signature of its own; with the last one the whole is signed.
    if signature != Some(&compsig(&file.bytes)) {
        return Err(Word::BadSignature);
    }
    if whole {
        let of_whole = compsig(&bytes);
        return Ok(Some((bytes, Some(of_whole))));
    }
    state.hpe.partial = Some((name.to_owned(), bytes));
    state.hpe.service.state = "Complete";
    Ok(None)
}

/// Verifies, stores and flashes, as wished.
async fn take_in(bmc: Arc<Bmc>, name: String, bytes: Vec<u8>, signature: Option<String>, wishes: Wishes) {
    let mut order = Order::new("push", &name, Source::File(bytes.clone()));
    order.compsig = signature;
    if wishes.repository {
        bmc.lock().hpe.service.state = "Verifying";
        pause(bmc.settings().flash_ms / 8).await;
        // The repository takes what is signed, whatever it is for.
        let header = Header::of_file(&bytes).map_err(|_| Word::BadImage).and_then(|header| {
            let signed = !header.needs_compsig || order.compsig.as_deref() == Some(&*compsig(&bytes));
            if header.bad_signature || !signed { Err(Word::BadSignature) } else { Ok(header) }
        });
        let header = match header {
            Ok(header) => header,
            Err(word) => return error(&bmc, word, &name),
        };
        bmc.lock().hpe.service.state = "Writing";
        pause(bmc.settings().flash_ms / 8).await;
        store(&bmc, &name, bytes, header);
    }
    if wishes.target {
        let id = task::begin(&bmc, &mut bmc.lock(), "push", &name);
        flash::run(Arc::clone(&bmc), id, order).await;
    }
}

fn store(bmc: &Bmc, name: &str, bytes: Vec<u8>, header: Header) {
    let mut state = bmc.lock();
    let id = state.hpe.number();
    let created = state.now();
    state.hpe.components.retain(|component| component.file != name);
    let agents = updatable_by(&state, &header);
    let detail = json!({"component": name, "bytes": bytes.len(), "updatable-by": agents});
    state.journal.write("component", detail);
    state.hpe.components.push(Component { id, file: name.to_owned(), bytes, header, created });
    state.hpe.service.state = "Complete";
    state.hpe.service.result = None;
    drop(state);
    bmc.changed.notify_waiters();
}

fn error(bmc: &Bmc, word: Word, name: &str) {
    let mut state = bmc.lock();
    state.hpe.service.state = "Error";
    state.hpe.service.result = Some(bmc.variant.message(word).render(&[name]));
    drop(state);
    bmc.changed.notify_waiters();
}

/// The action `AddFromUri`: the same with a file that the BMC fetches.
pub(crate) fn add_from_uri(bmc: &Arc<Bmc>, body: &Value) -> Reply {
    let Some(url) = body["ImageURI"].as_str().map(str::to_owned) else {
        return Reply::error(&bmc.variant, Word::PropertyMissing, &["ImageURI"]);
    };
    let name = url.rsplit('/').next().unwrap_or_default().to_owned();
    let wishes = Wishes::of(Some(body));
    let refused = refuse_upload(bmc, &mut bmc.lock(), &name, &wishes, 0);
    if let Some(reply) = refused {
        return reply;
    }
    bmc.lock().hpe.service.state = "Uploading";
    bmc.lock().hpe.service.etag.clone_from(&wishes.etag);
    let task = Arc::clone(bmc);
    tokio::spawn(async move {
        match fetch(&task, &Remote::new(url, false)).await {
            Ok(bytes) => {
                let signature = Some(compsig(&bytes));
                take_in(task, name, bytes, signature, wishes).await;
            }
            Err(_) => error(&task, Word::FetchFailed, &name),
        }
    });
    Reply::success(&bmc.variant)
}
