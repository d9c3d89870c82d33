//! What goes wrong, goes wrong as its name says.

use farrier_console_double::fault::{Armed, Fault};
use farrier_console_double::image::Header;
use farrier_console_double::{Algorithms, Double, SignIn};

use crate::person::{Person, old, until};
use crate::{image, shelf, start};

/// Begins an update of an OA up to its last question, which it answers.
async fn update(double: &Double, file: Vec<u8>) -> Person {
    let server = shelf::http(file).await;
    let mut person = Person::at(double).await;
    let command = format!("UPDATE IMAGE http://{server}/oa.bin");
    person.dialogue(&[("> ", &command), ("(YES/NO) ", "yes")]).await;
    person
}

/// Only a second reading of the version finds this.
#[tokio::test(flavor = "multi_thread")]
async fn success_is_said_with_the_old_version() {
    let double = start("oa", |_| ()).await;
    double.arm(Armed::times(Fault::WrongVersion { version: String::new() }, 1)).unwrap();
    let mut person = update(&double, image("oa")).await;
    person.wait("Flash complete").await;
    until(&double, "done", |double| double.state()["update"]["phase"] == "done").await;
    assert_eq!(double.version("oa-1").as_deref(), Some("4.60"));
}

/// A driver that answers what it does not know may destroy something; one that waits needs a limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_question_and_a_pager_stand_in_the_way() {
    let double = start("oa", |_| ()).await;
    let question = "Proceed anyway? ".to_owned();
    double.arm(Armed::times(Fault::SecondPrompt { question }, 1)).unwrap();
    double.arm(Armed::times(Fault::PagerInProgress, 1)).unwrap();
    let mut person = update(&double, image("oa")).await;
    person.dialogue(&[("Proceed anyway? ", "y")]).await;
    person.wait("--More--").await;
    person.say(" ").await;
    person.wait("Flash complete").await;
}

/// 99 percent is not 100.
#[tokio::test(flavor = "multi_thread")]
async fn progress_stays_until_the_fault_is_cleared() {
    let double = start("oa", |_| ()).await;
    double.arm(Armed::always(Fault::Stuck { percent: 99 })).unwrap();
    let mut person = update(&double, image("oa")).await;
    person.wait("99%").await;
    let mut other = Person::at(&double).await;
    other.dialogue(&[("> ", "UPDATE IMAGE http://127.0.0.1:1/x")]).await;
    other.wait("already in progress").await;
    assert_eq!(double.state()["update"]["phase"], "writing");
    double.clear(None);
    person.wait("Flash complete").await;
}

/// The line is not the update: who comes back finds that it went on.
#[tokio::test(flavor = "multi_thread")]
async fn the_update_goes_on_without_the_line() {
    let double = start("oa", |_| ()).await;
    double.arm(Armed::times(Fault::DropLine { percent: 40 }, 1)).unwrap();
    let person = update(&double, image("oa")).await;
    let last = person.end().await;
    assert!(!last.contains("Flash complete"), "{last}");
    until(&double, "done", |double| double.state()["update"]["phase"] == "done").await;
    assert_eq!(double.version("oa-1").as_deref(), Some("9.9"));
}

/// Half of a pair is not the pair.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_refuses_keeps_its_version() {
    let double = start("oa", |_| ()).await;
    double.arm(Armed::times(Fault::StandbyRefuses, 1)).unwrap();
    let mut person = update(&double, image("oa")).await;
    person.wait("is not updated").await;
    until(&double, "done", |double| double.state()["update"]["phase"] == "done").await;
    assert_eq!(double.version("oa-2").as_deref(), Some("4.60"));
    let mut person = Person::at(&double).await;
    person.dialogue(&[("> ", "SHOW OA STATUS"), ("Mismatch", "")]).await;
    person.dialogue(&[("> ", "UPDATE IMAGE SYNC")]).await;
    until(&double, "synchronized", |double| double.version("oa-2").as_deref() == Some("9.9")).await;
}

