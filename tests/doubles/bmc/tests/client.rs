//! The double as a client of the network sees it, through a client that knows nothing of it (reqwest).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use farrier_bmc_double::fault::{Armed, Fault};
use farrier_bmc_double::image::{Header, compsig, digest};
use farrier_bmc_double::{Config, Double, Settings, Variant};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);

/// A double and a client that has a session.
struct Session {
    double: Double,
    client: Client,
    token: Option<String>,
}

impl Session {
    async fn of(variant: &str) -> Self {
        let mut config = Config::new(Variant::named(variant).unwrap());
        config.settings = Settings {
            flash_ms: 100,
            bmc_reset_ms: 150,
            post_ms: 60,
            shutdown_ms: 10,
            ..Settings::default()
        };
        let double = Double::start(config).await.unwrap();
        let mut this = Self { client: client(&double), double, token: None };
        this.log_in().await;
        this
    }

    async fn log_in(&mut self) {
        let body = json!({"UserName": "admin", "Password": "password"});
        let answer = self.client.post(self.url("/redfish/v1/SessionService/Sessions")).json_body(&body);
        let answer = answer.send().await.unwrap();
        self.token = answer.headers().get("x-auth-token").map(|token| token.to_str().unwrap().to_owned());
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.double.https())
    }

    fn with_login(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.header("x-auth-token", token),
            None => request.basic_auth("admin", Some("password")),
        }
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Value), reqwest::Error> {
        let answer = self.with_login(self.client.get(self.url(path))).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        self.with_login(self.client.post(self.url(path)).json_body(body)).send().await.unwrap()
    }

    async fn push(&self, file: &[u8], parameters: &Value) -> Response {
        let (_, service) = self.get("/redfish/v1/UpdateService").await.unwrap();
        let uri = service["MultipartHttpPushUri"].as_str().unwrap();
        let form = form(&[
            ("UpdateParameters", None, parameters.to_string().as_bytes()),
            ("UpdateFile", Some("image.exe"), file),
        ]);
        let request = self.client.post(self.url(uri)).header("content-type", form.0).body(form.1);
        self.with_login(request).send().await.unwrap()
    }

    /// Asks until the answer is as wanted.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.get(path).await;
            if let Ok((StatusCode::OK, value)) = &answer
                && wanted(value)
            {
                return value.clone();
            }
            assert!(began.elapsed() < LIMIT, "{path} did not become as wanted: {answer:?}");
            // sleep: the double has no other way to tell a client than to be asked again.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn installed(&self, device: &str, version: &str) {
        let began = Instant::now();
        while self.double.version(device).as_deref() != Some(version) {
            assert!(began.elapsed() < LIMIT, "{device} has {:?}", self.double.version(device));
            // sleep: a condition of the double, which is not asked over the network.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn count(&self, kind: &str) -> usize {
        self.double.journal().iter().filter(|entry| entry.kind == kind).count()
    }
}

trait JsonBody {
    fn json_body(self, body: &Value) -> Self;
}

impl JsonBody for reqwest::RequestBuilder {
    fn json_body(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }
}

fn client(double: &Double) -> Client {
    let authority = reqwest::Certificate::from_pem(double.authority_pem().as_bytes()).unwrap();
    Client::builder().no_proxy().tls_certs_only([authority]).timeout(LIMIT).build().unwrap()
}

fn form(parts: &[(&str, Option<&str>, &[u8])]) -> (String, Vec<u8>) {
    let mut body = vec![];
    for (name, file, bytes) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        body.extend(
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes(),
        );
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    ("multipart/form-data; boundary=edge".to_owned(), body)
}

/// A web server for one file, and its address.
async fn file_server(file: Vec<u8>) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _: usize = stream.read(&mut head).await.unwrap();
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.write_all(&file).await.unwrap();
        }
    });
    format!("http://{address}")
}

