//! Staged payloads: brought to the machine by one run, and installed by a later one.
//!
//! A root shell does the work, while no engine of this session is there. What ends the leases is a script on the
//! machine, which its scheduler runs (`drop.sh`). See docs/adr/0048.

use super::{Machine, STAGED_PLACES};
use crate::drivers::engine::{StageFile, StageOrder, StagedPayload, StagedPayloads};
use crate::drivers::shell::script::{END, between, code, program};
use crate::failure::Failure;
use crate::ssh::{Output, Running};
use bytes::{Bytes, BytesMut};
use farrier_protocol::STAGED_DIRECTORY;
use farrier_update::Reason;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// How long files that are there may be hashed: 100 GiB by an old processor.
const HASHING: Duration = Duration::from_mins(20);

/// How long an update holds the staged payloads that it has found, if it is cut off and does not come back: longer
/// than downloads from sources and drains take.
const HOLD: Duration = Duration::from_hours(24);

/// How long a removal may take.
const REMOVAL: Duration = Duration::from_mins(2);

/// Lowest throughput that is allowed for, in bytes per second: a slow link, shared with other machines.
const SLOWEST: u64 = 32 * 1024;

/// How much more free space than for the payloads is required, in KiB: a full disk harms the machine.
const ROOM_KIB: u64 = 64 * 1024;

/// Bytes that are read from a payload at once.
const PIECE: usize = 64 * 1024;

/// Where the scheduler's files are.
const ETC: &str = "/etc";

/// Printed when the script waits for the operator's lines.
pub(super) const ASKS: &str = "farrier-stage-1";

/// Printed, with a digest, when the script waits for the bytes of a payload.
pub(super) const ASKS_BYTES: &str = "farrier-bytes-1 ";

/// What is on the machine before anything is carried.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Bytes that are there, by digest: all of them, and right, or the beginning.
    have: BTreeMap<String, u64>,
    /// Digests of payloads that are there completely.
    whole: Vec<String>,
    /// Free space in KiB.
    free: Option<u64>,
}

impl Machine {
    /// Looks for staged payloads. This session holds those that it finds, until they are removed or released.
    ///
    /// # Errors
    /// Those of becoming root, `CommandTimedOut`, and those of running a command.
    pub async fn staged(&self, digests: &[String]) -> Result<StagedPayloads, Failure> {
        Ok(read_staged(&self.run_staged("look", digests, HASHING).await?))
    }

    /// Takes back the leases of this session.
    ///
    /// # Errors
    /// As [`Self::staged`].
    pub async fn release_staged(&self) -> Result<(), Failure> {
        self.run_staged("release", &[], REMOVAL).await.map(|_| ())
    }

    /// Removes staged payloads, and takes back the leases of this session.
    ///
    /// # Errors
    /// As [`Self::staged`].
    pub async fn remove_staged(&self, digests: &[String]) -> Result<(), Failure> {
        self.run_staged("remove", digests, REMOVAL).await.map(|_| ())
    }

