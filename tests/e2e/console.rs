//! Devices with a command line, with doubles of vendors' products in namespaces of their own.

mod fetched;
mod refusals;
mod through;
mod updates;

use crate::harness::console::Console;
use crate::harness::payload::{Component, of_bytes};
use crate::harness::run::to;
use crate::harness::{Conditions, Run, Site};
use farrier_console_double::image::Header;
use farrier_console_double::{Config, Product, Settings};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

/// A product: the name of its double, the type of machine, the part and the entry with its version, and a new version.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    product: &'static str,
    type_: &'static str,
    part: &'static str,
    entry: &'static str,
    pub(crate) version: &'static str,
}

/// A switch with Fabric OS, whose images are folders that it fetches by SFTP, SCP or FTP, from port 22 or 21.
pub(crate) const FOS: Kind =
    Kind { product: "fos", type_: "FCSwitch", part: "fos", entry: "Fabric OS", version: "v8.2.3c" };

/// A switch of a blade enclosure, which fetches by HTTP.
pub(crate) const SAS: Kind = Kind {
    product: "sas-switch",
    type_: "SASSwitch",
    part: "sas-switch",
    entry: "SAS switch",
    version: "2.3.0.0",
};

/// An enclosure's Onboard Administrator, which is sent its image unless its user has it fetch it.
pub(crate) const OA: Kind = Kind {
    product: "oa",
    type_: "OnboardAdministrator",
    part: "oa-1",
    entry: "Onboard Administrator",
    version: "4.99",
};

/// Taken by whoever needs the one port that switches look at, of which a lab has one.
static PORT: Mutex<()> = Mutex::const_new(());

/// The port is this test's until the guard is dropped.
pub(crate) async fn port() -> MutexGuard<'static, ()> {
    PORT.lock().await
}

/// A double of this product that takes little time.
fn config(product: &str) -> Config {
    let mut config = Config::new(Product::named(product).expect("a product"));
    config.settings =
        Settings { flash_ms: 1000, reboot_ms: 1000, commit_ms: 500, tree: true, ..Settings::default() };
    config
}

impl Kind {
    /// Starts a double of it.
    pub(crate) async fn up(self, site: &Site, name: &str, spec: Value) -> Console {
        Console::up(site, name, self.type_, config(self.product), spec).await
    }

    /// Starts a double that `change` makes a special one.
    pub(crate) async fn up_as(self, site: &Site, name: &str, change: impl FnOnce(&mut Config)) -> Console {
        let mut config = config(self.product);
        change(&mut config);
        Console::up(site, name, self.type_, config, json!({})).await
    }

    /// A component with this image, for machines of the type.
    pub(crate) fn component(self, site: &Site, name: &str, header: &Header) -> Component {
        let bytes = header.to_file();
        let (file, bytes, unpack) = if self.product == "fos" {
            (format!("{name}.tar"), folder(site, name, &bytes), json!(true))
        } else {
            (format!("{name}.bin"), bytes, Value::Null)
        };
        std::fs::write(site.path("payloads").join(&file), &bytes).expect("a payload");
        of_bytes(name, &header.version, "DeviceImage", &file, &bytes).with(json!({
            "appliesTo": {"types": [self.type_]},
            "detect": {"firmware": self.entry},
            "payload": {"unpack": unpack},
            "timeout": "2m",
            "interruptible": true,
        }))
    }

    /// An image that its double takes.
    pub(crate) fn image(self) -> Header {
        Header { payload_bytes: 100_000, ..Header::new(self.product, self.version) }
    }
}

/// An archive with the folder that a switch with Fabric OS fetches: its packages, and the list of them.
fn folder(site: &Site, name: &str, image: &[u8]) -> Vec<u8> {
    let dir = site.path(&format!("{name}-folder"));
    std::fs::create_dir(&dir).expect("a folder");
    let mut list = String::new();
    for (number, package) in image.chunks(image.len().div_ceil(3)).enumerate() {
        let file = format!("package-{number}.rpm");
        std::fs::write(dir.join(&file), package).expect("a package");
        list = list + &file + "\n";
    }
    std::fs::write(dir.join("release.plist"), list).expect("a list");
    let tar = std::process::Command::new("tar").arg("-C").arg(&dir).args(["-cf", "-", "."]).output();
    tar.expect("tar").stdout
}

/// A run to this baseline, for the machines with this label.
pub(crate) fn spec(baseline: &str) -> Value {
    let mut spec = to(baseline);
    spec["strategy"] = json!({"maxConcurrent": 20, "retries": 0});
    spec["reboot"] = json!({"policy": "Always"});
    spec["callback"] = json!({"sftpPort": 22});
    spec["order"] = json!("None");
    spec
}

/// What every NodeUpdate of a device must say at its end.
pub(crate) async fn is_over(run: &Run<'_>, console: &Console) {
    let update = run.node(&console.name).await;
    assert_eq!(console.sessions(), 0, "{}: no session is left", console.name);
    assert_eq!(update.state("TornDown"), "True", "{}: {}", console.name, update.words("TornDown"));
    let shown = json!(update).to_string();
    assert!(!shown.contains("password\""), "{}: {shown}", console.name);
    assert_eq!(update.status.expect("a status").leases, 0, "{}", console.name);
}
