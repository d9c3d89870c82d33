//! What a switch may answer besides the usual.

use super::cases::{Case, DIRECTOR, FETCHING_OA, FOS, OA, OTHERS, OWN_VC, SAS, SUPERDOME_2};
use super::{Consoles, One};
use farrier::drivers::HandOver;
use farrier_console_double::Settings;
use farrier_console_double::fault::{Armed, Fault};
use farrier_update::device::ActionId;
use farrier_update::{ComponentResult, Outcome, Reason};
use std::time::Duration;

/// Licence agreements come with these versions.
const WITH_AGREEMENT: Case = Case { version: "v9.1.1", ..FOS };

/// Nobody answers what no product file has.
const ASKS: Case = Case { quiet: Some(Duration::from_secs(1)), ..FOS };

async fn with(case: Case, fault: Option<Fault>) -> (ComponentResult, usize) {
    let consoles = Consoles::new(case);
    let one: One<'_> = consoles.one().await;
    if let Some(fault) = fault {
        one.double().arm(Armed::always(fault)).unwrap();
    }
    let result = one.result(|_| {}).await.0;
    (result, one.flashes())
}

async fn refused(name: &str, case: Case, fault: Option<Fault>, reason: Reason) -> String {
    let (result, flashes) = with(case, fault).await;
    assert_eq!((result.outcome, result.reason), (Outcome::Failed, reason), "{name}: {result:#?}");
    assert_eq!(flashes, 0, "{name}: {result:#?}");
    result.message
}

/// The user would look for the cause in the wrong place, or the switch would run an image that is not for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_switch_refuses_has_its_reason() {
    let question = "Does the moon look full? (Y/N) [N]: ";
    let step = Case { image: |image| image.from = vec!["v8.9.9".into()], ..FOS };
    let model = Case { image: |image| image.models = vec!["other".into()], ..FOS };
    let signature = Case { image: |image| image.bad_signature = true, ..FOS };
    let asks = Some(Fault::SecondPrompt { question: question.into() });
    let (_, _, _, _, _, asked) = tokio::join!(
        refused("no room", FOS, Some(Fault::NoRoom), Reason::DeviceFull),
        refused("a step is missing", step, None, Reason::PrerequisiteMissing),
        refused("another model", model, None, Reason::ImageNotForMachine),
        refused("a bad signature", signature, None, Reason::ImageRefused),
        refused("no agreement", WITH_AGREEMENT, None, Reason::AgreementMissing),
        refused("an unknown question", ASKS, asks, Reason::PromptUnknown),
    );
    assert!(asked.contains(question.trim()), "{asked}");
}

/// The user has accepted the agreement, and nobody would know when and for which words that was used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agreement_is_accepted_if_the_user_has_said_so() {
    let consoles = Consoles::new(WITH_AGREEMENT);
    let one = consoles.one().await;
    let (result, view) = one.result(|job| job.device.accepts_agreements = true).await;
    assert_eq!(result.outcome, Outcome::Updated, "{result:#?}");
    assert_eq!(view.agreements.len(), 1, "{:?}", view.agreements);
    assert!(view.agreements[0].contains("End User License Agreement"), "{:?}", view.agreements);
}

/// A switch that waits for a key in the middle of its work would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pager_in_the_middle_of_the_progress_is_turned() {
    let (result, flashes) = with(FOS, Some(Fault::PagerInProgress)).await;
    assert_eq!((result.outcome, flashes), (Outcome::Updated, 1), "{result:#?}");
}

/// A run would never end, or would flash the switch again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_is_stuck_ends_with_its_limit() {
    let short = Duration::from_secs(2);
    let stuck = Case { timeout: short, overdue: short, ..FOS };
    let consoles = Consoles::new(stuck);
    let one = consoles.one().await;
    one.double().arm(Armed::always(Fault::Stuck { percent: 99 })).unwrap();
    let (result, _) = one.result(|_| {}).await;
    assert_eq!(result.outcome, Outcome::Unverified, "{result:#?}");
    assert_eq!(one.flashes(), 0);
}