/// A driver that takes a closed port or a lost session for a failure would fail here.
#[tokio::test]
async fn an_idrac_that_updates_itself_drops_connections_and_sessions_and_has_the_new_version() {
    let session = Session::of("idrac9").await;
    let image = Header::new("bmc", "7.10.30.00").to_file();
    let answer =
        session.push(&image, &json!({"Targets": [], "@Redfish.OperationApplyTime": "Immediate"})).await;
    assert_eq!(answer.status(), 202);
    let task = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(task.starts_with("/redfish/v1/TaskService/Tasks/JID_"), "{task}");

    session.installed("bmc", "7.10.30.00").await;
    let began = Instant::now();
    let after = loop {
        match session.get(&task).await {
            Ok((status, _)) => break status,
            Err(error) => assert!(error.is_connect() && began.elapsed() < LIMIT, "{error:?}"),
        }
    };
    assert_eq!(after, 401, "the session is gone");
    let mut session = session;
    session.log_in().await;
    let ended = session.until(&task, |task| task["TaskState"] == "Completed").await;
    assert_eq!(ended["Oem"]["Dell"]["JobState"], "Completed");
    assert_eq!(
        session.double.state()["flashes"],
        json!([{"device": "bmc", "version": "7.10.30.00", "times": 1}])
    );
    let (_, inventory) = session.get("/redfish/v1/UpdateService/FirmwareInventory").await.unwrap();
    assert!(inventory.to_string().contains("Installed-25227-7.10.30.00__iDRAC.Embedded.1-1"), "{inventory}");
}

/// Firmware that waits for the host must not show before the host was reset.
#[tokio::test]
async fn bios_waits_for_the_host_on_every_vendor_in_its_own_way() {
    for (variant, waiting, ended) in
        [("idrac9", "Starting", "Completed"), ("openbmc", "Stopping", "Completed")]
    {
        let session = Session::of(variant).await;
        let before = session.double.version("bios").unwrap();
        let image = Header::new("bios", "9.9.9").to_file();
        let answer = session.push(&image, &json!({"@Redfish.OperationApplyTime": "OnReset"})).await;
        assert_eq!(answer.status(), 202, "{variant}");
        let tasks = "/redfish/v1/TaskService/Tasks";
        let task = session.until(tasks, |tasks| tasks["Members@odata.count"] == 1).await;
        let task = task["Members"][0]["@odata.id"].as_str().unwrap().to_owned();
        session.until(&task, |task| task["TaskState"] == waiting).await;
        assert_eq!(session.double.version("bios").unwrap(), before);

        let (_, systems) = session.get("/redfish/v1/Systems").await.unwrap();
        let system = systems["Members"][0]["@odata.id"].as_str().unwrap();
        let reset = format!("{system}/Actions/ComputerSystem.Reset");
        let answer = session.post(&reset, &json!({"ResetType": "GracefulRestart"})).await;
        assert!(answer.status().is_success());
        session.until(&task, |task| task["TaskState"] == ended).await;
        assert_eq!(session.double.version("bios").unwrap(), "9.9.9");
    }
}

/// The image must really come from the address that the client named.
#[tokio::test]
async fn simple_update_fetches_the_image_and_the_journal_has_its_digest() {
    let session = Session::of("idrac9").await;
    let image = Header::new("diagnostics", "24.0").to_file();
    let url = format!("{}/pack.exe", file_server(image.clone()).await);
    let action = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
    let refused = session.post(action, &json!({"ImageURI": url.replace(".exe", ".bin")})).await;
    assert_eq!(refused.status(), 400, "Dell takes its own packages only");
    let answer = session.post(action, &json!({"ImageURI": url})).await;
    assert_eq!(answer.status(), 202);
    session.installed("diagnostics", "24.0").await;
    let journal = session.double.journal();
    let fetched = journal.iter().find(|entry| entry.kind == "fetch").unwrap();
    assert_eq!(fetched.detail["url"], url);
    assert_eq!(fetched.detail["sha256"], digest(&image));
}

/// A wrong image must be refused, in the way of each vendor, and must change nothing.
#[tokio::test]
async fn an_image_for_another_model_changes_nothing() {
    let mut header = Header::new("bmc", "66");
    header.models = vec!["another machine".to_owned()];
    let session = Session::of("openbmc").await;
    let answer = session.push(&header.to_file(), &json!({})).await;
    assert_eq!(answer.status(), 500, "bmcweb says no more than this");

    let session = Session::of("idrac9").await;
    let answer = session.push(&header.to_file(), &json!({})).await;
    let task = answer.headers()["location"].to_str().unwrap().to_owned();
    let task = session.until(&task, |task| task["TaskState"] == "Exception").await;
    assert_eq!(task["TaskStatus"], "Critical");
    assert_eq!(session.count("flash"), 0);
}

