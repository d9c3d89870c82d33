//! The TLS identity of a run: its own CA, the server's certificate, one certificate per session,
//! and the path token.
//!
//! The identity is created when the run needs callbacks, stored in one Secret, and deleted with the
//! run. Every runner that serves the run loads the same Secret, so that any runner can answer any
//! engine. This module does not know Secrets: it reads and writes a map of names to bytes.

use hmac::{Hmac, KeyInit, Mac};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};
use subtle::ConstantTimeEq;

/// Suffix of every server name.
const DOMAIN: &str = farrier_protocol::CallbackConfig::DOMAIN;

/// A certificate is valid from this long before its creation, because the clocks of two runners
/// differ.
const BACKDATED: Duration = Duration::from_mins(10);

/// How long the certificates of CA and server are valid, longer than any run lasts. The engine pins
/// the server's certificate by digest and does not check its dates.
const RUN_LIFETIME: Duration = Duration::from_hours(400 * 24);

/// Random bytes of the path token: as hard to guess as a key.
const TOKEN_BYTES: usize = 32;

/// Bytes of an offer's token.
const OFFER_TOKEN_BYTES: usize = 16;

const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const SERVER_CERTIFICATE: &str = "tls.crt";
const SERVER_KEY: &str = "tls.key";
const PATH_TOKEN: &str = "path-token";

/// The identity of a run. `Debug` shows no key and no token.
pub struct RunIdentity {
    run: String,
    issuer: Issuer<'static, KeyPair>,
    ca: Certificate,
    server: Certificate,
    server_key: KeyPair,
    token: String,
    /// The key of the offers' tokens.
    offers: Hmac<Sha256>,
}

/// What a secret of an offer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Part of a URL.
    Token,
    /// The account of a file service.
    Password,
}

/// A certificate in DER and in PEM.
struct Certificate {
    der: CertificateDer<'static>,
    pem: String,
}

/// The certificate of one session and its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key (PKCS #8).
    pub key: String,
}

/// Why an identity cannot be created or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// An entry is missing from the map.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An entry is not what its name says.
    #[error("{name} is damaged: {why}")]
    Damaged {
        /// The name of the entry in the map.
        name: &'static str,
        /// The reason.
        why: String,
    },
    /// Two entries do not belong together.
    #[error("{0} and {1} do not belong together")]
    Mismatch(&'static str, &'static str),
    /// The identity was created for another run.
    #[error("{CA_CERTIFICATE} and {SERVER_CERTIFICATE} are not of run {0}")]
    OtherRun(String),
    /// A key or certificate could not be created.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The operating system returned no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

impl RunIdentity {
    /// Creates an identity for the run with this UID.
    ///
    /// # Errors
    /// When the operating system returns no random numbers.
    pub fn generate(run: &str) -> Result<Self, IdentityError> {
        let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let offers = offers_key(&ca_key);
        let params = ca_params(run);
        let ca = params.self_signed(&ca_key)?.into();
        let issuer = Issuer::new(params, ca_key);
        let server_key = KeyPair::generate_for(&PKCS_ED25519)?;
        let server = server_params(run)?.signed_by(&server_key, &issuer)?.into();
        let mut bytes = [0; TOKEN_BYTES];
        let random = super::crypto::provider().secure_random;
        random.fill(&mut bytes).map_err(|_| IdentityError::NoRandomness)?;
        let token = crate::engines::hex(&bytes);
        Ok(Self { run: run.to_owned(), issuer, ca, server, server_key, token, offers })
    }

