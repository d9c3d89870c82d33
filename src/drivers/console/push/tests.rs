//! Images are sent to the double of an Onboard Administrator, over TLS.

use super::*;
use crate::drivers::console::blot::Secrets;
use crate::drivers::console::{lint, products::FILES};
use crate::ssh::{Family, Target};
use crate::tls::{Policy, Trust};
use farrier_console_double::image::Header;
use farrier_console_double::{Config, Double, Product};
use std::path::PathBuf;

/// A password that would end the request or the element that it is in, if it were not escaped.
const PASSWORD: &str = "p<&\"s;w0rd'>";

fn in_a_minute() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

/// An Onboard Administrator that flashes quickly, and what was stored of an image of this version.
async fn with_image(version: &str, change: impl FnOnce(&mut Config)) -> (Double, Image, tempfile::TempDir) {
    let mut config = Config::new(Product::named("oa").unwrap());
    PASSWORD.clone_into(&mut config.password);
    config.settings.flash_ms = 200;
    config.settings.reboot_ms = 200;
    change(&mut config);
    let double = Double::start(config).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("image.bin");
    std::fs::write(&path, Header::new("oa", version).to_file()).unwrap();
    let size = path.metadata().unwrap().len();
    let image = Image { path, size, name: "hpoa.bin".to_owned(), signatures: Vec::new(), offer: None };
    (double, image, folder)
}

fn pusher(double: &Double, password: &str, trusts: bool) -> Pusher {
    let https = double.https().unwrap();
    let fingerprints = trusts
        .then(|| format!("sha256:{}", double.certificate().unwrap()).parse().unwrap())
        .into_iter()
        .collect();
    let trust = Trust { fingerprints, certificates: Vec::new(), policy: Policy::Pinned };
    let target = Target {
        node: "oa-1".to_owned(),
        addresses: vec![https.ip().to_string()],
        port: https.port(),
        families: vec![Family::V4],
    };
    let (_, text) = FILES.iter().find(|(name, _)| *name == "onboard-administrator").unwrap();
    let push = lint::read(text).unwrap().push.unwrap();
    let values = Values::default().with(Slot::SessionUser, "admin").with(Slot::SessionPassword, password);
    Pusher::new(Endpoint { target, trust }, push, values, Secrets::default()).unwrap()
}

async fn stored(oa: &mut Pusher, image: &Image) -> String {
    let pushed = oa.upload(image, "farrier-0123456789", in_a_minute()).await;
    let Pushed::Stored(file) = pushed else { panic!("{pushed:?}") };
    file
}

/// Nothing of the fleet's chassis managers would ever be updated: nothing may connect back from them.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_sent_and_installed() {
    let (double, image, _folder) = with_image("9.9", |_| ()).await;
    let mut oa = pusher(&double, PASSWORD, true);
    let file = stored(&mut oa, &image).await;
    assert_eq!(double.version("oa-1").as_deref(), Some("4.60"), "the upload changes nothing");
    let pushed = oa.install(&file, &BTreeSet::new(), in_a_minute()).await;
    assert!(matches!(pushed, Pushed::Began | Pushed::Done | Pushed::Unknown(_)), "{pushed:?}");
    let end = in_a_minute();
    while ["oa-1", "oa-2"].map(|part| double.version(part)) != [Some("9.9".into()), Some("9.9".into())] {
        assert!(Instant::now() < end, "{:?}", double.state());
        // sleep: the double flashes in its own time.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    oa.close().await;
    assert_eq!(oa.address().as_deref(), Some("127.0.0.1"));
}

/// A wrong password must not be tried again and again, because accounts are locked, and must not be shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_sign_in_is_told_without_the_password() {
    let (double, image, _folder) = with_image("9.9", |_| ()).await;
    let mut oa = pusher(&double, "wrong-hunter2", true);
    let pushed = oa.upload(&image, "farrier-0123456789", in_a_minute()).await;
    let Pushed::Refused(Meaning::CredentialsRefused, failure) = pushed else { panic!("{pushed:?}") };
    assert_eq!(failure.reason, Reason::AuthenticationFailed);
    assert_eq!(
        failure.message,
        "oa-1 refused the sign-in over HTTPS: The user could not be authenticated.; check the account and its passwords in the Secret"
    );
}

