//! The control API, on a port of its own: faults, settings, journal. It is no part of the device.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::fault::Armed;
use crate::journal::Entry;

/// A double, as the control API has it.
pub trait Controlled: Send + Sync + 'static {
    /// What can go wrong.
    type Fault: Serialize + DeserializeOwned + Send;
    /// What may be changed.
    type Settings: Serialize + DeserializeOwned + Send;

    /// What it is and where.
    fn describe(&self) -> Value;

    /// What is there now.
    fn state(&self) -> Value;

    /// What happened after the line of this number.
    fn journal_since(&self, number: u64) -> Vec<Entry>;

    /// Begins an empty journal.
    fn forget_journal(&self);

    /// The faults that are on.
    fn armed(&self) -> Vec<Armed<Self::Fault>>;

    /// Switches a fault on; those that are events happen now.
    ///
    /// # Errors
    /// Why it cannot be.
    fn arm(&self, armed: Armed<Self::Fault>) -> anyhow::Result<()>;

    /// Switches faults off: those of this name, or all.
    fn clear(&self, name: Option<&str>);

    /// The settings as they are.
    fn settings(&self) -> Self::Settings;

    /// Replaces the settings.
    fn set(&self, settings: Self::Settings);

    /// Answers what only this kind of double can be asked; `None` if it cannot.
    ///
    /// # Errors
    /// Why it was not done.
    fn other(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> impl Future<Output = anyhow::Result<Option<Value>>> + Send;
}

/// Serves until its task is ended.
pub async fn serve(double: impl Controlled, listener: TcpListener) {
    let double = Arc::new(double);
    while let Ok((stream, _)) = listener.accept().await {
        let double = Arc::clone(&double);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let double = Arc::clone(&double);
                async move { Ok::<_, std::convert::Infallible>(answer(&*double, request).await) }
            });
            drop(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

async fn answer(double: &impl Controlled, request: Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body: Value = if bytes.is_empty() {
        json!({})
    } else {
        match serde_json::from_slice(&bytes) {
            Ok(body) => body,
            Err(error) => return respond(400, &json!({"error": error.to_string()})),
        }
    };
    let query = head.uri.query().unwrap_or_default();
    match act(double, head.method.as_str(), head.uri.path(), query, body).await {
        Ok(value) => respond(200, &value),
        Err(error) => respond(400, &json!({"error": format!("{error:#}")})),
    }
}

fn respond(status: u16, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

async fn act(
    double: &impl Controlled,
    method: &str,
    path: &str,
    query: &str,
    body: Value,
) -> anyhow::Result<Value> {
    match (method, path) {
        ("GET", "/") => Ok(double.describe()),
        ("GET", "/state") => Ok(double.state()),
        ("GET", "/journal") => {
            let since = query.strip_prefix("since=").and_then(|n| n.parse().ok()).unwrap_or(0);
            Ok(json!(double.journal_since(since)))
        }
        ("DELETE", "/journal") => {
            double.forget_journal();
            Ok(json!({}))
        }
        ("GET", "/faults") => Ok(json!(double.armed())),
        ("POST", "/faults") => {
            let several = if body.is_array() { body } else { json!([body]) };
            let armed: Vec<Armed<_>> = serde_json::from_value(several)?;
            for one in armed {
                double.arm(one)?;
            }
            Ok(json!(double.armed()))
        }
        ("DELETE", "/faults") => {
            double.clear(None);
            Ok(json!({}))
        }
        ("DELETE", path) if path.starts_with("/faults/") => {
            double.clear(path.strip_prefix("/faults/"));
            Ok(json!(double.armed()))
        }
        ("GET", "/settings") => Ok(json!(double.settings())),
        ("PATCH", "/settings") => {
            let mut merged = serde_json::to_value(double.settings())?;
            for (name, value) in body.as_object().into_iter().flatten() {
                merged[name] = value.clone();
            }
            double.set(serde_json::from_value(merged)?);
            Ok(json!(double.settings()))
        }
        _ => {
            let answer = double.other(method, path, &body).await?;
            answer.ok_or_else(|| anyhow::anyhow!("the control API has no {method} {path}"))
        }
    }
}
