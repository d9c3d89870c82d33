//! Converts an error of the certificate library to a [`CertificateProblem`].
//!
//! The library stops at the first failed check, and returns "unknown issuer" for every kind of missing
//! trust. This module inspects the certificates themselves to distinguish these kinds.

use super::certificate::{Details, shown};
use super::presented::Presented;
use super::problem::{CertificateProblem, Whose};
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::Error;

/// The certificates and the time of a rejection.
pub(super) struct Context<'a> {
    presented: Presented<'a>,
    leaf: Option<&'a Details>,
    /// The certificates that the server sent besides its own.
    chain: Vec<Details>,
    /// The certificates that the user configured.
    given: Vec<Details>,
    now: UnixTime,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        presented: Presented<'a>,
        leaf: Option<&'a Details>,
        given: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Self {
        let read =
            |certificates: &[CertificateDer<'_>]| certificates.iter().filter_map(Details::of).collect();
        Self { presented, leaf, chain: read(presented.chain), given: read(given), now }
    }

    /// Returns the problem that an error about the chain stands for.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's list is open")]
    pub(super) fn chain_problem(&self, error: Error) -> CertificateProblem {
        if let Some(leaf) = self.leaf.filter(|leaf| leaf.is_self_issued()) {
            let another = self.given.iter().any(|given| given.subject == leaf.subject);
            let about_dates = matches!(error, Error::CertExpired { .. } | Error::CertNotValidYet { .. });
            // The dates and flags of a self-signed certificate matter only if it is trusted.
            if !(another && about_dates) {
                return CertificateProblem::SelfSigned { another };
            }
        }
        match error {
            Error::UnknownIssuer => self.unknown_issuer(),
            Error::InvalidSignatureForPublicKey
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => self.bad_signature(),
            Error::EndEntityUsedAsCa => CertificateProblem::IssuerIsNoAuthority { issuer: self.issuer() },
            other => self.problem(other),
        }
    }

    /// Returns the problem that an error about the server's certificate stands for.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's list is open")]
    pub(super) fn problem(&self, error: Error) -> CertificateProblem {
        match error {
            Error::CertExpired { not_after, .. } => CertificateProblem::Expired {
                whose: self.whose(|cert| cert.not_after == not_after),
                not_after,
            },
            Error::CertNotValidYet { not_before, .. } => CertificateProblem::NotYetValid {
                whose: self.whose(|cert| cert.not_before == not_before),
                not_before,
                now: self.now,
            },
            Error::CertNotValidForName(_) => self.wrong_name(),
            Error::CaUsedAsEndEntity => CertificateProblem::IsAuthority,
            Error::UnsupportedCertVersion => {
                CertificateProblem::OldVersion { version: self.leaf.map_or(1, |leaf| leaf.version) }
            }
            Error::UnsupportedSignatureAlgorithmContext(_) => self.weak_signature(),
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
                CertificateProblem::WrongPurpose
            }
            Error::UnsupportedCriticalExtension => CertificateProblem::CriticalExtension,
            Error::NameConstraintViolation => CertificateProblem::Constraint("names".to_owned()),
            Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => {
                CertificateProblem::Constraint("length of the chain".to_owned())
            }
            Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => CertificateProblem::Unreadable,
            other => CertificateProblem::Other(other.to_string()),
        }
    }

    fn wrong_name(&self) -> CertificateProblem {
        let asked = self.presented.server.to_str().into_owned();
        let common_name = self.leaf.and_then(|leaf| leaf.common_name.clone());
        match self.leaf.and_then(|leaf| leaf.names.clone()) {
            Some(names) if !names.is_empty() => CertificateProblem::WrongName { asked, names },
            Some(_) | None => CertificateProblem::NoNames { asked, common_name },
        }
    }

    /// Follows the chain that the server sent to its end.
    fn unknown_issuer(&self) -> CertificateProblem {
        let Some(leaf) = self.leaf else { return CertificateProblem::Unreadable };
        let mut top = leaf;
        // Bounded, because certificates that name each other as issuers would never end.
        for _ in 0..=self.chain.len() {
            match self.chain.iter().find(|cert| cert.subject == top.issuer) {
                Some(next) if !top.is_self_issued() => top = next,
                Some(_) | None => break,
            }
        }
        let issuer = shown(&top.issuer);
        if self.given.iter().any(|given| given.subject == top.issuer && !given.is_authority) {
            CertificateProblem::IssuerIsNoAuthority { issuer }
        } else if top == leaf {
            CertificateProblem::IssuerNotSent { issuer }
        } else {
            CertificateProblem::UnknownAuthority { issuer }
        }
    }

    /// Returns the problem for a signature that does not match the key of the certificate with the issuer's
    /// name.
    fn bad_signature(&self) -> CertificateProblem {
        let short = |cert: &&Details| cert.rsa_bits.is_some_and(|bits| bits < super::trust::SHORTEST_RSA);
        let authority = self.given.iter().chain(&self.chain).filter(|cert| cert.is_authority).find(short);
        match authority.and_then(|cert| cert.rsa_bits.map(|bits| (cert, bits))) {
            // The library does not distinguish a short key from a wrong key.
            Some((cert, bits)) => {
                CertificateProblem::ShortKey { whose: Whose::Authority(shown(&cert.subject)), bits }
            }
            None => CertificateProblem::OtherKey { issuer: self.issuer() },
        }
    }

    fn weak_signature(&self) -> CertificateProblem {
        let is_weak = |cert: &Details| cert.signed_with.contains("SHA-1") || cert.signed_with.contains("MD");
        let whose = self.whose(is_weak);
        let cert = match &whose {
            Whose::Server => self.leaf,
            Whose::Authority(_) => self.chain.iter().find(|cert| is_weak(cert)),
        };
        let algorithm =
            cert.map_or_else(|| "an unknown algorithm".to_owned(), |cert| cert.signed_with.clone());
        CertificateProblem::WeakSignature { whose, algorithm }
    }

    /// Returns the certificate of the chain that matches, or the server's own if none does.
    fn whose(&self, is: impl Fn(&Details) -> bool) -> Whose {
        if self.leaf.is_some_and(&is) {
            return Whose::Server;
        }
        let authority = self.chain.iter().find(|cert| is(cert));
        authority.map_or(Whose::Server, |cert| Whose::Authority(shown(&cert.subject)))
    }

    fn issuer(&self) -> String {
        self.leaf.map_or_else(|| "an unknown issuer".to_owned(), |leaf| shown(&leaf.issuer))
    }
}
