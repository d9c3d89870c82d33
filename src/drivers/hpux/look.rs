//! One reading of an HP-UX machine: what `look.sh` prints.

use std::collections::BTreeSet;

/// A program of the machine that can fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    Curl,
    Wget,
    /// Perl has sockets, and no TLS.
    Perl,
}

/// What computes a SHA-256 on the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Digester {
    #[default]
    None,
    Openssl,
    Perl,
}

/// How far work in a directory of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its process has ended with this code.
    Ended(i32),
    /// Its process runs.
    Running,
    /// The directory was made, and no process was started.
    Unstarted,
    /// Its process is not there any more, and has not said how it ended.
    Gone,
}

/// A fileset that a component is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fileset {
    /// The bundle, product or fileset that was asked for.
    pub(super) of: String,
    pub(super) name: String,
    pub(super) revision: String,
    pub(super) state: String,
}

/// What was installed, in the words of `swlist`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Software {
    /// `bundle` or `product`.
    pub(super) level: &'static str,
    pub(super) name: String,
    pub(super) revision: String,
}

/// How a listing ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    /// What was listed: `bundle`, `product`, `fileset`, `contents` (of bundles), or `cluster`.
    pub(super) what: String,
    /// The exit code; [`TIMED_OUT`] if it was ended.
    pub(super) code: i32,
    /// What it said last, if it failed.
    pub(super) words: Vec<String>,
}

/// The code of a listing that did not end in time, as `common.sh` has it.
pub(super) const TIMED_OUT: i32 = 124;

/// What has to be listed in any case: a component may be each of them.
const LISTED: [&str; 3] = ["bundle", "product", "fileset"];

/// Work in a directory of ours: the number of the image's action, that of the installation's, and how far it is.
pub(super) type Activation = (u32, u32, State);

/// One reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// System, release and processor, as `uname` has them.
    pub(super) system: (String, String, String),
    pub(super) host: String,
    pub(super) model: String,
    pub(super) serial: String,
    /// Name and version.
    pub(super) firmware: Vec<(String, String)>,
    pub(super) uid: Option<u32>,
    /// When the machine was started. It has minutes: two restarts within one are taken for one.
    pub(super) boot: String,
    pub(super) tools: BTreeSet<Tool>,
    pub(super) digester: Digester,
    /// How the listings ended.
    pub(super) listings: Vec<Listing>,
    pub(super) software: Vec<Software>,
    pub(super) filesets: Vec<Fileset>,
    /// Filesets that are not configured, with their state.
    pub(super) unfinished: Vec<(String, String)>,
    /// Processes that work on software: number and command line.
    pub(super) installers: Vec<String>,
    /// What the cluster says about its nodes and packages.
    pub(super) cluster: Vec<String>,
    /// Images of ours: the number of the action, and whether all of it is there.
    pub(super) images: Vec<(u32, bool)>,
    pub(super) fetches: Vec<(u32, State)>,
    pub(super) activations: Vec<Activation>,
}

impl Look {
    /// Reads what the program has printed. Lines that are not known are skipped.
    pub(super) fn read(lines: &[String]) -> Self {
        let mut look = Self::default();
        for line in lines {
            look.take(line);
        }
        look
    }

    fn take(&mut self, line: &str) {
        let Some((word, rest)) = line.split_once(' ') else { return };
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (word, words.as_slice()) {
            ("system", [system, release, processor]) => {
                self.system = (system.to_string(), release.to_string(), processor.to_string());
            }
            ("host", [host]) => (*host).clone_into(&mut self.host),
            ("model", _) => rest.trim().clone_into(&mut self.model),
            ("serial", _) => rest.trim().clone_into(&mut self.serial),
            ("firmware", [name, version]) => self.firmware.push((name.to_string(), version.to_string())),
            ("uid", [uid]) => self.uid = uid.parse().ok(),
            ("boot", _) => rest.trim().clone_into(&mut self.boot),
            ("tool", [name]) => self.tools.extend(Tool::named(name)),
            ("digest", ["openssl"]) => self.digester = Digester::Openssl,
            ("digest", ["perl"]) => self.digester = Digester::Perl,
            ("listed", [what, code]) => self.listings.push(Listing {
                what: (*what).to_owned(),
                code: code.parse().unwrap_or(-1),
                words: Vec::new(),
            }),
            ("said", [what, said @ ..]) => {
                if let Some(listing) = self.listings.iter_mut().find(|listing| listing.what == *what) {
                    listing.words.push(said.join(" "));
                }
            }
            ("bundle", [name, revision]) => self.add("bundle", name, revision),
            ("product", [name, revision]) => self.add("product", name, revision),
            ("unfinished", [name, state]) => self.unfinished.push((name.to_string(), state.to_string())),
            ("fileset", [of, name, revision, state]) => self.filesets.push(Fileset {
                of: of.to_string(),
                name: name.to_string(),
                revision: revision.to_string(),
                state: state.to_string(),
            }),
            ("process", _) => self.installers.push(rest.trim().to_owned()),
            ("cluster", _) => self.cluster.push(rest.trim().to_owned()),
            ("image", [number, whole]) => {
                self.images.extend(number.parse().ok().map(|number| (number, *whole == "whole")));
            }
            ("fetch", [number, state @ ..]) => {
                self.fetches.extend(number.parse().ok().map(|number| (number, State::read(state))));
            }
            ("activate", [image, action, state @ ..]) => {
                let numbers = image.parse().ok().zip(action.parse().ok());
                self.activations.extend(numbers.map(|(image, action)| (image, action, State::read(state))));
            }
            _ => {}
        }
    }

    fn add(&mut self, level: &'static str, name: &str, revision: &str) {
        self.software.push(Software { level, name: name.to_owned(), revision: revision.to_owned() });
    }

