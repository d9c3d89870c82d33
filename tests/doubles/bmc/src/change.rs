//! POST, PATCH and DELETE, except updates.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::account::Refusal;
use crate::host;
use crate::message::Word;
use crate::reply::{Reply, extended};
use crate::service::{self, PASSWORD_MAX, PASSWORD_MIN};
use crate::state::{Bmc, Power, State};
use crate::{event, subscription, tree, trust};

/// POST to `SessionService/Sessions`, which needs no credentials but those in its body.
pub(crate) fn open_session(bmc: &Bmc, body: &Value) -> Reply {
    let variant = &bmc.variant;
    let Some(rules) = &variant.sessions else { return Reply::not_found(variant, "Sessions") };
    let (Some(user), Some(password)) = (body["UserName"].as_str(), body["Password"].as_str()) else {
        let missing = if body["UserName"].is_string() { "Password" } else { "UserName" };
        return Reply::error(variant, Word::PropertyMissing, &[missing]);
    };
    let mut state = bmc.lock();
    match state.people.check(user, password, &variant.lock) {
        Ok(()) => {}
        Err(refusal) => return refused(bmc, refusal, "/redfish/v1/SessionService/Sessions"),
    }
    let Some(session) = state.people.open(user, rules) else {
        return Reply::error(variant, Word::SessionLimit, &[]);
    };
    state.load.sessions_most = state.load.sessions_most.max(state.people.sessions.len());
    Reply::json(201, service::session_resource(&session))
        .with("location", format!("/redfish/v1/SessionService/Sessions/{}", session.id))
        .with("x-auth-token", session.token)
}

/// The answer to credentials that are not accepted.
pub(crate) fn refused(bmc: &Bmc, refusal: Refusal, path: &str) -> Reply {
    let (word, args) = match refusal {
        Refusal::None => (Word::AccessDenied, vec![]),
        Refusal::Wrong => (Word::LoginFailed, vec![path.to_owned(), "Unauthorized".to_owned()]),
        Refusal::Locked => (Word::AccountLocked, vec![bmc.variant.lock.seconds.to_string()]),
    };
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut reply = Reply::error(&bmc.variant, word, &args);
    // DSP0266 wants 401 for every request but the one that opens a session.
    if reply.status == 400 && !path.ends_with("/Sessions") {
        reply.status = 401;
        reply = reply.with("www-authenticate", "Basic realm=\"Redfish\"");
    }
    reply
}

/// POST below `/redfish/v1` that changes something at once. `None`: not here.
pub(crate) fn post(bmc: &Arc<Bmc>, path: &[&str], body: &Value) -> Option<Reply> {
    let variant = &bmc.variant;
    match path {
        ["Systems", id, "Actions", "ComputerSystem.Reset"] if *id == variant.system.id => {
            Some(reset_host(bmc, body))
        }
        ["Managers", id, "Actions", "Manager.Reset"] if *id == variant.manager.id => {
            Some(reset_manager(bmc, body))
        }
        ["AccountService", "Accounts"] if variant.accounts => Some(new_account(bmc, body)),
        ["EventService", "Actions", "EventService.SubmitTestEvent"] if variant.events.is_some() => {
            Some(event::submit_test(bmc, body))
        }
        ["EventService", ..] => subscription::post(bmc, path, body),
        ["UpdateService", "RemoteServerCertificates"] => trust::add(bmc, &mut bmc.lock(), body),
        _ => {
            let mut state = bmc.lock();
            crate::hpe::create(bmc, &mut state, path, body)
                .or_else(|| crate::hpe::action(bmc, &mut state, path, body))
                .or_else(|| crate::dell::action(bmc, &mut state, path, body))
        }
    }
}

fn known_type<'a>(bmc: &Bmc, body: &'a Value, known: &'a [String]) -> Result<&'a str, Reply> {
    match body["ResetType"].as_str() {
        None => Ok(known.first().map_or("ForceRestart", String::as_str)),
        Some(kind) if known.iter().any(|one| one == kind) => Ok(kind),
        Some(kind) => Err(Reply::error(&bmc.variant, Word::PropertyValue, &[kind, "ResetType"])),
    }
}

