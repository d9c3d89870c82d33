//! Payloads from TLS servers with certificates as administrators make them.
//!
//! The certificates are made by openssl (`certificates/make.sh`), and `openssl s_server` presents
//! them, so that nothing of the TLS library of the operator is on the other side.

#![expect(clippy::panic, clippy::expect_used, reason = "what a test cannot do fails it")]

use farrier::failure::Failure;
use farrier::payload::{Access, Source, Store};
use farrier::tls::{Fingerprint, Policy, Trust, read_bundle};
use farrier_update::Reason;
use futures::future::join_all;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

const BYTES: &[u8] = b"the payload\n";

/// Where the certificates are, made once for all tests of this file.
static MADE: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("certificates");
    // Of the run before, if there was one.
    std::fs::remove_dir_all(&dir).ok();
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::write(dir.join("payload"), BYTES).expect("a payload");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates/make.sh");
    let made = Command::new("sh").arg(script).current_dir(&dir).output().expect("a shell");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    dir
});

fn file(name: &str) -> PathBuf {
    MADE.join(name)
}

/// `openssl s_server`, until it is dropped.
struct Server {
    _process: Child,
    port: u16,
}

impl Server {
    async fn start(name: &str, options: &[&str]) -> Self {
        let mut command = tokio::process::Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-WWW"]).current_dir(&*MADE);
        // Or openssl itself refuses to show what is too weak. A later `-cipher` replaces this one.
        command.args(["-cipher", "DEFAULT@SECLEVEL=0"]).args(options);
        for (option, extension) in [("-cert", "pem"), ("-cert_chain", "pem"), ("-key", "key")] {
            command.arg(option).arg(format!("{name}.{extension}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn().expect("openssl");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        while let Some(line) = lines.next_line().await.expect("its output") {
            if let Some(port) = line.strip_prefix("ACCEPT ").and_then(|address| address.rsplit(':').next()) {
                return Self { _process: process, port: port.parse().expect("a port") };
            }
        }
        panic!("openssl s_server does not accept connections for {name}");
    }
}

/// Fetches the payload from a server that presents this certificate.
async fn fetch(name: &str, host: &str, options: &[&str], trust: Trust) -> Result<u64, Failure> {
    let server = Server::start(name, options).await;
    let url = format!("https://{host}:{}/payload", server.port);
    fetch_from(&url, trust).await
}

/// A server that gives one answer and passes on what it is asked. It ends with the test.
struct Https {
    port: u16,
    answer: watch::Sender<Vec<u8>>,
}

impl Https {
    async fn start(name: &str) -> (Self, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key"))).expect("a key");
        let acceptor = TlsAcceptor::from(Arc::new(presenting(name, &key, &[&TLS12, &TLS13])));
        let (answer, given) = watch::channel(Vec::new());
        let (send, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.expect("a request"));
                }
                send.send(String::from_utf8_lossy(&request).into_owned()).ok();
                let answer = given.borrow().clone();
                stream.write_all(&answer).await.expect("sent");
                stream.shutdown().await.ok();
            }
        });
        (Self { port, answer }, requests)
    }

    fn answer(&self, bytes: &[u8]) {
        self.answer.send_replace(bytes.to_owned());
    }
}

async fn fetch_from(url: &str, trust: Trust) -> Result<u64, Failure> {
    fetch_with(url, Access { trust, ..Access::default() }).await
}

async fn fetch_with(url: &str, access: Access) -> Result<u64, Failure> {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), None).expect("a store");
    let source = Source {
        component: "ethtool".into(),
        url: url.to_owned(),
        // It is written in the same way.
        digest: Fingerprint::of(BYTES).to_string(),
        size: None,
        access,
    };
    store.ensure(&source).await.map(|stored| stored.size)
}

/// Trust in the certificates of these files, as `ca.crt` has it.
fn given(names: &[&str]) -> Trust {
    let bundle: Vec<u8> = names.iter().flat_map(|name| read(&file(&format!("{name}.pem")))).collect();
    let certificates =
        if names.is_empty() { Vec::new() } else { read_bundle(&bundle).expect("certificates") };
    Trust { certificates, ..Trust::default() }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a file that make.sh makes")
}

/// Trust in a fingerprint that openssl prints.
fn pinned(name: &str) -> Trust {
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &format!("{name}.pem")])
        .current_dir(&*MADE)
        .output()
        .expect("openssl");
    let text = String::from_utf8(output.stdout).expect("text");
    let digits = text.trim().split('=').next_back().expect("digits");
    let fingerprint: Fingerprint = format!("sha256:{digits}").parse().expect("a fingerprint");
    Trust { fingerprints: [fingerprint].into(), ..Trust::default() }
}

