//! Reads `ca.crt`: one or more certificates in PEM.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use webpki::anchor_from_trusted_cert;

/// The byte order mark that some editors put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Tag of a DER SEQUENCE, the first byte of certificates and keys in DER.
const DER_SEQUENCE: u8 = 0x30;

/// Maximum number of different labels of PEM sections in an error.
const MAX_LABELS: usize = 3;

/// Why a bundle contains no usable certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The bundle is empty or white space.
    #[error("it is empty; store the certificate there, in PEM")]
    Empty,
    /// A certificate in DER, the binary form.
    #[error(
        "it is a certificate in DER, the binary form; convert it to PEM with openssl x509 -inform der -in FILE -out ca.crt"
    )]
    Der,
    /// Neither PEM nor a certificate.
    #[error(
        "it has no PEM section in it (-----BEGIN CERTIFICATE-----); store the certificate there, in PEM as ASCII text"
    )]
    NotPem,
    /// A private key without a certificate.
    #[error(
        "it is a private key (-----BEGIN {0}-----) and not a certificate; store the certificate that belongs to the key, and treat the key as disclosed to everybody who can read this object"
    )]
    PrivateKey(String),
    /// Other PEM sections, with their labels.
    #[error(
        "it has PEM sections, but no certificate (-----BEGIN {}-----); store the certificate there, as -----BEGIN CERTIFICATE-----",
        .0.join("-----, -----BEGIN ")
    )]
    OtherPem(Vec<String>),
    /// A section that is truncated, or not base64.
    #[error("its PEM is damaged after {read} certificates ({why}); copy the file again, whole")]
    Damaged {
        /// Number of certificates before the section.
        read: usize,
        /// The error of the PEM reader.
        why: String,
    },
    /// A section that is labelled as a certificate and is not a certificate.
    #[error(
        "section {number} of its PEM is called a certificate, but cannot be read as one; see what openssl x509 -noout -text says about it, and copy it again"
    )]
    NotACertificate {
        /// Number of the section, counted from one.
        number: usize,
    },
}

/// Reads all certificates of a PEM bundle. Sections of other kinds are ignored, as OpenSSL does.
///
/// # Errors
/// When there is no certificate, or a certificate that cannot be read.
pub fn read_bundle(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        return Err(BundleError::Empty);
    }
    let mut certificates = Vec::new();
    for section in CertificateDer::pem_slice_iter(bytes) {
        let read = certificates.len();
        let certificate = section.map_err(|error| BundleError::Damaged { read, why: error.to_string() })?;
        if anchor_from_trusted_cert(&certificate).is_err() {
            return Err(BundleError::NotACertificate { number: read + 1 });
        }
        certificates.push(certificate);
    }
    if certificates.is_empty() { Err(without_certificate(bytes)) } else { Ok(certificates) }
}

/// Returns the error for a file that contains no certificate.
fn without_certificate(bytes: &[u8]) -> BundleError {
    let mut labels: Vec<String> = Vec::new();
    for line in String::from_utf8_lossy(bytes).lines() {
        let label = line.trim().strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        if let Some(label) = label.filter(|label| is_label(label) && !labels.iter().any(|l| l == label)) {
            labels.push(label.to_owned());
        }
    }
    if let Some(key) = labels.iter().find(|label| label.ends_with("PRIVATE KEY")) {
        return BundleError::PrivateKey(key.clone());
    }
    if !labels.is_empty() {
        labels.truncate(MAX_LABELS);
        return BundleError::OtherPem(labels);
    }
    let is_der = bytes.first() == Some(&DER_SEQUENCE)
        && anchor_from_trusted_cert(&CertificateDer::from(bytes)).is_ok();
    if is_der { BundleError::Der } else { BundleError::NotPem }
}

/// Reports whether this can be shown as the label of a PEM section.
fn is_label(label: &str) -> bool {
    label.len() <= 40
        && label.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn made() -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(["repo.example.net".to_owned()]).unwrap().self_signed(&key).unwrap(), key)
    }

    /// Otherwise only the first of several authorities would be trusted, or a file that was saved by an
    /// editor on Windows would be rejected.
    #[test]
    fn all_certificates_of_a_bundle_are_read() {
        let (one, key) = made();
        let (other, _) = made();
        let both = format!("# our authorities\n{}\nsubject=CN = other\n{}", one.pem(), other.pem());
        let expected = Ok(vec![one.der().clone(), other.der().clone()]);
        assert_eq!(read_bundle(both.as_bytes()), expected);
        assert_eq!(read_bundle(format!("\u{feff}{}", both.replace('\n', "\r\n")).as_bytes()), expected);
        // Servers use this form: certificate and key in one file.
        let with_key = format!("{}{}", key.serialize_pem(), one.pem());
        assert_eq!(read_bundle(with_key.as_bytes()), Ok(vec![one.der().clone()]));
    }

    /// Otherwise a user who stored the wrong file would not learn which file it is.
    #[test]
    fn a_wrong_file_in_place_of_a_bundle_is_named() {
        let (certificate, key) = made();
        let pem = certificate.pem();
        assert_eq!(read_bundle(b""), Err(BundleError::Empty));
        assert_eq!(read_bundle(b" \n"), Err(BundleError::Empty));
        assert_eq!(read_bundle(certificate.der()), Err(BundleError::Der));
        assert_eq!(read_bundle(key.serialized_der()), Err(BundleError::NotPem));
        assert_eq!(read_bundle(b"repo.example.net"), Err(BundleError::NotPem));
        let key = key.serialize_pem();
        assert_eq!(read_bundle(key.as_bytes()), Err(BundleError::PrivateKey("PRIVATE KEY".into())));
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert_eq!(
            read_bundle(encrypted.as_bytes()),
            Err(BundleError::PrivateKey("ENCRYPTED PRIVATE KEY".into()))
        );
        let request = pem.replace("CERTIFICATE", "CERTIFICATE REQUEST");
        assert_eq!(
            read_bundle(request.as_bytes()),
            Err(BundleError::OtherPem(vec!["CERTIFICATE REQUEST".into()]))
        );
        let half: String = pem.lines().take(4).flat_map(|line| [line, "\n"]).collect();
        assert!(matches!(read_bundle(half.as_bytes()), Err(BundleError::Damaged { read: 0, .. })));
        assert!(matches!(
            read_bundle(format!("{pem}{half}").as_bytes()),
            Err(BundleError::Damaged { read: 1, .. })
        ));
        let nonsense = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n";
        let error = read_bundle(format!("{pem}{nonsense}").as_bytes()).unwrap_err();
        assert_eq!(error, BundleError::NotACertificate { number: 2 });
        assert!(error.to_string().contains("section 2"), "{error}");
    }
}