    async fn run_staged(
        &self,
        mode: &str,
        digests: &[String],
        limit: Duration,
    ) -> Result<Vec<String>, Failure> {
        let uid = self.probe().await?.uid;
        let work = async {
            let mut shell = self.session.root_shell(uid).await?;
            shell.send(staged_program(mode, STAGED_PLACES, &self.session.id, ETC, digests)).await?;
            shell.end_input().await;
            shell.finish().await
        };
        let what = "looking after staged payloads";
        let output =
            tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(self.too_slow(what, limit)))?;
        between(&output.stdout).ok_or_else(|| self.session.unusable(&output))
    }

    /// Stages payloads. Reports the number of bytes of each piece that was sent to `sent`.
    ///
    /// # Errors
    /// `NoWritableDirectory`, `DiskFull`, `StagingUnsupported`, `PayloadDigestMismatch`, `PayloadUnavailable`, those
    /// of becoming root, and those of running a command.
    pub async fn stage(&self, order: &StageOrder<'_>, mut sent: impl FnMut(u64)) -> Result<(), Failure> {
        let StageOrder { place, files, lease: _ } = order;
        if !STAGED_PLACES.contains(place) {
            return Err(self.no_place(place));
        }
        let uid = self.probe().await?.uid;
        let mut shell = self.session.root_shell(uid).await?;
        shell.send(stage_program(order, &self.session.id, ETC, "/proc", "/run/systemd/system")).await?;
        let asked = shell.read_until(|output| is_over(output) || output.stdout.contains(ASKS));
        let what = "preparing to stage payloads";
        tokio::time::timeout(HASHING, asked).await.unwrap_or_else(|_| Err(self.too_slow(what, HASHING)))?;
        let printed = shell.output_so_far().stdout.clone();
        if !printed.contains(ASKS) {
            return Err(self.not_prepared(place, shell.output_so_far()));
        }
        let state = read_state(&printed);
        if let Err(full) = self.check_room(&state, order) {
            self.end(&mut shell, "release\n").await?;
            return Err(full);
        }
        for file in files.iter().filter(|file| !state.whole.contains(&file.digest)) {
            let from = state.have.get(&file.digest).copied().unwrap_or_default();
            // A part that is too long is not the beginning of this file; the machine finds that out.
            let from = if from > file.size { 0 } else { from };
            let limit = limit(file.size - from);
            let carried = self.carry(&mut shell, file, from, &mut sent);
            let what = "staging a payload";
            tokio::time::timeout(limit, carried).await.unwrap_or_else(|_| Err(self.too_slow(what, limit)))?;
        }
        self.end(&mut shell, "-\n").await
    }

    /// Ends the script with this line.
    async fn end(&self, shell: &mut Running, line: &'static str) -> Result<(), Failure> {
        let work = async {
            shell.send(Bytes::from_static(line.as_bytes())).await?;
            shell.end_input().await;
            shell.finish().await
        };
        let what = "writing staged payloads to the disk";
        let output = tokio::time::timeout(REMOVAL, work)
            .await
            .unwrap_or_else(|_| Err(self.too_slow(what, REMOVAL)))?;
        if output.stdout.contains(END) { Ok(()) } else { Err(self.session.unusable(&output)) }
    }

    /// Carries one payload from this offset.
    async fn carry(
        &self,
        shell: &mut Running,
        file: &StageFile,
        from: u64,
        sent: &mut impl FnMut(u64),
    ) -> Result<(), Failure> {
        let StageFile { digest, size, path } = file;
        let name = hex(digest);
        let unreadable = |error: std::io::Error| {
            let words =
                format!("the operator's copy of {digest} cannot be read: {error}; it is fetched again");
            Failure::new(Reason::PayloadUnavailable, words)
        };
        let mut source = tokio::fs::File::open(path).await.map_err(unreadable)?;
        source.seek(std::io::SeekFrom::Start(from)).await.map_err(unreadable)?;
        let how = if from == 0 { "fresh" } else { "" };
        shell.send(Bytes::from(format!("{name} {} {size} {how}\n", size - from))).await?;
        let asks = format!("{ASKS_BYTES}{name}");
        if !shell.read_until(|output| output.stdout.contains(&asks)).await? {
            return Err(self.session.unusable(shell.output_so_far()));
        }
        let mut left = size - from;
        while left > 0 {
            let mut piece = BytesMut::with_capacity(PIECE);
            let count = (&mut source).take(left).read_buf(&mut piece).await.map_err(unreadable)? as u64;
            if count == 0 {
                return Err(unreadable(std::io::ErrorKind::UnexpectedEof.into()));
            }
            shell.send(piece.freeze()).await?;
            left -= count;
            sent(count);
        }
        let ends = ["stored", "changed", "short"].map(|end| format!("{end} {name}"));
        shell
            .read_until(|output| is_over(output) || ends.iter().any(|end| output.stdout.contains(end)))
            .await?;
        let [stored, changed, _] = &ends;
        let printed = &shell.output_so_far().stdout;
        if printed.contains(stored) {
            return Ok(());
        }
        let node = &self.session.connection.node;
        Err(if printed.contains(changed) {
            let words =
                format!("{digest} did not arrive intact on {node}; it is sent again if retries are left");
            Failure::new(Reason::ConnectionLost, words)
        } else {
            let words = format!("{node} did not take all bytes of {digest}; check the free space there");
            Failure::new(Reason::DiskFull, words)
        })
    }

    fn check_room(&self, state: &State, order: &StageOrder<'_>) -> Result<(), Failure> {
        let node = &self.session.connection.node;
        let needed = needed_kib(state, order.files);
        match state.free {
            Some(free) if free >= needed => Ok(()),
            Some(free) => {
                let words = format!(
                    "{} on {node} has {} MiB of free space, and {} MiB are needed to stage the payloads; nothing was carried. Make room there",
                    order.place,
                    free / 1024,
                    needed.div_ceil(1024),
                );
                Err(Failure::new(Reason::DiskFull, words))
            }
            None => {
                let words = format!(
                    "df of {node} does not tell how much space is free in {}; nothing was carried. Check the mount there",
                    order.place
                );
                Err(Failure::new(Reason::StagingUnsupported, words))
            }
        }
    }

    fn not_prepared(&self, place: &str, output: &Output) -> Failure {
        let (node, printed) = (&self.session.connection.node, &output.stdout);
        let is = |line: &str| printed.lines().any(|printed| printed.trim_end_matches('\r') == line);
        if is("no-scheduler") {
            return Failure::new(
                Reason::StagingUnsupported,
                format!(
                    "{node} has neither systemd nor a cron that reads /etc/cron.d, so nothing there would remove staged payloads when their lease ends; leave it out of runs with operation Stage, or install cron"
                ),
            );
        }
        if is("no-sha256sum") {
            let words = format!("{node} has no sha256sum to verify staged payloads; install coreutils there");
            return Failure::new(Reason::StagingUnsupported, words);
        }
        if is("readonly") {
            let words = format!(
                "payloads cannot be staged in {place} on {node}; make it writable, and make room there"
            );
            return Failure::new(Reason::NoWritableDirectory, words);
        }
        if printed.contains(END) {
            let words = format!(
                "{node} does not accept the timer that removes staged payloads; check that /etc is writable there, and systemd"
            );
            return Failure::new(Reason::StagingUnsupported, words);
        }
        self.session.unusable(output)
    }

    fn no_place(&self, place: &str) -> Failure {
        let (node, places) = (&self.session.connection.node, STAGED_PLACES.join(" and "));
        let words = format!(
            "Farrier works in {place} on {node}, which is emptied when the machine boots, so nothing can be staged; make one of {places} writable, and mount it without noexec"
        );
        Failure::new(Reason::NoWritableDirectory, words)
    }

    fn too_slow(&self, what: &str, limit: Duration) -> Failure {
        let (node, minutes) = (&self.session.connection.node, limit.as_secs() / 60);
        let words = format!(
            "{what} on {node} took more than {minutes} min; check the network and the machine's load"
        );
        Failure::new(Reason::CommandTimedOut, words)
    }
}