/// The switch would look for a list of packages in a file, and be told that its path is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_for_a_switch_that_fetches_a_folder_is_refused_in_the_plan() {
    let consoles = Consoles::new(FOS);
    let one = consoles.one().await;
    let (result, _) = one
        .result(|job| {
            for component in &mut job.components {
                component.payload.as_mut().unwrap().unpack = false;
            }
        })
        .await;
    assert_eq!(result.reason, Reason::ImageNotForMachine, "{result:#?}");
    assert!(result.message.contains("payload.unpack: true"), "{result:#?}");
    assert_eq!(one.count("fetch", |_| true), 0);
}

/// The partner of a module would be updated while the module is still away, and servers would lose both ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_is_over_when_the_links_are_up_again() {
    let vc = OWN_VC;
    let consoles = Consoles::new(vc);
    let one = consoles.one().await;
    one.double().set(Settings { reboot_ms: 2500, ..one.double().settings() });
    let (result, _) = one.result(|_| {}).await;
    assert_eq!(result.outcome, Outcome::Updated, "{result:#?}");
    assert!(!one.is_at_work(), "{:#?}", one.double().state());
    assert_eq!(one.double().version("enc0:1").as_deref(), Some("4.45"), "the other module");
}

/// A device that has place for one session would be given up, although whoever has it ends it a moment later, and one
/// that a runner has left is ended by the device.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_without_a_free_session_is_waited_for() {
    let consoles = Consoles::new(Case { away: Some(Duration::from_millis(500)), ..SAS });
    let one = consoles.one().await;
    one.double().arm(Armed::times(Fault::OtherSession { user: "root".into() }, 3)).unwrap();
    let (result, _) = one.result(|_| {}).await;
    assert_eq!(result.outcome, Outcome::Updated, "{result:#?}");
    assert!(one.double().armed().is_empty());
}

/// A complex would count as updated while a blade in it still runs what is insecure, and nobody would look for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complex_is_not_updated_while_an_entity_has_its_old_version() {
    let superdome = SUPERDOME_2;
    let short = Duration::from_secs(4);
    let case = Case { timeout: short, overdue: short, ..superdome };
    let (result, _) = with(case, Some(Fault::LeavesOut { part: "Blade 1/3".into() })).await;
    assert!(!matches!(result.outcome, Outcome::Updated | Outcome::UpToDate), "{result:#?}");
    assert!(result.message.contains("Entity Blade 1/3 "), "{result:#?}");
}

/// A pair would count as updated while one of its modules is away, and that one may come back with the old version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_is_not_updated_while_a_module_is_away() {
    let short = Duration::from_secs(4);
    let case = Case { timeout: short, overdue: short, ..OA };
    let (result, _) = with(case, Some(Fault::ModuleAway { part: "oa-2".into() })).await;
    assert!(!matches!(result.outcome, Outcome::Updated | Outcome::UpToDate), "{result:#?}");
    assert!(result.message.contains("Onboard Administrator bay 2 does not show"), "{result:#?}");
}

/// An Onboard Administrator whose user opened the file service would be sent the image all the same, and the password
/// of the service would be in what is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_an_image_to_be_fetched_has_it_fetched() {
    let consoles = Consoles::new(FETCHING_OA);
    let one = consoles.one().await;
    let (result, view) = one.result(|_| {}).await;
    assert_eq!((result.outcome, one.flashes()), (Outcome::Updated, 2), "{result:#?}");
    assert_eq!((one.count("fetch", |_| true), one.count("upload", |_| true)), (1, 0));
    let shown = format!("{view:?}{result:?}");
    for action in 1..=20 {
        assert!(!shown.contains(&one.services.password(ActionId(action))), "{shown}");
    }
    let (result, _) = with_way(FOS, HandOver::Push).await;
    assert_eq!((result.outcome, result.reason), (Outcome::Failed, Reason::NotYetSupported), "{result:#?}");
    assert!(result.message.contains("spec.handOver of ManagedNode fos is Push"), "{result:#?}");
}

/// Updates a device whose user wants this way.
async fn with_way(case: Case, way: HandOver) -> (ComponentResult, usize) {
    with(Case { hand_over: Some(way), ..case }, None).await
}

