//! Images that a machine fetches from Farrier itself.
//!
//! An offer is made for one action and is dead when the action has ended. The machine cannot be asked to test the
//! way to Farrier, so the fetch is the test, and [`Fetch`] is its result.

use super::{Marks, Waiting};
use crate::callback::Refusals;
use crate::failure::Failure;
use farrier_update::PayloadRef;
use farrier_update::device::{Action, ActionId, State, Verb};
use farrier_update::plan::file_name;
use futures::future::BoxFuture;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub use farrier_network::Scheme;

/// An image that a machine can fetch. It is dead when its action has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Where the machine fetches it: a file, or a folder, without a slash at the end. Nobody can guess it, so it is
    /// never logged.
    pub url: String,
    /// The protocol of the URL.
    pub scheme: Scheme,
    /// The authority of the server's certificate in PEM, for machines that verify it; empty without TLS.
    pub authority: String,
    /// The account, with protocols that have one. It is not in the URL.
    pub login: Option<Login>,
}

/// An account that sees the file of one offer. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// Its password, which is never logged.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Offer {
    /// Returns the URL with the account in it, for machines that take no account beside it.
    pub fn url_with_login(&self) -> String {
        match (&self.login, self.url.split_once("://")) {
            // Neither of them has characters that a URL would escape.
            (Some(Login { user, password }), Some((scheme, rest))) => {
                format!("{scheme}://{user}:{password}@{rest}")
            }
            (Some(_), None) | (None, _) => self.url.clone(),
        }
    }
}

/// A protocol by which a device fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchWay {
    /// The protocol.
    pub scheme: Scheme,
    /// The only port at which the device looks for the server, if it cannot be told one.
    pub port: Option<u16>,
}

impl From<Scheme> for FetchWay {
    /// At any port.
    fn from(scheme: Scheme) -> Self {
        Self { scheme, port: None }
    }
}

/// A file that is to be offered, or an archive as a folder.
#[derive(Debug, Clone, Copy)]
pub struct OfferedFile<'a> {
    /// The action that hands it over.
    pub action: ActionId,
    /// Its name for the machine.
    pub name: &'a str,
    /// Digest of its content.
    pub digest: &'a str,
    /// Its length in bytes; `None` for a folder, of which a machine fetches what it needs.
    pub size: Option<u64>,
    /// Whether it is an archive that is offered as a folder.
    pub unpack: bool,
    /// The address at which the device answered us, whose family it then is told, too.
    pub reached: Option<IpAddr>,
}

/// A port of Farrier's that a machine has to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What is spoken there.
    pub scheme: Scheme,
    /// The address or the name to connect to.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The authority of the server's certificate in PEM; empty without TLS.
    pub authority: String,
}

/// What a machine has to reach of Farrier's, and what is known about connections from it.
#[derive(Debug, Clone, Default)]
pub struct WaysBack {
    /// The ports.
    pub places: Vec<Place>,
    /// The addresses of the machine, from which it may connect.
    pub own: Vec<IpAddr>,
    /// The connections that were rejected.
    pub refusals: Arc<Refusals>,
}

/// What is known of the fetch of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The address from which the machine has connected since the offer was made; `None`: it has not.
    pub seen: Option<IpAddr>,
    /// How the machine has rejected the server's certificate, if it has, and has asked for nothing since.
    pub rejected: Option<String>,
    /// Whether other machines of the run connect from its addresses, so that only a request tells which one it is.
    pub is_shared: bool,
    /// Whether the offer was made by an earlier process; then whether the machine had connected to that one.
    pub resumed: Option<bool>,
    /// Whether nobody else can have served the machine, so that `seen` is the whole truth.
    pub is_certain: bool,
    /// How many bytes from the start of the image were sent.
    pub bytes: u64,
    /// The size of the image in bytes, if it is known.
    pub size: Option<u64>,
    /// How long ago bytes were sent last; `None`: none were.
    pub idle: Option<Duration>,
    /// How long ago the offer was made.
    pub age: Duration,
    /// Where the machine was told to connect: an address or a name, and a port.
    pub place: (String, u16),
    /// The addresses of the machine, from which it may connect.
    pub own: Vec<IpAddr>,
    /// Addresses that were rejected meanwhile because they are of no machine of the run.
    pub strangers: Vec<IpAddr>,
}

