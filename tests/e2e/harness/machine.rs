//! Machines of the lab: tests create them, inspect them, and make them fail.

use super::site::Site;
use super::snapshot::Snapshot;
use super::{lab, payload, wait};
use farrier::api::ManagedNode;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The address in the ManagedNode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The IPv4 address, or the IPv6 address if there is no IPv4 address.
    Any,
    /// The link-local address with its zone.
    LinkLocal,
    /// The name, which resolves to all addresses.
    Name,
}

/// A machine that is to be created.
#[must_use]
pub(crate) struct Builder<'a> {
    site: &'a Site,
    name: String,
    options: Vec<String>,
    reach: Reach,
    secret: BTreeMap<String, String>,
    spec: Vec<Value>,
    labels: BTreeMap<String, String>,
}

/// A machine that runs and has a ManagedNode.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Name of the ManagedNode.
    pub(crate) name: String,
    /// Name in the lab, and host name.
    pub(crate) host: String,
    /// Its IPv4 address.
    pub(crate) v4: Option<String>,
    /// Its IPv6 address.
    pub(crate) v6: Option<String>,
    /// Its link-local address with zone.
    pub(crate) link_local: Option<String>,
    /// Its host key, type and base64.
    pub(crate) host_key: String,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(site: &'a Site, name: &str) -> Self {
        let builder = Self {
            site,
            name: name.to_owned(),
            options: Vec::new(),
            reach: Reach::Any,
            secret: BTreeMap::new(),
            spec: Vec::new(),
            labels: BTreeMap::new(),
        };
        builder.login("root")
    }

    /// Adds options of `labctl add`.
    pub(crate) fn lab(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|&o| o.to_owned()));
        self
    }

    /// Signs in as this user of the image by its password, and uses sudo unless the user is root.
    pub(crate) fn login(self, user: &str) -> Self {
        let privilege = if user == "root" { "None" } else { "Sudo" };
        self.secret("username", user)
            .secret("password", &format!("{user}-secret"))
            .spec(json!({"ssh": {"privilege": privilege}}))
    }

    /// Signs in as this user by a key of the image instead of a password.
    pub(crate) fn key(self, user: &str, key: &str) -> Self {
        self.login(user).without("password").secret("ssh-privatekey", &lab::key(key))
    }

    /// Sets a key of the Secret.
    pub(crate) fn secret(mut self, key: &str, value: &str) -> Self {
        self.secret.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Removes a key from the Secret.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.secret.remove(key);
        self
    }

    /// Sets the address in the ManagedNode.
    pub(crate) fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// Adds a JSON merge patch of the ManagedNode's spec, which is applied last: null removes a field.
    pub(crate) fn spec(mut self, patch: Value) -> Self {
        self.spec.push(patch);
        self
    }

    /// Adds a label to the ManagedNode. Every ManagedNode has the label `name`.
    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Starts the machine, and creates its Secret and its ManagedNode.
    pub(crate) async fn up(self) -> Machine {
        let host = format!("{}-{}", self.site.name, self.name);
        self.site.expect_machine(&host);
        let mut args = vec!["add", host.as_str()];
        args.extend(self.options.iter().map(String::as_str));
        lab::output("labctl", args).await;
        self.manage(host).await
    }

    /// Starts `count` machines at the same time, with the names NAME-001, NAME-002 and so on.
    pub(crate) async fn up_many(self, count: usize) -> Vec<Machine> {
        let prefix = format!("{}-{}", self.site.name, self.name);
        let names: Vec<String> = (1..=count).map(|n| format!("{prefix}-{n:03}")).collect();
        for name in &names {
            self.site.expect_machine(name);
        }
        let count = count.to_string();
        let mut args = vec!["add-many", prefix.as_str(), count.as_str()];
        args.extend(self.options.iter().map(String::as_str));
        lab::output("labctl", args).await;
        let own = self.site.name.len() + 1;
        let mut machines = Vec::new();
        for host in names {
            let one = Builder { name: host[own..].to_owned(), ..self.again() };
            machines.push(one.manage(host).await);
        }
        machines
    }

    fn again(&self) -> Self {
        Self {
            site: self.site,
            name: self.name.clone(),
            options: self.options.clone(),
            reach: self.reach,
            secret: self.secret.clone(),
            spec: self.spec.clone(),
            labels: self.labels.clone(),
        }
    }

    async fn manage(self, host: String) -> Machine {
        let machine = Machine::find(&self.name, &host).await;
        self.site.arrived(&machine);
        let secret: Vec<(&str, &str)> = self.secret.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        self.site.secret(&self.name, &secret).await;
        let mut spec = json!({
            "type": "Linux",
            "addresses": [machine.address(self.reach)],
            "credentialsRef": {"name": self.name},
            "ssh": {"hostKeys": [machine.host_key]},
        });
        self.spec.into_iter().for_each(|patch| payload::merge(&mut spec, patch));
        let mut labels: Map<String, Value> =
            self.labels.into_iter().map(|(k, v)| (k, Value::String(v))).collect();
        labels.insert("name".into(), json!(self.name));
        let node = json!({
            "apiVersion": "farrier.dev/v1alpha1",
            "kind": "ManagedNode",
            "metadata": {"name": self.name, "labels": labels},
            "spec": spec,
        });
        self.site.create::<ManagedNode>(&node).await.expect("a ManagedNode that the API server accepts");
        machine
    }
}

