//! The web server of an Onboard Administrator: sign-in by SOAP, upload by a form, and the flash of what was uploaded.
//!
//! Follows what its own web interface of release 4.40 sends and reads (`Forms/FirmwareUpdatePage.xsl`,
//! `js/globalSoap.js`, `Strings/strings.en.xml`: requests, fault numbers and texts), the texts of its
//! `/cgi-bin/uploadFile`, the SOAP Interface Guide 0.9.7 as the public clients bmclib and `OpenHPI` quote it, and the
//! online help on firmware updates: the standby first, everybody is signed off, no downgrade in FIPS mode. What they do
//! not say is in README.md.

mod form;
mod soap;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::device::{Device, Phase};
use crate::fault::Fault;
use crate::image::digest;
use crate::job::{self, Job, Restart};
use crate::product::{chassis, oa};
use crate::trouble::Trouble;
use soap::Refusal;

/// Who is signed in, and what was uploaded.
#[derive(Debug, Default)]
struct Guests {
    next: u64,
    /// User of a session key.
    sessions: HashMap<String, String>,
    /// Content of a token.
    uploads: HashMap<String, Vec<u8>>,
}

/// The web server.
#[derive(Debug)]
pub(crate) struct Web {
    /// The double may end while a connection is open.
    device: Weak<Device>,
    acceptor: Acceptor,
    /// It is the standby module's.
    on_standby: bool,
    /// SHA-256 of the certificate, in hexadecimal.
    pub(crate) fingerprint: String,
    guests: Mutex<Guests>,
}

