//! The file services of a run, from which doubles with a command line fetch their images: Farrier's own server.

use farrier::attempt::{Fetch, FetchWay, Login, Offer, OfferedFile, Offers, Scheme, Waiting};
use farrier::callback::{
    ACCOUNT, AddressSet, Counters, Family, HostKeys, Limits, OfferContent, OpenOffer, OpenOffers, OpenPosts,
    OpenService, Pair, Registry, RunIdentity, Server, ServerOptions, bind, bind_service, in_url, serve,
};
use farrier::failure::Failure;
use farrier::payload::Tree;
use farrier_network::FileService;
use farrier_update::Reason;
use farrier_update::device::ActionId;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The session of all offers: each double has a run of its own.
const SESSION: &str = "kit";

/// The server of one double.
pub(crate) struct Services {
    /// Where they are.
    host: IpAddr,
    /// Port of each protocol.
    ports: BTreeMap<Scheme, u16>,
    offered: Arc<Offered>,
    identity: Arc<RunIdentity>,
    /// What accepts connections; `None`: nothing does any more.
    open: Mutex<Option<(Server, [OpenService; 2])>>,
    /// What must live as long as the server.
    _sources: watch::Sender<Arc<AddressSet>>,
    _peers: watch::Sender<Arc<[IpAddr]>>,
    _names: watch::Sender<Arc<BTreeSet<String>>>,
}

/// What is offered, and what became known of it.
#[derive(Default)]
struct Offered {
    files: BTreeMap<String, PathBuf>,
    trees: BTreeMap<String, Arc<Tree>>,
    open: Mutex<BTreeMap<ActionId, One>>,
}

struct One {
    offer: OpenOffer,
    size: u64,
    at: Instant,
    is_seen: bool,
    sent: u64,
    is_withdrawn: bool,
}

impl Offered {
    fn open(&self) -> MutexGuard<'_, BTreeMap<ActionId, One>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenOffers for Offered {
    fn to(&self, _: IpAddr) -> Vec<OpenOffer> {
        self.open().values().filter(|one| !one.is_withdrawn).map(|one| one.offer.clone()).collect()
    }

    fn is_served(&self, _: IpAddr, _: FileService) -> bool {
        true
    }

    fn content(&self, offer: &OpenOffer) -> BoxFuture<'static, Result<OfferContent, Failure>> {
        let file = || self.files.get(&offer.digest).cloned().map(OfferContent::File);
        let tree = self.trees.get(&offer.digest).cloned().map(OfferContent::Tree);
        let found =
            tree.or_else(file).ok_or_else(|| Failure::new(Reason::PayloadNotFound, "there is no such file"));
        Box::pin(std::future::ready(found))
    }

    fn posts_from(&self, _: IpAddr) -> Vec<OpenPosts> {
        Vec::new()
    }

    fn note_post(&self, _: &OpenPosts) -> bool {
        false
    }

    fn reached_at(&self, _: IpAddr) -> Option<IpAddr> {
        None
    }

    fn note_connection(&self, _: IpAddr) {}

    fn note_rejection(&self, _: IpAddr, _: &str) {}

    fn note_request(&self, offer: &OpenOffer, _: IpAddr) {
        if let Some(one) = self.open().get_mut(&ActionId(offer.action)) {
            one.is_seen = true;
        }
    }

    fn note_sent(&self, offer: &OpenOffer, _: u32, position: u64) {
        if let Some(one) = self.open().get_mut(&ActionId(offer.action)) {
            one.sent = one.sent.max(position);
        }
    }
}

impl Services {
    /// Opens all services at this address of loopback, for files and the content of archives by digest.
    pub(crate) fn open(
        host: IpAddr,
        files: BTreeMap<String, PathBuf>,
        trees: BTreeMap<String, Arc<Tree>>,
    ) -> Arc<Self> {
        let families = [if host.is_ipv6() { Family::V6 } else { Family::V4 }];
        let identity = Arc::new(RunIdentity::generate("kit").unwrap());
        let offered = Arc::new(Offered { files, trees, ..Offered::default() });
        let (own, sources) = watch::channel(Arc::new(AddressSet::from_iter([host])));
        let (others, peers) = watch::channel(Arc::from([]));
        let (of_certificate, names) = watch::channel(Arc::new(BTreeSet::from([host.to_string()])));
        let options = ServerOptions {
            identity: identity.clone(),
            sources,
            peers,
            registry: Registry::new(),
            offers: offered.clone(),
            names,
            counters: Arc::new(Counters::default()),
            limits: Limits::default(),
        };
        let server = serve(bind(Pair { http: 0, https: 0 }, &families).unwrap(), options).unwrap();
        let keys = HostKeys::from_map(&HostKeys::generate().unwrap()).unwrap();
        let sftp = bind_service(FileService::Sftp, 0, &families).unwrap();
        let ftp = bind_service(FileService::Ftp, 0, &families).unwrap();
        let ports = BTreeMap::from([
            (Scheme::Https, server.pair().https),
            (Scheme::Http, server.pair().http),
            (Scheme::Sftp, sftp.port()),
            (Scheme::Scp, sftp.port()),
            (Scheme::Ftp, ftp.port()),
        ]);
        let open = [server.open(sftp, &keys), server.open(ftp, &keys)];
        Arc::new(Self {
            host,
            ports,
            offered,
            identity,
            open: Mutex::new(Some((server, open))),
            _sources: own,
            _peers: others,
            _names: of_certificate,
        })
    }

