//! SFTP version 3, as far as reading files needs it.

use super::super::files::{CHUNK, Entry, Folder, OpenError, OpenFile};
use super::pace::send;
use russh::server::Msg;
use russh::{ChannelReadHalf, ChannelWriteHalf};
use russh_sftp::protocol::{
    Attrs, Data, File, FileAttributes, FileMode, Handle, Name, OpenFlags, Packet, Status, StatusCode,
};
use russh_sftp::server::{Handler, StatusReply};
use std::collections::HashMap;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Handles of one session at the same time.
const MAX_HANDLES: usize = 16;

/// Length of a request in bytes: what the library accepts at most, as OpenSSH does.
const MAX_REQUEST: u32 = 256 * 1024;

/// Bytes of the file in one answer. OpenSSH's client refuses answers of more than 256 KiB (`SFTP_MAX_MSG_LENGTH`), and
/// asks for 255 KiB at most itself.
const MAX_DATA: usize = 255 * 1024;

/// Names in one answer. With the longest ones it is still within what clients accept.
const NAMES: usize = 200;

/// Permissions of a file, and of a folder.
const FILE_MODE: u32 = 0o444;
const FOLDER_MODE: u32 = 0o555;

/// Serves one channel. The library ends its part without a word, and OpenSSH's `scp` fails without an exit status; so
/// the library gets a pipe, and the channel is closed by the caller.
pub(super) async fn serve(mut reader: ChannelReadHalf, writer: &ChannelWriteHalf<Msg>, folder: Folder) {
    let (ours, theirs) = tokio::io::duplex(CHUNK);
    russh_sftp::server::run(theirs, SftpSession::new(folder)).await;
    let (mut answers, mut requests) = tokio::io::split(ours);
    let (mut input, mut output) = (reader.make_reader(), writer.make_writer());
    let incoming = async {
        let passed = pass(&mut input, &mut requests).await;
        requests.shutdown().await.and(passed)
    };
    let outgoing = async {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = answers.read(&mut buffer).await?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
            send(&mut output, bytes).await?;
        }
    };
    tokio::pin!(incoming, outgoing);
    let ended = tokio::select! {
        ended = &mut outgoing => ended,
        passed = &mut incoming => outgoing.await.and(passed),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a transfer by SFTP broke");
    }
    // The client may be gone by now.
    let _told = writer.exit_status(0).await;
    let _told = writer.eof().await;
}

/// Passes requests on to the library until the client ends them. After a request that is too long the library would
/// take the rest of it for requests, and log each of them; so that one is the last.
async fn pass(
    input: &mut (impl AsyncRead + Unpin),
    requests: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    loop {
        let length = match input.read_u32().await {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        if length > MAX_REQUEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a request is too long"));
        }
        requests.write_u32(length).await?;
        tokio::io::copy(&mut input.take(length.into()), requests).await?;
    }
}

struct SftpSession {
    folder: Folder,
    next: u32,
    handles: HashMap<String, Opened>,
}

enum Opened {
    File(OpenFile),
    /// What is in a folder and was not read yet.
    Folder(std::vec::IntoIter<(String, Entry)>),
}

type Answer<T> = Result<T, StatusReply>;

fn refusal(code: StatusCode, words: &str) -> StatusReply {
    StatusReply::new(code).with_message(words)
}

fn no_such_handle() -> StatusReply {
    refusal(StatusCode::Failure, "no such handle")
}

fn attributes(entry: Entry) -> FileAttributes {
    let (kind, mode, size) = match entry {
        Entry::Folder => (FileMode::DIR, FOLDER_MODE, 0),
        Entry::File(size) => (FileMode::REG, FILE_MODE, size),
    };
    FileAttributes {
        size: Some(size),
        permissions: Some(kind.bits() | mode),
        uid: Some(0),
        gid: Some(0),
        atime: Some(0),
        mtime: Some(0),
        ..FileAttributes::empty()
    }
}

fn unopened(error: OpenError) -> StatusReply {
    match error {
        OpenError::NotFound => refusal(StatusCode::NoSuchFile, &error.to_string()),
        OpenError::IsFolder | OpenError::NotYet(_) => refusal(StatusCode::Failure, &error.to_string()),
    }
}

