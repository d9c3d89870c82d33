//! Signing in: a session where the device has them, otherwise Basic authentication.

use super::{
    Client, Credential, Credentials, Failure, Kind, Link, Reason, Request, ServiceRoot, SignInError, Trouble,
};
use crate::drivers::redfish::Refusal;
use serde_json::json;

/// Identifiers of messages with which devices say that they have no session left: of the standard (Base
/// registry) and of iDRAC.
const NO_SESSION_LEFT: &[&str] = &["SessionLimitExceeded", "CreateLimitReachedForResource", "RAC0218"];

/// Identifiers with which devices say that they wait before they look at a password again: iLO.
const LOCKED: &[&str] = &["LoginAttemptDelayed", "LoginAttemptDelayedSeconds"];

/// Identifiers of wrong passwords in answers with a status other than 401: iLO answers 400.
const WRONG_PASSWORD: &[&str] = &["UnauthorizedLoginAttempt"];

/// Reads the service root, which the standard leaves open to everybody. A service that answers 401 is taken to
/// have the usual paths; one that refuses it in the words of Redfish is asked once more with the password.
pub(super) async fn root(client: &Client, credentials: &Credentials) -> Result<ServiceRoot, Failure> {
    let request = Request::get(Link::root());
    let resource = match client.send(&request, None).await {
        Ok(answer) => answer.resource(),
        Err(trouble) if trouble.status() == Some(401) => return Ok(ServiceRoot::assumed()),
        Err(trouble) if wants_credentials(&trouble) => {
            let credential = Credential::basic(credentials).ok_or_else(|| no_header(credentials))?;
            let answer = client.send(&request, Some(&credential)).await;
            answer.map_err(|trouble| not_signed_in(client, credentials, trouble))?.resource()
        }
        Err(trouble) => return Err(not_redfish(client, trouble)),
    };
    match resource {
        Ok(resource) if resource.has("/RedfishVersion") || resource.has("/Systems") => {
            Ok(ServiceRoot::read(&resource))
        }
        Ok(_) => Err(not_redfish(
            client,
            client.trouble(&request, Kind::Unreadable("it is no service root".into())),
        )),
        Err(why) => Err(not_redfish(client, client.trouble(&request, Kind::Unreadable(why)))),
    }
}

/// Reports whether a Redfish service may have refused its root because nobody was signed in. The mock of fwupd answers
/// 400. The password is not sent to what does not speak like a Redfish service.
fn wants_credentials(trouble: &Trouble) -> bool {
    matches!(&trouble.kind, Kind::Refused(refusal) if matches!(refusal.status, 400 | 403) && !refusal.messages.is_empty())
}

/// What answers without being Redfish is another server, and says nothing about the device.
fn not_redfish(client: &Client, trouble: Trouble) -> Failure {
    let is_other = match &trouble.kind {
        Kind::Unreadable(_) | Kind::Elsewhere(_) => true,
        // A service of an older kind answers in the same words that its root is not there.
        Kind::Refused(refusal) => {
            refusal.status == 404 || refusal.status < 500 && refusal.messages.is_empty()
        }
        Kind::Unreachable(_)
        | Kind::Handshake(_)
        | Kind::Lost { .. }
        | Kind::TimedOut { .. }
        | Kind::SignIn(_) => false,
    };
    if !is_other {
        return trouble.into();
    }
    let what = match &trouble.kind {
        Kind::Refused(refusal) => format!("it answers {} with {refusal}", trouble.asked),
        Kind::Unreadable(why) => format!("of its answer to {}, {why}", trouble.asked),
        Kind::Elsewhere(link) => link.to_string(),
        Kind::Unreachable(_)
        | Kind::Handshake(_)
        | Kind::Lost { .. }
        | Kind::TimedOut { .. }
        | Kind::SignIn(_) => String::new(),
    };
    Failure::new(
        Reason::NotARedfishService,
        format!(
            "what answers at {} of {} is no Redfish service: {what}; check spec.addresses and the port: this must be the management processor",
            client.address().unwrap_or_default(),
            client.node()
        ),
    )
}

