//! Calls an HTTPS server that drains a machine, and undoes that.

use super::{MachineDrain, Trouble, phase};
use crate::api::managed_node::DrainHttp;
use crate::convert;
use crate::failure::{Failure, chain};
use crate::tls::{HandshakeProblem, TrustFields, client_config};
use farrier_update::Reason;
use farrier_update::drain::{Aim, Answer, Record};
use kube::ResourceExt;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde_json::json;
use std::time::Duration;

/// Timeout of one request: a server that needs longer answers that it is not done yet.
const LIMIT: Duration = Duration::from_secs(30);

/// The fields in which users specify the trust in the server.
const FIELDS: TrustFields = TrustFields {
    certificates: "the object in spec.drain.http.tls.caRef of the ManagedNode",
    fingerprints: "spec.drain.http.tls.fingerprints of the ManagedNode",
};

/// An HTTPS server.
pub(super) struct HttpHook<'a> {
    drain: &'a MachineDrain,
    http: &'a DrainHttp,
}

impl<'a> HttpHook<'a> {
    pub(super) fn new(drain: &'a MachineDrain, http: &'a DrainHttp) -> Self {
        Self { drain, http }
    }

    /// Posts once.
    pub(super) async fn call(&self, record: Record, aim: Aim) -> Result<Answer, Trouble> {
        let client = self.client().await?;
        let update = &self.drain.update;
        let body = json!({
            "machine": self.drain.machine(),
            "namespace": self.drain.namespace(),
            "run": update.spec.run_ref.name,
            "phase": phase(aim),
            "deadline": record.until.to_string(),
            "id": id(&update.uid().unwrap_or_default(), record),
        });
        let request = client.post(&self.http.url).header("content-type", "application/json");
        let request = self.authorized(request).await?.body(body.to_string());
        Ok(match request.send().await {
            Ok(response) => judged(response.status()),
            Err(error) => unanswered(&error),
        })
    }

    async fn authorized(&self, request: reqwest::RequestBuilder) -> Result<reqwest::RequestBuilder, Failure> {
        let Some(secret) = &self.http.secret_ref else { return Ok(request) };
        let asked_by = format!("spec.drain.http.secretRef of ManagedNode {}", self.drain.machine());
        let keys =
            self.drain.context.inputs().secret(&secret.name, &self.drain.namespace(), &asked_by).await?;
        match (keys.line("token")?, keys.line("username")?) {
            (Some(token), _) => Ok(request.bearer_auth(token)),
            (None, Some(user)) => Ok(request.basic_auth(user, keys.line("password")?)),
            (None, None) => Err(Failure::new(
                Reason::SecretIncomplete,
                format!(
                    "secret {} has neither token nor username, which {asked_by} needs; add one",
                    secret.name
                ),
            )),
        }
    }

    async fn client(&self) -> Result<Client, Failure> {
        let asked_by = format!("spec.drain.http.tls of ManagedNode {}", self.drain.machine());
        let tls = self.http.tls.as_ref();
        let given = match tls.and_then(|tls| tls.ca_ref.as_ref()) {
            Some(ca) => {
                let inputs = self.drain.context.inputs();
                inputs.certificates_in(&ca.name, &self.drain.namespace(), &asked_by).await?
            }
            None => Vec::new(),
        };
        let trust = convert::trust(tls, given)
            .map_err(|error| Failure::new(Reason::DrainFailed, format!("{asked_by}: {error}")))?;
        let refused = |error: &dyn std::error::Error| {
            Failure::new(Reason::InternalError, format!("no HTTPS client could be made: {}", chain(error)))
        };
        let (tls, _) = client_config(trust).map_err(|error| refused(&error))?;
        Client::builder()
            .https_only(true)
            .redirect(Policy::none())
            .timeout(LIMIT)
            .user_agent(concat!("farrier/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| refused(&error))
    }
}

/// Returns the id of all repetitions of one drain, or of its reverse.
fn id(session: &str, record: Record) -> String {
    format!("{session}-{}", record.round)
}

/// Returns what an answer means.
fn judged(status: StatusCode) -> Answer {
    match status.as_u16() {
        200..=299 => Answer::Done,
        409 | 425 | 429 | 502 | 503 | 504 => Answer::NotYet(format!("the hook, which answers {status}")),
        _ => Answer::Failed(format!("the hook answers {status}; look at its log")),
    }
}

/// Returns what a missing answer means: the same may be posted again.
fn unanswered(error: &reqwest::Error) -> Answer {
    match HandshakeProblem::of(error) {
        Some(problem) if problem.is_lasting() => {
            Answer::Failed(format!("the hook was not called: {problem}; {}", problem.next_step(FIELDS)))
        }
        Some(problem) => Answer::NotYet(format!("the hook, which does not answer ({problem})")),
        None => {
            let kind = if error.is_timeout() { "no answer in time" } else { "no connection" };
            Answer::NotYet(format!(
                "the hook, which does not answer ({kind}); check that the operator reaches it"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a load balancer that is still moving connections away fails the machine, or an error counts as done.
    #[test]
    fn only_success_is_done_and_only_what_passes_is_repeated() {
        let of = |code: u16| judged(StatusCode::from_u16(code).unwrap());
        assert_eq!((of(200), of(204)), (Answer::Done, Answer::Done));
        for code in [409, 425, 429, 502, 503, 504] {
            assert!(matches!(of(code), Answer::NotYet(_)), "{code}");
        }
        for code in [301, 400, 401, 403, 404, 500] {
            assert!(matches!(of(code), Answer::Failed(_)), "{code}");
        }
    }

    /// Otherwise the receiver takes a second drain of one NodeUpdate for a repetition of the first.
    #[test]
    fn an_id_stays_for_repetitions_and_changes_with_the_next_drain() {
        let record = |round| Record {
            state: farrier_update::drain::State::Draining,
            round,
            since: farrier_update::Millis(1),
            until: farrier_update::Millis(2),
        };
        assert_eq!(id("u", record(1)), "u-1");
        assert_ne!(id("u", record(1)), id("u", record(2)));
    }
}
