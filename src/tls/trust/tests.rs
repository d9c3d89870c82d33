//! Tests of the decision without a handshake; tests/certificates.rs tests it with real servers.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use std::time::Duration;

fn self_signed(name: &str) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap().der().clone()
}

fn verify(
    trust: &Trust,
    leaf: &CertificateDer<'_>,
    chain: &[CertificateDer<'_>],
) -> Result<TrustedBy, CertificateProblem> {
    let server = ServerName::try_from("bmc.example.net").unwrap();
    let presented = Presented { leaf, chain, server: &server };
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    trust.verify(presented, &[], algorithms, UnixTime::now())
}

/// Otherwise an attacker in the path at the second contact would be accepted as the device.
#[test]
fn the_first_certificate_is_accepted_only_while_nothing_is_known() {
    let (first, second) = (self_signed("anything"), self_signed("anything"));
    let mut trust = Trust { policy: Policy::TrustOnFirstUse, ..Trust::default() };
    assert_eq!(verify(&trust, &first, &[]), Ok(TrustedBy::FirstUse));
    trust.fingerprints.insert(Fingerprint::of(&first));
    assert_eq!(verify(&trust, &first, &[]), Ok(TrustedBy::Fingerprint));
    let accepted = vec![Fingerprint::of(&first)];
    assert_eq!(verify(&trust, &second, &[]), Err(CertificateProblem::NotPinned { accepted }));
    let given = Trust { certificates: vec![first], policy: Policy::TrustOnFirstUse, ..Trust::default() };
    assert!(verify(&given, &second, &[]).is_err());
}

/// Otherwise a certificate that one of the system's authorities issued could replace the pinned one.
#[test]
fn the_authorities_of_the_system_count_under_their_rule_only() {
    let issuer = authority("Some public authority");
    let key = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(["bmc.example.net".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let server = ServerName::try_from("bmc.example.net").unwrap();
    let presented = Presented { leaf: leaf.der(), chain: &[], server: &server };
    let system = [anchor_from_trusted_cert(issuer.der()).unwrap().to_owned()];
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let verify =
        |policy| Trust { policy, ..Trust::default() }.verify(presented, &system, algorithms, UnixTime::now());
    assert_eq!(verify(Policy::System), Ok(TrustedBy::Authority));
    assert_eq!(verify(Policy::Pinned), Err(CertificateProblem::NothingTrusted));
}

/// Otherwise the holder of a configured server's key could issue certificates for every host.
#[test]
fn a_certificate_that_cannot_be_read_completely_is_not_an_authority() {
    let mut params = CertificateParams::new(["bmc.example.net".to_owned()]).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    let key_usage = CustomExtension::from_oid_content(&[2, 5, 29, 15], b"no bit string".to_vec());
    params.custom_extensions.push(key_usage);
    let server = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let forged = CertificateParams::new(["bmc.example.net".to_owned()]).unwrap();
    let forged = forged.signed_by(&KeyPair::generate().unwrap(), &server).unwrap();
    let trust = Trust { certificates: vec![server.der().clone()], ..Trust::default() };
    let accepted = vec![Fingerprint::of(server.der())];
    assert_eq!(verify(&trust, forged.der(), &[]), Err(CertificateProblem::NotPinned { accepted }));
}

/// Otherwise the dates of an intermediate authority would be reported as those of the server.
#[test]
fn the_expired_certificate_of_a_chain_is_named() {
    let root = authority("root");
    let mut params = authority_params("middle");
    params.not_after = (std::time::SystemTime::now() - Duration::from_hours(1)).into();
    let middle = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(["bmc.example.net".to_owned()]).unwrap().signed_by(&key, &middle).unwrap();
    let trust = Trust { certificates: vec![root.der().clone()], ..Trust::default() };
    let problem = verify(&trust, leaf.der(), &[middle.der().clone()]).unwrap_err();
    assert!(
        matches!(&problem, CertificateProblem::Expired { whose: Whose::Authority(name), .. } if name == "CN=middle"),
        "{problem}"
    );
    assert!(
        problem.to_string().starts_with("was issued by CN=middle, whose certificate expired on 2"),
        "{problem}"
    );
}

/// Otherwise a name that a server invented could fill conditions and logs, or break their lines.
#[test]
fn texts_from_a_server_are_truncated_in_messages() {
    let leaf = CertificateParams::new(vec!["x".repeat(60); 100]).unwrap();
    let root = authority("root\nReason: all is well");
    let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &root).unwrap();
    let trust = Trust { certificates: vec![root.der().clone()], ..Trust::default() };
    let wrong_name = verify(&trust, leaf.der(), &[]).unwrap_err().to_string();
    assert!(wrong_name.contains("…") && wrong_name.len() < 300, "{wrong_name}");
    let trust = Trust {
        certificates: vec![self_signed("other"), authority("other").der().clone()],
        ..Trust::default()
    };
    let unknown = verify(&trust, leaf.der(), &[]).unwrap_err().to_string();
    assert!(unknown.contains("all is well") && !unknown.contains('\n'), "{unknown}");
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    CertifiedIssuer::self_signed(authority_params(name), KeyPair::generate().unwrap()).unwrap()
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