/// An iLO knows no tasks: progress is in the service, and a reset follows.
#[tokio::test]
async fn an_ilo_takes_the_form_reports_its_state_and_resets() {
    let session = Session::of("ilo5").await;
    let image = Header::new("bmc", "3.00").to_file();
    let token = session.token.clone().unwrap();
    let (kind, body) =
        form(&[("sessionKey", None, token.as_bytes()), ("file", Some("ilo5_300.bin"), &image)]);
    let request = session.client.post(session.url("/cgi-bin/uploadFile")).header("content-type", kind);
    let answer = request.header("cookie", format!("sessionKey={token}")).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let service = "/redfish/v1/UpdateService/";
    let working = session.until(service, |s| s["Oem"]["Hpe"]["State"] == "Updating").await;
    assert!(working["Oem"]["Hpe"]["FlashProgressPercent"].is_u64());
    session.installed("bmc", "3.00").await;
    assert_eq!(session.count("bmc-reset"), 1);
}

/// What the queue cannot do now holds up all that stands behind it.
#[tokio::test]
async fn an_ilo_queue_is_worked_off_in_order_by_whom_it_names() {
    let session = Session::of("ilo5").await;
    for (file, device) in [("nic.fwpkg", "nic"), ("rom.bin", "bios")] {
        let mut header = Header::new(device, "2.0");
        header.needs_compsig = true;
        let image = header.to_file();
        let parameters = json!({"UpdateRepository": true, "UpdateTarget": false}).to_string();
        let signature = compsig(&image);
        let parts = [
            ("parameters", None, parameters.as_bytes()),
            ("compsig", Some("a.compsig"), signature.as_bytes()),
            ("file", Some(file), image.as_slice()),
        ];
        let (kind, body) = form(&parts);
        let request = session.client.post(session.url("/cgi-bin/uploadFile")).header("content-type", kind);
        assert_eq!(session.with_login(request).body(body).send().await.unwrap().status(), 200);
        let stored = |s: &Value| s["Oem"]["Hpe"]["State"] == "Complete";
        session.until("/redfish/v1/UpdateService/", stored).await;
    }
    let queue = "/redfish/v1/UpdateService/UpdateTaskQueue/";
    for (name, file, agent) in [("first", "nic.fwpkg", "Uefi"), ("second", "rom.bin", "Bmc")] {
        let body = json!({"Name": name, "Command": "ApplyUpdate", "Filename": file, "UpdatableBy": [agent]});
        assert_eq!(session.post(queue, &body).await.status(), 201);
    }
    assert_eq!(session.count("flash"), 0, "the first waits for the host");
    session.double.reset_host("ForceRestart").await;
    session.installed("nic", "2.0").await;
    let done = |queue: &Value| {
        let states: Vec<_> = queue["Members"].as_array().unwrap().iter().map(|one| &one["State"]).collect();
        states == ["Complete", "Complete"]
    };
    session.until(&format!("{queue}?$expand=."), done).await;
    assert_ne!(session.double.version("bios").unwrap(), "2.0", "the ROM waits for one more start");
    session.double.reset_host("ForceRestart").await;
    assert_eq!(session.double.version("bios").unwrap(), "2.0");
}

/// The rack manager takes no image from a server that it does not trust.
#[tokio::test]
async fn a_superdome_flex_wants_https_and_a_trusted_certificate() {
    let session = Session::of("superdome-flex").await;
    let action = "/redfish/v1/UpdateService/Actions/SDFlexUpdateService.UpdateAll";
    let plain = file_server(Header::new("node-bmc", "4").to_file()).await;
    let answer = session.post(action, &json!({"ImageURI": format!("{plain}/sd.tars")})).await;
    assert_eq!(answer.status(), 400);
    // Any TLS server will do to be distrusted: the double itself.
    let answer = session.post(action, &json!({"ImageURI": session.url("/redfish")})).await;
    assert_eq!(answer.status(), 202);
    let task: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let uri = task["@odata.id"].as_str().unwrap();
    let ended = session.until(uri, |task| task["TaskState"] == "Completed").await;
    assert_eq!(ended["TaskStatus"], "Warning");
    assert!(ended["Messages"][0]["MessageId"].as_str().unwrap().ends_with("FirmwareUpdateDownloadFailure"));
}

