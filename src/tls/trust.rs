//! The trust in server certificates, and the decision about a certificate that a server presented.

use super::certificate::Details;
use super::classify::Context;
use super::fingerprint::Fingerprint;
use super::presented::Presented;
use super::problem::{CertificateProblem, Whose};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use std::collections::BTreeSet;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// Length of the shortest RSA key with which the cryptographic library verifies signatures.
pub(super) const SHORTEST_RSA: usize = 2048;

/// The trusted certificates of servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Fingerprints of server certificates. Names, dates and issuer of such a certificate are not
    /// checked: the fingerprint identifies the server, as an SSH host key does (RFC 7671, section
    /// 5.1 has the same rule for DANE-EE).
    pub fingerprints: BTreeSet<Fingerprint>,
    /// Certificates from `ca.crt`: authorities, which may issue server certificates, and server
    /// certificates themselves, which are compared byte by byte. Names and dates are checked in both cases.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The policy for all other certificates.
    pub policy: Policy,
}

/// The policy for a certificate that is trusted neither by its fingerprint nor by the configured
/// certificates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// The certificate is rejected.
    #[default]
    Pinned,
    /// The certificate is accepted if no fingerprint and no certificate is configured. The caller records
    /// its fingerprint and passes it from then on.
    TrustOnFirstUse,
    /// The certificate is accepted if it was issued by an authority that the operator's system trusts.
    System,
}

/// Why a certificate is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedBy {
    /// Its fingerprint is configured.
    Fingerprint,
    /// The certificate itself is configured.
    Certificate,
    /// A trusted authority issued it.
    Authority,
    /// It is the first certificate of this server. The caller records its fingerprint.
    FirstUse,
}

impl Trust {
    /// Verifies a certificate. `system` holds the authorities of the operator's system, which are used
    /// under [`Policy::System`] only; `algorithms` are the accepted signature algorithms.
    ///
    /// The handshake verifies that the server has the certificate's private key; this function does not.
    ///
    /// # Errors
    /// Why the certificate is not trusted.
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
            // Without its key the handshake cannot be verified.
            let is_readable = details.is_some() || EndEntityCert::try_from(presented.leaf).is_ok();
            return is_readable.then_some(TrustedBy::Fingerprint).ok_or(CertificateProblem::Unreadable);
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

    /// Returns the configured certificates that may issue others. A configured server certificate is
    /// trusted for itself only: a holder of its key must not be able to issue certificates for other
    /// servers. The same applies to a certificate that cannot be read well enough to tell.
    fn authorities(&self) -> Vec<TrustAnchor<'_>> {
        let is_authority = |der: &&CertificateDer<'_>| Details::of(der).is_some_and(|d| d.is_authority);
        self.certificates
            .iter()
            .filter(is_authority)
            .filter_map(|d| anchor_from_trusted_cert(d).ok())
            .collect()
    }

    /// Replaces "unknown issuer" by a problem that the user can solve: which certificates are accepted, or
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

/// Returns the trust anchor of a certificate in the system's store, unless it is a server certificate.
pub(super) fn system_authority<'a>(der: &'a CertificateDer<'_>) -> Option<TrustAnchor<'a>> {
    // A certificate that webpki can read and this module cannot is unusual; the store vouches for it.
    let may_sign = Details::of(der).is_none_or(|details| details.is_authority);
    may_sign.then(|| anchor_from_trusted_cert(der).ok()).flatten()
}

/// Checks whether a configured server certificate is valid now and for this server. If it has no list of
/// names, its common name counts, as in curl: the user who configured this very certificate has seen it.
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
    if details.names.is_some()
        && let Ok(leaf) = EndEntityCert::try_from(presented.leaf)
    {
        return leaf
            .verify_is_valid_for_subject_name(presented.server)
            .map_err(|error| context.problem(error));
    }
    // `webpki` cannot read every certificate, for example one with an unknown critical extension.
    let asked = presented.server.to_str().into_owned();
    let names = details.names.clone().unwrap_or_else(|| details.common_name.iter().cloned().collect());
    if names.iter().any(|name| name_fits(name, &asked)) {
        Ok(())
    } else if names.is_empty() {
        Err(CertificateProblem::NoNames { asked, common_name: None })
    } else {
        Err(CertificateProblem::WrongName { asked, names })
    }
}

/// Reports whether a name is this host name or address, or a wildcard for its first label.
fn name_fits(name: &str, asked: &str) -> bool {
    let is_child_of =
        |parent: &str| asked.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent));
    let wildcard = name.strip_prefix("*.").is_some_and(|parent| parent.contains('.') && is_child_of(parent));
    name.eq_ignore_ascii_case(asked) || wildcard
}

/// Checks whether a trusted authority issued the certificate, for this server and for now.
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
