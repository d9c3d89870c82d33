//! Only one engine runs on a machine, and failed launches clean up after themselves.

use crate::machine::{DIR, Machine, RUN, digest, engine_digest, until};
use crate::runner::Runner;
use crate::sandbox::shell;
use farrier_protocol::{LaunchError, LaunchReport};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

fn failure(report: LaunchReport) -> (LaunchError, String) {
    match report {
        LaunchReport::Failed { code, message, holder: _ } => (code, message),
        other => panic!("{other:?}"),
    }
}

sandboxed! {
    /// Two runs on one machine would overwrite each other's installations.
    fn another_session_is_refused_and_the_same_one_is_recognised() {
        let machine = Machine::new("s1").started();
        let other = Machine::new("s2").in_dir("/mnt/farrier-2").deploy();
        let report = other.launch();
        let LaunchReport::Failed { holder: Some(holder), .. } = &report else { panic!("{report:?}") };
        assert_eq!((holder.pid, holder.name.as_str()), (machine.pid, "farrier-engine"));
        let (code, message) = failure(report);
        assert_eq!(code, LaunchError::MachineBusy);
        assert!(message.contains(RUN) && message.contains(&machine.pid.to_string()), "{message}");
        assert!(!Path::new("/mnt/farrier-2").exists());

        assert_eq!(machine.launch(), LaunchReport::AlreadyRunning { pid: machine.pid, listening: None });
        assert!(Path::new(DIR).exists());
        Runner::default().finish(&machine);
        machine.assert_clean();

        // No lock is left.
        let other = Machine::new("s2").in_dir("/mnt/farrier-2").started();
        Runner::default().finish(&other);
        assert_eq!(shell("ls /var/log/farrier"), format!("{RUN}\n"));
    }
}

sandboxed! {
    /// An SSH session ends only when all processes have closed its pipes.
    fn the_engine_keeps_nothing_of_the_login() {
        let mut machine = Machine::new("s1").deploy();
        let inherit = ["sh", "-c", "exec \"$0\" \"$@\" 9>/mnt/inherited"];
        let LaunchReport::Started { pid, .. } = machine.launch_with(&inherit, engine_digest()) else {
            panic!("not started")
        };
        machine.pid = pid;
        let open = || shell(&format!("ls -l /proc/{pid}/fd"));
        assert!(!open().contains("/mnt/inherited"), "{}", open());
        // The pipe of its own report is closed after the report.
        until("the engine has no pipe", || !open().contains("pipe:"));
        assert_eq!(shell(&format!("cat /proc/{pid}/stat")).split(' ').nth(5), Some(pid.to_string().as_str()));
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
        Runner::default().finish(&machine);
    }
}

sandboxed! {
    /// If a response is lost, the runner launches again while the first launch is still running.
    fn of_many_launches_at_once_one_starts_the_engine() {
        let machine = Machine::new("s1").deploy();
        let reports = thread::scope(|scope| {
            let launches: Vec<_> = (0..8).map(|_| scope.spawn(|| machine.launch())).collect();
            launches.into_iter().map(|launch| launch.join().unwrap()).collect::<Vec<_>>()
        });
        let started: Vec<u32> = reports
            .iter()
            .filter_map(|report| match report {
                LaunchReport::Started { pid, .. } => Some(*pid),
                _ => None,
            })
            .collect();
        let [pid] = started[..] else { panic!("{reports:?}") };
        let running = reports.iter().filter(|report| **report == LaunchReport::AlreadyRunning { pid, listening: None }).count();
        assert_eq!(running, 7, "{reports:?}");
        Runner::default().finish(&Machine { pid, ..machine });
    }
}

