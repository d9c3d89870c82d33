//! Finds the process that has a port that could not be bound, as far as this process can see.
//!
//! The kernel lists every socket of this network namespace with its owner's user. The process that
//! a socket belongs to is found in the open files of the processes, which only their own user and
//! root may read.

use std::fs;
use std::path::Path;

/// State `LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The kernel keeps 15 bytes of a process's name.
const MAX_NAME_LEN: usize = 15;

/// Names the holder of this port in words that follow "in use by", with the next step if the holder
/// is not known. Reads the open files of every process, and so takes long on a host that has many.
pub(super) fn of(port: u16) -> String {
    let ask = || format!("`ss -tanp 'sport = :{port}'` as root on its host names it");
    let Some((inode, user)) = socket(port) else {
        return format!("something that does not listen; {}", ask());
    };
    match process(&inode) {
        Some((pid, name)) => format!("process {pid} ({name})"),
        None => format!("a process of user {user}; {}", ask()),
    }
}

/// Returns inode and user of a socket that listens on this port.
fn socket(port: u16) -> Option<(String, String)> {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"].iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| listener(line, port))
    })
}

/// Parses a line of the kernel's list; returns inode and user if it is a listener on this port.
fn listener(line: &str, port: u16) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, state, _, _, _, user, _, inode, ..] = words.as_slice() else { return None };
    let number = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    (number == port && *state == LISTEN).then(|| ((*inode).to_owned(), (*user).to_owned()))
}

/// Returns the process that has this socket, and its name.
fn process(inode: &str) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let has = |process: &Path| {
        let files = fs::read_dir(process.join("fd")).ok()?;
        files
            .flatten()
            .any(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
            .then_some(())
    };
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        has(&entry.path())?;
        let name = fs::read(entry.path().join("comm")).unwrap_or_default();
        Some((pid, shown(&name)))
    })
}

/// Cleans the name of a process for a status: a process may choose any name.
fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name.trim_ascii());
    let clean = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    name.chars().map(clean).take(MAX_NAME_LEN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A user who reads that a port is in use cannot find the holder on a host that is not theirs.
    #[test]
    fn the_process_that_listens_is_named() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let said = of(listener.local_addr().unwrap().port());
            assert!(said.starts_with(&format!("process {} (", std::process::id())), "{said}");
        }
        // A socket that is bound but does not listen is not a listener.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        let said = of(port);
        assert!(
            said.starts_with("something that does not listen") && said.contains(&format!(":{port}'")),
            "{said}"
        );
    }

    /// A process may choose any name, and the status is printed on terminals.
    #[test]
    fn a_name_is_shown_without_control_characters() {
        for (name, wanted) in [
            (&b"nginx\n"[..], "nginx"),
            (b"\x1b[2J\nx\xff", "\u{fffd}[2J\u{fffd}x\u{fffd}"),
            (b"0123456789abcdefghi", "0123456789abcde"),
        ] {
            assert_eq!(shown(name), wanted);
        }
    }

    /// A process of another user cannot be seen; its user can.
    #[test]
    fn the_kernels_list_names_the_user_of_a_socket() {
        let line = "   3: 0100007F:F619 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 123456 1 0000000000000000 100 0 0 10 0";
        assert_eq!(listener(line, 0xF619), Some(("123456".into(), "1000".into())));
        assert_eq!(listener(line, 80), None);
        assert_eq!(listener(&line.replace(" 0A ", " 01 "), 0xF619), None);
        assert_eq!(process("0"), None);
    }
}
