//! The product files that are compiled in.

use super::lint::{self, Finding};
use super::product::Product;

/// Name and text of each file.
pub const FILES: [(&str, &str); 1] = [("brocade-fos", include_str!("products/brocade-fos.yaml"))];

/// Reads a product that is compiled in; `None` if there is none of that name.
///
/// # Errors
/// What is wrong in the file. A test excludes that.
pub fn product(name: &str) -> Option<Result<Product, Vec<Finding>>> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| lint::read(text))
}

#[cfg(test)]
mod tests;