fn done(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "done".to_owned(),
        language_tag: "en".to_owned(),
    }
}

impl SftpSession {
    fn new(folder: Folder) -> Self {
        Self { folder, next: 0, handles: HashMap::new() }
    }

    fn insert(&mut self, id: u32, opened: Opened) -> Answer<Handle> {
        if self.handles.len() >= MAX_HANDLES {
            return Err(refusal(StatusCode::Failure, "too many handles are open"));
        }
        self.next = self.next.wrapping_add(1);
        let handle = self.next.to_string();
        self.handles.insert(handle.clone(), opened);
        Ok(Handle { id, handle })
    }

    async fn attributes_of(&self, path: &str) -> Answer<FileAttributes> {
        self.folder.look(path).await.map(attributes).map_err(unopened)
    }
}

impl Handler for SftpSession {
    type Error = StatusReply;

    /// The answer to everything that is not below: all of it would change something here.
    fn unimplemented(&self) -> StatusReply {
        self.folder.refuse();
        refusal(StatusCode::PermissionDenied, "this service is read-only")
    }

    async fn open(&mut self, id: u32, path: String, flags: OpenFlags, _: FileAttributes) -> Answer<Handle> {
        if flags.bits() != OpenFlags::READ.bits() {
            return Err(self.unimplemented());
        }
        let file = self.folder.open(&path).await.map_err(unopened)?;
        self.insert(id, Opened::File(file))
    }

    async fn close(&mut self, id: u32, handle: String) -> Answer<Status> {
        self.handles.remove(&handle).map(|_| done(id)).ok_or_else(no_such_handle)
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, length: u32) -> Answer<Data> {
        let Some(Opened::File(file)) = self.handles.get(&handle) else { return Err(no_such_handle()) };
        if offset >= file.size {
            return Err(StatusCode::Eof.into());
        }
        let most = usize::try_from(length).map_or(MAX_DATA, |length| length.min(MAX_DATA));
        let data = file.read(offset, most).await.map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                return refusal(StatusCode::NoSuchFile, &error.to_string());
            }
            tracing::error!(%error, "a stored payload cannot be read");
            refusal(StatusCode::Failure, "the payload cannot be read")
        })?;
        file.note_sent(offset + data.len() as u64);
        Ok(Data { id, data })
    }

    async fn lstat(&mut self, id: u32, path: String) -> Answer<Attrs> {
        Ok(Attrs { id, attrs: self.attributes_of(&path).await? })
    }

    async fn stat(&mut self, id: u32, path: String) -> Answer<Attrs> {
        Ok(Attrs { id, attrs: self.attributes_of(&path).await? })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Answer<Attrs> {
        let attrs = match self.handles.get(&handle).ok_or_else(no_such_handle)? {
            Opened::File(file) => attributes(Entry::File(file.size)),
            Opened::Folder(_) => attributes(Entry::Folder),
        };
        Ok(Attrs { id, attrs })
    }

    async fn opendir(&mut self, id: u32, path: String) -> Answer<Handle> {
        if self.folder.look(&path).await.map_err(unopened)? != Entry::Folder {
            return Err(refusal(StatusCode::NoSuchFile, "there is no such folder"));
        }
        let found = self.folder.list(&path).await.map_err(unopened)?;
        self.insert(id, Opened::Folder(found.into_iter()))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Answer<Name> {
        let Some(Opened::Folder(left)) = self.handles.get_mut(&handle) else {
            return Err(no_such_handle());
        };
        let files: Vec<File> =
            left.take(NAMES).map(|(name, entry)| File::new(name, attributes(entry))).collect();
        if files.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Name { id, files }) }
    }

    /// Whether there is such a file is asked afterwards.
    async fn realpath(&mut self, id: u32, path: String) -> Answer<Name> {
        let Some(path) = Folder::absolute("/", &path) else {
            return Err(unopened(OpenError::NotFound));
        };
        Ok(Name { id, files: vec![File::dummy(path)] })
    }

    async fn extended(&mut self, _: u32, _: String, _: Vec<u8>) -> Answer<Packet> {
        Err(StatusCode::OpUnsupported.into())
    }
}
