//! Where the operator is, and what of the cluster it must know for that.

use super::replica::Replica;
use crate::exposure::{Objects, Site};
use farrier_network::IpNet;
use farrier_network::policy::Ranges;

/// What is told of the cluster.
#[derive(Debug, clap::Args)]
pub(super) struct Surroundings {
    /// Address ranges of the cluster's pods: no machine can have an address there.
    #[arg(long, env = "FARRIER_POD_RANGES", value_delimiter = ',')]
    pod_ranges: Vec<IpNet>,

    /// Address ranges of the cluster's Services: no machine can have an address there.
    #[arg(long, env = "FARRIER_SERVICE_RANGES", value_delimiter = ',')]
    service_ranges: Vec<IpNet>,
}

impl Surroundings {
    /// Where this replica is.
    pub(super) fn site(&self, replica: &Replica, objects: Option<Objects>) -> Site {
        Site {
            namespace: replica.namespace.clone(),
            home: replica.info.home.clone(),
            ranges: Ranges { pods: self.pod_ranges.clone(), services: self.service_ranges.clone() },
            objects,
        }
    }
}
