//! Snapshots of the output of `farrier ports`.
//!
//! `UPDATE_EXPECT=1` rewrites the files; review the difference before committing it. The lab and a
//! cluster prove that a firewall and an API server accept the rules.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests and what they share: a panic is how a test fails"
)]

use farrier_network::table::{Actual, Generation, Need, needs, seed_needs};
use farrier_network::{Channel, Direction, MachineType, Phase};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const SITE: &str = "tests/ports/site.yaml";

/// The program, without environment variables that would influence it.
fn farrier(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farrier"));
    command.arg("ports").args(arguments).stdin(Stdio::null()).current_dir(env!("CARGO_MANIFEST_DIR"));
    for name in
        ["FARRIER_POD_SELECTOR", "FARRIER_POD_NAMESPACE", "FARRIER_CONSOLE_DIR", "KUBECONFIG", "RUST_LOG"]
    {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent").output().unwrap()
}

fn prints(arguments: &[&str]) -> String {
    let output = farrier(arguments);
    let (text, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && errors.is_empty(), "{arguments:?}: {errors}");
    text
}

/// Returns the error output of a call that must fail with exit code 1.
fn refuses(arguments: &[&str]) -> String {
    let output = farrier(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?} prints rules although it fails");
    String::from_utf8(output.stderr).unwrap()
}

/// Compares with a committed file; `UPDATE_EXPECT=1` writes it.
fn expect(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == text, "{path} is out of date; run: UPDATE_EXPECT=1 cargo test --test ports\n{text}");
}

/// The page that a network team reads before any machine exists.
#[test]
fn every_type_is_documented() {
    let mut page = String::from(
        "# Ports\n\n\
         What `farrier ports` prints for each type of machine; for machines of a site it also has their addresses.\n\
         `farrier ports --help` shows how to get it as nftables rules, as NetworkPolicies, or as JSON.\n\
         [What the JSON has](#json) is at the end.\n\
         63001 and 63002 are the ports that a run asks for; it may be given others, and `farrier ports --run NAME` prints those.\n\
         Between Farrier and a machine nothing else is needed, and nothing else is used.\n\
         An engine on channel Listen takes one of 62286 to 62289. If the run has `listen: {port: Random}`, it is one of 49152 to 65535: a firewall in between must let all of them through from Farrier to the machines. NetworkPolicies of the operator open four ports for each machine in either case.\n\
         A machine without an engine needs 63001 or 63002 only while it fetches an image from Farrier; `status.fetchesBy` of its NodeUpdate says by which protocol. Where Farrier sends the image, no port of Farrier is opened.\n\
         A run may turn on SFTP with SCP, or FTP, for machines that know neither HTTPS nor HTTP ([file-services.md](file-services.md)); their ports are printed for types of machines that can use them, if the run names them, and with `--sftp-port` and `--ftp-port`.\n\
         `--generation` prints what the manual of an older tool, HP SUM or SUM, lists instead; `farrier ports --help` has its values.\n",
    );
    for kind in MachineType::ALL {
        let channels = if kind.carries_engine() { &Channel::ALL[..] } else { &Channel::ALL[..1] };
        for channel in channels {
            let of = if kind.carries_engine() { format!(", channel {channel}") } else { String::new() };
            let text = prints(&["--type", &kind.to_string(), "--channel", &channel.to_string()]);
            writeln!(page, "\n## {kind}{of}\n\n```text\n{text}```").unwrap();
        }
    }
    let text = prints(&["--type", "FCSwitch", "--sftp-port", "63003", "--ftp-port", "63004"]);
    writeln!(
        page,
        "\n## FCSwitch, in a run with `sftpPort: 63003` and `ftpPort: 63004`\n\n```text\n{text}```"
    )
    .unwrap();
    page.push_str(JSON);
    expect("docs/ports.md", &page);
}

/// Documentation of the JSON that programs may rely on. The test below compares it with the output.
const JSON: &str = "
## JSON

`-o json` prints one object with `rows` and `notes`.
A row is one port or range that has to be open; what stays closed has none.

