//! Machines without free space, or without a directory where files may be written and executed.

use super::{all_at_once, ends_with, only, said, up};
use crate::harness::machine::Builder;
use crate::harness::payload::{Component, agent, bmc_tool, ethtool};
use crate::harness::run::component;
use crate::harness::snapshot::{self, DPKG, ETHTOOL, LOG};
use crate::harness::{Machine, Site, e2e, lab, outcome};
use farrier_update::Reason;
use serde_json::json;

/// Fills directories to the last byte.
const FILL: &str = "for d in $DIRS; do dd if=/dev/zero of=$d/fill bs=64k 2>/dev/null || true; done";

/// Size of a payload that does not fit on the small disks of these tests.
const BIG: usize = 12 << 20;

/// Hardened machines could not be updated although they have a directory from which programs may run.
#[test]
fn one_place_that_can_be_written_and_executed_is_enough() {
    e2e("places", async |site| {
        let machines = up([
            site.machine("ro").lab(&["--tmp", "ro"]),
            site.machine("noexec").lab(&["--tmp", "noexec"]),
            site.machine("all-noexec").lab(&["--tmp-all", "noexec"]),
            // Programs may run only from /tmp, not from /var and the other directories.
            site.machine("only-tmp").lab(&["--disk", "64m"]),
        ])
        .await;
        machines[3].sh(&noexec("/var /run /dev/shm")).await;
        let before = snapshot::of_all(&machines).await;
        site.baseline("spring", &[ethtool()]).await;
        let run = site.run("r1", all_at_once("spring")).await;
        run.succeeds().await;
        let after = snapshot::of_all(&machines).await;
        snapshot::all_same_but(&before, &after, &[LOG, DPKG, ETHTOOL]);
    });
}

/// Farrier would fill the disk even more, leave half an installation, or report something other than the
/// disk.
#[test]
fn a_machine_without_room_or_place_says_where() {
    e2e("room", async |site| {
        // A longer wait for free space would be in vain here.
        site.operator.restart(&["--wait-seconds", "1"]);
        let machines = up(machines(site)).await;
        let [_good, full, stuffed, _small, filling, unpack, preinst, noexec_, readonly, _var, _riscv] =
            &machines;
        full.sh(&FILL.replace("$DIRS", "/var/tmp")).await;
        stuffed.sh(&FILL.replace("$DIRS", "/var/tmp /run /dev/shm")).await;
        noexec_.sh(&noexec("/var/lib")).await;
        readonly.sh("mount -o remount,ro /run; mount -o remount,ro /dev/shm").await;
        let components = components(site, &machines).await;
        site.baseline("spring", &components).await;
        let before = snapshot::of_all(&machines[1..]).await;
        filling.sh(FILL_WHEN_THE_PAYLOAD_COMES).await;
        let run = site.run("r1", all_at_once("spring")).await;
        ends_with(site, &run, EXPECTED).await;
        let after = snapshot::of_all(&machines[1..]).await;
        for (machine, (before, after)) in machines[1..].iter().zip(before.iter().zip(&after)) {
            if [&unpack.name, &preinst.name].contains(&&machine.name) {
                // Their packages have started to change them, and the status says so.
                continue;
            }
            before.same_but(after, &[LOG, &["/var/tmp/fill", "/etc/bmc-tool.version"]]);
        }
        // Each component has its own outcome.
        let update = run.node("var").await;
        assert_eq!(outcome(&update, "agent-var"), "Failed");
        assert_eq!(outcome(&update, "tool-var"), "Updated");
        let update = run.node("unpack").await;
        assert_eq!(outcome(&update, "fill"), "Updated");
        assert_eq!(outcome(&update, "ethtool-unpack"), "Failed");
        assert!(
            component(&update, "ethtool-unpack").exit_code.is_none(),
            "the installer must not be started"
        );
    });
}

fn machines(site: &Site) -> [Builder<'_>; 11] {
    [
        site.machine("good"),
        site.machine("full").lab(&["--disk", "16m"]),
        site.machine("stuffed").lab(&["--disk", "16m"]),
        site.machine("small").lab(&["--disk", "10m"]),
        site.machine("filling").lab(&["--disk", "40m"]),
        site.machine("unpack").lab(&["--disk", "40m"]),
        site.machine("preinst").lab(&["--disk", "40m"]),
        site.machine("noexec").lab(&["--tmp-all", "noexec"]),
        site.machine("readonly").lab(&["--var-ro", "--tmp", "ro"]),
        site.machine("var").lab(&["--var-ro"]),
        site.machine("riscv").lab(&["--arch", "riscv64"]),
    ]
}

