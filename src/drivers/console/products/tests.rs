//! The files that are compiled in are right, and read what devices show.

use super::*;
use crate::drivers::console::dialogue::{Answer, End};
use crate::drivers::console::file::{Stage, Verb};
use crate::drivers::console::read::{self, Installed};
use crate::drivers::console::template::{Slot, Values};

fn fos() -> Product {
    lint::read(FILES[0].1).unwrap_or_else(|found| panic!("{found:#?}"))
}

fn answer(text: &str) -> Answer {
    let lines = text.lines().map(|line| line.trim_end().to_owned()).collect();
    let end = End::Prompt("admin".to_owned());
    Answer { end, lines, refused: None, missing: None, accepted: false, percent: None }
}

/// A file with a slip would be found by the first user of the device.
#[test]
fn the_files_have_no_findings() {
    for (name, text) in FILES {
        let product = lint::read(text).unwrap_or_else(|found| panic!("{name}: {found:#?}"));
        assert_eq!(product.name, name);
        assert!(product.assumptions.iter().all(|line| line.contains(": ")), "{name}");
    }
}

/// A machine would be typed at in the language of another one.
#[test]
fn the_product_of_a_machine_is_chosen_by_type_or_name() {
    let other = FILES[0].1.replacen("product: brocade-fos", "product: mine", 1);
    let broken = FILES[0].1.replacen("format: 1", "format: 9", 1);
    let chosen = |files: &[(&str, &str)], type_, name: Option<&str>| {
        let (catalogue, _) = Catalogue::read(files.iter().copied());
        catalogue.choose(type_, name).map(|product| product.name.clone()).map_err(|error| error.to_string())
    };
    let switch = MachineType::FCSwitch;
    assert_eq!(chosen(&[], switch, None).unwrap(), "brocade-fos");
    assert_eq!(
        chosen(&[], switch, Some("acme")).unwrap_err(),
        "there is no product `acme`; known are: brocade-fos"
    );
    assert_eq!(
        chosen(&[], MachineType::Moonshot, Some("brocade-fos")).unwrap_err(),
        "the product `brocade-fos` is for FCSwitch, not for Moonshot"
    );
    assert!(
        chosen(&[], MachineType::Moonshot, None).unwrap_err().starts_with("no product file is for Moonshot;")
    );
    assert_eq!(
        chosen(&[("mine.yaml", &other)], switch, None).unwrap_err(),
        "several products are for FCSwitch: brocade-fos, mine; name the one of this machine"
    );
    assert_eq!(chosen(&[("mine.yaml", &other)], switch, Some("mine")).unwrap(), "mine");
    let (catalogue, refused) = Catalogue::read([("broken.yaml", broken.as_str())]);
    assert_eq!((refused.len(), refused[0].file.as_str()), (1, "broken.yaml"));
    assert!(catalogue.choose(switch, None).is_ok(), "the others are used");
}

/// Users begin with the example of the documentation.
#[test]
fn the_example_of_the_documentation_has_no_findings() {
    let page = include_str!("../../../../docs/console-devices.md");
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let product = lint::read(example).unwrap_or_else(|found| panic!("{found:#?}"));
    assert_eq!(product.way("user", "admin").map(|way| way.len()), Some(1));
    assert!(product.way("admin", "user").is_none(), "the way back is a new session");
}

/// The version in effect decides everything; that of the other partition says whether it is over.
#[test]
fn fabric_os_shows_both_partitions() {
    let fos = fos();
    let read = |text: &str| read::versions(&fos.versions, &answer(text));
    let same = Installed { entry: "Fabric OS".to_owned(), version: "v6.4.3h".to_owned(), other: None };
    assert_eq!(read(include_str!("../transcripts/fos-firmwareshow.txt")), [same]);
    let half = read(include_str!("../transcripts/fos-firmwareshow-half.txt"));
    assert_eq!((half[0].version.as_str(), half[0].other.as_deref()), ("v9.1.1b", Some("v9.1.1a")));
    assert_eq!(read("rbash: firmwareshow: command not found"), []);
}

/// A download that is half done would count as over, and the switch would be judged too early.
#[test]
fn fabric_os_tells_how_far_a_download_is() {
    let fos = fos();
    let work = fos.work.as_ref().unwrap();
    let history = include_str!("../transcripts/fos-firmwaredownloadstatus.txt");
    let stage = |parts: usize| {
        let text: Vec<&str> = history.split("\n\n").take(parts).collect();
        read::work(work, &answer(&text.join("\n\n"))).map(|standing| standing.stage)
    };
    assert_eq!(stage(0), None);
    for parts in 1..=4 {
        assert_eq!(stage(parts), Some(Stage::Running), "{parts}");
    }
    assert_eq!(stage(5), Some(Stage::Done));
}

/// A path or a password with a comma would be another operand.
#[test]
fn a_value_with_a_comma_is_refused() {
    let fos = fos();
    let values = |path: &str| {
        Values::default()
            .with(Slot::Protocol, "scp")
            .with(Slot::Host, "10.9.0.4")
            .with(Slot::User, "u1")
            .with(Slot::Password, "hunter2")
            .with(Slot::Path, path)
    };
    let template = &fos.requests[&Verb::Pull].command.template;
    let line = template.fill(&values("/t/o/v6.4.3h"), &fos.allowed).unwrap();
    assert_eq!(line.shown, "firmwaredownload -p scp 10.9.0.4,u1,/t/o/v6.4.3h,***");
    assert!(template.fill(&values("/a,b"), &fos.allowed).is_err());
}
