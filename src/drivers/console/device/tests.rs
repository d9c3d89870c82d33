//! What the driver makes of a device that it has sent a command to, with the double of a switch.

use super::*;
use crate::callback::Registry;
use crate::drivers::console::dialogue::End;
use crate::drivers::console::file::Stage as Standing;
use crate::drivers::console::{lint, products::FILES};
use crate::drivers::device::Device as _;
use crate::drivers::{HttpsSettings, Keys, Node, Privilege, SshSettings};
use crate::engines::Engines;
use crate::payload::Store;
use crate::ssh::{Algorithms, Family};
use crate::tls::Trust;
use farrier_console_double::{Config, Double, Product as Doubled, Settings as DoubledSettings};
use farrier_update::device::{Progress, State};
use farrier_update::{AppliesTo, Millis, Needs, RebootNeed};
use regex::Regex;
use std::time::Duration;

/// The version that the double has.
const OLD: &str = "v7.4.2";

/// The entry of an enclosure's modules.
const OA: &str = "Onboard Administrator";

/// A switch, and the driver of it.
async fn switch(change: impl FnOnce(&mut Product)) -> (Double, Device) {
    let (double, device) = device("fos", "brocade-fos", "Fabric OS", change).await;
    double.set_version("fos", OLD).unwrap();
    (double, device)
}

/// A double, and the driver of it by this product file, for a component that is this entry.
async fn device(
    double: &str,
    file: &str,
    entry: &str,
    change: impl FnOnce(&mut Product),
) -> (Double, Device) {
    let double = Double::start(Config::new(Doubled::named(double).unwrap())).await.unwrap();
    let text = FILES.iter().find(|(name, _)| *name == file).unwrap().1;
    let mut product = lint::read(text).unwrap();
    product.session.settle = Duration::from_millis(100);
    change(&mut product);
    let node = Node {
        name: "fc-1".to_owned(),
        type_: product.types[0],
        product: None,
        addresses: vec!["127.0.0.1".to_owned()],
        families: vec![Family::V4],
        ssh: SshSettings {
            port: double.ssh().port(),
            host_keys: double.host_keys().to_vec(),
            trust_first: false,
            algorithms: Algorithms::Current,
            privilege: Privilege::None,
        },
        https: HttpsSettings { port: 443, trust: Trust::default() },
        hand_over: None,
    };
    let data = [("username", "admin"), ("password", "password")];
    let data = data.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
    let limits = usual_limits(&product);
    let settings = Settings::new(&node, &Keys { name: "login".into(), data }, None, product, limits).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let tools = Tools {
        engines: Engines::none(),
        store: Store::open(dir.path(), None).unwrap(),
        metrics: Metrics::new(),
        calls: Registry::new(),
        logs: None,
    };
    let first = Job::first("0b3ee0c4", "r1", &node.name, node.type_, Goal::Update);
    let components = vec![Component { firmware: Some(entry.into()), ..component() }];
    let job = Job { components, ..first };
    (double, Device::new(&Arc::new(settings), &job, &tools).unwrap())
}

fn component() -> Component {
    Component {
        name: "firmware".into(),
        version: OLD.into(),
        applies_to: AppliesTo::default(),
        installer: InstallerKind::DeviceImage,
        detect: None,
        firmware: None,
        payload: None,
        requires: Vec::new(),
        needs: Needs::default(),
        reboot: RebootNeed::IfRequested,
        interruptible: true,
        timeout: Duration::from_mins(1),
    }
}

/// A download of this version that has begun.
fn download(to: &str) -> Action {
    let intent = Intent {
        id: ActionId(7),
        verb: Verb::Pull,
        component: "firmware".into(),
        of: None,
        follows: OLD.into(),
        to: to.into(),
        boot: String::new(),
        members: Vec::new(),
        until: None,
    };
    let ticket = Some(Ticket("action 7".into()));
    Action { state: State::Begun, ticket, ..intent.into_action("kit".into(), Millis(0)) }
}

async fn follows(device: &mut Device, action: &Action) -> Report {
    device.note_actions(std::slice::from_ref(action));
    device.follow(action.ticket.as_ref().unwrap()).await.unwrap()
}

/// A switch that shows the end of an earlier download would count as written again, before anything was written.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_version_needs_more_than_the_end_of_earlier_work() {
    let (_double, mut device) = switch(|fos| {
        let work = fos.work.as_mut().unwrap();
        work.states = vec![(Regex::new("(?i)firmwaredownload").unwrap(), Standing::Done)];
    })
    .await;
    let again = download(OLD);
    let report = follows(&mut device, &again).await;
    assert_eq!(report.progress, Progress::Running, "{report:?}");
    assert!(report.words.contains("cannot be told"), "{report:?}");
    device.worked.insert(again.id);
    assert_eq!(follows(&mut device, &again).await.progress, Progress::Done, "it was seen at work");
    device.worked.clear();
    assert_eq!(
        follows(&mut device, &download("v8.2.3c")).await.progress,
        Progress::Done,
        "the version tells"
    );
}