/// Makes offers to one machine.
pub trait Offers: Send + Sync {
    /// Picks the first of these protocols that this machine may use: by the table of ports for its type, by the file
    /// services whose ports the run names, and by what is known before ports are open of where the machine would have
    /// to connect. `reached` is the address at which it answered us.
    ///
    /// # Errors
    /// `NotYetSupported`: there is none. `FetchPortWrong`, `CallbackAddressMissing`: the machine could not use it.
    fn pick(&self, ways: &[FetchWay], reached: Option<IpAddr>) -> Result<FetchWay, Failure>;

    /// Describes the wait for the ports of the run, which begins now.
    fn wait(&self) -> Waiting;

    /// Waits until the machine can reach this runner by this protocol, and offers it the file, for the file's
    /// action only. The controller opens the port because
    /// [`View::fetches_by`](super::View::fetches_by) says so.
    ///
    /// # Errors
    /// Why the run's ports are not open, with the next step.
    fn offer<'a>(&'a self, way: FetchWay, file: OfferedFile<'a>) -> BoxFuture<'a, Result<Offer, Failure>>;

    /// Waits until all ports are open that the table of ports lists for connections from this machine, for a machine
    /// that tries them itself. `reached` is the address at which it answered us, in whose family it then tries them.
    /// Empty: there are none.
    ///
    /// # Errors
    /// As [`Self::offer`].
    fn ways_back(&self, _reached: Option<IpAddr>) -> BoxFuture<'_, Result<WaysBack, Failure>> {
        Box::pin(std::future::ready(Ok(WaysBack::default())))
    }

    /// Returns what is known of the fetch of an action's image; `None` if this process has not offered it.
    fn fetched(&self, action: ActionId) -> Option<Fetch>;

    /// Watches the fetch of an image that an earlier process has offered. Returns false if that is not possible yet.
    fn resume(&self, _action: ActionId) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }

    /// Ends the offer of an action for good, unless the machine has connected or somebody else may have served it.
    /// Returns whether it has ended: then the machine has certainly fetched nothing, and will not.
    fn withdraw(&self, action: ActionId) -> bool;

    /// Lets the machine post its events for an action. Returns the URL; `None` if it has nowhere to post to.
    fn offer_posts(&self, _action: ActionId) -> Option<String> {
        None
    }

    /// Counts the posts of the machine.
    fn posts(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// Ends what is offered for all other actions than these.
    fn keep(&self, actions: &[ActionId]);
}

/// Returns the name of an image for a machine: it carries the number of the action and digits of the digest, and ends
/// as the payload's own name does; without the ending of an archive if the machine sees a folder.
pub fn image_name(session: &str, action: ActionId, payload: &PayloadRef) -> String {
    let file = file_name(&payload.url);
    let name = if payload.unpack { folder_name(&file) } else { &file };
    Marks::new(&id_of(session)).image_name(action, &payload.digest, name)
}

/// Returns the name of an archive without its ending.
fn folder_name(file: &str) -> &str {
    let ends = |ending: &&str| {
        let begin = file.len().checked_sub(ending.len())?;
        let (name, end) = file.split_at_checked(begin)?;
        (end.eq_ignore_ascii_case(ending) && !name.is_empty()).then_some(name)
    };
    [".tar.gz", ".tgz", ".tar", ".zip"].iter().find_map(ends).unwrap_or(file)
}

/// The first twelve ASCII alphanumeric characters of a session id.
pub(super) fn id_of(session: &str) -> String {
    session.chars().filter(char::is_ascii_alphanumeric).take(12).collect()
}

/// Returns the actions for which a machine may fetch an image.
pub fn open_pulls(actions: &[Action]) -> Vec<ActionId> {
    let is_open = |action: &&Action| action.verb == Verb::Pull && action.is_open();
    actions.iter().filter(is_open).map(|action| action.id).collect()
}

/// Returns the actions for which a machine may post its events.
pub fn open_subscriptions(actions: &[Action]) -> Vec<ActionId> {
    let is_ended = |id: ActionId| {
        actions
            .iter()
            .any(|action| action.of == Some(id) && action.state == State::Ended && !action.is_void())
    };
    let is_open =
        |action: &&Action| action.verb == Verb::Subscribe && action.is_open() && !is_ended(action.id);
    actions.iter().filter(is_open).map(|action| action.id).collect()
}
