//! RPM packages, with a database made for the test: versions side by side, architectures, kernels.

use crate::machine::Machine;
use crate::packages::empty_database;
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use farrier_protocol::{
    Detect, EventBody, Holder, Installer, PackageRef, Reading, Refusal, Step, StepExit, WaitFor, Work,
};
use std::fs;
use std::process::Command;

const OK: StepExit = StepExit::Exited { code: 0 };

/// The machine's own architectures, as in a plan.
const OWN: [&str; 2] = ["x86_64", "noarch"];

/// Creates an empty rpm database, and hides the configuration of other package managers.
pub(crate) fn empty_rpm_database() {
    empty_database();
    for dir in ["/var/lib/rpm", "/boot", "/var/tmp"] {
        shell(&format!("mount -t tmpfs tmpfs {dir}"));
    }
    shell(
        "cd /mnt && mkdir etc work && mount -t overlay -o lowerdir=/etc,upperdir=etc,workdir=work etc /etc",
    );
    shell("mkdir -p /etc/rpm /etc/dnf");
    fs::write("/etc/rpm/macros", "%_dbpath /var/lib/rpm\n").unwrap();
    shell("rpm --initdb");
}

/// Builds `NAME-VERSION-1.ARCH` and returns its file. `header` has lines for the spec, and `script` creates
/// further files in `$R`; a file that names the version is always created.
pub(crate) fn build(name: &str, version: &str, arch: &str, header: &str, script: &str) -> String {
    let noarch = if arch == "noarch" { "BuildArch: noarch" } else { "" };
    let header = if header.contains("AutoReqProv") { header } else { &format!("AutoReqProv: no\n{header}") };
    let spec = format!(
        "%define __os_install_post %{{nil}}\n%define debug_package %{{nil}}\n\
         Name: {name}\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: x\n{noarch}\n{header}\n\
         %description\nx\n%install\nR=%{{buildroot}}; mkdir -p $R/opt/{name}\n\
         echo {version} >$R/opt/{name}/{version}-{arch}\n{script}\n%files\n/*\n"
    );
    fs::write("/mnt/x.spec", spec).unwrap();
    let target = if arch == "noarch" { String::new() } else { format!("--target {arch}") };
    shell(&format!(
        "rpmbuild --quiet -bb {target} --define '_topdir /mnt/rpm' --define '_build_id_links none' /mnt/x.spec"
    ));
    format!("/mnt/rpm/RPMS/{arch}/{name}-{version}-1.{arch}.rpm")
}

/// Builds a package without special features.
pub(crate) fn plain(name: &str, version: &str, arch: &str) -> String {
    build(name, version, arch, "", "")
}

/// Installs packages without the engine, as another administrator would.
pub(crate) fn install(files: &[String]) {
    for file in files {
        shell(&format!("rpm -i --nodeps --oldpackage {file}"));
    }
}

/// Returns a step that installs a file, planned as a package for the machine's own architecture.
fn step(runner: &mut Runner, file: &str) -> Step {
    let name = shell(&format!("rpm -qp --qf %{{NAME}} {file}"));
    let package = PackageRef { name: name.clone(), arches: OWN.map(Into::into).into() };
    Step { package: Some(package), ..runner.payload(&name, Installer::Rpm, fs::read(file).unwrap()) }
}

/// Runs a task with one step, and returns how the step ended.
fn apply(machine: &Machine, runner: &mut Runner, file: &str) -> StepExit {
    let step = step(runner, file);
    let id = format!("apply-{}", runner.exits().len());
    runner.order_apply(&id, vec![step]);
    runner.talk(machine, |runner| runner.is_done(&id));
    runner.exits().last().unwrap().1.clone()
}

pub(crate) fn installed(name: &str) -> String {
    shell(&format!("rpm -q --qf '%{{VERSION}}.%{{ARCH}}\\n' {name} | sort")).trim().replace('\n', " ")
}

fn refused(exit: &StepExit) -> Option<(Refusal, &str)> {
    match exit {
        StepExit::NotStarted { refusal: Some(refusal), detail, .. } => Some((*refusal, detail)),
        _ => None,
    }
}

