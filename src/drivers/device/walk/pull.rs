//! Images that a device fetches from Farrier: the offer, what is known of the fetch, and its words.

use super::super::{Device, Report, Trouble};
use super::Walk;
use crate::attempt::{Fetch, Offer, OfferedFile, ReturnPath, Waiting, open_pulls, open_subscriptions};
use crate::failure::Failure;
use farrier_update::Reason;
use farrier_update::device::{ActionId, Intent, Progress, Verb};
use std::net::IpAddr;
use std::time::Duration;

/// What is wrong with the way from the machine to Farrier.
const WAY: &[Reason] = &[Reason::PullNotSeen, Reason::PullUntrusted];

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

impl<D: Device> Walk<'_, D> {
    /// Offers an image to the device, as soon as the ports of the run are open for it.
    pub(super) async fn offer(&self, file: OfferedFile<'_>) -> Result<Offer, Failure> {
        let offers = &self.desk.offers;
        let way = offers.pick(&self.fetch_ways(), file.reached)?;
        let waiting = offers.wait();
        self.desk.view.send_modify(|v| {
            v.fetches_by = Some(way.scheme);
            v.return_path = ReturnPath::Pending { waiting: waiting.clone() };
            v.waits = vec![waiting];
        });
        let mut stop = self.desk.stop.clone();
        let offered = tokio::select! {
            offered = offers.offer(way, file) => offered,
            Ok(_) = stop.wait_for(|stop| *stop) => {
                Err(Failure::new(Reason::Cancelled, "the run was cancelled before the image was offered"))
            }
        };
        self.desk.view.send_modify(|v| {
            v.waits.clear();
            v.return_path = match &offered {
                Ok(_) => ReturnPath::Expected,
                Err(failure) => ReturnPath::Unseen { failure: failure.clone() },
            };
            if offered.is_err() {
                v.fetches_by = None;
            }
        });
        offered
    }

    /// Closes what no action needs any more.
    pub(super) fn end_offers(&self) {
        let open = open_pulls(&self.actions);
        let kept: Vec<ActionId> = open.iter().copied().chain(open_subscriptions(&self.actions)).collect();
        self.desk.offers.keep(&kept);
        // A machine that needs its ways back in both phases keeps them to the end.
        let is_kept = self.is_preparing || self.has_ways_back;
        if open.is_empty() && (!is_kept || *self.desk.stop.borrow()) {
            self.desk.view.send_if_modified(|v| v.fetches_by.take().is_some());
        }
    }

    /// Watches the fetches of images that were offered by an earlier process.
    pub(super) async fn resume_offers(&mut self) {
        for id in open_pulls(&self.actions) {
            let is_known = self.desk.offers.fetched(id).is_some_and(|fetch| !fetch.place.0.is_empty());
            if !is_known && !self.resumed.contains(&id) && self.desk.offers.resume(id).await {
                self.resumed.insert(id);
            }
        }
    }

    /// Ends an offer that was never asked for, before that is recorded.
    pub(super) fn withdraw(&mut self, id: ActionId) {
        if self.desk.offers.withdraw(id) {
            self.withdrawn.insert(id);
        } else {
            self.unfetched.remove(&id);
        }
    }

    /// Notes which images the device has asked for, and shows that.
    pub(super) fn note_fetches(&mut self) {
        let limit = self.device.limits().seen;
        for id in open_pulls(&self.actions) {
            let Some(fetch) = self.desk.offers.fetched(id) else {
                self.unfetched.remove(&id);
                continue;
            };
            if fetch.seen.is_none() && fetch.is_certain {
                self.unfetched.insert(id);
            } else {
                self.unfetched.remove(&id);
            }
            let component = self.actions.iter().find(|action| action.id == id).map(|a| a.component.clone());
            let is_named = fetch.is_certain || fetch.is_shared || fetch.resumed.is_some();
            let path = match fetch.seen {
                _ if fetch.rejected.is_some() => {
                    ReturnPath::Unseen { failure: rejected(&self.job.node, &fetch) }
                }
                Some(from) => ReturnPath::Fetched { from },
                // The status says so already.
                None if fetch.resumed == Some(true) => continue,
                // The device has given up already.
                None if matches!(self.desk.view.borrow().return_path, ReturnPath::Unseen { .. }) => continue,
                // Another runner may have served it.
                None if fetch.age < limit || !is_named => ReturnPath::Expected,
                None => ReturnPath::Unseen { failure: unseen(&self.job.node, &fetch, limit) },
            };
            if let (Some(component), ReturnPath::Unseen { failure }) = (&component, &path) {
                self.refusals.insert(component.clone(), failure.clone());
            } else if let Some(component) = component {
                let is_about_way = |failure: &Failure| WAY.contains(&failure.reason);
                self.refusals.retain(|of, failure| *of != component || !is_about_way(failure));
            }
            self.desk.view.send_if_modified(|v| {
                let differs = v.return_path != path;
                v.return_path = path;
                differs
            });
        }
    }

    /// Explains the failure of a device that has rejected our certificate, or has not even connected to fetch its image:
    /// then the way is shut, whatever it says. One that was fetching when the process that offered the image ended is
    /// told again.
    pub(super) fn explained(&self, action: ActionId, report: Report) -> Report {
        if report.progress != Progress::Failed || !open_pulls(&self.actions).contains(&action) {
            return report;
        }
        if let Some(failure) = self.shut_way(action) {
            return Report { reason: Some(failure.reason), words: failure.message, ..report };
        }
        let fetch = self.desk.offers.fetched(action);
        let is_resumed = fetch.is_some_and(|fetch| fetch.resumed.is_some());
        if report.reason != Some(Reason::FetchFailed) || !is_resumed {
            return report;
        }
        let words = format!("{}; the process that offered the image had ended meanwhile", report.words);
        Report { progress: Progress::Interrupted, words, ..report }
    }

    /// Explains the refusal of a device that says at once that it could not fetch its image, in the same way, and keeps
    /// what it says.
    pub(super) fn explained_refusal(&self, intent: &Intent, trouble: Trouble) -> Trouble {
        if intent.verb != Verb::Pull || trouble.failure.reason != Reason::FetchFailed {
            return trouble;
        }
        let Some(Failure { reason, message, .. }) = self.shut_way(intent.id) else { return trouble };
        let failure = Failure::new(reason, format!("{message}; {}", trouble.failure.message));
        Trouble { failure, ..trouble }
    }

    /// Returns what is wrong with the way by which a device should have fetched an image, and shows that; `None` if it
    /// has connected, or that is not certain.
    fn shut_way(&self, action: ActionId) -> Option<Failure> {
        let fetch = self.desk.offers.fetched(action)?;
        let failure = if fetch.rejected.is_some() {
            rejected(&self.job.node, &fetch)
        } else if fetch.seen.is_none() && fetch.is_certain {
            unseen(&self.job.node, &fetch, fetch.age)
        } else {
            return None;
        };
        self.desk.view.send_modify(|v| v.return_path = ReturnPath::Unseen { failure: failure.clone() });
        Some(failure)
    }

    /// Adds to a wait how far the fetch of an image is.
    pub(super) fn with_fetch(&self, shown: Waiting) -> Waiting {
        let fetches = open_pulls(&self.actions).into_iter();
        let Some(fetch) = fetches.filter_map(|id| self.desk.offers.fetched(id)).last() else { return shown };
        let limit = self.device.limits().seen;
        if fetch.rejected.is_some() {
            let failure = rejected(&self.job.node, &fetch);
            return Waiting { reason: failure.reason, what: failure.message, ..shown };
        }
        let is_named = fetch.is_certain || fetch.is_shared || fetch.resumed == Some(false);
        if fetch.seen.is_none() && is_named && fetch.age >= limit {
            let failure = unseen(&self.job.node, &fetch, limit);
            return Waiting { reason: failure.reason, what: failure.message, ..shown };
        }
        Waiting { what: format!("{}; {}", shown.what, progress(&fetch)), ..shown }
    }
}

