//! The endpoint from outside: over TCP.

use super::*;
use crate::engines::Engines;
use crate::heartbeat::LastContact;
use crate::payload::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Served {
    address: SocketAddr,
    loops: Loops,
    dir: tempfile::TempDir,
}

async fn served() -> Served {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("farrier-engine-x86_64-linux"), "an engine").unwrap();
    let engines = Engines::load(dir.path()).unwrap();
    let store = Store::open(&dir.path().join("cache"), None).unwrap();
    let loops = Loops::default();
    let readiness = Readiness::new(LastContact::default(), engines, store);
    let endpoint = Endpoint { metrics: Metrics::new(), loops: loops.clone(), readiness };
    let listener = bind(Some((Ipv4Addr::LOCALHOST, 0).into())).await.unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(endpoint.serve(listener));
    Served { address, loops, dir }
}

impl Served {
    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// Probes, scrapers and people each find what they need, and failed checks are named.
#[tokio::test]
async fn each_path_returns_its_content() {
    let served = served().await;
    let _beat = served.loops.begin("runner", Duration::from_hours(1));
    let healthy = served.ask("GET /healthz").await;
    assert!(healthy.starts_with("HTTP/1.1 200") && healthy.contains("[+]runner ok"), "{healthy}");
    let ready = served.ask("GET /readyz?verbose").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    for line in [
        "[+]api-server ok",
        "[-]caches failed: no watch has started yet",
        "[+]engines ok: for x86_64",
        "[+]payload-store ok",
        "readyz check failed",
    ] {
        assert!(ready.contains(line), "{line} is not in {ready}");
    }
    let metrics = served.ask("GET /metrics").await;
    assert!(metrics.contains("content-type: application/openmetrics-text; version=1.0.0"), "{metrics}");
    assert!(metrics.contains("farrier_build_info{version=") && metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(served.ask("GET /").await.starts_with("HTTP/1.1 404"));
    assert!(served.ask("POST /metrics").await.starts_with("HTTP/1.1 405"));
    let head = format!("GET /{}", "x".repeat(HEAD_LIMIT * 2));
    assert!(!served.ask(&head).await.contains(" 200 "), "a request of any length is read");
}

/// A payload volume that is full or read-only makes every run fail, one machine after the other.
#[tokio::test]
async fn a_store_that_cannot_be_written_is_named() {
    let served = served().await;
    std::fs::remove_dir(served.dir.path().join("cache")).unwrap();
    let ready = served.ask("GET /readyz").await;
    assert!(ready.contains("[-]payload-store failed: ") && ready.contains("cannot be written"), "{ready}");
}

/// A client that opens connections and sends nothing would make Kubernetes restart a healthy
/// operator.
#[tokio::test]
async fn silent_connections_do_not_keep_probes_out() {
    let served = served().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS * 3 {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    assert!(served.ask("GET /healthz").await.starts_with("HTTP/1.1 200"));
    // The oldest connection was closed.
    let mut oldest = silent.swap_remove(0);
    assert!(matches!(oldest.read(&mut [0]).await, Ok(0) | Err(_)));
}

/// Two operators on one host: the second one works, and logs that its metrics are not served. An
/// operator with a configured address fails instead.
#[tokio::test]
async fn only_the_default_address_may_be_in_use() {
    let _first = bind(None).await.unwrap();
    assert!(bind(None).await.unwrap().is_none());
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert!(bind(Some(other.local_addr().unwrap())).await.is_err());
}