sandboxed! {
    /// `rpm -U` removes every version of the package that it installs: with two kernels, both.
    fn side_by_side_packages_are_added_and_others_are_replaced() {
        empty_rpm_database();
        install(&[plain("twice", "1", "x86_64"), plain("twice", "2", "x86_64")]);
        install(&["kernel-core", "listed", "plain"].map(|name| plain(name, "1", "noarch")));
        install(&[plain("rpm", "4", "i686")]);
        fs::write("/etc/dnf/dnf.conf", "[main]\ninstallonlypkgs=other,listed\n").unwrap();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        assert_eq!(apply(&machine, &mut runner, &plain("twice", "3", "x86_64")), OK);
        assert_eq!(installed("twice"), "1.x86_64 2.x86_64 3.x86_64");
        for name in ["kernel-core", "listed", "plain"] {
            assert_eq!(apply(&machine, &mut runner, &plain(name, "2", "x86_64")), OK, "{name}");
        }
        let found = ["kernel-core", "listed", "plain"].map(installed);
        assert_eq!(found, ["1.noarch 2.x86_64", "1.noarch 2.x86_64", "2.x86_64"]);
        // An older version is added if requested, and so is the same version again.
        let older = step(&mut runner, &plain("twice", "0", "x86_64"));
        let again = step(&mut runner, &plain("twice", "2", "x86_64"));
        runner.order_apply("last", vec![
            Step { downgrade: true, ..older },
            Step { rewrite: true, downgrade: true, ..again },
        ]);
        let detect = vec![("twice".to_owned(), Detect::Package("twice".into()))];
        runner.order("survey-1", Work::Survey { packages: true, detect, fwupd: false, programs: Vec::new() });
        runner.finish(&machine);
        assert_eq!(installed("twice"), "0.x86_64 1.x86_64 2.x86_64 3.x86_64");
        let survey = runner.bodies().find_map(|body| match body {
            EventBody::SurveyDone { facts, packages, readings, .. } => Some((facts, packages, &readings[0].1)),
            _ => None,
        });
        let (facts, packages, reading) = survey.unwrap();
        assert_eq!(facts.rpm_arch, "i686");
        let listed = packages.iter().filter(|one| one.name == "twice").map(|one| one.version.as_str());
        assert_eq!(listed.collect::<Vec<_>>(), ["0-1", "1-1", "2-1", "3-1"]);
        assert!(matches!(reading, Reading::Present { instances, .. } if instances.len() == 4), "{reading:?}");
        machine.assert_clean();
    }
}

sandboxed! {
    /// A machine without its kernel does not boot again.
    fn what_the_machine_was_booted_from_is_not_removed() {
        empty_rpm_database();
        let image = "mkdir $R/boot; echo x >$R/boot/vmlinuz-$(uname -r)";
        install(&[build("vendor-linux", "1", "x86_64", "", image)]);
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let obsoleting = build("successor", "1", "x86_64", "Obsoletes: vendor-linux", "");
        let exit = apply(&machine, &mut runner, &obsoleting);
        let (refusal, detail) = refused(&exit).unwrap();
        assert_eq!(refusal, Refusal::RemovesBooted);
        assert!(detail.contains("vendor-linux 1-1"), "{detail}");
        // The package has an unknown name, but the machine was booted from it.
        assert_eq!(apply(&machine, &mut runner, &plain("vendor-linux", "2", "x86_64")), OK);
        assert_eq!(installed("vendor-linux"), "1.x86_64 2.x86_64");
        let detect = vec![("kernel".to_owned(), Detect::Package("vendor-linux".into()))];
        runner.order("survey-1", Work::Survey { packages: true, detect, fwupd: false, programs: Vec::new() });
        runner.finish(&machine);
        let reading = runner.bodies().find_map(|body| match body {
            EventBody::SurveyDone { readings, .. } => Some(&readings[0].1),
            _ => None,
        });
        let instances = reading.unwrap().instances();
        let booted: Vec<_> = instances.iter().filter(|one| one.booted).map(|one| one.version.as_str()).collect();
        assert_eq!((instances.len(), booted), (2, vec!["1-1"]));
    }
}

