//! SFTP and SCP, with OpenSSH's clients.

use super::site::{LOOPBACK, Site, dial_from, host};
use crate::callback::{AddressSet, Cause, Limits};
use farrier_network::FileService;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

const FILE: &str = "farrier-s1-4-ilo 5.bin";

/// A client's folder: what it trusts, and its password.
pub(super) struct Client {
    dir: tempfile::TempDir,
    port: u16,
}

impl Client {
    pub(super) fn new(port: u16, keys: &[String], password: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let known: Vec<String> = ["127.0.0.1", "::1"]
            .iter()
            .flat_map(|host| keys.iter().map(move |key| format!("[{host}]:{port} {key}\n")))
            .collect();
        std::fs::write(dir.path().join("known"), known.concat()).unwrap();
        let ask = dir.path().join("ask");
        std::fs::write(&ask, format!("#!/bin/sh\necho {password}\n")).unwrap();
        std::fs::set_permissions(&ask, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { dir, port }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a client of OpenSSH with this input.
    pub(super) async fn run(&self, program: &str, arguments: &[&str], input: &str) -> Output {
        let known = format!("-oUserKnownHostsFile={}", self.path("known").display());
        let port = format!("-oPort={}", self.port);
        let mut command = Command::new(program);
        command
            .args(["-F", "none", "-oStrictHostKeyChecking=yes", "-oBatchMode=no", "-oConnectTimeout=20"])
            .args(["-oNumberOfPasswordPrompts=1", &known, &port])
            .args(arguments)
            .env("SSH_ASKPASS", self.path("ask"))
            .env("SSH_ASKPASS_REQUIRE", "force")
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("OpenSSH's clients are installed");
        let mut stdin = child.stdin.take().unwrap();
        let _closed = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        tokio::time::timeout(Duration::from_mins(1), child.wait_with_output())
            .await
            .expect("it ends")
            .unwrap()
    }

    pub(super) async fn sftp(&self, host: &str, batch: &str) -> Output {
        self.run("sftp", &["-b", "-", &format!("farrier@{host}")], batch).await
    }
}

pub(super) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A machine fetches in its own way, and after an interruption goes on where it was.
#[tokio::test]
async fn sftp_and_scp_fetch_and_resume_over_both_families() {
    let site = Site::open(Limits::default());
    site.sources.send_replace(Arc::new(AddressSet::from_iter([LOOPBACK, "::1".parse().unwrap()])));
    site.offers.owners.lock().unwrap().push("::1".parse().unwrap());
    let (_service, port, keys) = site.service(FileService::Sftp);
    for (number, key) in keys.public().into_iter().enumerate() {
        let client = Client::new(port, &[key], &site.password());
        let ran = client.sftp("127.0.0.1", &format!("get \"{FILE}\" got\n")).await;
        assert!(ran.status.success(), "key {number}: {}", text(&ran));
        assert!(std::fs::read(client.path("got")).unwrap() == site.payload);
    }
    let client = Client::new(port, &keys.public(), &site.password());
    std::fs::write(client.path("half"), &site.payload[..1_000_001]).unwrap();
    let ran = client.sftp("[::1]", &format!("ls -1\nget \"/{FILE}\" got\nreget \"{FILE}\" half\n")).await;
    assert!(ran.status.success(), "{}", text(&ran));
    assert!(text(&ran).contains(&format!("{FILE}\n")), "{}", text(&ran));
    for path in [format!("./{FILE}"), format!("//{FILE}")] {
        let ran = client.sftp("127.0.0.1", &format!("get \"{path}\" other\n")).await;
        assert!(ran.status.success(), "{path}: {}", text(&ran));
    }
    let ran = client
        .run("sftp", &["-B", "262144", "-b", "-", "farrier@127.0.0.1"], &format!("get \"{FILE}\" large\n"))
        .await;
    assert!(ran.status.success(), "{}", text(&ran));
    for name in ["got", "half", "other", "large"] {
        assert!(std::fs::read(client.path(name)).unwrap() == site.payload, "{name}");
    }
    assert_eq!(*site.offers.sent.lock().unwrap(), site.payload.len() as u64);
    for (mode, from) in [
        ("-O", format!("farrier@127.0.0.1:{}", FILE.replace(' ', "\\ "))),
        ("-s", format!("farrier@127.0.0.1:{FILE}")),
    ] {
        let ran = client.run("scp", &[mode, "-p", &from, &mode[1..]], "").await;
        assert!(ran.status.success(), "{mode}: {}", text(&ran));
        assert!(std::fs::read(client.path(&mode[1..])).unwrap() == site.payload, "{mode}");
    }
    assert_eq!(site.refusals(), Vec::new());
}

/// Row E11: read only, one file, no way on from here.
#[tokio::test]
async fn openssh_can_neither_write_nor_run_nor_forward_anything() {
    let site = Site::open(Limits::default());
    let (_service, port, keys) = site.service(FileService::Sftp);
    let client = Client::new(port, &keys.public(), &site.password());
    std::fs::write(client.path("up"), "x").unwrap();
    for batch in [
        "put up x".to_owned(),
        format!("put up \"{FILE}\""),
        format!("rm \"{FILE}\""),
        format!("rename \"{FILE}\" x"),
        format!("chmod 777 \"{FILE}\""),
        format!("ln -s \"{FILE}\" x"),
        "mkdir x".to_owned(),
        "rmdir /".to_owned(),
        "get ../payload".to_owned(),
        "get /etc/passwd".to_owned(),
        "get farrier-s2-1-other.bin".to_owned(),
        "ls /etc".to_owned(),
        "cd /etc".to_owned(),
    ] {
        let ran = client.sftp("127.0.0.1", &format!("{batch}\n")).await;
        assert!(!ran.status.success(), "{batch}: {}", text(&ran));
    }
    let to = "farrier@127.0.0.1";
    for (program, arguments) in [
        ("scp", &["-O", "up", "farrier@127.0.0.1:x"][..]),
        ("scp", &["-s", "up", "farrier@127.0.0.1:x"]),
        ("scp", &["-O", "farrier@127.0.0.1:/etc/passwd", "got"]),
        ("scp", &["-O", "farrier@127.0.0.1:../payload", "got"]),
        ("ssh", &[to, "id"]),
        ("ssh", &[to, "scp -f /etc/passwd; id"]),
        ("ssh", &[to]),
        ("ssh", &["-tt", to]),
        ("ssh", &["-s", to, "netconf"]),
        ("ssh", &["-W", "127.0.0.1:22", to]),
        ("ssh", &["-N", "-oExitOnForwardFailure=yes", "-R", "127.0.0.1:0:127.0.0.1:22", to]),
    ] {
        let ran = client.run(program, arguments, "").await;
        assert!(!ran.status.success() && ran.stdout.is_empty(), "{program} {arguments:?}: {}", text(&ran));
    }
    assert!(!client.path("got").exists());
}

/// The password is worth nothing at another address or with another name, and dead when the action has ended.
#[tokio::test]
async fn an_account_is_for_one_machine_and_one_action() {
    let site = Site::open(Limits::default());
    site.sources.send_replace(Arc::new(AddressSet::from_iter([LOOPBACK, host(2)])));
    let (_service, port, keys) = site.service(FileService::Sftp);
    let client = Client::new(port, &keys.public(), &site.password());
    let get = format!("get \"{FILE}\" got\n");
    let is_refused = |ran: Output| assert!(text(&ran).contains("Permission denied"), "{}", text(&ran));
    is_refused(client.run("sftp", &["-oBindAddress=127.0.0.2", "-b", "-", "farrier@127.0.0.1"], &get).await);
    is_refused(client.run("sftp", &["-b", "-", "root@127.0.0.1"], &get).await);
    is_refused(Client::new(port, &keys.public(), "wrong").sftp("127.0.0.1", &get).await);
    let stranger = dial_from(host(3), (LOOPBACK, port).into()).await;
    if let Ok(mut stream) = stranger {
        assert!(
            stream.read_to_end(&mut Vec::new()).await.map_or(true, |read| read == 0),
            "it is not of the run"
        );
    }
    site.offers.open.lock().unwrap().clear();
    is_refused(client.sftp("127.0.0.1", &get).await);
    assert!(site.counters.refused(Cause::Account) >= 4 && site.counters.refused(Cause::Source) == 1);
}

/// A client that does not sign in must not hold a connection for ever, and a closed service holds none.
#[tokio::test]
async fn a_slow_client_is_let_go_and_a_closed_service_holds_nothing() {
    let site = Site::open(Limits { request: Duration::from_secs(2), ..Limits::default() });
    let (service, port, keys) = site.service(FileService::Sftp);
    let mut silent = TcpStream::connect((LOOPBACK, port)).await.unwrap();
    silent.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _reset =
        tokio::time::timeout(Duration::from_secs(30), silent.read_to_end(&mut rest)).await.expect("it ends");
    site.refused(Cause::TooSlow, 1).await;
    let client = Client::new(port, &keys.public(), &site.password());
    // Signed in, and idle for longer than the limit for signing in.
    let batch = format!("!sleep 3\nget \"{FILE}\" got\n!sleep 30\n");
    let idle = client.sftp("127.0.0.1", &batch);
    tokio::pin!(idle);
    let fetched = async {
        while !std::fs::metadata(client.path("got"))
            .is_ok_and(|found| found.len() == site.payload.len() as u64)
        {
            // sleep: the client reports nothing.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = fetched => {}
        ran = &mut idle => panic!("{}", text(&ran)),
    }
    tokio::time::timeout(Duration::from_secs(20), service.close()).await.expect("it closes");
    assert!(TcpStream::connect((LOOPBACK, port)).await.is_err());
    assert_eq!(site.counters.open(), 0);
}
