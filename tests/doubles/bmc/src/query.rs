//! The query part of a GET: `only`, `$expand`, `$select`, `$skip`, `$top`.

use serde_json::{Value, json};

use crate::message::Word;
use crate::reply::Reply;
use crate::state::{Bmc, State};
use crate::tree::{Found, find};

#[derive(Debug, Default)]
struct Wanted {
    only: bool,
    expand: bool,
    select: Option<Vec<String>>,
    skip: usize,
    top: Option<usize>,
}

/// The resource at the path, as the query wants it.
pub(crate) fn apply(bmc: &Bmc, state: &mut State, path: &[&str], query: &str) -> Result<Found, Reply> {
    let missing = || Reply::not_found(&bmc.variant, &format!("/redfish/v1/{}", path.join("/")));
    let mut found = find(bmc, state, path).ok_or_else(missing)?;
    let wanted = parse(bmc, query)?;
    if wanted.only && !found.members {
        return Err(Reply::error(&bmc.variant, Word::QueryValue, &["", "only"]));
    }
    if found.members {
        let at = format!("/redfish/v1/{}", path.join("/"));
        pages(state, &at, &mut found.value, &wanted);
        let members = found.value["Members"].as_array().cloned().unwrap_or_default();
        if let (true, [member]) = (wanted.only, members.as_slice())
            && let Some(one) = linked(bmc, state, member)
        {
            return Ok(one);
        }
        if wanted.expand {
            let full = |member: &Value, state: &mut State| {
                linked(bmc, state, member).map_or_else(|| member.clone(), |found| found.value)
            };
            let members: Vec<_> = members.iter().map(|member| full(member, state)).collect();
            found.value["Members"] = json!(members);
        }
    }
    if let (Some(names), Some(fields)) = (&wanted.select, found.value.as_object_mut()) {
        fields.retain(|name, _| name.starts_with('@') || names.contains(name));
    }
    Ok(found)
}

/// What a member's link leads to.
fn linked(bmc: &Bmc, state: &mut State, member: &Value) -> Option<Found> {
    let link = member["@odata.id"].as_str()?.strip_prefix("/redfish/v1/")?;
    let path: Vec<_> = link.split('/').filter(|part| !part.is_empty()).collect();
    find(bmc, state, &path)
}

fn pages(state: &State, at: &str, value: &mut Value, wanted: &Wanted) {
    let Some(members) = value["Members"].as_array() else { return };
    let all = members.len();
    let size = match (wanted.top, state.settings.page_size) {
        (Some(top), 0) => top,
        (Some(top), page) => top.min(page),
        (None, 0) => all,
        (None, page) => page,
    };
    let shown: Vec<_> = members.iter().skip(wanted.skip).take(size).cloned().collect();
    let next = wanted.skip + shown.len();
    value["Members"] = json!(shown);
    // `$top` is what the client wants, pages are what the service gives.
    if next < all && wanted.top.is_none_or(|top| size < top) {
        value["Members@odata.nextLink"] = json!(format!("{at}?$skip={next}"));
    }
}

fn parse(bmc: &Bmc, query: &str) -> Result<Wanted, Reply> {
    let rules = &bmc.variant.query;
    let mut wanted = Wanted::default();
    for field in query.split('&').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let name = name.replace("%24", "$");
        let number =
            || value.parse().map_err(|_| Reply::error(&bmc.variant, Word::QueryValue, &[value, &name]));
        match name.as_str() {
            "only" if rules.only && value.is_empty() => wanted.only = true,
            "only" if rules.only => {
                return Err(Reply::error(&bmc.variant, Word::QueryValue, &[value, "only"]));
            }
            "$expand" if rules.expand => {
                if !value.starts_with(['.', '*', '~', '%']) {
                    return Err(Reply::error(&bmc.variant, Word::QueryValue, &[value, "$expand"]));
                }
                wanted.expand = true;
            }
            "$select" if rules.select => {
                wanted.select = Some(value.split(',').map(str::to_owned).collect());
            }
            // The pages that the double makes itself need it of every variant.
            "$skip" => wanted.skip = number()?,
            "$top" if rules.paging => wanted.top = Some(number()?),
            _ if name.starts_with('$') => {
                return Err(Reply::error(&bmc.variant, Word::QueryUnsupported, &[]));
            }
            _ => {}
        }
    }
    Ok(wanted)
}