/// A BMC without sessions and tasks answers nothing but 204.
#[tokio::test]
async fn the_minimal_bmc_takes_basic_and_says_nothing_more() {
    let mut session = Session::of("minimal").await;
    assert_eq!(session.token, None);
    let image = Header::new("bmc", "1.1").to_file();
    let uri = session.url("/redfish/v1/UpdateService/upload");
    let request = session.client.post(uri).header("content-type", "application/octet-stream").body(image);
    assert_eq!(session.with_login(request).send().await.unwrap().status(), 204);
    session.installed("bmc", "1.1").await;
    session.double.set(Settings::default());
    assert_eq!(session.get("/redfish/v1/TaskService").await.unwrap().0, 404);
    session.token = Some("a token that nobody gave".to_owned());
    assert_eq!(session.get("/redfish/v1/Systems").await.unwrap().0, 401);
}

/// Each of these is a trap that the driver's tests set; if it does not close, they prove nothing.
#[tokio::test]
async fn faults_happen_as_often_as_they_are_wanted() {
    let session = Session::of("openbmc").await;
    let fault = |fault| session.double.arm(Armed::times(fault, 1)).unwrap();
    let root = "/redfish/v1/Systems";

    fault(Fault::Unauthorized { path: String::new() });
    assert_eq!(session.get(root).await.unwrap().0, 401);
    assert_eq!(session.get(root).await.unwrap().0, 200);

    fault(Fault::Status { path: "Systems".to_owned(), status: 503 });
    assert_eq!(session.get("/redfish/v1/Managers").await.unwrap().0, 200);
    assert_eq!(session.get(root).await.unwrap().0, 503);

    fault(Fault::CutAnswer { path: String::new() });
    assert!(session.get(root).await.is_err());

    fault(Fault::OddMembers);
    let (_, odd) = session.get("/redfish/v1/UpdateService/FirmwareInventory").await.unwrap();
    assert_eq!(odd["Members@odata.count"], "many");

    fault(Fault::LiesSuccess);
    let answer = session.push(&Header::new("bmc", "3").to_file(), &json!({})).await;
    let monitor = answer.headers()["location"].to_str().unwrap().to_owned();
    let began = Instant::now();
    while session.get(&monitor).await.unwrap().0 == 202 {
        assert!(began.elapsed() < LIMIT);
    }
    assert_eq!(session.get(&monitor).await.unwrap().0, 404, "a monitor answers 204 once");
    assert_ne!(session.double.version("bmc").unwrap(), "3");

    fault(Fault::Busy);
    assert_eq!(session.push(&Header::new("bmc", "3").to_file(), &json!({})).await.status(), 503);

    session.double.arm(Armed::always(Fault::DropSessions)).unwrap();
    assert_eq!(session.get(root).await.unwrap().0, 401);
    session.double.arm(Armed::always(Fault::ChangeCertificate)).unwrap();
    let fresh = Client::builder().no_proxy().build().unwrap();
    assert!(fresh.get(session.url("/redfish")).send().await.is_err());
}

/// The account of a real BMC is locked by a client that tries a wrong password too often.
#[tokio::test]
async fn wrong_passwords_lock_the_account() {
    let session = Session::of("idrac9").await;
    let with = |password: &'static str| {
        let request = session.client.get(session.url("/redfish/v1/Systems"));
        async move { request.basic_auth("admin", Some(password)).send().await.unwrap().status() }
    };
    assert_eq!(with("password").await, 200);
    for _ in 0..3 {
        assert_eq!(with("wrong").await, 401);
    }
    assert_eq!(with("password").await, 401);
    assert_eq!(session.get("/redfish/v1/Systems").await.unwrap().0, 200, "sessions go on");
}

