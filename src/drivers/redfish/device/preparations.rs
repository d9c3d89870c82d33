//! What is on a device for the time of a run: the authority of our server among those that it trusts
//! (`RemoteServerCertificates`), and a subscription to its events (`EventService`).

use super::super::inventory::Inventory as Everything;
use super::super::{Answer as Reply, Link, Request, Resource, Session, Trouble as Refused};
use super::body::object;
use super::{Device, signed_out, trouble};
use crate::attempt::{Marks, Offer, Scheme};
use crate::drivers::device::Trouble;
use crate::failure::Failure;
use crate::tls::Fingerprint;
use farrier_update::Reason;
use farrier_update::device::{
    Action, Answer, Artifact, ArtifactKind, Ending, Intent, Preparation, State, Ticket, Verb,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

/// Identifies our subscription: there is one for a run.
const SUBSCRIPTION: &str = "events";

/// What is needed to prepare a device for the offer of an image.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// The authority of the server, in PEM.
    authority: String,
    /// Where its events are subscribed to.
    subscriptions: Option<Link>,
    /// Whether events have to be named by type, as before version 1.3 of the service.
    event_types: Vec<String>,
    /// The URL to which the device may post.
    pub(super) destination: Option<String>,
}

impl Device {
    /// Returns what is to be done before the device is told to fetch this.
    pub(super) async fn needs(&mut self, offer: &Offer) -> Result<Vec<Preparation>, Trouble> {
        let Some(session) = &self.session else { return Err(signed_out()) };
        let mut wanted = Vec::new();
        let service = self.update.as_ref().filter(|service| service.verifies_server == Some(true));
        let certificates = service.and_then(|service| service.certificates.as_ref());
        let mark = mark_of(&offer.authority).filter(|_| offer.scheme == Scheme::Https);
        if let (Some(certificates), Some(mark)) = (certificates, mark) {
            let found = Everything::collection(session, certificates).await;
            let (members, _) = found.map_err(|error| trouble(error.into()))?;
            if !members.iter().any(|(_, resource)| mark_in(resource).is_some_and(|found| found == mark)) {
                wanted.push(Preparation { verb: Verb::ImportAuthority, mark });
            }
        }
        let is_web = matches!(offer.scheme, Scheme::Https | Scheme::Http);
        let events = match self.events.as_ref().filter(|_| is_web) {
            Some(link) => event_service(session, link).await.map_err(|error| trouble(error.into()))?,
            None => None,
        };
        self.prepared.authority.clone_from(&offer.authority);
        if let Some(service) = events {
            self.prepared.subscriptions = service.link("/Subscriptions").ok().flatten();
            self.prepared.event_types = event_types(&service);
            if self.prepared.subscriptions.is_some() {
                wanted.push(Preparation { verb: Verb::Subscribe, mark: SUBSCRIPTION.to_owned() });
            }
        }
        Ok(wanted)
    }

    /// Returns the request of a preparation.
    pub(super) fn preparation(&self, intent: &Intent) -> Result<Request, Failure> {
        let unable =
            |what: &str| Failure::new(Reason::InternalError, format!("{what} for {:?}", intent.verb));
        if intent.verb == Verb::ImportAuthority {
            let link = self.update.as_ref().and_then(|service| service.certificates.clone());
            let link = link.ok_or_else(|| unable("there is no collection"))?;
            let body = json!({"CertificateString": self.prepared.authority, "CertificateType": "PEM"});
            return Ok(Request::post(link, body));
        }
        let link = self.prepared.subscriptions.clone().ok_or_else(|| unable("there is no collection"))?;
        let destination = self.prepared.destination.as_ref().ok_or_else(|| unable("there is no URL"))?;
        let types = &self.prepared.event_types;
        let body = object([
            ("Destination", Some(json!(destination))),
            ("Protocol", Some(json!("Redfish"))),
            ("Context", Some(json!(self.marks.name(intent.id, SUBSCRIPTION)))),
            ("EventTypes", (!types.is_empty()).then(|| json!(types))),
        ]);
        Ok(Request::post(link, body))
    }
}

/// Returns what an answer to a preparation means.
pub(super) fn begun(reply: &Reply) -> Answer {
    let resource = reply.resource().unwrap_or_default();
    let own = resource.link("/@odata.id").ok().flatten();
    match reply.location().ok().flatten().or(own) {
        Some(link) => Answer::Began(Ticket(link.as_str().to_owned())),
        // It is found by its content.
        None => Answer::Done,
    }
}

/// Returns what of ours is on the device. Nothing is read if nothing was asked for.
///
/// # Errors
/// What concerns the device as a whole.
pub(super) async fn found(
    session: &Session,
    everything: &Everything,
    actions: &[Action],
    marks: &Marks,
) -> Result<Vec<Artifact>, Refused> {
    let of = |verb| -> Vec<&Action> {
        actions.iter().filter(|action| action.verb == verb && may_be_there(action, actions)).collect()
    };
    let (authorities, subscriptions) = (of(Verb::ImportAuthority), of(Verb::Subscribe));
    let mut all = Vec::new();
    let certificates = everything.update.as_ref().and_then(|service| service.certificates.as_ref());
    if let Some(link) = certificates.filter(|_| !authorities.is_empty()) {
        let (members, is_whole) = Everything::collection(session, link).await?;
        let is_it = |action: &Action, resource: &Resource| {
            mark_in(resource).is_some_and(|mark| mark == action.follows)
        };
        all.extend(artifacts(ArtifactKind::Authority, &authorities, &members, is_whole, is_it));
    }
    let events = everything.root.events.as_ref().filter(|_| !subscriptions.is_empty());
    if let Some(link) = events {
        let service = event_service(session, link).await?;
        let link = service.and_then(|service| service.link("/Subscriptions").ok().flatten());
        let (members, is_whole) = match link {
            Some(link) => Everything::collection(session, &link).await?,
            None => (Vec::new(), false),
        };
        let is_it = |action: &Action, resource: &Resource| {
            let context = resource.text("/Context").unwrap_or_default();
            marks.find(&context) == Some(action.id)
        };
        all.extend(artifacts(ArtifactKind::Subscription, &subscriptions, &members, is_whole, is_it));
    }
    Ok(all)
}

