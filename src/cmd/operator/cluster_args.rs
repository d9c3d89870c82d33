//! The location of the operator, and options that describe the cluster.

use super::replica::Replica;
use crate::caches::RunObjects;
use crate::exposure::Site;
use farrier_network::IpNet;
use farrier_network::policy::Ranges;
use std::time::Duration;

/// Options that describe the cluster.
#[derive(Debug, clap::Args)]
pub(super) struct ClusterArgs {
    /// Address ranges of the cluster's pods: no machine can have an address in them.
    #[arg(long, env = "FARRIER_POD_RANGES", value_delimiter = ',')]
    pod_ranges: Vec<IpNet>,

    /// Address ranges of the cluster's Services: no machine can have an address in them.
    #[arg(long, env = "FARRIER_SERVICE_RANGES", value_delimiter = ',')]
    service_ranges: Vec<IpNet>,

    /// Seconds that a load balancer may take to assign an address to a run's Service before the run
    /// reports that it waits for one.
    #[arg(long, env = "FARRIER_LOAD_BALANCER_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u16).range(1..=3600))]
    load_balancer_seconds: u16,
}

impl ClusterArgs {
    /// Returns the location of this replica.
    pub(super) fn site(&self, replica: &Replica, objects: Option<RunObjects>) -> Site {
        Site {
            namespace: replica.namespace.clone(),
            location: replica.info.location.clone(),
            ranges: Ranges { pods: self.pod_ranges.clone(), services: self.service_ranges.clone() },
            balancer_timeout: Duration::from_secs(self.load_balancer_seconds.into()),
            objects,
        }
    }
}
