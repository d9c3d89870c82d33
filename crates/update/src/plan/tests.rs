//! Tests of plans: which components apply, which are installed, in which order, and which
//! requirements are missing.

mod laws;
mod modules;
mod packages;
mod steps;

use super::*;
use crate::installer::InstallerKind;
use crate::model::{AppliesTo, Needs, NodeName, PayloadRef, RebootNeed, Requirement};
use farrier_protocol::{Detect, Installer};
use std::time::Duration;

/// The installers for Linux machines, and one for other machines.
const INSTALLERS: Installers<'_> = Installers {
    machine: &[InstallerKind::Deb, InstallerKind::Rpm, InstallerKind::Script],
    any: &[InstallerKind::Deb, InstallerKind::Rpm, InstallerKind::Script, InstallerKind::RedfishImage],
};

fn component(name: &str, version: &str) -> Component {
    Component {
        name: name.to_owned(),
        version: version.to_owned(),
        applies_to: AppliesTo::default(),
        installer: InstallerKind::Deb,
        detect: None,
        firmware: None,
        payload: Some(PayloadRef {
            url: format!("https://repo.example.net/{name}.deb"),
            digest: format!("sha256:{name}"),
            size: Some(10),
            unpack: false,
            signatures: Vec::new(),
        }),
        requires: Vec::new(),
        needs: Needs::default(),
        reboot: RebootNeed::IfRequested,
        interruptible: true,
        timeout: Duration::from_mins(10),
    }
}

fn requiring(name: &str, needs: &[(&str, Option<&str>)]) -> Component {
    let requires = needs
        .iter()
        .map(|&(component, least)| Requirement {
            component: component.to_owned(),
            at_least: least.map(str::to_owned),
        })
        .collect();
    Component { requires, ..component(name, "1.0") }
}

fn debian() -> Facts {
    Facts {
        os: "debian".to_owned(),
        os_version: "12".to_owned(),
        os_like: "unix posix".to_owned(),
        package_managers: "dpkg".to_owned(),
        ..Facts::default()
    }
}

fn present(version: &str) -> Reading {
    Reading::present(version)
}

/// The state that a test sets up; every component without a reading is absent.
struct World {
    components: Vec<Component>,
    facts: Facts,
    programs: Vec<String>,
    readings: BTreeMap<String, Reading>,
    force: Force,
    policy: FailedDependency,
}

impl World {
    fn of(components: &[Component]) -> Self {
        let readings = components.iter().map(|c| (c.name.clone(), Reading::Absent)).collect();
        let policy = FailedDependency::OmitComponent;
        Self {
            components: components.to_vec(),
            facts: debian(),
            programs: Vec::new(),
            readings,
            force: Force::default(),
            policy,
        }
    }

    fn with(mut self, name: &str, reading: Reading) -> Self {
        self.readings.insert(name.to_owned(), reading);
        self
    }

    fn plan(&self) -> NodePlan {
        plan_node(&PlanInput {
            components: &self.components,
            node_type: "Linux",
            installers: INSTALLERS,
            facts: &self.facts,
            programs: &self.programs,
            readings: &self.readings,
            force: self.force,
            on_failed_dependency: self.policy,
        })
    }

    fn action(&self, name: &str) -> Action {
        let plan = self.plan();
        plan.items.iter().find(|item| item.component.name == name).unwrap().action.clone()
    }
}

fn names(plan: &NodePlan) -> Vec<&str> {
    plan.items.iter().map(|item| item.component.name.as_str()).collect()
}