/// Offers the password once. The session is `None` for Basic authentication.
pub(super) async fn sign_in(
    client: &Client,
    root: &ServiceRoot,
    credentials: &Credentials,
) -> Result<(Credential, Option<Link>), SignInError> {
    let Some(sessions) = &root.sessions else { return Ok(basic(client, root, credentials).await?) };
    let body = json!({"UserName": credentials.user, "Password": credentials.password});
    let request = Request::post(sessions.clone(), body);
    let answer = match client.send(&request, None).await {
        Ok(answer) => answer,
        // The standard wants the link even of services without sessions.
        Err(trouble) if matches!(trouble.status(), Some(404 | 405 | 501)) => {
            return Ok(basic(client, root, credentials).await?);
        }
        Err(trouble) => {
            // 503: the device has not looked at the request.
            let may_have_begun = trouble.may_have_begun() && trouble.status() != Some(503);
            return Err(SignInError { failure: not_signed_in(client, credentials, trouble), may_have_begun });
        }
    };
    // There is a session now, although it cannot be used.
    let opened = |kind| SignInError { failure: client.trouble(&request, kind).into(), may_have_begun: true };
    let unusable = |why: &str| opened(Kind::Unreadable(why.to_owned()));
    let token = answer.token().ok_or_else(|| unusable("it has no X-Auth-Token"))?;
    let location = answer.location().map_err(|link| opened(Kind::Elsewhere(link)))?;
    let in_body = || answer.resource().ok().and_then(|resource| resource.link("/@odata.id").ok().flatten());
    let session = location.or_else(in_body).ok_or_else(|| unusable("it does not say which session it is"))?;
    Ok((token, Some(session)))
}

/// Verifies the password with a resource that is open to nobody else.
async fn basic(
    client: &Client,
    root: &ServiceRoot,
    credentials: &Credentials,
) -> Result<(Credential, Option<Link>), Failure> {
    let credential = Credential::basic(credentials).ok_or_else(|| no_header(credentials))?;
    let probe = root.systems.clone().unwrap_or_else(|| Link::root().below("Systems"));
    match client.send(&Request::get(probe), Some(&credential)).await {
        Ok(_) => Ok((credential, None)),
        // The device has looked at the password before it looked for the resource.
        Err(trouble) if trouble.status() == Some(404) => Ok((credential, None)),
        Err(trouble) => Err(not_signed_in(client, credentials, trouble)),
    }
}

fn no_header(credentials: &Credentials) -> Failure {
    let words =
        format!("the password in secret {} has characters that no header can have", credentials.source);
    Failure::new(Reason::SecretIncomplete, words)
}

fn not_signed_in(client: &Client, credentials: &Credentials, trouble: Trouble) -> Failure {
    let Kind::Refused(refusal) = trouble.kind else { return trouble.into() };
    let messages = refusal.messages.without(&credentials.password);
    let refusal = Refusal { messages, ..refusal };
    let (node, user, source) = (client.node(), &credentials.user, &credentials.source);
    let failure = |reason, what: &str, next: &str| {
        Failure::new(reason, format!("{node} {what}, and answered {refusal}; {next}"))
    };
    if refusal.messages.has(NO_SESSION_LEFT) {
        return failure(
            Reason::SessionLimitReached,
            "has no session left",
            "close sessions in the web interface of the device, or wait until they expire",
        );
    }
    if refusal.messages.has(LOCKED) {
        let what = format!("does not let {user} sign in after failed attempts");
        let next = format!("correct the password in secret {source}, and wait until the device is ready");
        return failure(Reason::AccountLocked, &what, &next);
    }
    if refusal.status == 401 || refusal.messages.has(WRONG_PASSWORD) {
        let what = format!("rejected the password of {user}, or has locked the account");
        let next = format!("correct secret {source}; it is not tried again, because failures lock accounts");
        return failure(Reason::PasswordRejected, &what, &next);
    }
    if matches!(refusal.status, 400 | 403) && !refusal.messages.has(Refusal::NEW_PASSWORD) {
        let what = format!("did not let {user} sign in");
        return failure(
            Reason::AuthenticationFailed,
            &what,
            "check that the account exists, is enabled, and may sign in",
        );
    }
    Trouble { kind: Kind::Refused(refusal), ..trouble }.into()
}
