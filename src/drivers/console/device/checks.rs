//! What must be so of a device: before it is changed, afterwards, or at each reading.

use super::super::dialogue::Answer as Said;
use super::super::file::When;
use super::super::meaning::Meaning;
use super::super::read;
use super::super::session::Ask;
use super::Device;
use crate::drivers::device::Trouble;

/// A check that has failed.
pub(super) struct Unhealthy {
    /// What is checked, in words.
    pub(super) name: String,
    /// What it means.
    pub(super) means: Meaning,
    /// What the device says.
    pub(super) line: String,
}

/// What came of checks.
pub(super) enum Health {
    /// There is none for that time.
    NotAsked,
    /// All is as it must be.
    Well,
    /// The first that has failed.
    Unwell(Unhealthy),
}

impl Device {
    /// Makes the checks of some time. One with the command of the check before it judges the same answer.
    pub(super) async fn check(&mut self, is_due: fn(When) -> bool) -> Result<Health, Trouble> {
        let product = self.settings.product.clone();
        let mut health = Health::NotAsked;
        let mut before: Option<(&str, _, Said)> = None;
        for (number, check) in product.checks.iter().enumerate().filter(|(_, check)| is_due(check.when)) {
            let (mode, template) = (check.command.mode.as_str(), &check.command.template);
            let same = before.take().filter(|(in_mode, sent, _)| *in_mode == mode && *sent == template);
            let said = match same {
                Some((_, _, said)) => said,
                None => self.reads(Ask::Check(number)).await?,
            };
            if let Some((means, line)) = read::failed_check(check, &said) {
                return Ok(Health::Unwell(Unhealthy { name: check.name.clone(), means, line }));
            }
            (before, health) = (Some((mode, template, said)), Health::Well);
        }
        Ok(health)
    }
}
