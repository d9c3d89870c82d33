//! One control connection.

use super::super::counters::Cause;
use super::super::files::{CHUNK, Entry, Folder, OpenError, OpenFile, Visitor};
use super::super::server::settle;
use super::super::write_timeout::WriteTimeout;
use super::command::{Command, Listing, Request};
use super::lines::Lines;
use super::passive::{Expected, PassivePorts};
use super::{DATA_PATIENCE, IDLE, MAX_ATTEMPTS, REJECTION};
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

type Stream = WriteTimeout<TcpStream>;

/// An answer: its code and its words.
type Reply = (u16, String);

pub(super) struct FtpSession {
    passive: Arc<PassivePorts>,
    visitor: Visitor,
    lines: Lines<ReadHalf<Stream>>,
    writer: WriteHalf<Stream>,
    /// The server's end of the connection.
    local: IpAddr,
    /// Until when the client has to sign in.
    deadline: Instant,
    attempts: u8,
    user: String,
    folder: Option<Folder>,
    /// The current folder, as an absolute path.
    place: String,
    expected: Option<Expected>,
    /// Where the next file begins.
    begin: u64,
    /// A command that arrived during a transfer.
    kept: Option<Command>,
}

/// What a transfer sends.
enum Content {
    File(Box<OpenFile>, u64),
    Text(String),
}

/// How a transfer ended.
enum Ending {
    Complete,
    Aborted,
    Broken,
    Gone,
}

fn reply(code: u16, words: &str) -> Reply {
    (code, words.to_owned())
}

impl FtpSession {
    pub(super) fn new(
        passive: Arc<PassivePorts>,
        visitor: Visitor,
        stream: TcpStream,
        local: SocketAddr,
        deadline: Instant,
    ) -> Self {
        settle(&stream);
        // Clients send `ABOR` as urgent data, whose last byte would be missing otherwise. If this call fails, they wait.
        SockRef::from(&stream).set_out_of_band_inline(true).ok();
        let stream = WriteTimeout::new(stream, visitor.state.admission.clone(), visitor.source);
        let (reader, writer) = tokio::io::split(stream);
        Self {
            passive,
            visitor,
            lines: Lines::new(reader),
            writer,
            local: local.ip().to_canonical(),
            deadline,
            attempts: 0,
            user: String::new(),
            folder: None,
            place: "/".to_owned(),
            expected: None,
            begin: 0,
            kept: None,
        }
    }

    /// Answers commands until the client leaves, or is too slow.
    pub(super) async fn run(mut self) {
        if self.say(reply(220, "farrier, files for the machines of one run, read only")).await.is_err() {
            return;
        }
        let mut asked = false;
        loop {
            let command = match self.next().await {
                Ok(Some(command)) => command,
                Ok(None) if !asked => return self.visitor.permit.refuse(Cause::Silent),
                Ok(None) => return,
                Err(error) => return self.ended(&error).await,
            };
            asked = true;
            let quits = command == Command::Quit;
            let Ok(answer) = self.answer(command).await else { return };
            let ends = quits || answer.0 == 421;
            if self.say(answer).await.is_err() || ends {
                let _ended = self.writer.shutdown().await;
                return;
            }
        }
    }

    async fn next(&mut self) -> io::Result<Option<Command>> {
        if let Some(kept) = self.kept.take() {
            return Ok(Some(kept));
        }
        let deadline = if self.folder.is_some() { Instant::now() + IDLE } else { self.deadline };
        let line = timeout_at(deadline, self.lines.next()).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(line.map(|line| Command::parse(&line)))
    }