/// Describes how far a fetch is.
fn progress(fetch: &Fetch) -> String {
    let Fetch { seen, resumed, bytes, size, idle, place: (host, port), .. } = fetch;
    let (unit, word) = if size.unwrap_or(*bytes) < MIB { (KIB, "KiB") } else { (MIB, "MiB") };
    let Some(from) = seen else {
        return match resumed {
            Some(true) => "it had connected before this runner took over".to_owned(),
            Some(false) | None => format!("it has not connected to {host} port {port} yet"),
        };
    };
    let Some(idle) = idle else {
        return format!("it has connected from {from}, and has fetched nothing yet");
    };
    if let Some(size) = size.filter(|size| bytes >= size) {
        return format!("it has fetched all {} {word}", size.div_ceil(unit));
    }
    let of = size.map(|size| format!(" of {}", size.div_ceil(unit))).unwrap_or_default();
    format!("it has fetched {}{of} {word}, last progress {} s ago", bytes / unit, idle.as_secs())
}

/// Describes that a machine rejects the certificate of the callback server, and the next step.
fn rejected(node: &str, fetch: &Fetch) -> Failure {
    let Fetch { rejected, is_shared, place: (host, port), .. } = fetch;
    let how = rejected.as_deref().unwrap_or_default();
    let who = if *is_shared { "a machine with the address of " } else { "" };
    Failure::new(
        Reason::PullUntrusted,
        format!(
            "{who}{node} connected to {host} port {port} to fetch its image, and rejected the certificate of Farrier's callback server ({how}); import ca.crt of the Secret <run>-callback among the authorities that it trusts (Redfish: UpdateService, RemoteServerCertificates), end the verification of servers there, or have it fetch by HTTP from 63001 if it can"
        ),
    )
}

