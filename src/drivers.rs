//! The register of the classes of machines, and what is specific to each.
//!
//! A class is a folder in this directory and one line in [`CLASSES`]. Controllers and `farrier ports` read a
//! class's [`Abilities`], and nothing else of it. Drivers know neither kube nor the API types.

pub mod linux;

use farrier_network::MachineType;
use farrier_update::{InstallerKind, Installers};
use std::fmt;

/// The classes of this version.
const CLASSES: &[&dyn Class] = &[&linux::Linux];

/// A class of machines that are updated in the same way.
pub trait Class: Send + Sync {
    /// The types of machines in this class.
    fn types(&self) -> &'static [MachineType];

    /// What such machines can do.
    fn abilities(&self) -> &'static Abilities;
}

/// What the machines of a class can do, as data.
#[derive(Debug)]
pub struct Abilities {
    /// The installers for such machines.
    pub installers: &'static [InstallerKind],
}

/// The classes of machines that an operator can work on.
#[derive(Clone)]
pub struct Register {
    classes: Vec<&'static dyn Class>,
    installers: Vec<InstallerKind>,
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.classes.iter().map(|class| class.types())).finish()
    }
}

impl Default for Register {
    /// The classes of this version.
    fn default() -> Self {
        Self::new(CLASSES)
    }
}

impl Register {
    /// Creates a register of these classes. If several classes have the same type, the first one counts.
    pub fn new(classes: &[&'static dyn Class]) -> Self {
        let mut installers: Vec<_> =
            classes.iter().flat_map(|class| class.abilities().installers).copied().collect();
        installers.sort_unstable();
        installers.dedup();
        Self { classes: classes.to_vec(), installers }
    }

    /// Returns the class of a type of machine; `None` if this version has no driver for it.
    pub fn class(&self, type_: MachineType) -> Option<&'static dyn Class> {
        self.classes.iter().copied().find(|class| class.types().contains(&type_))
    }

    /// Returns the installers for machines of any class.
    pub fn installers(&self) -> &[InstallerKind] {
        &self.installers
    }

    /// Returns the installers for a type of machine, and for machines of any class.
    pub fn installers_of(&self, type_: MachineType) -> Installers<'_> {
        let machine = self.class(type_).map_or(&[][..], |class| class.abilities().installers);
        Installers { machine, any: &self.installers }
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
            &Abilities { installers: &[InstallerKind::DeviceImage, InstallerKind::Script] }
        }
    }

    /// Otherwise a component for one class of machine would be sent to another, or be rejected although a
    /// driver takes it.
    #[test]
    fn each_class_has_its_own_installers() {
        let register = Register::new(&[&linux::Linux, &Switch]);
        let linux = register.installers_of(MachineType::Linux);
        assert_eq!(linux.machine, [InstallerKind::Deb, InstallerKind::Rpm, InstallerKind::Script]);
        let switch = register.installers_of(MachineType::FCSwitch);
        assert_eq!(switch.machine, [InstallerKind::DeviceImage, InstallerKind::Script]);
        assert_eq!(switch.any, [linux.machine, &[InstallerKind::DeviceImage]].concat());
        assert!(register.class(MachineType::SASSwitch).is_none());
        assert_eq!(register.installers_of(MachineType::SASSwitch).machine, []);
    }

    /// A type in two classes would be driven by whichever comes first.
    #[test]
    fn no_type_of_machine_has_two_classes() {
        for type_ in MachineType::ALL {
            let classes = CLASSES.iter().filter(|class| class.types().contains(&type_));
            assert!(classes.count() <= 1, "{type_}");
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
