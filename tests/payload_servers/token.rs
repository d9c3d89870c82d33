//! A token server for a registry: it issues tokens as the distribution project documents them. The registry
//! verifies them, so that what is issued here is judged by others.

use crate::front::{Front, answer};
use crate::process::run;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The token server, until the test ends.
pub(crate) struct TokenServer {
    pub(crate) front: Front,
    /// Certificate of the key that signs tokens.
    pub(crate) certificate: PathBuf,
}

impl TokenServer {
    /// Knows `user`, who may pull, and `guest`, who may not; both have the password `password`.
    pub(crate) async fn start(dir: &Path) -> Self {
        let (key, certificate) = (dir.join("token.key"), dir.join("token.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=issuer", "-days", "2"]);
        run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate));
        let signer = Signer {
            key: PrivateKeyDer::from_pem_file(&key).expect("a key"),
            certificate: CertificateDer::from_pem_file(&certificate).expect("a certificate"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its number").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    request.push(byte);
                }
                stream.write_all(&signer.answer(&String::from_utf8_lossy(&request))).await.ok();
                stream.shutdown().await.ok();
            }
        });
        Self { front: Front::of(port).await, certificate }
    }

    pub(crate) fn realm(&self) -> String {
        format!("https://{}/token", self.front.host)
    }
}

struct Signer {
    key: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
}

impl Signer {
    fn answer(&self, request: &str) -> Vec<u8> {
        assert!(request.contains("service=registry"), "{request}");
        let given = request.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
        });
        let basic = |user: &str| Some(format!("Basic {}", STANDARD.encode(format!("{user}:password"))));
        let actions = if given == basic("user") {
            json!(["pull"])
        } else if given == basic("guest") || given.is_none() {
            json!([])
        } else {
            return answer("401 Unauthorized", "", b"{}");
        };
        let scope = request.split("scope=").nth(1).and_then(|rest| rest.split([' ', '&']).next());
        let name = scope.expect("a scope").replace("%3A", ":").replace("%2F", "/");
        let name = name.split(':').nth(1).expect("a repository").to_owned();
        let token = self.token(&json!([{"type": "repository", "name": name, "actions": actions}]));
        answer("200 OK", "", json!({ "token": token }).to_string().as_bytes())
    }

    /// A JSON web token, signed by RSA with SHA-256.
    fn token(&self, access: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let head = json!({"typ": "JWT", "alg": "RS256", "x5c": [STANDARD.encode(&self.certificate)]});
        let claims = json!({
            "iss": "issuer", "aud": "registry", "sub": "user", "jti": "1", "access": access,
            "iat": now, "nbf": now - 10, "exp": now + 300,
        });
        let signed = format!("{}.{}", part(&head), part(&claims));
        let key = any_supported_type(&self.key).expect("a key for signatures");
        let rsa = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).expect("RSA");
        let signature = rsa.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
