//! The control API, on a port of its own: faults, settings, journal. It is no part of the device.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Double;
use crate::fault::Armed;

/// Serves until the double is dropped, which ends this task.
pub(crate) async fn serve(double: Arc<crate::Inner>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let double = Arc::clone(&double);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let double = Arc::clone(&double);
                async move { Ok::<_, std::convert::Infallible>(answer(&double, request).await) }
            });
            drop(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

async fn answer(
    double: &Arc<crate::Inner>,
    request: Request<hyper::body::Incoming>,
) -> Response<Full<Bytes>> {
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
    match act(double, &head.method, head.uri.path(), query, body).await {
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
    double: &Arc<crate::Inner>,
    method: &Method,
    path: &str,
    query: &str,
    body: Value,
) -> anyhow::Result<Value> {
    let double = Double::view(double);
    match (method.as_str(), path) {
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
            let armed: Vec<Armed> = match body {
                Value::Array(_) => serde_json::from_value(body)?,
                one => vec![serde_json::from_value(one)?],
            };
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
        ("POST", "/reboot") => {
            double.reboot().await;
            Ok(json!({}))
        }
        ("PATCH", "/versions") => {
            for (part, version) in body.as_object().into_iter().flatten() {
                double.set_version(part, version.as_str().unwrap_or_default())?;
            }
            Ok(double.state())
        }
        _ => anyhow::bail!("the control API has no {method} {path}"),
    }
}