/// A certificate that curl takes with `--cacert` is refused, and a user is sent away to make
/// another one.
#[tokio::test]
async fn certificates_that_were_given_are_trusted() {
    let cases: &[(&str, &str, &[&str])] = &[
        // As `openssl req -x509` makes it: CA:TRUE, a common name and nothing else.
        ("plain", "localhost", &["plain"]),
        ("listed", "127.0.0.1", &["listed"]),
        ("server", "localhost", &["server"]),
        // Its own signature is not what it is trusted for.
        ("old-hash", "localhost", &["old-hash"]),
        ("version-1", "localhost", &["version-1"]),
        ("critical", "127.0.0.1", &["critical"]),
        ("critical-self", "localhost", &["critical-self"]),
        ("good", "localhost", &["root"]),
        ("good", "127.0.0.1", &["other-root", "plain", "root"]),
        ("full-chain", "localhost", &["root"]),
        // Neither needs the root then.
        ("by-middle", "localhost", &["middle"]),
        ("good", "localhost", &["good"]),
    ];
    let fetched = join_all(cases.iter().map(async |(name, host, trusted)| {
        let fetched = fetch(name, host, &[], given(trusted)).await;
        (format!("{name} as {host}, trusting {trusted:?}"), fetched)
    }));
    for (case, fetched) in fetched.await {
        assert_eq!(fetched, Ok(BYTES.len() as u64), "{case}");
    }
}

/// A device whose certificate cannot be changed cannot be trusted at all.
#[tokio::test]
async fn a_fingerprint_is_enough_whatever_the_certificate_says() {
    let names = [
        "plain",
        "stranger",
        "expired",
        "future",
        "former",
        "version-1",
        "authority",
        "elsewhere",
        "weak",
        "clients",
        "critical",
    ];
    let fetched = join_all(names.map(async |name| {
        let (new, old) = tokio::join!(
            fetch(name, "localhost", &["-tls1_3"], pinned(name)),
            fetch(name, "localhost", &["-tls1_2"], pinned(name)),
        );
        (name, new, old)
    }));
    for (name, new, old) in fetched.await {
        assert_eq!(new, Ok(BYTES.len() as u64), "{name} with TLS 1.3");
        assert_eq!(old, Ok(BYTES.len() as u64), "{name} with TLS 1.2");
    }
}

/// A user who pins the certificate of one server gets the payload of another one, or whoever has
/// the key of a server's certificate makes certificates for other servers.
#[tokio::test]
async fn trust_in_a_server_is_trust_in_no_other() {
    let (another, wrong_key) = tokio::join!(
        fetch(
            "good",
            "localhost",
            &[],
            Trust { certificates: given(&["root"]).certificates, ..pinned("plain") }
        ),
        fetch("good", "localhost", &[], pinned("plain")),
    );
    // Either is enough.
    assert_eq!(another, Ok(BYTES.len() as u64));
    says(&wrong_key, &["is not one of those that are accepted", "the connection may be intercepted"]);
    says(
        &fetch("forged", "localhost", &[], given(&["server"])).await,
        &["was issued by CN=localhost", "not that of an authority"],
    );
}

