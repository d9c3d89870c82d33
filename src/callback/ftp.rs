//! FTP: reading the run's offers, for machines that can fetch in no other way.
//!
//! The control connection comes to the service's port, data connections to the ports after it. What this service does
//! not do, on purpose:
//!
//! - Active mode. The server would connect to an address that the client names, also to a third host.
//! - Writing, and listing more than the one file that the account sees.
//! - Changing line ends: an image is sent as it is in both types, as vsftpd does by default. A machine that never asks
//!   for binary would get a broken image otherwise.
//! - TLS. Name and password go over the network in the clear, and open one file for one machine until its action has
//!   ended.
//!
//! A connection has the budgets of [`devices`](super::devices). A client has [`Limits::request`](super::Limits) to
//! sign in, and may be idle for [`IDLE`] after that.

mod command;
mod lines;
mod passive;
mod session;

use super::files::Visitor;
use passive::PassivePorts;
use session::FtpSession;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long a client that has signed in may be idle: RFC 1123 (4.1.3.2) asks for five minutes at least.
pub(super) const IDLE: Duration = Duration::from_mins(5);

/// How long a client may take to connect to the port that it was told.
const DATA_PATIENCE: Duration = Duration::from_secs(30);

/// Attempts to sign in on one connection.
const MAX_ATTEMPTS: u8 = 3;

/// How long an answer to a wrong password takes.
const REJECTION: Duration = Duration::from_secs(1);

/// The FTP service of one run.
pub(super) struct FtpService {
    passive: Arc<PassivePorts>,
}

impl FtpService {
    /// Creates the service with these ports for data connections.
    pub(super) fn new(passive: Vec<u16>) -> Self {
        Self { passive: PassivePorts::new(passive) }
    }

    /// Hands a data connection to the session that waits for it. Reports whether there is one.
    pub(super) fn arrived(&self, port: u16, source: IpAddr, stream: TcpStream) -> bool {
        self.passive.arrived(port, source, stream)
    }

    /// Serves a control connection until its end.
    pub(super) async fn serve(&self, visitor: Visitor, stream: TcpStream, local: SocketAddr) {
        let deadline = Instant::now() + visitor.state.admission.limits().request;
        FtpSession::new(self.passive.clone(), visitor, stream, local, deadline).run().await;
    }
}
