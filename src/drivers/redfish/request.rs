//! Requests to a device.

use super::link::Link;
use crate::drivers::https::{Content, FileContent};
use hyper::Method;
use serde_json::Value;
use std::time::Duration;

/// Timeout of a request, from the connection to the last byte of the answer. `OpenStack`'s sushy and HPE's
/// proliantutils use 60 s; a BMC that is flashing has been seen to need most of it.
const REQUEST_LIMIT: Duration = Duration::from_mins(1);

/// Bytes per second of the slowest upload. An iLO 5 takes 1 to 4 MiB/s, an old BMC behind a slow line a tenth of
/// that.
const SLOWEST: u64 = 64 * 1024;

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The resource.
    pub link: Link,
    /// The content.
    pub content: Content,
    /// The name of a cookie that carries the token of the session too. Parts of the web interface of an iLO
    /// know no other header.
    pub cookie: Option<&'static str>,
    /// The request is not begun later than this after it is passed in. `None`: at any time.
    pub begin_within: Option<Duration>,
    /// The timeout, from the connection to the last byte of the answer.
    pub limit: Duration,
}

impl Request {
    /// Reads a resource.
    pub fn get(link: Link) -> Self {
        Self::new(Method::GET, link, Content::Nothing)
    }

    /// Creates a resource, or runs an action.
    pub fn post(link: Link, body: Value) -> Self {
        Self::new(Method::POST, link, Content::Json(body))
    }

    /// Deletes a resource.
    pub fn delete(link: Link) -> Self {
        Self::new(Method::DELETE, link, Content::Nothing)
    }

    /// Sends a file. The timeout grows with its size.
    pub(super) fn upload(link: Link, file: FileContent) -> Self {
        let content = Content::File(file);
        let transfer = Duration::from_secs(content.length().unwrap_or_default() / SLOWEST);
        let limit = REQUEST_LIMIT.saturating_add(transfer);
        Self { limit, ..Self::new(Method::POST, link, content) }
    }

    fn new(method: Method, link: Link, content: Content) -> Self {
        Self { method, link, content, cookie: None, begin_within: None, limit: REQUEST_LIMIT }
    }
}