| field | is |
| --- | --- |
| `node` | name of the ManagedNode; the type where `--type` was asked for |
| `run` | name of its UpdateRun, or null |
| `type` | as in `spec.type` |
| `phases` | when it is needed: `Inventory`, `Deployment` |
| `direction` | who opens the connection: `toMachine` or `fromMachine` |
| `from`, `to` | addresses and names of the two ends; an empty list: not known, so any |
| `transport` | `TCP` or `UDP` |
| `port`, `endPort` | the first and the last port, on the side of `to` |
| `mayGoOn` | true: where all of these are taken, ports after `endPort` are used |
| `protocol` | what is spoken, such as `ssh` |
| `optional` | true: only devices without HTTPS need it |
| `reason` | what for, in words |
| `generation` | the generation that `--generation` names, or null |

`notes` has what else there is to know, in words: names that rules cannot hold, machines that are left out.
Fields may be added; those that are there stay.
";

/// A renamed field would break a network team's programs.
#[test]
fn json_has_the_fields_that_are_documented() {
    let documented: BTreeSet<&str> = JSON
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" | "))
        .flat_map(|(names, _)| names.split(", "))
        .map(|name| name.trim_matches('`'))
        .collect();
    for kind in MachineType::ALL {
        for row in rows(&["--type", &kind.to_string(), "--channel", "Callback"]) {
            let found: BTreeSet<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(found, documented, "{kind}");
        }
    }
}

/// If a rule is wider than it looks, or never matches, the output must say so.
#[test]
fn limitations_of_rules_are_noted() {
    let callback = ["--type", "Linux", "--channel", "Callback"];
    for (more, words) in [
        (
            &["--address", "fd00::7", "--from", "10.0.0.1"][..],
            "--from has no address of the machine's family",
        ),
        (&["--address", "fe80::1%mgmt0"], "fe80::1%mgmt0 is of one link only"),
        (&["--address", "db-01"], "db-01 is a name"),
    ] {
        for format in ["table", "nftables", "networkpolicy"] {
            let text = prints(&[&callback[..], more, &["-o", format]].concat());
            assert!(text.contains(words), "{more:?} as {format}: {text}");
        }
    }
    let text = prints(&[&callback[..], &["--address", "fd00::7", "--from", "fd00::1"]].concat());
    assert!(!text.contains("note:"), "{text}");
}

/// A whole site, in every format.
#[test]
fn a_site_in_every_format() {
    for (format, file) in [
        ("table", "site.txt"),
        ("json", "site.json"),
        ("nftables", "site.nft"),
        ("networkpolicy", "policy.yaml"),
    ] {
        let text = prints(&["-f", SITE, "--from", "10.0.9.4", "-o", format]);
        expect(&format!("tests/ports/{file}"), &text);
    }
}

fn rows(arguments: &[&str]) -> Vec<Value> {
    let text = prints(&[arguments, &["-o", "json"]].concat());
    let value: Value = serde_json::from_str(&text).unwrap();
    value["rows"].as_array().unwrap().clone()
}

/// Returns type, phase, direction and port of each row.
fn spoken(rows: &[Value]) -> BTreeSet<(String, String, String, u64)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    rows.iter()
        .flat_map(|row| {
            let phases = row["phases"].as_array().unwrap();
            let one = |phase: &Value| {
                (word(&row["type"]), word(phase), word(&row["direction"]), row["port"].as_u64().unwrap())
            };
            phases.iter().map(one).collect::<Vec<_>>()
        })
        .collect()
}

/// Returns the same from the table itself.
fn wanted(
    kinds: &[MachineType],
    needs: impl Fn(MachineType, Phase) -> Vec<Need>,
) -> BTreeSet<(String, String, String, u64)> {
    let mut all = BTreeSet::new();
    for (kind, phase) in kinds.iter().flat_map(|kind| Phase::ALL.map(|phase| (*kind, phase))) {
        for need in needs(kind, phase) {
            let way = if need.direction == Direction::ToTarget { "toMachine" } else { "fromMachine" };
            let port = need.port.resolve(&Actual::default()).first;
            all.insert((kind.to_string(), phase.to_string(), way.to_owned(), port.into()));
        }
    }
    all
}

