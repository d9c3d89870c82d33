//! The contents of a certificate that decide trust or explain why there is none.
//!
//! `webpki` verifies signatures and chains. It rejects certificates of version 1 and authorities that are
//! used as server certificates before any other check, and it does not expose subject, issuer or common
//! name. Therefore this module reads them as well.

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use std::net::IpAddr;
use x509_cert::certificate::{CertificateInner, Raw, Version};
use x509_cert::der::asn1::{ObjectIdentifier, Uint};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::Time;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Maximum length of a name in a message. A server may present names of any length.
const SHOWN: usize = 200;

/// The contents of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Details {
    pub(super) subject: Name,
    pub(super) issuer: Name,
    /// The last common name of the subject, which is the one that curl and OpenSSL use.
    pub(super) common_name: Option<String>,
    /// The host names and addresses in its subjectAltName; `None` if it has no such extension.
    pub(super) names: Option<Vec<String>>,
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
    /// X.509 version: 1, 2 or 3.
    pub(super) version: u8,
    /// Whether it may sign other certificates (RFC 5280, section 4.2.1.9).
    pub(super) is_authority: bool,
    /// The usual name of the signature algorithm.
    pub(super) signed_with: String,
    /// Length of the key in bits, if it is an RSA key.
    pub(super) rsa_bits: Option<usize>,
    pub(super) public_key: SubjectPublicKeyInfoDer<'static>,
}

impl Details {
    /// Parses a certificate. `None` if it violates the encoding of X.509.
    pub(super) fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let (subject, issuer) = (tbs.subject().clone(), tbs.issuer().clone());
        let key = tbs.subject_public_key_info();
        let version = match tbs.version() {
            Version::V1 => 1,
            Version::V2 => 2,
            Version::V3 => 3,
        };
        let may_sign = match tbs.get_extension::<BasicConstraints>() {
            Ok(Some((_, constraints))) => constraints.ca,
            // Version 1 has no extensions. OpenSSL also treats a self-signed certificate of version 1 as an
            // authority.
            Ok(None) => version == 1 && subject == issuer,
            Err(_) => false,
        };
        let usage = tbs.get_extension::<KeyUsage>().ok()?;
        let mut extensions = tbs.extensions().into_iter().flatten();
        let lists_names = extensions.any(|extension| extension.extn_id == SubjectAltName::OID);
        let names = || tbs.get_extension::<SubjectAltName>().ok().flatten().map(|(_, names)| hosts(&names));
        Some(Self {
            common_name: common_name(&subject),
            names: lists_names.then(|| names().unwrap_or_default()),
            not_before: time(tbs.validity().not_before),
            not_after: time(tbs.validity().not_after),
            version,
            is_authority: may_sign && usage.is_none_or(|(_, usage)| usage.key_cert_sign()),
            signed_with: algorithm_name(certificate.signature_algorithm().oid),
            rsa_bits: rsa_bits(key),
            public_key: key.to_der().ok()?.into(),
            subject,
            issuer,
        })
    }

    /// Reports whether the certificate names itself as its issuer.
    pub(super) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }
}

/// Formats a name as RFC 4514 does, sanitized for a message.
pub(super) fn shown(name: impl std::fmt::Display) -> String {
    let text = name.to_string();
    let mut shown: String = text.chars().filter(|char| !char.is_control()).take(SHOWN).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    if shown.is_empty() { "(no name)".to_owned() } else { shown }
}

fn time(time: Time) -> UnixTime {
    UnixTime::since_unix_epoch(time.to_unix_duration())
}

fn common_name(name: &Name) -> Option<String> {
    let attribute = name.iter().filter(|attribute| attribute.oid == COMMON_NAME).last()?;
    attribute.value.decode_as::<DirectoryString>().ok().map(String::from)
}

/// Returns the host names and addresses of a list. Other kinds of names do not apply to servers.
fn hosts(names: &SubjectAltName) -> Vec<String> {
    let host = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(address) => ip_address(address.as_bytes()).map(|address| address.to_string()),
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::RegisteredId(_) => None,
    };
    names.0.iter().filter_map(host).collect()
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4().or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Returns the length of an RSA modulus; `None` for keys of other kinds.
fn rsa_bits(key: &SubjectPublicKeyInfoOwned) -> Option<usize> {
    if key.algorithm.oid != RSA_ENCRYPTION {
        return None;
    }
    let parts = Vec::<Uint>::from_der(key.subject_public_key.as_bytes()?).ok()?;
    let modulus = parts.first()?.as_bytes();
    Some(modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?)
}

/// Returns the usual name of a signature algorithm, or the object identifier of a rare algorithm.
fn algorithm_name(algorithm: ObjectIdentifier) -> String {
    let number = algorithm.to_string();
    let name = match number.as_str() {
        "1.2.840.113549.1.1.2" => "MD2 with RSA",
        "1.2.840.113549.1.1.4" => "MD5 with RSA",
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => "SHA-1 with RSA",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.113549.1.1.11" => "SHA-256 with RSA",
        "1.2.840.10040.4.3" => "SHA-1 with DSA",
        "1.2.840.10045.4.1" => "SHA-1 with ECDSA",
        "1.2.840.10045.4.3.2" => "SHA-256 with ECDSA",
        "2.16.840.1.101.3.4.3.2" => "SHA-256 with DSA",
        "1.3.101.113" => "Ed448",
        _ => return number,
    };
    name.to_owned()
}
