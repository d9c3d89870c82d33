//! Certificates: those that are stored on machines, and forged ones.

use crate::harness::{Machine, Run, Site, lab};
use farrier_protocol::CallbackConfig;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_hours(1);

/// An engine's configuration, as root on its machine finds it.
pub(super) struct Own {
    /// The whole configuration.
    pub(super) config: CallbackConfig,
    /// Session that the certificate was issued for.
    pub(super) session: String,
    /// File with the certificate and the key.
    pub(super) pem: String,
}

/// Copies an engine's certificate and key from their file, which only root can read.
pub(super) fn steal(site: &Site, from: &Machine) -> Own {
    let lib = lab::dir().join("m").join(&from.host).join("disk/up/var/lib");
    let places = std::fs::read_dir(lib).expect("/var/lib").flatten().map(|entry| entry.path());
    let place =
        places.into_iter().find(|path| path.join("callback.json").exists()).expect("an engine's directory");
    let file = place.join("callback.json");
    // The login user can reach the engine's socket below the directory, and cannot list the directory.
    for (path, mode) in [(&place, 0o711), (&file, 0o600)] {
        let meta = std::fs::metadata(path).expect("it is there");
        assert_eq!((meta.permissions().mode() & 0o777, meta.uid()), (mode, 0), "{}", path.display());
    }
    let json = std::fs::read(&file).expect("what the engine was told");
    let config: CallbackConfig = serde_json::from_slice(&json).expect("as agreed");
    let session = config.server_name.split('.').next().expect("a session").to_owned();
    let pem = keep(site, &from.name, &config.certificate, &config.key);
    Own { config, session, pem }
}

/// Returns the value of a key in a run's Secret.
pub(super) async fn secret(site: &Site, run: &Run<'_>, key: &str) -> String {
    let secret: Secret = site.api().get(&format!("{}-callback", run.name)).await.expect("the run's Secret");
    let data = secret.data.expect("data");
    String::from_utf8(data[key].0.clone()).expect("text")
}

/// Returns an expired certificate for this session, signed by the run's own authority.
pub(super) async fn expired(site: &Site, run: &Run<'_>, session: &str) -> String {
    let uid = run.get().await.uid().expect("a UID");
    let authority = KeyPair::from_pem(&secret(site, run, "ca.key").await).expect("its key");
    let issuer = Issuer::new(of_authority(&uid), authority);
    let then = SystemTime::now() - 2 * HOUR;
    let mut params = of_engine(&uid, session);
    (params.not_before, params.not_after) = (then.into(), (then + HOUR).into());
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    keep(site, "expired", &certificate.pem(), &key.serialize_pem())
}

/// Returns a self-signed certificate with the right names.
pub(super) async fn self_signed(site: &Site, run: &Run<'_>, session: &str) -> String {
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let uid = run.get().await.uid().expect("a UID");
    let certificate = of_engine(&uid, session).self_signed(&key).expect("a certificate");
    keep(site, "self-signed", &certificate.pem(), &key.serialize_pem())
}

/// Returns the callback server's certificate as issued by an authority with the right name and another
/// key.
pub(super) async fn valid_looking(site: &Site, run: &Run<'_>) -> String {
    let uid = run.get().await.uid().expect("a UID");
    let authority = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let issuer = Issuer::new(of_authority(&uid), authority);
    let mut params = named("farrier.internal");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![
        SanType::DnsName("farrier.internal".try_into().expect("a name")),
        SanType::DnsName("*.farrier.internal".try_into().expect("a name")),
        SanType::URI(format!("farrier:run:{uid}").try_into().expect("a name")),
    ];
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    keep(site, "valid-looking", &certificate.pem(), &key.serialize_pem())
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) =
        ((SystemTime::now() - HOUR).into(), (SystemTime::now() + HOUR).into());
    params
}

fn of_authority(run: &str) -> CertificateParams {
    let mut params = named(&format!("farrier run {run}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn of_engine(run: &str, session: &str) -> CertificateParams {
    let mut params = named(&format!("engine of session {session}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let names = [format!("farrier:session:{session}"), format!("farrier:run:{run}")];
    params.subject_alt_names =
        names.into_iter().map(|name| SanType::URI(name.try_into().expect("a name"))).collect();
    params
}

/// Writes certificate and key into one file, as OpenSSL expects them.
fn keep(site: &Site, name: &str, certificate: &str, key: &str) -> String {
    let path = site.path(&format!("{name}.pem"));
    std::fs::write(&path, format!("{certificate}\n{key}\n")).expect("a file");
    path.to_str().expect("a path").to_owned()
}
