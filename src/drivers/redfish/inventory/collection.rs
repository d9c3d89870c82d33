//! The members of a collection, which may come in pages.

use super::{Link, Reader, Resource, Trouble};

/// Maximum number of pages. Devices put 50 members on a page (iDRAC) or more; one that goes on for ever is
/// broken.
const PAGES: usize = 100;

/// Maximum number of members. The largest inventories of today have some hundreds.
const MEMBERS: usize = 2000;

/// Where the next page is said to be.
const NEXT: &[&str] = &["/Members@odata.nextLink", "/@odata.nextLink"];

impl Reader<'_> {
    /// Returns the links of the members. A page that cannot be read, and members that are no links, cost
    /// themselves and a note.
    pub(super) async fn members(&mut self, collection: &Link) -> Result<Vec<Link>, Trouble> {
        let mut members: Vec<Link> = Vec::new();
        let mut pages = vec![collection.clone()];
        while let Some(page) = pages.last().cloned() {
            let Some(resource) = self.get(&page).await? else { break };
            for link in resource.links("/Members") {
                if !members.iter().any(|member| member.is_same(&link)) {
                    members.push(link);
                }
            }
            self.note_others(&page, &resource);
            match next(&resource) {
                Ok(None) => break,
                Ok(Some(next)) if pages.contains(&next) => {
                    self.note(
                        &page,
                        format!("the pages of {collection} go in a circle at {next}; the others were read"),
                    );
                    break;
                }
                Ok(Some(next)) => pages.push(next),
                Err(words) => {
                    self.note(&page, format!("the next page of {collection} was not read: {words}"));
                    break;
                }
            }
            if pages.len() > PAGES || members.len() > MEMBERS {
                self.note(&page, format!("{collection} has more than {PAGES} pages or {MEMBERS} members; the others were left out"));
                break;
            }
        }
        members.truncate(MEMBERS);
        Ok(members)
    }

    /// Notes how many members of a page are no links to follow.
    fn note_others(&mut self, page: &Link, resource: &Resource) {
        let odd = resource.count("/Members").saturating_sub(resource.links("/Members").len());
        if odd > 0 {
            self.note(page, format!("{odd} members of {page} are no links, and were left out"));
        }
    }
}

fn next(resource: &Resource) -> Result<Option<Link>, String> {
    let found = NEXT.iter().find(|path| resource.has(path));
    match found {
        Some(path) => resource.link(path).map_err(|link| link.to_string()),
        None => Ok(None),
    }
}