/// Returns the program that looks for staged payloads, or removes them.
pub(super) fn staged_program(
    mode: &str,
    places: &[&str],
    session: &str,
    etc: &str,
    digests: &[String],
) -> Bytes {
    let (places, drop, hold) = (places.join(" "), drop_script(), HOLD.as_secs().to_string());
    let settings = [
        ("MODE", mode),
        ("NAME", STAGED_DIRECTORY),
        ("PLACES", places.as_str()),
        ("SESSION", session),
        ("HOLD", hold.as_str()),
        ("DROP", drop.as_str()),
        ("ETC", etc),
    ];
    let names: Vec<&str> = digests.iter().map(|digest| hex(digest)).collect();
    program(include_str!("staged.sh"), &settings, &names)
}

/// Returns the program that stages payloads.
pub(super) fn stage_program(
    order: &StageOrder<'_>,
    session: &str,
    etc: &str,
    proc: &str,
    running: &str,
) -> Bytes {
    let StageOrder { place, lease, files } = order;
    let (lease, drop) = (lease.as_secs().to_string(), drop_script());
    let carrying = files.iter().map(|file| limit(file.size)).sum::<Duration>() + HASHING;
    let carrying = carrying.as_secs().to_string();
    let settings = [
        ("PLACE", *place),
        ("NAME", STAGED_DIRECTORY),
        ("SESSION", session),
        ("LEASE", lease.as_str()),
        ("CARRYING", carrying.as_str()),
        ("DROP", drop.as_str()),
        ("ETC", etc),
        ("PROC", proc),
        ("RUNNING", running),
    ];
    let names: Vec<&str> = files.iter().map(|file| hex(&file.digest)).collect();
    program(include_str!("stage.sh"), &settings, &names)
}