/// Reports whether what an action asked for may be on the device.
fn may_be_there(action: &Action, actions: &[Action]) -> bool {
    let is_removed = |other: &Action| {
        other.of == Some(action.id) && other.state == State::Ended && other.ending == Some(Ending::Done)
    };
    !action.is_void() && !actions.iter().any(is_removed)
}

/// Returns the members of a collection that are of these actions. One whose place is known is taken to be there if the
/// collection cannot be read.
fn artifacts(
    kind: ArtifactKind,
    actions: &[&Action],
    members: &[(Link, Resource)],
    is_whole: bool,
    is_it: impl Fn(&Action, &Resource) -> bool,
) -> Vec<Artifact> {
    let artifact =
        |action: &Action, ticket: Ticket| Artifact { kind, ticket, action: action.id, whole: true };
    let find = |action: &&&Action| {
        let known = action.ticket.as_ref().and_then(|ticket| Link::parse(&ticket.0).ok());
        let is_known = |link: &Link| known.as_ref().is_some_and(|known| known.is_same(link));
        let member = members
            .iter()
            .find(|(link, resource)| is_known(link) || known.is_none() && is_it(action, resource));
        let listed = member.map(|(link, _)| Ticket(link.as_str().to_owned()));
        listed.or_else(|| action.ticket.clone().filter(|_| !is_whole))
    };
    actions.iter().filter_map(|action| Some(artifact(action, find(&action)?))).collect()
}

/// Reads the service of events; `None` if it cannot be used.
async fn event_service(session: &Session, link: &Link) -> Result<Option<Resource>, Refused> {
    match session.get(link).await {
        Ok(service) => Ok(Some(service).filter(|service| service.flag("/ServiceEnabled") != Some(false))),
        Err(error) if error.is_about_resource() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the types that have to be named in a subscription. Services that know registries send everything else.
fn event_types(service: &Resource) -> Vec<String> {
    let knows = ["/EventFormatTypes", "/RegistryPrefixes", "/ResourceTypes"];
    if knows.iter().any(|path| service.has(path)) {
        return Vec::new();
    }
    service.texts("/EventTypesForSubscription").unwrap_or_default()
}

/// Returns the fingerprint of a certificate in PEM.
fn mark_of(pem: &str) -> Option<String> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(Fingerprint::of(&certificate).to_string())
}

fn mark_in(resource: &Resource) -> Option<String> {
    mark_of(resource.whole("/CertificateString")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::Millis;
    use farrier_update::device::ActionId;

    fn action(id: u32, ticket: Option<&str>) -> Action {
        let intent = Intent {
            id: ActionId(id),
            verb: Verb::Subscribe,
            component: "bmc".to_owned(),
            of: None,
            follows: SUBSCRIPTION.to_owned(),
            to: String::new(),
            boot: String::new(),
            members: Vec::new(),
            until: None,
        };
        let ticket = ticket.map(|ticket| Ticket(ticket.to_owned()));
        Action { ticket, state: State::Begun, ..intent.into_action("a".into(), Millis(1)) }
    }

    /// What is overlooked stays on the device, and what is somebody else's must stay there.
    #[test]
    fn only_what_an_action_has_left_is_ours() {
        let marks = Marks::new("0b3ee0c4a1f2");
        let at = |name: &str| format!("/redfish/v1/EventService/Subscriptions/{name}");
        let member = |name: &str, context: String| {
            (Link::parse(&at(name)).unwrap(), Resource::new(json!({"Context": context})))
        };
        let members = [
            member("1", "OneView".to_owned()),
            member("2", marks.name(ActionId(3), SUBSCRIPTION)),
            member("3", marks.name(ActionId(4), SUBSCRIPTION)),
        ];
        let is_it = |action: &Action, resource: &Resource| {
            marks.find(&resource.text("/Context").unwrap()) == Some(action.id)
        };
        let found = |actions: &[&Action], members: &[(Link, Resource)], is_whole| {
            let found = artifacts(ArtifactKind::Subscription, actions, members, is_whole, is_it);
            found.into_iter().map(|artifact| (artifact.action.0, artifact.ticket.0)).collect::<Vec<_>>()
        };
        let lost = action(3, None);
        let known = action(7, Some(&at("9")));
        assert_eq!(found(&[&lost, &known], &members, true), [(3, at("2"))], "the other one is gone");
        assert_eq!(found(&[&lost, &known], &[], false), [(7, at("9"))], "it is not shown");
    }

    #[test]
    fn old_services_want_the_types_of_events() {
        let old = json!({"EventTypesForSubscription": ["StatusChange", "Alert"]});
        assert_eq!(event_types(&Resource::new(old)), ["StatusChange", "Alert"]);
        let new = json!({"EventTypesForSubscription": ["Alert"], "RegistryPrefixes": ["TaskEvent"]});
        assert!(event_types(&Resource::new(new)).is_empty());
    }
}
