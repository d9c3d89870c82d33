//! Parts of the contents of requests.

use crate::drivers::device::Image;
use crate::drivers::https::FormFile;
use serde_json::Value;
use std::ops::Range;

/// Returns a section of an image as the file of a form.
pub(super) fn file<'a>(field: &'a str, image: &'a Image, section: Range<u64>) -> FormFile<'a> {
    FormFile { field, name: &image.name, path: &image.path, section }
}

/// Returns an object of the fields that have a value.
pub(super) fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
