//! Publishes the progress of an attempt.

use super::UpdateWorker;
use super::pace::Pace;
use crate::api::node_update::NodeUpdateStatus;
use crate::attempt::{Reboot, ReturnPath, View, logbook};
use crate::runner::drain;
use crate::runner::render::Phase;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// What an attempt has already announced; each event is written once.
#[expect(clippy::struct_excessive_bools, reason = "independent events")]
#[derive(Default)]
struct Announced {
    /// What was trusted on first use: a host key or a certificate.
    first_use: bool,
    old_algorithms: bool,
    /// How many agreements that were accepted.
    agreements: usize,
    blocked: bool,
    unseen: bool,
    untrusted_peer: bool,
    rebooting: bool,
    rebooted: bool,
}

impl UpdateWorker<'_> {
    /// Writes the statuses that `visible` makes of the views, at the pace of [`Pace`], and at once the `entries`
    /// of the logbook and a reboot, until the attempt ends. Nobody else writes meanwhile.
    /// Returns the status that was written last, and the status that was rendered last.
    pub(super) async fn follow(
        &self,
        mut view: watch::Receiver<View>,
        mut entries: mpsc::Receiver<logbook::Request>,
        reboot_recorded: &watch::Sender<bool>,
        number: u32,
        visible: impl Fn(&View) -> View,
    ) -> (NodeUpdateStatus, NodeUpdateStatus) {
        let (mut written, mut shown) = (self.old.clone(), self.shown.clone());
        let mut announced = Announced::default();
        let mut pace = Pace::default();
        loop {
            reboot_recorded.send_replace(written.rebooting.is_some());
            self.drain.note_stored(written.drain.as_ref());
            tokio::select! {
                changed = view.changed() => {
                    if changed.is_err() {
                        return (written, shown);
                    }
                    let now = view.borrow_and_update().clone();
                    self.announce_once(&now, &mut announced).await;
                    let status = self.render(&shown, &visible(&now), &Phase::Working, number);
                    // The attempt waits for ports, which the controller opens because of this field; and for the
                    // record of a reboot, or of a drain.
                    let is_urgent = status.fetches_by != shown.fetches_by
                        || !drain::stays(written.drain.as_ref(), status.drain.as_ref())
                        || (status.rebooting.is_some() && written.rebooting.is_none());
                    if status != shown {
                        shown = status;
                        pace.changed(Instant::now());
                    }
                    if is_urgent && self.write(&shown).await {
                        written = shown.clone();
                        pace.written();
                    }
                }
                Some(logbook::Request { entry, answer }) = entries.recv() => {
                    let recorded = self.record(&entry, &shown).await.map(|(status, until)| {
                        written = status.clone();
                        shown = status;
                        pace.written();
                        until
                    });
                    // An attempt that was ended meanwhile does not need the answer.
                    answer.send(recorded).ok();
                }
                () = pace.wait() => {
                    if shown == written || self.write(&shown).await {
                        written = shown.clone();
                        pace.written();
                    } else {
                        pace.failed(Instant::now());
                    }
                }
            }
        }
    }

    async fn announce_once(&self, now: &View, announced: &mut Announced) {
        if let Some(key) = now.first_key.as_ref().filter(|_| !announced.first_use) {
            announced.first_use = true;
            let node = &self.update.spec.node_ref.name;
            self.context.record_host_key(&self.update, node, key).await;
        }
        let through = now.manager.as_ref().filter(|_| !announced.first_use);
        if let Some((manager, key)) =
            through.and_then(|manager| Some((&manager.name, manager.first_key.as_ref()?)))
        {
            announced.first_use = true;
            self.context.record_host_key(&self.update, manager, key).await;
        }
        if let Some(old) =
            now.old_algorithms.as_ref().filter(|old| !old.is_empty() && !announced.old_algorithms)
        {
            announced.old_algorithms = true;
            self.context.announce_old_algorithms(&self.update, old).await;
        }
        for question in now.agreements.iter().skip(announced.agreements) {
            announced.agreements += 1;
            self.context.announce_agreement(&self.update, question).await;
        }
        if let Some(fingerprint) = now.first_certificate.as_ref().filter(|_| !announced.first_use) {
            announced.first_use = true;
            self.context.record_certificate(&self.update, fingerprint).await;
        }
        if let ReturnPath::Blocked { failure, fallback } = &now.return_path
            && !announced.blocked
        {
            announced.blocked = true;
            self.context.announce_blocked(&self.update, failure, *fallback).await;
        }
        if let ReturnPath::Unseen { failure } = &now.return_path
            && !announced.unseen
        {
            announced.unseen = true;
            self.context.announce_unseen(&self.update, failure).await;
        }
        match &now.reboot {
            Some(Reboot::Underway { until, requested: true, .. }) if !announced.rebooting => {
                announced.rebooting = true;
                self.context.announce_reboot(&self.update, *until).await;
            }
            Some(Reboot::Done) if !announced.rebooted => {
                announced.rebooted = true;
                self.context.announce_rebooted(&self.update, None).await;
            }
            Some(Reboot::Failed(failure)) if !announced.rebooted => {
                announced.rebooted = true;
                self.context.announce_rebooted(&self.update, Some(failure)).await;
            }
            Some(Reboot::Underway { .. } | Reboot::Done | Reboot::Failed(_)) | None => {}
        }
        if let Some(failure) = now.untrusted_peer.as_ref().filter(|_| !announced.untrusted_peer) {
            announced.untrusted_peer = true;
            self.context.announce_untrusted_peer(&self.update, failure).await;
        }
    }
}