/// Installing a version that is already installed reboots a server for nothing.
#[test]
fn the_reading_decides_what_is_installed() {
    let world = |reading| World::of(&[component("ethtool", "1:6.1-1")]).with("ethtool", reading);
    let install =
        |from: Option<&str>| Action::Install { from: from.map(str::to_owned), to: "1:6.1-1".to_owned() };
    let up_to_date = |at: &str, newer| Action::UpToDate { at: at.to_owned(), newer };
    assert_eq!(world(Reading::Absent).action("ethtool"), install(None));
    assert_eq!(world(present("1:5.19-1")).action("ethtool"), install(Some("1:5.19-1")));
    assert_eq!(world(present("1:6.1-1")).action("ethtool"), up_to_date("1:6.1-1", false));
    assert_eq!(world(present("1:6.5-1")).action("ethtool"), up_to_date("1:6.5-1", true));
    let broken = Reading::broken("1:6.1-1", "half-configured");
    assert_eq!(world(broken).action("ethtool"), install(Some("1:6.1-1")));
    let unreadable = world(Reading::Unreadable { detail: "no permission".to_owned() }).action("ethtool");
    assert!(matches!(unreadable, Action::Blocked { reason: Reason::NotVerified, .. }), "{unreadable:?}");
}

/// A broken state alone must not cause a newer version to be replaced by an older one.
#[test]
fn a_broken_newer_version_is_not_downgraded_without_permission() {
    let broken = Reading::broken("2.0", "half-configured");
    let mut world = World::of(&[component("a", "1.0")]).with("a", broken);
    let Action::Blocked { why, .. } = world.action("a") else { panic!("not blocked") };
    assert!(why.contains("half-configured") && why.contains("spec.force.downgrade"), "{why}");
    world.force.downgrade = true;
    assert!(world.action("a").is_install());
}

/// Each force option allows exactly what its name says.
#[test]
fn force_reinstalls_and_downgrades() {
    let mut world = World::of(&[component("a", "1.0"), component("b", "1.0")])
        .with("a", present("1.0"))
        .with("b", present("2.0"));
    world.force = Force { rewrite: true, ..Force::default() };
    assert!(world.action("a").is_install() && !world.action("b").is_install());
    world.force = Force { downgrade: true, ..Force::default() };
    assert!(!world.action("a").is_install() && world.action("b").is_install());
    let steps = world.plan().steps(&BTreeMap::new());
    assert!(matches!(steps.as_slice(), [step] if step.downgrade && !step.rewrite), "{steps:?}");
}

/// A package for another kind of machine must not be attempted on this machine.
#[test]
fn what_is_not_meant_for_the_machine_does_not_apply() {
    let on = |key: &str, value: &str| {
        let match_facts = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        Component { applies_to: AppliesTo { types: vec![], match_facts }, ..component("a", "1.0") }
    };
    for (key, value) in [("os", "debian"), ("osVersion", "12"), ("osLike", "posix"), ("osLike", "unix")] {
        assert!(World::of(&[on(key, value)]).action("a").is_install(), "{key} {value}");
    }
    for (key, value) in
        [("os", "posix"), ("osLike", "uni"), ("vendor", "HPE"), ("colour", "blue"), ("os", "Debian")]
    {
        let Action::NotApplicable { why } = World::of(&[on(key, value)]).action("a") else {
            panic!("{key} {value}")
        };
        assert!(why.contains(key), "{why}");
    }
    let types = vec!["ILO".to_owned(), "IDRAC".to_owned()];
    let bmc = Component { applies_to: AppliesTo { types, ..AppliesTo::default() }, ..component("a", "1.0") };
    let Action::NotApplicable { why } = World::of(&[bmc]).action("a") else { panic!() };
    assert!(why.contains("ILO, IDRAC") && why.contains("Linux"), "{why}");
}

/// A machine without the package manager must be distinguished from a machine on which the
/// installation failed.
#[test]
fn packages_need_their_package_manager() {
    let rpm = Component { installer: InstallerKind::Rpm, ..component("a", "1.0") };
    let mut world = World::of(&[rpm, component("b", "1.0")]);
    assert!(matches!(world.action("a"), Action::NotApplicable { why } if why.contains("no rpm")));
    assert!(world.action("b").is_install());
    world.facts.package_managers = "dpkg rpm".to_owned();
    assert!(world.action("a").is_install());
    world.facts.package_managers = String::new();
    assert!(matches!(world.action("b"), Action::NotApplicable { why } if why.contains("no dpkg")));
}