    async fn ended(&mut self, error: &io::Error) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the list of io::ErrorKind is open")]
        match error.kind() {
            io::ErrorKind::TimedOut => {
                let _told = self.say(reply(421, "idle for too long")).await;
                if self.folder.is_none() {
                    self.visitor.permit.refuse(Cause::TooSlow);
                }
            }
            io::ErrorKind::InvalidData => self.visitor.permit.refuse(Cause::Path),
            _ => {}
        }
    }

    /// Writes an answer. Lines after the first are indented, as the list of features demands.
    async fn say(&mut self, (code, words): Reply) -> io::Result<()> {
        let text = match words.split_once('\n') {
            None => format!("{code} {words}\r\n"),
            Some((first, rest)) => {
                format!("{code}-{first}\r\n {}\r\n{code} End\r\n", rest.replace('\n', "\r\n "))
            }
        };
        self.writer.write_all(text.as_bytes()).await?;
        self.writer.flush().await
    }

    async fn answer(&mut self, command: Command) -> io::Result<Reply> {
        Ok(match command {
            Command::User(name) => {
                self.user = name;
                self.folder = None;
                reply(331, "password, please")
            }
            Command::Pass(password) => self.sign_in(&password).await,
            Command::Quit => reply(221, "goodbye"),
            Command::Noop => reply(200, "fine"),
            Command::Abort => reply(226, "nothing is under way"),
            Command::System => reply(215, "UNIX Type: L8"),
            Command::Features => {
                reply(211, "Features\nEPSV\nMLST type*;size*;perm*;\nREST STREAM\nSIZE\nUTF8")
            }
            Command::Tls => reply(502, "TLS is not supported here"),
            Command::Unknown => reply(502, "this command is not known here"),
            Command::Malformed => reply(501, "the argument is not understood"),
            Command::Unsupported => reply(504, "this is not supported; files are sent as they are"),
            Command::SignedIn(request) => match self.folder.clone() {
                Some(folder) => return self.serve(request, &folder).await,
                None => reply(530, "sign in first"),
            },
        })
    }

    async fn sign_in(&mut self, password: &str) -> Reply {
        self.folder = self.visitor.sign_in(&self.user, password);
        "/".clone_into(&mut self.place);
        if self.folder.is_some() {
            return reply(230, "signed in");
        }
        self.attempts += 1;
        // sleep: guessing takes time.
        tokio::time::sleep(REJECTION).await;
        if self.attempts >= MAX_ATTEMPTS { reply(421, "too many attempts") } else { reply(530, "wrong") }
    }

    /// Answers what needs an account.
    async fn serve(&mut self, request: Request, folder: &Folder) -> io::Result<Reply> {
        Ok(match request {
            Request::Plain => reply(200, "fine; files are sent as they are"),
            Request::Where => (257, format!("\"{}\" is the current folder", self.place.replace('"', "\"\""))),
            Request::Enter(path) => self.enter(&path, folder).await,
            Request::Passive => self.passive(),
            Request::ExtendedPassive(family) => self.extended_passive(family.as_deref()),
            Request::Restart(begin) => {
                self.begin = begin;
                reply(350, "the next file begins there")
            }
            Request::Size(path) => match folder.look(&self.absolute(&path)).await {
                Ok(Entry::File(size)) => (213, size.to_string()),
                Ok(Entry::Folder) => refusal(OpenError::IsFolder),
                Err(error) => refusal(error),
            },
            Request::Facts(path) => {
                let path = self.absolute(&path);
                match folder.look(&path).await {
                    Ok(entry) => (250, format!("Facts\n{} {path}", facts(entry))),
                    Err(error) => refusal(error),
                }
            }
            Request::Retrieve(path) => return self.retrieve(&path, folder).await,
            Request::List(how, path) => return self.list(how, &path, folder).await,
            Request::Active => {
                folder.refuse();
                reply(502, "active mode is not supported: use EPSV or PASV")
            }
            Request::Write => {
                folder.refuse();
                reply(550, "this service is read-only")
            }
        })
    }

    /// Returns a path from the root. What leads out of it is nowhere.
    fn absolute(&self, path: &str) -> String {
        Folder::absolute(&self.place, path).unwrap_or_else(|| "/..".to_owned())
    }

    async fn enter(&mut self, path: &str, folder: &Folder) -> Reply {
        let path = self.absolute(path);
        match folder.look(&path).await {
            Ok(Entry::Folder) => {
                self.place = path;
                reply(250, "fine")
            }
            Ok(Entry::File(_)) => {
                folder.refuse();
                reply(550, "there is no such folder")
            }
            Err(error) => refusal(error),
        }
    }

    /// Begins to wait for a data connection, in place of an earlier one.
    fn expect(&mut self) -> Option<u16> {
        self.expected = None;
        self.expected = self.passive.expect(self.visitor.source);
        self.expected.as_ref().map(|expected| expected.port)
    }

    fn passive(&mut self) -> Reply {
        let known = self.visitor.state.offers.reached_at(self.visitor.source);
        let IpAddr::V4(address) = known.unwrap_or(self.local) else {
            return reply(425, "use EPSV: this answer has room for an IPv4 address only");
        };
        let Some(port) = self.expect() else { return no_port() };
        let ([a, b, c, d], [high, low]) = (address.octets(), port.to_be_bytes());
        (227, format!("Entering Passive Mode ({a},{b},{c},{d},{high},{low})"))
    }

    fn extended_passive(&mut self, family: Option<&str>) -> Reply {
        let own = if self.local.is_ipv4() { "1" } else { "2" };
        match family {
            Some("ALL") => return reply(200, "fine"),
            Some(other) if other != own => {
                return (522, format!("use the family of this connection ({own})"));
            }
            Some(_) | None => {}
        }
        let Some(port) = self.expect() else { return no_port() };
        (229, format!("Entering Extended Passive Mode (|||{port}|)"))
    }

    async fn retrieve(&mut self, path: &str, folder: &Folder) -> io::Result<Reply> {
        let begin = std::mem::take(&mut self.begin);
        if self.expected.is_none() {
            return Ok(reply(425, "use EPSV or PASV first"));
        }
        let file = match folder.open(&self.absolute(path)).await {
            Ok(file) => file,
            Err(error) => return Ok(refusal(error)),
        };
        if begin > file.size {
            return Ok((554, format!("the file has {} bytes only", file.size)));
        }
        self.send(Content::File(Box::new(file), begin)).await
    }

    async fn list(&mut self, how: Listing, path: &str, folder: &Folder) -> io::Result<Reply> {
        if self.expected.is_none() {
            return Ok(reply(425, "use EPSV or PASV first"));
        }
        let found = match folder.list(&self.absolute(path)).await {
            Ok(found) => found,
            Err(error) => return Ok(refusal(error)),
        };
        let line = |(name, entry): (String, Entry)| match (how, entry) {
            (Listing::Names, _) => format!("{name}\r\n"),
            (Listing::Facts, entry) => format!("{} {name}\r\n", facts(entry)),
            (Listing::Long, Entry::File(size)) => {
                format!("-r--r--r-- 1 farrier farrier {size} Jan  1  2000 {name}\r\n")
            }
            (Listing::Long, Entry::Folder) => {
                format!("dr-xr-xr-x 1 farrier farrier 0 Jan  1  2000 {name}\r\n")
            }
        };
        let text: String = found.into_iter().map(line).collect();
        self.send(Content::Text(text)).await
    }

    /// Sends over the data connection, and listens for the client's word to stop.
    async fn send(&mut self, content: Content) -> io::Result<Reply> {
        let Some(expected) = self.expected.take() else { return Ok(reply(425, "use EPSV or PASV first")) };
        self.say(reply(150, "here it comes")).await?;
        let mut transfer = Box::pin(transfer(expected, content, self.visitor.clone()));
        let ending = loop {
            tokio::select! {
                ended = transfer.as_mut() => break ended,
                line = self.lines.next(), if self.kept.is_none() => match line?.map(|line| Command::parse(&line)) {
                    Some(Command::Abort) => break Ending::Aborted,
                    None => break Ending::Gone,
                    Some(other) => self.kept = Some(other),
                },
            }
        };
        // Closes the data connection.
        drop(transfer);
        Ok(match ending {
            Ending::Complete => reply(226, "complete"),
            Ending::Broken => reply(426, "the data connection broke, or did not come"),
            Ending::Aborted => {
                self.say(reply(426, "aborted")).await?;
                reply(226, "aborted")
            }
            Ending::Gone => reply(421, "goodbye"),
        })
    }
}

