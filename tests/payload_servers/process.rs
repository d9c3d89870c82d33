//! Server processes: started, waited for, and ended with the test.

use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

/// A server, until it is dropped.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts a server and waits until it accepts connections at this port.
pub(crate) async fn serve(command: &mut Command, port: u16) -> Process {
    // What it says is of interest only if it does not start.
    let mut said = tempfile::tempfile().expect("a file");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.try_clone().expect("a file"));
    let mut process = Process(command.spawn().expect("the server"));
    let end = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        let ended = process.0.try_wait().expect("its state");
        if ended.is_some() || Instant::now() > end {
            let mut text = String::new();
            said.rewind().expect("a file");
            said.read_to_string(&mut text).expect("text");
            panic!("{command:?} does not serve ({ended:?}): {text}");
        }
        // sleep: the server is asked again
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    process
}

/// Returns a port that nobody has.
pub(crate) async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("its number").port()
}

/// Returns a program that the check has built.
pub(crate) fn program(name: &str) -> PathBuf {
    let dir = std::env::var("FARRIER_PAYLOAD_SERVERS")
        .unwrap_or_else(|_| panic!("{name} is not there; run these tests with hack/test payload-servers"));
    PathBuf::from(dir).join(name)
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().expect("a program");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
}
