//! File services as the API has them: their names, and the ports in spec and status.

use crate::api::UpdateRun;
use crate::api::update_run::{self, Exposure, RunnerPorts};
use farrier_network::FileService;

/// Returns the port that a run names for a service; `None`: the service is off.
pub fn named_port(run: &UpdateRun, service: FileService) -> Option<u16> {
    match service {
        FileService::Sftp => run.spec.callback.sftp_port,
        // The schema says the same; a Service would spread control and data connections over several pods.
        FileService::Ftp => {
            run.spec.callback.ftp_port.filter(|_| run.spec.callback.exposure == Exposure::HostPort)
        }
    }
}

/// Returns the port that a runner was given for a service.
pub fn given_port(ports: &RunnerPorts, service: FileService) -> Option<u16> {
    match service {
        FileService::Sftp => ports.sftp_port,
        FileService::Ftp => ports.ftp_port,
    }
}

/// Converts the name of a service in a status.
pub(super) fn from_api(service: update_run::FileService) -> FileService {
    match service {
        update_run::FileService::SFTP => FileService::Sftp,
        update_run::FileService::FTP => FileService::Ftp,
    }
}

/// Converts the name of a service for a status.
pub fn to_api(service: FileService) -> update_run::FileService {
    match service {
        FileService::Sftp => update_run::FileService::SFTP,
        FileService::Ftp => update_run::FileService::FTP,
    }
}

/// Returns the name of a run's service in the ledger, which messages show.
pub(super) fn claimant(run: &str, service: FileService) -> String {
    format!("{run} ({service})")
}