/// TLS, which has nothing to show.
struct Acceptor(TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Web {
    /// With a certificate of its own, as they come from the factory.
    pub(crate) fn new(device: &Arc<Device>, address: IpAddr, on_standby: bool) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(vec![device.host_name(), address.to_string()])?;
        params.distinguished_name.push(DnType::CommonName, device.host_name());
        let key = KeyPair::generate().context("make a key")?;
        let certificate = params.self_signed(&key)?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // The newest that they speak.
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        Ok(Self {
            device: Arc::downgrade(device),
            acceptor: Acceptor(TlsAcceptor::from(Arc::new(config))),
            on_standby,
            fingerprint: digest(certificate.der()),
            guests: Mutex::default(),
        })
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody is signed in any more, and nothing is uploaded.
    pub(crate) fn forget(&self) {
        let gone = std::mem::take(&mut self.guests().sessions);
        self.guests().uploads.clear();
        for user in gone.values() {
            self.leave(user);
        }
    }

    fn leave(&self, user: &str) {
        let Some(device) = self.device.upgrade() else { return };
        let mut state = device.lock();
        if let Some(at) = state.sessions.iter().position(|other| other == user) {
            state.sessions.remove(at);
        }
    }

    /// One connection, for one request: old ones close it after each answer.
    pub(crate) async fn serve(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<()> {
        let tls = self.acceptor.0.accept(stream).await?;
        let service = service_fn(move |request| {
            let web = Arc::clone(&self);
            async move { Ok::<_, std::convert::Infallible>(web.answer(request).await) }
        });
        hyper::server::conn::http1::Builder::new()
            .keep_alive(false)
            .serve_connection(TokioIo::new(tls), service)
            .await?;
        Ok(())
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(device) = self.device.upgrade() else { return respond(503, String::new()) };
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
            return respond(400, String::new());
        };
        let header = |name: &str| {
            head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        match (&head.method, head.uri.path()) {
            (&Method::POST, "/hpoa") => {
                let xml = String::from_utf8_lossy(&body).into_owned();
                let operation = soap::operation(&xml).unwrap_or_default().to_owned();
                told(self.call(&device, &operation, &xml).await.map(|body| soap::envelope(&body)), &operation)
            }
            (&Method::POST, "/cgi-bin/uploadFile") => {
                told(self.upload(&device, &header("cookie"), &header("content-type"), &body), "uploadFile")
            }
            _ => respond(404, String::new()),
        }
    }

    async fn call(&self, device: &Arc<Device>, operation: &str, xml: &str) -> Result<String, Refusal> {
        if self.on_standby || device.settings().on_standby {
            return Err(Refusal::device(503, "Service Temporarily Unavailable"));
        }
        if operation == "userLogIn" {
            return self.sign_in(device, xml);
        }
        let key = soap::text_of(xml, "oaSessionKey").unwrap_or_default();
        if !self.guests().sessions.contains_key(&key) {
            return Err(Refusal::user(172, "Unable to resume the session."));
        }
        match operation {
            "userLogOut" => {
                let user = self.guests().sessions.remove(&key);
                self.leave(&user.unwrap_or_default());
            }
            "flashOaRomEnhanced" => self.flash(device, xml).await?,
            _ => return Err(Refusal::user(1, "The request is not supported.")),
        }
        Ok(format!("<hpoa:{operation}Response><hpoa:returnCodeOk/></hpoa:{operation}Response>"))
    }

    fn sign_in(&self, device: &Device, xml: &str) -> Result<String, Refusal> {
        let value = |name: &str| soap::text_of(xml, name).unwrap_or_default();
        let user = value("username");
        if !device.accepts(&user, &value("password"), "web") {
            return Err(Refusal::user(150, "The user could not be authenticated."));
        }
        device.lock().sessions.push(user.clone());
        let key = self.secret(device);
        self.guests().sessions.insert(key.clone(), user);
        Ok(format!(
            "<hpoa:userLogInResponse><hpoa:HpOaSessionKeyToken><hpoa:oaSessionKey>{key}</hpoa:oaSessionKey></hpoa:HpOaSessionKeyToken></hpoa:userLogInResponse>"
        ))
    }

    /// Sixteen digits that nobody guesses.
    fn secret(&self, device: &Device) -> String {
        let mut guests = self.guests();
        guests.next += 1;
        let seed = format!("{} {} {}", guests.next, self.fingerprint, device.password);
        digest(seed.as_bytes()).chars().take(16).collect()
    }

    fn upload(
        &self,
        device: &Device,
        cookie: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<String, Refusal> {
        let nothing = || Refusal::upload(3, "No file was uploaded.");
        let boundary = form::boundary(content_type).ok_or_else(nothing)?;
        let fields = form::fields(body, boundary).ok_or_else(nothing)?;
        let field = |name: &str| fields.iter().find(|field| field.name == name);
        let text = |name: &str| {
            field(name).map(|field| String::from_utf8_lossy(&field.content).into_owned()).unwrap_or_default()
        };
        let of_cookie = cookie.split(';').find_map(|part| part.trim().strip_prefix("encLocalKey="));
        let key = of_cookie.map_or_else(|| text("oaSessionKey"), str::to_owned);
        if key.is_empty() {
            return Err(Refusal::upload(1, "Missing credentials."));
        }
        if !self.guests().sessions.contains_key(&key) {
            return Err(Refusal::upload(13, "Unable to resume session."));
        }
        if text("fileType") != "FIRMWARE_IMAGE" {
            return Err(Refusal::upload(2, "Invalid file type."));
        }
        let file = field("file").filter(|field| field.file_name.is_some()).ok_or_else(nothing)?;
        if device.has(&Fault::TransferFails) {
            return Err(Refusal::upload(5, "Could not read the submitted file."));
        }
        device.room(&file.content).map_err(|_| Refusal::upload(4, "Could not open the submitted file."))?;
        let detail = json!({"bytes": file.content.len(), "sha256": digest(&file.content)});
        device.lock().journal.write("upload", detail);
        let token = format!("{}.img", self.secret(device));
        self.guests().uploads.insert(token.clone(), file.content.clone());
        Ok(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<?xml-stylesheet href=\"{}\" type=\"text/xsl\"?>\n<hpoa:uploadFileResponse xmlns:hpoa=\"hpoa.xsd\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"hpoa:uploadFileResponseType\">\n\t<hpoa:fileType>FIRMWARE_IMAGE</hpoa:fileType>\n\t<hpoa:returnCodeOk />\n\t<hpoa:oaFileToken>{token}</hpoa:oaFileToken>\n\t<hpoa:crc32>0</hpoa:crc32>\n</hpoa:uploadFileResponse>\n",
            text("stylesheetUrl")
        ))
    }

    /// Writes an upload into the modules; returns when it is written, and the restart follows.
    async fn flash(&self, device: &Arc<Device>, xml: &str) -> Result<(), Refusal> {
        device.gate().map_err(|trouble| refusal(&trouble))?;
        let token = soap::text_of(xml, "oaFileToken").unwrap_or_default();
        let file = self.guests().uploads.remove(&token);
        let file = file.ok_or_else(|| Refusal::user(293, "The firmware image is not valid."))?;
        let own = oa::active(device.lock().active);
        let header = device.check(&file, own).map_err(|trouble| refusal(&trouble))?;
        let forced = soap::text_of(xml, "forceFlash").is_some_and(|text| text == "true" || text == "1");
        if chassis::is_downgrade(&header.version, &device.lock().version(own)) {
            if device.settings().mode == "FIPS" {
                return Err(refusal(&Trouble::Mode("FIPS".to_owned())));
            }
            if !forced {
                return Err(Refusal::user(292, "The firmware image is older than the current firmware."));
            }
        }
        device.lock().journal.write("command", json!({"line": "flashOaRomEnhanced"}));
        let parts = oa::takers(device).into_iter().map(str::to_owned).collect();
        job::begin(device, Job { parts, header, restart: Restart::Device, commit: false });
        device.until(|state| state.update.as_ref().is_none_or(|update| update.phase != Phase::Writing)).await;
        let phase = device.lock().update.as_ref().map(|update| update.phase);
        if phase == Some(Phase::Failed) { Err(refusal(&Trouble::Broken)) } else { Ok(()) }
    }
}

/// The numbers of refusals.
fn refusal(trouble: &Trouble) -> Refusal {
    match trouble {
        Trouble::Privilege => Refusal::user(8, "The user does not have sufficient privileges."),
        Trouble::Busy => Refusal::device(279, "A firmware image is already staged."),
        Trouble::Mode(mode) => Refusal::user(
            418,
            &format!("The firmware cannot be downgraded while the enclosure is in {mode} mode."),
        ),
        Trouble::Partner | Trouble::Standby => {
            Refusal::device(382, "The Onboard Administrator is still initializing.")
        }
        Trouble::Broken => Refusal::device(280, "The firmware could not be written."),
        Trouble::Transfer(_)
        | Trouble::NoRoom
        | Trouble::NotAnImage
        | Trouble::WrongModel
        | Trouble::Signature
        | Trouble::StepMissing(_)
        | Trouble::Declined => Refusal::user(293, "The firmware image is not valid."),
    }
}

fn told(outcome: Result<String, Refusal>, operation: &str) -> Response<Full<Bytes>> {
    match outcome {
        Ok(text) => respond(200, text),
        Err(refusal) => respond(refusal.status(), refusal.envelope(operation)),
    }
}

fn respond(status: u16, text: String) -> Response<Full<Bytes>> {
    let kind = if text.contains("SOAP-ENV:Envelope") { "application/soap+xml" } else { "text/xml" };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let value = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert("content-type", value);
    response
}
