//! Payloads from S3 and from servers that speak its protocol.

mod answer;
mod sign;

use super::client::{Redirects, client, unavailable};
use super::download::Remote;
use super::source::Source;
use crate::failure::Failure;
use farrier_update::payload_url::S3Object;
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use reqwest::{Client, Response, StatusCode, Url};

/// The object of a payload in its bucket.
pub(super) struct Bucket<'a> {
    source: &'a Source,
    object: S3Object,
    client: Client,
    url: Url,
}

impl<'a> Bucket<'a> {
    pub(super) fn new(source: &'a Source, object: S3Object) -> Result<Self, Failure> {
        let url = url_of(&object).map_err(|error| source.no_host(&error))?;
        // A signature is for one host only, and a session token must not reach another.
        Ok(Self { source, object, client: client(source, Redirects::Refused)?, url })
    }
}

/// Returns the URL that is requested. At an endpoint of the user's the bucket is in the path, which every
/// server understands without names in DNS; at Amazon's it is in the host, except where its dots would not
/// match the server's certificate.
fn url_of(object: &S3Object) -> Result<Url, <Url as std::str::FromStr>::Err> {
    let S3Object { bucket, key, endpoint, region, version_id } = object;
    let key = sign::escaped_path(key);
    let amazon = || format!("s3.{region}.amazonaws.com");
    let place = match endpoint {
        Some(host) => format!("{host}/{bucket}/{key}"),
        None if bucket.contains('.') => format!("{}/{bucket}/{key}", amazon()),
        None => format!("{bucket}.{}/{key}", amazon()),
    };
    let mut url = Url::parse(&format!("https://{place}"))?;
    if let Some(version) = version_id {
        url.set_query(Some(&format!("versionId={}", sign::escaped(version))));
    }
    Ok(url)
}

impl Remote for Bucket<'_> {
    const CHANGES: bool = true;

    async fn ask(&mut self, range: HeaderMap) -> Result<Response, Failure> {
        let mut request = self.client.get(self.url.clone()).headers(range);
        if let Some(keys) = &self.source.access.s3 {
            // The range is not signed: a proxy that changes it is found out by the digest.
            request = request.headers(sign::headers(keys, &self.object.region, &self.url, Timestamp::now()));
        }
        let response = request.send().await.map_err(|error| unavailable(self.source, &self.url, &error))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        Err(answer::refused(self.source, &self.object, &self.url, response).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::payload_url::PayloadUrl;

    /// A key that the server decodes to another one is not found, or the signature does not match.
    #[test]
    fn buckets_and_keys_become_urls() {
        let cases = [
            (
                "s3://firmware/a/b.bin?region=eu-central-1",
                "https://firmware.s3.eu-central-1.amazonaws.com/a/b.bin",
            ),
            ("s3://firm.ware/a", "https://s3.us-east-1.amazonaws.com/firm.ware/a"),
            (
                "s3://firmware/a%20b%2B(%C3%A4)%3F~*//c?endpoint=https://minio.example.net:9000&versionId=a%26b",
                "https://minio.example.net:9000/firmware/a%20b%2B%28%C3%A4%29%3F~%2A//c?versionId=a%26b",
            ),
        ];
        for (given, expected) in cases {
            let Ok(PayloadUrl::S3(object)) = PayloadUrl::parse(given) else { panic!("{given}") };
            assert_eq!(url_of(&object).unwrap().as_str(), expected);
        }
    }
}
