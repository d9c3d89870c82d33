//! The register of the classes of machines, and what is specific to each.
//!
//! A class is a folder in this directory and one line in `CLASSES`. Controllers and `farrier ports` read a
//! class's [`Abilities`], and nothing else of it. Drivers know neither kube nor the API types.

pub mod console;
pub mod device;
mod diagnosis;
pub mod engine;
pub mod hpux;
mod https;
mod keys;
pub mod linux;
mod node;
pub mod redfish;
pub mod shell;
mod text;

pub use keys::Keys;
pub use node::{HandOver, HttpsSettings, Manager, Node, Privilege, SshSettings};

use crate::attempt::{Desk, End, Job};
use crate::failure::Failure;
use farrier_network::MachineType;
use farrier_update::InstallerKind;
use futures::future::BoxFuture;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// The classes of this version, the preferred one of a type first.
static CLASSES: LazyLock<Vec<&'static dyn Class>> =
    LazyLock::new(|| vec![&linux::Linux, &redfish::Redfish, &*CONSOLE, &hpux::HpUx]);

/// Devices with a command line, with the products that are compiled in.
static CONSOLE: LazyLock<console::Console> =
    LazyLock::new(|| console::Console::new(console::Catalogue::default()));

/// A class of machines that are updated in the same way.
pub trait Class: Send + Sync {
    /// The types of machines in this class.
    fn types(&self) -> &'static [MachineType];

    /// What such machines can do.
    fn abilities(&self) -> &'static Abilities;

    /// Returns the types of managers that a machine of this type and product is reached through, if its
    /// `spec.managedBy` names one of such a type. Most machines are reached at their own address, whoever manages them.
    fn managers(&self, _type: MachineType, _product: Option<&str>) -> &[MachineType] {
        &[]
    }

    /// Creates the driver of one machine. `keys` are the values of the machine's Secret, and `manager` is what it is
    /// reached through, if [`Self::managers`] has its type.
    ///
    /// # Errors
    /// `SecretIncomplete`, and the reason why a value of the Secret cannot be used.
    fn driver(&self, node: &Node, keys: &Keys, manager: Option<&Manager>)
    -> Result<Arc<dyn Driver>, Failure>;
}

/// Makes attempts at one machine.
pub trait Driver: Send + Sync {
    /// Makes one attempt. Whatever the result, the attempt removes everything of Farrier's from the machine if
    /// it can reach it.
    fn attempt<'a>(&'a self, job: &'a Job, desk: Desk<'a>) -> BoxFuture<'a, End>;
}

/// What the machines of a class can do, as data.
#[derive(Debug)]
pub struct Abilities {
    /// The installers for such machines.
    pub installers: &'static [InstallerKind],
    /// Whether such machines take the engine.
    pub takes_engine: bool,
    /// Who removes what is left on a machine that cannot be reached any more.
    pub cleans_up: CleansUp,
    /// Whether such machines are described by a product file, which the user may name.
    pub has_products: bool,
}

/// Who removes what is left on a machine that cannot be reached any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleansUp {
    /// The engine on the machine, when its lease expires.
    Engine,
    /// Only Farrier, when it reaches the machine again.
    OnlyFarrier,
}

/// The classes of machines that an operator can work on.
#[derive(Clone)]
pub struct Register {
    classes: Vec<&'static dyn Class>,
    installers: Arc<[InstallerKind]>,
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.classes.iter().map(|class| class.types())).finish()
    }
}

impl Abilities {
    /// What is known of a device whose class is not.
    pub const OF_A_DEVICE: Self =
        Self { installers: &[], takes_engine: false, cleans_up: CleansUp::OnlyFarrier, has_products: false };

    /// Reports whether the engine removes what is left on a machine. A machine that is not known is taken to have
    /// an engine.
    pub fn engine_cleans_up(abilities: Option<&Self>) -> bool {
        abilities.is_none_or(|abilities| abilities.cleans_up == CleansUp::Engine)
    }
}

impl Default for Register {
    /// The classes of this version.
    fn default() -> Self {
        Self::new(&CLASSES)
    }
}

