//! One request: faults, credentials, the resource or the change, and the line in the journal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, IF_MATCH, IF_NONE_MATCH};
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use crate::account::{Caller, Refusal};
use crate::fault::Fault;
use crate::image::digest;
use crate::message::Word;
use crate::query;
use crate::reply::Reply;
use crate::state::{Bmc, State};
use crate::variant::PushBody;
use crate::wire::{Aborted, Answer, finish};
use crate::{change, dell, hpe, multipart, rest, tree, update};

/// Enough for every image of the tests, with room.
const BODY_LIMIT: usize = 1 << 30;

/// What is known of a request before anything is done about it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) head: hyper::HeaderMap,
    pub(crate) body: Bytes,
    /// `https://host:port`, for absolute links.
    pub(crate) base: String,
    /// How long before the time that the last answer named in `Retry-After`.
    pub(crate) early: Option<Duration>,
}

impl Asked {
    pub(crate) fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&str> {
        self.head.get(name).and_then(|value| value.to_str().ok())
    }

    /// The parts below `/redfish/v1`.
    fn below_root(&self) -> Option<Vec<&str>> {
        let rest = self.path.strip_prefix("/redfish/v1")?;
        (rest.is_empty() || rest.starts_with('/'))
            .then(|| rest.split('/').filter(|part| !part.is_empty()).collect())
    }

    fn json(&self) -> Option<Value> {
        if self.body.is_empty() {
            return Some(json!({}));
        }
        serde_json::from_slice(&self.body).ok().filter(Value::is_object)
    }
}

/// A path without a slash at its end.
fn place(path: &str) -> String {
    path.trim_end_matches('/').to_owned()
}

/// Counts a request while it is under way.
struct UnderWay(Arc<Bmc>);

impl UnderWay {
    fn begin(bmc: &Arc<Bmc>) -> (Self, usize) {
        let load = &mut bmc.lock().load;
        load.requests_now += 1;
        load.requests_most = load.requests_most.max(load.requests_now);
        (Self(Arc::clone(bmc)), load.requests_now)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().load.requests_now -= 1;
    }
}

pub(crate) async fn answer(
    bmc: Arc<Bmc>,
    scheme: &'static str,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Aborted> {
    let (under_way, now) = UnderWay::begin(&bmc);
    let (head, body) = request.into_parts();
    let body =
        http_body_util::Limited::new(body, BODY_LIMIT).collect().await.map_err(|_| Aborted)?.to_bytes();
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let early = bmc
        .lock()
        .told
        .remove(&place(head.uri.path()))
        .and_then(|until| until.checked_duration_since(Instant::now()));
    let asked = Asked {
        early,
        base: format!("{scheme}://{host}"),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        method: head.method,
        head: head.headers,
        body,
    };
    let late = bmc.lock().faults.take(|fault| match fault {
        Fault::Slow { path, ms } => asked.path.contains(path.as_str()).then_some(*ms),
        _ => None,
    });
    if let Some(ms) = late {
        crate::state::pause(ms).await;
    }
    let (reply, caller) = match instead(&bmc, &asked, now) {
        Some(reply) => (reply, Caller::Nobody(Refusal::None)),
        None => checked(&bmc, &asked).await,
    };
    note(&bmc, &asked, &reply, &caller);
    drop(under_way);
    finish(&bmc, &asked, reply)
}

/// What is answered whoever asks.
fn instead(bmc: &Bmc, asked: &Asked, now: usize) -> Option<Reply> {
    let mut state = bmc.lock();
    let word = |word| Some(Reply::error(&bmc.variant, word, &["5"]));
    if !state.is_warm() {
        return word(Word::ResetInProgress);
    }
    let crowded = state.faults.take_with_retry(|fault| match fault {
        Fault::TooManyRequests { limit } => (now > *limit).then_some(()),
        _ => None,
    });
    if let Some(((), retry)) = crowded {
        return word(Word::Unavailable).map(|reply| after(reply, retry));
    }
    let status = state.faults.take_with_retry(|fault| match fault {
        Fault::Status { path, status } => asked.path.contains(path.as_str()).then_some(*status),
        Fault::MemberError { member, status } => {
            (asked.path.trim_end_matches('/').rsplit('/').next() == Some(member)).then_some(*status)
        }
        _ => None,
    });
    let (status, retry) = status?;
    let mut reply = Reply::error(&bmc.variant, Word::Internal, &[]);
    reply.status = status;
    Some(after(reply, retry))
}

/// With the header `Retry-After` that a fault wants.
fn after(reply: Reply, seconds: Option<u64>) -> Reply {
    match seconds {
        Some(seconds) => reply.replaced("retry-after", seconds.to_string()),
        None => reply,
    }
}

