//! The product's server, with one file for all.

use super::DIGEST;
use super::devices::{DEVICES, device};
use anyhow::Context as _;
use farrier::callback::{
    AddressSet, Counters, Family, Limits, OfferContent, OpenOffer, OpenOffers, OpenPosts, Pair, Registry,
    RunIdentity, ServerOptions, bind, serve,
};
use farrier::engine_api::{EngineApi, PayloadFiles};
use farrier::failure::Failure;
use farrier_network::FileService;
use farrier_protocol::CallbackConfig;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

struct OneFile(PathBuf);

impl PayloadFiles for OneFile {
    fn file(&self, digest: &str) -> Option<PathBuf> {
        (digest == DIGEST).then(|| self.0.clone())
    }
}

/// The same file for every device, each with an offer of its own.
struct Offers {
    file: PathBuf,
    of: BTreeMap<IpAddr, OpenOffer>,
}

impl OpenOffers for Offers {
    fn to(&self, source: IpAddr) -> Vec<OpenOffer> {
        self.of.get(&source).cloned().into_iter().collect()
    }

    fn is_served(&self, _: IpAddr, _: FileService) -> bool {
        false
    }

    fn content(&self, _: &OpenOffer) -> BoxFuture<'static, Result<OfferContent, Failure>> {
        Box::pin(std::future::ready(Ok(OfferContent::File(self.file.clone()))))
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

    fn note_request(&self, _: &OpenOffer, _: IpAddr) {}

    fn note_sent(&self, _: &OpenOffer, _: u32, _: u64) {}
}

/// Serves until it is killed.
pub(super) async fn answer(dir: &Path, sessions: usize) -> anyhow::Result<()> {
    let identity = Arc::new(RunIdentity::generate("bench")?);
    let (registry, file) = (Registry::new(), dir.join("payload"));
    let mut registrations = Vec::new();
    let mut configs = String::new();
    let bound = bind(Pair { http: 0, https: 0 }, &[Family::V4])?;
    let [http, https] =
        [bound.pair().http, bound.pair().https].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    // The last session is for `latency`.
    for number in 0..=sessions {
        let session = format!("s{number}");
        let engine_api = EngineApi::new(&session, 900, Box::new(OneFile(file.clone())));
        registrations.push(registry.register(&session, Arc::new(engine_api)));
        let client = identity.client_certificate(&session, Duration::from_hours(24))?;
        let config = CallbackConfig {
            addresses: vec![https.to_string()],
            server_name: CallbackConfig::server_name_of(&session),
            server_pin: identity.server_pin(),
            certificate: client.certificate,
            key: client.key,
            listen: None,
        };
        configs.push_str(&serde_json::to_string(&config)?);
        configs.push('\n');
    }
    let mut offers = Offers { file, of: BTreeMap::new() };
    let mut paths = String::new();
    for number in 0..DEVICES {
        let offer = OpenOffer {
            session: format!("d{number}"),
            action: 1,
            name: "image.bin".into(),
            digest: DIGEST.into(),
            unpack: false,
        };
        let token = identity.offer_token(&offer.session, offer.action);
        writeln!(paths, "/{}/{token}/{}", identity.path_token(), offer.name)?;
        offers.of.insert(device(number), offer);
    }
    let sources = offers.of.keys().copied().chain([https.ip()]);
    let (_sources, of_run) = watch::channel(Arc::new(sources.collect::<AddressSet>()));
    let (_peers, runners) = watch::channel(Arc::from([]));
    let side = ServerOptions {
        identity: identity.clone(),
        sources: of_run,
        peers: runners,
        registry,
        offers: Arc::new(offers),
        names: watch::channel(Arc::default()).1,
        counters: Arc::<Counters>::default(),
        // All engines of the bench have one address.
        limits: Limits { begins: (u32::MAX, u32::MAX), ..Limits::default() },
    };
    let _server = serve(bound, side)?;
    std::fs::write(dir.join("ca.crt"), identity.to_map().remove("ca.crt").context("a CA")?)?;
    std::fs::write(dir.join("engines"), configs)?;
    std::fs::write(dir.join("offers"), paths)?;
    std::fs::write(dir.join("http"), http.to_string())?;
    // Written last and atomically: once the file exists, clients may begin.
    std::fs::write(dir.join("https.part"), https.to_string())?;
    std::fs::rename(dir.join("https.part"), dir.join("https"))?;
    std::future::pending().await
}
