//! Tests of plans with steps on the way to a version, with packages from repositories, and with needs.

use super::*;
use crate::outcome::{Outcome, StepRecord, conclude};
use farrier_protocol::{Change, ChangeKind, Refusal, Simulation, StepExit};

/// A firmware whose version is read from a file.
fn firmware(name: &str, version: &str, requires: &[(&str, &str)]) -> Component {
    let requires = requires.iter().map(|&(component, least)| Requirement {
        component: component.to_owned(),
        at_least: Some(least.to_owned()),
    });
    Component {
        installer: InstallerKind::Script,
        detect: Some(Detect::File("/etc/ilo.version".to_owned())),
        requires: requires.collect(),
        ..component(name, version)
    }
}

/// iLO 5 goes to 2.10 from 1.40 only, in both forms that a baseline may have. The step is last in the list.
fn baselines() -> [Vec<Component>; 2] {
    let step = firmware("ilo-step", "1.40", &[]);
    [
        vec![firmware("ilo", "2.10", &[("ilo-step", "1.40")]), step.clone()],
        vec![firmware("ilo", "2.10", &[("ilo", "1.40")]), step],
    ]
}

fn at(components: &[Component], version: &str) -> World {
    let world = World::of(components);
    components.iter().fold(world, |world, component| world.with(&component.name, present(version)))
}

fn installs(world: &World) -> Vec<String> {
    world.plan().installs().map(|item| item.component.version.clone()).collect()
}

/// Otherwise a device is flashed with a version that it cannot take from where it is, or every machine is taken
/// back to the step first.
#[test]
fn a_step_is_taken_only_by_machines_below_it() {
    for components in baselines() {
        let world = |version: &str| at(&components, version);
        assert_eq!(installs(&world("1.20")), ["1.40", "2.10"]);
        assert_eq!(world("1.20").plan().items[1].after, ["ilo-step"]);
        assert_eq!(installs(&world("1.40")), ["2.10"]);
        assert_eq!(installs(&world("1.50")), ["2.10"]);
        assert!(installs(&world("2.10")).is_empty());
        let problems = validate_baseline(&components, INSTALLERS.any);
        assert!(problems.is_empty(), "{problems:?}");
        // Neither a forced downgrade nor a forced installation takes a machine back to the step.
        let forced = |version: &str, downgrade| World {
            force: Force { downgrade, rewrite: true, ..Force::default() },
            ..world(version)
        };
        assert_eq!(installs(&forced("3.0", true)), ["2.10"]);
        assert_eq!(installs(&forced("2.10", true)), ["2.10"]);
        assert_eq!(installs(&forced("1.40", false)), ["2.10"]);
    }
}

/// The last reading shows the last version, which the step is not.
#[test]
fn a_step_has_succeeded_when_the_last_version_is_there() {
    for components in baselines() {
        let mut world = at(&components, "1.20");
        world.force.downgrade = true;
        let plan = world.plan();
        let record = StepRecord { exit: Some(StepExit::Exited { code: 0 }), ..StepRecord::default() };
        let outcomes =
            plan.items.iter().map(|item| conclude(item, Some(&record), Some(&present("2.10"))).outcome);
        assert_eq!(outcomes.collect::<Vec<_>>(), [Outcome::Updated, Outcome::Updated]);
    }
}

/// A baseline without the step leaves machines alone that are below it.
#[test]
fn without_the_step_the_requirement_is_missing() {
    let [_, mut own] = baselines();
    own.pop();
    let Action::DependencyMissing { missing } = at(&own, "1.20").action("ilo") else { panic!() };
    assert!(
        missing[0].starts_with("ilo 1.40 or newer on the machine before 2.10 (1.20 is installed"),
        "{missing:?}"
    );
    assert_eq!(installs(&at(&own, "1.45")), ["2.10"]);
    for least in [None, Some("2.10"), Some("3.0")] {
        let needs = Requirement { component: "ilo".to_owned(), at_least: least.map(str::to_owned) };
        let own = Component { requires: vec![needs], ..firmware("ilo", "2.10", &[]) };
        let problems = validate_baseline(&[own], INSTALLERS.any);
        assert!(problems[0].to_string().contains("needs an atLeast below 2.10"), "{problems:?}");
    }
}

