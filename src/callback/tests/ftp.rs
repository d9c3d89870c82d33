//! FTP, with clients that nobody here wrote: curl and Python's ftplib.

use super::site::{LOOPBACK, Site, dial_from, host, until};
use crate::callback::{AddressSet, Cause, Limits};
use farrier_network::FileService;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

/// The offer's file in a URL.
const FILE: &str = "farrier-s1-4-ilo%205.bin";

pub(super) async fn curl(more: &[&str], url: &str) -> Output {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60"]).args(more).arg(url);
    curl.output().await.expect("curl is installed")
}

pub(super) fn url(site: &Site, host: &str, port: u16, path: &str) -> String {
    format!("ftp://farrier:{}@{host}:{port}/{path}", site.password())
}

/// A machine fetches in its own way, and after an interruption goes on where it was.
#[tokio::test]
async fn curl_fetches_in_passive_mode_and_resumes_over_both_families() {
    let site = Site::open(Limits::default());
    site.sources.send_replace(Arc::new(AddressSet::from_iter([LOOPBACK, "::1".parse().unwrap()])));
    site.offers.owners.lock().unwrap().push("::1".parse().unwrap());
    let (_service, port, _) = site.service(FileService::Ftp);
    for (more, host, from) in [
        (&[][..], "127.0.0.1", 0),
        (&["--disable-epsv", "--no-ftp-skip-pasv-ip"], "127.0.0.1", 0),
        (&[], "[::1]", 0),
        (&["--continue-at", "1000000"], "127.0.0.1", 1_000_000),
    ] {
        let fetched = curl(more, &url(&site, host, port, FILE)).await;
        let error = String::from_utf8_lossy(&fetched.stderr).into_owned();
        assert!(fetched.status.success(), "{host} {more:?}: {error}");
        assert!(fetched.stdout == site.payload[from..], "{host} {more:?}: {} bytes", fetched.stdout.len());
    }
    let listed = curl(&["--list-only"], &url(&site, "127.0.0.1", port, "")).await;
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "farrier-s1-4-ilo 5.bin\n");
    assert_eq!(*site.offers.sent.lock().unwrap(), site.payload.len() as u64);
    assert_eq!(site.refusals(), Vec::new());
}

/// Row E11: read only, no active mode, one file.
#[tokio::test]
async fn curl_can_neither_write_nor_make_the_server_connect() {
    let site = Site::open(Limits::default());
    let (_service, port, _) = site.service(FileService::Ftp);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("up.bin");
    std::fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    for (more, path) in [
        (&["--ftp-port", "127.0.0.1"][..], FILE),
        (&["--ftp-port", "127.0.0.1", "--disable-eprt"], FILE),
        (&["--upload-file", file], "up.bin"),
        (&["--upload-file", file], FILE),
        (&["--quote", "DELE farrier-s1-4-ilo 5.bin"], FILE),
        (&["--quote", "MKD x"], FILE),
        (&["--path-as-is"], "../payload"),
        (&["--path-as-is"], "%2Fetc/passwd"),
        (&[], "farrier-s2-1-other.bin"),
        (&["--user", "farrier:wrong"], FILE),
        (&["--user", "anonymous:x@y"], FILE),
        (&["--ssl-reqd"], FILE),
    ] {
        let refused = curl(more, &url(&site, "127.0.0.1", port, path)).await;
        assert!(!refused.status.success(), "{more:?} {path}");
        assert!(refused.stdout.is_empty(), "{more:?} {path}");
    }
    assert!(
        site.counters.refused(Cause::Path) >= 9 && site.counters.refused(Cause::Account) == 2,
        "{:?}",
        site.refusals()
    );
}

