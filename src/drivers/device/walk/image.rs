//! The images that are handed over.

use super::{Device, Walk};
use crate::attempt::{OfferedFile, Waiting, image_name};
use crate::drivers::device::Image;
use crate::failure::Failure;
use crate::payload::{Source, Stored};
use farrier_update::Reason;
use farrier_update::device::{Intent, Verb};
use std::path::PathBuf;

impl<D: Device> Walk<'_, D> {
    /// Returns the image that an action hands over.
    pub(super) async fn image(&self, intent: &Intent) -> Result<Option<Image>, Failure> {
        if !matches!(intent.verb, Verb::Upload | Verb::Pull) && !self.device.takes_image(intent) {
            return Ok(None);
        }
        let component = self.job.components.iter().find(|component| component.name == intent.component);
        let Some(component) = component else { return Ok(None) };
        let Some(payload) = &component.payload else { return Ok(None) };
        let source = self.job.source(component, payload)?;
        let what = format!("the payload of component {}", component.name);
        self.show_wait(Waiting::new(Reason::InProgress, what, "the payload", source.limit()));
        let mut stop = self.desk.stop.clone();
        let signatures = self.job.signatures(component, payload)?;
        let stored = tokio::select! {
            stored = self.stored(&source, &signatures, payload.unpack) => stored,
            Ok(_) = stop.wait_for(|stop| *stop) => {
                Err(Failure::new(Reason::Cancelled, "the run was cancelled before the payload was there"))
            }
        };
        self.desk.view.send_modify(|v| v.waits.clear());
        let (stored, signatures) = stored?;
        let name = image_name(&self.job.session, intent.id, payload);
        let offer = if intent.verb == Verb::Pull {
            let (action, name, digest) = (intent.id, name.as_str(), payload.digest.as_str());
            let unpack = payload.unpack;
            let size = (!unpack).then_some(stored.size);
            let reached = self.reached();
            Some(self.offer(OfferedFile { action, name, digest, size, unpack, reached }).await?)
        } else {
            None
        };
        self.desk.view.send_modify(|v| v.payloads_verified += 1);
        Ok(Some(Image { path: stored.path, size: stored.size, name, signatures, offer }))
    }

    /// Returns an image and its signatures from the store, which fetches what it lacks. An archive is unpacked, so that
    /// a bad one is found before anything is opened for it.
    async fn stored(
        &self,
        source: &Source,
        signatures: &[Source],
        unpack: bool,
    ) -> Result<(Stored, Vec<PathBuf>), Failure> {
        let store = &self.desk.tools.store;
        let mut paths = Vec::new();
        for signature in signatures {
            paths.push(store.ensure(signature).await?.path);
        }
        let stored = store.ensure(source).await?;
        if unpack {
            store.tree(&source.component, &source.digest).await?;
        }
        Ok((stored, paths))
    }
}