/// The output agrees with the operator's own rules, for each type, channel and manual.
#[test]
fn the_output_agrees_with_the_table() {
    let rows_of = |kinds: &[MachineType], option: &str, value: &str| {
        let names: Vec<String> = kinds.iter().map(|kind| format!("--type={kind}")).collect();
        let mut arguments: Vec<&str> = names.iter().map(String::as_str).collect();
        arguments.extend([option, value]);
        spoken(&rows(&arguments))
    };
    for channel in Channel::ALL {
        let printed = rows_of(&MachineType::ALL, "--channel", &channel.to_string());
        assert_eq!(
            printed,
            wanted(&MachineType::ALL, |kind, phase| needs(kind, channel, phase)),
            "{channel}"
        );
    }
    for generation in Generation::ALL {
        let lists = |kind: &MachineType| seed_needs(*kind, generation, Phase::Inventory).is_ok();
        let (listed, others): (Vec<_>, Vec<_>) = MachineType::ALL.into_iter().partition(lists);
        let printed = rows_of(&listed, "--generation", generation.id());
        assert_eq!(printed, wanted(&listed, |kind, phase| seed_needs(kind, generation, phase).unwrap()));
        for kind in others {
            let said = refuses(&["--type", &kind.to_string(), "--generation", generation.id()]);
            assert!(said.contains(&format!("{generation} does not list {kind}")), "{said}");
        }
    }
}

/// Assigned ports, requested ports, and ports of the command line.
#[test]
fn ports_are_those_of_the_run() {
    let ways_back = |arguments: &[&str]| -> BTreeSet<u64> {
        let all = rows(arguments);
        let back = all.iter().filter(|row| row["direction"] == "fromMachine" && row["node"] == "db-01");
        back.map(|row| row["port"].as_u64().unwrap()).collect()
    };
    assert_eq!(ways_back(&["-f", SITE]), BTreeSet::from([63002, 63004]));
    assert_eq!(ways_back(&["-f", SITE, "--https-port", "443"]), BTreeSet::from([443]));
    let all = rows(&["-f", SITE]);
    let of = |node: &str, way: &str| {
        all.iter().find(|r| r["node"] == node && r["direction"] == way).unwrap().clone()
    };
    assert_eq!(of("db-03", "fromMachine")["to"], serde_json::json!(["10.9.0.4"]));
    assert_eq!(of("db-02", "toMachine")["port"], 2222);
    assert_eq!(
        of("db-02", "toMachine")["to"],
        serde_json::json!(["10.0.12.7"]),
        "IPv6 is left out of its families"
    );
}

/// Otherwise a firewall is opened for ports that a machine does not call, where something forwards others to the run.
#[test]
fn ports_that_are_forwarded_are_those_that_the_machine_calls() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.yaml");
    let called = |spec: &str, arguments: &[&str]| -> BTreeSet<(String, u64)> {
        let node = format!(
            "apiVersion: farrier.dev/v1alpha1\nkind: ManagedNode\nmetadata: {{name: n1, labels: {{a: b}}}}\n\
             spec: {{addresses: [192.0.2.7], credentialsRef: {{name: x}}, callbackAddress: 192.0.2.9, {spec}}}\n"
        );
        let sftp = if spec.contains("Switch") { "sftpPort: 63003" } else { "" };
        let run = format!(
            "apiVersion: farrier.dev/v1alpha1\nkind: UpdateRun\nmetadata: {{name: r1}}\n\
             spec: {{selector: {{}}, callback: {{{sftp}}}}}\n"
        );
        std::fs::write(&path, format!("{node}---\n{run}")).unwrap();
        let all = rows(&[&["-f", path.to_str().unwrap()], arguments].concat());
        let back = all.iter().filter(|row| row["direction"] == "fromMachine");
        back.map(|row| (row["protocol"].as_str().unwrap().to_owned(), row["port"].as_u64().unwrap()))
            .collect()
    };
    let ports = |expected: &[(&str, u64)]| -> BTreeSet<(String, u64)> {
        expected.iter().map(|(protocol, port)| ((*protocol).to_owned(), *port)).collect()
    };
    let both = "type: HPUX, callbackPort: 443, callbackHttpPort: 80";
    assert_eq!(called(both, &[]), ports(&[("https", 443), ("http", 80)]));
    assert_eq!(called(both, &["--http-port", "63011"]), ports(&[("https", 443), ("http", 80)]));
    assert_eq!(called("type: HPUX", &[]), ports(&[("https", 63002), ("http", 63001)]));
    assert_eq!(called("type: ILO, callbackPort: 8443", &[]), ports(&[("http", 8443)]));
    let of_switch = called("type: FCSwitch, callbackPort: 22", &[]);
    assert!(of_switch.contains(&("ssh".to_owned(), 22)), "{of_switch:?}");
    assert!(!of_switch.iter().any(|(_, port)| *port == 63003), "{of_switch:?}");
}

