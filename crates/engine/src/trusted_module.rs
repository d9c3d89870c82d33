//! Whether the key of an encrypted disk is bound to the firmware by a trusted module (TPM).
//!
//! The module releases the key only while its measurements of the firmware are those of the time at which the key was
//! bound. After an update of the firmware the machine may ask for its recovery key, or not start. fwupd warns of
//! `BitLocker` and of Ubuntu's encryption (its flag `affects-fde`), not of LUKS, so LUKS is looked for here.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Maximum size of a LUKS2 header: the largest one that its specification has.
const MAX_HEADER: u64 = 4 * 1024 * 1024;

/// Size of the binary part of a LUKS2 header, after which its JSON begins.
const BINARY_HEADER: usize = 4096;

/// Returns what is bound to a trusted module, for users; `None` if nothing was found.
pub(crate) fn bound_disk() -> Option<String> {
    let table = fs::read_to_string("/etc/crypttab").unwrap_or_default();
    crypttab(&table).or_else(|| open_disks(Path::new("/sys/class/block"), Path::new("/dev")))
}

/// Finds a disk that systemd unlocks by a trusted module at every start.
fn crypttab(table: &str) -> Option<String> {
    table.lines().map(str::trim).filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        let options = fields.nth(2)?;
        let by_module = options.split(',').any(|option| option.starts_with("tpm2-device="));
        by_module.then(|| format!("the disk {name} is unlocked by a trusted module (/etc/crypttab)"))
    })
}

/// Finds an unlocked disk whose header has a key that a trusted module protects.
fn open_disks(blocks: &Path, devices: &Path) -> Option<String> {
    let mappings = fs::read_dir(blocks).ok()?.flatten().filter(|entry| {
        let uuid = fs::read_to_string(entry.path().join("dm/uuid")).unwrap_or_default();
        uuid.starts_with("CRYPT-LUKS2-")
    });
    let disks =
        mappings.flat_map(|entry| fs::read_dir(entry.path().join("slaves")).into_iter().flatten().flatten());
    disks.map(|disk| devices.join(disk.file_name())).find_map(|disk| {
        let token =
            tokens(&disk)?.into_iter().find(|token| matches!(token.as_str(), "systemd-tpm2" | "clevis"))?;
        Some(format!("a key of the disk {} may be bound to a trusted module (token {token})", disk.display()))
    })
}

/// Returns the kinds of the tokens in a LUKS2 header; `None` if there is no such header.
fn tokens(disk: &Path) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Header {
        #[serde(default)]
        tokens: BTreeMap<String, Token>,
    }
    #[derive(Deserialize)]
    struct Token {
        #[serde(rename = "type")]
        kind: String,
    }
    let file = File::open(disk).ok()?;
    let mut begin = [0; 16];
    file.read_exact_at(&mut begin, 0).ok()?;
    // Magic, version and size of the header: section 2.1 of the LUKS2 specification.
    let size = begin.strip_prefix(b"LUKS\xba\xbe\x00\x02")?;
    let size = u64::from_be_bytes(size.try_into().ok()?);
    let length = usize::try_from(size.min(MAX_HEADER)).ok()?.checked_sub(BINARY_HEADER)?;
    let mut json = vec![0; length];
    file.read_exact_at(&mut json, BINARY_HEADER as u64).ok()?;
    let header: Header = serde_json::from_slice(json.split(|byte| *byte == 0).next()?).ok()?;
    Some(header.tokens.into_values().map(|token| token.kind).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server whose disk stays locked after an update does not come back.
    #[test]
    fn disks_that_systemd_unlocks_by_a_module_are_found() {
        let table = "# root UUID=1 none tpm2-device=auto\nswap /dev/sdb /dev/urandom swap\n\
                     root UUID=2 none luks,tpm2-device=auto,discard\n";
        assert_eq!(
            crypttab(table).as_deref(),
            Some("the disk root is unlocked by a trusted module (/etc/crypttab)")
        );
        assert_eq!(crypttab("root UUID=2 none luks\nhome UUID=3\n\n"), None);
    }

    /// The same for disks that the initial RAM disk unlocks without `/etc/crypttab`.
    #[test]
    fn open_disks_with_a_key_in_a_module_are_found() {
        let dir = std::env::temp_dir().join(format!("farrier-luks-{}", std::process::id()));
        let (blocks, devices) = (dir.join("block"), dir.join("dev"));
        fs::create_dir_all(blocks.join("dm-0/dm")).unwrap();
        fs::create_dir_all(blocks.join("dm-0/slaves/sda3")).unwrap();
        fs::create_dir_all(&devices).unwrap();
        fs::write(blocks.join("dm-0/dm/uuid"), "CRYPT-LUKS2-0123-root\n").unwrap();
        let disk = |json: &str| {
            let mut header = b"LUKS\xba\xbe\x00\x02".to_vec();
            header.extend(16384_u64.to_be_bytes());
            header.resize(BINARY_HEADER, 7);
            header.extend(json.as_bytes());
            header.resize(16384, 0);
            fs::write(devices.join("sda3"), header).unwrap();
            open_disks(&blocks, &devices)
        };
        let bound = disk(r#"{"keyslots": {}, "tokens": {"0": {"type": "systemd-tpm2", "keyslots": ["1"]}}}"#);
        assert!(bound.is_some_and(|text| text.contains("sda3") && text.contains("systemd-tpm2")));
        assert_eq!(disk(r#"{"tokens": {"0": {"type": "systemd-recovery", "keyslots": []}}}"#), None);
        assert_eq!(disk("not JSON"), None);
        fs::write(blocks.join("dm-0/dm/uuid"), "LVM-0123\n").unwrap();
        assert_eq!(disk(r#"{"tokens": {"0": {"type": "systemd-tpm2"}}}"#), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
