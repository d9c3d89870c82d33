//! The programs that are sent to an HP-UX machine: the `.sh` files beside this one, with their values.

use super::look::{Digester, Tool};
use crate::attempt::{Offer, Place};
use crate::drivers::shell::script::{code, is_word, program, quote};
use bytes::Bytes;
use farrier_protocol::PREFLIGHT;
use farrier_update::device::ActionId;
use std::time::Duration;

/// What all programs begin with.
const COMMON: [&str; 2] = [include_str!("holders.sh"), include_str!("common.sh")];

/// Where our directory is made. It survives a restart.
const PLACE: &str = "/var/tmp";

/// How long one port is tried, in seconds: TCP sends SYNs after 0, 1 and 3 seconds.
const TRY: &str = "6";

/// How long a restart may take to be refused, in seconds. One that is made ends the session later.
const REFUSAL: &str = "3";

/// After how many seconds without a byte a fetch is given up: as long as the callback server lets a machine be silent.
const DEAD: &str = "60";

/// Seconds between two tries of a fetch.
const PAUSE: &str = "5";

/// How long one listing of software may take, in seconds: that of a machine with many products takes a minute, and one
/// whose `swagentd` does not answer never ends.
pub(super) const LISTING: u64 = 180;

/// How many listings `look.sh` makes at most, however many components there are.
const LISTINGS: u64 = 4;

/// How long any other program that only reads may take, in seconds, such as the `cmviewcl` of a cluster.
pub(super) const BRIEF: u64 = 30;

/// How long a reading may take: all of its listings, three other programs, and what is quick.
pub(super) const READING: Duration = Duration::from_secs(LISTING * LISTINGS + BRIEF * 4);

/// Printed when the machine waits for an image.
pub(super) const ASKS_IMAGE: &str = "farrier-send-1";

/// The directories of one NodeUpdate.
#[derive(Debug, Clone)]
pub(super) struct Directories {
    top: String,
}

impl Directories {
    /// `id` identifies the NodeUpdate.
    pub(super) fn new(id: &str) -> Self {
        Self { top: format!("{PLACE}/farrier-{id}") }
    }

    /// Returns the directory of the image that an action hands over.
    pub(super) fn image(&self, action: ActionId) -> String {
        format!("{}/{}", self.top, action.0)
    }

    /// Returns the directory of a fetch.
    pub(super) fn fetch(&self, action: ActionId) -> String {
        format!("{}/fetch", self.image(action))
    }

    /// Returns the directory of an installation.
    pub(super) fn activation(&self, image: ActionId, action: ActionId) -> String {
        format!("{}/activate-{}", self.image(image), action.0)
    }

    /// Reports whether this is a directory of ours.
    pub(super) fn are_of(&self, path: &str) -> bool {
        path.strip_prefix(&self.top).is_some_and(|rest| rest.starts_with('/')) && !path.contains("..")
    }
}

/// An image on its way to the machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staging<'a> {
    pub(super) directories: &'a Directories,
    pub(super) action: ActionId,
    /// Its length in bytes.
    pub(super) size: u64,
}

impl Staging<'_> {
    /// Returns the settings of `stage.sh`. An installation takes as much room as its depot, at the least.
    fn settings(&self) -> [(&'static str, String); 3] {
        let need = (self.size / 1024 + 1).saturating_mul(2);
        [
            ("TOP", self.directories.top.clone()),
            ("DIRECTORY", self.directories.image(self.action)),
            ("NEED", need.to_string()),
        ]
    }

    /// Returns the program that receives the image on its standard input.
    pub(super) fn receive(&self) -> Bytes {
        let [top, directory, need] = self.settings();
        let settings = [top, directory, need, ("LENGTH", self.size.to_string())];
        made(&[include_str!("stage.sh"), include_str!("receive.sh")], &settings, &[])
    }

    /// Returns the program that begins to fetch an offer, with the first of these tools that can. `digest` is the SHA-256
    /// in hexadecimal digits.
    pub(super) fn fetch(&self, offer: &Offer, tools: &[Tool], digester: Digester, digest: &str) -> Bytes {
        let work = self.directories.fetch(self.action);
        let digester = match digester {
            Digester::None => "",
            Digester::Openssl => "openssl",
            Digester::Perl => "perl",
        };
        let values = [
            ("WORK", work.as_str()),
            ("TOOLS", &names_of(tools)),
            ("IDLE", DEAD),
            ("PAUSE", PAUSE),
            ("SIZE", &self.size.to_string()),
            ("DIGEST", digest),
            ("DIGESTER", digester),
        ];
        let [top, directory, need] = self.settings();
        let settings = [
            top,
            directory,
            need,
            ("REQUEST", request(offer, &work)),
            ("URL", offer.url.clone()),
            ("AUTHORITY", offer.authority.trim().to_owned()),
            ("PERL", include_str!("fetch.pl").to_owned()),
            ("RUN", with_values(include_str!("fetch-run.sh"), &values)),
        ];
        made(&[include_str!("stage.sh"), include_str!("fetch.sh")], &settings, &[])
    }
}

