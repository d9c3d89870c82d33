//! The products: what each of them says and does. One file each, with the documents that it follows.

pub(crate) mod chassis;
mod fos;
mod moonshot;
pub(crate) mod oa;
mod sas;
mod superdome;
mod vc;

use anyhow::bail;

use crate::device::Part;
use crate::session::{Next, Session};
use crate::terminal::{Pager, Stop};

pub(crate) use self::fos::director;

/// What the double is a double of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// A Brocade fibre channel switch with Fabric OS.
    Fos,
    /// A Brocade director, with two control processors.
    Director,
    /// The Onboard Administrator of a `BladeSystem` c7000, with a standby.
    Oa,
    /// The iLO Chassis Manager of a Moonshot 1500.
    Moonshot,
    /// The Onboard Administrator of a Superdome X.
    SuperdomeX,
    /// The Onboard Administrator of a Superdome 2.
    Superdome2,
    /// Virtual Connect Manager, with two modules.
    Vc,
    /// A 6Gb SAS switch of a `BladeSystem`.
    SasSwitch,
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
    /// How many sessions it has place for, unless a setting says otherwise.
    pub(crate) sessions: usize,
    /// It repeats a command, and ends lines as terminals do, even if there is none.
    pub(crate) echoes_always: bool,
    /// Its parts have two partitions.
    pub(crate) two_partitions: bool,
}

impl Product {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Fos,
        Self::Director,
        Self::Oa,
        Self::Moonshot,
        Self::SuperdomeX,
        Self::Superdome2,
        Self::Vc,
        Self::SasSwitch,
    ];

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
            Self::Director => &fos::DIRECTOR,
            Self::Oa => &oa::PROFILE,
            Self::Moonshot => &moonshot::PROFILE,
            Self::SuperdomeX => &superdome::X,
            Self::Superdome2 => &superdome::TWO,
            Self::Vc => &vc::PROFILE,
            Self::SasSwitch => &sas::PROFILE,
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

    /// Whether it takes images over HTTPS too.
    pub(crate) const fn has_web(self) -> bool {
        matches!(self, Self::Oa)
    }

    /// What an image for this part must say that it is for: the product, or a component of it.
    pub(crate) fn image_product(self, part: &str) -> String {
        match self {
            Self::Moonshot if part != "cm" => format!("moonshot-{}", part.split('-').next().unwrap_or(part)),
            Self::Director => Self::Fos.name().to_owned(),
            Self::Fos
            | Self::Oa
            | Self::Moonshot
            | Self::SuperdomeX
            | Self::Superdome2
            | Self::Vc
            | Self::SasSwitch => self.name().to_owned(),
        }
    }

    /// A command as the journal may show it.
    pub(crate) fn blotted(self, line: &str) -> String {
        match self {
            Self::Fos | Self::Director => fos::blotted(line),
            Self::Oa | Self::Moonshot | Self::SuperdomeX | Self::Superdome2 | Self::Vc | Self::SasSwitch => {
                chassis::blotted(line)
            }
        }
    }

    /// The text after somebody has signed in.
    pub(crate) fn welcome(self, session: &Session) -> String {
        match self {
            Self::Fos | Self::Director => fos::welcome(),
            Self::Oa => oa::welcome(session),
            Self::Moonshot => moonshot::welcome(session),
            Self::SuperdomeX | Self::Superdome2 => superdome::welcome(session),
            Self::Vc => vc::welcome(session),
            Self::SasSwitch => sas::welcome(session),
        }
    }

    /// What it asks after the sign-in.
    pub(crate) async fn greet(self, session: &mut Session) -> Result<(), Stop> {
        match self {
            Self::Fos | Self::Director => fos::greet(session).await,
            Self::Oa | Self::Moonshot | Self::SuperdomeX | Self::Superdome2 | Self::Vc | Self::SasSwitch => {
                Ok(())
            }
        }
    }

    pub(crate) fn prompt(self, session: &Session) -> String {
        match self {
            Self::Fos | Self::Director => fos::prompt(session),
            Self::Oa => oa::prompt(session),
            Self::Moonshot => moonshot::prompt(session),
            Self::SuperdomeX | Self::Superdome2 => superdome::prompt(session),
            Self::Vc => "->".to_owned(),
            Self::SasSwitch => sas::prompt(session),
        }
    }

    /// What it says when it has no place for one more session, or `holder` has its lock.
    pub(crate) fn no_place(self, holder: &str) -> String {
        match self {
            Self::Fos | Self::Director => fos::no_place(holder),
            Self::SasSwitch => sas::no_place(holder),
            Self::Oa | Self::Moonshot | Self::SuperdomeX | Self::Superdome2 | Self::Vc => {
                oa::no_place(holder)
            }
        }
    }

    /// One command.
    pub(crate) async fn run(self, session: &mut Session, words: &[String]) -> Result<Next, Stop> {
        match self {
            Self::Fos | Self::Director => fos::run(session, words).await,
            Self::Oa => oa::run(session, words).await,
            Self::Moonshot => moonshot::run(session, words).await,
            Self::SuperdomeX | Self::Superdome2 => superdome::run(session, words).await,
            Self::Vc => vc::run(session, words).await,
            Self::SasSwitch => sas::run(session, words).await,
        }
    }
}
