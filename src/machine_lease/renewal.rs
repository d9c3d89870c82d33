//! A Lease that is held: it is renewed until it is released, or found to be lost.

use super::{Lease, MachineLease, OWNER_ANNOTATION, signed};
use crate::failure::chain;
use crate::publish::{is_conflict, is_gone, is_of_dying_namespace, is_refused};
use farrier_update::ownership::{Owner, RENEWAL_MARGIN, renewal_interval};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Time between two requests while the API server fails.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Timeout of a request. The outcome of one that is given up is found out by the next one.
const ANSWER_LIMIT: Duration = RENEWAL_MARGIN;

/// How often the API server may refuse the release before it is given up: by then, the answer is no mistake of a
/// moment. The Lease expires by itself.
const MAX_REFUSALS: u32 = 3;

/// Describes a request that was given up.
const NO_ANSWER: &str = "no answer in time";

/// Why a Lease is not held any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Another holder's name is in it.
    Taken {
        /// The holder.
        holder: String,
        /// Whether that holder is a successor of this worker.
        by_successor: bool,
    },
    /// It could not be renewed for so long that others may soon take it.
    NotRenewed,
}

/// A Lease that this process holds. Where it is dropped without a release, as in a process that ends, the Lease
/// stays until it expires or a successor takes it.
#[derive(Debug)]
pub struct Held {
    lost: watch::Receiver<Option<Lost>>,
    /// Ends the renewals; the value says whether something is left on the machine.
    end: Option<oneshot::Sender<bool>>,
    renewals: AbortOnDropHandle<()>,
}

impl Held {
    /// Returns why the Lease is not held any more.
    pub fn lost(&self) -> Option<Lost> {
        self.lost.borrow().clone()
    }

    /// Returns what becomes set when the Lease is lost.
    pub fn losing(&self) -> watch::Receiver<Option<Lost>> {
        self.lost.clone()
    }

    /// Ends the work on the machine. The Lease is deleted; if something is left on the machine (`left`), it stays
    /// until it expires, and only this installation may take it before.
    pub async fn release(mut self, left: bool) {
        if let Some(end) = self.end.take() {
            // The receiver is gone if the Lease was lost.
            end.send(left).ok();
        }
        if let Err(error) = self.renewals.await {
            tracing::error!(%error, "the renewals of a machine's Lease have failed; it expires by itself");
        }
    }
}

/// Renews `lease`, which was written after `begun`. `None`: there can be no Lease; nothing is renewed.
pub(super) fn keep(of: &MachineLease, lease: Option<Lease>, begun: Instant) -> Held {
    let (lost_send, lost) = watch::channel(None);
    let (end_send, end) = oneshot::channel();
    let keeper = Keeper {
        api: of.api.clone(),
        name: of.name.clone(),
        machine: of.machine.clone(),
        owner: of.owner.clone(),
        duration: of.duration,
        held: lease,
    };
    let work = async move { keeper.run(begun, &lost_send, end).await };
    let renewals = AbortOnDropHandle::new(tokio::spawn(tracing::Instrument::in_current_span(work)));
    Held { lost, end: Some(end_send), renewals }
}

/// Renews a Lease and releases it.
struct Keeper {
    api: Api<Lease>,
    name: String,
    machine: OwnerReference,
    owner: Owner,
    duration: Duration,
    /// The Lease as this process last wrote or read it; `None`: it was deleted.
    held: Option<Lease>,
}

impl Keeper {
    /// Renews the Lease until it is lost, or until `end` is sent, and then releases it.
    async fn run(
        mut self,
        mut begun: Instant,
        lost: &watch::Sender<Option<Lost>>,
        mut end: oneshot::Receiver<bool>,
    ) {
        let interval = renewal_interval(self.duration);
        // A third less than others wait, as for the Leases of runners.
        let held_for = self.duration * 2 / 3;
        let mut pause = interval;
        loop {
            tokio::select! {
                left = &mut end => return self.release(left.unwrap_or(true)).await,
                // sleep: the interval of the renewals; the end of the work ends it.
                () = tokio::time::sleep(pause) => {}
            }
            let trying = Instant::now();
            pause = match self.renew().await {
                Ok(None) => {
                    begun = trying;
                    interval
                }
                Ok(Some(taken)) => {
                    lost.send_replace(Some(taken));
                    return;
                }
                Err(error) => {
                    tracing::warn!(lease = %self.name, error, "the Lease of the machine could not be renewed and will be retried");
                    RETRY_INTERVAL.min(interval)
                }
            };
            if begun.elapsed() >= held_for {
                lost.send_replace(Some(Lost::NotRenewed));
                return;
            }
        }
    }

    /// Renews the Lease once. Returns the loss, if another one holds it.
    async fn renew(&mut self) -> Result<Option<Lost>, String> {
        let renewal = async {
            // Another client may edit the Lease without taking it.
            loop {
                let written = match self.held.clone() {
                    Some(held) => {
                        self.api.replace(&self.name, &PostParams::default(), &self.signed(held)).await
                    }
                    // A Lease that was deleted is not taken: whoever takes it puts in a name.
                    None => self.api.create(&PostParams::default(), &self.signed(Lease::default())).await,
                };
                match written {
                    Ok(written) => {
                        self.held = Some(written);
                        return Ok(None);
                    }
                    Err(error) if is_of_dying_namespace(&error) => return Ok(None),
                    Err(error) if is_conflict(&error) || is_gone(&error) => {
                        self.held = self.api.get_opt(&self.name).await?;
                    }
                    Err(error) => return Err(error),
                }
                if let Some(taken) = self.taken() {
                    return Ok(Some(taken));
                }
            }
        };
        in_time(renewal).await
    }