    /// Returns the stored form: `ca.crt`, `ca.key`, `tls.crt`, `tls.key` (PEM) and `path-token`
    /// (text).
    pub fn to_map(&self) -> BTreeMap<String, Vec<u8>> {
        [
            (CA_CERTIFICATE, self.ca.pem.clone()),
            (CA_KEY, self.issuer.key().serialize_pem()),
            (SERVER_CERTIFICATE, self.server.pem.clone()),
            (SERVER_KEY, self.server_key.serialize_pem()),
            (PATH_TOKEN, self.token.clone()),
        ]
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.into_bytes()))
        .collect()
    }

    /// Reads the map that [`to_map`](Self::to_map) returned. All entries are checked against each
    /// other, so that a damaged Secret is found here and not when the first engine connects.
    ///
    /// # Errors
    /// The entry that is missing, damaged, or of another run.
    pub fn from_map(run: &str, map: &BTreeMap<String, Vec<u8>>) -> Result<Self, IdentityError> {
        let ca = certificate(map, CA_CERTIFICATE)?;
        let ca_key = key(map, CA_KEY)?;
        let server = certificate(map, SERVER_CERTIFICATE)?;
        let server_key = key(map, SERVER_KEY)?;
        let token = text(map, PATH_TOKEN)?.trim().to_owned();
        if token.len() != TOKEN_BYTES * 2 || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
            let why = format!("it is not {} hexadecimal digits", TOKEN_BYTES * 2);
            return Err(IdentityError::Damaged { name: PATH_TOKEN, why });
        }
        if public_key(&ca.der, CA_CERTIFICATE)? != ca_key.subject_public_key_info() {
            return Err(IdentityError::Mismatch(CA_CERTIFICATE, CA_KEY));
        }
        if public_key(&server.der, SERVER_CERTIFICATE)? != server_key.subject_public_key_info() {
            return Err(IdentityError::Mismatch(SERVER_CERTIFICATE, SERVER_KEY));
        }
        if !names(&server.der).contains(&run_name(run)) {
            return Err(IdentityError::OtherRun(run.to_owned()));
        }
        super::crypto::check_signed_by(&server.der, &ca.der)
            .map_err(|_| IdentityError::Mismatch(SERVER_CERTIFICATE, CA_CERTIFICATE))?;
        let offers = offers_key(&ca_key);
        let issuer = Issuer::new(ca_params(run), ca_key);
        Ok(Self { run: run.to_owned(), issuer, ca, server, server_key, token, offers })
    }

    /// Creates a certificate for the engine of one session, valid for `lifetime` from now on.
    ///
    /// # Errors
    /// When the operating system returns no random numbers, or the session's name is not ASCII.
    pub fn client_certificate(
        &self,
        session: &str,
        lifetime: Duration,
    ) -> Result<ClientCertificate, IdentityError> {
        self.client_certificate_at(session, SystemTime::now(), lifetime)
    }

    /// Creates the certificate as of the time `now`.
    pub(super) fn client_certificate_at(
        &self,
        session: &str,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<ClientCertificate, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut params = CertificateParams::default();
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + lifetime).into();
        params.distinguished_name = common_name(&format!("engine of session {session}"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![
            SanType::URI(session_name(session).try_into()?),
            SanType::URI(run_name(&self.run).try_into()?),
        ];
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(ClientCertificate { certificate, key: key.serialize_pem() })
    }

    /// Returns the pin that the engine checks: `sha256:` and the digest of the server's certificate
    /// in DER.
    pub fn server_pin(&self) -> String {
        format!("sha256:{}", crate::engines::hex(&Sha256::digest(&self.server.der)))
    }

    /// Returns the first part of the path under which payloads are served without a certificate.
    pub fn path_token(&self) -> &str {
        &self.token
    }

    /// Reports whether this is the path token. The comparison takes constant time.
    pub fn is_path_token(&self, candidate: &str) -> bool {
        self.token.as_bytes().ct_eq(candidate.as_bytes()).into()
    }

    /// Returns the UID of the run.
    pub fn run(&self) -> &str {
        &self.run
    }

    pub(super) fn ca(&self) -> &CertificateDer<'static> {
        &self.ca.der
    }

    /// Returns the certificate that engines see, and its key.
    pub(super) fn server(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        (self.server.der.clone(), private(&self.server_key))
    }

    /// Creates the certificate that devices see, and its key. It is valid for these DNS names and addresses. It
    /// is signed by the same CA and not stored, because devices do not pin it.
    pub(super) fn for_devices(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = server_params(&self.run)?;
        params.subject_alt_names.extend(names.iter().filter_map(|name| match name.parse::<IpAddr>() {
            Ok(address) => Some(SanType::IpAddress(address)),
            // A name that no certificate can have is in no URL either.
            Err(_) => name.as_str().try_into().ok().map(SanType::DnsName),
        }));
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.der().clone(), private(&key)))
    }

    /// Returns the certificate of the run's CA in PEM.
    pub fn authority(&self) -> &str {
        &self.ca.pem
    }

    /// Returns the second part of the path under which a file is offered to one machine for one action. Every
    /// runner of the run computes the same.
    ///
    /// Half of the digest is as hard to guess as a key, and keeps the URL short: some management processors take 255
    /// characters at most.
    pub fn offer_token(&self, session: &str, action: u32) -> String {
        let digest = self.digest_for(Purpose::Token, session, action);
        crate::engines::hex(digest.get(..OFFER_TOKEN_BYTES).unwrap_or_default())
    }

    /// Returns 32 bytes that only runners of the run can compute.
    pub(super) fn digest_for(&self, purpose: Purpose, session: &str, action: u32) -> [u8; 32] {
        let mut mac = self.offers.clone();
        match purpose {
            Purpose::Token => {}
            // No session begins like this, so the two purposes never have the same input.
            Purpose::Password => mac.update(b"\0password\0"),
        }
        mac.update(session.as_bytes());
        mac.update(&[0]);
        mac.update(&action.to_be_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Reports whether this is the token of the offer. The comparison takes constant time.
    pub(super) fn is_offer_token(&self, candidate: &str, session: &str, action: u32) -> bool {
        self.offer_token(session, action).as_bytes().ct_eq(candidate.as_bytes()).into()
    }
}

/// Returns the name of a session in its certificate.
pub(super) fn session_name(session: &str) -> String {
    format!("farrier:session:{session}")
}

/// Returns the name of a run in its certificates.
pub(super) fn run_name(run: &str) -> String {
    format!("farrier:run:{run}")
}

/// Returns the URI names of a certificate; none if the certificate cannot be parsed.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    webpki::EndEntityCert::try_from(certificate)
        .map(|cert| cert.valid_uri_names().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// Derives the key of the offers' secrets from the key of the CA; the machines of the run know the path token.
fn offers_key(ca: &KeyPair) -> Hmac<Sha256> {
    let key = Sha256::new().chain_update(b"farrier offers").chain_update(ca.serialize_der()).finalize();
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    Hmac::new_from_slice(&key).expect("a key")
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(key.serialize_der().into())
}

fn ca_params(run: &str) -> CertificateParams {
    let mut params = params_for_run();
    params.distinguished_name = common_name(&format!("farrier run {run}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn server_params(run: &str) -> Result<CertificateParams, IdentityError> {
    let mut params = params_for_run();
    params.distinguished_name = common_name(DOMAIN);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![
        SanType::DnsName(DOMAIN.try_into()?),
        SanType::DnsName(format!("*.{DOMAIN}").try_into()?),
        SanType::URI(run_name(run).try_into()?),
    ];
    Ok(params)
}

fn params_for_run() -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + RUN_LIFETIME).into();
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

impl From<rcgen::Certificate> for Certificate {
    fn from(made: rcgen::Certificate) -> Self {
        Self { der: made.der().clone(), pem: made.pem() }
    }
}

fn text<'a>(map: &'a BTreeMap<String, Vec<u8>>, name: &'static str) -> Result<&'a str, IdentityError> {
    let bytes = map.get(name).ok_or(IdentityError::Missing(name))?;
    std::str::from_utf8(bytes).map_err(|e| IdentityError::Damaged { name, why: e.to_string() })
}

fn certificate(map: &BTreeMap<String, Vec<u8>>, name: &'static str) -> Result<Certificate, IdentityError> {
    let pem = text(map, name)?.to_owned();
    let der = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|e| IdentityError::Damaged { name, why: e.to_string() })?;
    Ok(Certificate { der, pem })
}

fn key(map: &BTreeMap<String, Vec<u8>>, name: &'static str) -> Result<KeyPair, IdentityError> {
    KeyPair::from_pem(text(map, name)?).map_err(|e| IdentityError::Damaged { name, why: e.to_string() })
}

fn public_key(certificate: &CertificateDer<'_>, name: &'static str) -> Result<Vec<u8>, IdentityError> {
    webpki::EndEntityCert::try_from(certificate)
        .map(|cert| cert.subject_public_key_info().to_vec())
        .map_err(|e| IdentityError::Damaged { name, why: e.to_string() })
}

/// Omits the keys and the token.
impl fmt::Debug for RunIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunIdentity")
            .field("run", &self.run)
            .field("server_pin", &self.server_pin())
            .finish_non_exhaustive()
    }
}

/// Omits the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