/// The same with another client, which asks for more than curl does.
#[tokio::test]
async fn ftplib_reads_one_file_and_is_refused_everything_else() {
    let site = Site::open(Limits::default());
    let (_service, port, _) = site.service(FileService::Ftp);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let script = r#"
import ftplib, io, sys
port, password, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
name = "farrier-s1-4-ilo 5.bin"
ftp = ftplib.FTP()
ftp.connect("127.0.0.1", port, timeout=60)
for command in ["RETR " + name, "LIST", "PASV", "STOR x", "SIZE " + name]:
    try:
        ftp.sendcmd(command)
        sys.exit("not refused before the sign-in: " + command)
    except ftplib.error_perm as error:
        assert str(error).startswith("530"), (command, error)
ftp.login("farrier", password)
assert ftp.pwd() == "/", ftp.pwd()
assert ftp.nlst() == [name], ftp.nlst()
assert [entry[0] for entry in ftp.mlsd()] == [name]
ftp.voidcmd("TYPE I")
size = ftp.size(name)
for begin in [0, 1, size - 7]:
    content = io.BytesIO()
    ftp.retrbinary("RETR /" + name, content.write, rest=begin)
    assert len(content.getvalue()) == size - begin, (begin, len(content.getvalue()))
    if begin == 0:
        open(out, "wb").write(content.getvalue())
ftp.voidcmd("TYPE A")
data, content = ftp.transfercmd("RETR " + name), io.BytesIO()
while part := data.recv(1 << 16):
    content.write(part)
data.close()
ftp.voidresp()
assert content.getvalue() == open(out, "rb").read(), "an image is sent as it is"
for number, refused in enumerate([
    lambda: ftp.storbinary("STOR " + name, io.BytesIO(b"x")), lambda: ftp.delete(name), lambda: ftp.mkd("x"),
    lambda: ftp.rmd("/"), lambda: ftp.rename(name, "x"), lambda: ftp.sendcmd("CWD .."), lambda: ftp.cwd("/etc"),
    lambda: ftp.retrbinary("RETR ../" + name, print), lambda: ftp.retrbinary("RETR /etc/passwd", print),
    lambda: ftp.retrbinary("RETR farrier-s2-1-x.bin", print), lambda: ftp.nlst("/etc"), lambda: ftp.size("/etc/passwd"),
    lambda: ftp.sendport("192.0.2.7", 80), lambda: ftp.sendeprt("192.0.2.7", 80), lambda: ftp.sendcmd("SITE CHMOD 777 x"),
    lambda: ftp.sendcmd("APPE " + name), lambda: ftp.sendcmd("REST -1"), lambda: ftp.sendcmd("AUTH TLS"),
    lambda: ftp.retrbinary("RETR " + name, print, rest=size + 1),
]):
    try:
        refused()
    except ftplib.error_perm:
        continue
    sys.exit("not refused: number %d of the list" % number)
ftp.quit()
"#;
    let ran =
        Command::new("python3").args(["-c", script, &port.to_string(), &site.password()]).arg(&out).output();
    let ran = ran.await.expect("python3 is installed");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(std::fs::read(&out).unwrap() == site.payload);
}

/// Otherwise a client waits for the answer to a command whose last byte was urgent data.
#[tokio::test]
async fn ftplib_aborts_with_urgent_data_and_asks_for_facts() {
    let site = Site::open(Limits::default());
    let (_service, port, _) = site.service(FileService::Ftp);
    let script = r#"
import ftplib, socket, sys
port, password = int(sys.argv[1]), sys.argv[2]
name = "farrier-s1-4-ilo 5.bin"
ftp = ftplib.FTP()
ftp.connect("127.0.0.1", port, timeout=20)
ftp.login("farrier", password)
assert ftp.abort().startswith("226")
ftp.sock.send(b"\xff\xf4\xff", socket.MSG_OOB)
ftp.sock.sendall(b"\xf2ABOR\r\n")
assert ftp.voidresp().startswith("226")
facts = ftp.sendcmd("MLST ./" + name).splitlines()
assert facts[1] == " type=file;size=3000007;perm=r; /" + name, facts
assert " type=dir;perm=el; /" in ftp.sendcmd("MLST /")
for path in ["./" + name, "//" + name, "/./" + name]:
    assert ftp.size(path) == 3000007, path
ftp.quit()
"#;
    let ran = Command::new("python3").args(["-c", script, &port.to_string(), &site.password()]).output();
    let ran = ran.await.expect("python3 is installed");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// Sends a command, and returns the last line of the answer.
async fn ask(stream: &mut BufReader<TcpStream>, command: &str) -> String {
    stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
    answer(stream).await
}

async fn answer(stream: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line.is_empty() || line.as_bytes().get(3) == Some(&b' ') {
            return line.trim_end().to_owned();
        }
    }
}