    /// Returns the loss, if the Lease that was read names another holder, or another process of the same name.
    fn taken(&self) -> Option<Lost> {
        let held = self.held.as_ref()?;
        let holder = held.spec.as_ref()?.holder_identity.clone().unwrap_or_default();
        let record = held.annotations().get(OWNER_ANNOTATION);
        let record = record.and_then(|text| serde_json::from_str::<Owner>(text).ok());
        let record = record.filter(|owner| owner.identity() == holder);
        // A name that was taken out is a Lease that was released: nobody has taken it yet.
        if holder.is_empty() || record.as_ref() == Some(&self.owner) {
            return None;
        }
        let by_successor = record.is_some_and(|record| record.session == self.owner.session);
        Some(Lost::Taken { holder, by_successor })
    }

    fn signed(&self, lease: Lease) -> Lease {
        signed(lease, &self.name, &self.machine, &self.owner, self.duration)
    }

    /// Releases the Lease, with as many tries as it takes while the API server fails. A Lease whose release the API
    /// server refuses is left to expire.
    async fn release(mut self, left: bool) {
        self.owner.left = left;
        let mut refusals = 0;
        loop {
            let error = match tokio::time::timeout(ANSWER_LIMIT, self.release_once()).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => continue,
                Ok(Err(error)) => {
                    refusals += u32::from(is_refused(&error));
                    chain(&error)
                }
                Err(_) => NO_ANSWER.to_owned(),
            };
            if refusals == MAX_REFUSALS {
                tracing::warn!(lease = %self.name, error, "the API server refuses the release of the machine's Lease; it expires by itself");
                return;
            }
            tracing::warn!(lease = %self.name, error, "the Lease of the machine could not be released and will be retried");
            // sleep: an API server that fails is not asked again at once.
            tokio::time::sleep(RETRY_INTERVAL.min(renewal_interval(self.duration))).await;
        }
    }

    /// Returns whether nothing more is to be done.
    async fn release_once(&mut self) -> Result<bool, kube::Error> {
        let Some(held) = self.held.clone() else { return Ok(true) };
        let released = if self.owner.left {
            self.api.replace(&self.name, &PostParams::default(), &self.signed(held)).await.map(|_| ())
        } else {
            let as_seen = Preconditions { uid: held.uid(), resource_version: held.resource_version() };
            self.api.delete(&self.name, &DeleteParams::default().preconditions(as_seen)).await.map(|_| ())
        };
        match released {
            Ok(()) => Ok(true),
            Err(error) if is_gone(&error) => Ok(true),
            Err(error) if is_conflict(&error) => {
                self.held = self.api.get_opt(&self.name).await?;
                // `left` differs from what was written; it does not tell owners apart.
                let left = std::mem::take(&mut self.owner.left);
                let is_taken = self.taken().is_some();
                self.owner.left = left;
                Ok(is_taken)
            }
            Err(error) => Err(error),
        }
    }
}

/// Waits for requests, with a timeout. An error is returned as text.
async fn in_time<T>(requests: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_LIMIT, requests).await {
        Ok(answered) => answered.map_err(|error| chain(&error)),
        Err(_) => Err(NO_ANSWER.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::{Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::json;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Returns a keeper of a Lease on an API server that gives this answer to its first requests and deletes the
    /// Lease at the request after them, and the number of requests.
    fn keeper(answer: StatusCode, first: u32) -> (Keeper, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = asked.clone();
        let server = tower::service_fn(move |request: Request<Body>| {
            assert_eq!(request.method(), "DELETE");
            let answer =
                if counted.fetch_add(1, Ordering::Relaxed) < first { answer } else { StatusCode::OK };
            let result = if answer == StatusCode::OK { "Success" } else { "Failure" };
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": result,
                "reason": "x", "message": "x", "code": answer.as_u16()});
            let mut response = Response::new(Body::from(status.to_string().into_bytes()));
            *response.status_mut() = answer;
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let owner = Owner {
            installation: "tools".into(),
            runner: "a".into(),
            process: "p".into(),
            update: "r1-db".into(),
            session: "u-1".into(),
            left: false,
        };
        // It is renewed every millisecond, and its release is tried as often.
        let (machine, duration) = (OwnerReference::default(), Duration::from_millis(15));
        let held = signed(Lease::default(), "managednode-db", &machine, &owner, duration);
        let api = Api::namespaced(kube::Client::new(server, "n"), "n");
        (Keeper { api, name: "managednode-db".into(), machine, owner, duration, held: Some(held) }, asked)
    }

    /// Otherwise a NodeUpdate never ends because a webhook rejects the release of its Lease.
    #[tokio::test]
    async fn a_release_that_is_refused_is_given_up() {
        for refusal in [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN, StatusCode::UNPROCESSABLE_ENTITY] {
            let (keeper, asked) = keeper(refusal, u32::MAX);
            keeper.release(false).await;
            assert_eq!(asked.load(Ordering::Relaxed), MAX_REFUSALS, "{refusal}");
        }
    }

    /// Otherwise a machine is locked for a quarter of an hour after each restart of the API server.
    #[tokio::test]
    async fn a_release_is_repeated_while_the_api_server_is_unavailable() {
        let tries = MAX_REFUSALS * 4;
        let (keeper, asked) = keeper(StatusCode::SERVICE_UNAVAILABLE, tries);
        keeper.release(false).await;
        assert_eq!(asked.load(Ordering::Relaxed), tries + 1);
    }
}
