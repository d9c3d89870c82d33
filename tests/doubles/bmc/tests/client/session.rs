//! A double, a client with a session, and waiting for what the double does.

use std::time::{Duration, Instant};

use farrier_bmc_double::image::{Header, compsig};
use farrier_bmc_double::{Config, Double, Settings, Variant};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A double and a client that has a session.
pub(crate) struct Session {
    pub(crate) double: Double,
    pub(crate) client: Client,
    pub(crate) token: Option<String>,
}

impl Session {
    pub(crate) async fn of(variant: &str) -> Self {
        let mut config = Config::new(Variant::named(variant).unwrap());
        config.settings = Settings {
            flash_ms: 100,
            bmc_reset_ms: 150,
            post_ms: 60,
            shutdown_ms: 10,
            ..Settings::default()
        };
        let double = Double::start(config).await.unwrap();
        let mut this = Self { client: client(&double), double, token: None };
        this.log_in().await;
        this
    }

    pub(crate) async fn log_in(&mut self) {
        let body = json!({"UserName": "admin", "Password": "password"});
        let answer = self.client.post(self.url("/redfish/v1/SessionService/Sessions")).json_body(&body);
        let answer = answer.send().await.unwrap();
        self.token = answer.headers().get("x-auth-token").map(|token| token.to_str().unwrap().to_owned());
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.double.https())
    }

    pub(crate) fn with_login(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.header("x-auth-token", token),
            None => request.basic_auth("admin", Some("password")),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<(StatusCode, Value), reqwest::Error> {
        let answer = self.with_login(self.client.get(self.url(path))).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.with_login(self.client.post(self.url(path)).json_body(body)).send().await.unwrap()
    }

    pub(crate) async fn push(&self, file: &[u8], parameters: &Value) -> Response {
        let (_, service) = self.get("/redfish/v1/UpdateService").await.unwrap();
        let uri = service["MultipartHttpPushUri"].as_str().unwrap();
        let form = form(&[
            ("UpdateParameters", None, parameters.to_string().as_bytes()),
            ("UpdateFile", Some("image.exe"), file),
        ]);
        let request = self.client.post(self.url(uri)).header("content-type", form.0).body(form.1);
        self.with_login(request).send().await.unwrap()
    }

    /// HPE: a component with its signature goes into the repository.
    pub(crate) async fn store(&self, file: &str, mut header: Header) {
        header.needs_compsig = true;
        let image = header.to_file();
        let parameters = json!({"UpdateRepository": true, "UpdateTarget": false}).to_string();
        let signature = compsig(&image);
        let (kind, body) = form(&[
            ("parameters", None, parameters.as_bytes()),
            ("compsig", Some("a.compsig"), signature.as_bytes()),
            ("file", Some(file), image.as_slice()),
        ]);
        let request = self.client.post(self.url("/cgi-bin/uploadFile")).header("content-type", kind);
        assert_eq!(self.with_login(request).body(body).send().await.unwrap().status(), 200);
        let stored = |service: &Value| service["Oem"]["Hpe"]["State"] == "Complete";
        self.until("/redfish/v1/UpdateService/", stored).await;
    }

    /// Asks until the answer is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.get(path).await;
            if let Ok((StatusCode::OK, value)) = &answer
                && wanted(value)
            {
                return value.clone();
            }
            assert!(began.elapsed() < LIMIT, "{path} did not become as wanted: {answer:?}");
            // sleep: the double has no other way to tell a client than to be asked again.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn installed(&self, device: &str, version: &str) {
        let began = Instant::now();
        while self.double.version(device).as_deref() != Some(version) {
            assert!(began.elapsed() < LIMIT, "{device} has {:?}", self.double.version(device));
            // sleep: a condition of the double, which is not asked over the network.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn count(&self, kind: &str) -> usize {
        self.double.journal().iter().filter(|entry| entry.kind == kind).count()
    }
}

pub(crate) trait JsonBody {
    fn json_body(self, body: &Value) -> Self;
}

impl JsonBody for reqwest::RequestBuilder {
    fn json_body(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }
}

fn client(double: &Double) -> Client {
    let authority = reqwest::Certificate::from_pem(double.authority_pem().as_bytes()).unwrap();
    Client::builder().no_proxy().tls_certs_only([authority]).timeout(LIMIT).build().unwrap()
}

pub(crate) fn form(parts: &[(&str, Option<&str>, &[u8])]) -> (String, Vec<u8>) {
    let mut body = vec![];
    for (name, file, bytes) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        body.extend(
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes(),
        );
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    ("multipart/form-data; boundary=edge".to_owned(), body)
}
