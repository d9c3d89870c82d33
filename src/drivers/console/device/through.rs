//! The way to a device through its manager: a session with the manager, on which the manager opens the device's console,
//! which then asks for the device's own account (docs/adr/0044-through-a-manager.md).

use super::super::file::Verb as Command;
use super::super::product::{Product, Through};
use super::super::read;
use super::super::session::Ask;
use super::Device;
use super::trouble::refused_by_ssh;
use crate::drivers::device::{Contact, Trouble};
use crate::ssh::connect::Milestone;
use crate::ssh::dial;
use regex::Regex;

impl Device {
    /// Goes from the first prompt of the manager to the device. Does nothing for a device that is dialled itself.
    pub(super) async fn go_through(
        &mut self,
        report: &mut (impl FnMut(Contact) + Send),
    ) -> Result<(), Trouble> {
        let product = self.settings.product.clone();
        let Some(through) = product.through.as_ref().filter(|_| self.settings.manager.is_some()) else {
            return Ok(());
        };
        self.begins_in(through)?;
        if let Some((_, pattern)) = &through.bay {
            self.find_bay(pattern).await?;
        }
        self.enter_console(&product, through).await?;
        if let Some(line) = &self.line {
            report(Contact::Reached { address: line.address.clone() });
        }
        report(Contact::SignedIn);
        Ok(())
    }

    /// Returns what a step of the connection says about the device: nothing, if it is about the manager, but for the
    /// host key, which is the only proof of where the session leads.
    pub(super) fn contact(&self, done: Milestone) -> Option<Contact> {
        let Some(manager) = self.manager() else { return Some(done.into()) };
        match done {
            Milestone::HostKeyAccepted { first } => {
                Some(Contact::ManagerKeyAccepted { manager: manager.to_owned(), first })
            }
            Milestone::Reached { .. } | Milestone::Negotiated { .. } | Milestone::SignedIn => None,
        }
    }

    /// Returns the name of the manager that the device is reached through.
    pub(super) fn manager(&self) -> Option<&str> {
        self.settings.manager.as_ref().map(|shell| shell.target.node.as_str())
    }

    /// Checks that the session is with a manager: nothing is typed at the prompt of something else.
    fn begins_in(&self, through: &Through) -> Result<(), Trouble> {
        let mode = self.line.as_ref().map(|line| line.session.mode.as_str()).unwrap_or_default();
        if mode == through.mode { Ok(()) } else { Err(self.no_manager(mode)) }
    }

    /// Finds the bay whose address is one of the device's own.
    async fn find_bay(&mut self, pattern: &Regex) -> Result<(), Trouble> {
        let said = self.exchange(Ask::Bay).await?;
        let addresses = dial::addresses(&self.settings.shell.target).await.map_err(refused_by_ssh)?;
        let Some((bay, address)) = read::bay(pattern, &said, &addresses) else {
            return Err(self.no_bay(&said));
        };
        if let Some(line) = &mut self.line {
            line.bay = Some(bay);
            line.address = address.to_string();
        }
        Ok(())
    }

    /// Signs in on the console. A console keeps a session that was not ended, whoever's it is: that is ended first, so
    /// that nothing is done with the rights of somebody else.
    async fn enter_console(&mut self, product: &Product, through: &Through) -> Result<(), Trouble> {
        if self.signs_in_there(product).await? {
            return Ok(());
        }
        self.exchange(Ask::Request(Command::SignOut)).await?;
        let is_out = self.line.as_ref().is_some_and(|line| line.session.mode == through.mode);
        if is_out && self.signs_in_there(product).await? { Ok(()) } else { Err(self.never_asked()) }
    }

    /// Enters the mode in which versions are read. Returns false, in whatever mode, if no account was asked for.
    async fn signs_in_there(&mut self, product: &Product) -> Result<bool, Trouble> {
        let there = &product.versions.command.mode;
        let Some(line) = &self.line else { return Ok(false) };
        let Some(way) = product.way(&line.session.mode, there) else {
            return Err(self.no_way(&Ask::Versions));
        };
        for mode in way {
            let said = self.exchange(Ask::Enter(mode.to_owned())).await?;
            let signs_in =
                product.modes.get(mode).and_then(|mode| mode.enter.as_ref()?.signs_in().then_some(()));
            if signs_in.is_some() && !said.signed_in {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