/// Two versions of a package for two releases of a distribution are not steps of each other.
#[test]
fn a_version_for_other_machines_is_not_the_end_of_a_step() {
    let of = |name: &str, version: &str, release: &str| {
        let match_facts = BTreeMap::from([("osVersion".to_owned(), release.to_owned())]);
        let detect = Some(Detect::Package("ethtool".to_owned()));
        let applies_to = AppliesTo { match_facts, ..AppliesTo::default() };
        Component { applies_to, detect, ..component(name, version) }
    };
    let components = [of("old", "1", "12"), of("new", "2", "13")];
    let world = World { force: Force { downgrade: true, ..Force::default() }, ..at(&components, "1.5") };
    assert_eq!(installs(&world), ["1"]);
}

/// A package from a repository has no file to fetch, and the machine says what else it would take.
#[test]
fn packages_from_repositories_have_no_payload() {
    let components = [Component { payload: None, ..component("fx", "2") }, component("fy", "1")];
    assert!(validate_baseline(&components, INSTALLERS.any).is_empty());
    let plan = World::of(&components).plan();
    let steps = plan.repository_steps();
    assert_eq!((plan.payloads().len(), steps.len()), (1, 1));
    assert!(steps[0].payload.is_none() && steps[0].respect_holds);
    assert_eq!(steps[0].package.as_ref().unwrap().name, "fx");
    let script = Component { installer: InstallerKind::Script, payload: None, ..component("s", "1") };
    assert!(
        validate_baseline(&[script], INSTALLERS.any)[0].to_string().contains("do not come from a repository")
    );

    let change = |name: &str| Change {
        kind: ChangeKind::Install,
        name: name.into(),
        version: "1".into(),
        ..Change::default()
    };
    let possible = Simulation::Possible { changes: vec![change("fx"), change("libnew")] };
    let besides = "also installs libnew 1".to_owned();
    assert_eq!(plan.items[0].forecast(&possible), Forecast::Possible { besides });
    let refused = Simulation::Refused { refusal: Refusal::Held, detail: "fx is on hold".into() };
    let Forecast::Refused { why } = plan.items[0].forecast(&refused) else { panic!() };
    assert!(why.starts_with("fx is on hold; ") && why.contains("spec.force.holds"), "{why}");
}

/// A driver that cannot be compiled on the machine is not copied to it.
#[test]
fn what_a_machine_lacks_is_named_with_its_packages() {
    let needs = Needs { programs: vec!["gcc".into(), "ld".into()], kernel_headers: true };
    let driver = Component { needs, ..component("driver", "1") };
    assert_eq!(programs(std::slice::from_ref(&driver)), ["gcc", "ld"]);
    let mut world = World::of(&[driver]);
    world.facts.kernel = "6.1.0-9-amd64".into();
    let Action::Blocked { why, reason } = world.action("driver") else { panic!() };
    assert_eq!(reason, Reason::PrerequisiteMissing);
    for words in ["gcc and ld and the headers", "install binutils, gcc, linux-headers-6.1.0-9-amd64 there"] {
        assert!(why.contains(words), "{why}");
    }
    world.programs = vec!["gcc".into(), "ld".into()];
    for (os, like, kernel, package) in [
        (
            "rocky",
            "rhel centos fedora",
            "5.14.0-362.el9.x86_64",
            "install kernel-devel-5.14.0-362.el9.x86_64 there",
        ),
        ("opensuse-leap", "suse opensuse", "6.4.0-150600.21-default", "install kernel-default-devel there"),
    ] {
        (world.facts.os, world.facts.os_like) = (os.into(), like.into());
        world.facts.kernel = kernel.into();
        let Action::Blocked { why, .. } = world.action("driver") else { panic!() };
        assert!(why.contains(package), "{why}");
    }
    world.facts.kernel_headers = "/lib/modules/x/build".into();
    assert!(world.action("driver").is_install());
}
