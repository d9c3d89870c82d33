//! A proxy between one operator and the API server, which can simulate an unreachable API server.

use super::Site;
use kube::config::Kubeconfig;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// It forwards them.
    Good,
    /// Connections stay open, and no bytes pass.
    Silent,
    /// Connections are closed, including new ones.
    Cut,
}

/// The proxy between an operator and the API server. It ends with the test.
pub(crate) struct ApiServer {
    line: Arc<watch::Sender<Line>>,
    /// How often all connections were lost.
    lost: Arc<watch::Sender<u32>>,
}

impl ApiServer {
    /// Restarts the site's operator with a proxy between it and the API server.
    pub(crate) async fn of(site: &Site, options: &[&str]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let upstream = kubeconfig(&site.path("kubeconfig"), port);
        let line = Arc::new(watch::channel(Line::Good).0);
        let lost = Arc::new(watch::channel(0).0);
        let (kept, losses) = (line.clone(), lost.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (line, mut lost) = (kept.subscribe(), losses.subscribe());
                lost.mark_unchanged();
                tokio::spawn(carry(stream, upstream.clone(), line, lost));
            }
        });
        site.operator.kill();
        let config = format!("--kubeconfig={}", site.path("kubeconfig").display());
        let all: Vec<&str> = options.iter().copied().chain([config.as_str()]).collect();
        site.operator.options(&all);
        site.operator.start();
        Self { line, lost }
    }

    /// Makes all existing connections silent for ever, without closing them; new connections work. This
    /// happens when their host fails and another host takes its place.
    pub(crate) fn lose_connections(&self) {
        self.lost.send_modify(|times| *times += 1);
    }

    /// Sets the state of the line.
    pub(crate) fn line(&self, line: Line) {
        self.line.send_replace(line);
    }
}

/// Writes a kubeconfig with this port of the proxy, and returns the real address of the API server.
fn kubeconfig(path: &std::path::Path, port: u16) -> String {
    let file = std::env::var_os("KUBECONFIG").expect("KUBECONFIG");
    let mut config = Kubeconfig::read_from(file).expect("a kubeconfig");
    let mut upstream = String::new();
    for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        let server = cluster.server.take().expect("a server");
        let address = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
        cluster.tls_server_name.get_or_insert(address.rsplit_once(':').expect("a port").0.to_owned());
        cluster.server = Some(format!("https://127.0.0.1:{port}"));
        upstream = address;
    }
    // JSON is YAML.
    std::fs::write(path, serde_json::to_string(&config).expect("JSON")).expect("a written kubeconfig");
    upstream
}

/// Forwards one connection, until either side or the line ends it.
async fn carry(
    from: TcpStream,
    upstream: String,
    line: watch::Receiver<Line>,
    mut lost: watch::Receiver<u32>,
) {
    let mut cut = line.clone();
    let carried = async {
        if line.clone().wait_for(|line| *line == Line::Good).await.is_err() {
            return;
        }
        let Ok(to) = TcpStream::connect(upstream).await else { return };
        let ((mut up_read, mut up_write), (mut down_read, mut down_write)) =
            (from.into_split(), to.into_split());
        tokio::select! {
            _ = async { tokio::join!(
                pass(&mut up_read, &mut down_write, line.clone()),
                pass(&mut down_read, &mut up_write, line.clone())
            ) } => {}
            _ = lost.changed() => std::future::pending().await,
        }
    };
    tokio::select! {
        () = carried => {}
        // An error means that the test has ended.
        _ = cut.wait_for(|line| *line == Line::Cut) => {}
    }
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut line: watch::Receiver<Line>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if line.wait_for(|line| *line == Line::Good).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
    // The other side may have closed the connection already.
    to.shutdown().await.ok();
}