fn reset_host(bmc: &Arc<Bmc>, body: &Value) -> Reply {
    let kind = match known_type(bmc, body, &bmc.variant.system.reset_types) {
        Ok(kind) => kind.to_owned(),
        Err(reply) => return reply,
    };
    let wakes = ["On", "ForceOn", "PushPowerButton"].contains(&kind.as_str());
    if bmc.lock().power == Power::Off && !wakes {
        return Reply::error(&bmc.variant, Word::PowerIsOff, &[]);
    }
    let task = Arc::clone(bmc);
    tokio::spawn(async move { host::reset(&task, &kind).await });
    done(bmc)
}

fn reset_manager(bmc: &Arc<Bmc>, body: &Value) -> Reply {
    if let Err(reply) = known_type(bmc, body, &bmc.variant.manager.reset_types) {
        return reply;
    }
    let task = Arc::clone(bmc);
    tokio::spawn(async move {
        // Time for the answer to go out.
        crate::state::pause(50).await;
        host::reset_bmc(&task, "Manager.Reset").await;
    });
    done(bmc)
}

fn done(bmc: &Bmc) -> Reply {
    if bmc.variant.hpe.is_some() { Reply::success(&bmc.variant) } else { Reply::empty(204) }
}

fn password_fits(password: &str) -> bool {
    (PASSWORD_MIN..=PASSWORD_MAX).contains(&password.len())
}

fn new_account(bmc: &Bmc, body: &Value) -> Reply {
    let text = |name: &str| {
        body[name].as_str().ok_or_else(|| Reply::error(&bmc.variant, Word::PropertyMissing, &[name]))
    };
    let (user, password, role) = match (text("UserName"), text("Password"), text("RoleId")) {
        (Ok(user), Ok(password), Ok(role)) => (user, password, role),
        (Err(reply), _, _) | (_, Err(reply), _) | (_, _, Err(reply)) => return reply,
    };
    if !password_fits(password) {
        return Reply::error(&bmc.variant, Word::PropertyValue, &["***", "Password"]);
    }
    let mut state = bmc.lock();
    if state.people.list.iter().any(|account| account.name == user) {
        return Reply::error(&bmc.variant, Word::AlreadyExists, &["ManagerAccount", "UserName", user]);
    }
    let account = state.people.add(user, password, role);
    let location = format!("/redfish/v1/AccountService/Accounts/{}", account.id);
    Reply::json(201, service::account_resource(account)).with("location", location)
}

/// DELETE below `/redfish/v1`. `None`: not here.
pub(crate) fn delete(bmc: &Bmc, path: &[&str]) -> Option<Reply> {
    let mut state = bmc.lock();
    // Only what can be seen can go.
    tree::find(bmc, &mut state, path)?;
    match path {
        ["SessionService", "Sessions", id] => state.people.sessions.retain(|one| one.id != **id),
        ["AccountService", "Accounts", id] => state.people.list.retain(|one| one.id != **id),
        ["EventService", "Subscriptions", id] => {
            state.subscriptions.retain(|one| one.id.to_string() != **id);
        }
        ["EventService", "Subscriptions", of, "Certificates", id] => {
            let State { subscriptions, journal, .. } = &mut *state;
            let one = subscriptions.iter_mut().find(|one| one.id.to_string() == **of)?;
            trust::remove_from(journal, &mut one.trust, id);
        }
        ["UpdateService", "RemoteServerCertificates", id] => trust::remove(&mut state, id),
        ["TaskService", "Tasks", id] | ["JobService", "Jobs", id] => {
            state.update(id)?.forgotten = true;
        }
        _ => return crate::hpe::remove(bmc, &mut state, path),
    }
    Some(done(bmc))
}