/// Opens a control connection and signs in.
async fn signed_in(site: &Site, port: u16) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(TcpStream::connect((LOOPBACK, port)).await.unwrap());
    answer(&mut stream).await;
    ask(&mut stream, "USER farrier").await;
    let answer = ask(&mut stream, &format!("PASS {}", site.password())).await;
    assert!(answer.starts_with("230"), "{answer}");
    stream
}

async fn passive(stream: &mut BufReader<TcpStream>) -> u16 {
    let answer = ask(stream, "EPSV").await;
    answer.split('|').nth(3).unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

/// Otherwise another machine of the run could take the file by connecting first.
#[tokio::test]
async fn a_data_connection_of_another_machine_gets_nothing() {
    let site = Site::open(Limits::default());
    site.sources.send_replace(Arc::new(AddressSet::from_iter([LOOPBACK, host(2)])));
    let (_service, port, _) = site.service(FileService::Ftp);
    let mut control = signed_in(&site, port).await;
    let data = passive(&mut control).await;
    for thief in [host(2), host(3)] {
        let mut stolen = Vec::new();
        if let Ok(mut stream) = dial_from(thief, (LOOPBACK, data).into()).await {
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut stolen));
            let _reset = read.await.expect("the connection is closed");
        }
        assert!(stolen.is_empty(), "{thief}");
    }
    let mut stream = TcpStream::connect((LOOPBACK, data)).await.unwrap();
    assert!(ask(&mut control, "RETR farrier-s1-4-ilo 5.bin").await.starts_with("150"));
    let mut content = Vec::new();
    stream.read_to_end(&mut content).await.unwrap();
    assert!(content == site.payload && answer(&mut control).await.starts_with("226"));
    let mut late = TcpStream::connect((LOOPBACK, data)).await.unwrap();
    assert!(late.read_to_end(&mut Vec::new()).await.map_or(true, |read| read == 0), "nobody waits any more");
    assert_eq!(site.refusals(), [(Cause::Source, 1), (Cause::Path, 2)]);
}

/// The password is worth nothing at another address, and dead when the action has ended.
#[tokio::test]
async fn an_account_is_for_one_machine_and_one_action() {
    let site = Site::open(Limits::default());
    site.sources.send_replace(Arc::new(AddressSet::from_iter([LOOPBACK, host(2)])));
    let (_service, port, _) = site.service(FileService::Ftp);
    let mut control = signed_in(&site, port).await;
    let mut other = BufReader::new(dial_from(host(2), (LOOPBACK, port).into()).await.unwrap());
    answer(&mut other).await;
    ask(&mut other, "USER farrier").await;
    let password = format!("PASS {}", site.password());
    assert!(ask(&mut other, &password).await.starts_with("530"), "another machine of the run");
    site.offers.open.lock().unwrap().clear();
    passive(&mut control).await;
    assert!(
        ask(&mut control, "RETR farrier-s1-4-ilo 5.bin").await.starts_with("550"),
        "the action has ended"
    );
    ask(&mut control, "USER farrier").await;
    for expected in ["530", "530", "421"] {
        assert!(ask(&mut control, &password).await.starts_with(expected), "{expected}");
    }
    assert_eq!(ask(&mut control, "NOOP").await, "", "three attempts are enough");
}

