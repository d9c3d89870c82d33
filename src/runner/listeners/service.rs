//! A file service of one listener, and the state of the attempts to open it.

use crate::api::update_run::{ListenerState, ServiceStatus};
use crate::callback::OpenService;
use crate::exposure;
use farrier_network::FileService;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time after which the same port is tried again after a failure that is not a conflict.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// A file service of one run on this runner, open or not.
pub(super) struct ServiceListener {
    pub(super) port: u16,
    pub(super) open: Option<OpenService>,
    found: Option<ServiceStatus>,
    tried: Option<Instant>,
}

impl ServiceListener {
    pub(super) fn new(port: u16) -> Self {
        Self { port, open: None, found: None, tried: None }
    }

    /// Reports whether the port should be tried now. One that was taken is not: the controller gives another one.
    pub(super) fn is_due(&self, taken: bool) -> bool {
        let waits = match self.found.as_ref().map(|found| found.state) {
            Some(ListenerState::Bound | ListenerState::Conflict) | None => false,
            Some(ListenerState::NotPermitted | ListenerState::Failed) => true,
        };
        self.open.is_none()
            && !taken
            && !(waits && self.tried.is_some_and(|at| at.elapsed() < RETRY_INTERVAL))
    }

    pub(super) fn find(
        &mut self,
        service: FileService,
        state: ListenerState,
        message: String,
        host_keys: Vec<String>,
    ) {
        let service = exposure::to_api(service);
        self.tried = Some(Instant::now());
        self.found = Some(ServiceStatus { service, port: self.port, state, message, host_keys });
    }
}

/// Returns the statuses of the services.
pub(super) fn reports(services: &BTreeMap<FileService, ServiceListener>) -> Vec<ServiceStatus> {
    services.values().filter_map(|service| service.found.clone()).collect()
}