/// Describes that a machine does not fetch its image: the way that is closed, and the next step.
fn unseen(node: &str, fetch: &Fetch, limit: Duration) -> Failure {
    let Fetch { place: (host, port), own, strangers, is_shared, .. } = fetch;
    let from = list(own);
    let next = match strangers.as_slice() {
        [] if *is_shared => format!(
            "other machines have connected from {from}, and none of them asked for this image: check that {node} reaches {host} port {port}"
        ),
        [] => format!(
            "most likely a firewall on the network path, or that of the operator's host for incoming connections, drops it: allow TCP from {from} to {host} port {port} (`farrier ports` prints the rules), or set spec.callbackAddress of ManagedNode {node} if it does not reach {host}"
        ),
        [_, ..] => format!(
            "connections from {} were rejected meanwhile: if one of these addresses is {node}, possibly behind a translation of addresses (NAT), add it to spec.addresses; otherwise allow TCP from {from} to {host} port {port}",
            list(strangers)
        ),
    };
    Failure::new(
        Reason::PullNotSeen,
        format!(
            "{node} was told to fetch its image, and no connection from it (from the machine to Farrier, TCP {host} port {port}) has arrived within {} s; {next}",
            limit.as_secs()
        ),
    )
}

/// Formats the first addresses of a list.
fn list(addresses: &[IpAddr]) -> String {
    let shown: Vec<String> = addresses.iter().take(4).map(ToString::to_string).collect();
    if shown.is_empty() { "the machine".to_owned() } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch() -> Fetch {
        Fetch {
            seen: None,
            rejected: None,
            is_shared: false,
            resumed: None,
            is_certain: true,
            bytes: 0,
            size: Some(64 * MIB),
            idle: None,
            age: Duration::from_secs(61),
            place: ("192.0.2.9".to_owned(), 63001),
            own: vec!["192.0.2.1".parse().unwrap()],
            strangers: Vec::new(),
        }
    }

    /// Without port, direction and addresses nobody can correct a firewall.
    #[test]
    fn an_image_that_is_not_fetched_names_the_way() {
        let failure = unseen("ilo-3", &fetch(), Duration::from_mins(1));
        assert_eq!(failure.reason, Reason::PullNotSeen);
        for words in
            ["ilo-3", "from the machine to Farrier", "allow TCP from 192.0.2.1 to 192.0.2.9 port 63001"]
        {
            assert!(failure.message.contains(words), "{failure}");
        }
        let through = Fetch { strangers: vec!["198.51.100.7".parse().unwrap()], ..fetch() };
        let failure = unseen("ilo-3", &through, Duration::from_mins(1));
        assert!(failure.message.contains("connections from 198.51.100.7 were rejected"), "{failure}");
    }

    /// `kubectl describe` shows these words while a machine fetches.
    #[test]
    fn the_progress_of_a_fetch_is_shown() {
        assert_eq!(progress(&fetch()), "it has not connected to 192.0.2.9 port 63001 yet");
        let seen = Fetch { seen: Some("192.0.2.1".parse().unwrap()), ..fetch() };
        assert_eq!(progress(&seen), "it has connected from 192.0.2.1, and has fetched nothing yet");
        let some = Fetch { bytes: 12 * MIB + 5, idle: Some(Duration::from_secs(3)), ..seen };
        assert_eq!(progress(&some), "it has fetched 12 of 64 MiB, last progress 3 s ago");
        assert_eq!(progress(&Fetch { bytes: 64 * MIB, ..some.clone() }), "it has fetched all 64 MiB");
        let unknown = Fetch { size: None, ..some.clone() };
        assert_eq!(progress(&unknown), "it has fetched 12 MiB, last progress 3 s ago");
        let small = Fetch { bytes: 1500, size: Some(2049), ..some };
        assert_eq!(progress(&small), "it has fetched 1 of 3 KiB, last progress 3 s ago");
    }
}
