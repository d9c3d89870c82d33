//! Signing in to a registry: by user name and password, or by a token that is got for them.
//!
//! Credentials go to the registry only, and to the token server that the registry itself names. Whoever a
//! registry redirects to is never answered.

use super::Registry;
use crate::failure::Failure;
use crate::payload::client::{causes, host, short_body, unavailable};
use crate::payload::source::{Access, Source};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farrier_update::Reason;
use http_auth::ChallengeRef;
use reqwest::header::{HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

/// Largest accepted answer of a token server, in bytes. Tokens with many rights have several kilobytes.
const TOKEN_LIMIT: usize = 256 * 1024;

/// How the operator is signed in to a registry.
pub(super) struct Authentication {
    state: State,
    /// Whether there are credentials in the Secret.
    pub(super) has_credentials: bool,
}

enum State {
    /// Not yet: some registries ask nobody.
    Anonymous,
    /// By the user's token. There is nothing else to try.
    Given(HeaderValue),
    /// By user name and password. There is nothing else to try.
    Basic(HeaderValue),
    /// By a token of the registry's token server, which ends after some minutes.
    Issued(HeaderValue),
}

impl Authentication {
    pub(super) fn new(access: &Access) -> Self {
        let state = access.token.as_deref().and_then(bearer).map_or(State::Anonymous, State::Given);
        Self { state, has_credentials: access.token.is_some() || access.basic.is_some() }
    }

    /// The header for the next request.
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        match &self.state {
            State::Anonymous => None,
            State::Given(header) | State::Basic(header) | State::Issued(header) => Some(header),
        }
    }

    /// Reports whether a token server has accepted the credentials.
    pub(super) fn is_issued(&self) -> bool {
        matches!(self.state, State::Issued(_))
    }
}

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// User name and password.
    Basic,
    /// A token from this server, which wants to know these names.
    Token { realm: String, service: Option<String>, scope: Option<String> },
}

impl Wanted {
    /// Reads the header of a registry, which may name several ways. A token has fewer rights than a password.
    fn of(headers: &[&str]) -> Option<Self> {
        let challenges: Vec<ChallengeRef<'_>> =
            headers.iter().filter_map(|header| http_auth::parse_challenges(header).ok()).flatten().collect();
        let of = |scheme: &str| challenges.iter().find(|found| found.scheme.eq_ignore_ascii_case(scheme));
        let token = of("Bearer").and_then(|challenge| {
            let value = |name: &str| {
                let found = challenge.params.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            Some(Self::Token { realm: value("realm")?, service: value("service"), scope: value("scope") })
        });
        token.or_else(|| of("Basic").map(|_| Self::Basic))
    }
}

/// The answer of a token server. Servers use either name.
#[derive(Deserialize)]
struct Issued {
    token: Option<String>,
    access_token: Option<String>,
}

impl Registry<'_> {
    /// Signs in as the registry asks for it. Returns false if nothing is left to try.
    pub(super) async fn authenticate(&mut self, refusal: &Response) -> Result<bool, Failure> {
        match self.authentication.state {
            State::Given(_) | State::Basic(_) => return Ok(false),
            // A token that was issued may have ended meanwhile; a new one is got for each refusal once.
            State::Anonymous | State::Issued(_) => {}
        }
        let headers: Vec<&str> = refusal
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let basic = &self.source.access.basic;
        self.authentication.state = match (Wanted::of(&headers), basic) {
            (Some(Wanted::Basic), Some((user, password))) => {
                let Some(header) = basic_header(user, password) else { return Ok(false) };
                State::Basic(header)
            }
            (Some(Wanted::Token { realm, service, scope }), _) => {
                State::Issued(self.token(&realm, service, scope).await?)
            }
            (Some(Wanted::Basic), None) | (None, _) => return Ok(false),
        };
        Ok(true)
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
    ) -> Result<HeaderValue, Failure> {
        let Source { component, url, access, .. } = self.source;
        let mut server = Url::parse(realm).ok().filter(|realm| realm.scheme() == "https").ok_or_else(|| {
            Failure::new(
                Reason::PayloadRefused,
                format!(
                    "the registry of {url} (component {component}) names a token server that has no https:// URL; correct the realm at the registry"
                ),
            )
        })?;
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.reference.repository));
        server
            .query_pairs_mut()
            .extend_pairs(service.map(|service| ("service", service)))
            .append_pair("scope", &scope);
        let mut request = self.client.get(server.clone());
        if let Some((user, password)) = &access.basic {
            request = request.basic_auth(user, Some(password));
        }
        let response = request.send().await.map_err(|error| unavailable(self.source, &server, &error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.refused_token(&server, status));
        }
        let useless = |why: &str| {
            Failure::new(
                Reason::PayloadUnavailable,
                format!(
                    "the token server {} of {url} (component {component}) issued no token: {why}; check it",
                    host(&server)
                ),
            )
        };
        let body = short_body(response, TOKEN_LIMIT).await.map_err(|error| useless(&causes(&error)))?;
        let body = body.ok_or_else(|| useless("its answer is too long"))?;
        let issued = serde_json::from_slice::<Issued>(&body).ok();
        let token = issued.and_then(|issued| issued.token.or(issued.access_token));
        token.as_deref().and_then(bearer).ok_or_else(|| useless("its answer has none"))
    }

    fn refused_token(&self, server: &Url, status: StatusCode) -> Failure {
        let (reason, next) = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST
                if self.authentication.has_credentials =>
            {
                (Reason::PayloadRefused, "correct username and password in the Secret in payload.secretRef")
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                (Reason::PayloadRefused, super::answer::GIVE_CREDENTIALS)
            }
            _ => (Reason::PayloadUnavailable, "check it; it is retried while the run has retries left"),
        };
        let Source { component, url, .. } = self.source;
        Failure::new(
            reason,
            format!(
                "the token server {} of {url} answered {status} for the payload of component {component}; {next}",
                host(server)
            ),
        )
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    secret(&format!("Bearer {token}"))
}

fn basic_header(user: &str, password: &str) -> Option<HeaderValue> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A registry that offers several ways, in one header or in several, would not be used at all.
    #[test]
    fn a_token_is_preferred_whatever_the_order() {
        let token = |scope: Option<&str>| Wanted::Token {
            realm: "https://auth.example.net/token".into(),
            service: Some("a, \"b\"".into()),
            scope: scope.map(str::to_owned),
        };
        let bearer = r#"bearer realm="https://auth.example.net/token",service="a, \"b\"",scope="repository:x:pull,push""#;
        let expected = Some(token(Some("repository:x:pull,push")));
        assert_eq!(Wanted::of(&[bearer]), expected);
        assert_eq!(Wanted::of(&[&format!("Basic realm=\"x\", {bearer}")]), expected);
        assert_eq!(Wanted::of(&["Basic realm=\"x\"", bearer]), expected);
        let short = r#"Bearer realm="https://auth.example.net/token",service="a, \"b\"""#;
        assert_eq!(Wanted::of(&[short]), Some(token(None)));
        assert_eq!(Wanted::of(&["Basic realm=\"x\""]), Some(Wanted::Basic));
        assert_eq!(Wanted::of(&["Negotiate", "Bearer service=\"x\""]), None);
        assert_eq!(Wanted::of(&[]), None);
    }
}
