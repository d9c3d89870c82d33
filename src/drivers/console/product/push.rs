//! How an image is sent to a product over HTTPS.

use super::Word;
use crate::drivers::console::template::Template;
use regex::Regex;
use std::time::Duration;

/// How an image is sent and installed.
#[derive(Debug, Clone)]
pub struct Push {
    /// Opens a session.
    pub sign_in: Step,
    /// Sends the image.
    pub upload: Step,
    /// Has the device install it.
    pub install: Step,
    /// Ends the session.
    pub sign_out: Option<Step>,
    /// The device's own words about a refusal, with the group `says`.
    pub says: Option<Regex>,
    /// What is in an answer if the device does not know the session any more.
    pub expired: Option<Regex>,
    /// What answers mean that refuse any of them.
    pub words: Vec<Word>,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Step {
    /// The path on the device.
    pub path: String,
    /// The header `Cookie`.
    pub cookie: Option<Template>,
    /// What is sent.
    pub sends: Sends,
    /// How long the answer may take.
    pub limit: Duration,
    /// What is read from the answer, with the group `value`.
    pub reads: Option<Regex>,
    /// What is in an answer that does not refuse it.
    pub accepted: Option<Regex>,
    /// What answers mean that refuse it.
    pub words: Vec<Word>,
}

/// What a request sends.
#[derive(Debug, Clone)]
pub enum Sends {
    /// An XML document of a media type.
    Body(String, Template),
    /// A form: fields by name, and the name of the field with the image.
    Form(Vec<(String, Template)>, String),
}
