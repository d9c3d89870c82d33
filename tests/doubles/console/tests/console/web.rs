//! The Onboard Administrator takes an image over HTTPS, worked by curl.

use std::path::PathBuf;

use farrier_console_double::Double;
use farrier_console_double::fault::{Armed, Fault};
use farrier_console_double::image::Header;

use crate::person::until;
use crate::start;

/// Somebody with curl.
struct Client<'d> {
    double: &'d Double,
    key: String,
    folder: tempfile::TempDir,
}

impl<'d> Client<'d> {
    /// Signs in; the answer is that of the sign-in.
    async fn at(double: &'d Double, password: &str) -> (Self, String) {
        let mut client = Self { double, key: String::new(), folder: tempfile::tempdir().unwrap() };
        let login = format!(
            "<hpoa:userLogIn><hpoa:username>admin</hpoa:username><hpoa:password>{password}</hpoa:password></hpoa:userLogIn>"
        );
        let answer = client.call(&login).await;
        between(&answer, "<hpoa:oaSessionKey>").clone_into(&mut client.key);
        (client, answer)
    }

    async fn curl(&self, path: &str, arguments: &[&str]) -> String {
        let url = format!("https://{}{path}", self.double.https().unwrap());
        let output = tokio::process::Command::new("curl")
            .args([
                "--disable",
                "--silent",
                "--show-error",
                "--insecure",
                "--noproxy",
                "*",
                "--max-time",
                "20",
            ])
            .args(arguments)
            .arg(url)
            .output()
            .await
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    async fn call(&self, body: &str) -> String {
        let security = format!(
            "<SOAP-ENV:Header><wsse:Security SOAP-ENV:mustUnderstand=\"true\"><hpoa:HpOaSessionKeyToken><hpoa:oaSessionKey>{}</hpoa:oaSessionKey></hpoa:HpOaSessionKeyToken></wsse:Security></SOAP-ENV:Header>",
            self.key
        );
        let header = if self.key.is_empty() { String::new() } else { security };
        let xml = format!(
            "<?xml version=\"1.0\"?><SOAP-ENV:Envelope>{header}<SOAP-ENV:Body>{body}</SOAP-ENV:Body></SOAP-ENV:Envelope>"
        );
        self.curl("/hpoa", &["--header", "content-type: application/soap+xml", "--data-binary", &xml]).await
    }

    fn file(&self, image: &Header) -> PathBuf {
        let file = self.folder.path().join("oa.bin");
        std::fs::write(&file, image.to_file()).unwrap();
        file
    }

    async fn upload(&self, image: &Header) -> String {
        let file = format!("file=@{};type=application/octet-stream", self.file(image).display());
        let cookie = format!("encLocalKey={}", self.key);
        let form = ["oaSessionKey=", "fileType=FIRMWARE_IMAGE", "stylesheetUrl=/x.xsl", &file];
        let mut arguments = vec!["--cookie", cookie.as_str()];
        for field in form {
            arguments.extend(["--form", field]);
        }
        self.curl("/cgi-bin/uploadFile", &arguments).await
    }

    async fn flash(&self, uploaded: &str, force: bool) -> String {
        let token = between(uploaded, "<hpoa:oaFileToken>");
        self.call(&format!("<hpoa:flashOaRomEnhanced><hpoa:oaFileToken>{token}</hpoa:oaFileToken><hpoa:oaReset>true</hpoa:oaReset><hpoa:forceFlash>{force}</hpoa:forceFlash></hpoa:flashOaRomEnhanced>")).await
    }

    async fn push(&self, image: &Header, force: bool) -> String {
        let uploaded = self.upload(image).await;
        assert!(uploaded.contains("returnCodeOk"), "{uploaded}");
        self.flash(&uploaded, force).await
    }
}

/// The text of an element.
fn between<'t>(text: &'t str, tag: &str) -> &'t str {
    text.split_once(tag).and_then(|(_, rest)| rest.split_once('<')).map_or("", |(text, _)| text)
}

/// A driver that pushes must find both modules updated, and itself signed off.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pushed_and_everybody_is_signed_off() {
    let double = start("oa", |_| ()).await;
    let (client, _) = Client::at(&double, "password").await;
    assert_eq!(double.state()["sessions"].as_array().unwrap().len(), 1);
    let image = Header { payload_bytes: 3_000_000, ..Header::new("oa", "4.99") };
    let answer = client.push(&image, false).await;
    assert!(answer.contains("flashOaRomEnhancedResponse"), "{answer}");
    until(&double, "done", |double| double.state()["update"]["phase"] == "done").await;
    for part in ["oa-1", "oa-2"] {
        assert_eq!(double.version(part).as_deref(), Some("4.99"));
    }
    let out = client.call("<hpoa:userLogOut/>").await;
    assert_eq!(between(&out, "<hpoa:errorCode>"), "172");
    assert_eq!(double.state()["sessions"].as_array().unwrap().len(), 0);
    let journal = format!("{:?}", double.journal());
    assert!(journal.contains("upload") && !journal.contains("\"password\""), "{journal}");
}

/// Each refusal has the number by which a client tells one from the other, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_their_numbers() {
    let double = start("oa", |_| ()).await;
    let (_, answer) = Client::at(&double, "wrong").await;
    assert_eq!(between(&answer, "<hpoa:errorCode>"), "150");
    let (client, _) = Client::at(&double, "password").await;
    let (old, new) = (Header::new("oa", "4.10"), Header::new("oa", "4.99"));
    let refused = async |image: &Header, force: bool| {
        let answer = client.push(image, force).await;
        between(&answer, "<hpoa:errorCode>").to_owned()
    };
    assert_eq!(refused(&old, false).await, "292");
    assert_eq!(refused(&Header::new("vc", "4.99"), false).await, "293");
    let settings = double.settings();
    double.set(farrier_console_double::Settings { mode: "FIPS".into(), ..settings.clone() });
    assert_eq!(refused(&old, true).await, "418");
    double.set(farrier_console_double::Settings { role: "user".into(), ..settings.clone() });
    assert_eq!(refused(&new, true).await, "8");
    double.set(settings.clone());
    double.arm(Armed::times(Fault::NoRoom, 1)).unwrap();
    assert_eq!(between(&client.upload(&new).await, "<hpoa:errorCode>"), "4");
    assert_eq!(between(&client.flash("", false).await, "<hpoa:errorCode>"), "293");
    assert_eq!(double.version("oa-1").as_deref(), Some("4.60"));
    client.call("<hpoa:userLogOut/>").await;
    assert_eq!(between(&client.upload(&new).await, "<hpoa:errorCode>"), "13");
    double.set(farrier_console_double::Settings { on_standby: true, ..settings });
    let (_, answer) = Client::at(&double, "password").await;
    assert_eq!(between(&answer, "<hpoa:errorCode>"), "503");
}

/// What waits for an answer meets a line that was cut, and finds the update done.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_line_says_nothing_of_the_flash() {
    let double = start("oa", |_| ()).await;
    double.arm(Armed::times(Fault::DropLine { percent: 40 }, 1)).unwrap();
    double.arm(Armed::times(Fault::StandbyRefuses, 1)).unwrap();
    let (client, _) = Client::at(&double, "password").await;
    let answer = client.push(&Header::new("oa", "4.99"), false).await;
    assert!(answer.contains("curl:"), "{answer}");
    until(&double, "done", |double| double.state()["update"]["phase"] == "done").await;
    assert_eq!(double.version("oa-1").as_deref(), Some("4.99"));
    assert_eq!(double.version("oa-2").as_deref(), Some("4.60"));
}
