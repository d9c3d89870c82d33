//! The check of what only the whole product file shows, and the product that is made of it.

use super::{FORMAT, Fit, Lint};
use crate::drivers::console::file::{self, Protocol, Pull as Written, Verb};
use crate::drivers::console::product::{Mode, Product, Pull, Reply, Restart, Session, Terminal, Through};
use crate::drivers::console::template::Slot;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};

/// The narrowest terminal with which commands do not become unreadable.
const NARROWEST: usize = 40;

impl Lint<'_> {
    /// Makes the product. `None` if something is wrong that leaves a hole in it.
    pub(super) fn product(&mut self) -> Option<Product> {
        self.head();
        let terminal = self.terminal();
        let session = self.session();
        let modes = self.modes();
        let pagers = self.pagers();
        let allowed = self.allowed();
        let words = &self.file.words;
        let words = self.words("words", words);
        let versions = self.versions();
        let work = self.work();
        let boot = self.boot();
        let interruption = self.interruption();
        let checks = self.checks();
        let mut requests = BTreeMap::new();
        for (verb, request) in &self.file.requests {
            requests.extend(self.request(*verb, request).map(|request| (*verb, request)));
        }
        let pulls = self.pulls();
        let push = self.push();
        let through = self.through();
        let restart = self.restart();
        let modes: BTreeMap<String, Mode> =
            modes.into_iter().filter_map(|(name, mode)| Some((name, mode?))).collect();
        let file = self.file;
        let product = Product {
            name: file.product.clone(),
            title: file.title.clone(),
            types: file.types.clone(),
            terminal,
            session: session?,
            modes,
            pagers,
            allowed: allowed?,
            words,
            versions: versions?,
            work,
            boot,
            interruption,
            checks,
            requests,
            pulls,
            push,
            through,
            restart,
            assumptions: std::mem::take(&mut self.assumptions),
        };
        self.samples(&product);
        self.ways(&product);
        self.fetching(&product);
        Some(product)
    }

    fn head(&mut self) {
        let file = self.file;
        if file.format != FORMAT {
            self.find(
                "format",
                format!("this version of Farrier reads format {FORMAT}, not {}", file.format),
            );
        }
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if file.product.is_empty() || !file.product.chars().all(is_name) {
            self.find("product", "the name consists of small letters, digits and hyphens");
        }
        if file.types.is_empty() {
            self.find("types", "there is no type of machine, for example FCSwitch");
        }
        for (name, document) in &file.documents {
            if document.title.trim().is_empty() || document.edition.trim().is_empty() {
                self.find(format!("documents.{name}"), "title or edition is empty");
            }
        }
    }

    fn terminal(&mut self) -> Terminal {
        let terminal = &self.file.terminal;
        if terminal.columns < NARROWEST {
            self.find("terminal.columns", format!("it is at least {NARROWEST}"));
        }
        let (columns, rows) = (terminal.columns, terminal.rows);
        Terminal { columns, rows, breaks_lines: terminal.breaks_lines, enter: terminal.enter }
    }

    fn session(&mut self) -> Option<Session> {
        let session = &self.file.session;
        self.source("session", session.cite.as_ref(), session.assumed.as_ref());
        let greeting = self.limit("session.greeting", session.greeting);
        let settle = self.limit("session.settle", session.settle);
        let quiet = self.limit("session.quiet", session.quiet);
        let idle = self.limit("session.idle", session.idle);
        if settle.zip(quiet).is_some_and(|(settle, quiet)| settle >= quiet) {
            self.find("session.quiet", "it is longer than `session.settle`");
        }
        let mut begin = Vec::new();
        for (n, way) in session.begin.iter().enumerate() {
            begin.extend(self.way(&format!("session.begin[{n}]"), way));
        }
        let questions = self.questions("session.questions", &session.questions);
        let words = self.words("session.words", &session.words);
        Some(Session {
            greeting: greeting?,
            settle: settle?,
            quiet: quiet?,
            idle: idle?,
            begin,
            questions,
            words,
        })
    }

    fn allowed(&mut self) -> Option<Regex> {
        let Some(values) = &self.file.values else {
            self.find(
                "values",
                "it is missing: what values in commands may consist of, as a regular expression",
            );
            return None;
        };
        self.source("values", values.cite.as_ref(), values.assumed.as_ref());
        self.pattern("values.allowed", Some(&values.allowed), Fit::Whole)
    }

    fn pulls(&mut self) -> Vec<Pull> {
        let mut seen: BTreeSet<Protocol> = BTreeSet::new();
        let mut pulls = Vec::new();
        for (n, pull) in self.file.pulls.iter().enumerate() {
            let at = format!("pulls[{n}]");
            self.source(&at, pull.cite.as_ref(), pull.assumed.as_ref());
            if !seen.insert(pull.scheme) {
                self.find(&at, "the protocol is there twice");
            }
            let Written { word, folder, port, .. } = pull.clone();
            pulls.push(Pull { scheme: pull.scheme.scheme(), word, folder, port });
        }
        pulls
    }

    /// `None` if it is not in the file, or something is wrong in it.
    fn through(&mut self) -> Option<Through> {
        let through = self.file.through.as_ref()?;
        if through.types.is_empty() {
            self.find("through.types", "there is no type of manager, for example OnboardAdministrator");
        }
        let mode = self.mode("through.mode", through.mode.as_ref());
        let bay = through.bay.as_ref().map(|bay| {
            let command = self.command("through.bay.ask", &bay.ask);
            self.source("through.bay", bay.cite.as_ref(), bay.assumed.as_ref());
            let pattern = self.with_group("through.bay.pattern", bay.pattern.as_ref(), "bay");
            let address = self.with_group("through.bay.pattern", bay.pattern.as_ref(), "address");
            command.zip(pattern.and(address))
        });
        let has_bay = |mode: &file::Mode| {
            let enter = mode.enter.as_ref().and_then(|way| way.ask.command.as_ref());
            enter.is_some_and(|command| command.contains("{bay}"))
        };
        if through.bay.is_none() && self.file.modes.values().any(has_bay) {
            self.find(
                "through.bay",
                "a way into a mode needs {bay}, and it is not said how the bay is found",
            );
        }
        Some(Through {
            types: through.types.clone(),
            mode: mode?,
            bay: bay.map_or(Some(None), |b| b.map(Some))?,
        })
    }

    /// `None` if it is not in the file, or something is wrong in it.
    fn restart(&mut self) -> Option<Restart> {
        let restart = self.file.restart.as_ref()?;
        self.source("restart", restart.cite.as_ref(), restart.assumed.as_ref());
        let away = self.limit("restart.away", restart.away);
        let settles = self.limit("restart.settles", restart.settles);
        Some(Restart { by_itself: restart.by_itself, away: away?, settles: settles? })
    }

    /// Checks that a prompt is not taken for a question or for a pager.
    fn samples(&mut self, product: &Product) {
        for (name, mode) in &self.file.modes {
            let Some(sample) = mode.sample.as_ref().map(|sample| sample.trim_end()) else { continue };
            let at = format!("modes.{name}.sample");
            if product.pagers.iter().any(|pager| pager.pattern.is_match(sample)) {
                self.find(&at, format!("`{sample}` also fits the pattern of a pager"));
            }
            let of_requests = product.requests.values().flat_map(|request| &request.questions);
            let of_modes = product.modes.values().filter_map(|mode| mode.enter.as_ref());
            let mut questions =
                of_requests.chain(of_modes.flat_map(|way| &way.questions)).chain(&product.session.questions);
            if questions.any(|question| question.ask.is_match(sample)) {
                self.find(&at, format!("`{sample}` also fits the pattern of a question"));
            }
            let others = product.modes.iter().filter(|(other, _)| *other != name);
            if let Some((other, _)) = others.into_iter().find(|(_, mode)| mode.prompt.is_match(sample)) {
                self.find(&at, format!("`{sample}` also fits the prompt of the mode {other}"));
            }
        }
    }

    /// Checks that each mode can be reached.
    fn ways(&mut self, product: &Product) {
        let first: Vec<&String> =
            product.modes.iter().filter(|(_, mode)| mode.enter.is_none()).map(|(name, _)| name).collect();
        for name in product.modes.keys() {
            if !first.is_empty() && !first.iter().any(|first| product.way(first, name).is_some()) {
                self.find(format!("modes.{name}.enter"), "no way leads there from where a session begins");
            }
        }
    }

    /// Checks that what a fetch needs is there.
    fn fetching(&mut self, product: &Product) {
        if !self.file.requests.contains_key(&Verb::Pull) && !product.pulls.is_empty() {
            self.find("pulls", "there are protocols, and no `requests.Pull` that uses them");
        }
        let Some(pull) = product.requests.get(&Verb::Pull) else { return };
        if product.pulls.is_empty() {
            self.find("pulls", "`requests.Pull` fetches an image, and no protocol is there");
        }
        let restarts = self.file.restart.as_ref().is_some_and(|restart| restart.by_itself);
        if self.file.readings.work.is_none() && !restarts {
            self.find(
                "readings.work",
                "it is missing: how far the work of `requests.Pull` is; only a device that restarts by itself needs none",
            );
        }
        if self.file.restart.is_none() {
            self.find("restart", "it is missing: what an installation does to the device");
        }
        let answers = pull.questions.iter().filter_map(|question| match &question.reply {
            Reply::Line(template) => Some(template),
            Reply::Key(_) => None,
        });
        let mut templates = answers.chain([&pull.command.template]);
        if !templates.any(|template| template.has(Slot::Path) || template.has(Slot::Url)) {
            self.find("requests.Pull.ask.command", "neither {path} nor {url} is in it or in an answer");
        }
    }
}