/// A user knows that something is wrong with a certificate, but not what, and tries one thing after
/// the other.
#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said_in_words() {
    let cases: &[(&str, &str, &[&str], &[&str])] = &[
        ("expired", "localhost", &["root"], &["expired on 2021-01-01", "renew it"]),
        ("former", "localhost", &["former"], &["expired on 2021-01-01", "renew it"]),
        (
            "future",
            "localhost",
            &["root"],
            &["is not valid before 2100-01-01", "operator's clock", "correct the clock"],
        ),
        (
            "elsewhere",
            "localhost",
            &["root"],
            &["is for repo.example.net", "*.mirror.example.net", "not for localhost", "connect by a name"],
        ),
        ("stranger", "localhost", &["stranger"], &["is for other.example, and not for localhost"]),
        ("plain", "127.0.0.1", &["plain"], &["is for localhost, and not for 127.0.0.1"]),
        (
            "common-name",
            "localhost",
            &["root"],
            &["does not list the names", "common name localhost only", "subjectAltName = DNS:localhost"],
        ),
        ("common-name", "127.0.0.1", &["root"], &["subjectAltName = IP:127.0.0.1"]),
        ("plain", "localhost", &["other-root"], &["is self-signed", "payload.tls.fingerprints", "ca.crt"]),
        (
            "plain-anew",
            "localhost",
            &["plain"],
            &["self-signed", "differs from the trusted certificate", "payload.tls.fingerprints"],
        ),
        (
            "good",
            "localhost",
            &["other-root"],
            &["was issued by CN=root-authority", "does not send", "ca.crt"],
        ),
        ("by-middle", "localhost", &["root"], &["was issued by CN=middle-authority", "full chain"]),
        ("full-chain", "localhost", &["other-root"], &["ends at CN=root-authority", "not trusted", "ca.crt"]),
        ("good", "localhost", &["root-anew"], &["not signed with the key", "has a new key"]),
        ("authority", "localhost", &["root"], &["CA:TRUE", "CA:FALSE", "this very certificate"]),
        ("version-1", "localhost", &["root"], &["X.509 version 1", "version 3 is needed", "-extfile"]),
        ("critical", "localhost", &["root"], &["marked critical", "issue it again"]),
        ("weak", "localhost", &["root"], &["signed with SHA-1 with ECDSA", "SHA-256"]),
        ("clients", "localhost", &["root"], &["not for servers", "serverAuth"]),
    ];
    let fetched = join_all(
        cases
            .iter()
            .map(async |(name, host, trusted, words)| (fetch(name, host, &[], given(trusted)).await, words)),
    );
    for (fetched, words) in fetched.await {
        says(&fetched, words);
    }
}

/// "is for 127.0.0.1, and not for 127.0.0.1" helps nobody.
#[tokio::test]
async fn an_address_that_is_listed_as_a_dns_name_is_reported_as_that() {
    let fetched = fetch("address-as-name", "127.0.0.1", &[], given(&["root"])).await;
    says(
        &fetched,
        &["is for 127.0.0.1 as a DNS name; an address must be an IP entry", "subjectAltName = IP:"],
    );
}

/// A server that is too old, or no TLS server, is taken for one with a bad certificate.
#[tokio::test]
async fn what_is_wrong_with_a_server_is_said_in_words() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("short", &[], &["RSA key of 1024 bits", "2048"]),
        ("good", &["-tls1_1"], &["neither TLS 1.2 nor TLS 1.3", "at the server"]),
        ("good", &["-Verify", "1", "-verify_return_error"], &["certificate of the client"]),
    ];
    let fetched = join_all(cases.iter().map(async |(name, options, words)| {
        (fetch(name, "localhost", options, given(&["root", "short"])).await, words)
    }));
    for (fetched, words) in fetched.await {
        says(&fetched, words);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/payload", listener.local_addr().expect("its number"));
    let plain_http = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("sent");
        // Until the other side has gone.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
    };
    let (fetched, ()) = tokio::join!(fetch_from(&url, given(&["root"])), plain_http);
    is(&fetched, Reason::PayloadUnavailable, &["does not speak TLS", "check host and port"]);
}

/// A run fails for good because a load balancer restarts while the payload is fetched.
#[tokio::test]
async fn what_passes_by_itself_is_retried() {
    // An alert handshake_failure, which a server that is not ready sends as well.
    let options = &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"];
    let fetched = fetch("good", "localhost", options, given(&["root"])).await;
    is(&fetched, Reason::PayloadUnavailable, &["refused the TLS handshake", "AES-GCM"]);
    for (alert, words) in [(80, "InternalError"), (112, "no certificate for the requested name")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}/payload", listener.local_addr().expect("its number"));
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let fatal_alert = [21, 3, 3, 0, 2, 2, alert];
            stream.write_all(&fatal_alert).await.expect("sent");
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
        };
        let (fetched, ()) = tokio::join!(fetch_from(&url, given(&["root"])), server);
        is(&fetched, Reason::PayloadUnavailable, &[words]);
    }
}