impl Machine {
    async fn find(name: &str, host: &str) -> Self {
        let shown = lab::output("labctl", ["show", host]).await;
        let shown: Value = serde_json::from_str(&shown).expect("JSON of labctl show");
        let text = |key: &str| shown[key].as_str().map(str::to_owned);
        Self {
            name: name.to_owned(),
            host: host.to_owned(),
            v4: text("v4"),
            v6: text("v6"),
            link_local: text("linkLocal"),
            host_key: text("hostKey").expect("a host key"),
        }
    }

    fn address(&self, reach: Reach) -> String {
        let found = match reach {
            Reach::Any => self.v4.clone().or_else(|| self.v6.clone()),
            Reach::LinkLocal => self.link_local.clone(),
            Reach::Name => Some(self.host.clone()),
        };
        found.unwrap_or_else(|| panic!("{} has no address for {reach:?}", self.host))
    }

    /// Runs a command of labctl that takes a name: crash, boot, reboot, freeze, thaw, unplug, plug, …
    pub(crate) async fn labctl(&self, command: &str) -> String {
        lab::output("labctl", [command, &self.host]).await
    }

    /// Runs a command of labctl that takes a name and more.
    pub(crate) async fn labctl_with(&self, command: &str, more: &[&str]) -> String {
        lab::output("labctl", [&[command, &self.host], more].concat()).await
    }

    /// Returns how many bytes have reached the machine over its network, with all headers.
    pub(crate) async fn received(&self) -> u64 {
        self.labctl("received").await.trim().parse().expect("a number of labctl received")
    }

    /// Runs a shell script as root on the machine. Panics if the script fails.
    pub(crate) async fn sh(&self, script: &str) -> String {
        lab::output("labctl", ["exec", &self.host, "--", "/bin/sh", "-euc", script]).await
    }

