//! Archives of the machine's own tar, and hostile ones.

use super::*;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A directory of its own for a test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let place = std::env::temp_dir().join(format!("farrier-unpack-{}-{number}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        Self(place)
    }

    /// Runs a shell program in it.
    fn sh(&self, program: &str) -> String {
        let output = Command::new("sh").args(["-euc", program]).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn unpack(&self, archive: &str) -> Result<PathBuf, Unpack> {
        let out = self.0.join("out");
        fs::remove_dir_all(&out).ok();
        tree(&self.0.join(archive), &out)
    }

    fn refused(&self, archive: &str) -> String {
        match self.unpack(archive) {
            Err(Unpack::Refused(text)) => text,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A tree that is unpacked differently from what its author packed is compiled differently.
#[test]
fn trees_of_every_tar_and_compression_arrive_whole() {
    let place = Place::new();
    let long = "a-directory-with-a-name-of-some-length/".repeat(3);
    place.sh(&format!(
        "mkdir -p top/{long} top/sub; cd top; echo x >dkms.conf; printf '#!/bin/sh\\n' >configure; chmod 755 configure
        echo deep >{long}file; ln -s ../dkms.conf sub/link; ln configure again; touch -d @1000000000 configure
        ln -s {long}file long; : >empty"
    ));
    let all = "find . -mindepth 1 -printf '%P %y %m %l %s\\n' | sort";
    let packed = place.sh(&format!("cd top && {all}"));
    for (how, archive) in [
        ("tar --format=gnu -cf X top", "plain"),
        ("tar --format=pax -czf X top", "pax.gz"),
        ("tar --format=ustar --exclude=long -cJf X top", "ustar.xz"),
        ("busybox tar -cf X -C top .", "root"),
    ] {
        place.sh(&how.replace('X', archive));
        let tree = place.unpack(archive).unwrap();
        let unpacked = place.sh(&format!("cd {} && {all}", tree.display()));
        let wanted: String = packed
            .lines()
            .filter(|line| !how.contains("exclude") || !line.starts_with("long "))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(unpacked, wanted, "{how}");
        let time = fs::metadata(tree.join("configure")).unwrap().modified().unwrap();
        assert_eq!(time, UNIX_EPOCH + Duration::from_secs(1_000_000_000), "{how}");
    }
}

/// The archive is unpacked by root: what leaves its directory could be any file of the machine.
#[test]
fn what_leaves_the_directory_is_refused_and_nothing_is_written_there() {
    let place = Place::new();
    place.sh(
        "mkdir t x; echo x >t/dkms.conf; echo evil >x/evil; ln -s .. t/out; ln -s /etc t/etc; mkfifo t/pipe",
    );
    place.sh(
        "ln -s sub t/down; mkdir t/sub; ln -s down/../.. t/twice; mknod t/device c 1 3; ln -s sub t/deep",
    );
    for (members, words) in [
        ("-P ../$HERE/x/evil", "a path with .."),
        ("-P $PWD/x/evil", "an absolute path"),
        ("t/out", "a link to .."),
        ("t/etc", "a link to /etc"),
        ("t/down t/sub t/twice", "a link to down/../.."),
        ("t/down --transform=s,^t/deep,t/down/deep, t/deep", "a link below another link"),
        ("t/pipe", "is a pipe"),
        ("t/device", "is a device"),
        // A file that would be written through the link before it.
        ("t/etc --transform=s,x/evil,t/etc/evil, x/evil", ""),
        ("--hard-dereference --transform=s,^x,t, x/evil", "has no dkms.conf"),
    ] {
        let conf = if words.contains("conf") { "" } else { "t/dkms.conf" };
        place.sh(&format!("HERE=$(basename $PWD); tar -cf a.tar {conf} {members} 2>/dev/null"));
        let text = place.refused("a.tar");
        assert!(text.contains(words), "{members}: {text}");
        assert_eq!(place.sh("cat x/evil; ls /etc/evil 2>/dev/null || :"), "evil\n");
    }
}

/// A download that was cut off, or another file by mistake, must not be half a driver.
#[test]
fn what_is_no_whole_archive_is_refused() {
    let place = Place::new();
    place.sh("mkdir t two; echo x >t/dkms.conf; head -c 40000 /dev/urandom >t/x; cp t/dkms.conf two; tar -cf a.tar t");
    place
        .sh("gzip -k a.tar; head -c 20000 a.tar >cut; head -c 20000 a.tar.gz >cut.gz; tar -cf two.tar t two");
    place.sh("echo text >text; : >empty; sed s/dkms.conf/dkmsXconf/ a.tar >changed");
    for (archive, words) in [
        ("cut", "ends too early"),
        ("cut.gz", "ends too early"),
        ("text", "ends too early"),
        ("empty", "ends too early"),
        ("changed", "wrong checksum"),
        ("two.tar", "2 directories with a dkms.conf"),
    ] {
        let text = place.refused(archive);
        assert!(text.contains(words), "{archive}: {text}");
    }
    place.sh("head -c -4 a.tar.gz >cut.gz");
    assert!(place.refused("cut.gz").contains("gzip failed"));
}