/// Tests in other processes have nothing but the control API.
#[tokio::test]
async fn the_control_api_sets_faults_and_tells_the_journal() {
    let session = Session::of("openbmc").await;
    let control = |path: &str| format!("http://{}{path}", session.double.control());
    let client = Client::builder().no_proxy().build().unwrap();
    let fault = json!({"name": "status", "path": "Chassis", "status": 404, "times": 1});
    assert_eq!(client.post(control("/faults")).json_body(&fault).send().await.unwrap().status(), 200);
    assert_eq!(session.get("/redfish/v1/Chassis").await.unwrap().0, 404);
    let set = client.patch(control("/settings")).json_body(&json!({"page-size": 1}));
    assert_eq!(set.send().await.unwrap().status(), 200);
    let (_, page) = session.get("/redfish/v1/UpdateService/FirmwareInventory").await.unwrap();
    let next = page["Members@odata.nextLink"].as_str().unwrap();
    assert_eq!(session.get(next).await.unwrap().1["Members"].as_array().unwrap().len(), 1);
    let journal = client.get(control("/journal?since=0")).send().await.unwrap().text().await.unwrap();
    assert!(journal.contains("\"path\":\"/redfish/v1/Chassis\""), "{journal}");
    let state: Value =
        serde_json::from_str(&client.get(control("/state")).send().await.unwrap().text().await.unwrap())
            .unwrap();
    assert_eq!(state["sessions"].as_array().unwrap().len(), 1);
}

/// Condition `StatusPath`: whoever asks for events gets them without asking again.
#[tokio::test]
async fn task_states_are_posted_to_whom_subscribed() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let session = Session::of("idrac9").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let destination = format!("http://{}/status", listener.local_addr().unwrap());
    let body = json!({"Destination": destination, "Protocol": "Redfish", "Context": "run-1"});
    assert_eq!(session.post("/redfish/v1/EventService/Subscriptions", &body).await.status(), 201);
    session.push(&Header::new("diagnostics", "3").to_file(), &json!({})).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    while !text.contains("OriginOfCondition") {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await.unwrap();
        assert_ne!(length, 0, "{text}");
        text += &String::from_utf8_lossy(&piece[..length]);
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(text.starts_with("POST /status") && text.contains("run-1"), "{text}");
}

/// Each line is a trap of another kind that the driver must not fall into.
#[tokio::test]
async fn updates_end_as_the_fault_says() {
    let ends = [
        (Fault::LiesSuccess, "Completed", "OK", false),
        (Fault::LiesFailure, "Exception", "Critical", true),
        (Fault::CompletedCritical, "Completed", "Critical", false),
        (Fault::UserIntervention, "UserIntervention", "OK", false),
        (Fault::RebootPending, "Completed", "OK", false),
        (Fault::Instant, "Completed", "OK", true),
    ];
    for (fault, state, status, changed) in ends {
        let session = Session::of("idrac9").await;
        session.double.arm(Armed::times(fault.clone(), 1)).unwrap();
        let answer = session.push(&Header::new("diagnostics", "3").to_file(), &json!({})).await;
        let task = answer.headers()["location"].to_str().unwrap().to_owned();
        let task = session.until(&task, |task| task["PercentComplete"] == 100).await;
        assert_eq!(
            (task["TaskState"].as_str(), task["TaskStatus"].as_str()),
            (Some(state), Some(status)),
            "{fault:?}"
        );
        assert_eq!(session.double.version("diagnostics").as_deref() == Some("3"), changed, "{fault:?}");
    }
}

/// Answers that do not come, or not in the usual form, are no reason to send the image again.
#[tokio::test]
async fn an_update_goes_on_though_its_answer_is_lost_or_odd() {
    let session = Session::of("idrac9").await;
    session.double.arm(Armed::times(Fault::LostAnswer { path: "MultipartUpload".to_owned() }, 1)).unwrap();
    let uri = session.url("/redfish/v1/UpdateService/MultipartUpload");
    let (kind, body) = form(&[
        ("UpdateParameters", None, b"{}"),
        ("UpdateFile", Some("a.exe"), &Header::new("diagnostics", "3").to_file()),
    ]);
    let request = session.client.post(uri).header("content-type", kind).body(body);
    assert!(session.with_login(request).send().await.is_err());
    session.installed("diagnostics", "3").await;

    session.double.arm(Armed::times(Fault::NoContent, 1)).unwrap();
    session.double.arm(Armed::times(Fault::TaskVanishes, 1)).unwrap();
    let answer = session.push(&Header::new("diagnostics", "4").to_file(), &json!({})).await;
    assert_eq!(answer.status(), 204);
    let task = answer.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(session.get(&task).await.unwrap().0, 200);
    assert_eq!(session.get(&task).await.unwrap().0, 404);
    session.installed("diagnostics", "4").await;
}