/// A script whose result cannot be read would be reported as done without verification.
#[test]
fn a_script_without_detect_is_blocked_and_later_installers_are_not_supported() {
    let script = Component { installer: InstallerKind::Script, ..component("s", "1") };
    let fwupd = Component { installer: InstallerKind::Fwupd, ..component("f", "1") };
    let proven = Component { detect: Some(Detect::File("/etc/v".to_owned())), ..script.clone() };
    let world = World::of(&[script, fwupd]);
    assert!(matches!(world.action("s"), Action::Blocked { reason: Reason::NotVerified, .. }));
    assert_eq!(world.action("f"), Action::NotSupported { what: "installer Fwupd".to_owned() });
    let plan = World::of(&[proven]).plan();
    assert_eq!(plan.steps(&BTreeMap::new())[0].installer, Installer::Script);
    assert_eq!(plan.detections(), [("s".to_owned(), Detect::File("/etc/v".to_owned()))]);
}

/// Requirements come first; otherwise the author's order is kept.
#[test]
fn requirements_come_first_and_the_order_is_kept_otherwise() {
    let world = World::of(&[
        component("z", "1.0"),
        requiring("app", &[("lib", None), ("base", Some("1.0"))]),
        component("m", "1.0"),
        requiring("lib", &[("base", None)]),
        component("base", "1.0"),
        component("a", "1.0"),
    ]);
    let plan = world.plan();
    assert_eq!(names(&plan), ["z", "m", "base", "lib", "app", "a"]);
    assert_eq!(plan.items[4].after, ["base", "lib"]);
    let steps = plan.steps(&BTreeMap::from([("sha256:base".to_owned(), 77)]));
    let payload = |at: usize| steps[at].payload.as_ref().unwrap();
    let size = |at: usize| payload(at).size;
    assert_eq!((size(2), size(3)), (77, 10));
    assert_eq!(payload(2).file_name, "base.deb");
}

/// A requirement is met by a version that will be installed, or by a version that is
/// installed.
#[test]
fn requirements_are_met_by_the_baseline_or_by_the_machine() {
    let app = requiring("app", &[("base", Some("2.1"))]);
    let world = |version: &str| World::of(&[app.clone(), component("base", version)]);
    assert!(world("2.1").action("app").is_install());
    assert_eq!(
        world("2.0").action("app"),
        Action::DependencyMissing { missing: vec!["base 2.1 or newer (the baseline has 2.0)".to_owned()] }
    );
    assert!(world("2.0").with("base", present("3.0")).action("app").is_install());
    // This run does not install `base`, and the installed version is sufficient.
    let foreign = Component { installer: InstallerKind::Fwupd, ..component("base", "2.5") };
    let world = World::of(&[app.clone(), foreign]);
    assert!(matches!(world.action("app"), Action::DependencyMissing { .. }));
    assert!(world.with("base", present("2.1")).action("app").is_install());
    // A component that is up to date needs no requirements.
    let world = World::of(&[requiring("app", &[("nowhere", None)])]);
    let Action::DependencyMissing { missing } = world.action("app") else { panic!() };
    assert_eq!(missing, ["nowhere, which the baseline does not contain"]);
    assert!(!matches!(world.with("app", present("1.0")).action("app"), Action::DependencyMissing { .. }));
}

/// Users choose between these three ways to handle a missing requirement.
#[test]
fn the_policy_decides_what_a_missing_requirement_stops() {
    let components = [
        component("free", "1.0"),
        requiring("mid", &[("nowhere", None)]),
        requiring("top", &[("mid", None)]),
    ];
    let mut world = World::of(&components);
    let kinds = |world: &World| -> String {
        let letter = |name: &&str| match world.action(name) {
            Action::Install { .. } => 'i',
            Action::DependencyMissing { .. } => 'm',
            Action::Blocked { reason: Reason::DependencyMissing, .. } => 'b',
            other @ (Action::UpToDate { .. }
            | Action::NotApplicable { .. }
            | Action::NotSupported { .. }
            | Action::Blocked { .. }) => panic!("{other:?}"),
        };
        ["free", "mid", "top"].iter().map(letter).collect()
    };
    assert_eq!(kinds(&world), "imm");
    world.policy = FailedDependency::OmitNode;
    assert_eq!(kinds(&world), "bmm");
    world.policy = FailedDependency::Force;
    assert_eq!(kinds(&world), "iii");
    assert!(world.plan().items.iter().all(|item| item.after.is_empty()));
}

