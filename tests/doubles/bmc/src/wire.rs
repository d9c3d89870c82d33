//! From a reply to bytes on the connection, and the ways in which they do not arrive.

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use hyper::{Method, Response};
use serde_json::Value;

use crate::fault::Fault;
use crate::reply::{Content, slash_links};
use crate::route::Asked;
use crate::state::Bmc;

/// The connection ends here.
#[derive(Debug)]
pub(crate) struct Aborted;

impl std::fmt::Display for Aborted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("aborted, as a test wants it")
    }
}

impl std::error::Error for Aborted {}

pub(crate) type Answer = UnsyncBoxBody<Bytes, Aborted>;

pub(crate) fn finish(
    bmc: &Bmc,
    asked: &Asked,
    reply: crate::reply::Reply,
) -> Result<Response<Answer>, Aborted> {
    let (lost, cut, chunked) = {
        let mut state = bmc.lock();
        let here = |path: &String| asked.path.contains(path.as_str()).then_some(());
        let posted = asked.method == Method::POST;
        let lost = state.faults.take(|fault| match fault {
            Fault::LostAnswer { path } if posted => here(path),
            _ => None,
        });
        let cut = state.faults.take(|fault| match fault {
            Fault::CutAnswer { path } => here(path),
            _ => None,
        });
        (lost.is_some(), cut.is_some(), state.settings.chunked)
    };
    if lost {
        return Err(Aborted);
    }
    let mut response = Response::builder()
        .status(reply.status)
        .header("odata-version", "4.0")
        .header("cache-control", "no-cache");
    for (name, value) in &reply.headers {
        let whole = *name == "location" && bmc.variant.absolute_location && value.starts_with('/');
        let value = if whole { format!("{}{value}", asked.base) } else { value.clone() };
        response = response.header(*name, value);
    }
    let (kind, bytes) = render(bmc, reply.content);
    if let Some((kind, described)) = kind {
        response = response.header("content-type", kind);
        if let Some(described) = described {
            response = response.header("link", format!("<{described}>; rel=describedby"));
        }
    }
    let head_only = asked.method == Method::HEAD;
    let body = body(if head_only { Bytes::new() } else { bytes }, cut, chunked && !head_only);
    response.body(body).map_err(|_| Aborted)
}

type Kind = Option<(&'static str, Option<String>)>;

fn render(bmc: &Bmc, content: Content) -> (Kind, Bytes) {
    match content {
        Content::None => (None, Bytes::new()),
        Content::Text { kind, text } => (Some((kind, None)), text.into()),
        Content::Json(mut value) => {
            if bmc.variant.trailing_slash {
                slash_links(&mut value);
            }
            (Some(("application/json", described(&value))), value.to_string().into())
        }
    }
}

/// Where the schema of a resource is.
fn described(value: &Value) -> Option<String> {
    let kind = value["@odata.type"].as_str()?.strip_prefix('#')?;
    let (schema, _) = kind.rsplit_once('.')?;
    Some(format!("http://redfish.dmtf.org/schemas/v1/{schema}.json"))
}

fn body(bytes: Bytes, cut: bool, chunked: bool) -> Answer {
    if cut {
        let half = bytes.slice(..bytes.len() / 2);
        let frames = [Ok(Frame::data(half)), Err(Aborted)];
        return UnsyncBoxBody::new(StreamBody::new(futures::stream::iter(frames)));
    }
    if chunked {
        let pieces: Vec<_> = bytes.chunks(64).map(Bytes::copy_from_slice).collect();
        let frames = futures::stream::iter(pieces).map(|piece| Ok(Frame::data(piece)));
        return UnsyncBoxBody::new(StreamBody::new(frames));
    }
    UnsyncBoxBody::new(Full::new(bytes).map_err(|never| match never {}))
}
