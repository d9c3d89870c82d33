//! `s3://` against versitygw.

use crate::front::{CERTIFICATES, Front, answer, scripted};
use crate::process::{Process, free_port, program, run, serve};
use crate::{LONG, MIB, access, bytes, fetch, is, is_resumed, made_earlier, put};
use farrier::payload::{Access, S3Keys};
use farrier_update::Reason;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The keys of the owner of all buckets.
pub(crate) const OWNER: (&str, &str) = ("root-id", "root-secret");

const SMALL: &[u8] = b"a firmware image\n";

/// The S3 server: each directory below its own is a bucket.
pub(crate) struct Gateway {
    pub(crate) front: Front,
    port: u16,
    dir: TempDir,
    _process: Process,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (buckets, accounts) = (dir.path().join("buckets"), dir.path().join("accounts"));
        for made in [&buckets, &accounts] {
            std::fs::create_dir(made).expect("a directory");
        }
        let port = free_port().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut command = Command::new(program("versitygw"));
        command.args([
            "--quiet",
            "--access",
            "root-id",
            "--secret",
            "root-secret",
            "--region",
            "eu-central-1",
        ]);
        command.args(["--port", &format!("127.0.0.1:{port}")]).arg("--iam-dir").arg(&accounts);
        command.arg("posix").arg(&buckets);
        let process = serve(&mut command, port).await;
        Self { front: Front::on(listener, port), port, dir, _process: process }
    }

    /// Makes a bucket and returns its directory.
    pub(crate) fn bucket(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join("buckets").join(name);
        std::fs::create_dir(&dir).expect("a directory");
        dir
    }

    fn url(&self, object: &str) -> String {
        format!("s3://{object}?endpoint=https://{}&region=eu-central-1", self.front.host)
    }
}

fn with_keys(id: &str, secret: &str) -> Access {
    let s3 = S3Keys { access_key_id: id.into(), secret_access_key: secret.into(), session_token: None };
    Access { s3: Some(s3), ..access() }
}

fn as_owner() -> Access {
    with_keys(OWNER.0, OWNER.1)
}

#[tokio::test]
async fn an_object_is_fetched_whatever_its_key() {
    let gateway = Gateway::start().await;
    let bucket = gateway.bucket("firmware");
    std::fs::create_dir(bucket.join("ilo 5")).expect("a directory");
    std::fs::write(bucket.join("ilo 5").join("a+b(1)=ä&c?.bin"), SMALL).expect("a file");
    let url = gateway.url("firmware/ilo%205/a+b(1)=%C3%A4&c%3F.bin");
    assert_eq!(fetch(&url, as_owner(), SMALL).await, Ok(SMALL.len() as u64));
}

#[tokio::test]
async fn a_cut_download_goes_on_and_is_signed_again() {
    let gateway = Gateway::start().await;
    let long = bytes(LONG, 4);
    std::fs::write(gateway.bucket("firmware").join("bios.fd"), &long).expect("a file");
    gateway.front.cut(&[3 * MIB, 2 * MIB]);
    assert_eq!(fetch(&gateway.url("firmware/bios.fd"), as_owner(), &long).await, Ok(LONG as u64));
    is_resumed(&gateway.front.seen(), 3);
    assert_eq!(gateway.front.asked().matches("authorization: aws4-hmac-sha256").count(), 3);
    assert!(!gateway.front.asked().contains("root-secret"));
}

/// versitygw ignores `If-Range`: two halves of two files are taken for a file that somebody changed, for good.
#[tokio::test]
async fn an_object_that_is_replaced_meanwhile_is_fetched_from_its_first_byte() {
    let gateway = Gateway::start().await;
    let file = gateway.bucket("firmware").join("bios.fd");
    let new = bytes(LONG, 12);
    put(&file, &bytes(LONG, 11));
    made_earlier(&file);
    gateway.front.cut(&[3 * MIB]);
    let url = gateway.url("firmware/bios.fd");
    let replace = async {
        gateway.front.has_sent(3 * MIB).await;
        put(&file, &new);
    };
    let (fetched, ()) = tokio::join!(fetch(&url, as_owner(), &new), replace);
    assert_eq!(fetched, Ok(LONG as u64));
}

