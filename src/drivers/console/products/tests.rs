//! The files that are compiled in are right, and read what devices show.

use super::*;
use crate::drivers::console::dialogue::{Answer, End};
use crate::drivers::console::file::{Need, Stage, Verb};
use crate::drivers::console::meaning::Meaning;
use crate::drivers::console::read::{self, Installed};
use crate::drivers::console::template::{Slot, Values};

fn fos() -> Product {
    lint::read(FILES[0].1).unwrap_or_else(|found| panic!("{found:#?}"))
}

fn answer(text: &str) -> Answer {
    let lines = text.lines().map(|line| line.trim_end().to_owned()).collect();
    Answer::plain(End::Prompt("admin".to_owned()), lines)
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

/// A user would approve a plan without knowing that a whole fabric loses its paths.
#[test]
fn what_an_installation_interrupts_is_read() {
    let product = fos();
    let reading = product.interruption.as_ref().expect("a reading");
    let read = |type_: &str| {
        read::interruption(reading, &answer(&format!("switchName:     fc1\nswitchType:     {type_}\n")))
    };
    assert!(read("76.7").starts_with("disruptive:"), "{}", read("76.7"));
    assert!(read("109.1").starts_with("HA reboot:"), "{}", read("109.1"));
    assert_eq!(read("unknown"), "");
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
        "there is no product `acme`; known are: brocade-fos, moonshot, onboard-administrator, sas-switch, superdome-2, \
         superdome-x, virtual-connect"
    );
    assert_eq!(
        chosen(&[], MachineType::Moonshot, Some("brocade-fos")).unwrap_err(),
        "the product `brocade-fos` is for FCSwitch, not for Moonshot"
    );
    assert!(chosen(&[], MachineType::Linux, None).unwrap_err().starts_with("no product file is for Linux;"));
    assert_eq!(
        chosen(&[("mine.yaml", &other)], switch, None).unwrap_err(),
        "several products are for FCSwitch: brocade-fos, mine; name the one of this machine"
    );
    assert_eq!(chosen(&[("mine.yaml", &other)], switch, Some("mine")).unwrap(), "mine");
    let (catalogue, refused) = Catalogue::read([("broken.yaml", broken.as_str())]);
    assert_eq!((refused.len(), refused[0].file.as_str()), (1, "broken.yaml"));
    assert!(catalogue.choose(switch, None).is_ok(), "the others are used");
}

/// The port of a service would be opened for machines that cannot use it.
#[test]
fn a_type_uses_the_file_services_of_its_products() {
    let (catalogue, _) = Catalogue::read([]);
    let services = |type_| catalogue.services(type_).map(|services| services.into_iter().collect::<Vec<_>>());
    let (sftp, ftp) = (FileService::Sftp, FileService::Ftp);
    for (type_, expected) in [
        (MachineType::FCSwitch, vec![sftp, ftp]),
        (MachineType::OnboardAdministrator, vec![ftp]),
        (MachineType::VirtualConnect, vec![sftp, ftp]),
        (MachineType::SASSwitch, vec![ftp]),
        (MachineType::Superdome2, vec![sftp]),
        (MachineType::SuperdomeX, vec![sftp]),
        (MachineType::Moonshot, vec![]),
    ] {
        assert_eq!(services(type_), Some(expected), "{type_}");
    }
    assert_eq!(services(MachineType::ILO), None);
    let mine = FILES[0].1.replacen("product: brocade-fos", "product: mine", 1);
    let mine = mine.replacen("types: [FCSwitch]", "types: [Moonshot]", 1);
    let (catalogue, _) = Catalogue::read([("mine.yaml", mine.as_str())]);
    let added = catalogue.services(MachineType::Moonshot).map(|services| services.len());
    assert_eq!(added, Some(2), "a file of the user counts");
}

/// Users begin with the example of the documentation.
#[test]
fn the_example_of_the_documentation_has_no_findings() {
    let page = include_str!("../../../../docs/console-devices.md");
    let example = page
        .split("```yaml\n")
        .find(|text| text.starts_with("format:"))
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let product = lint::read(example).unwrap_or_else(|found| panic!("{found:#?}"));
    assert_eq!(product.way("user", "admin").map(|way| way.len()), Some(1));
    assert!(product.way("admin", "user").is_none(), "the way back is a new session");
}