/// A cycle must neither block the operator nor lead to an arbitrary installation order.
#[test]
fn circles_are_named_and_the_rest_goes_on() {
    let world = World::of(&[
        requiring("a", &[("b", None)]),
        requiring("b", &[("c", None)]),
        requiring("c", &[("a", None)]),
        requiring("self", &[("self", None)]),
        requiring("leaf", &[("a", None)]),
        component("free", "1.0"),
    ]);
    assert_eq!(names(&world.plan()).len(), 6);
    let Action::DependencyMissing { missing } = world.action("b") else { panic!() };
    assert_eq!(missing, ["its requirements form a cycle: b -> c -> a -> b"]);
    assert!(matches!(world.action("leaf"), Action::DependencyMissing { .. }));
    assert!(world.action("free").is_install());
    let paths: Vec<String> =
        validate_baseline(&world.components, INSTALLERS.any).iter().map(ToString::to_string).collect();
    assert_eq!(paths.len(), 2, "{paths:?}");
    assert!(
        paths[0].contains("a -> b -> c -> a") && paths[1].contains("requirement of self itself"),
        "{paths:?}"
    );
}

/// A long chain of requirements must not overflow the operator's stack.
#[test]
fn a_chain_of_a_thousand_components_is_planned() {
    let name = |i: usize| format!("c{i:04}");
    let mut components: Vec<Component> =
        (0..1000).map(|i| requiring(&name(i), &[(name(i + 1).as_str(), None)])).collect();
    components.push(component(&name(1000), "1.0"));
    let plan = World::of(&components).plan();
    assert_eq!(plan.changes(), 1001);
    assert_eq!(names(&plan)[0], "c1000");
}

/// A user approved a plan by its digest, so a different plan must have a different digest.
#[test]
fn the_digest_stands_for_the_whole_plan() {
    let world = World::of(&[component("a", "1.0"), component("b", "1.0")]);
    let digest = world.plan().digest();
    assert_eq!(digest.len(), 71);
    assert!(digest.starts_with("sha256:"));
    assert_eq!(digest, world.plan().digest());
    assert_ne!(digest, world.with("a", present("0.9")).plan().digest());
    let node = |name: &str, digest: &str| (NodeName::from(name), digest.to_owned());
    let one = combined_digest(&BTreeMap::from([node("n1", "x"), node("n2", "y")]));
    assert_ne!(one, combined_digest(&BTreeMap::from([node("n1", "y"), node("n2", "x")])));
    let stored = serde_json::to_string(&world_plan()).unwrap();
    assert_eq!(serde_json::from_str::<NodePlan>(&stored).unwrap(), world_plan());
}

fn world_plan() -> NodePlan {
    World::of(&[requiring("app", &[("base", Some("1"))]), component("base", "2")]).plan()
}

/// A half-configured package of the right version is repaired only by installing it again.
#[test]
fn a_repair_is_written_again() {
    let broken = Reading::broken("1.0", "half-configured");
    let plan = World::of(&[component("a", "1.0")]).with("a", broken).plan();
    assert!(plan.steps(&BTreeMap::new())[0].rewrite);
}

