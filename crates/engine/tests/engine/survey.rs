//! Surveys with packages, on a package database made for the test.

use crate::machine::Machine;
use crate::packages::{add_package, empty_database};
use crate::runner::Runner;
use crate::sandbox::shell;
use farrier_protocol::{Detect, EventBody, Instance, Reading, Work};
use std::fs;

sandboxed! {
    /// A broken package is neither installed nor absent; the plan of a fleet depends on the difference.
    fn packages_are_listed_and_detected_in_every_state() {
        empty_database();
        add_package("good", "1:2.0-1", "install ok installed");
        add_package("half", "2", "install ok half-configured");
        add_package("gone", "3", "deinstall ok config-files");
        add_package("reinst", "4", "install reinstreq installed");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let names = ["good", "half", "gone", "reinst", "never", "lib*"];
        let detect: Vec<_> = names.map(|name| (name.to_owned(), Detect::Package(name.into()))).into();
        runner.order("survey-1", Work::Survey { packages: true, detect: detect.clone(), fwupd: false, programs: Vec::new() });
        runner.order("survey-2", Work::Survey { packages: false, detect, fwupd: false, programs: Vec::new() });
        runner.finish(&machine);
        let surveys: Vec<_> = runner
            .bodies()
            .filter_map(|body| match body {
                EventBody::SurveyDone { facts, packages, readings, .. } => Some((facts, packages, readings)),
                _ => None,
            })
            .collect();
        let [(facts, packages, readings), (same, none, again)] = surveys[..] else { panic!("{surveys:?}") };
        assert_eq!((facts.package_managers.as_str(), facts.arch.as_str()), ("dpkg", "x86_64"));
        assert_eq!((facts.dpkg_arch.as_str(), facts), ("amd64", same));
        let listed: Vec<_> = packages.iter().map(|package| (package.name.as_str(), package.version.as_str())).collect();
        assert_eq!(listed, [("dpkg", "1.21"), ("good", "1:2.0-1")]);
        let instance = |version: &str, broken: &str| Instance {
            version: version.into(),
            arch: "all".into(),
            kind: "deb".into(),
            broken: broken.into(),
            booted: false,
        };
        let broken = |version: &str, detail: &str| Reading::Broken {
            version: version.into(),
            detail: detail.into(),
            instances: vec![instance(version, detail)],
        };
        let expected = [
            Reading::Present { version: "1:2.0-1".into(), instances: vec![instance("1:2.0-1", "")], pending: None },
            broken("2", "half-configured"),
            Reading::Absent,
            broken("4", "installed, must be installed again"),
            Reading::Absent,
            Reading::Unreadable { detail: "\"lib*\" is not the name of a package".into() },
        ];
        assert_eq!(readings.iter().map(|(_, reading)| reading.clone()).collect::<Vec<_>>(), expected);
        assert_eq!((readings, none.len()), (again, 0));
    }
}

sandboxed! {
    /// A survey must not put load on a machine, or delay a fleet.
    fn a_survey_of_three_hundred_packages_is_fast() {
        empty_database();
        for number in 0..300 {
            add_package(&format!("package-{number}"), "1.0-1", "install ok installed");
        }
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        runner.order("survey-1", Work::Survey { packages: true, detect: vec![], fwupd: false, programs: Vec::new() });
        let started = std::time::Instant::now();
        runner.talk(&machine, |runner| runner.is_done("survey-1"));
        let elapsed = started.elapsed();
        // The limit is for a debug build on a busy machine; a release build takes 10 ms.
        assert!(elapsed.as_millis() < 1000, "{elapsed:?}");
        runner.finish(&machine);
    }
}

sandboxed! {
    /// A start of rpm takes longer than all the rest of a survey, on each machine of a fleet.
    fn rpm_is_asked_once_where_its_database_is() {
        empty_database();
        shell("mount -t tmpfs tmpfs /usr/local/sbin && mount -t tmpfs tmpfs /var/lib/rpm 2>/dev/null || true");
        fs::write("/usr/local/sbin/rpm", "#!/bin/sh\necho asked >>/usr/local/sbin/asked\necho /nowhere\n").unwrap();
        shell("chmod 755 /usr/local/sbin/rpm");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        for task in ["survey-1", "survey-2"] {
            runner.order(task, Work::Survey { packages: true, detect: vec![], fwupd: false, programs: Vec::new() });
        }
        runner.finish(&machine);
        let surveys = runner.bodies().filter(|body| matches!(body, EventBody::SurveyDone { .. })).count();
        assert_eq!((surveys, fs::read_to_string("/usr/local/sbin/asked").unwrap().as_str()), (2, "asked\n"));
    }
}
