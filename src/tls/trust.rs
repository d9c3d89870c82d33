//! What is trusted, and the decision about a certificate that a server presented.

use super::certificate::Details;
use super::classify::Context;
use super::fingerprint::Fingerprint;
use super::presented::Presented;
use super::problem::{CertificateProblem, Whose};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use std::collections::BTreeSet;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// The shortest RSA key with which the cryptographic library verifies signatures.
pub(super) const SHORTEST_RSA: usize = 2048;

/// What certificates of servers are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Fingerprints of server certificates. Names, dates and issuer of such a certificate are not
    /// checked: the fingerprint identifies the server, as an SSH host key does (RFC 7671, section
    /// 5.1 has the same rule for DANE-EE).
    pub fingerprints: BTreeSet<Fingerprint>,
    /// Certificates out of `ca.crt`: authorities, whose signature counts, and server certificates
    /// themselves, which are compared byte by byte. Names and dates are checked in both cases.
    pub certificates: Vec<CertificateDer<'static>>,
    /// What is done with any other certificate.
    pub policy: Policy,
}

/// What is done with a certificate that is trusted neither by its fingerprint nor by the given
/// certificates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// It is refused.
    #[default]
    Pinned,
    /// It is accepted while no fingerprint and no certificate is given. The caller records its
    /// fingerprint and gives it from then on.
    TrustOnFirstUse,
    /// It is accepted if an authority that the operator's system trusts has signed it.
    System,
}

/// Why a certificate is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedBy {
    /// Its fingerprint was given.
    Fingerprint,
    /// The certificate itself was given.
    Certificate,
    /// A trusted authority issued it.
    Authority,
    /// It is the first one seen. The caller records its fingerprint.
    FirstUse,
}

impl Trust {
    /// Verifies a certificate. `system` holds the authorities of the operator's system, which are
    /// used under [`Policy::System`] only; `algorithms` are the accepted signature algorithms.
    ///
    /// Whether the server has the certificate's private key is verified by the handshake, not here.
    ///
    /// # Errors
    /// Why it is not trusted.
    pub fn verify(
        &self,
        presented: Presented<'_>,
        system: &[TrustAnchor<'static>],
        algorithms: &[&dyn SignatureVerificationAlgorithm],
        now: UnixTime,
    ) -> Result<TrustedBy, CertificateProblem> {
        let details = Details::of(presented.leaf);
        if let Some(bits) = details.as_ref().and_then(|d| d.rsa_bits).filter(|bits| *bits < SHORTEST_RSA) {
            return Err(CertificateProblem::ShortKey { whose: Whose::Server, bits });
        }
        let context = Context::new(presented, details.as_ref(), &self.certificates, now);
        if self.fingerprints.contains(&Fingerprint::of(presented.leaf)) {
            return Ok(TrustedBy::Fingerprint);
        }
        if self.certificates.iter().any(|given| given == presented.leaf) {
            let details = details.as_ref().ok_or(CertificateProblem::Unreadable)?;
            return check_given(presented, details, &context, now).map(|()| TrustedBy::Certificate);
        }
        if self.policy == Policy::TrustOnFirstUse
            && self.fingerprints.is_empty()
            && self.certificates.is_empty()
        {
            return Ok(TrustedBy::FirstUse);
        }
        let mut anchors = self.authorities();
        if self.policy == Policy::System {
            anchors.extend_from_slice(system);
        }
        match check_chain(presented, &context, &anchors, algorithms, now) {
            Ok(()) => Ok(TrustedBy::Authority),
            Err(problem) => Err(self.refusal(problem, anchors.is_empty())),
        }
    }

    /// The given certificates that may issue others. A given server certificate is trusted for
    /// itself only: whoever has its key must not be able to make certificates for other servers.
    fn authorities(&self) -> Vec<TrustAnchor<'_>> {
        self.certificates.iter().filter_map(authority).collect()
    }

    /// Replaces "unknown issuer" by what the user can act on: which certificates are accepted, or
    /// that none is.
    fn refusal(&self, problem: CertificateProblem, no_authority: bool) -> CertificateProblem {
        let another = problem == CertificateProblem::SelfSigned { another: true };
        let is_unknown = matches!(
            problem,
            CertificateProblem::SelfSigned { .. }
                | CertificateProblem::IssuerNotSent { .. }
                | CertificateProblem::UnknownAuthority { .. }
        );
        let only_servers = no_authority && !self.certificates.is_empty() && !another;
        if is_unknown && (!self.fingerprints.is_empty() || only_servers) {
            self.not_pinned()
        } else if is_unknown && no_authority && !another {
            CertificateProblem::NothingTrusted
        } else {
            problem
        }
    }

    fn not_pinned(&self) -> CertificateProblem {
        let given = self.certificates.iter().map(|der| Fingerprint::of(der));
        CertificateProblem::NotPinned { accepted: self.fingerprints.iter().copied().chain(given).collect() }
    }
}

/// The trust anchor that a certificate is, if it is that of an authority.
pub(super) fn authority<'a>(der: &'a CertificateDer<'_>) -> Option<TrustAnchor<'a>> {
    // What cannot be read here and yet by webpki is older or stranger than X.509 has it.
    let may_sign = Details::of(der).is_none_or(|details| details.is_authority);
    may_sign.then(|| anchor_from_trusted_cert(der).ok()).flatten()
}

/// Whether a certificate that was itself given is valid now and for this server. Where it has no
/// list of names its common name counts, as with curl: whoever gave this very certificate has seen
/// it.
fn check_given(
    presented: Presented<'_>,
    details: &Details,
    context: &Context<'_>,
    now: UnixTime,
) -> Result<(), CertificateProblem> {
    let Details { not_before, not_after, .. } = *details;
    if now < not_before {
        return Err(CertificateProblem::NotYetValid { whose: Whose::Server, not_before, now });
    }
    if not_after < now {
        return Err(CertificateProblem::Expired { whose: Whose::Server, not_after });
    }
    if details.names.is_some() {
        let leaf = EndEntityCert::try_from(presented.leaf).map_err(|error| context.problem(error))?;
        return leaf
            .verify_is_valid_for_subject_name(presented.server)
            .map_err(|error| context.problem(error));
    }
    let asked = presented.server.to_str().into_owned();
    match &details.common_name {
        Some(name) if common_name_fits(name, &asked) => Ok(()),
        Some(name) => Err(CertificateProblem::WrongName { asked, names: vec![name.clone()] }),
        None => Err(CertificateProblem::NoNames { asked, common_name: None }),
    }
}

/// Whether a common name is this host name or address, or a wildcard for its first label.
fn common_name_fits(name: &str, asked: &str) -> bool {
    let is_child_of =
        |parent: &str| asked.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent));
    let wildcard = name.strip_prefix("*.").is_some_and(|parent| parent.contains('.') && is_child_of(parent));
    name.eq_ignore_ascii_case(asked) || wildcard
}

/// Whether a trusted authority issued the certificate, for this server and for now.
fn check_chain(
    presented: Presented<'_>,
    context: &Context<'_>,
    anchors: &[TrustAnchor<'_>],
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    now: UnixTime,
) -> Result<(), CertificateProblem> {
    let leaf = EndEntityCert::try_from(presented.leaf).map_err(|error| context.chain_problem(error))?;
    let usage = KeyUsage::server_auth();
    leaf.verify_for_usage(algorithms, anchors, presented.chain, now, usage, None, None)
        .map_err(|error| context.chain_problem(error))?;
    leaf.verify_is_valid_for_subject_name(presented.server).map_err(|error| context.problem(error))
}

#[cfg(test)]
mod tests;