    /// Reports whether this is the system that the driver knows.
    pub(super) fn is_hp_ux(&self) -> bool {
        self.system.0 == "HP-UX"
    }

    /// Returns the first listing that has failed, or was not made: what it does not show may be there all the same.
    pub(super) fn unlisted(&self) -> Option<Listing> {
        let was_made = |what: &&str| self.listings.iter().any(|listing| listing.what == **what);
        let missing = LISTED.iter().find(|what| !was_made(what));
        let failed = self.listings.iter().find(|listing| listing.code != 0).cloned();
        failed
            .or_else(|| missing.map(|what| Listing { what: (*what).to_owned(), code: -1, words: Vec::new() }))
    }

    /// Reports whether an installation of ours runs.
    pub(super) fn is_installing(&self) -> bool {
        self.activations.iter().any(|(_, _, state)| *state == State::Running)
    }

    /// Returns the packages that run on this node, if it runs in its cluster.
    pub(super) fn packages_of_running_node(&self) -> Option<Vec<&str>> {
        // The name of a node has no domain.
        let host = self.host.split('.').next().unwrap_or_default();
        let runs = format!("node:{host}|state=running");
        if host.is_empty() || !self.cluster.contains(&runs) {
            return None;
        }
        let owned = format!("|owner={host}");
        let packages = self.cluster.iter().filter_map(|line| line.strip_prefix("package:"));
        Some(packages.filter_map(|line| line.strip_suffix(owned.as_str())).collect())
    }
}

impl Tool {
    const ALL: [Self; 3] = [Self::Curl, Self::Wget, Self::Perl];

    /// Returns the name of the program.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Wget => "wget",
            Self::Perl => "perl",
        }
    }

    /// Returns the tool with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }
}

impl State {
    /// Reads the words of `state_of` in `common.sh`.
    pub(super) fn read(words: &[&str]) -> Self {
        match words {
            ["running"] => Self::Running,
            ["unstarted"] => Self::Unstarted,
            ["ended", code] => code.parse().map_or(Self::Gone, Self::Ended),
            _ => Self::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Look {
        Look::read(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    /// A word at the wrong place would be a version, or a depot that is not whole would be installed.
    #[test]
    fn a_reading_is_read_line_by_line() {
        let look = look(
            "system HP-UX B.11.31 ia64\nhost hpux01\nmodel ia64 hp server rx2660\nserial USE0000XYZ\n\
             firmware BMC 5.06\nuid 0\nboot system boot  Nov 30 11:02\ntool perl\ntool lynx\ndigest openssl\n\
             listed bundle 0\nlisted product 0\nlisted fileset 0\nproduct Tool A.01.00\nfileset Tool Tool.RUN A.01.00 configured\n\
             unfinished Other.RUN corrupt\nprocess 77 /usr/sbin/swinstall -i\nimage 2 whole\nfetch 2 ended 0\n\
             activate 2 3 running\nactivate x 3 running\nnoise",
        );
        assert!(look.is_hp_ux() && look.unlisted().is_none() && look.is_installing());
        assert_eq!((look.uid, look.boot.as_str()), (Some(0), "system boot  Nov 30 11:02"));
        assert_eq!((look.tools, look.digester), ([Tool::Perl].into(), Digester::Openssl));
        assert_eq!(look.software.len(), 1);
        assert_eq!(look.filesets[0].state, "configured");
        assert_eq!(look.unfinished, [("Other.RUN".to_owned(), "corrupt".to_owned())]);
        assert_eq!(look.installers, ["77 /usr/sbin/swinstall -i"]);
        assert_eq!(look.images, [(2, true)]);
        assert_eq!(look.fetches, [(2, State::Ended(0))]);
        assert_eq!(look.activations, [(2, 3, State::Running)]);
    }

    /// Otherwise software that could not be listed counts as absent, and is installed over what is there.
    #[test]
    fn a_listing_that_fails_is_not_one_of_nothing() {
        let whole = "listed bundle 0\nlisted product 0\nlisted fileset 0";
        assert_eq!(look(whole).unlisted(), None);
        for (lines, what, code) in [
            ("listed bundle 1\nlisted product 0\nlisted fileset 0", "bundle", 1),
            ("listed bundle 0\nlisted product 0\nlisted fileset 124", "fileset", TIMED_OUT),
            ("listed bundle 0\nlisted product 0\nlisted fileset 0\nlisted contents 1", "contents", 1),
            ("listed bundle 0\nlisted product 0\nlisted fileset 0\nlisted cluster 124", "cluster", TIMED_OUT),
            ("listed bundle 0\nlisted product 0", "fileset", -1),
        ] {
            let unlisted = look(lines).unlisted().unwrap();
            assert_eq!((unlisted.what.as_str(), unlisted.code), (what, code), "{lines}");
        }
        let said =
            look(&format!("{whole}\nlisted contents 1\nsaid contents ERROR:   no contact\nsaid contents x"));
        assert_eq!(said.unlisted().unwrap().words, ["ERROR: no contact", "x"]);
    }

    /// Otherwise a node that carries a database is restarted under it, or one that is halted is never updated.
    #[test]
    fn only_a_running_node_of_this_name_is_in_the_way() {
        let cluster = |state: &str| {
            look(&format!(
                "host cat\ncluster node:cat|state={state}\ncluster node:category|state=running\n\
                 cluster package:oracle|owner=cat\ncluster package:web|owner=category"
            ))
        };
        assert_eq!(cluster("running").packages_of_running_node(), Some(vec!["oracle"]));
        assert_eq!(cluster("halted").packages_of_running_node(), None);
        assert_eq!(look("host cat").packages_of_running_node(), None);
    }
}
