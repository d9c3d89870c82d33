//! The products that are known: the files that are compiled in, and those of the user.

use super::lint::{self, Finding};
use super::product::Product;
use crate::drivers::HandOver;
use farrier_network::{FileService, MachineType};
use std::collections::{BTreeMap, BTreeSet};

/// Name and text of each file that is compiled in.
pub const FILES: [(&str, &str); 7] = [
    ("brocade-fos", include_str!("products/brocade-fos.yaml")),
    ("moonshot", include_str!("products/moonshot.yaml")),
    ("onboard-administrator", include_str!("products/onboard-administrator.yaml")),
    ("sas-switch", include_str!("products/sas-switch.yaml")),
    ("superdome-2", include_str!("products/superdome-2.yaml")),
    ("superdome-x", include_str!("products/superdome-x.yaml")),
    ("virtual-connect", include_str!("products/virtual-connect.yaml")),
];

/// The products that are known.
#[derive(Debug, Clone)]
pub struct Catalogue(BTreeMap<String, Product>);

/// A file that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub file: String,
    /// What is wrong in it.
    pub findings: Vec<Finding>,
}

/// The names of products in the files of a user: which of two with the same name counts would depend on their order.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// Returns what is wrong with the name of a product in a file: another file has it.
    pub fn taken(&self, file: &str, product: &str) -> Option<Finding> {
        let other = self.0.get(product).filter(|other| *other != file)?;
        let says =
            format!("{other} has the name `{product}` too; give one of them another name, or take it away");
        Some(Finding { at: "product".to_owned(), says })
    }

    /// Notes the name of a product in a file.
    pub fn note(&mut self, file: &str, product: &str) {
        self.0.insert(product.to_owned(), file.to_owned());
    }
}

/// Why no product is chosen for a machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoProduct {
    /// There is none of that name.
    #[error("there is no product `{name}`; known are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Names of those that there are.
        known: String,
    },
    /// The product is for machines of other types.
    #[error("the product `{name}` is for {types}, not for {type_}")]
    OtherType {
        /// The name.
        name: String,
        /// The type of the machine.
        type_: MachineType,
        /// The types that it is for.
        types: String,
    },
    /// No product is for machines of this type.
    #[error("no product file is for {0}; docs/console-devices.md says how to write one")]
    NoneForType(MachineType),
    /// Several are, and none was named.
    #[error("several products are for {type_}: {names}; name the one of this machine")]
    Several {
        /// The type of the machine.
        type_: MachineType,
        /// The products.
        names: String,
    },
}

impl Default for Catalogue {
    /// The products that are compiled in.
    fn default() -> Self {
        Self::read([]).0
    }
}

impl Catalogue {
    /// Reads the files that are compiled in and those of the user: file name and text. A product of the user replaces
    /// one of the same name that is compiled in. A file with findings is not used, and does not keep the others from being
    /// used.
    pub fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Self, Vec<Refused>) {
        let (mut products, mut refused) = (BTreeMap::new(), Vec::new());
        let mut names = Names::default();
        let own = files.into_iter().map(|(file, text)| (file, text, true));
        for (file, text, is_own) in FILES.into_iter().map(|(file, text)| (file, text, false)).chain(own) {
            let read = lint::read(text).and_then(|product| match names.taken(file, &product.name) {
                Some(finding) if is_own => Err(vec![finding]),
                Some(_) | None => Ok(product),
            });
            match read {
                Ok(product) => {
                    if is_own {
                        names.note(file, &product.name);
                    }
                    products.insert(product.name.clone(), product);
                }
                Err(findings) => refused.push(Refused { file: file.to_owned(), findings }),
            }
        }
        (Self(products), refused)
    }

    /// Returns the product of a machine: the one that its user names, or the only one for its type.
    pub fn choose(&self, type_: MachineType, name: Option<&str>) -> Result<&Product, NoProduct> {
        let names = |products: &[&Product]| join(products.iter().map(|product| product.name.clone()));
        if let Some(name) = name {
            let name = name.to_owned();
            let Some(product) = self.0.get(&name) else {
                return Err(NoProduct::Unknown { name, known: join(self.0.keys().cloned()) });
            };
            if product.types.contains(&type_) {
                return Ok(product);
            }
            let fitting = join(product.types.iter().map(ToString::to_string));
            return Err(NoProduct::OtherType { name, type_, types: fitting });
        }
        let fitting: Vec<&Product> =
            self.0.values().filter(|product| product.types.contains(&type_)).collect();
        match fitting.as_slice() {
            [] => Err(NoProduct::NoneForType(type_)),
            [product] => Ok(product),
            several => Err(NoProduct::Several { type_, names: names(several) }),
        }
    }
}

impl Catalogue {
    /// Returns the file services from which machines of a type may fetch, by the products that are for it; `None` if no
    /// product is, so that nothing is known.
    pub fn services(&self, type_: MachineType) -> Option<BTreeSet<FileService>> {
        self.services_of(type_, |_| true)
    }

    /// Returns the file services from which one machine may fetch: that of its user's product, if there is one, and in
    /// the way that its user wants; `None` if nothing is known of its product.
    pub fn services_for(
        &self,
        type_: MachineType,
        product: Option<&str>,
        wanted: Option<HandOver>,
    ) -> Option<BTreeSet<FileService>> {
        if product.is_some_and(|name| self.choose(type_, Some(name)).is_err()) {
            return None;
        }
        self.services_of(type_, |one| {
            product.is_none_or(|name| one.name == name)
                && !one.sends(wanted)
                && wanted != Some(HandOver::Push)
        })
    }

    fn services_of(
        &self,
        type_: MachineType,
        fetches: impl Fn(&Product) -> bool,
    ) -> Option<BTreeSet<FileService>> {
        let mut fitting = self.0.values().filter(|product| product.types.contains(&type_)).peekable();
        fitting.peek()?;
        let pulls = fitting.filter(|product| fetches(product)).flat_map(|product| &product.pulls);
        Some(pulls.filter_map(|pull| pull.scheme.service()).collect())
    }
}

fn join(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