/// The script that ends leases.
fn drop_script() -> String {
    code(include_str!("drop.sh"))
}

/// Returns how long it may take to carry so many bytes, and to hash them.
fn limit(bytes: u64) -> Duration {
    HASHING + Duration::from_secs(bytes / SLOWEST)
}

/// Returns the 64 digits of a digest, which are the name of its file.
fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

fn is_over(output: &Output) -> bool {
    output.stdout.contains(END)
}

/// Returns how much free space is required, in KiB: for what is not on the machine yet, and some more.
fn needed_kib(state: &State, files: &[StageFile]) -> u64 {
    let there = |file: &StageFile| state.have.get(&file.digest).copied().unwrap_or_default();
    let missing = files.iter().filter(|file| !state.whole.contains(&file.digest));
    let bytes: u64 = missing.map(|file| file.size.saturating_sub(there(file))).sum();
    ROOM_KIB + bytes.div_ceil(1024)
}

/// Reads what is on the machine.
pub(super) fn read_state(printed: &str) -> State {
    let mut state = State::default();
    for line in printed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["have", _, name] => state.whole.push(format!("sha256:{name}")),
            ["part", size, name] => {
                state.have.insert(format!("sha256:{name}"), size.parse().unwrap_or_default());
            }
            ["free", kib] => state.free = kib.parse().ok(),
            _ => {}
        }
    }
    state
}

/// Reads what was found.
pub(super) fn read_staged(lines: &[String]) -> StagedPayloads {
    let mut found = StagedPayloads::default();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["staged", place, size, name] => {
                let Ok(size) = size.parse() else { continue };
                let (digest, place) = (format!("sha256:{name}"), (*place).to_owned());
                found.right.push(StagedPayload { digest, size, place });
            }
            ["changed", _, name] => found.changed.push(format!("sha256:{name}")),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, size: u64) -> StageFile {
        StageFile { digest: format!("sha256:{name}"), size, path: "/nowhere".into() }
    }

    /// Otherwise a run that goes on would ask for the space of what it has carried already, or fill the disk.
    #[test]
    fn only_what_is_missing_needs_room() {
        let state = read_state("Welcome\nhave 700 aa\r\npart 300 bb\nfree 4096\nnoise\n");
        assert_eq!((state.free, state.whole.as_slice()), (Some(4096), ["sha256:aa".to_owned()].as_slice()));
        let files = [file("aa", 1 << 20), file("bb", 300 + 2048), file("cc", 1)];
        assert_eq!(needed_kib(&state, &files), ROOM_KIB + 3);
    }

    #[test]
    fn what_was_found_is_read_line_by_line() {
        let lines = ["staged /var/lib 12 aa", "changed /var/lib bb", "staged /var/lib x cc", "noise"];
        let found = read_staged(&lines.map(str::to_owned));
        let right = StagedPayload { digest: "sha256:aa".into(), size: 12, place: "/var/lib".into() };
        assert_eq!(found, StagedPayloads { right: vec![right], changed: vec!["sha256:bb".into()] });
    }
}