impl Register {
    /// Creates a register of these classes, the preferred one of a type first.
    pub fn new(classes: &[&'static dyn Class]) -> Self {
        let mut installers: Vec<_> =
            classes.iter().flat_map(|class| class.abilities().installers).copied().collect();
        installers.sort_unstable();
        installers.dedup();
        Self { classes: classes.to_vec(), installers: installers.into() }
    }

    /// Returns the register with another class in the place of the one that has products.
    #[must_use]
    pub fn with_products(self, products: &'static dyn Class) -> Self {
        let has_products = |class: &&'static dyn Class| class.abilities().has_products;
        let others = self.classes.into_iter().filter(|class| !has_products(class));
        Self::new(&others.chain([products]).collect::<Vec<_>>())
    }

    /// Returns the class of a type of machine; `None` if this version has no driver for it. A machine whose product the
    /// user names is of the class that has products; otherwise the first class counts.
    pub fn class(&self, type_: MachineType, product: Option<&str>) -> Option<&'static dyn Class> {
        let mut classes = self.classes.iter().copied().filter(|class| class.types().contains(&type_));
        let named = |class: &&'static dyn Class| product.is_none() || class.abilities().has_products;
        classes.find(named)
    }

    /// Returns the installers for machines of any class.
    pub fn installers(&self) -> &Arc<[InstallerKind]> {
        &self.installers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Switch;

    impl Class for Switch {
        fn types(&self) -> &'static [MachineType] {
            &[MachineType::FCSwitch, MachineType::Linux]
        }

        fn abilities(&self) -> &'static Abilities {
            &Abilities {
                installers: &[InstallerKind::DeviceImage, InstallerKind::Script],
                takes_engine: false,
                cleans_up: CleansUp::OnlyFarrier,
                has_products: true,
            }
        }

        fn driver(&self, _: &Node, _: &Keys, _: Option<&Manager>) -> Result<Arc<dyn Driver>, Failure> {
            unreachable!("no attempt is made")
        }
    }

    /// Otherwise a component for one class of machine would be sent to another, or be rejected although a
    /// driver takes it.
    #[test]
    fn each_class_has_its_own_installers() {
        let register = Register::new(&[&linux::Linux, &Switch]);
        let installers = |type_| register.class(type_, None).map(|class| class.abilities().installers);
        let linux = [
            InstallerKind::Deb,
            InstallerKind::Rpm,
            InstallerKind::Script,
            InstallerKind::Fwupd,
            InstallerKind::DellDup,
            InstallerKind::HpeSmartComponent,
            InstallerKind::Tar,
        ];
        assert_eq!(installers(MachineType::Linux), Some(&linux[..]), "the first class counts");
        let switch = [InstallerKind::DeviceImage, InstallerKind::Script];
        assert_eq!(installers(MachineType::FCSwitch), Some(&switch[..]));
        assert_eq!(installers(MachineType::SASSwitch), None);
        let named = register.class(MachineType::Linux, Some("a")).map(|class| class.abilities().installers);
        assert_eq!(named, Some(&switch[..]), "a machine with a product is of the class that has some");
        assert_eq!(**register.installers(), [&linux[..], &[InstallerKind::DeviceImage]].concat());
    }

    /// A type in two classes would be driven by whichever comes first, and its user could not choose.
    #[test]
    fn only_a_product_chooses_between_two_classes() {
        for type_ in MachineType::ALL {
            for has_products in [false, true] {
                let classes = CLASSES.iter().filter(|class| {
                    class.types().contains(&type_) && class.abilities().has_products == has_products
                });
                assert!(classes.count() <= 1, "{type_}");
            }
        }
    }

    /// An installer that the class names and the engine does not have would be skipped without a word.
    #[test]
    fn the_engine_has_the_installers_of_linux() {
        let engine: Vec<_> =
            InstallerKind::ALL.iter().copied().filter(|kind| kind.engine().is_some()).collect();
        assert_eq!(linux::Linux.abilities().installers, engine);
    }
}