/// In FIPS mode nothing forces an older version, and without the user's word nothing is forced at all.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_is_forced_only_with_the_users_word() {
    let force = BTreeSet::from([Need::Downgrade]);
    for (mode, consents, expected) in [
        ("", BTreeSet::new(), Some(Meaning::ImageRefused)),
        ("FIPS", force.clone(), Some(Meaning::Locked)),
        ("", force, None),
    ] {
        let (double, image, _folder) = with_image("4.30", |config| {
            mode.clone_into(&mut config.settings.mode);
        })
        .await;
        let mut oa = pusher(&double, PASSWORD, true);
        let file = stored(&mut oa, &image).await;
        let pushed = oa.install(&file, &consents, in_a_minute()).await;
        match expected {
            Some(expected) => {
                assert!(
                    matches!(&pushed, Pushed::Refused(means, _) if *means == expected),
                    "{mode} {pushed:?}"
                );
                assert_eq!(double.version("oa-1").as_deref(), Some("4.60"), "{mode}");
            }
            None => assert!(!matches!(pushed, Pushed::Refused(..) | Pushed::NotBegun(_)), "{pushed:?}"),
        }
    }
}

/// The password would be told to whoever has taken the address.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_server_that_is_not_trusted() {
    let (double, image, _folder) = with_image("9.9", |_| ()).await;
    let mut oa = pusher(&double, PASSWORD, false);
    let pushed = oa.upload(&image, "farrier-0123456789", in_a_minute()).await;
    let Pushed::NotBegun(failure) = pushed else { panic!("{pushed:?}") };
    assert_eq!(failure.reason, Reason::CertificateUntrusted, "{failure:?}");
}

/// A runner that was frozen for a while would install what another one has given up.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_installed_after_the_permission_has_expired() {
    let (double, image, _folder) = with_image("9.9", |_| ()).await;
    let mut oa = pusher(&double, PASSWORD, true);
    let file = stored(&mut oa, &image).await;
    let pushed = oa.install(&file, &BTreeSet::new(), Instant::now()).await;
    assert!(matches!(pushed, Pushed::NotBegun(_)), "{pushed:?}");
    assert_eq!(double.state()["update"], serde_json::Value::Null, "{:?}", double.state());
}

/// An Onboard Administrator that has restarted would refuse everything until the run is given up, or be told to install
/// an image that it does not have.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_forgotten_is_begun_again() {
    let (double, image, _folder) = with_image("9.9", |_| ()).await;
    let mut oa = pusher(&double, PASSWORD, true);
    let file = stored(&mut oa, &image).await;
    double.reboot().await;
    let pushed = oa.install(&file, &BTreeSet::new(), in_a_minute()).await;
    assert!(matches!(pushed, Pushed::Forgotten(_)), "{pushed:?}");
    let file = stored(&mut oa, &image).await;
    double.reboot().await;
    assert_ne!(stored(&mut oa, &image).await, file, "sent again, in a new session");
    let sign_ins = double.journal().iter().filter(|entry| entry.kind == "sign-in").count();
    assert_eq!(sign_ins, 3);
}

/// A product file with a slip in it would send a password where none belongs, or nothing at all.
#[test]
fn a_push_is_checked() {
    let (_, text) = FILES.iter().find(|(name, _)| *name == "onboard-administrator").unwrap();
    let findings = |old: &str, new: &str| {
        assert!(text.contains(old), "{old}");
        let found = lint::read(&text.replacen(old, new, 1)).map(|_| ()).unwrap_err();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        findings("    path: /cgi-bin/uploadFile", "    path: https://elsewhere/x"),
        ["push.upload.path: it is missing, or is no path that begins with one slash"]
    );
    assert_eq!(
        findings("    accepted: '<hpoa:returnCodeOk'\n", ""),
        ["push.install.accepted: the words are missing without which it was not accepted"]
    );
    assert_eq!(
        findings("<hpoa:username>{sessionUser}", "<hpoa:username>{pushSession}"),
        ["push.signIn: it sends {pushSession}, which no request before it reads"]
    );
    assert_eq!(
        findings("FIRMWARE_IMAGE}", "'{pushedFile}'}"),
        ["push.upload: it sends {pushedFile}, which no request before it reads"]
    );
}
