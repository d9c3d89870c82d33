//! What a device works on, and what it keeps for that.

use super::{Link, Reader, Repository, Resource, ServiceRoot, Session, Trouble};
use std::collections::BTreeSet;

/// Maximum number of tasks that are read at once. An iDRAC keeps some hundreds.
const TASKS: usize = 400;

/// What a device works on, and what it keeps for that. Whatever cannot be read is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::drivers::redfish) struct Work {
    /// Tasks, whoever created them.
    pub(in crate::drivers::redfish) tasks: Vec<(Link, Resource)>,
    /// Entries of the queue (iLO), in their order.
    pub(in crate::drivers::redfish) queue: Vec<(Link, Resource)>,
    /// Images in the repository (iLO).
    pub(in crate::drivers::redfish) components: Vec<(Link, Resource)>,
}

impl Work {
    /// Reads what a device works on. Tasks that are `known` are left out.
    ///
    /// # Errors
    /// What concerns the device as a whole.
    pub(in crate::drivers::redfish) async fn read(
        session: &Session,
        root: &ServiceRoot,
        repository: Option<&Repository>,
        known: &BTreeSet<Link>,
    ) -> Result<Self, Trouble> {
        let mut reader = Reader { session, notes: Vec::new() };
        let mut work = Self::default();
        let service = match &root.tasks {
            Some(link) => reader.get(link).await?,
            None => None,
        };
        let tasks = service.and_then(|service| service.link("/Tasks").ok().flatten());
        if let Some(tasks) = tasks {
            let members = reader.members(&tasks).await?;
            let new: Vec<Link> = members.into_iter().filter(|link| !known.contains(link)).collect();
            // The latest are the last.
            let skipped = new.len().saturating_sub(TASKS);
            work.tasks = reader.resources(new.into_iter().skip(skipped)).await?;
        }
        if let Some(repository) = repository {
            work.components = reader.members_of(&repository.components).await?;
            if let Some(queue) = &repository.queue {
                work.queue = reader.members_of(queue).await?;
            }
        }
        Ok(work)
    }

    /// Reads the entries of the queue, in their order.
    ///
    /// # Errors
    /// What concerns the device as a whole.
    pub(in crate::drivers::redfish) async fn queue(
        session: &Session,
        queue: &Link,
    ) -> Result<Vec<(Link, Resource)>, Trouble> {
        Reader { session, notes: Vec::new() }.members_of(queue).await
    }
}

impl Repository {
    /// Reports whether the repository has an image with this name.
    ///
    /// # Errors
    /// What concerns the device as a whole.
    pub(in crate::drivers::redfish) async fn lists(
        &self,
        session: &Session,
        name: &str,
    ) -> Result<bool, Trouble> {
        let mut reader = Reader { session, notes: Vec::new() };
        let images = reader.members_of(&self.components).await?;
        Ok(images.iter().any(|(_, image)| image.text("/Filename").is_some_and(|file| file == name)))
    }
}

impl Reader<'_> {
    pub(super) async fn members_of(&mut self, collection: &Link) -> Result<Vec<(Link, Resource)>, Trouble> {
        let members = self.members(collection).await?;
        self.resources(members.into_iter()).await
    }

    async fn resources(
        &mut self,
        links: impl Iterator<Item = Link> + Send,
    ) -> Result<Vec<(Link, Resource)>, Trouble> {
        let mut found = Vec::new();
        for link in links {
            if let Some(resource) = self.get(&link).await? {
                found.push((link, resource));
            }
        }
        Ok(found)
    }
}