/// The version in effect decides everything; that of the other partition says whether it is over.
#[test]
fn fabric_os_shows_both_partitions() {
    let fos = fos();
    let read = |text: &str| read::versions(&fos.versions, &answer(text));
    let same = Installed {
        entry: "Fabric OS".to_owned(),
        part: None,
        version: "v6.4.3h".to_owned(),
        other: None,
        members: Vec::new(),
    };
    assert_eq!(read(include_str!("../transcripts/fos-firmwareshow.txt")), [same]);
    let half = read(include_str!("../transcripts/fos-firmwareshow-half.txt"));
    assert_eq!((half[0].version.as_str(), half[0].other.as_deref()), ("v9.1.1b", Some("v9.1.1a")));
    assert_eq!(read("rbash: firmwareshow: command not found"), []);
}

/// A director counts as updated when its standby still has the old version, or the wrong control processor is asked.
#[test]
fn fabric_os_shows_both_control_processors() {
    let fos = fos();
    let shown = include_str!("../transcripts/fos-firmwareshow-director.txt");
    let found = read::versions(&fos.versions, &answer(shown));
    let [whole, cp0, cp1] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((whole.entry.as_str(), cp0.entry.as_str()), ("Fabric OS", "Control processor CP0"));
    assert_eq!((cp1.version.as_str(), cp1.other.as_deref()), ("v8.2.3c", Some("v8.2.1c")));
    assert_eq!(whole.version_for(Some("v8.2.1c")), "v8.2.3c", "what differs is not installed");
    assert_eq!(whole.difference().as_deref(), Some("Control processor CP1 is v8.2.3c"));
    let active = include_str!("../transcripts/fos-hashow.txt");
    for (text, expected) in [
        (active.to_owned(), None),
        ("hashow: Not supported on this platform".to_owned(), None),
        (active.replace("Healthy", "Failed"), Some("CP1): Standby, Failed")),
        (active.replace("Standby, Healthy", "Non-Redundant"), Some("CP1): Non-Redundant")),
        ("what nobody knows".to_owned(), Some("what nobody knows")),
        (active.replace("synchronized", "not in sync"), Some("HA State not in sync")),
        (active.replace("CP0): Active", "CP0): Standby"), Some("Local CP (Slot 6, CP0): Standby")),
        (active.replace("Heartbeat Up", "Heartbeat Down"), Some("Heartbeat Down")),
    ] {
        let failed = fos.checks.iter().find_map(|check| read::failed_check(check, &answer(&text)));
        let line = failed.as_ref().map(|(_, line)| line.as_str());
        assert_eq!(line.is_some(), expected.is_some(), "{line:?}");
        assert!(expected.is_none_or(|words| line.is_some_and(|line| line.contains(words))), "{line:?}");
        assert!(failed.is_none_or(|(means, _)| means == Meaning::NotReady));
    }
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

/// A step of a director that failed would count as one that runs, because the words of each begin with who speaks.
#[test]
fn fabric_os_tells_which_step_of_a_director_failed() {
    let fos = fos();
    let work = fos.work.as_ref().unwrap();
    let steps = include_str!("../transcripts/fos-firmwaredownloadstatus-director.txt");
    let entries: Vec<&str> = steps.split("\n\n").collect();
    let stage = |text: &str| read::work(work, &answer(text)).map(|standing| standing.stage);
    for entry in &entries[..entries.len() - 1] {
        assert_eq!(stage(entry), Some(Stage::Running), "{entry}");
    }
    assert_eq!(stage(steps), Some(Stage::Done));
    for failure in
        ["Firmwaredownload has failed on standby CP. (0x23)", "Standby CP failed to reboot.", "Aborted."]
    {
        let text = format!("{}\n\n[9]: now\nSlot 6 (CP0, active): {failure}", entries[0]);
        assert_eq!(stage(&text), Some(Stage::Failed), "{failure}");
    }
    assert_eq!(stage("Slot 6 (CP0, active): what nobody knows"), None);
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

fn product(name: &str) -> Product {
    let (_, text) = FILES.iter().find(|(file, _)| *file == name).unwrap();
    lint::read(text).unwrap_or_else(|found| panic!("{name}: {found:#?}"))
}

/// An enclosure whose standby module has another version is not updated, whatever the active one says; each module
/// can be asked for by its bay.
#[test]
fn an_onboard_administrator_shows_both_modules() {
    let versions = product("onboard-administrator").versions;
    let text = include_str!("../transcripts/oa-info.txt");
    let read = |text: &str| read::versions(&versions, &answer(text));
    let shown = |text: &str| {
        let shown = |found: Installed| (found.entry.clone(), found.version.clone(), found.difference());
        read(text).into_iter().map(shown).collect::<Vec<_>>()
    };
    let entry = |entry: &str, version: &str, differs: Option<&str>| {
        (entry.to_owned(), version.to_owned(), differs.map(str::to_owned))
    };
    let bay = |bay: &str, version: &str| entry(&format!("Onboard Administrator bay {bay}"), version, None);
    assert_eq!(
        shown(text),
        [
            entry("Onboard Administrator", "4.30", Some("Onboard Administrator bay 2 is 4.40")),
            bay("1", "4.30"),
            bay("2", "4.40")
        ]
    );
    for wanted in ["4.40", "4.30"] {
        assert_ne!(read(text)[0].version_for(Some(wanted)), wanted, "not both have it");
    }
    let same = text.replace("4.30", "4.40");
    assert_eq!(shown(&same)[0], entry("Onboard Administrator", "4.40", None));
    let alone = same.split("\nOnboard Administrator #2").next().unwrap();
    assert_eq!(shown(alone), [entry("Onboard Administrator", "4.40", None), bay("1", "4.40")]);
    let mut pair = read(alone).swap_remove(0);
    pair.misses(&["Onboard Administrator bay 1".to_owned(), "Onboard Administrator bay 2".to_owned()]);
    assert_eq!(pair.difference().as_deref(), Some("Onboard Administrator bay 2 does not show"));
    assert_eq!(pair.version_for(Some("4.40")), "", "nobody knows what the other module has");
    assert!(shown("Invalid command").is_empty());
}

/// A complex would count as updated although a blade was left out, because the version that it is configured to have
/// is new at once.
#[test]
fn a_superdome_has_a_version_when_each_entity_runs_it() {
    let shown = |blade: &str| {
        format!(
            "Configured complex firmware version: 3.7.99\n\nFirmware on entities:\nOA 1/1      3.7.99\nBlade 1/3   {blade}\n"
        )
    };
    for name in ["superdome-2", "superdome-x"] {
        let versions = product(name).versions;
        let complex = |text: &str| {
            let found = read::versions(&versions, &answer(text));
            found.into_iter().find(|found| found.entry == "Complex")
        };
        let half = complex(&shown("3.7.34")).unwrap();
        assert_eq!(half.version_for(Some("3.7.99")), "3.7.34", "{name}");
        assert_eq!(half.version_for(None), "3.7.99", "{name}");
        assert_eq!(half.difference().as_deref(), Some("Entity Blade 1/3 is 3.7.34"), "{name}");
        let whole = complex(&shown("3.7.99")).unwrap();
        assert_eq!((whole.version_for(Some("3.7.99")), whole.difference()), ("3.7.99", None), "{name}");
        assert_eq!(complex("Configured complex firmware version: 3.7.99\n"), None, "{name}: it runs nothing");
        let in_words = "Configured complex firmware version: 3.7.99\n=====\n Firmware on all devices matches the complex recipe version\n";
        assert_eq!(complex(in_words).unwrap().difference(), None, "{name}");
    }
}

/// The standby module refuses every command; an update sent there would fail on each attempt without saying why.
#[test]
fn an_onboard_administrator_must_be_the_active_module() {
    let oa = product("onboard-administrator");
    let active = include_str!("../transcripts/oa-status.txt");
    for (text, expected) in [
        (active.to_owned(), None),
        (active.replace("Active", "Standby"), Some("Role: Standby")),
        (
            "Not a valid request while running in standby mode.".to_owned(),
            Some("Not a valid request while running in standby mode."),
        ),
    ] {
        let failed = read::failed_check(&oa.checks[0], &answer(&text));
        assert_eq!(failed.as_ref().map(|(_, line)| line.as_str()), expected);
        assert!(failed.is_none_or(|(means, _)| means == Meaning::NotReady));
    }
    let failed = read::failed_check(&oa.checks[1], &answer(&active.replace("Status: OK", "Status: Failed")));
    assert_eq!(failed, Some((Meaning::NotReady, "Status: Failed".to_owned())));
}

/// The module in another bay would be updated.
#[test]
fn the_bay_of_a_module_is_the_one_with_its_address() {
    let vc = product("virtual-connect");
    let through = vc.through.as_ref().unwrap();
    let (_, pattern) = through.bay.as_ref().unwrap();
    let list = include_str!("../transcripts/oa-interconnect-list.txt");
    let bay = |text: &str, address: &str| {
        let found = read::bay(pattern, &answer(text), &[address.parse().unwrap()]);
        found.map(|(bay, address)| format!("{bay} at {address}"))
    };
    assert_eq!(bay(list, "10.0.0.22").as_deref(), Some("2 at 10.0.0.22"));
    assert_eq!(bay(list, "10.0.0.2"), None);
    assert_eq!(bay(&list.replace("10.0.0.21", "FD00:0::21"), "fd00::21").as_deref(), Some("1 at fd00::21"));
    let way = vc.way(&through.mode, "vcm").unwrap();
    assert_eq!((way.len(), vc.way("vcm", "vcm").map(|way| way.len())), (1, Some(0)), "or dialled directly");
}

/// What is not found has no version, and its component would be refused or installed again and again.
#[test]
fn the_versions_of_each_product_are_found() {
    let found = |name: &str, text: &str| {
        let found = read::versions(&product(name).versions, &answer(text));
        found.into_iter().map(|found| format!("{}={}", found.entry, found.version)).collect::<Vec<_>>()
    };
    let modules =
        "enc0:1    HP VC Flex-10/10D Module  4.45   OK\nenc0:2    HP VC Flex-10/10D Module  4.41b  OK\n";
    assert_eq!(
        found("virtual-connect", modules),
        ["Virtual Connect enc0:1=4.45", "Virtual Connect enc0:2=4.41b"]
    );
    assert_eq!(found("sas-switch", "Firmware version: 2.2.15.0\n"), ["SAS switch=2.2.15.0"]);
    let parts = "Component      Version\n-------------- ----------\ncm             1.30\nswitch-a       2.0.3.0\ncartridge-1    1.0.2\n";
    assert_eq!(
        found("moonshot", parts),
        ["Moonshot cm=1.30", "Moonshot switch-a=2.0.3.0", "Moonshot cartridge-1=1.0.2"]
    );
    let complex = "Configured complex firmware version: 3.7.34\n\nFirmware on entities:\nOA 1/1      3.7.34\nBlade 1/3   3.7.30\n";
    for name in ["superdome-2", "superdome-x"] {
        let entries = ["Complex=3.7.34", "Entity OA 1/1=3.7.34", "Entity Blade 1/3=3.7.30"];
        assert_eq!(found(name, complex), entries, "{name}");
    }
}

/// A line that says that a signature is checked would count as a bad image.
#[test]
fn a_signature_that_is_checked_is_no_refusal() {
    for name in ["moonshot", "superdome-2", "superdome-x"] {
        let pull = &product(name).requests[&Verb::Pull];
        let means =
            |line: &str| pull.words.iter().find(|word| word.pattern.is_match(line)).map(|word| word.means);
        for line in ["Verifying signature... OK", "Signature: valid", "Checking the signature of the bundle"]
        {
            assert_eq!(means(line), None, "{name}: {line}");
        }
        for line in
            ["The signature of the image could not be verified.", "Signature check failed", "Bad signature"]
        {
            assert_eq!(means(line), Some(Meaning::ImageRefused), "{name}: {line}");
        }
    }
}

/// The command decides which part of the machine is flashed, and whether a downgrade is forced.
#[test]
fn the_command_names_the_part_and_what_the_user_consented_to() {
    let command = |name: &str, consents: &[Need]| {
        let product = product(name);
        let values = Values::default()
            .with(Slot::Url, "http://[fd00::4]:63001/t/image.bin")
            .with(Slot::Part, "enc0:1")
            .with_consents(consents.iter().copied());
        product.requests[&Verb::Pull].command.template.fill(&values, &product.allowed).unwrap().text
    };
    let url = "http://[fd00::4]:63001/t/image.bin";
    assert_eq!(command("onboard-administrator", &[]), format!("UPDATE IMAGE {url}"));
    assert_eq!(command("onboard-administrator", &[Need::Downgrade]), format!("UPDATE IMAGE FORCE {url}"));
    assert_eq!(command("virtual-connect", &[]), format!("update firmware url={url} module=enc0:1"));
    assert_eq!(command("moonshot", &[]), format!("update firmware enc0:1 {url}"));
    assert_eq!(command("superdome-x", &[Need::Rewrite]), format!("UPDATE FIRMWARE {url} REINSTALL"));
    let sas = product("sas-switch");
    let values = Values::default().with(Slot::Url, url);
    let line = sas.requests[&Verb::Pull].command.template.fill(&values, &sas.allowed);
    assert!(line.is_err(), "it has no IPv6");
}