/// Somebody else's reset in mid-flight leaves the old firmware, and says so where jobs are kept.
#[tokio::test]
async fn a_reset_while_it_writes_leaves_the_old_version() {
    let mut session = Session::of("idrac9").await;
    session.double.set(Settings { flash_ms: 1000, bmc_reset_ms: 50, ..Settings::default() });
    let answer = session.push(&Header::new("diagnostics", "3").to_file(), &json!({})).await;
    let task = answer.headers()["location"].to_str().unwrap().to_owned();
    session.until(&task, |task| task["PercentComplete"] == 30).await;
    session.double.reset_bmc().await;
    session.log_in().await;
    session.until(&task, |task| task["TaskState"] == "Exception").await;
    assert_eq!(session.count("flash"), 0);
}

/// Components above the limit come in sections, each with its signature.
#[tokio::test]
async fn a_large_component_comes_in_sections() {
    let session = Session::of("ilo5").await;
    session.double.set(Settings { section_bytes: 4096, flash_ms: 80, ..Settings::default() });
    let mut header = Header::new("nic", "2.0");
    header.payload_bytes = 10_000;
    header.needs_compsig = true;
    let image = header.to_file();
    let send = async |section: usize, bytes: &[u8]| {
        let parameters =
            json!({"UpdateRepository": true, "UpdateTarget": false, "Section": section}).to_string();
        let signature = compsig(bytes);
        let (kind, body) = form(&[
            ("parameters", None, parameters.as_bytes()),
            ("compsig", Some("part.compsig"), signature.as_bytes()),
            ("file", Some("nic.fwpkg"), bytes),
        ]);
        let request =
            session.client.post(session.url("/cgi-bin/uploadFile")).header("content-type", kind).body(body);
        session.with_login(request).send().await.unwrap().status()
    };
    assert_eq!(send(0, &image).await, 413, "in one piece it is too large");
    for (section, bytes) in image.chunks(4096).enumerate() {
        assert_eq!(session.double.state()["components"], json!([]));
        assert_eq!(send(section, bytes).await, 200);
    }
    let repository = "/redfish/v1/UpdateService/ComponentRepository/?$expand=.";
    let one = session.until(repository, |all| all["Members@odata.count"] == 1).await;
    assert_eq!(one["Members"][0]["SizeBytes"], image.len());
}

/// A driver that opens a session for each request would lock everybody out.
#[tokio::test]
async fn sessions_and_requests_are_limited_and_counted() {
    let session = Session::of("idrac9").await;
    let body = json!({"UserName": "admin", "Password": "password"});
    for expected in [201, 201, 201, 201, 201, 201, 201, 503] {
        assert_eq!(session.post("/redfish/v1/SessionService/Sessions", &body).await.status(), expected);
    }
    session.double.arm(Armed::always(Fault::TooManyRequests { limit: 1 })).unwrap();
    session.double.arm(Armed::times(Fault::Slow { path: "Systems".to_owned(), ms: 300 }, 1)).unwrap();
    let many = futures::future::join_all((0..3).map(|_| session.get("/redfish/v1/Systems"))).await;
    let refused =
        many.iter().filter(|answer| answer.as_ref().is_ok_and(|(status, _)| *status == 503)).count();
    assert!(refused >= 1, "{many:?}");
    let load = &session.double.state()["load"];
    assert_eq!(load["sessions_most"], 8);
    assert!(load["requests_most"].as_u64() >= Some(2), "{load}");
}

/// What a test sets for the host's power must reach the host.
#[tokio::test]
async fn the_power_hook_is_told_of_every_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("power");
    let session = Session::of("openbmc").await;
    let power_hook =
        format!("echo $FARRIER_BMC_FROM $FARRIER_BMC_TO $FARRIER_BMC_RESET >> '{}'", file.display());
    session.double.set(Settings { power_hook, post_ms: 0, shutdown_ms: 0, ..Settings::default() });
    session.double.reset_host("GracefulRestart").await;
    let told = std::fs::read_to_string(file).unwrap();
    assert_eq!(told, "On Off GracefulRestart\nOff On GracefulRestart\n");
}
