//! The engine's HTTP client, on the stream to the operator.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

pub(super) struct Http {
    requests: SendRequest<Full<Bytes>>,
    stream: AbortHandle,
}

impl Http {
    pub(super) async fn new(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> io::Result<Self> {
        let (requests, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        Ok(Self { requests, stream: tokio::spawn(connection).abort_handle() })
    }

    /// Posts JSON, and reads JSON.
    pub(super) async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> io::Result<T> {
        self.post_bytes(path, serde_json::to_vec(body)?).await
    }

    /// Posts bytes, and reads JSON.
    pub(super) async fn post_bytes<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: Vec<u8>,
    ) -> io::Result<T> {
        let answer = self.request("POST", path, body).await?;
        read(answer).await
    }

    /// Posts JSON, and reads JSON or that there is nothing.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> io::Result<Option<T>> {
        let answer = self.request("POST", path, serde_json::to_vec(body)?).await?;
        if answer.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        read(answer).await.map(Some)
    }

    /// Gets a payload, and returns its digest as the protocol writes it.
    pub(super) async fn digest_of(&mut self, path: &str) -> io::Result<String> {
        let mut body = self.request("GET", path, Vec::new()).await?.into_body();
        let mut digest = Sha256::new();
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame.map_err(io::Error::other)?.data_ref() {
                digest.update(data);
            }
        }
        let mut text = "sha256:".to_owned();
        for byte in digest.finalize() {
            write!(text, "{byte:02x}").map_err(io::Error::other)?;
        }
        Ok(text)
    }

    async fn request(&mut self, method: &str, path: &str, body: Vec<u8>) -> io::Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "runner")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(io::Error::other)?;
        self.requests.ready().await.map_err(io::Error::other)?;
        let answer = self.requests.send_request(request).await.map_err(io::Error::other)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(io::Error::other(format!("{method} {path}: {}", answer.status())))
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.stream.abort();
    }
}

async fn read<T: DeserializeOwned>(answer: Response<Incoming>) -> io::Result<T> {
    let body = answer.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(serde_json::from_slice(&body)?)
}
