//! One session channel: it is read from its opening to its end, because the SSH library reads nothing more from a
//! connection while the queue of one of its channels is full.

use super::super::files::Folder;
use super::{scp, sftp};
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf};
use std::sync::{Arc, Weak};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What a client asked for on a channel.
pub(super) enum Wanted {
    /// `scp -f FILE`.
    Scp(scp::Request),
    /// The subsystem `sftp`.
    Sftp,
}

/// The answer to a request for a command or a subsystem; `None` if it is refused.
pub(super) type Verdict = Option<(Wanted, Folder)>;

/// The connection's end of a channel. Dropping it ends the task that serves the channel.
pub(super) struct OpenChannel {
    verdicts: UnboundedSender<Verdict>,
    /// Alive as long as the task is.
    served: Weak<OwnedSemaphorePermit>,
    _ended: DropGuard,
}

impl OpenChannel {
    /// Reports whether the channel is still waiting for a request.
    pub(super) fn is_waiting(&self) -> bool {
        !self.verdicts.is_closed()
    }

    /// Reports whether the channel is still served.
    pub(super) fn is_served(&self) -> bool {
        self.served.strong_count() > 0
    }

    /// Passes on the answer to a request. The channel may have ended by now.
    pub(super) fn decide(&self, verdict: Verdict) {
        let _passed = self.verdicts.send(verdict);
    }
}

/// Returns the connection's end of a channel, and what serves the channel. `ended` is the end of the connection; the
/// permit is held as long as the channel is served.
pub(super) fn open(
    channel: Channel<Msg>,
    ended: &CancellationToken,
    permit: OwnedSemaphorePermit,
) -> (OpenChannel, impl Future<Output = ()> + Send + 'static) {
    let (verdicts, mut decided) = mpsc::unbounded_channel();
    let ended = ended.child_token();
    let guard = ended.clone().drop_guard();
    let permit = Arc::new(permit);
    let place = Arc::downgrade(&permit);
    let served = async move {
        let _permit = permit;
        let (mut reader, writer) = channel.split();
        let served = async {
            let verdict = request(&mut reader, &mut decided).await;
            // From now on there is no second request.
            drop(decided);
            match verdict {
                Some((Wanted::Scp(request), folder)) => scp::serve(reader, &writer, &request, &folder).await,
                Some((Wanted::Sftp, folder)) => sftp::serve(reader, &writer, folder).await,
                None => {}
            }
            // The client may be gone by now.
            let _told = writer.close().await;
        };
        ended.run_until_cancelled(served).await;
    };
    (OpenChannel { verdicts, served: place, _ended: guard }, served)
}

/// Waits for a request that is granted. `None` if the client ends the channel, or sends data to nobody.
async fn request(reader: &mut ChannelReadHalf, decided: &mut UnboundedReceiver<Verdict>) -> Verdict {
    // The queue has each request at its place among the data; the connection decides on it right after.
    while let Some(message) = reader.wait().await {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all other messages are about terminals and forwarding"
        )]
        match message {
            ChannelMsg::Exec { .. } | ChannelMsg::RequestSubsystem { .. } => {
                if let Some(granted) = decided.recv().await? {
                    return Some(granted);
                }
            }
            ChannelMsg::Data { .. }
            | ChannelMsg::ExtendedData { .. }
            | ChannelMsg::Eof
            | ChannelMsg::Close => return None,
            _ => {}
        }
    }
    None
}
