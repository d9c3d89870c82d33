//! Commands of other tools, which a real shell runs in the machine's directory.
//!
//! Programs in `bin` of the directory of all machines are found first, for instance a `dpkg` that keeps what is
//! installed in the machine's directory.

use crate::fleet;
use crate::shell::Peer;
use russh::Channel;
use russh::server::Msg;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Exit status of a program that a signal has ended.
const KILLED: u32 = 255;

/// Runs a command line. Returns its exit status.
pub(crate) async fn run(peer: &Peer, line: &str, mut channel: Channel<Msg>) -> std::io::Result<u32> {
    let Some(place) = &peer.fleet.settings.foreign else {
        eprintln!("a simulated machine has no shell for: {line}");
        return Ok(127);
    };
    let dir = place.join(fleet::name(peer.number));
    tokio::fs::create_dir_all(&dir).await?;
    let mut child = Command::new("/bin/sh")
        .args(["-c", line])
        .current_dir(&dir)
        .env_clear()
        .env("HOME", &dir)
        .env("PATH", format!("{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", place.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (mut output, mut errors) = (channel.make_writer(), channel.make_writer_ext(Some(1)));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut reader = channel.make_reader();
    let input = async {
        let Some(mut stdin) = stdin else { return };
        // A program may end before it has read everything.
        tokio::io::copy(&mut reader, &mut stdin).await.ok();
        stdin.shutdown().await.ok();
    };
    let printed = async {
        if let Some(mut stdout) = stdout {
            tokio::io::copy(&mut stdout, &mut output).await.ok();
        }
    };
    let said = async {
        if let Some(mut stderr) = stderr {
            tokio::io::copy(&mut stderr, &mut errors).await.ok();
        }
    };
    let ended = async {
        tokio::join!(printed, said);
        child.wait().await
    };
    tokio::pin!(input);
    tokio::pin!(ended);
    let status = tokio::select! {
        status = &mut ended => status?,
        () = &mut input => ended.await?,
    };
    Ok(status.code().and_then(|code| u32::try_from(code).ok()).unwrap_or(KILLED))
}