/// Returns the components for the machines. Machines that no engine can be deployed to have none.
async fn components(site: &Site, machines: &[Machine; 11]) -> Vec<Component> {
    let [good, full, _stuffed, small, filling, unpack, preinst, _noexec, _readonly, var, _riscv] = machines;
    let named = |component: Component, name: &str, package: &str| {
        component.with(json!({"name": name, "detect": {"package": package}}))
    };
    let big = [b"#!/bin/sh\nexit 0\n".as_slice(), &vec![0; BIG]].concat();
    let big = |name: &str| {
        site.payload(name, "1.0", "Script", &big).with(json!({"detect": {"file": "/etc/big.version"}}))
    };
    let filler = "#!/bin/sh\ndd if=/dev/zero of=/var/tmp/fill bs=64k\necho 1.0 >/run/fill.version\n";
    let filler = site.payload("fill", "1.0", "Script", filler.as_bytes());
    vec![
        only(ethtool(), good),
        only(named(agent("1.1"), "agent-full", "farrier-agent"), full),
        only(big("big-small"), small),
        only(big("big-filling"), filling),
        only(filler.with(json!({"detect": {"file": "/run/fill.version"}})), unpack),
        only(named(ethtool(), "ethtool-unpack", "ethtool"), unpack),
        only(greedy(site, preinst).await, preinst),
        only(named(agent("1.1"), "agent-var", "farrier-agent"), var),
        only(bmc_tool("1.1").with(json!({"name": "tool-var"})), var),
    ]
}

/// Returns a package that fills the disk before it is unpacked. It is built on the machine, which has the
/// tools for it.
async fn greedy(site: &Site, machine: &Machine) -> Component {
    machine.sh(GREEDY).await;
    let built = lab::dir().join("m").join(&machine.host).join("disk/up/tmp/greedy.deb");
    let bytes = std::fs::read(built).expect("the package");
    machine.sh("rm -r /tmp/greedy /tmp/greedy.deb").await;
    let component = site.payload("greedy.deb", "1.0", "Deb", &bytes);
    component.with(json!({"name": "greedy"}))
}

const GREEDY: &str = "
    mkdir -p /tmp/greedy/DEBIAN /tmp/greedy/usr/share/greedy
    cd /tmp/greedy
    printf 'Package: greedy\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: lab\\nDescription: test\\n' >DEBIAN/control
    printf '#!/bin/sh\\ndd if=/dev/zero of=/var/tmp/fill bs=64k 2>/dev/null\\ntrue\\n' >DEBIAN/preinst
    chmod 755 DEBIAN DEBIAN/preinst
    head -c 300000 /dev/urandom >usr/share/greedy/data
    dpkg-deb --root-owner-group -Zgzip --build /tmp/greedy /tmp/greedy.deb >/dev/null";

/// Fills the disk while the payload is transferred.
const FILL_WHEN_THE_PAYLOAD_COMES: &str = "(
    until ls -d /var/lib/farrier-*/payload 2>/dev/null; do sleep 0.01; done
    dd if=/dev/zero of=/var/tmp/fill bs=64k
    ) </dev/null >/dev/null 2>&1 &";

/// Returns commands that mount directories over themselves so that no program runs from them.
fn noexec(dirs: &str) -> String {
    format!("for d in {dirs}; do mount --bind $d $d; mount -o remount,bind,noexec $d; done")
}

const EXPECTED: &[super::Said] = &[
    said("full", Reason::DiskFull, &["full", "journal", "make room in /var/log"]),
    said("stuffed", Reason::DiskFull, &["no directory of stuffed", "/var/lib:full", "free at least"]),
    said("small", Reason::DiskFull, &["small", "MiB free", "nothing was installed", "make room"]),
    said("filling", Reason::DiskFull, &["filling", "big-filling", "nothing was installed", "make room"]),
    said("unpack", Reason::DiskFull, &["ethtool-unpack", "/usr has 0 MiB free", "make room"]),
    // The disk became full while dpkg was running: its output says so, its exit code does not.
    said("preinst", Reason::InstallerFailed, &["greedy", "No space left on device", "status.logs"]),
    said(
        "noexec",
        Reason::NoExecutableDirectory,
        &["no directory of noexec", "/var/lib:noexec", "without noexec"],
    ),
    said("readonly", Reason::NoWritableDirectory, &["no directory of readonly", "/run:readonly", "writable"]),
    said("var", Reason::InstallerFailed, &["agent-var", "Read-only file system", "status.logs"]),
    said("riscv", Reason::ArchitectureNotSupported, &["riscv is Linux on riscv64", "x86_64", "spec.hold"]),
];