async fn checked(bmc: &Arc<Bmc>, asked: &Asked) -> (Reply, Caller) {
    let caller = caller(bmc, asked);
    let variant = &bmc.variant;
    if asked.header("odata-version").is_some_and(|version| version != "4.0") {
        return (Reply::error(variant, Word::Precondition, &[]), caller);
    }
    let open = if variant.rest_only { rest::open_to_all(bmc, asked) } else { open_to_all(bmc, asked) };
    if let Some(reply) = open {
        return (reply, caller);
    }
    // Who has no Redfish says so to everybody.
    if variant.rest_only && !asked.path.starts_with("/rest") {
        return (Reply::not_found(variant, &asked.path), caller);
    }
    if let Caller::Nobody(refusal) = caller {
        return (change::refused(bmc, refusal, &asked.path), caller);
    }
    let denied = bmc.lock().faults.take(|fault| match fault {
        Fault::Unauthorized { path } => asked.path.contains(path.as_str()).then_some(()),
        _ => None,
    });
    if denied.is_some() {
        return (Reply::error(variant, Word::AccessDenied, &[]), caller);
    }
    let reply = dispatch(bmc, asked, &caller).await;
    (reply, caller)
}

fn caller(bmc: &Bmc, asked: &Asked) -> Caller {
    let mut state = bmc.lock();
    if let Some(rules) = &bmc.variant.sessions {
        state.expire_sessions(rules);
        // The upload form of HPE has the token in a cookie.
        let cookie = asked.header(COOKIE).and_then(|text| text.split("sessionKey=").nth(1));
        let cookie = cookie.map(|text| text.split(';').next().unwrap_or_default());
        if let Some(token) = asked.header("x-auth-token").or(cookie) {
            return state.people.of_token(token).unwrap_or(Caller::Nobody(Refusal::None));
        }
    }
    match asked.header(AUTHORIZATION) {
        Some(text) => state.people.of_basic(text, &bmc.variant.lock),
        None => Caller::Nobody(Refusal::None),
    }
}

/// What DSP0266 leaves open to everybody.
fn open_to_all(bmc: &Bmc, asked: &Asked) -> Option<Reply> {
    let reading = asked.method == Method::GET || asked.method == Method::HEAD;
    match asked.path.as_str() {
        "/redfish" | "/redfish/" if reading => Some(Reply::json(200, json!({"v1": "/redfish/v1/"}))),
        "/redfish/v1/$metadata" if reading => {
            Some(Reply::text("application/xml", crate::metadata::document()))
        }
        "/redfish/v1" | "/redfish/v1/" | "/redfish/v1/odata" if reading => {
            Some(read(bmc, asked, &asked.below_root()?))
        }
        "/redfish/v1/SessionService/Sessions"
        | "/redfish/v1/SessionService/Sessions/"
        | "/redfish/v1/SessionService/Sessions/Members"
            if asked.method == Method::POST && bmc.variant.sessions.is_some() =>
        {
            Some(match asked.json() {
                Some(body) => change::open_session(bmc, &body),
                None => Reply::error(&bmc.variant, Word::Malformed, &[]),
            })
        }
        _ => None,
    }
}

async fn dispatch(bmc: &Arc<Bmc>, asked: &Asked, caller: &Caller) -> Reply {
    let variant = &bmc.variant;
    if variant.rest_only {
        return rest::answer(bmc, asked, caller);
    }
    if let Some(reply) = updates(bmc, asked).await {
        return reply;
    }
    let Some(path) = asked.below_root() else { return Reply::not_found(variant, &asked.path) };
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::PUT, Method::DELETE];
    if !known.contains(&asked.method) {
        return Reply::error(variant, Word::NotImplemented, &[]);
    }
    if let ["TaskService", "TaskMonitors", id] = *path
        && asked.method == Method::GET
    {
        let monitor = crate::task::monitor(bmc, &mut bmc.lock(), id);
        return monitor.unwrap_or_else(|| Reply::not_found(variant, &asked.path));
    }
    if asked.method == Method::GET || asked.method == Method::HEAD {
        return read(bmc, asked, &path);
    }
    if let Some(reply) = forbidden(bmc, caller, asked, &path) {
        return reply;
    }
    let Some(body) = asked.json() else { return Reply::error(variant, Word::Malformed, &[]) };
    // DSP0266: a POST to `Members` is one to its collection.
    let to = path.strip_suffix(&["Members"]).unwrap_or(&path);
    let changed = match asked.method {
        Method::POST => change::post(bmc, to, &body),
        Method::PATCH => change::patch(bmc, &path, &body, asked.header(IF_MATCH)),
        Method::DELETE => change::delete(bmc, &path),
        _ => None,
    };
    changed.unwrap_or_else(|| match tree::find(bmc, &mut bmc.lock(), &path) {
        Some(found) => Reply::not_allowed(variant, found.allow),
        None => Reply::not_found(variant, &asked.path),
    })
}

/// Who may only read changes no more than the own account and session.
fn forbidden(bmc: &Bmc, caller: &Caller, asked: &Asked, path: &[&str]) -> Option<Reply> {
    let mut state = bmc.lock();
    let user = caller.user().unwrap_or_default();
    let role = state.people.role(user);
    let own = match path {
        ["AccountService", "Accounts", id] => state.people.account(id).is_some_and(|one| one.name == user),
        ["SessionService", "Sessions", id] => {
            state.people.sessions.iter().any(|one| one.id == **id && one.user == user)
        }
        _ => role == "Operator" && path.first() != Some(&"AccountService"),
    };
    let may = role == "Administrator" || own || asked.method == Method::PUT;
    (!may).then(|| Reply::error(&bmc.variant, Word::Privilege, &[]))
}