sandboxed! {
    /// Packages with drivers own the directory of a kernel's modules: Red Hat's kmodtool writes
    /// `%files /lib/modules/RELEASE`. Version 1.1 would fail or stand beside 1.0 if it was only added.
    fn a_driver_for_the_running_kernel_is_upgraded() {
        empty_rpm_database();
        let driver = |version: &str, release: &str| {
            let script = format!("mkdir -p $R/usr/lib/modules/{release}/extra; echo x >$R/usr/lib/modules/{release}/extra/fx.ko");
            build("kmod-fx", version, "x86_64", "", &script)
        };
        shell("cd /mnt && mkdir lib work-of-lib && mount -t overlay -o lowerdir=/usr/lib,upperdir=lib,workdir=work-of-lib lib /usr/lib");
        install(&[driver("1.0", "$(uname -r)")]);
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        assert_eq!(apply(&machine, &mut runner, &driver("1.1", "$(uname -r)")), OK);
        assert_eq!(installed("kmod-fx"), "1.1.x86_64");
        assert_eq!(apply(&machine, &mut runner, &driver("1.2", "9.9")), OK);
        assert_eq!(installed("kmod-fx"), "1.2.x86_64");
        runner.finish(&machine);
    }
}

sandboxed! {
    /// If rpm did not say what the machine was booted from, an upgrade could remove it.
    fn nothing_is_installed_while_the_booted_packages_are_unknown() {
        empty_rpm_database();
        install(&[plain("fx", "1", "x86_64")]);
        shell("mount -t tmpfs tmpfs /usr/local/sbin");
        let rpm = shell("command -v rpm");
        let script = format!("#!/bin/sh\ncase \" $* \" in *' -f '*) kill -9 $$ ;; esac\nexec {} \"$@\"\n", rpm.trim());
        fs::write("/usr/local/sbin/rpm", script).unwrap();
        shell("chmod 755 /usr/local/sbin/rpm");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let exit = apply(&machine, &mut runner, &plain("fx", "2", "x86_64"));
        let StepExit::NotStarted { detail, .. } = &exit else { panic!("{exit:?}") };
        assert!(detail.starts_with("the packages that this machine was booted from could not be determined"), "{detail}");
        assert_eq!(installed("fx"), "1.x86_64");
        runner.finish(&machine);
    }
}

sandboxed! {
    /// rpm does not wait for its lock. Another transaction that begins between two of the engine's checks, or
    /// just before the installation, would fail the step.
    fn a_transaction_that_begins_in_between_is_waited_for() {
        empty_rpm_database();
        install(&[plain("fx", "1", "x86_64")]);
        shell("mount -t tmpfs tmpfs /usr/local/sbin");
        let hold = "use Fcntl; open(my $lock, '+>>', '/var/lib/rpm/.rpm.lock') or die;
            my $all = pack('s s x4 q q l x4', F_WRLCK, 0, 0, 0, 0); fcntl($lock, F_SETLK, $all) or die;
            open(my $held, '>', '/mnt/held') or die; select(undef, undef, undef, 0.01) until -e '/mnt/go'";
        fs::write("/mnt/hold.pl", hold).unwrap();
        // Before the first installation of each version, another process takes the lock.
        let script = "#!/bin/sh
            case \" $* \" in
              *' --test '*fx-2*) ;;
              *' -U '*) [ -e /mnt/held ] || { perl /mnt/hold.pl >/dev/null 2>&1 & until [ -e /mnt/held ]; do sleep 0.01; done; } ;;
            esac
            exec /usr/bin/rpm \"$@\"\n";
        fs::write("/usr/local/sbin/rpm", script).unwrap();
        shell("chmod 755 /usr/local/sbin/rpm");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        for version in ["2", "3"] {
            let step = step(&mut runner, &plain("fx", version, "x86_64"));
            runner.order_apply(version, vec![step]);
            let waits = runner.waits().len();
            let mut connection = Connection::attach(&machine);
            assert!(runner.serve(&mut connection, |runner| runner.waits().len() > waits || runner.is_done(version)));
            let wait = runner.waits().last().copied().flatten().cloned();
            assert_eq!(wait.unwrap().what, WaitFor::PackageLock { path: "/var/lib/rpm/.rpm.lock".into() });
            fs::write("/mnt/go", "").unwrap();
            assert!(runner.serve(&mut connection, |runner| runner.is_done(version)));
            drop(connection);
            assert_eq!(runner.exits().last().unwrap().1, &OK, "{}", runner.output("fx"));
            assert_eq!(installed("fx"), format!("{version}.x86_64"));
            shell("rm /mnt/go /mnt/held");
        }
        runner.finish(&machine);
    }
}