sandboxed! {
    /// A longer wait is the runner's, which can show it. The directory of the other process is not removed, whether a
    /// runner launches the engine or the machine resumes it after a reboot.
    fn an_engine_that_is_being_started_is_named_soon() {
        for command in ["launch", "resume"] {
            let machine = Machine::new("s1").deploy();
            // It waits without a child, which would look like another such process until it executes its program.
            let script = "mkdir -p /var/log/farrier; mkfifo /mnt/go; exec 9</var/log/farrier; flock 9; touch /mnt/held
                read -r _ </mnt/go";
            fs::write(format!("/mnt/{command}"), script).unwrap();
            let mut other = Command::new("sh");
            other.args([command, "--dir", DIR, "--session", "s1", "--run", RUN]).current_dir("/mnt");
            let mut other = other.spawn().unwrap();
            until("the other process to have the lock", || fs::exists("/mnt/held").unwrap());
            // The digest of a debug build takes a while.
            engine_digest();
            let begun = Instant::now();
            let report = machine.launch();
            assert!(begun.elapsed() < Duration::from_secs(8), "known after {:?}", begun.elapsed());
            assert!(Path::new(DIR).join("engine").exists(), "{command}");
            let LaunchReport::Failed { holder: Some(holder), .. } = &report else { panic!("{command}: {report:?}") };
            assert_eq!((holder.pid, holder.name.as_str()), (other.id(), "farrier-engine"), "{command}");
            let (code, message) = failure(report);
            assert_eq!(code, LaunchError::MachineBusy);
            assert!(message.starts_with("an engine is being started or removed on this machine"), "{message}");
            fs::write("/mnt/go", "\n").unwrap();
            other.wait().unwrap();
            Runner::default().finish(&machine.started());
            shell("rm /mnt/held /mnt/go; rm -r /var/log/farrier");
        }
    }
}

sandboxed! {
    /// A person who modifies the engine on its path to the machine must not get root there.
    fn an_engine_with_a_wrong_digest_does_not_start() {
        let machine = Machine::new("s1").deploy();
        let (code, message) = failure(machine.launch_with(&[], &digest(b"something else")));
        assert_eq!(code, LaunchError::DigestMismatch);
        assert!(message.contains("the operator sent sha256:"), "{message}");
        assert!(!Path::new(DIR).exists());
        assert!(!Path::new("/var/log/farrier").exists());
    }
}

sandboxed! {
    /// A failed launch must not remove the directory of a running engine.
    fn a_launch_that_fails_leaves_a_running_engine_alone() {
        let machine = Machine::new("s1").started();
        let (code, _) = failure(Machine::new("s2").launch());
        assert_eq!(code, LaunchError::MachineBusy);
        Runner::default().finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// A new version of the operator takes over the engines of the old version. The digest applies to
    /// binaries that are to be started, and these are already running.
    fn an_operator_of_another_version_finds_the_running_engine() {
        let machine = Machine::new("s1").started();
        let report = machine.launch_with(&[], &digest(b"a later version"));
        assert_eq!(report, LaunchReport::AlreadyRunning { pid: machine.pid, listening: None });
        machine.kill();
        let (code, _) = failure(machine.launch_with(&[], &digest(b"a later version")));
        assert_eq!(code, LaunchError::DigestMismatch);
        assert!(!Path::new(DIR).exists());
    }
}

sandboxed! {
    /// Every user gets the same report.
    fn without_root_it_does_not_start() {
        let machine = Machine::new("s1").deploy();
        let prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
        let (code, _) = failure(machine.launch_with(&prefix, engine_digest()));
        assert_eq!(code, LaunchError::NotRoot);
    }
}

sandboxed! {
    /// A directory that other users can write to could be replaced while the engine runs.
    fn a_directory_that_is_not_roots_alone_is_refused() {
        let machine = Machine::new("s1").deploy();
        shell("chmod 777 /mnt/farrier-1");
        let (code, message) = failure(machine.launch());
        assert_eq!(code, LaunchError::Other);
        assert!(message.contains("writable by root only"), "{message}");
    }
}

sandboxed! {
    /// A wrong directory must never delete a machine's files.
    fn a_directory_with_another_name_is_neither_used_nor_removed() {
        let machine = Machine::new("s1").in_dir("/mnt/precious").deploy();
        let (code, message) = failure(machine.launch());
        assert_eq!(code, LaunchError::Other);
        assert!(message.contains("begins with `farrier`"), "{message}");
        assert!(machine.sweep().stdout.is_empty());
        assert!(Path::new("/mnt/precious/engine").exists());
    }
}

sandboxed! {
    /// A damaged journal must not be continued.
    fn a_damaged_journal_is_refused_by_name() {
        let machine = Machine::new("s1").started();
        machine.kill();
        let path = machine.journal_path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("leaseTaken", "leaseT\0ken", 1).replacen('{', "", 1)).unwrap();
        let (code, message) = failure(machine.launch());
        assert_eq!(code, LaunchError::NoJournal);
        assert!(message.contains("journal-s1.jsonl: line 1 is damaged"), "{message}");
    }
}