/// What is refused is refused before anything is written.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_leave_the_firmware_as_it_is() {
    let step = Header { from: vec!["4.80".to_owned()], ..Header::new("oa", "9.9") }.to_file();
    let cut = image("oa").split_off(1);
    let model = Header { models: vec!["c3000".to_owned()], ..Header::new("oa", "9.9") }.to_file();
    let cases: [(Option<Fault>, Vec<u8>, &str); 8] = [
        (Some(Fault::NoRoom), image("oa"), "not enough space"),
        (Some(Fault::TransferFails), image("oa"), "could not be downloaded"),
        (Some(Fault::Mode { mode: "FIPS".to_owned() }), image("oa"), "FIPS mode"),
        (Some(Fault::PartnerUnhealthy), image("oa"), "partner is not healthy"),
        (None, cut, "not a valid firmware image"),
        (None, model, "not valid for this"),
        (None, image("vc"), "not valid for this"),
        (None, step, "requires firmware 4.80"),
    ];
    let double = start("oa", |_| ()).await;
    for (fault, file, words) in cases {
        if let Some(fault) = fault {
            double.arm(Armed::times(fault, 1)).unwrap();
        }
        let server = shelf::http(file).await;
        let mut person = Person::at(&double).await;
        person.dialogue(&[("> ", &format!("UPDATE IMAGE http://{server}/oa.bin"))]).await;
        person.wait(words).await;
        person.wait("> ").await;
        person.say("EXIT\r").await;
        person.end().await;
        assert_eq!(double.version("oa-1").as_deref(), Some("4.60"), "{words}");
    }
}

/// An enclosure in FIPS mode takes newer firmware and refuses older.
#[tokio::test(flavor = "multi_thread")]
async fn fips_mode_refuses_an_older_version() {
    let double = start("oa", |config| config.settings.mode = "FIPS".to_owned()).await;
    let server = shelf::http(Header::new("oa", "4.50").to_file()).await;
    let mut person = Person::at(&double).await;
    person.dialogue(&[("> ", &format!("UPDATE IMAGE http://{server}/oa.bin"))]).await;
    person.wait("FIPS mode").await;
}

/// One session at a time: the second one is told who has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_with_one_session_refuses_the_second() {
    let double = start("sas-switch", |_| ()).await;
    let mut first = Person::at(&double).await;
    first.wait("> ").await;
    let second = Person::at(&double).await;
    let said = second.end().await;
    assert!(said.contains("in use by admin"), "{said}");
    first.say("exit\r").await;
    first.end().await;
    Person::at(&double).await.wait("> ").await;
}

/// Old devices are out of reach for a client of today, until it is told to work with them.
#[tokio::test(flavor = "multi_thread")]
async fn old_algorithms_need_a_client_that_offers_them() {
    let double = start("oa", |config| {
        config.algorithms = Algorithms::Legacy;
        config.sign_in = SignIn::Interactive;
    })
    .await;
    assert!(Person::with(&double, russh::Preferred::DEFAULT).await.is_err());
    let mut person = Person::with(&double, old()).await.unwrap();
    person.wait("> ").await;
}

/// A session that nobody uses ends, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_ends() {
    let double = start("fos", |config| config.settings.idle_ms = 200).await;
    let person = Person::at(&double).await;
    assert!(person.end().await.contains("auto-logout"));
}

/// Who connects to the wrong one of two modules must be told by it, and find the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_module_takes_no_commands() {
    let double = start("oa", |config| config.settings.on_standby = true).await;
    let mut person = Person::at(&double).await;
    person.wait("OA Role:        Standby").await;
    person.dialogue(&[("> ", "UPDATE IMAGE http://127.0.0.1:1/x")]).await;
    person.wait("standby mode").await;
}

/// In script mode nothing is asked, and the prompt is another one.
#[tokio::test(flavor = "multi_thread")]
async fn script_mode_changes_the_prompt_and_asks_nothing() {
    let double = start("oa", |_| ()).await;
    let server = shelf::http(image("oa")).await;
    let mut person = Person::at(&double).await;
    let update = format!("UPDATE IMAGE http://{server}/oa.bin");
    person.dialogue(&[("560A> ", "SET SCRIPT MODE ON"), ("560A [SCRIPT MODE]> ", &update)]).await;
    person.wait("Flash complete").await;
}

/// A question after the sign-in is not the prompt.
#[tokio::test(flavor = "multi_thread")]
async fn passwords_of_the_factory_lead_to_a_question() {
    let double = start("fos", |config| config.settings.default_passwords = true).await;
    let mut person = Person::at(&double).await;
    person.wait("to proceed.").await;
    person.say("\u{3}").await;
    person.wait("admin> ").await;
}