/// A firewall would be opened for an enclosure that is sent its images, or stay shut for one whose user has it fetch.
#[test]
fn a_machine_calls_if_its_user_has_it_fetch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.yaml");
    let called = |spec: &str| -> BTreeSet<u64> {
        let site = format!(
            "apiVersion: farrier.dev/v1alpha1\nkind: ManagedNode\nmetadata: {{name: n1, labels: {{a: b}}}}\n\
             spec: {{addresses: [192.0.2.7], credentialsRef: {{name: x}}, {spec}}}\n---\n\
             apiVersion: farrier.dev/v1alpha1\nkind: UpdateRun\nmetadata: {{name: r1}}\n\
             spec: {{selector: {{}}, callback: {{sftpPort: 63003, ftpPort: 63004}}}}\n"
        );
        std::fs::write(&path, site).unwrap();
        let all = rows(&["-f", path.to_str().unwrap()]);
        let back = all.iter().filter(|row| row["direction"] == "fromMachine");
        back.map(|row| row["port"].as_u64().unwrap()).collect()
    };
    for (spec, ports) in [
        ("type: OnboardAdministrator", &[][..]),
        ("type: OnboardAdministrator, handOver: Push", &[]),
        ("type: OnboardAdministrator, handOver: Pull", &[63004]),
        ("type: FCSwitch", &[63001, 63003, 63004]),
        ("type: ILO", &[63001, 63003, 63004]),
        ("type: ILO, handOver: Pull", &[63001, 63003, 63004]),
        ("type: ILO, handOver: Push", &[]),
        ("type: HPUX, handOver: Push", &[]),
    ] {
        assert_eq!(called(spec), ports.iter().copied().collect(), "{spec}");
    }
}

/// Otherwise a network team opens nothing for a device that the operator works by a product file of the user.
#[test]
fn products_of_the_user_count() {
    let dir = tempfile::tempdir().unwrap();
    let product = include_str!("../src/drivers/console/products/brocade-fos.yaml");
    let product = product.replacen("product: brocade-fos", "product: own-moonshot", 1);
    let product = product.replacen("types: [FCSwitch]", "types: [Moonshot]", 1);
    std::fs::write(dir.path().join("own.yaml"), product).unwrap();
    let has_sftp = |more: &[&str]| {
        let all = rows(&[&["--type", "Moonshot", "--sftp-port", "63003"], more].concat());
        all.iter().any(|row| row["port"] == 63003)
    };
    assert!(!has_sftp(&[]), "the product that is known fetches by no file service");
    assert!(has_sftp(&["--console-dir", dir.path().to_str().unwrap()]));
}

/// A network team would open too few ports for a device whose product file is with the operator only.
#[test]
fn a_product_that_is_not_known_here_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.yaml");
    let printed = |product: &str| {
        let site = format!(
            "apiVersion: farrier.dev/v1alpha1\nkind: ManagedNode\nmetadata: {{name: n1}}\n\
             spec: {{addresses: [192.0.2.7], credentialsRef: {{name: x}}, type: OnboardAdministrator, product: {product}}}\n---\n\
             apiVersion: farrier.dev/v1alpha1\nkind: UpdateRun\nmetadata: {{name: r1}}\n\
             spec: {{selector: {{}}, callback: {{sftpPort: 63003, ftpPort: 63004}}}}\n"
        );
        std::fs::write(&path, site).unwrap();
        let text = prints(&["-f", path.to_str().unwrap(), "-o", "json"]);
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let has = |printed: &Value, port: u16| {
        printed["rows"].as_array().unwrap().iter().any(|row| row["port"] == port)
    };
    let unknown = printed("acme");
    assert!(has(&unknown, 63003) && has(&unknown, 63004), "{unknown:#}");
    let notes = unknown["notes"].to_string();
    for words in ["there is no product `acme`", "--console-dir DIR", "spec.product of ManagedNode n1"] {
        assert!(notes.contains(words), "{words}: {notes}");
    }
    let known = printed("onboard-administrator");
    assert!(!has(&known, 63003) && !known["notes"].to_string().contains("product"), "{known:#}");
}

/// An excluded phase or address family must not appear in the output.
#[test]
fn excluded_phases_and_families_are_omitted() {
    let all = rows(&["-f", SITE, "--phase", "Inventory", "--family", "IPv6"]);
    assert!(!all.is_empty());
    for row in &all {
        assert_eq!(row["phases"], serde_json::json!(["Inventory"]));
        assert_eq!(row["node"], "db-01");
        assert_eq!(
            row["from"].as_array().unwrap().iter().filter(|ip| ip.as_str().unwrap().contains("10.")).count(),
            0
        );
    }
}

