//! SSH clients that keep to the protocol and still would hold a service open.

use super::site::{LOOPBACK, Site, until};
use crate::callback::Limits;
use farrier_network::FileService;
use russh::client::{self, Handle};
use russh::{Channel, ChannelMsg};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// Closing does not wait for clients.
const SOON: Duration = Duration::from_secs(10);

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

async fn signed_in(site: &Site, port: u16) -> Handle<Trusting> {
    let config = Arc::new(client::Config::default());
    let mut handle = client::connect(config, (LOOPBACK, port), Trusting).await.unwrap();
    let answer = handle.authenticate_password("farrier", site.password()).await.unwrap();
    assert!(answer.success(), "{answer:?}");
    handle
}

async fn closes(site: Site, service: crate::callback::OpenService) {
    timeout(SOON, service.close()).await.expect("the service closes");
    timeout(SOON, site.server.close()).await.expect("the server closes");
    // The SFTP library's task ends with its pipe.
    timeout(SOON, until(|| site.counters.open() == 0)).await.expect("no connection is left");
}

/// Starts OpenSSH's client with this request, and reads nothing of what comes.
fn stuck_client(dir: &tempfile::TempDir, port: u16, password: &str, file: &str) -> tokio::process::Child {
    use std::os::unix::fs::PermissionsExt;
    let ask = dir.path().join("ask");
    std::fs::write(&ask, format!("#!/bin/sh\necho {password}\n")).unwrap();
    std::fs::set_permissions(&ask, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = tokio::process::Command::new("ssh");
    command
        .args(["-F", "none", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"])
        .args([&format!("-oPort={port}"), "farrier@127.0.0.1", &format!("scp -f '{file}'")])
        .env("SSH_ASKPASS", ask)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().expect("OpenSSH's client is installed")
}

/// Otherwise a machine that loses power in the middle of a transfer keeps the run's server from closing.
#[tokio::test]
async fn a_client_that_stopped_reading_and_died_leaves_nothing_behind() {
    let site = Site::open(Limits::default());
    let (service, port, _) = site.service(FileService::Sftp);
    let dir = tempfile::tempdir().unwrap();
    let mut child = stuck_client(&dir, port, &site.password(), "farrier-s1-4-ilo 5.bin");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&[0; 3]).await.unwrap();
    // OpenSSH's window is 2 MiB, and it has not been told that anybody took what came.
    until(|| *site.offers.sent.lock().unwrap() >= 1_800_000).await;
    assert_eq!(site.transfers_of(LOOPBACK), 1);
    child.kill().await.unwrap();
    timeout(SOON, until(|| site.transfers_of(LOOPBACK) == 0)).await.expect("the transfer ends");
    closes(site, service).await;
}

/// As above, while the client lives.
#[tokio::test]
async fn a_client_that_reads_nothing_does_not_keep_the_service_open() {
    let site = Site::open(Limits::default());
    let (service, port, _) = site.service(FileService::Sftp);
    let dir = tempfile::tempdir().unwrap();
    let mut child = stuck_client(&dir, port, &site.password(), "farrier-s1-4-ilo 5.bin");
    child.stdin.take().unwrap().write_all(&[0; 3]).await.unwrap();
    until(|| *site.offers.sent.lock().unwrap() >= 1_800_000).await;
    closes(site, service).await;
}

/// Otherwise a client stops the session: the SSH library waits until somebody takes the data.
#[tokio::test]
async fn a_channel_with_data_before_a_request_is_closed() {
    let site = Site::open(Limits::default());
    let (service, port, _) = site.service(FileService::Sftp);
    let client = signed_in(&site, port).await;
    let mut channel = client.channel_open_session().await.unwrap();
    for _ in 0..300 {
        // The channel may be closed by now.
        let _sent = channel.data(&b"x"[..]).await;
    }
    let is_closed = async {
        while let Some(message) = channel.wait().await {
            if matches!(message, ChannelMsg::Close) {
                break;
            }
        }
    };
    timeout(SOON, is_closed).await.expect("the channel is closed");
    closes(site, service).await;
}

/// As above, with a channel that is served and whose answers are not read.
#[tokio::test]
async fn requests_without_number_do_not_keep_the_service_open() {
    let site = Site::open(Limits::default());
    let (service, port, _) = site.service(FileService::Sftp);
    let client = signed_in(&site, port).await;
    let channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    let (_unread, writer) = channel.split();
    let flood = async {
        // REALPATH of `/`: its answer is longer than the request.
        let request = [0, 0, 0, 10, 16, 0, 0, 0, 1, 0, 0, 0, 1, b'/'].repeat(2000);
        while writer.data(&request[..]).await.is_ok() {}
    };
    let _full = timeout(Duration::from_secs(2), flood).await;
    closes(site, service).await;
}

/// Otherwise one client could have any number of transfers and handles.
#[tokio::test]
async fn the_fifth_channel_of_a_connection_is_refused() {
    let site = Site::open(Limits::default());
    let (service, port, _) = site.service(FileService::Sftp);
    let client = signed_in(&site, port).await;
    let mut open: Vec<Channel<client::Msg>> = Vec::new();
    for _ in 0..4 {
        let mut channel = client.channel_open_session().await.unwrap();
        channel.request_subsystem(true, "sftp").await.unwrap();
        assert!(matches!(channel.wait().await, Some(ChannelMsg::Success)));
        open.push(channel);
    }
    assert!(client.channel_open_session().await.is_err(), "four are enough");
    open.pop().unwrap().close().await.unwrap();
    let again = async { while client.channel_open_session().await.is_err() {} };
    timeout(SOON, again).await.expect("a closed channel makes room");
    closes(site, service).await;
}

/// Otherwise the SFTP library takes the rest of the request for requests, and logs each of them.
#[tokio::test]
async fn the_first_request_that_is_too_long_is_the_last() {
    let site = Site::open(Limits::default());
    let (service, port, _) = site.service(FileService::Sftp);
    let client = signed_in(&site, port).await;
    let mut channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    channel.data(&[0xff; 64][..]).await.unwrap();
    let is_closed = async { while !matches!(channel.wait().await, Some(ChannelMsg::Close) | None) {} };
    timeout(SOON, is_closed).await.expect("the channel is closed");
    closes(site, service).await;
}
