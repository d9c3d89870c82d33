//! The configuration of the callback channel: read from standard input, stored readable by root only.

use super::address::{Address, MAX_ADDRESSES};
use super::channel::Channel;
use super::listen::ListenSettings;
use super::tls;
use crate::work_dir::WorkDir;
use farrier_protocol::CallbackConfig;
use rustls::pki_types::ServerName;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::Arc;

/// Maximum length of the line: two certificates with room for hundreds of addresses.
const LINE_BYTES: usize = 64 * 1024;

/// Distinguishes versions of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

/// Reads exactly one line from standard input and not a byte more: the rest belongs to the shell that
/// started us. The error says what was wrong with the line, and quotes nothing of it.
pub(crate) fn read_line() -> Result<Vec<u8>, String> {
    let input = io::stdin().as_fd().try_clone_to_owned();
    let input = input.map_err(|error| format!("standard input: {error}"))?;
    // Not `io::stdin()`, which reads ahead.
    line_of(File::from(input))
}

fn line_of(mut input: impl Read) -> Result<Vec<u8>, String> {
    let (mut line, mut is_too_long) = (Vec::new(), false);
    loop {
        let mut byte = [0];
        match input.read(&mut byte) {
            Ok(0) => {
                return Err("standard input ended before the line with the channel's configuration".into());
            }
            Ok(_) if byte == *b"\n" => break,
            // The rest of a line that is too long must not reach the shell either.
            Ok(_) if line.len() == LINE_BYTES => is_too_long = true,
            Ok(_) => line.extend(byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("standard input: {error}")),
        }
    }
    if is_too_long {
        return Err(format!("the line with the channel's configuration is longer than {LINE_BYTES} bytes"));
    }
    Ok(line)
}

impl Channel {
    /// Parses and validates the configuration. The error says what is wrong and never quotes a secret.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let config: CallbackConfig = serde_json::from_slice(json).map_err(|error| {
            // The parser's own message would quote the input.
            format!("the channel's configuration is invalid at byte {}", error.column())
        })?;
        let addresses: Vec<Address> =
            config.addresses.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let listen = config.listen.as_ref().map(ListenSettings::new).transpose()?;
        if (addresses.is_empty() && listen.is_none()) || addresses.len() > MAX_ADDRESSES {
            let count = addresses.len();
            return Err(format!("{count} addresses to dial: there must be between 1 and {MAX_ADDRESSES}"));
        }
        let name = &config.server_name;
        let Ok(server_name @ ServerName::DnsName(_)) = ServerName::try_from(name.clone()) else {
            return Err(format!("{name:?} is not a valid server name"));
        };
        let server_pin = config.server_pin.parse()?;
        let own = Arc::new(tls::identity(&config.certificate, &config.key)?);
        Ok(Self { addresses, listen, server_name, server_pin, own })
    }

    /// Reads the configuration that is stored in `place`.
    pub(crate) fn load(place: &WorkDir) -> Result<Self, String> {
        let json = fs::read(place.callback()).map_err(|error| error.to_string())?;
        Self::parse(&json)
    }
}

/// Stores `json` in `place` atomically: a reader sees the old version or the new one.
pub(crate) fn store(place: &WorkDir, json: &[u8]) -> io::Result<()> {
    let path = place.callback();
    // Several launches may write at the same time.
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    let stored = file.write_all(json).and_then(|()| fs::rename(&fresh, &path));
    if stored.is_err() {
        // Remove a half-written key; if that fails, it is removed with the directory at the latest.
        fs::remove_file(&fresh).ok();
    }
    stored
}

/// Removes the configuration in `place`; the engine then stops connecting.
pub(crate) fn forget(place: &WorkDir) -> io::Result<()> {
    match fs::remove_file(place.callback()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Returns the version that is stored in `place`, if any.
pub(crate) fn version(place: &WorkDir) -> Option<Version> {
    let of =
        |meta: Metadata| Version { inode: meta.ino(), seconds: meta.mtime(), nanoseconds: meta.mtime_nsec() };
    fs::symlink_metadata(place.callback()).ok().map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_line_is_read() {
        let mut input = &b"{}\necho after\n"[..];
        assert_eq!(line_of(&mut input).unwrap(), b"{}");
        assert_eq!(input, b"echo after\n");
    }

    #[test]
    fn a_line_that_is_too_long_is_read_to_its_end_and_refused() {
        let long = [vec![b'x'; LINE_BYTES + 1], b"\nrest".to_vec()].concat();
        let mut input = &long[..];
        assert!(line_of(&mut input).unwrap_err().contains("longer than"));
        assert_eq!(input, b"rest");
        assert!(line_of(&mut &b"no end"[..]).unwrap_err().contains("ended before"));
    }

    /// The message appears in the operator's log and in a status.
    #[test]
    fn errors_do_not_quote_the_configuration() {
        for json in [r#"{"addresses":"SECRET"}"#, "SECRET", r#"{"key":["SECRET"]}"#] {
            let Err(message) = Channel::parse(json.as_bytes()) else { panic!("{json}") };
            assert!(!message.contains("SECRET") && message.contains("is invalid at byte"), "{message}");
        }
    }
}
