//! What a product file says about an image that is sent to the device over HTTPS.

use super::Word;
use crate::drivers::console::span::Span;
use serde::Deserialize;

/// How an image is sent and installed: four requests, in this order.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Push {
    /// Opens a session. What it reads is `{pushSession}` of the others.
    pub sign_in: Step,
    /// Sends the image, which changes nothing yet. What it reads is `{pushedFile}` of the others.
    pub upload: Step,
    /// Has the device install it.
    pub install: Step,
    /// Ends the session.
    pub sign_out: Option<Step>,
    /// The device's own words about a refusal, as a regular expression with the group `says`.
    pub says: Option<String>,
    /// What is in an answer if the device does not know the session any more, as a regular expression.
    pub expired: Option<String>,
    /// What answers mean that refuse any of them.
    #[serde(default)]
    pub words: Vec<Word>,
}

/// A request, which is sent with POST.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The path on the device.
    pub path: Option<String>,
    /// The header `Cookie`, with places for values.
    pub cookie: Option<String>,
    /// The media type of `body`.
    #[serde(rename = "type")]
    pub media_type: Option<String>,
    /// An XML document with places for values, which are escaped.
    pub body: Option<String>,
    /// Fields of a form, with the image.
    pub form: Option<Form>,
    /// How long the answer may take. The upload has the time for the image's bytes besides.
    pub limit: Option<Span>,
    /// What is read from the answer, as a regular expression with the group `value`.
    pub reads: Option<String>,
    /// What is in an answer that does not refuse it, as a regular expression.
    pub accepted: Option<String>,
    /// What answers mean that refuse it, besides those of all.
    #[serde(default)]
    pub words: Vec<Word>,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}

/// Fields of a form (`multipart/form-data`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// The fields before the image, in their order.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// The name of the field that the image is in.
    pub file: String,
}

/// A field of a form.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its content, with places for values.
    pub value: String,
}