/// A client that stops in the middle, or says nothing, must not hold a connection for ever.
#[tokio::test]
async fn a_client_that_aborts_or_is_slow_is_let_go() {
    let site = Site::open(Limits { request: Duration::from_millis(300), ..Limits::default() });
    let (_service, port, _) = site.service(FileService::Ftp);
    let mut control = signed_in(&site, port).await;
    let data = passive(&mut control).await;
    let stream = TcpStream::connect((LOOPBACK, data)).await.unwrap();
    assert!(ask(&mut control, "RETR farrier-s1-4-ilo 5.bin").await.starts_with("150"));
    assert!(ask(&mut control, "\u{0}ABOR".trim_start_matches('\u{0}')).await.starts_with("426"));
    assert!(answer(&mut control).await.starts_with("226"));
    drop(stream);
    until(|| site.transfers_of(LOOPBACK) == 0).await;
    assert!(ask(&mut control, "NOOP").await.starts_with("200"), "the connection goes on");
    let mut silent = BufReader::new(TcpStream::connect((LOOPBACK, port)).await.unwrap());
    answer(&mut silent).await;
    assert!(answer(&mut silent).await.starts_with("421"));
    site.refused(Cause::TooSlow, 1).await;
}

/// Row E11: nothing listens after the end, and what was open is closed.
#[tokio::test]
async fn a_closed_service_holds_nothing() {
    let site = Site::open(Limits::default());
    let (service, port, _) = site.service(FileService::Ftp);
    let mut control = signed_in(&site, port).await;
    let data = passive(&mut control).await;
    assert!(TcpStream::connect((LOOPBACK, data)).await.is_ok());
    tokio::time::timeout(Duration::from_secs(20), service.close()).await.expect("it closes");
    for port in [port, data] {
        assert!(TcpStream::connect((LOOPBACK, port)).await.is_err(), "port {port}");
    }
    let mut rest = Vec::new();
    assert!(control.read_to_end(&mut rest).await.map_or(true, |read| read == 0));
    assert!(TcpStream::connect(site.http()).await.is_ok(), "the other ports stay open");
}

/// Begins a transfer whose client reads one byte and no more. Returns both connections.
async fn stalled(site: &Site, port: u16) -> (BufReader<TcpStream>, TcpStream) {
    let mut control = signed_in(site, port).await;
    let data = passive(&mut control).await;
    let stream = tokio::net::TcpSocket::new_v4().unwrap();
    stream.set_recv_buffer_size(4096).unwrap();
    let mut stream = stream.connect((LOOPBACK, data).into()).await.unwrap();
    assert!(ask(&mut control, "RETR farrier-s1-4-ilo 5.bin").await.starts_with("150"));
    stream.read_u8().await.unwrap();
    (control, stream)
}

/// Otherwise a machine takes half of an image for all of it, because the end of the connection is the end of the file.
#[tokio::test]
async fn a_transfer_that_is_cut_ends_with_a_reset() {
    let site = Site::open(Limits::default());
    let (service, port, _) = site.service(FileService::Ftp);
    let (_control, mut stream) = stalled(&site, port).await;
    service.close().await;
    let mut rest = Vec::new();
    let error = stream.read_to_end(&mut rest).await.expect_err("it is not the end of the file");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// The account is dead when the action has ended, also in the middle of a transfer.
#[tokio::test]
async fn nothing_more_is_sent_when_the_action_has_ended() {
    let site = Site::open(Limits::default());
    let (_service, port, _) = site.service(FileService::Ftp);
    let (mut control, mut stream) = stalled(&site, port).await;
    site.offers.open.lock().unwrap().clear();
    // sleep: it is looked up once a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).await.is_err());
    assert!(answer(&mut control).await.starts_with("426"));
}

/// Otherwise a port is open for every machine of the run while one of them fetches by it.
#[tokio::test]
async fn a_machine_that_fetches_in_another_way_is_refused() {
    let site = Site::open(Limits::default());
    let (_service, port, _) = site.service(FileService::Ftp);
    site.offers.elsewhere.lock().unwrap().push((LOOPBACK, FileService::Ftp));
    if let Ok(mut stream) = TcpStream::connect((LOOPBACK, port)).await {
        assert!(stream.read_to_end(&mut Vec::new()).await.map_or(true, |read| read == 0));
    }
    site.refused(Cause::Source, 1).await;
    site.offers.elsewhere.lock().unwrap().clear();
    signed_in(&site, port).await;
}
