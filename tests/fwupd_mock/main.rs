//! The Redfish client against the mock BMC in fwupd's source package, in each of its flavours.
//!
//! `hack/test fwupd-mock` brings the mock and sets `FARRIER_FWUPD_MOCK`, the folder that has it as `redfish.py`, and
//! Python with Flask as `venv`. The mock is never copied into the repository.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests and what they share: a panic is how a test fails"
)]

use farrier::drivers::Keys;
use farrier::drivers::redfish::{Client, Credentials, Endpoint, Inventory, Link, Session};
use farrier::failure::Failure;
use farrier::ssh::{Family, Target};
use farrier::tls::{Policy, Trust};
use farrier_update::Reason;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// The mock, which ends when it is dropped.
struct Mock {
    process: Child,
    port: u16,
    _certificate: tempfile::TempDir,
}

impl Drop for Mock {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Mock {
    /// With a user: the service root is open, and is that user's.
    fn start(user: Option<&str>) -> Self {
        let Ok(place) = std::env::var("FARRIER_FWUPD_MOCK") else { panic!("run hack/test fwupd-mock") };
        let certificate = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let (pem, pem_key) = (certificate.path().join("pem"), certificate.path().join("key"));
        std::fs::write(&pem, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&pem_key, key.serialize_pem()).unwrap();
        let mut process = Command::new(format!("{place}/venv/bin/python3"))
            .args(["-B", "tests/fwupd_mock/serve.py", &place])
            .args([&pem, &pem_key])
            .args(user)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { port: line.trim().parse().unwrap(), process, _certificate: certificate }
    }

    /// What the client reads with the account of a flavour.
    async fn read(&self, user: &str, password: &str) -> Result<Inventory, Failure> {
        let target = Target {
            node: "bmc-7".into(),
            addresses: vec!["127.0.0.1".into()],
            families: vec![Family::V4],
            port: self.port,
        };
        let trust = Trust { policy: Policy::TrustOnFirstUse, ..Trust::default() };
        let client = Client::new(Endpoint { target, trust }).unwrap();
        let data = [("username", user), ("password", password)];
        let data = data.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
        let credentials = Credentials::new("bmc-7", &Keys { name: "bmc-login".into(), data }).unwrap();
        let session = Session::open(client, &credentials).await?;
        Inventory::read(&session).await
    }
}

/// A device that differs from what the driver's authors have imagined must still be read, and its ways of taking
/// firmware must be those that it offers.
#[tokio::test]
async fn the_mock_of_fwupd_is_read_in_all_its_flavours() {
    for (user, vendor, multipart, push, start_update) in [
        ("username2", None, Some("/FWUpdate"), "/FWUpdate", false),
        ("smc_username", Some("SMCI"), Some("/FWUpdate-smc"), "/FWUpdate", true),
        ("unlicensed_username", Some("SMCI"), Some("/FWUpdate-unlicensed"), "/FWUpdate", true),
        ("hpe_username", Some("HPE"), None, "/FWUpdate-hpe", false),
        ("dell_username", Some("Dell"), Some("/FWUpdate"), "/FWUpdate", false),
    ] {
        let inventory = Mock::start(Some(user)).read(user, "password2").await.unwrap();
        assert_eq!((&inventory.notes[..], inventory.complete), (&[][..], true), "{user}");
        assert_eq!(inventory.root.vendor.as_deref(), vendor);
        let versions: Vec<_> = inventory.firmware.iter().map(|entry| entry.version.as_deref()).collect();
        assert_eq!(versions, [Some("11A-1.02"), Some("P79 v1.45")], "{user}");
        let service = inventory.update.unwrap();
        assert_eq!(service.enabled, Some(true), "{user}");
        assert_eq!(service.ways.multipart, multipart.map(link), "{user}");
        assert_eq!(service.ways.push, Some(link(push)), "{user}");
        assert!(service.ways.simple.is_none() && service.ways.repository.is_none(), "{user}");
        assert_eq!(service.actions.contains_key("UpdateService.StartUpdate"), start_update, "{user}");
    }
}

/// The mock wants credentials for the service root, which DSP0266 leaves open to everybody. A device like that is read
/// all the same, and a wrong password is told as such.
#[tokio::test]
async fn a_service_root_that_wants_credentials_is_read_with_them() {
    let mock = Mock::start(None);
    let inventory = mock.read("username2", "password2").await.unwrap();
    assert_eq!((&inventory.notes[..], inventory.complete), (&[][..], true));
    let failure = mock.read("username2", "wrong").await.err().unwrap();
    assert_eq!(failure.reason, Reason::PasswordRejected, "{failure}");
}

fn link(path: &str) -> Link {
    Link::parse(path).unwrap()
}
