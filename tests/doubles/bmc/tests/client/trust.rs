//! Trust in the servers that images are fetched from, and what they want to know.

use farrier_bmc_double::image::Header;
use serde_json::{Value, json};

use crate::servers::{ftp_server, tls_file_server};
use crate::session::{JsonBody as _, Session};

const CERTIFICATES: &str = "/redfish/v1/UpdateService/RemoteServerCertificates";
const SIMPLE_UPDATE: &str = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";

impl Session {
    async fn verify(&self, on: bool) {
        let request = self.client.patch(self.url("/redfish/v1/UpdateService"));
        let request = self.with_login(request).json_body(&json!({"VerifyRemoteServerCertificate": on}));
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    async fn bring(&self, pem: &str) -> reqwest::Response {
        self.post(CERTIFICATES, &json!({"CertificateType": "PEM", "CertificateString": pem})).await
    }

    /// What became of the last fetch of an update by this URL.
    async fn fetch(&self, url: &str) -> Result<(), String> {
        let answer = self.post(SIMPLE_UPDATE, &json!({"ImageURI": url, "TransferProtocol": "HTTPS"})).await;
        assert_eq!(answer.status(), 202, "{url}");
        let task: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let task = task["@odata.id"].as_str().unwrap();
        self.until(task, |task| {
            ["Completed", "Exception", "Stopping", "Pending"].iter().any(|end| task["TaskState"] == *end)
        })
        .await;
        let journal = self.double.journal();
        let last = journal.iter().rev().find(|entry| entry.kind == "fetch").unwrap();
        last.detail["error"].as_str().map_or(Ok(()), |error| Err(error.to_owned()))
    }
}

/// A driver that imports the wrong certificate, or none, must not get its image fetched; one that imports
/// the right authority must, by names and by addresses of both families.
#[tokio::test]
async fn a_server_is_trusted_with_the_certificate_that_was_brought_and_not_without() {
    for (variant, address, name, good) in [
        ("openbmc", "127.0.0.1", "127.0.0.1", true),
        ("openbmc", "::1", "::1", true),
        ("lenovo-xcc", "127.0.0.1", "127.0.0.1", true),
        ("lenovo-xcc", "127.0.0.1", "127.0.0.2", false),
        ("lenovo-xcc", "::1", "localhost", false),
    ] {
        let session = Session::of(variant).await;
        let (url, pem) = tls_file_server(Header::new("bios", "7").to_file(), address, name, "rom.bin").await;
        let (_, another) = tls_file_server(vec![], address, name, "rom.bin").await;
        session.verify(true).await;
        session.fetch(&url).await.unwrap_err();
        assert_eq!(session.bring(&another).await.status(), 201);
        session.fetch(&url).await.unwrap_err();
        let answer = session.bring(&pem).await;
        assert_eq!(answer.status(), 201);
        let member = answer.headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(session.fetch(&url).await.is_ok(), good, "{variant} {address} {name}");
        let gone = session.with_login(session.client.delete(session.url(&member))).send().await.unwrap();
        assert_eq!(gone.status(), 204);
        session.fetch(&url).await.unwrap_err();
        session.verify(false).await;
        session.fetch(&url).await.unwrap();
        assert_eq!(session.count("certificate"), 5, "each change is in the journal");
    }
}

/// What a client cleans up must be what it brought, and a full collection must be told.
#[tokio::test]
async fn certificates_are_shown_checked_and_limited() {
    let session = Session::of("lenovo-xcc").await;
    let (_, pem) = tls_file_server(vec![], "127.0.0.1", "127.0.0.1", "rom.bin").await;
    let (_, service) = session.get("/redfish/v1/UpdateService").await.unwrap();
    assert_eq!(service["RemoteServerCertificates"]["@odata.id"], CERTIFICATES);
    for bad in ["", "no certificate", &pem.replace("MII", "AAA"), &format!("{pem}{pem}")] {
        assert_eq!(session.bring(bad).await.status(), 400, "{bad}");
    }
    for expected in [201, 201, 201, 201, 409] {
        assert_eq!(session.bring(&pem).await.status(), expected);
    }
    let (_, all) = session.get(CERTIFICATES).await.unwrap();
    assert_eq!(all["Members@odata.count"], 4);
    let (_, one) = session.get(all["Members"][0]["@odata.id"].as_str().unwrap()).await.unwrap();
    assert_eq!(one["CertificateString"], pem);
    assert_eq!(one["Issuer"]["CommonName"], "Authority of a test");
    session.double.reset_bmc().await;
    assert_eq!(session.double.state()["certificates"].as_array().unwrap().len(), 4, "they outlive a reset");
    assert_eq!(Session::of("idrac9").await.get(CERTIFICATES).await.unwrap().0, 404);
}

/// A driver that names the wrong account, or none, must not get its image fetched by FTP.
#[tokio::test]
async fn an_image_comes_by_ftp_with_the_account_that_was_named() {
    let server = ftp_server(Header::new("bmc", "4.2(1a)").to_file(), ("farrier", "pass word\"\\")).await;
    let session = Session::of("cisco-cimc").await;
    let (_, service) = session.get("/redfish/v1/UpdateService").await.unwrap();
    let protocols =
        &service["Actions"]["#UpdateService.SimpleUpdate"]["TransferProtocol@Redfish.AllowableValues"];
    assert_eq!(protocols, &json!(["SCP", "SFTP", "FTP", "HTTP"]));
    let refused = json!({"ImageURI": format!("https://{server}/rom.bin")});
    assert_eq!(session.post(SIMPLE_UPDATE, &refused).await.status(), 400, "it has no HTTPS");
    for (user, password, good) in [("farrier", "wrong", false), ("farrier", "pass word\"\\", true)] {
        let body = json!({
            "ImageURI": format!("{server}/rom.bin"), "TransferProtocol": "FTP",
            "Username": user, "Password": password,
        });
        let answer = session.post(SIMPLE_UPDATE, &body).await;
        assert_eq!(answer.status(), 202);
        let task = answer.headers()["location"].to_str().unwrap().to_owned();
        if good {
            session.installed("bmc", "4.2(1a)").await;
        } else {
            session.until(&task, |task| task["TaskState"] == "Exception").await;
        }
    }
    let journal = session.double.journal();
    let fetches: Vec<_> = journal.iter().filter(|entry| entry.kind == "fetch").collect();
    assert!(fetches.iter().all(|entry| entry.detail["user"] == "farrier"));
    assert!(!format!("{journal:?}").contains("pass word"), "no password is shown");
}
