//! A folder that is offered, with clients that nobody here wrote: OpenSSH's and curl.

use super::ftp::{curl, url};
use super::sftp::{Client, text};
use super::site::{Site, get};
use crate::callback::{Cause, Limits};
use farrier_network::FileService;
use std::path::Path;
use tokio::net::TcpStream;

const NAME: &str = "farrier-s1-4-v9.1.1d";

/// More files than one answer of SFTP has names.
const MANY: usize = 450;

/// Offers an image as vendors publish it. Returns its files.
async fn offer(site: &Site) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("release.plist".to_owned(), b"SWBD148/a b.rpm\n".to_vec()),
        ("SWBD148/a b.rpm".to_owned(), site.payload[..700_001].to_vec()),
        ("SWBD148/deeper/empty.rpm".to_owned(), Vec::new()),
    ];
    files.extend((0..MANY).map(|n| (format!("many/{n}"), n.to_string().into_bytes())));
    let archived: Vec<(String, &[u8])> =
        files.iter().map(|(path, content)| (format!("v9.1.1d/{path}"), content.as_slice())).collect();
    let archived: Vec<(&str, &[u8])> =
        archived.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    site.offer_folder(NAME, &archived).await;
    files
}

fn is_whole(folder: &Path, files: &[(String, Vec<u8>)]) {
    for (path, content) in files {
        assert!(std::fs::read(folder.join(path)).is_ok_and(|read| read == *content), "{path}");
    }
}

/// `firmwaredownload` is given the path of the folder, and fetches one file after the other.
#[tokio::test]
async fn openssh_fetches_a_folder_and_its_files() {
    let site = Site::open(Limits::default());
    let files = offer(&site).await;
    let (_service, port, keys) = site.service(FileService::Sftp);
    let client = Client::new(port, &keys.public(), &site.password());
    let batch = format!(
        "get -r {NAME} all\ncd {NAME}/SWBD148\nget \"a b.rpm\" one\ncd ..\npwd\nls -1 SWBD148\nreget release.plist half\n"
    );
    std::fs::write(client.path("half"), "SWBD").unwrap();
    let ran = client.sftp("127.0.0.1", &batch).await;
    assert!(ran.status.success(), "{}", text(&ran));
    is_whole(&client.path("all"), &files);
    assert_eq!(std::fs::read(client.path("one")).unwrap(), files[1].1);
    assert_eq!(std::fs::read(client.path("half")).unwrap(), files[0].1);
    for words in [format!("directory: /{NAME}\n"), "SWBD148/a b.rpm\nSWBD148/deeper\n".to_owned()] {
        assert!(text(&ran).contains(&words), "{words}: {}", text(&ran));
    }
    let total: usize = files.iter().map(|(_, content)| content.len()).sum();
    assert_eq!(site.sent_of_folder(), total as u64, "each file counts once, however often it is fetched");
    let from = |path: &str| format!("farrier@127.0.0.1:/{NAME}{path}");
    for mode in ["-O", "-s"] {
        let to = format!("scp{mode}");
        let ran = client.run("scp", &[mode, "-r", "-p", &from(""), &to], "").await;
        assert!(ran.status.success(), "{mode}: {}", text(&ran));
        is_whole(&client.path(&to), &files);
        let ran = client.run("scp", &[mode, &from("/release.plist"), "list"], "").await;
        assert!(ran.status.success(), "{mode}: {}", text(&ran));
        assert_eq!(std::fs::read(client.path("list")).unwrap(), files[0].1);
    }
    assert_eq!(site.refusals(), Vec::new());
    for path in ["", "/none", "/../x", "/SWBD148/../../other/release.plist"] {
        let ran = client.run("scp", &["-O", &from(path), "no"], "").await;
        assert!(!ran.status.success() && !client.path("no").exists(), "{path}: {}", text(&ran));
    }
    assert!(site.counters.refused(Cause::Path) >= 3, "{:?}", site.refusals());
}

/// Clients of FTP change folders in three ways.
#[tokio::test]
async fn curl_fetches_from_a_folder_by_ftp() {
    let site = Site::open(Limits::default());
    let files = offer(&site).await;
    let (_service, port, _) = site.service(FileService::Ftp);
    let at = |path: &str| url(&site, "127.0.0.1", port, &format!("{NAME}{path}"));
    for way in ["multicwd", "singlecwd", "nocwd"] {
        let fetched = curl(&["--ftp-method", way], &at("/SWBD148/a%20b.rpm")).await;
        assert!(fetched.stdout == files[1].1, "{way}: {}", String::from_utf8_lossy(&fetched.stderr));
        let listed = curl(&["--ftp-method", way, "--list-only"], &at("/SWBD148/")).await;
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "a b.rpm\ndeeper\n", "{way}");
    }
    let long = String::from_utf8(curl(&[], &at("/")).await.stdout).unwrap();
    for line in
        ["dr-xr-xr-x 1 farrier farrier 0 Jan  1  2000 SWBD148", "farrier 16 Jan  1  2000 release.plist"]
    {
        assert!(long.contains(line), "{long}");
    }
    let rest = curl(&["--continue-at", "700000"], &at("/SWBD148/a%20b.rpm")).await;
    assert_eq!(rest.stdout, files[1].1[700_000..]);
    let quoted = ["CWD many", "CDUP", "CDUP", "PWD", "SIZE release.plist", "MLST SWBD148"];
    let options: Vec<&str> = quoted.iter().flat_map(|command| ["--quote", command]).collect();
    let asked = curl(&[&["--verbose"], &options[..2]].concat(), &at("/release.plist")).await;
    assert!(!asked.status.success(), "`many` is not in the root");
    let quoted = [&format!("CWD {NAME}/many"), "CDUP", "PWD", "SIZE release.plist", "MLST SWBD148"];
    let options: Vec<&str> = quoted.iter().flat_map(|command| ["--quote", command]).collect();
    let asked = curl(&[&["--verbose"], &options[..]].concat(), &url(&site, "127.0.0.1", port, "")).await;
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    for answer in [&format!("257 \"/{NAME}\""), "213 16", "type=dir;perm=el; /farrier-s1-4-v9.1.1d/SWBD148"] {
        assert!(said.contains(answer), "{answer}: {said}");
    }
    for path in ["/none", "/SWBD148", "/../../etc/passwd"] {
        let refused = curl(&["--path-as-is", "--ftp-method", "nocwd"], &at(path)).await;
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{path}");
    }
}

/// A device that fetches by HTTP is told the address of the folder.
#[tokio::test]
async fn files_of_a_folder_have_paths_in_http() {
    let site = Site::open(Limits::default());
    let files = offer(&site).await;
    let mut stream = TcpStream::connect(site.http()).await.unwrap();
    let path = |below: &str| {
        let token = site.identity.offer_token("s1", 4);
        format!("/{}/{token}/{NAME}{below}", site.identity.path_token())
    };
    let plist = get(&mut stream, &path("/release.plist"), "").await.unwrap();
    assert_eq!((plist.status, &plist.body), (200, &files[0].1));
    let rpm = get(&mut stream, &path("/SWBD148/a%20b%2erpm"), "Range: bytes=10-19\r\n").await.unwrap();
    assert_eq!((rpm.status, &rpm.body[..]), (206, &files[1].1[10..20]));
    for below in ["", "/", "/SWBD148", "/none", "/../release.plist", "/SWBD148/..%2Frelease.plist"] {
        let mut stream = TcpStream::connect(site.http()).await.unwrap();
        assert_eq!(get(&mut stream, &path(below), "").await.unwrap().status, 404, "{below}");
    }
}
