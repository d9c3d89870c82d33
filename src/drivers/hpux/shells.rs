//! Runs the scripts in every shell that is `/bin/sh` somewhere. What they find on HP-UX is tried on its double.

use crate::drivers::shell::script::{END, program};
use crate::drivers::shell::shells::{Shell, output_of, temporary, text, with_every_shell};

/// Longer than what a pipe holds, and with every byte.
fn image() -> Vec<u8> {
    (0..300_000_u32).map(|number| (number % 251) as u8).collect()
}

/// A depot that is cut off, or has another byte, must never be taken for whole.
#[test]
fn an_image_arrives_byte_for_byte_or_not_at_all() {
    let script = [include_str!("common.sh"), include_str!("stage.sh"), include_str!("receive.sh")].join("\n");
    with_every_shell(|shell| {
        for (sent, answer, name) in [(300_000, "received", "depot"), (299_999, "short 299999", "depot.part")]
        {
            let dir = temporary();
            let top = dir.path().join("farrier-a1");
            let directory = format!("{}/2", text(&top));
            let settings =
                [("TOP", text(&top)), ("DIRECTORY", &directory), ("NEED", "1"), ("LENGTH", "300000")];
            let mut running = Shell::start(shell);
            running.send(&program(&script, &settings, &[]));
            assert!(running.prints("farrier-send-1\n"), "{shell:?}");
            running.send(&image()[..sent]);
            let printed = running.ends();
            assert!(printed.contains(&format!("{answer}\n{END}")), "{shell:?}: {printed}");
            assert_eq!(std::fs::read(top.join("2").join(name)).unwrap(), image()[..sent], "{shell:?}");
            // The number is never used again.
            let again = output_of(shell, &[], &program(&script, &settings, &[])).unwrap();
            assert!(again.starts_with("refused taken "), "{shell:?}: {again}");
        }
    });
}

/// Otherwise work whose process is gone is waited for, or is begun a second time beside one that runs.
#[test]
fn the_state_of_work_is_that_of_its_process() {
    let script = [include_str!("common.sh"), "state_of \"$WORK\""].join("\n");
    with_every_shell(|shell| {
        let dir = temporary();
        let work = text(dir.path());
        let state = || {
            let program = program(&script, &[("WORK", work)], &[]);
            output_of(shell, &[], &program).unwrap().trim().to_owned()
        };
        assert_eq!(state(), "unstarted", "{shell:?}");
        std::fs::write(dir.path().join("run"), "read line").unwrap();
        let mut child = std::process::Command::new("dash")
            .arg(format!("{work}/run"))
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::fs::write(dir.path().join("pid"), format!("{}\n", child.id())).unwrap();
        assert_eq!(state(), "running", "{shell:?}");
        // The number may be another process's after a restart.
        std::fs::write(dir.path().join("pid"), format!("{}\n", std::process::id())).unwrap();
        assert_eq!(state(), "gone", "{shell:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        std::fs::write(dir.path().join("status"), "2\n").unwrap();
        assert_eq!(state(), "ended 2", "{shell:?}");
    });
}