/// What is installed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Installation<'a> {
    pub(super) directories: &'a Directories,
    /// The action that has handed the depot over.
    pub(super) image: ActionId,
    pub(super) action: ActionId,
    pub(super) name: &'a str,
    pub(super) revision: &'a str,
    pub(super) may_restart: bool,
    pub(super) allows_downgrade: bool,
    pub(super) rewrites: bool,
}

impl Installation<'_> {
    /// Returns the program that begins it.
    pub(super) fn program(&self) -> Bytes {
        let work = self.directories.activation(self.image, self.action);
        let values = [("WORK", work.as_str()), ("NAME", self.name), ("REVISION", self.revision)];
        let mut options = Vec::new();
        if self.allows_downgrade {
            options.push("-x allow_downdate=true");
        }
        if self.rewrites {
            options.push("-x reinstall=true");
        }
        let settings = [
            ("DIRECTORY", self.directories.image(self.image)),
            ("ACTION", self.action.0.to_string()),
            ("NAME", self.name.to_owned()),
            ("REVISION", self.revision.to_owned()),
            ("EACH", LISTING.to_string()),
            ("MAY_RESTART", if self.may_restart { "yes" } else { "no" }.to_owned()),
            ("OPTIONS", options.join(" ")),
            (
                "RUN",
                with_values(concat!(include_str!("holders.sh"), include_str!("install-run.sh")), &values),
            ),
        ];
        made(&[include_str!("install.sh")], &settings, &[])
    }
}

/// Returns the program that reads the machine. `names` are those of the components.
pub(super) fn look(directories: &Directories, names: &[&str]) -> Bytes {
    let settings =
        [("DIRECTORY", directories.top.clone()), ("EACH", LISTING.to_string()), ("BRIEF", BRIEF.to_string())];
    made(&[include_str!("look.sh")], &settings, names)
}

/// Returns the program that asks how far work is.
pub(super) fn follow(work: &str) -> Bytes {
    made(&[include_str!("follow.sh")], &[("WORK", work.to_owned())], &[])
}

/// Returns the program that restarts the machine, if it was not restarted since. `id` identifies the NodeUpdate.
pub(super) fn restart(id: &str, boot: &str) -> Bytes {
    let settings = [
        ("BOOT", boot.to_owned()),
        ("DIRECTORY", format!("{PLACE}/farrier-{id}-restart")),
        ("PATIENCE", REFUSAL.to_owned()),
    ];
    made(&[include_str!("restart.sh")], &settings, &[])
}

/// Returns the program that removes the directory of an image.
pub(super) fn remove(directories: &Directories, image: ActionId) -> Bytes {
    let settings = [("TOP", directories.top.clone()), ("DIRECTORY", directories.image(image))];
    made(&[include_str!("remove.sh")], &settings, &[])
}

/// Returns the program that tries the ways back. Hosts that are neither an address nor a name would make the output
/// ambiguous, and are not tried.
pub(super) fn reach(id: &str, tools: &[Tool], places: &[Place]) -> Bytes {
    let usable = places.iter().filter(|place| is_word(&place.host));
    let words: Vec<String> = usable
        .flat_map(|place| [place.scheme.to_string(), place.host.clone(), place.port.to_string()])
        .collect();
    let authority = places.iter().map(|place| place.authority.trim()).find(|pem| !pem.is_empty());
    let settings = [
        ("TOOLS", names_of(tools)),
        ("SECONDS_EACH", TRY.to_owned()),
        ("WORD", PREFLIGHT.to_owned()),
        ("PERL", include_str!("fetch.pl").to_owned()),
        ("AUTHORITY", authority.unwrap_or_default().to_owned()),
        ("DIRECTORY", format!("{PLACE}/farrier-{id}-reach")),
    ];
    made(&[include_str!("reach.sh")], &settings, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn made(scripts: &[&str], settings: &[(&'static str, String)], arguments: &[&str]) -> Bytes {
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let scripts: Vec<&str> = COMMON.iter().chain(scripts).copied().collect();
    program(&scripts.join("\n"), &settings, arguments)
}

/// Returns a program that stays on the machine, with its values at its beginning.
pub(super) fn with_values(script: &str, values: &[(&str, &str)]) -> String {
    let values: Vec<String> = values.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect();
    format!("{}\n{}", values.join("\n"), code(script))
}

fn names_of(tools: &[Tool]) -> String {
    tools.iter().map(|tool| tool.name()).collect::<Vec<_>>().join(" ")
}

/// Returns what tells curl what to fetch. It is a file, because command lines are seen by every user.
fn request(offer: &Offer, work: &str) -> String {
    let authority =
        if offer.authority.is_empty() { String::new() } else { format!("\ncacert = \"{work}/authority\"") };
    format!("url = \"{}\"\ngloboff{authority}", offer.url)
}