/// Firmware of the wrong device is flashed, or a flash is cut off, or written again before every reboot.
#[test]
fn firmware_is_for_one_device_is_left_to_finish_and_is_not_written_twice() {
    let firmware =
        Component { installer: InstallerKind::Fwupd, interruptible: true, ..component("nic", "2") };
    let named = Component { firmware: Some("8f2a".to_owned()), ..firmware.clone() };
    let entry = |component: &Component| component.detection();
    assert_eq!(entry(&firmware), Some(Detect::Firmware("nic".to_owned())));
    assert_eq!(entry(&named), Some(Detect::Firmware("8f2a".to_owned())));
    let image = Component { installer: InstallerKind::RedfishImage, ..firmware.clone() };
    assert!(detections(&[image], "Linux").is_empty(), "no engine is asked for what only a BMC lists");

    let any = [InstallerKind::Fwupd, InstallerKind::DellDup];
    let plan = |force: Force, before: Reading| {
        plan_node(&PlanInput {
            components: std::slice::from_ref(&named),
            node_type: "Linux",
            installers: Installers { machine: &any, any: &any },
            facts: &debian(),
            programs: &[],
            readings: &BTreeMap::from([("nic".to_owned(), before)]),
            force,
            on_failed_dependency: FailedDependency::OmitComponent,
        })
    };
    let steps =
        plan(Force { trusted_module: true, ..Force::default() }, present("1")).steps(&BTreeMap::new());
    assert_eq!((steps[0].interruptible, steps[0].overrides_trusted_module), (false, true));
    assert_eq!(steps[0].firmware.as_deref(), Some("8f2a"));

    let waiting = |to: &str| {
        let pending = Some(Pending { version: to.to_owned(), until: PendingUntil::Reboot });
        Reading::Present { version: "1".to_owned(), instances: Vec::new(), pending }
    };
    let action = |force, before| plan(force, before).items[0].action.clone();
    assert!(matches!(
        action(Force::default(), waiting("2")),
        Action::Blocked { reason: Reason::RebootPending, why } if why.contains("after the next reboot")
    ));
    assert!(action(Force { rewrite: true, ..Force::default() }, waiting("2")).is_install());
    assert!(action(Force::default(), waiting("3")).is_install(), "another version waits");
}

/// A command for other machines must not run on this machine, not even to read a version.
#[test]
fn only_what_may_apply_is_read() {
    let types = vec!["ILO".to_owned()];
    let bmc = Component { applies_to: AppliesTo { types, ..AppliesTo::default() }, ..component("bmc", "1") };
    let match_facts = BTreeMap::from([("os".to_owned(), "rhel".to_owned())]);
    let other = Component { applies_to: AppliesTo { types: vec![], match_facts }, ..component("other", "1") };
    let components = [bmc, other, component("a", "1")];
    let names: Vec<_> = detections(&components, "Linux").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["other", "a"]);
}

/// A baseline that cannot work is rejected before any machine is touched.
#[test]
fn a_baseline_is_checked_as_a_whole() {
    let with_url = |url: &str| {
        let good = component("u", "1");
        Component {
            payload: Some(PayloadRef { url: url.to_owned(), ..good.payload.clone().unwrap() }),
            ..good
        }
    };
    let problems = |components: &[Component]| validate_baseline(components, INSTALLERS.any);
    assert!(problems(&[component("a", "1"), requiring("b", &[("a", Some("1"))])]).is_empty());
    for url in ["https://x/y", "HTTPS://x/y", "file:///x", "oci://r.example.net/x/y:1", "s3://bucket/y"] {
        assert!(problems(&[with_url(url)]).is_empty(), "{url}");
    }
    for url in ["http://x/y", "ftp://x/y", "x", ""] {
        let found = problems(&[with_url(url)]);
        assert!(matches!(found.as_slice(), [Problem::UrlNotSupported { .. }]), "{url}: {found:?}");
        assert_eq!(found[0].reason(), Reason::NotYetSupported);
    }
    for url in ["oci://r.example.net/y", "s3://bucket"] {
        let found = problems(&[with_url(url)]);
        assert!(matches!(found.as_slice(), [Problem::UrlInvalid { .. }]), "{url}: {found:?}");
        assert_eq!(found[0].reason(), Reason::BaselineInvalid);
    }
    let found = problems(&[component("a", "1"), component("a", "2"), component("a", "3")]);
    assert_eq!(found, [Problem::DuplicateName { name: "a".to_owned() }]);
    assert_eq!(found[0].reason(), Reason::BaselineInvalid);
    let found = problems(&[component("a", "1"), requiring("b", &[("a", Some("2")), ("x", None)])]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].to_string().contains("at least 2") && found[1].to_string().contains("no component x"));
    let msi = Component { installer: InstallerKind::Msi, ..component("m", "1") };
    let said = problems(&[msi])[0].to_string();
    assert!(said.contains("Msi is not supported") && said.ends_with("Script or RedfishImage"), "{said}");
}