/// A device that restarts in silence after our yes would count as one that has refused.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_answered_question_the_version_decides() {
    let (double, mut device) = switch(|fos| fos.work = None).await;
    let said = Said {
        end: End::Prompt("admin".into()),
        lines: vec!["Proceeding".into()],
        refused: None,
        missing: None,
        answered: true,
        signed_in: false,
        accepted: false,
        percent: None,
    };
    let new = download("v8.2.3c");
    device.running = Some(Running { action: new.id, stage: Stage::Over(said) });
    let report = follows(&mut device, &new).await;
    assert_eq!(report.progress, Progress::Running, "{report:?}");
    assert!(report.words.contains("Proceeding"), "the user sees what it said: {report:?}");
    double.set_version("fos", "v8.2.3c").unwrap();
    assert_eq!(follows(&mut device, &new).await.progress, Progress::Done);
}

/// A runner that takes over would send an image again that the device has, or give the update up.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_another_attempt_is_there_and_is_sent_again_before_it_is_installed() {
    let (_double, mut device) = device("oa", "onboard-administrator", OA, |_| {}).await;
    let upload = Action { verb: Verb::Upload, ticket: Some(Ticket("7.img".into())), ..download("") };
    assert_eq!(follows(&mut device, &upload).await.progress, Progress::Done);
    assert!(device.is_to_send_again(Verb::Activate, "firmware"), "nobody knows whether it has it still");
    device.sent.insert("firmware".into(), Ticket("8.img".into()));
    assert!(!device.is_to_send_again(Verb::Activate, "firmware"));
}

/// A runner that takes over after the line was lost would believe a pair to be updated of which one module is away: it
/// has read the device only since then, and nothing has answered the command.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_knows_what_was_there_before_a_command_that_nobody_answered() {
    let (double, mut device) = device("oa", "onboard-administrator", OA, |_| {}).await;
    device.components[0].version = "4.99".into();
    let before = device.read(&[], |_| {}).await.unwrap().inventory;
    let members = before.entries[OA].members.clone();
    assert_eq!(members, ["Onboard Administrator bay 1", "Onboard Administrator bay 2"]);
    let sent = Action { state: State::Intended, ticket: None, members, ..download("4.99") };
    for part in ["oa-1", "oa-2"] {
        double.set_version(part, "4.99").unwrap();
    }
    double.set(DoubledSettings { standby: false, ..double.settings() });
    let read = device.read(std::slice::from_ref(&sent), |_| {}).await.unwrap();
    assert_eq!(read.inventory.entries[OA].version, "", "what is not everywhere is not installed");
    assert_eq!(read.survey.firmware[0].health, "Onboard Administrator bay 2 does not show");
    double.set(DoubledSettings { standby: true, ..double.settings() });
    let read = device.read(&[sent], |_| {}).await.unwrap();
    assert_eq!(read.inventory.entries[OA].version, "4.99");
}

/// An update that was under way when the operator was upgraded would be given up, although the device goes on: the
/// record of an earlier Farrier has the modules in the name of the work.
#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_an_earlier_version_is_followed() {
    let (double, mut device) = device("oa", "onboard-administrator", OA, |_| {}).await;
    device.components[0].version = "4.99".into();
    let earlier: Action = serde_json::from_value(serde_json::json!({
        "id": 7,
        "verb": "Activate",
        "component": "firmware",
        "state": "Begun",
        "follows": "4.60",
        "to": "4.99",
        "ticket": "action 7 of Onboard Administrator bay 1, Onboard Administrator bay 2",
        "by": "farrier-0",
        "at": 0,
    }))
    .unwrap();
    assert_eq!(follows(&mut device, &earlier).await.progress, Progress::Running);
    double.set_version("oa-1", "4.99").unwrap();
    double.set(DoubledSettings { standby: false, ..double.settings() });
    let alone = follows(&mut device, &earlier).await;
    assert_eq!(alone.progress, Progress::Running, "{alone:?}");
    assert!(alone.words.contains("Onboard Administrator bay 2 does not show"), "{alone:?}");
    double.set_version("oa-2", "4.99").unwrap();
    double.set(DoubledSettings { standby: true, ..double.settings() });
    assert_eq!(follows(&mut device, &earlier).await.progress, Progress::Done);
}

/// A director of which one control processor is not there, or has failed, would look like one that is well.
#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_says_which_part_is_missing() {
    let (double, mut device) = device("fos-director", "brocade-fos", "Fabric OS", |_| {}).await;
    let parts =
        |read: Reading| read.survey.parts.unwrap().map_err(|failure| (failure.reason, failure.message));
    assert_eq!(parts(device.read(&[], |_| {}).await.unwrap()), Ok(()));
    double.set(DoubledSettings { standby: false, ..double.settings() });
    let (reason, message) = parts(device.read(&[], |_| {}).await.unwrap()).unwrap_err();
    assert_eq!(reason, Reason::DeviceUnavailable);
    assert!(message.contains("Remote CP (Slot 7, CP1): Non-Redundant; "), "{message}");
    double.set(DoubledSettings { standby: true, ..double.settings() });
    let unwell = farrier_console_double::fault::Fault::PartnerUnhealthy;
    double.arm(farrier_console_double::fault::Armed::always(unwell)).unwrap();
    let (_, message) = parts(device.read(&[], |_| {}).await.unwrap()).unwrap_err();
    assert!(
        message.contains("the standby control processor") && message.contains("Standby, Failed"),
        "{message}"
    );
    let (_double, mut switch) = self::device("fos", "brocade-fos", "Fabric OS", |_| {}).await;
    assert_eq!(parts(switch.read(&[], |_| {}).await.unwrap()), Ok(()), "a switch has one");
}
