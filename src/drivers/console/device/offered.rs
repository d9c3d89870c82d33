//! The values of a command: where the image is, and who may fetch it.

use super::super::template::{Slot, Values};
use super::Device;
use crate::attempt::Offer;
use crate::drivers::device::Image;
use crate::failure::Failure;
use farrier_update::Reason;
use farrier_update::device::Intent;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Returns the values for the command of an action.
///
/// # Errors
/// `NotYetSupported`: the device cannot be told where the image is.
pub(super) fn values(device: &Device, intent: &Intent, image: Option<&Image>) -> Result<Values, Failure> {
    let component = device.components.iter().find(|component| component.name == intent.component);
    let values = device.settings.values();
    let values = match component {
        Some(component) => values.with(Slot::Version, component.version.trim()),
        None => values,
    };
    // What the device calls the thing whose version is the component's.
    let part = device.entry_of(&intent.component).and_then(|entry| device.parts.get(entry));
    let values = match part {
        Some(part) => values.with(Slot::Part, part),
        None => values,
    };
    let Some(image) = image else { return Ok(values) };
    let Some(offer) = &image.offer else { return Ok(values.with(Slot::File, &image.name)) };
    of_offer(device, offer, values.with(Slot::File, &image.name))
}

fn of_offer(device: &Device, offer: &Offer, values: Values) -> Result<Values, Failure> {
    let product = device.product();
    let unusable = |why: String| Failure::new(Reason::NotYetSupported, why);
    let Some(place) = Place::of(&offer.url) else {
        return Err(unusable(format!("the URL of the image for {} cannot be divided", device.node)));
    };
    let pull = product.pulls.iter().find(|pull| pull.scheme == offer.scheme);
    let Some(pull) = pull else {
        return Err(unusable(format!("{} does not fetch by {}", device.node, offer.scheme)));
    };
    if let Some(port) = pull.port.filter(|port| *port != place.port) {
        return Err(unusable(format!(
            "{} looks for a server of {} at port {port} only, and the one of this run is at port {}; give the run port {port} for it (docs/file-services.md)",
            device.node, offer.scheme, place.port
        )));
    }
    let values = values
        .with(Slot::Protocol, &pull.word)
        .with(Slot::Host, place.host)
        .with(Slot::Port, place.port.to_string())
        .hiding(place.secrets())
        .with(Slot::Path, place.path)
        .with(Slot::Url, offer.url_with_login());
    Ok(match &offer.login {
        Some(login) => values.with(Slot::User, &login.user).with(Slot::Password, &login.password),
        None => values,
    })
}

/// The parts of a URL without an account.
#[derive(Debug, PartialEq, Eq)]
struct Place<'u> {
    /// Name or address; that of IPv6 without brackets.
    host: &'u str,
    port: u16,
    /// Without escapes.
    path: Cow<'u, str>,
}

/// Characters of the shortest folder in the path of an offer that nobody can guess.
const UNGUESSED: usize = 12;

impl<'u> Place<'u> {
    /// Returns what is secret in the path: it is what keeps others from fetching the image. Devices quote a path also
    /// without its URL.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let folders = self.path.split('/').rev().skip(1);
        folders.filter(|folder| folder.len() >= UNGUESSED)
    }

    fn of(url: &'u str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find('/')?);
        let (host, port) = match authority.strip_prefix('[') {
            Some(inner) => inner.split_once(']')?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None => usual_port(scheme)?,
        };
        let path = percent_decode_str(path).decode_utf8().ok()?;
        Some(Self { host, port, path })
    }
}

/// Returns the port that a URL does not name.
fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        "sftp" | "scp" => Some(22),
        "ftp" => Some(21),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What keeps others from fetching the image would be in statuses and logs, because devices quote the path.
    #[test]
    fn the_folders_of_a_path_are_secret() {
        let place = Place::of("sftp://10.0.0.1:61022/offers/0123456789abcdef/farrier-a-1-image.bin").unwrap();
        assert_eq!(place.secrets().collect::<Vec<_>>(), ["0123456789abcdef"]);
        let values = Values::default().hiding(place.secrets());
        assert_eq!(values.secrets().collect::<Vec<_>>(), ["0123456789abcdef"]);
    }

    /// A device would look for its image at another server, or under another name.
    #[test]
    fn a_url_is_divided() {
        let of = |url| Place::of(url).map(|place| (place.host, place.port, place.path.into_owned()));
        assert_eq!(
            of("sftp://192.0.2.1:63003/x/a%20b.bin"),
            Some(("192.0.2.1", 63003, "/x/a b.bin".to_owned()))
        );
        assert_eq!(of("scp://[fd00::1]:22/x/a"), Some(("fd00::1", 22, "/x/a".to_owned())));
        assert_eq!(of("https://[fd00::1]/x"), Some(("fd00::1", 443, "/x".to_owned())));
        assert_eq!(of("ftp://host/x"), Some(("host", 21, "/x".to_owned())));
        for url in ["sftp://host", "sftp:host/x", "tftp://host/x", "sftp://host:port/x", "scp://[fd00::1/x"] {
            assert_eq!(of(url), None, "{url}");
        }
    }
}