/// A public bucket needs keys.
#[tokio::test]
async fn an_object_that_everybody_may_read_needs_no_keys() {
    let gateway = Gateway::start().await;
    std::fs::write(gateway.bucket("public").join("bios.fd"), SMALL).expect("a file");
    let policy = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*",
        "Action": "s3:GetObject", "Resource": "arn:aws:s3:::public/*"}]}"#;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--noproxy", "*", "--aws-sigv4", "aws:amz:eu-central-1:s3"]);
    curl.args(["--user", "root-id:root-secret", "--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]);
    curl.args(["--request", "PUT", "--data-binary", policy]);
    run(curl.arg(format!("http://127.0.0.1:{}/public?policy=", gateway.port)));
    assert_eq!(fetch(&gateway.url("public/bios.fd"), access(), SMALL).await, Ok(SMALL.len() as u64));
    assert!(!gateway.front.asked().contains("authorization"));
}

/// Users do not learn whether to correct the URL, the keys, the rights or the region.
#[tokio::test]
async fn each_mistake_is_named() {
    let gateway = Gateway::start().await;
    std::fs::write(gateway.bucket("firmware").join("bios.fd"), SMALL).expect("a file");
    let url = gateway.url("firmware/bios.fd");
    let fetched = fetch(&gateway.url("firmware/none.fd"), as_owner(), SMALL).await;
    is(&fetched, Reason::PayloadNotFound, &["NoSuchKey", "bucket firmware has no object none.fd"]);
    let fetched = fetch(&gateway.url("elsewhere/bios.fd"), as_owner(), SMALL).await;
    is(&fetched, Reason::PayloadNotFound, &["NoSuchBucket", "no bucket elsewhere"]);
    let fetched = fetch(&url, with_keys("nobody", "root-secret"), SMALL).await;
    is(&fetched, Reason::PayloadRefused, &["InvalidAccessKeyId", "correct access-key-id"]);
    let fetched = fetch(&url, with_keys("root-id", "not-the-secret"), SMALL).await;
    is(&fetched, Reason::PayloadRefused, &["SignatureDoesNotMatch", "correct secret-access-key"]);
    assert!(!fetched.expect_err("a failure").message.contains("not-the-secret"));
    let fetched = fetch(&url, access(), SMALL).await;
    is(&fetched, Reason::PayloadRefused, &["AccessDenied", "give access-key-id"]);
    let fetched = fetch(&url.replace("eu-central-1", "us-east-1"), as_owner(), SMALL).await;
    is(&fetched, Reason::PayloadRefused, &["add region=eu-central-1"]);
    let endpoint = format!("http://127.0.0.1:{}", gateway.port);
    let mut admin = Command::new(program("versitygw"));
    admin.args(["admin", "--access", "root-id", "--secret", "root-secret", "--region", "eu-central-1"]);
    admin.args(["--endpoint-url", &endpoint, "create-user", "--access", "guest", "--secret", "guest-secret"]);
    run(admin.args(["--role", "user"]));
    let fetched = fetch(&url, with_keys("guest", "guest-secret"), SMALL).await;
    is(&fetched, Reason::PayloadRefused, &["AccessDenied", "allow the account", "s3:GetObject"]);
}

/// An operator whose clock is wrong is refused, and nobody finds out why.
#[tokio::test]
async fn clocks_that_differ_are_named() {
    let of_child = std::env::var("FETCH_IN_CHILD");
    if let Ok(url) = of_child {
        let ca = std::fs::read(std::env::var("CA_OF_PARENT").expect("a path")).expect("a certificate");
        let mut access = as_owner();
        access.trust.certificates = farrier::tls::read_bundle(&ca).expect("a certificate");
        let fetched = fetch(&url, access, SMALL).await;
        let words = &["RequestTimeTooSkewed", "operator's clock is 19 min behind", "set the clock"];
        return is(&fetched, Reason::PayloadUnavailable, words);
    }
    let gateway = Gateway::start().await;
    std::fs::write(gateway.bucket("firmware").join("bios.fd"), SMALL).expect("a file");
    // The child makes certificates of its own, in the same file.
    let ca = gateway.dir.path().join("ca.pem");
    std::fs::write(&ca, &CERTIFICATES.authority).expect("a file");
    let child = tokio::process::Command::new("faketime")
        .args(["-f", "-19.5m"])
        .arg(std::env::current_exe().expect("the path of this program"))
        .args(["--exact", "s3::clocks_that_differ_are_named"])
        .env("FETCH_IN_CHILD", gateway.url("firmware/bios.fd"))
        .env("CA_OF_PARENT", &ca)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .output()
        .await
        .expect("this program");
    let output = String::from_utf8_lossy(&[child.stdout, child.stderr].concat()).into_owned();
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

/// A bucket whose owner refers to a server of his own learns keys' signatures and session tokens.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = scripted(vec![answer("200 OK", "", SMALL)]).await;
    let redirect = format!("location: https://{}/x\r\nx-amz-bucket-region: eu-north-1\r\n", other.host);
    let server = scripted(vec![answer("307 Temporary Redirect", &redirect, b"")]).await;
    let mut access = as_owner();
    if let Some(keys) = &mut access.s3 {
        keys.session_token = Some("temporary".into());
    }
    let url = format!("s3://firmware/bios.fd?endpoint=https://{}", server.host);
    let fetched = fetch(&url, access, SMALL).await;
    is(&fetched, Reason::PayloadRefused, &["307", "add region=eu-north-1"]);
    assert!(server.asked().contains("x-amz-security-token: temporary"), "{}", server.asked());
    assert!(other.seen().is_empty());
}
