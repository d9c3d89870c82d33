//! `https://` against nginx: downloads that are cut.

use crate::front::{Front, answer, scripted};
use crate::process::{Process, free_port, serve};
use crate::{LONG, MIB, access, bytes, fetch, is, is_resumed, made_earlier, put, with_password};
use farrier_update::Reason;
use std::process::Command;
use tempfile::TempDir;

/// nginx, which serves a directory.
struct Nginx {
    front: Front,
    dir: TempDir,
    _process: Process,
}

impl Nginx {
    async fn start() -> Self {
        let (dir, port) = (tempfile::tempdir().expect("a directory"), free_port().await);
        let root = dir.path().display();
        let config = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/log;
             events {{}}
             http {{ access_log off; client_body_temp_path {root}/a; proxy_temp_path {root}/b;
               fastcgi_temp_path {root}/c; uwsgi_temp_path {root}/d; scgi_temp_path {root}/e;
               server {{ listen 127.0.0.1:{port}; root {root}; }} }}"
        );
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config).expect("a file");
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file).arg("-e").arg(dir.path().join("log"));
        let process = serve(&mut command, port).await;
        Self { front: Front::of(port).await, dir, _process: process }
    }

    fn put(&self, bytes: &[u8]) {
        put(&self.dir.path().join("bios.fd"), bytes);
    }

    fn url(&self) -> String {
        format!("https://{}/bios.fd", self.front.host)
    }
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_was_cut() {
    let nginx = Nginx::start().await;
    let long = bytes(LONG, 5);
    nginx.put(&long);
    nginx.front.cut(&[3 * MIB, 2 * MIB]);
    assert_eq!(fetch(&nginx.url(), access(), &long).await, Ok(LONG as u64));
    is_resumed(&nginx.front.seen(), 3);
    assert_eq!(nginx.front.asked().matches("if-range: \"").count(), 2, "only of the same file");
}

/// Two halves of two files are taken for a file that somebody changed on the way, for good.
#[tokio::test]
async fn a_file_that_is_replaced_meanwhile_is_fetched_from_its_first_byte() {
    let nginx = Nginx::start().await;
    let new = bytes(LONG, 7);
    nginx.put(&bytes(LONG, 6));
    made_earlier(&nginx.dir.path().join("bios.fd"));
    nginx.front.cut(&[3 * MIB]);
    let url = nginx.url();
    let replace = async {
        nginx.front.has_sent(3 * MIB).await;
        nginx.put(&new);
    };
    let (fetched, ()) = tokio::join!(fetch(&url, access(), &new), replace);
    assert_eq!(fetched, Ok(LONG as u64));
}

/// A run waits for hours for a server that never sends more than the beginning.
#[tokio::test]
async fn a_server_that_always_cuts_is_given_up() {
    let nginx = Nginx::start().await;
    nginx.put(&bytes(LONG, 8));
    nginx.front.cut(&[MIB / 8; 20]);
    let fetched = fetch(&nginx.url(), access(), &bytes(LONG, 8)).await;
    is(&fetched, Reason::PayloadTruncated, &["was interrupted after", &format!("of {LONG} bytes")]);
    assert_eq!(nginx.front.seen().len(), 4);
}

/// Servers without ranges send the whole file again, which would be appended to what is there.
#[tokio::test]
async fn a_server_without_ranges_sends_the_whole_file_again() {
    let file = bytes(1000, 9);
    let whole = answer("200 OK", "", &file);
    let cut = whole[..whole.len() - 500].to_vec();
    let shifted = answer("206 Partial Content", "content-range: bytes 100-999/1000\r\n", &file[100..]);
    let shorter = answer("416 Range Not Satisfiable", "content-range: bytes */10\r\n", b"");
    for second in [whole.clone(), shifted, shorter] {
        let server = scripted(vec![cut.clone(), second, whole.clone()]).await;
        let url = format!("https://{}/bios.fd", server.host);
        assert_eq!(fetch(&url, access(), &file).await, Ok(1000));
    }
}

/// Credentials reach the server that a redirect names, or the rest is asked for somewhere else.
#[tokio::test]
async fn a_redirect_is_resumed_without_credentials() {
    let nginx = Nginx::start().await;
    let long = bytes(LONG, 10);
    nginx.put(&long);
    nginx.front.cut(&[3 * MIB]);
    let redirect = format!("location: {}\r\n", nginx.url());
    let server = scripted(vec![answer("302 Found", &redirect, b""); 2]).await;
    let url = format!("https://{}/x", server.host);
    assert_eq!(fetch(&url, with_password("user", "password"), &long).await, Ok(LONG as u64));
    assert_eq!(server.asked().matches("authorization: basic").count(), 2);
    assert!(!nginx.front.asked().contains("authorization"));
    is_resumed(&nginx.front.seen(), 2);
}