/// The authorities of a company that are mounted into the operator's container do not count, or the key
/// of a server among them makes certificates for others.
#[tokio::test]
async fn the_authorities_of_the_system_are_those_in_ssl_cert_file() {
    let system = Trust { policy: Policy::System, ..Trust::default() };
    if let Ok(url) = std::env::var("FETCH_IN_CHILD") {
        return assert_eq!(fetch_from(&url, system).await, Ok(BYTES.len() as u64));
    }
    let store = file("system.pem");
    std::fs::write(&store, [read(&file("root.pem")), read(&file("server.pem"))].concat()).expect("a file");
    let cases = [("good", &store, true), ("forged", &store, false), ("good", &file("other-root.pem"), false)];
    for (name, store, is_trusted) in cases {
        let server = Server::start(name, &[]).await;
        // Another process: the environment of this one is that of all tests.
        let child = tokio::process::Command::new(std::env::current_exe().expect("the path of this program"))
            .args(["--exact", "the_authorities_of_the_system_are_those_in_ssl_cert_file"])
            .env("FETCH_IN_CHILD", format!("https://localhost:{}/payload", server.port))
            .env("SSL_CERT_FILE", store)
            .env_remove("SSL_CERT_DIR")
            .output()
            .await
            .expect("this program");
        let output = String::from_utf8_lossy(&[child.stdout, child.stderr].concat()).into_owned();
        assert_eq!(child.status.success(), is_trusted, "{name} with {}: {output}", store.display());
        assert_eq!(output.contains("PayloadUntrusted"), !is_trusted, "{name}: {output}");
    }
}

/// Whoever answers at the source gets the credentials to another server, or another server is not
/// verified.
#[tokio::test]
async fn a_redirect_to_another_host_is_verified_and_gets_no_credentials() {
    for (target, is_trusted) in [("good", true), ("plain", false)] {
        let (to, mut asked) = Https::start(target).await;
        let (from, mut first) = Https::start("good").await;
        let redirect = format!(
            "HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1:{}/payload\r\ncontent-length: 0\r\n\r\n",
            to.port
        );
        let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BYTES.len());
        from.answer(redirect.as_bytes());
        to.answer(&[whole.as_bytes(), BYTES].concat());
        let url = format!("https://localhost:{}/payload?signature=secret", from.port);
        let basic = Some(("farrier".to_owned(), "password".to_owned()));
        let fetched = fetch_with(&url, Access { trust: given(&["root"]), basic, ..Access::default() }).await;
        let request = first.recv().await.expect("a request").to_lowercase();
        assert!(request.contains("authorization: basic"), "{request}");
        if is_trusted {
            assert_eq!(fetched, Ok(BYTES.len() as u64));
            let request = asked.recv().await.expect("a request").to_lowercase();
            assert!(!request.contains("authorization") && !request.contains("secret"), "{request}");
        } else {
            says(&fetched, &["127.0.0.1 is not trusted", "is self-signed"]);
            assert!(asked.try_recv().is_err(), "a request to a server that is not trusted");
        }
    }
}

/// Whoever has seen a certificate, which is public, is taken for the server that it belongs to.
#[tokio::test]
async fn a_server_without_the_key_of_its_certificate_is_not_trusted() {
    for name in ["good", "version-1", "critical"] {
        for version in [&TLS12, &TLS13] {
            for trust in [pinned(name), given(&["root", name])] {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let port = listener.local_addr().expect("its number").port();
                let acceptor = TlsAcceptor::from(Arc::new(impostor(name, version)));
                let server = async {
                    let (stream, _) = listener.accept().await.expect("a connection");
                    assert!(acceptor.accept(stream).await.is_err(), "{name} with {version:?}");
                };
                let url = format!("https://localhost:{port}/payload");
                let (fetched, ()) = tokio::join!(fetch_from(&url, trust), server);
                says(&fetched, &["did not prove that it has the key"]);
            }
        }
    }
}

/// A server that shows this certificate and has another key.
fn impostor(name: &str, version: &'static SupportedProtocolVersion) -> ServerConfig {
    let key = PrivateKeyDer::from_pem_file(file("root.key")).expect("a key");
    presenting(name, &key, &[version])
}

/// A server that presents this certificate and signs with this key.
fn presenting(
    name: &str,
    key: &PrivateKeyDer<'_>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let certificate = CertificateDer::from_pem_file(file(&format!("{name}.pem"))).expect("a certificate");
    let key = aws_lc_rs::sign::any_ecdsa_type(key).expect("a key for signatures");
    let certified = CertifiedKey::new(vec![certificate], key);
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .expect("a version")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
}

/// `PayloadUntrusted`, in words that contain these and name what is concerned.
fn says(fetched: &Result<u64, Failure>, words: &[&str]) {
    is(fetched, Reason::PayloadUntrusted, words);
}

fn is(fetched: &Result<u64, Failure>, reason: Reason, words: &[&str]) {
    let failure = fetched.as_ref().expect_err(&format!("a failure that says {words:?}"));
    assert_eq!(failure.reason, reason, "{failure}");
    for words in ["component ethtool", "https://"].iter().chain(words) {
        assert!(failure.message.contains(words), "{words:?} is missing: {failure}");
    }
    assert!(!failure.message.contains("Error("), "words of the source: {failure}");
}