    /// The port of a protocol.
    pub(crate) fn port(&self, scheme: Scheme) -> u16 {
        self.ports.get(&scheme).copied().unwrap_or_default()
    }

    /// The password of the account for one image.
    pub(crate) fn password(&self, action: ActionId) -> String {
        self.identity.password(SESSION, action.0)
    }

    /// Closes all ports.
    pub(crate) async fn shut(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((server, services)) = open {
            server.close().await;
            for service in services {
                service.close().await;
            }
        }
    }
}

/// The offers of one attempt.
pub(crate) struct Shelf {
    services: Arc<Services>,
    own: Mutex<BTreeSet<ActionId>>,
}

impl Shelf {
    pub(crate) fn new(services: &Arc<Services>) -> Self {
        Self { services: services.clone(), own: Mutex::default() }
    }
}

impl Offers for Shelf {
    fn pick(&self, ways: &[FetchWay], _: Option<IpAddr>) -> Result<FetchWay, Failure> {
        ways.first().copied().ok_or_else(|| Failure::new(Reason::NotYetSupported, "it fetches by nothing"))
    }

    fn wait(&self) -> Waiting {
        Waiting::new(Reason::Exposing, "the server of the test", "ports", Duration::from_secs(1))
    }

    fn offer<'a>(&'a self, way: FetchWay, file: OfferedFile<'a>) -> BoxFuture<'a, Result<Offer, Failure>> {
        Box::pin(async move {
            let scheme = way.scheme;
            let action = file.action.0;
            let (name, digest) = (file.name.to_owned(), file.digest.to_owned());
            let offer = OpenOffer { session: SESSION.into(), action, name, digest, unpack: file.unpack };
            let (size, at) = (file.size.unwrap_or_default(), Instant::now());
            let one = One { offer, size, at, is_seen: false, sent: 0, is_withdrawn: false };
            self.services.offered.open().insert(file.action, one);
            self.own.lock().unwrap_or_else(PoisonError::into_inner).insert(file.action);
            let (port, identity) = (self.services.port(scheme), &self.services.identity);
            let folder = match scheme {
                Scheme::Https | Scheme::Http => {
                    format!("/{}/{}", identity.path_token(), identity.offer_token(SESSION, action))
                }
                Scheme::Sftp | Scheme::Scp | Scheme::Ftp => String::new(),
            };
            let password = self.services.password(file.action);
            let login = scheme.service().map(|_| Login { user: ACCOUNT.to_owned(), password });
            let at = SocketAddr::new(self.services.host, port);
            let url = format!("{scheme}://{at}{folder}/{}", in_url(file.name));
            Ok(Offer { url, scheme, authority: identity.authority().to_owned(), login })
        })
    }

    fn fetched(&self, action: ActionId) -> Option<Fetch> {
        if !self.own.lock().unwrap_or_else(PoisonError::into_inner).contains(&action) {
            return None;
        }
        let open = self.services.offered.open();
        let one = open.get(&action)?;
        Some(Fetch {
            seen: one.is_seen.then_some(self.services.host),
            rejected: None,
            is_shared: false,
            resumed: None,
            is_certain: true,
            bytes: one.sent,
            size: Some(one.size),
            idle: one.is_seen.then(|| one.at.elapsed()),
            age: one.at.elapsed(),
            place: (self.services.host.to_string(), 0),
            own: vec![self.services.host],
            strangers: Vec::new(),
        })
    }

    fn withdraw(&self, action: ActionId) -> bool {
        let mut open = self.services.offered.open();
        let Some(one) = open.get_mut(&action).filter(|one| !one.is_seen) else { return false };
        one.is_withdrawn = true;
        true
    }

    fn keep(&self, actions: &[ActionId]) {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.services.offered.open().retain(|action, _| actions.contains(action) || !own.contains(action));
    }
}