    /// Takes a snapshot of the machine.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.labctl("snapshot").await)
    }

    /// Returns the text of a file that was written to the machine's disk, also while the machine is off.
    pub(crate) fn file(&self, path: &str) -> Option<String> {
        self.bytes(path).and_then(|bytes| String::from_utf8(bytes).ok())
    }

    /// Returns the bytes of such a file.
    pub(crate) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let disk = lab::dir().join("m").join(&self.host).join("disk/up");
        std::fs::read(disk.join(path.trim_start_matches('/'))).ok()
    }

    /// Returns how often slow.sh was started.
    pub(crate) fn slow_runs(&self) -> usize {
        self.file("/var/log/slow.runs").map_or(0, |text| text.lines().count())
    }

    /// Waits until slow.sh was started.
    pub(crate) async fn is_slow(&self) {
        wait::until("slow.sh to be started", wait::LIMIT, async || match self.slow_runs() {
            0 => Err(format!("it was not started on {}", self.host)),
            _ => Ok(()),
        })
        .await;
    }

    /// Waits until systemd has started everything.
    pub(crate) async fn is_booted(&self) {
        self.sh("systemctl is-system-running --wait || systemctl --failed --no-legend").await;
    }

    /// Lets the component of [`Site::held`] finish.
    pub(crate) async fn release_steps(&self) {
        self.sh("touch /run/let-go").await;
    }

    /// Returns the journals of all engines, one after the other.
    pub(crate) fn journals(&self) -> String {
        let logs = lab::dir().join("m").join(&self.host).join("disk/up/var/log/farrier");
        let runs = std::fs::read_dir(logs).into_iter().flatten().flatten();
        let files = runs.filter_map(|run| std::fs::read_dir(run.path()).ok()).flatten().flatten();
        files
            .filter(|file| file.file_name().to_string_lossy().starts_with("journal-"))
            .map(|file| String::from_utf8_lossy(&std::fs::read(file.path()).unwrap_or_default()).into_owned())
            .collect()
    }

    /// Removes what engines have left on the disk, while the machine is off: as if it had been in memory.
    pub(crate) fn forget(&self) {
        let disk = lab::dir().join("m").join(&self.host).join("disk/up/var");
        assert_eq!(self.processes(), [], "{} is off", self.name);
        std::fs::remove_dir_all(disk.join("log/farrier")).expect("the journals");
        for entry in std::fs::read_dir(disk.join("lib")).expect("/var/lib").flatten() {
            if entry.file_name().to_string_lossy().starts_with("farrier-") {
                std::fs::remove_dir_all(entry.path()).expect("the directory of an engine");
            }
        }
    }

    /// Returns the process ID of the machine's first process on this host; `None` while the machine is off.
    pub(crate) fn init(&self) -> Option<u32> {
        let file = lab::dir().join("m").join(&self.host).join("pid");
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    }

    /// Returns how often the machine was switched on or rebooted.
    pub(crate) fn boots(&self) -> usize {
        let file = lab::dir().join("m").join(&self.host).join("boots");
        std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
    }

    /// Returns all processes: process ID on this host, and arguments.
    pub(crate) fn processes(&self) -> Vec<(u32, Vec<String>)> {
        let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(own) = self.init().and_then(namespace) else { return Vec::new() };
        let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|&pid| namespace(pid).as_ref() == Some(&own))
            .filter_map(|pid| Some((pid, std::fs::read(format!("/proc/{pid}/cmdline")).ok()?)))
            .map(|(pid, line)| (pid, String::from_utf8_lossy(&line).split('\0').map(str::to_owned).collect()))
            .collect()
    }

    /// Returns the process IDs, on this host, of the engines that are running.
    pub(crate) fn engines(&self) -> Vec<u32> {
        let is_engine = |args: &[String]| args.iter().take(2).eq(["farrier-engine", "run"]);
        self.processes().into_iter().filter(|(_, args)| is_engine(args)).map(|(pid, _)| pid).collect()
    }

    /// Waits until an engine is running, and returns its process ID.
    pub(crate) async fn engine(&self) -> u32 {
        wait::until("an engine on the machine", wait::LIMIT, async || {
            self.engines().first().copied().ok_or_else(|| format!("none on {}", self.host))
        })
        .await
    }

    /// Returns everything that Farrier has on the machine, except logs: paths, processes, sockets.
    pub(crate) fn traces(&self) -> Vec<String> {
        let Some(init) = self.init() else { return Vec::new() };
        let mut found = Vec::new();
        for place in [
            "var/lib",
            "var/tmp",
            "tmp",
            "run",
            "dev/shm",
            "root",
            "home",
            "etc",
            "etc/cron.d",
            "etc/local.d",
            "etc/systemd/system",
            "etc/systemd/system/multi-user.target.wants",
            "etc/systemd/system/timers.target.wants",
            "",
        ] {
            let dir = PathBuf::from(format!("/proc/{init}/root/{place}"));
            let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name());
            let ours = names.filter(|n| n.to_string_lossy().starts_with("farrier"));
            found.extend(ours.map(|name| format!("/{place}/{}", name.to_string_lossy())));
        }
        let ours = |args: &[String]| {
            args.iter()
                .any(|a| a == "farrier-engine" || a.contains("/farrier-") || a.contains("farrier-ready"))
        };
        let processes = self.processes().into_iter().filter(|(_, args)| ours(args));
        found.extend(processes.map(|(pid, args)| format!("process {pid}: {}", args.join(" "))));
        let sockets = std::fs::read_to_string(format!("/proc/{init}/net/unix")).unwrap_or_default();
        let ours = sockets.lines().filter(|line| line.contains("/farrier-"));
        found.extend(ours.map(|line| format!("socket {line}")));
        found
    }

    /// Waits until nothing of Farrier is on the machine.
    pub(crate) async fn is_clean(&self) {
        wait::until("a clean machine", std::time::Duration::from_secs(5), async || {
            let traces = self.traces();
            if traces.is_empty() { Ok(()) } else { Err(format!("{} has {traces:#?}", self.host)) }
        })
        .await;
    }
}
