//! The products: what each of them says and does. One file each, with the documents that it follows.

mod fos;

use anyhow::bail;

use crate::device::Part;
use crate::session::{Next, Session};
use crate::terminal::{Pager, Stop};

/// What the double is a double of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// A Brocade fibre channel switch with Fabric OS.
    Fos,
}

/// What does not depend on the state.
pub(crate) struct Profile {
    /// As in `--product`.
    pub(crate) name: &'static str,
    /// Its model, unless `--model` says otherwise.
    pub(crate) model: &'static str,
    pub(crate) host_name: &'static str,
    /// What the SSH server calls itself.
    pub(crate) ssh_id: &'static str,
    /// Shown before somebody signs in.
    pub(crate) sign_in_banner: Option<&'static str>,
    pub(crate) idle_farewell: &'static str,
    pub(crate) pager: Pager,
    /// Name and version of what is in it at first.
    pub(crate) parts: &'static [(&'static str, &'static str)],
    /// Its parts have two partitions.
    pub(crate) two_partitions: bool,
}

impl Product {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Fos];

    /// The product with this name.
    ///
    /// # Errors
    /// When there is none; the message has all names.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.iter().copied().find(|product| product.name() == name);
        let Some(product) = found else {
            let names: Vec<_> = Self::ALL.iter().map(|product| product.name()).collect();
            bail!("there is no product {name}; there are {}", names.join(", "))
        };
        Ok(product)
    }

    /// As in `--product`.
    pub const fn name(self) -> &'static str {
        self.profile().name
    }

    pub(crate) const fn profile(self) -> &'static Profile {
        match self {
            Self::Fos => &fos::PROFILE,
        }
    }

    pub(crate) const fn host_name(self) -> &'static str {
        self.profile().host_name
    }

    pub(crate) const fn idle_farewell(self) -> &'static str {
        self.profile().idle_farewell
    }

    pub(crate) const fn pager(self) -> Pager {
        self.profile().pager
    }

    pub(crate) fn parts(self) -> Vec<Part> {
        let profile = self.profile();
        let part = |(name, version): &(&str, &str)| Part {
            secondary: profile.two_partitions.then(|| (*version).to_owned()),
            ..Part::new(name, version)
        };
        profile.parts.iter().map(part).collect()
    }

    /// What an image for this part must say that it is for.
    pub(crate) const fn image_product(self, _part: &str) -> &'static str {
        match self {
            Self::Fos => self.name(),
        }
    }

    /// A command as the journal may show it.
    pub(crate) fn blotted(self, line: &str) -> String {
        match self {
            Self::Fos => fos::blotted(line),
        }
    }

    pub(crate) fn welcome(self, session: &Session) -> String {
        match self {
            Self::Fos => fos::welcome(session),
        }
    }

    pub(crate) fn prompt(self, session: &Session) -> String {
        match self {
            Self::Fos => fos::prompt(session),
        }
    }

    /// What it says when it has no place for one more session, or `holder` has its lock.
    pub(crate) fn no_place(self, holder: &str) -> String {
        match self {
            Self::Fos => fos::no_place(holder),
        }
    }

    pub(crate) async fn run(
        self,
        session: &mut Session,
        line: &str,
        words: &[String],
    ) -> Result<Next, Stop> {
        let _whole = line;
        match self {
            Self::Fos => fos::run(session, words).await,
        }
    }
}