/// PATCH below `/redfish/v1`. `None`: not here.
pub(crate) fn patch(bmc: &Bmc, path: &[&str], body: &Value, tag: Option<&str>) -> Option<Reply> {
    let mut state = bmc.lock();
    let found = tree::find(bmc, &mut state, path)?;
    if !found.allow.contains(&"PATCH") {
        return Some(Reply::not_allowed(&bmc.variant, found.allow));
    }
    if let (Some(tag), Some(current)) = (tag, &found.etag)
        && tag != current
        && tag != "*"
    {
        return Some(Reply::error(&bmc.variant, Word::Precondition, &[]));
    }
    let mut problems = vec![];
    let mut changed = 0;
    for (name, value) in body.as_object().into_iter().flatten() {
        if name.starts_with('@') {
            continue;
        }
        match set(bmc, &mut state, path, name, value) {
            Ok(()) => changed += 1,
            Err(word) => problems.push(bmc.variant.message(word).render(&[name])),
        }
    }
    if changed == 0 {
        let nothing = || json!({"MessageId": "Base.1.18.NoOperation", "Message": "The request body submitted contained no data to act upon and no changes to the resource took place.", "MessageArgs": [], "Severity": "Warning", "MessageSeverity": "Warning", "Resolution": "Add properties in the JSON object and resubmit the request."});
        let problems = if problems.is_empty() { vec![nothing()] } else { problems };
        return Some(Reply::json(400, extended(&problems)));
    }
    let mut value = tree::find(bmc, &mut state, path)?.value;
    if !problems.is_empty() {
        value["@Message.ExtendedInfo"] = json!(problems);
    }
    Some(Reply::json(200, value))
}

fn set(bmc: &Bmc, state: &mut State, path: &[&str], name: &str, value: &Value) -> Result<(), Word> {
    match (path, name) {
        (["AccountService", "Accounts", id], _) => set_account(state, id, name, value),
        (["EventService", ..], _) => subscription::set(bmc, state, path, name, value),
        (["UpdateService"], "VerifyRemoteServerCertificate")
            if bmc
                .variant
                .update
                .simple
                .as_ref()
                .is_some_and(|s| s.verify == crate::variant::Verify::Settable) =>
        {
            let on = value.as_bool().ok_or(Word::PropertyValue)?;
            state.settings.verify_server = on;
            state.journal.write("certificate", json!({"what": if on { "verified" } else { "not verified" }}));
            Ok(())
        }
        (["UpdateService"], "HttpPushUriOptions" | "HttpPushUriTargets" | "HttpPushUriTargetsBusy")
        | (["Systems", _], "AssetTag" | "HostName" | "Boot" | "IndicatorLED") => Ok(()),
        (["Managers", _], "DateTime") => {
            let wanted: jiff::Timestamp =
                value.as_str().and_then(|text| text.parse().ok()).ok_or(Word::PropertyValue)?;
            state.settings.skew_seconds = wanted.duration_since(jiff::Timestamp::now()).as_secs();
            Ok(())
        }
        _ => Err(Word::PropertyUnknown),
    }
}

fn set_account(state: &mut State, id: &str, name: &str, value: &Value) -> Result<(), Word> {
    let account = state.people.account(id).ok_or(Word::NotFound)?;
    match name {
        "Password" => {
            let password = value.as_str().filter(|text| password_fits(text)).ok_or(Word::PropertyValue)?;
            password.clone_into(&mut account.password);
        }
        "UserName" => value.as_str().ok_or(Word::PropertyValue)?.clone_into(&mut account.name),
        "RoleId" => value.as_str().ok_or(Word::PropertyValue)?.clone_into(&mut account.role),
        "Enabled" => account.enabled = value.as_bool().ok_or(Word::PropertyValue)?,
        "Locked" => account.locked_until = None,
        "Id" | "Name" | "Links" | "AccountTypes" => return Err(Word::PropertyReadOnly),
        _ => return Err(Word::PropertyUnknown),
    }
    account.revision += 1;
    Ok(())
}
