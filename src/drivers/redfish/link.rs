//! Links between the resources of a service.

use std::fmt;

/// Longest link that is followed. Web servers accept paths of 8 KiB; the longest of a known device have a few
/// hundred characters.
const LONGEST: usize = 2048;

/// Characters that need no encoding in path and query (RFC 3986, section 3.3), besides letters and digits.
const PLAIN: &[u8] = b"-._~!$&'()*+,;=:@/?";

/// A path, with its query, on the device that the link was read from. It has no host, so that a device can
/// never direct a request, and the credentials in it, to another server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(String);

/// A text that is not a link to follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotALink {
    /// The link leads to another server, or says so.
    #[error("the link {0:?} leads to another server")]
    Elsewhere(String),
    /// The link is no absolute path.
    #[error("the link {0:?} is no path")]
    NotAPath(String),
}

impl Link {
    /// The service root.
    pub fn root() -> Self {
        Self("/redfish/v1/".to_owned())
    }

    /// Parses a link in a resource. A fragment is left out; characters that do not belong into a URI are
    /// encoded, because some devices put spaces into identifiers.
    ///
    /// # Errors
    /// [`NotALink`] if the link names a server, has dot segments, or is no path.
    pub fn parse(text: &str) -> Result<Self, NotALink> {
        let shown = || text.chars().filter(|c| !c.is_control()).take(100).collect();
        let whole = text.trim();
        if whole.contains("://") || whole.starts_with("//") || whole.contains('\\') {
            return Err(NotALink::Elsewhere(shown()));
        }
        let path = whole.split('#').next().unwrap_or_default();
        // A slash is missing in links of some old devices.
        let path = if path.starts_with("redfish/") { format!("/{path}") } else { path.to_owned() };
        let bare = path.split('?').next().unwrap_or_default();
        if !bare.starts_with('/') || path.len() > LONGEST || path.chars().any(char::is_control) {
            return Err(NotALink::NotAPath(shown()));
        }
        if bare.split('/').any(is_dots) {
            return Err(NotALink::NotAPath(shown()));
        }
        Ok(Self(encode(&path)))
    }

    /// Parses the header `Location` of a created resource. Devices put a scheme and their own idea of their
    /// host into it, which need not be the address that they were connected to by. Only the path counts, and
    /// it is requested from the same device.
    ///
    /// # Errors
    /// As [`Self::parse`], apart from the scheme and the host.
    pub fn of_location(text: &str) -> Result<Self, NotALink> {
        Self::parse(split_host(text).1)
    }

    /// Parses the target of a redirect: a path, or a URL whose host is `host`, the value of the header `Host`.
    ///
    /// # Errors
    /// [`NotALink`] for any other host and as [`Self::parse`].
    pub fn of_redirect(text: &str, host: &str) -> Result<Self, NotALink> {
        let (named, path) = split_host(text);
        let port = |host: &str| host.strip_suffix(":443").unwrap_or(host).to_ascii_lowercase();
        if named.is_some_and(|named| port(named) != port(host)) {
            return Err(NotALink::Elsewhere(text.chars().filter(|c| !c.is_control()).take(100).collect()));
        }
        Self::parse(path)
    }

    /// Returns the link to a resource below this one.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        Self(encode(&format!("{}/{name}", self.0.trim_end_matches('/'))))
    }

    /// Returns path and query.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last segment of the path.
    pub fn name(&self) -> &str {
        let path = self.0.split('?').next().unwrap_or_default();
        path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }

    /// Reports whether two links lead to the same resource. A slash at the end makes no difference.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.trim_end_matches('/') == other.0.trim_end_matches('/')
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits a URL of HTTPS into host and path. A path has no host.
fn split_host(text: &str) -> (Option<&str>, &str) {
    let text = text.trim();
    let Some(rest) = text.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://")) else {
        return (None, text);
    };
    let rest = text.strip_prefix(rest).unwrap_or_default();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    (Some(host), if path.is_empty() { "/" } else { path })
}

/// Dot segments, also encoded, would lead to another path than the one that is shown.
fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

/// Encodes what does not belong into path and query, and keeps what is encoded already.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    let bytes = path.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        let is_escape = byte == b'%' && (1..3).all(|n| bytes.get(at + n).is_some_and(u8::is_ascii_hexdigit));
        if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) || is_escape {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    encoded
}

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap_or_default().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a device could make Farrier send its token, or a password, to another server.
    #[test]
    fn a_link_never_leads_to_another_server() {
        for text in ["https://evil.example/redfish/v1", "//evil.example/x", "http:\\\\evil", "ftp://x/y"] {
            assert!(matches!(Link::parse(text), Err(NotALink::Elsewhere(_))), "{text}");
        }
        for text in ["", "Systems/1", "/redfish/v1/../../x", "/a/%2e%2E/b", "/a\nHost: b", "?x", "#x"] {
            assert!(Link::parse(text).is_err(), "{text:?}");
        }
        assert!(Link::parse(&"/x".repeat(LONGEST)).is_err());
    }

    /// Identifiers of drives and adapters have spaces, percent signs and colons.
    #[test]
    fn odd_characters_are_encoded_once() {
        let dell = "/redfish/v1/UpdateService/FirmwareInventory/Installed-0-1.2__Disk.Bay.0:Enclosure 1";
        let link = Link::parse(dell).unwrap();
        assert!(link.as_str().ends_with("Disk.Bay.0:Enclosure%201"), "{link}");
        assert_eq!(Link::parse(link.as_str()), Ok(link));
        assert_eq!(Link::parse("/a/100%/ü").unwrap().as_str(), "/a/100%25/%C3%BC");
    }

    #[test]
    fn fragments_are_left_out_and_queries_kept() {
        assert_eq!(
            Link::parse("/redfish/v1/Chassis/1/Power#/Fans/0").unwrap().as_str(),
            "/redfish/v1/Chassis/1/Power"
        );
        assert_eq!(Link::parse("/redfish/v1/X?$skip=50").unwrap().as_str(), "/redfish/v1/X?$skip=50");
        assert_eq!(Link::parse("redfish/v1/X").unwrap().as_str(), "/redfish/v1/X");
        assert_eq!(Link::parse("/redfish/v1/Systems/1/").unwrap().name(), "1");
    }

    /// iLO puts its own host into `Location`, which need not be the address in the ManagedNode.
    #[test]
    fn a_location_counts_by_its_path() {
        let link =
            Link::of_location("https://ilo-77.corp.example/redfish/v1/SessionService/Sessions/admin0/");
        assert_eq!(link.unwrap().as_str(), "/redfish/v1/SessionService/Sessions/admin0/");
        assert!(Link::of_location("https://user@host/redfish/../x").is_err());
    }

    #[test]
    fn a_redirect_stays_on_the_host() {
        let to = |text| Link::of_redirect(text, "bmc.example");
        assert_eq!(to("/redfish/v1/").unwrap(), Link::root());
        assert_eq!(to("HTTPS://BMC.example:443/redfish/v1/").unwrap(), Link::root());
        for text in ["https://other.example/redfish/v1/", "https://bmc.example:8443/", "http://bmc.example/"]
        {
            assert!(to(text).is_err(), "{text}");
        }
    }
}
