//! The check of what a product file says about sending an image over HTTPS.

use super::{Fit, Lint};
use crate::drivers::console::file::push as file;
use crate::drivers::console::product::{Push, PushStep as Step, Sends};
use crate::drivers::console::template::Slot;

impl Lint<'_> {
    /// `None` if it is not in the file, or something is wrong in it.
    pub(super) fn push(&mut self) -> Option<Push> {
        let push = self.file.push.as_ref()?;
        let says = push.says.as_ref();
        let says = says.map(|says| self.with_group("push.says", Some(says), "says"));
        let expired = push.expired.as_ref();
        let expired = expired.map(|expired| self.pattern("push.expired", Some(expired), Fit::Part));
        let words = self.words("push.words", &push.words);
        let sign_in = self.step("push.signIn", &push.sign_in);
        let upload = self.step("push.upload", &push.upload);
        let install = self.step("push.install", &push.install);
        let sign_out = push.sign_out.as_ref().map(|step| self.step("push.signOut", step));
        if push.sign_in.reads.is_none() && push.sign_in.accepted.is_none() {
            self.find(
                "push.signIn.reads",
                "it is not said what proves a sign-in; write `reads` or `accepted`",
            );
        }
        if push.upload.form.is_none() {
            self.find("push.upload.form", "the form is missing in which the image is sent");
        }
        if push.upload.reads.is_none() && push.upload.accepted.is_none() {
            self.find(
                "push.upload.reads",
                "it is not said what proves an upload; write `reads` or `accepted`",
            );
        }
        if push.install.accepted.is_none() {
            self.find("push.install.accepted", "the words are missing without which it was not accepted");
        }
        if self.file.restart.is_none() {
            self.find("restart", "it is missing: what an installation does to the device");
        }
        self.flow(push.sign_in.reads.is_some(), push.upload.reads.is_some(), [&sign_in, &upload, &install]);
        Some(Push {
            sign_in: sign_in?,
            upload: upload?,
            install: install?,
            sign_out: sign_out.map_or(Some(None), |step| step.map(Some))?,
            says: says.map_or(Some(None), |says| says.map(Some))?,
            expired: expired.map_or(Some(None), |expired| expired.map(Some))?,
            words,
        })
    }

    /// Checks that a value is read before it is sent.
    fn flow(&mut self, has_session: bool, has_file: bool, steps: [&Option<Step>; 3]) {
        let names = ["push.signIn", "push.upload", "push.install"];
        for (name, step) in names.into_iter().zip(steps) {
            let Some(step) = step else { continue };
            let sends = |slot| templates(step).any(|template| template.has(slot));
            if sends(Slot::PushSession) && (!has_session || name == "push.signIn") {
                self.find(name, "it sends {pushSession}, which no request before it reads");
            }
            if sends(Slot::PushedFile) && (!has_file || name != "push.install") {
                self.find(name, "it sends {pushedFile}, which no request before it reads");
            }
        }
    }

    fn step(&mut self, at: &str, step: &file::Step) -> Option<Step> {
        self.source(at, step.cite.as_ref(), step.assumed.as_ref());
        let limit = self.limit(&format!("{at}.limit"), step.limit);
        let path = step.path.as_ref().filter(|path| is_path(path));
        if path.is_none() {
            self.find(format!("{at}.path"), "it is missing, or is no path that begins with one slash");
        }
        let cookie = step.cookie.as_ref().map(|cookie| self.template(&format!("{at}.cookie"), cookie));
        let sends = self.sends(at, step);
        let reads = step.reads.as_ref();
        let reads = reads.map(|reads| self.with_group(&format!("{at}.reads"), Some(reads), "value"));
        let accepted = step.accepted.as_ref();
        let accepted =
            accepted.map(|pattern| self.pattern(&format!("{at}.accepted"), Some(pattern), Fit::Part));
        let words = self.words(&format!("{at}.words"), &step.words);
        Some(Step {
            path: path?.clone(),
            cookie: cookie.map_or(Some(None), |cookie| cookie.map(Some))?,
            sends: sends?,
            limit: limit?,
            reads: reads.map_or(Some(None), |reads| reads.map(Some))?,
            accepted: accepted.map_or(Some(None), |accepted| accepted.map(Some))?,
            words,
        })
    }

    fn sends(&mut self, at: &str, step: &file::Step) -> Option<Sends> {
        match (&step.body, &step.form) {
            (Some(body), None) => {
                let template = self.template(&format!("{at}.body"), body);
                if step.media_type.is_none() {
                    self.find(
                        format!("{at}.type"),
                        "the media type of the body is missing, for example text/xml",
                    );
                }
                Some(Sends::Body(step.media_type.clone()?, template?))
            }
            (None, Some(form)) => {
                let mut fields = Vec::new();
                for (n, field) in form.fields.iter().enumerate() {
                    let at = format!("{at}.form.fields[{n}]");
                    if !is_field(&field.name) {
                        self.find(format!("{at}.name"), "it is empty, or has a quote or a control character");
                    }
                    let value = self.template(&format!("{at}.value"), &field.value);
                    fields.extend(value.map(|value| (field.name.clone(), value)));
                }
                if !is_field(&form.file) {
                    let says = "it is empty, or has a quote or a control character";
                    self.find(format!("{at}.form.file"), says);
                }
                Some(Sends::Form(fields, form.file.clone()))
            }
            (Some(_), Some(_)) | (None, None) => {
                self.find(at, "it has either a body or a form");
                None
            }
        }
    }
}

/// The texts of a request that have places for values.
fn templates(step: &Step) -> impl Iterator<Item = &crate::drivers::console::template::Template> {
    let (body, fields) = match &step.sends {
        Sends::Body(_, template) => (Some(template), None),
        Sends::Form(fields, _) => (None, Some(fields)),
    };
    let fields = fields.into_iter().flatten().map(|(_, template)| template);
    step.cookie.iter().chain(body).chain(fields)
}

/// Reports whether a text is a path on the same server.
fn is_path(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && c != '\\' && c != '#';
    path.starts_with('/') && !path.starts_with("//") && path.chars().all(plain)
}

/// Reports whether a text is the name of a field of a form.
fn is_field(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c == '"' || c.is_control())
}
