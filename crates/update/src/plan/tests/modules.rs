//! Tests of plans and results of kernel modules, which are compiled on the machine.

use super::*;
use crate::outcome::{ComponentResult, Outcome, StepRecord, conclude};
use farrier_protocol::{PackageRef, StepExit};

/// A driver whose tree is compressed in this way.
fn driver(end: &str) -> Component {
    let payload = component("r8125", "2")
        .payload
        .map(|payload| PayloadRef { url: format!("https://repo.example.net/r8125-2.tar{end}"), ..payload });
    Component { installer: InstallerKind::Tar, payload, ..component("r8125", "2") }
}

fn plan(driver: &Component, world: &World, before: Reading) -> PlanItem {
    let any = [InstallerKind::Tar];
    let plan = plan_node(&PlanInput {
        components: std::slice::from_ref(driver),
        node_type: "Linux",
        installers: Installers { machine: &any, any: &any },
        facts: &world.facts,
        programs: &world.programs,
        readings: &BTreeMap::from([("r8125".to_owned(), before)]),
        force: world.force,
        on_failed_dependency: FailedDependency::OmitComponent,
    });
    plan.items[0].clone()
}

/// A machine that can compile modules.
fn able() -> World {
    let mut world = World::of(&[]);
    world.programs = ["dkms", "gcc", "make", "gzip"].map(str::to_owned).into();
    world.facts.kernel_headers = "/lib/modules/x/build".into();
    world
}

/// The version is installed, and the kernel has loaded another build.
fn unloaded(version: &str) -> Reading {
    let pending = Some(Pending { version: version.to_owned(), until: PendingUntil::ModuleLoad });
    Reading::Present { version: version.to_owned(), instances: Vec::new(), pending }
}

/// Otherwise a tree is copied to a machine that cannot compile it, or would lose it with the next kernel.
#[test]
fn what_a_driver_is_compiled_with_is_needed_without_being_listed() {
    assert_eq!(programs(&[driver(".xz")]), ["dkms", "gcc", "make", "xz"]);
    assert_eq!(programs(&[driver("")]), ["dkms", "gcc", "make"]);
    assert!(plan(&driver(".gz"), &able(), Reading::Absent).action.is_install());
    let mut bare = able();
    bare.facts.kernel_headers.clear();
    bare.facts.kernel = "6.1.0-9-amd64".into();
    bare.programs = vec!["make".into()];
    let Action::Blocked { why, reason } = plan(&driver(".xz"), &bare, Reading::Absent).action else {
        panic!("it is not blocked")
    };
    assert_eq!(reason, Reason::PrerequisiteMissing);
    for words in [
        "dkms and gcc and xz",
        "headers of the running kernel",
        "dkms, gcc, linux-headers-6.1.0-9-amd64, xz-utils",
    ] {
        assert!(why.contains(words), "{why}");
    }
    // A machine that has the version needs nothing.
    assert!(matches!(plan(&driver(".xz"), &bare, present("2")).action, Action::UpToDate { .. }));
}

/// The payload could be any other driver.
#[test]
fn the_step_names_the_module_that_the_payload_must_be() {
    let named = Component { detect: Some(Detect::Module("r8125_dkms".to_owned())), ..driver("") };
    let file = Component { detect: Some(Detect::File("/etc/version".to_owned())), ..driver("") };
    let package = |driver: &Component| {
        let items = vec![plan(driver, &able(), present("1"))];
        NodePlan { items }.steps(&BTreeMap::new())[0].package.clone()
    };
    let module = |name: &str| Some(PackageRef { name: name.to_owned(), arches: Vec::new() });
    assert_eq!(package(&driver("")), module("r8125"));
    assert_eq!(package(&named), module("r8125_dkms"));
    assert_eq!(package(&file), None);
}

/// A machine that runs the old driver would count as updated, or compile the new one again before every reboot.
#[test]
fn a_driver_that_is_not_loaded_waits_for_the_reboot_and_fails_if_that_does_not_load_it() {
    let (driver, world) = (driver(""), able());
    let result = |before: Reading, rebooted, after: Reading| -> ComponentResult {
        let exit = Some(StepExit::Exited { code: 0 });
        let step = StepRecord { exit, rebooted, ..StepRecord::default() };
        conclude(&plan(&driver, &world, before), Some(&step), Some(&after))
    };
    let first = result(present("1"), false, unloaded("2"));
    assert_eq!((first.outcome, first.reason), (Outcome::RebootPending, Reason::RebootPending));
    assert_eq!((first.before.as_str(), first.after.as_str()), ("1", "2"));
    assert!(
        first.message.contains("r8125 2 is installed, and the kernel has loaded another"),
        "{}",
        first.message
    );

    let Action::Blocked { why, reason: Reason::RebootPending } = plan(&driver, &world, unloaded("2")).action
    else {
        panic!("it is compiled again")
    };
    let waits = result(unloaded("2"), false, unloaded("2"));
    assert_eq!((waits.outcome, waits.message), (Outcome::RebootPending, why));
    assert_eq!(result(unloaded("2"), true, present("2")).outcome, Outcome::Updated);

    assert_eq!(result(present("1"), true, present("2")).outcome, Outcome::Updated);
    let still = result(present("1"), true, unloaded("2"));
    assert_eq!((still.outcome, still.reason), (Outcome::Failed, Reason::VersionNotReached));
    assert!(still.message.contains("initramfs"), "{}", still.message);
    // Another version is installed anyway.
    assert!(plan(&driver, &world, unloaded("1")).action.is_install());
}
