//! Which servers are trusted when the BMC fetches: `UpdateService.RemoteServerCertificates`.
//!
//! It keeps certificates and shows them; `fetch` checks servers against them.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use x509_cert::der::Decode as _;

use crate::image::digest;
use crate::message::Word;
use crate::reply::Reply;
use crate::state::{Bmc, State};
use crate::tree::{COLLECT, Found, REMOVE, collection};
use farrier_double_parts::journal::Journal;

/// Below `/redfish/v1`.
const AT: &str = "UpdateService/RemoteServerCertificates";

/// What clients have brought.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    certificates: Vec<Certificate>,
    next: u64,
}

#[derive(Debug, Clone)]
struct Certificate {
    id: String,
    /// `PEM` or `PEMchain`.
    kind: String,
    pem: String,
}

impl Trust {
    /// All of it as one PEM text.
    pub(crate) fn pem(&self) -> String {
        let lines = self.certificates.iter().flat_map(|one| [one.pem.trim_end(), "\n"]);
        lines.collect()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.certificates.iter().map(|one| one.id.clone()).collect()
    }
}

/// How many it keeps; `None`: the collection is not there.
pub(crate) fn limit(bmc: &Bmc) -> Option<usize> {
    bmc.variant.update.simple.as_ref().and_then(|simple| simple.certificates)
}

pub(crate) fn find(bmc: &Bmc, state: &State, path: &[&str]) -> Option<Found> {
    limit(bmc)?;
    find_in(&state.trust, AT, path)
}

/// The collection at this place, or one of its members.
pub(crate) fn find_in(trust: &Trust, at: &str, path: &[&str]) -> Option<Found> {
    match path {
        [] => {
            let ids = trust.ids();
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            let mut found = collection(at, "Certificate", "Certificates of servers", &ids);
            found.allow = COLLECT;
            Some(found)
        }
        [id] => {
            let one = trust.certificates.iter().find(|one| one.id == **id)?;
            Some(Found::new(resource(one, at), REMOVE))
        }
        _ => None,
    }
}

fn resource(one: &Certificate, at: &str) -> Value {
    let mut value = json!({
        "@odata.id": format!("/redfish/v1/{at}/{}", one.id),
        "@odata.type": "#Certificate.v1_5_0.Certificate",
        "Id": one.id,
        "Name": "Certificate of a server",
        "CertificateString": one.pem,
        "CertificateType": one.kind,
    });
    if let Some(first) = parse(&one.pem).and_then(|all| all.into_iter().next())
        && let Ok(parsed) = x509_cert::Certificate::from_der(&first)
    {
        let body = parsed.tbs_certificate();
        let common = |name: &x509_cert::name::Name| {
            let text = name.to_string();
            let found = text.split(',').find_map(|part| part.trim().strip_prefix("CN=").map(str::to_owned));
            found.map_or(json!({}), |name| json!({"CommonName": name}))
        };
        value["Subject"] = common(body.subject());
        value["Issuer"] = common(body.issuer());
        value["ValidNotBefore"] = json!(body.validity().not_before.to_string());
        value["ValidNotAfter"] = json!(body.validity().not_after.to_string());
    }
    value
}

/// The certificates of a PEM text; `None`: it has none, or one that is broken.
fn parse(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().ok()?;
    let whole = |der: &CertificateDer<'_>| x509_cert::Certificate::from_der(der).is_ok();
    (!all.is_empty() && all.iter().all(whole)).then_some(all)
}

/// POST to the collection. `None`: it is not there.
pub(crate) fn add(bmc: &Bmc, state: &mut State, body: &Value) -> Option<Reply> {
    let limit = limit(bmc)?;
    Some(add_to(bmc, &mut state.journal, &mut state.trust, (AT, limit), body))
}

/// The same for a collection at this place with room for so many.
pub(crate) fn add_to(
    bmc: &Bmc,
    journal: &mut Journal,
    trust: &mut Trust,
    (at, limit): (&str, usize),
    body: &Value,
) -> Reply {
    let variant = &bmc.variant;
    let text =
        |name| body[name].as_str().ok_or_else(|| Reply::error(variant, Word::PropertyMissing, &[name]));
    let (pem, kind) = match (text("CertificateString"), text("CertificateType")) {
        (Ok(pem), Ok(kind)) => (pem, kind),
        (Err(reply), _) | (_, Err(reply)) => return reply,
    };
    if !["PEM", "PEMchain"].contains(&kind) {
        return Reply::error(variant, Word::PropertyValue, &[kind, "CertificateType"]);
    }
    let Some(all) = parse(pem).filter(|all| all.len() == 1 || kind == "PEMchain") else {
        return Reply::error(variant, Word::PropertyValue, &["…", "CertificateString"]);
    };
    if trust.certificates.len() >= limit {
        return Reply::error(variant, Word::LimitReached, &[]);
    }
    trust.next += 1;
    let one = Certificate { id: trust.next.to_string(), kind: kind.to_owned(), pem: pem.to_owned() };
    let sums: Vec<_> = all.iter().map(|der| digest(der)).collect();
    journal.write("certificate", json!({"what": "added", "at": at, "id": one.id, "sha256": sums}));
    let reply = Reply::json(201, resource(&one, at)).with("location", format!("/redfish/v1/{at}/{}", one.id));
    trust.certificates.push(one);
    reply
}

/// DELETE of a member that was found.
pub(crate) fn remove(state: &mut State, id: &str) {
    remove_from(&mut state.journal, &mut state.trust, id);
}

pub(crate) fn remove_from(journal: &mut Journal, trust: &mut Trust, id: &str) {
    trust.certificates.retain(|one| one.id != id);
    journal.write("certificate", json!({"what": "removed", "id": id}));
}
