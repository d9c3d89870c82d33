//! Offers of an earlier process: their URLs are still served, and the machine is watched again.

use super::MachineOffers;
use crate::api::condition;
use crate::api::node_update::FetchProtocol;
use crate::attempt::Scheme;
use crate::callback::OpenOffer;
use crate::failure::Failure;
use crate::runner::offers::NewFetch;
use farrier_update::Reason;
use farrier_update::device::ActionId;
use kube::ResourceExt as _;
use std::time::Duration;

impl MachineOffers {
    /// Watches the fetch of an action's image. Nothing is decided by it, because somebody else may have served the
    /// machine before.
    pub(super) async fn try_resume(&self, action: ActionId) -> Result<(), Failure> {
        let node = self.node()?;
        let run = self.context.cached_run(&self.update);
        let run = run.ok_or_else(|| self.not_open(None, "the run is gone"))?;
        let listener = self.context.listeners.of(&run.uid().unwrap_or_default(), Duration::ZERO).await;
        let listener = listener.ok_or_else(|| self.not_open(Some(&run), "this runner does not listen"))?;
        let own = self.context.names.of(&node).await;
        let scheme = match self.update.status.as_ref().and_then(|status| status.fetches_by) {
            Some(FetchProtocol::HTTP) => Scheme::Http,
            Some(FetchProtocol::HTTPS) | None => Scheme::Https,
            Some(FetchProtocol::SFTP) => Scheme::Sftp,
            Some(FetchProtocol::SCP) => Scheme::Scp,
            Some(FetchProtocol::FTP) => Scheme::Ftp,
        };
        let target = self.target(&node, &run, &listener, scheme, &own, None);
        let place = target.map(|target| (target.host, target.port)).unwrap_or_default();
        let session = self.session.clone();
        self.context.listeners.fetches.begin(NewFetch {
            offer: OpenOffer {
                session,
                action: action.0,
                name: String::new(),
                digest: String::new(),
                unpack: false,
            },
            size: None,
            resumed: Some(self.had_connected()),
            place,
            own,
            is_ours: false,
            closed: listener.closed,
            refusals: listener.refusals,
        });
        Ok(())
    }

    /// Reports whether the status says that the machine has connected.
    fn had_connected(&self) -> bool {
        let conditions = self.update.status.as_ref().map(|status| status.conditions.as_slice());
        let reachable = condition::find(conditions.unwrap_or_default(), "CallbackReachable");
        reachable.is_some_and(|condition| condition.reason == Reason::CallbackReachable.as_str())
    }
}