/// All user errors and their messages.
#[test]
fn user_errors_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let node = |name: &str, address: &str| {
        format!(
            "apiVersion: farrier.dev/v1alpha1\nkind: ManagedNode\nmetadata: {{name: {name}}}\n\
             spec: {{type: Linux, addresses: [{address:?}], credentialsRef: {{name: x}}}}\n"
        )
    };
    let says = |arguments: &[&str], wanted: &[&str]| {
        let said = refuses(arguments);
        for part in wanted {
            assert!(said.contains(part), "{arguments:?} says {said:?}, which lacks {part:?}");
        }
    };
    says(&["--type", "Toaster"], &["`Toaster` is no machine type", "Linux", "SuperdomeFlex"]);
    says(&["--type", "ILO", "--channel", "Radio"], &["--channel", "Session, Callback, Listen"]);
    says(&["--type", "ILO", "--generation", "8"], &["--generation", "psp_soap", "sum_ge_7_3_0"]);
    says(&["--type", "ILO", "--phase", "Lunch"], &["--phase", "Inventory, Deployment"]);
    says(&["--type", "ILO", "--family", "IPX"], &["--family", "IPv4, IPv6"]);
    says(&["--type", "ILO", "-o", "excel"], &["--output", "networkpolicy"]);
    says(&["--type", "ILO", "--address", "10.0.0"], &["--address", "neither an address nor a name"]);
    says(&["--type", "ILO", "-o", "nftables"], &["ILO", "--address"]);
    says(&["--type", "ILO", "--http-port", "63002"], &["63002", "--https-port"]);
    says(
        &["--type", "ILO", "--address", "10.0.0.1", "-o", "networkpolicy", "--pod-selector", "x"],
        &["--pod-selector"],
    );
    says(&["-f", "/nonexistent/site.yaml"], &["/nonexistent/site.yaml"]);
    says(&["-f", &file("none.yaml", "kind: Pod\n")], &["there is no ManagedNode"]);
    says(&["-f", &file("torn.yaml", "a: [")], &["torn.yaml", "YAML"]);
    says(
        &["-f", &file("type.yaml", &node("db-01", "10.0.0.1").replace("Linux", "Toaster"))],
        &["ManagedNode db-01", "Toaster"],
    );
    says(&["--node", "db-01"], &["cluster", "KUBECONFIG"]);
    let resolve = ["--type", "ILO", "--address", "no-such-host.invalid", "--resolve"];
    says(&resolve, &["no-such-host.invalid", "--resolve"]);
}

/// A ruleset is loaded as root: text from a YAML file must never become a rule.
#[test]
fn no_text_of_a_file_becomes_a_rule() {
    let dir = tempfile::tempdir().unwrap();
    for (name, address) in [
        ("db-01", "10.0.0.1\nflush ruleset"),
        ("db-01", "x; flush ruleset"),
        ("db-01", "fe80::1%eth0\nflush ruleset"),
        ("\"db-01\\nflush ruleset\"", "10.0.0.1"),
        ("'db-01\" accept; flush ruleset'", "10.0.0.1"),
    ] {
        let path = dir.path().join("site.yaml");
        let text = format!(
            "apiVersion: farrier.dev/v1alpha1\nkind: ManagedNode\nmetadata: {{name: {name}}}\n\
             spec: {{type: Linux, addresses: [{address:?}], credentialsRef: {{name: x}}}}\n"
        );
        std::fs::write(&path, text).unwrap();
        let said = refuses(&["-f", path.to_str().unwrap(), "-o", "nftables"]);
        assert!(said.contains("name"), "{said}");
    }
}

/// The port of a file service would be opened for machines that cannot use it.
#[test]
fn a_file_service_is_printed_for_machines_that_use_it() {
    for (kind, expected) in [
        ("FCSwitch", [true, true]),
        ("OnboardAdministrator", [false, true]),
        ("SuperdomeX", [true, false]),
        ("Moonshot", [false, false]),
        ("ILO", [true, true]),
    ] {
        let text = prints(&["--type", kind, "--sftp-port", "63003", "--ftp-port", "63014"]);
        assert_eq!(["63003", "63014"].map(|port| text.contains(port)), expected, "{kind}:\n{text}");
    }
}
