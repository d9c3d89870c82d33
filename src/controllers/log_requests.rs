//! Removes LogRequests that their users have left, whether or not there is a runner to answer them.

use crate::api::{LABEL_RUNNER, LogRequest, LogRequestStatus};
use crate::publish;
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long a LogRequest may exist: it may wait for its turn, and is then answered for a minute. A user who
/// still needs the answer makes another request.
const LIFETIME: Duration = Duration::from_mins(5);

/// How many requests are listed at once.
const PAGE: u32 = 100;

type Request = PartialObjectMeta<LogRequest>;

/// The LogRequests that exist, by UID, and since when this replica has seen them. The times in objects are of
/// another clock, and a request that is removed too early is not answered.
#[derive(Debug, Default)]
pub struct LogRequests {
    seen: HashMap<String, Instant>,
}

impl LogRequests {
    /// Removes the requests that have existed for too long at the time `now`, and tells those without the name
    /// of a runner that nobody answers them; as long as this replica `leads`.
    ///
    /// # Errors
    /// The first error of the API server. What could not be removed is removed by the next sweep.
    pub async fn sweep(
        &mut self,
        client: &Client,
        apis: &[Api<LogRequest>],
        leads: impl Fn() -> bool,
        now: Instant,
    ) -> Result<(), kube::Error> {
        let mut listed = Vec::new();
        for api in apis {
            listed.extend(list(api).await?);
        }
        let (old, nameless) = self.review(listed, now);
        let mut result = Ok(());
        for request in nameless.iter().filter(|_| leads()) {
            result = result.and(refuse(client, request).await);
        }
        for request in old.iter().filter(|_| leads()) {
            let (namespace, name) = (request.namespace().unwrap_or_default(), request.name_any());
            tracing::debug!(
                namespace,
                request = name,
                "a LogRequest is removed, because its user has left it"
            );
            result = result.and(publish::delete_log_request(client, &namespace, &name).await);
        }
        result
    }

    /// Returns the requests that are too old, and the new ones that name no runner.
    fn review(&mut self, listed: Vec<Request>, now: Instant) -> (Vec<Request>, Vec<Request>) {
        let before = std::mem::take(&mut self.seen);
        let (mut old, mut nameless) = (Vec::new(), Vec::new());
        for request in listed {
            let uid = request.uid().unwrap_or_default();
            let since = before.get(&uid).copied();
            self.seen.insert(uid, since.unwrap_or(now));
            if since.is_some_and(|since| now.duration_since(since) >= LIFETIME) {
                old.push(request);
            } else if since.is_none() && !request.labels().contains_key(LABEL_RUNNER) {
                nameless.push(request);
            }
        }
        (old, nameless)
    }
}

/// Lists requests, without what was asked and answered.
async fn list(api: &Api<LogRequest>) -> Result<Vec<Request>, kube::Error> {
    let (mut requests, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let list = api.list_metadata(&page).await?;
        requests.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(requests),
        }
    }
}

async fn refuse(client: &Client, request: &Request) -> Result<(), kube::Error> {
    let message = format!(
        "the label {LABEL_RUNNER} is missing, which names the runner that has the log; farrier logs sets it"
    );
    let status = LogRequestStatus { closed: true, message: Some(message), ..LogRequestStatus::default() };
    match publish::log_part(client, request, &status).await {
        Err(error) if !publish::is_gone(&error) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::PartialObjectMetaExt as _;

    fn request(uid: &str, runner: Option<&str>) -> Request {
        let labels = runner.map(|runner| [(LABEL_RUNNER.to_owned(), runner.to_owned())].into());
        let uid = Some(uid.to_owned());
        kube::api::ObjectMeta { uid, labels, ..Default::default() }.into_response_partial()
    }

    fn uids(requests: &[Request]) -> Vec<String> {
        requests.iter().filter_map(ResourceExt::uid).collect()
    }

    /// Requests of killed commands would stay in the cluster's database, or those of users who read a log
    /// would be removed under their hands.
    #[test]
    fn requests_are_removed_when_they_are_old_whoever_answers_them() {
        let mut requests = LogRequests::default();
        let begun = Instant::now();
        let mut review = |listed: &[(&str, Option<&str>)], after: Duration| {
            let listed = listed.iter().map(|(uid, runner)| request(uid, *runner)).collect();
            let (old, nameless) = requests.review(listed, begun + after);
            (uids(&old), uids(&nameless))
        };
        let none = Vec::<String>::new;
        let (a, b, c) = (("a", Some("r")), ("b", None), ("c", Some("gone")));
        assert_eq!(review(&[a, b], Duration::ZERO), (none(), vec!["b".to_owned()]));
        assert_eq!(review(&[a, b, c], Duration::from_mins(1)), (none(), none()));
        assert_eq!(review(&[a, b, c], LIFETIME), (vec!["a".to_owned(), "b".to_owned()], none()));
        // What could not be removed is tried again.
        assert_eq!(review(&[b, c], LIFETIME * 2), (vec!["b".to_owned(), "c".to_owned()], none()));
        assert_eq!(review(&[], LIFETIME * 2), (none(), none()));
        assert_eq!(review(&[a], LIFETIME * 3), (none(), none()));
    }
}