/// A fabric would depend on a director whose standby still has what is insecure, or is not there to take over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_director_is_updated_when_both_control_processors_are() {
    let short = Duration::from_secs(4);
    let stays = Case { timeout: short, overdue: short, ..DIRECTOR };
    let cp1 = || "cp1".to_owned();
    let (whole, half, alone) = tokio::join!(
        with(DIRECTOR, None),
        with(stays.clone(), Some(Fault::LeavesOut { part: cp1() })),
        with(stays, Some(Fault::ModuleAway { part: cp1() })),
    );
    assert_eq!((whole.0.outcome, whole.1), (Outcome::Updated, 2), "{:#?}", whole.0);
    for (result, words) in
        [(half.0, "Control processor CP1 is v8.2.1c"), (alone.0, "Control processor CP1 does not show")]
    {
        assert!(!matches!(result.outcome, Outcome::Updated | Outcome::UpToDate), "{result:#?}");
        assert!(result.message.contains(words), "{words}: {result:#?}");
    }
}

/// A failover between control processors that are not in sync interrupts all traffic; and whoever gave the address of the
/// standby would look for a fault in the image.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_director_is_left_as_it_is_unless_its_active_control_processor_is_asked() {
    let standby = async {
        let consoles = Consoles::new(DIRECTOR);
        let one = consoles.one().await;
        one.double().set(Settings { on_standby: true, ..one.double().settings() });
        (one.result(|_| {}).await.0, one.flashes())
    };
    let (standby, unwell) = tokio::join!(standby, with(DIRECTOR, Some(Fault::PartnerUnhealthy)));
    for ((result, flashes), words) in
        [(standby, "Local CP (Slot 7, CP1): Standby"), (unwell, "Remote CP (Slot 7, CP1): Standby, Failed")]
    {
        assert_eq!(
            (result.outcome, result.reason, flashes),
            (Outcome::Failed, Reason::DeviceUnavailable, 0),
            "{result:#?}"
        );
        assert!(result.message.contains(words), "{words}: {result:#?}");
    }
}

/// The version of one control processor would be taken for that of the director while the other one is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_director_without_its_standby_is_not_up_to_date() {
    let consoles = Consoles::new(Case { version: "v8.2.1c", ..DIRECTOR });
    let one = consoles.one().await;
    let (whole, _) = one.result(|_| {}).await;
    assert_eq!(whole.outcome, Outcome::UpToDate, "{whole:#?}");
    one.double().set(Settings { standby: false, ..one.double().settings() });
    let (alone, _) = one.result(|_| {}).await;
    assert_eq!((alone.outcome, alone.reason), (Outcome::Failed, Reason::DeviceUnavailable), "{alone:#?}");
    assert!(alone.message.contains("Remote CP (Slot 7, CP1): Non-Redundant"), "{alone:#?}");
    assert_eq!(one.flashes(), 0);
}

/// With `--long`.
mod long {
    use super::*;

    /// The same of all other products: what their words mean is in their own files.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_other_products_refuse_has_its_reason() {
        let all = OTHERS.into_iter().chain([FETCHING_OA]).map(async |case: Case| {
            let name = case.double;
            let step = Case { image: |image| image.from = vec!["0.0.1".into()], ..case.clone() };
            let model = Case { image: |image| image.models = vec!["other".into()], ..case.clone() };
            let signature = Case { image: |image| image.bad_signature = true, ..case.clone() };
            let room = Some(Fault::NoRoom);
            refused(&format!("{name}: no room"), case.clone(), room, Reason::DeviceFull).await;
            refused(&format!("{name}: a step"), step, None, Reason::PrerequisiteMissing).await;
            refused(&format!("{name}: a model"), model, None, Reason::ImageNotForMachine).await;
            refused(&format!("{name}: a signature"), signature, None, Reason::ImageRefused).await;
            let consoles = Consoles::new(case.clone());
            let one = consoles.one().await;
            one.double().set(Settings { role: "user".to_owned(), ..one.double().settings() });
            let (result, _) = one.result(|_| {}).await;
            assert_eq!((result.reason, one.flashes()), (Reason::RightsMissing, 0), "{name}: {result:#?}");
            one.double().set(Settings { role: "admin".to_owned(), ..one.double().settings() });
            one.double().arm(Armed::always(Fault::TransferFails)).unwrap();
            let (result, _) = one.result(|_| {}).await;
            let is_fetch = matches!(result.reason, Reason::FetchFailed | Reason::PullNotSeen);
            assert!(is_fetch && one.flashes() == 0, "{name}: {result:#?}");
        });
        futures::future::join_all(all).await;
    }
}