/// POST of images, and the actions that name one.
async fn updates(bmc: &Arc<Bmc>, asked: &Asked) -> Option<Reply> {
    if asked.method != Method::POST {
        return None;
    }
    let rules = &bmc.variant.update;
    let path = asked.path.trim_end_matches('/');
    if path.contains("/UpdateService")
        && bmc.lock().faults.look(|f| (*f == Fault::NoUpdateService).then_some(())).is_some()
    {
        return Some(Reply::not_found(&bmc.variant, path));
    }
    if rules.multipart.as_ref().is_some_and(|uri| path == uri) {
        return Some(match form(bmc, asked) {
            Ok(parts) => update::multipart(bmc, &parts).await,
            Err(reply) => reply,
        });
    }
    if let Some(push) = rules.push.as_ref().filter(|push| push.uri == path) {
        return Some(pushed(bmc, asked, push.body).await);
    }
    let action = path.strip_prefix("/redfish/v1/UpdateService/Actions/")?;
    let Some(body) = asked.json() else { return Some(Reply::error(&bmc.variant, Word::Malformed, &[])) };
    if action == "UpdateService.SimpleUpdate" && rules.simple.is_some() {
        return Some(update::simple(bmc, &body).await);
    }
    if rules.bundle.as_ref().is_some_and(|bundle| bundle.uri == action) {
        return Some(update::bundle(bmc, &body).await);
    }
    let add = action == "Oem/Hpe/HpeiLOUpdateServiceExt.AddFromUri" && bmc.variant.hpe.is_some();
    add.then(|| hpe::add_from_uri(bmc, &body))
}

async fn pushed(bmc: &Arc<Bmc>, asked: &Asked, kind: PushBody) -> Reply {
    if bmc.variant.update.needs_length && asked.header(CONTENT_LENGTH).is_none() {
        return Reply::error(&bmc.variant, Word::LengthRequired, &["Content-Length"]);
    }
    match kind {
        PushBody::Raw
            if asked.header(CONTENT_TYPE).is_some_and(|kind| kind == "application/octet-stream") =>
        {
            update::raw(bmc, &asked.body).await
        }
        PushBody::Raw => Reply::error(&bmc.variant, Word::Malformed, &[]),
        PushBody::HpeForm => form(bmc, asked).map_or_else(|reply| reply, |parts| hpe::push(bmc, &parts)),
        PushBody::DellStage => form(bmc, asked).map_or_else(|reply| reply, |parts| dell::stage(bmc, &parts)),
    }
}

fn form(bmc: &Bmc, asked: &Asked) -> Result<Vec<multipart::Part>, Reply> {
    let kind = asked.header(CONTENT_TYPE).unwrap_or_default();
    multipart::parse(kind, &asked.body).map_err(|_| Reply::error(&bmc.variant, Word::Malformed, &[]))
}

fn read(bmc: &Bmc, asked: &Asked, path: &[&str]) -> Reply {
    let mut state = bmc.lock();
    let mut found = match query::apply(bmc, &mut state, path, &asked.query) {
        Ok(found) => found,
        Err(reply) => return reply,
    };
    if bmc.variant.etags && found.etag.is_none() {
        let hash = digest(found.value.to_string().as_bytes());
        found.etag = Some(format!("W/\"{}\"", hash.get(..8).unwrap_or_default()));
    }
    if let (Some(wanted), Some(etag)) = (asked.header(IF_NONE_MATCH), &found.etag)
        && wanted == etag
    {
        return Reply::empty(304).with("etag", etag.clone());
    }
    let mut reply = Reply::json(200, found.value).with("allow", found.allow.join(", "));
    if let Some(etag) = found.etag {
        reply = reply.with("etag", etag);
    }
    reply
}

fn note(bmc: &Bmc, asked: &Asked, reply: &Reply, caller: &Caller) {
    let (session, user) = match caller {
        Caller::Session { id, user } => (Some(id.as_str()), Some(user.as_str())),
        Caller::Basic { user } => (None, Some(user.as_str())),
        Caller::Nobody(_) => (None, None),
    };
    let mut detail = json!({
        "method": asked.method.as_str(), "path": asked.path, "query": asked.query,
        "session": session, "user": user, "status": reply.status,
        "bytes": asked.body.len(), "sha256": digest(&asked.body),
    });
    let state: &mut State = &mut bmc.lock();
    if let Some(early) = asked.early {
        detail["early-ms"] = json!(u64::try_from(early.as_millis()).unwrap_or(u64::MAX).max(1));
    }
    if let Some(seconds) = reply.header("retry-after").and_then(|text| text.parse().ok()) {
        detail["retry-after"] = json!(seconds);
        // An accepted request names whom to ask later; whatever else has the header means itself.
        let later = reply.header("location").filter(|_| reply.status == 202).unwrap_or(&asked.path);
        state.told.insert(place(later), Instant::now() + Duration::from_secs(seconds));
    }
    state.journal.write("request", detail);
}
