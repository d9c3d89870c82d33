//! Releases of Debian before and after the one that other tests use, booted by systemd. The release is a part of a
//! test's name, by which `hack/check.d/80-lab` builds what its machines boot from.

use crate::callback::channel;
use crate::harness::payload::{Component, agent, bmc_tool, deb};
use crate::harness::run::{component, to};
use crate::harness::snapshot::{self, Allowed};
use crate::harness::{Conditions, Machine, Site, e2e, outcome, wait};
use crate::reboot::{firmware, rebooting, went_well};
use farrier::api::managed_node::Channel;
use futures::future::join_all;
use serde_json::json;

/// What systemd itself writes while it runs.
const SYSTEMD: Allowed<'static> = &["/run", "/var/log/journal"];

/// Machines whose glibc, dpkg and systemd are older than those that Farrier was made with could not be updated, or
/// would get a package that does not run on them.
#[test]
fn machines_with_debian11_are_updated_on_every_channel() {
    e2e("debian11", async |site| {
        let fleet = Fleet::up(site, "debian11").await;
        fleet.is_updated("11", &[agent("2.0"), bmc_tool("2.0")], &[]).await;
        site.baseline("summer", &[deb("hello", "2.10-3")]).await;
        let run = site.run("r2", to("summer")).await;
        run.fails().await;
        let update = run.node("session").await;
        let hello = component(&update, "hello");
        assert_eq!(hello.outcome, "DependencyMissing", "{}", hello.message);
        assert!(hello.message.contains("libc6"), "{}", hello.message);
        let installed = fleet.machines[0].sh("dpkg-query -W hello 2>/dev/null || echo none").await;
        assert_eq!(installed.trim(), "none");
    });
}

/// The same for machines that are newer.
#[test]
fn machines_with_debian13_are_updated_on_every_channel() {
    e2e("debian13", async |site| {
        let fleet = Fleet::up(site, "debian13").await;
        fleet
            .is_updated("13", &[agent("2.0"), bmc_tool("2.0"), deb("hello", "2.10-3")], snapshot::HELLO)
            .await;
    });
}

/// A newer systemd would not start the engine again, or a newer SSH server would take the operator's attempts to
/// connect during a reboot for an attack.
#[test]
fn a_machine_with_debian13_is_rebooted_and_its_engine_goes_on() {
    e2e("again13", async |site| {
        let options = ["--flavour", "debian13", "--boot-delay", "5"];
        let db = site.machine("db").lab(&options).up().await;
        db.is_booted().await;
        site.baseline("spring", &[firmware(site)]).await;
        let run = site.run("r1", rebooting(&json!({"message": "new firmware"}))).await;
        wait::closely("the request", || db.journals().contains("\"rebootRequested\"")).await;
        let update = went_well(&run, &db).await;
        let bios = component(&update, "bios");
        assert_eq!((bios.before.as_str(), bios.after.as_str()), ("1.0", "2.0"), "the second inventory");
        assert_eq!(update.reason("Rebooted"), "Rebooted", "{}", update.words("Rebooted"));
        assert_eq!(update.status.as_ref().and_then(|status| status.attempt), Some(1));
        db.is_clean().await;
        let units = db.sh("systemctl list-units --all --plain --no-legend 'farrier*'").await;
        assert_eq!(units.trim(), "");
    });
}

/// Three machines, one for each channel.
struct Fleet<'a> {
    site: &'a Site,
    machines: Vec<Machine>,
}

impl<'a> Fleet<'a> {
    async fn up(site: &'a Site, flavour: &str) -> Self {
        let machine = |name: &str, user: &str, channel: &str| {
            let builder = site.machine(name).lab(&["--flavour", flavour, "--disk", "1g"]).login(user);
            builder.spec(json!({"channel": channel})).up()
        };
        let machines = [
            machine("session", "root", "Session"),
            machine("call", "ops", "Callback"),
            machine("listen", "root", "Listen"),
        ];
        let machines = join_all(machines).await;
        for machine in &machines {
            machine.is_booted().await;
            // The service managers of these users start at the first sign-in, and would end at some time after it.
            machine.sh("loginctl enable-linger root && loginctl enable-linger ops").await;
            machine.is_booted().await;
        }
        Self { site, machines }
    }

    /// Brings the machines to these components, and checks everything that does not depend on the release.
    async fn is_updated(&self, release: &str, components: &[Component], allowed: Allowed<'_>) {
        let before = snapshot::of_all(&self.machines).await;
        self.site.baseline("spring", components).await;
        let run = self.site.run("r1", to("spring")).await;
        run.succeeds().await;
        let after = snapshot::of_all(&self.machines).await;
        for (n, expected) in [Channel::Session, Channel::Callback, Channel::Listen].into_iter().enumerate() {
            let name = &self.machines[n].name;
            let update = run.node(name).await;
            for Component(value) in components {
                let component = value["name"].as_str().expect("a name");
                assert_eq!(outcome(&update, component), "Updated", "{name}: {component}");
            }
            let agent = component(&update, "farrier-agent");
            assert_eq!((agent.before.as_str(), agent.after.as_str()), ("1.0", "2.0"), "{name}");
            assert_eq!(channel(&run, name).await, Some(expected), "{name}");
            assert_eq!(update.state("TornDown"), "True", "{name}: {}", update.words("TornDown"));
            before[n].same_but(
                &after[n],
                &[allowed, SYSTEMD, snapshot::LOG, snapshot::DPKG, snapshot::AGENT, snapshot::BMC_TOOL],
            );
            let os = self.site.node(name).await.status.and_then(|status| status.os).unwrap_or_default();
            assert!(os.contains(release), "{name}: {os}");
        }
    }
}
