//! What forbids an update, and whether an image fits, whichever way it comes.

use crate::device::Device;
use crate::fault::Fault;
use crate::image::Header;
use crate::trouble::Trouble;

impl Device {
    /// What forbids every update, before an image is there.
    pub(crate) fn gate(&self) -> Result<(), Trouble> {
        let mut state = self.lock();
        if state.settings.role != "admin" {
            return Err(Trouble::Privilege);
        }
        if state.is_busy() {
            return Err(Trouble::Busy);
        }
        let mode = state.faults.take(|fault| match fault {
            Fault::Mode { mode } => Some(mode.clone()),
            _ => None,
        });
        if let Some(mode) = mode {
            return Err(Trouble::Mode(mode));
        }
        if state.faults.has(&Fault::PartnerUnhealthy) {
            return Err(Trouble::Partner);
        }
        Ok(())
    }

    /// Whether there is room for an image.
    pub(crate) fn room(&self, file: &[u8]) -> Result<(), Trouble> {
        let mut state = self.lock();
        if state.faults.has(&Fault::NoRoom) || file.len() > state.settings.room_bytes {
            return Err(Trouble::NoRoom);
        }
        Ok(())
    }

    /// Checks an image that is here against the part that gets it.
    pub(crate) fn check(&self, file: &[u8], part: &str) -> Result<Header, Trouble> {
        let header = Header::of_file(file).map_err(|_| Trouble::NotAnImage)?;
        let fits = header.models.is_empty() || header.models.contains(&self.model);
        if header.product != self.product.image_product(part) || !fits {
            return Err(Trouble::WrongModel);
        }
        if header.bad_signature {
            return Err(Trouble::Signature);
        }
        if !header.from.is_empty() && !header.from.contains(&self.lock().version(part)) {
            return Err(Trouble::StepMissing(header.from.join(", ")));
        }
        Ok(header)
    }
}
