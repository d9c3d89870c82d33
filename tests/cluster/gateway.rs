//! What stands between an operator and the API server and can hold watches back: so does an API server
//! whose watch cache of a kind is not filled yet, or a network that has lost one connection of several.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A way to the API server on which watches of one kind are held back. It ends with the test.
pub(crate) struct Gateway {
    port: u16,
    held: Arc<watch::Sender<bool>>,
}

impl Gateway {
    /// A gateway that holds back every watch whose path ends like this, for instance `managednodes`,
    /// until [`Gateway::release`]. Lists pass.
    pub(crate) async fn holding(client: &Client, path: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let held = Arc::new(watch::channel(true).0);
        let (client, holds) = (client.clone(), held.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, holds) = (client.clone(), holds.clone());
                let answer = service_fn(move |request: Request<Incoming>| {
                    pass(client.clone(), holds.subscribe(), path, request)
                });
                // An error says that the operator has gone.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { port, held }
    }

    /// From now on every watch passes, those that wait among them.
    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }

    /// A kubeconfig by which the API server is found through the gateway.
    pub(crate) fn kubeconfig(&self, file: &Path) {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{}", self.port)}}],
            "users": [{"name": "u", "user": {}}],
        });
        std::fs::write(file, config.to_string()).expect("a written kubeconfig");
    }
}

/// Asks the API server in the name of the test's own client.
async fn pass(
    client: Client,
    mut held: watch::Receiver<bool>,
    path: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, kube::Error> {
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    if is_watch && request.uri().path().ends_with(path) {
        // An error says that the test is over.
        held.wait_for(|held| !held).await.ok();
    }
    let (mut parts, body) = request.into_parts();
    parts.headers.remove("host");
    let bytes = body.collect().await.map_err(|error| kube::Error::Service(error.into()))?.to_bytes();
    client.send(Request::from_parts(parts, Body::from(bytes))).await
}