sandboxed! {
    /// zypper runs rpm once for each package; the lock is free in between.
    fn zypper_is_waited_for_while_it_is_at_work() {
        empty_rpm_database();
        shell("mount -t tmpfs tmpfs /run");
        let mut zypper = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write("/run/zypp.pid", format!("{}\n", zypper.id())).unwrap();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let step = step(&mut runner, &plain("fx", "1", "x86_64"));
        runner.order_apply("apply-1", vec![step]);
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |runner| !runner.waits().is_empty() || runner.is_done("apply-1")));
        let wait = runner.waits()[0].unwrap().clone();
        assert_eq!(wait.what, WaitFor::PackageLock { path: "/run/zypp.pid".into() });
        assert_eq!(wait.holder, Some(Holder { pid: zypper.id(), name: "sleep".into() }));
        // A process id that is left behind is no obstacle.
        zypper.kill().unwrap();
        zypper.wait().unwrap();
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        drop(connection);
        assert_eq!(runner.exits(), [("fx", &OK)]);
        runner.finish(&machine);
    }
}

sandboxed! {
    /// For `rpm -U` a package for i686 is an older version of the package for `x86_64`.
    fn a_package_for_another_architecture_is_left_alone() {
        empty_rpm_database();
        // rpm distinguishes the two packages by the type and the requirements of their libraries.
        let multi = |version: &str, arch: &str| {
            let (class, format) = if arch == "i686" { ("32", "elf_i386") } else { ("64", "elf_x86_64") };
            let script = format!(
                "as --{class} /dev/null -o /mnt/x.o && \
                 ld -m {format} -shared -soname libmulti.so.1 /mnt/x.o -o $R/opt/multi/lib{class}.so.1 && \
                 chmod 755 $R/opt/multi/lib{class}.so.1"
            );
            build("multi", version, arch, "AutoReqProv: yes", &script)
        };
        install(&[plain("fx", "2", "i686"), multi("1", "i686"), multi("1", "x86_64"), plain("neutral", "1", "noarch")]);
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        assert_eq!(apply(&machine, &mut runner, &plain("fx", "1", "x86_64")), OK);
        assert_eq!(installed("fx"), "1.x86_64 2.i686");
        assert_eq!(apply(&machine, &mut runner, &multi("2", "x86_64")), OK);
        assert_eq!(installed("multi"), "1.i686 2.x86_64");
        assert_eq!(apply(&machine, &mut runner, &plain("neutral", "2", "x86_64")), OK);
        assert_eq!(installed("neutral"), "2.x86_64");
        // Without binaries rpm cannot distinguish them.
        let exit = apply(&machine, &mut runner, &plain("fx", "3", "x86_64"));
        let expected = "rpm would replace fx 2-1 for i686, which is another package";
        assert_eq!(refused(&exit), Some((Refusal::ArchitectureConflict, expected)));
        let exit = apply(&machine, &mut runner, &plain("fx", "3", "i686"));
        let expected = "the payload is fx 3-1 for i686, not fx for x86_64 or noarch";
        assert_eq!(refused(&exit), Some((Refusal::OtherPackage, expected)));
        assert_eq!(installed("fx"), "1.x86_64 2.i686");
        runner.finish(&machine);
    }
}