async fn transfer(mut expected: Expected, content: Content, visitor: Visitor) -> Ending {
    let Ok(Some(stream)) = timeout(DATA_PATIENCE, expected.arrive()).await else { return Ending::Broken };
    settle(&stream);
    // The end of the connection is the end of the file, so a file that was not sent whole ends with a reset.
    stream.set_zero_linger().ok();
    let mut stream = WriteTimeout::new(stream, visitor.state.admission.clone(), visitor.source);
    let sent = async {
        match content {
            Content::Text(text) => stream.write_all(text.as_bytes()).await?,
            Content::File(file, mut at) => {
                while at < file.size {
                    let bytes = file.read(at, CHUNK).await?;
                    stream.write_all(&bytes).await?;
                    at += bytes.len() as u64;
                    file.note_sent(at);
                }
            }
        }
        SockRef::from(stream.get_ref()).set_linger(None)?;
        stream.shutdown().await
    };
    match sent.await {
        Ok(()) => Ending::Complete,
        Err(_) => Ending::Broken,
    }
}

fn refusal(error: OpenError) -> Reply {
    match error {
        OpenError::NotFound | OpenError::IsFolder => (550, error.to_string()),
        OpenError::NotYet(_) => (450, error.to_string()),
    }
}

/// Returns the facts of a file or folder (RFC 3659, section 7.5).
fn facts(entry: Entry) -> String {
    match entry {
        Entry::File(size) => format!("type=file;size={size};perm=r;"),
        Entry::Folder => "type=dir;perm=el;".to_owned(),
    }
}

fn no_port() -> Reply {
    reply(425, "too many data connections are awaited")
}
