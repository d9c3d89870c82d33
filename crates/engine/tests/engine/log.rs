//! The log of a session: live, across cut connections and killed engines, bounded, without credentials.

use crate::machine::{DIR, Machine, until};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use crate::tls::{SESSION, Server};
use farrier_protocol::StepExit;
use std::fs;

fn with_log() -> Runner {
    Runner { log: Some(Vec::new()), ..Runner::default() }
}

sandboxed! {
    /// Users would see what an installer prints only when it has ended.
    fn lines_arrive_while_the_installer_runs() {
        let machine = Machine::new("s1").started();
        let mut runner = with_log();
        let one = runner.script("one", "echo first; while [ ! -e /mnt/go ]; do sleep 0.05; done; echo second >&2");
        runner.order_apply("apply-1", vec![one]);
        runner.talk(&machine, |runner| runner.printed_by("one") == ["first"]);
        fs::write("/mnt/go", "").unwrap();
        runner.finish(&machine);
        assert_eq!(runner.printed_by("one"), ["first", "second"]);
        let lines = runner.log_lines();
        let ended = lines.iter().position(|line| line == "- one: the installer ended with status 0");
        assert!(ended > lines.iter().position(|line| line == "one second"), "{lines:#?}");
        assert_eq!(lines.last().unwrap(), "- everything is removed");
        let kept = fs::read("/var/log/farrier/spring/output-s1.log").unwrap();
        assert_eq!(Some(kept), runner.log, "the machine keeps what the runner got");
        machine.assert_clean();
    }
}

sandboxed! {
    /// A runner of an earlier version does not know the request, and would end the connection each time.
    fn a_runner_that_takes_no_logs_gets_none() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.script("one", "echo hello");
        runner.order_apply("apply-1", vec![one]);
        runner.finish(&machine);
        assert_eq!((runner.hellos.len(), runner.log_parts.len()), (1, 0));
        assert!(shell("cat /var/log/farrier/spring/output-s1.log").contains(" one hello\n"));
        machine.assert_clean();
    }
}

sandboxed! {
    /// Lines would be lost or doubled whenever a connection is cut, a runner dies, or an engine is killed.
    fn nothing_is_lost_or_doubled_when_connections_runners_and_engines_end() {
        let machine = Machine::new("s1").started();
        let mut runner = with_log();
        let script = "n=0; while [ $n -lt 2000 ]; do n=$((n+1)); echo line $n; done; echo counted >/mnt/counted
            while [ ! -e /mnt/go ]; do sleep 0.05; done; echo last";
        let one = runner.script("one", script);
        runner.order_apply("apply-1", vec![one]);
        for wanted in [1, 2, 3] {
            let mut connection = Connection::attach(&machine);
            let before = runner.log_parts.len();
            assert!(runner.serve(&mut connection, |runner| runner.log_parts.len() > before || wanted == 3));
            connection.cut();
        }
        until("the lines", || fs::exists("/mnt/counted").unwrap());
        machine.kill();
        let machine = Machine::new("s1").started();
        runner.talk(&machine, |runner| runner.printed_by("one").len() >= 2000);
        // Another runner begins at 0 and gets the same bytes.
        let mut other = with_log();
        other.talk(&machine, |other| other.log >= runner.log);
        fs::write("/mnt/go", "").unwrap();
        runner.tasks.clear();
        runner.finish(&machine);
        let mut expected: Vec<String> = (1..=2000).map(|n| format!("line {n}")).collect();
        expected.push("last".into());
        assert_eq!(runner.printed_by("one"), expected);
        let had = other.log.unwrap();
        assert_eq!(had, runner.log.as_ref().unwrap()[..had.len()]);
        assert_eq!(runner.exits(), [("one", &StepExit::Interrupted)]);
        machine.assert_clean();
    }
}

sandboxed! {
    /// An installer that prints without end would fill the disk and the memory, and hold up the status.
    fn a_flood_is_bounded_and_does_not_hold_up_events() {
        let machine = Machine::new("s1").started();
        let mut runner = with_log();
        let flood = "yes 'a line of a chatty installer, again and again' | head -c 300000000; echo; echo the end";
        let one = runner.script("one", flood);
        let two = runner.script("two", "echo after");
        runner.order_apply("apply-1", vec![one, two]);
        runner.talk(&machine, |runner| runner.is_done("apply-1"));
        let memory = shell(&format!("grep VmHWM /proc/{}/status | tr -dc 0-9", machine.pid));
        let kilobytes: u64 = memory.parse().unwrap();
        assert!(kilobytes < 32 * 1024, "{kilobytes} KiB");
        runner.finish(&machine);
        let length = runner.log.as_ref().unwrap().len();
        assert!(length < 24 * 1024 * 1024, "{length}");
        assert!(fs::metadata("/var/log/farrier/spring/output-s1.log").unwrap().len() == length as u64);
        let printed = runner.printed_by("one");
        assert_eq!(printed.last().unwrap(), "the end");
        assert!(printed.iter().any(|line| line.contains("are left out]")));
        assert_eq!(runner.printed_by("two"), ["after"]);
        machine.assert_clean();
    }
}

sandboxed! {
    /// Credentials would be seen by everyone who may read logs, statuses or events.
    fn credentials_do_not_get_into_logs_and_events() {
        let server = Server::on("127.0.0.1:0");
        let config = server.callback();
        let machine = Machine::new(SESSION).calling(&config);
        let mut runner = with_log();
        let script = format!(
            "cat {DIR}/callback.json | tr ',' '\\n'; sed -n 's/.*\"key\":\"\\([^\"]*\\)\".*/\\1/p' {DIR}/callback.json | sed 's/\\\\n/\\n/g'
             echo 'Err:1 https://ann:canary-password@repo.example/x'; echo 'curl: token=canary-token'
             echo 'Authorization: Basic canary-basic'; exit 3"
        );
        let one = runner.script("one", &script);
        // The end of the output that an event has begins within a key, and within a header.
        let key = "echo '-----BEGIN EC PRIVATE KEY-----'
            n=0; while [ $n -lt 100 ]; do n=$((n+1)); echo canary-body-of-a-key-that-is-longer-than-the-output-of-an-event; done
            echo '-----END EC PRIVATE KEY-----'; echo after; exit 3";
        let two = runner.script("two", key);
        let header = "printf 'Authorization: Basic'
            n=0; while [ $n -lt 700 ]; do n=$((n+1)); printf ' canary'; done; echo; echo after; exit 3";
        let three = runner.script("three", header);
        runner.order_apply("apply-1", vec![one, two, three]);
        runner.finish_calls(&server, &machine);
        let secrets: Vec<&str> =
            config.key.lines().filter(|line| !line.starts_with("---") && line.len() >= 8).chain(["canary"]).collect();
        assert!(runner.output("two").ends_with("[redacted]\nafter\n"), "{}", runner.output("two"));
        assert_eq!(runner.output("three"), "Authorization: [redacted]\nafter\n");
        let events = serde_json::to_string(&runner.events).unwrap();
        let log = String::from_utf8(runner.log.clone().unwrap()).unwrap();
        assert!(log.contains("one Err:1 https://[redacted]@repo.example/x"), "{log}");
        let kept = shell("cat /var/log/farrier/spring/*");
        for secret in secrets {
            for (place, text) in [("the log", &log), ("the events", &events), ("the machine's logs", &kept)] {
                assert!(!text.contains(secret), "{secret} is in {place}: {text}");
            }
        }
        machine.assert_clean();
    }
}

sandboxed! {
    /// Logs of all runs of all years would fill the disks of the fleet.
    fn logs_of_old_runs_are_removed() {
        for (run, days) in [("a", 1), ("b", 2), ("c", 3), ("d", 100)] {
            let dir = format!("/var/log/farrier/{run}");
            let line = r#"{"seq":1,"at":1,"body":{"kind":"retired","leftovers":[]}}"#;
            shell(&format!("mkdir -p {dir}; echo '{line}' >{dir}/journal-x.jsonl; touch -d '{days} days ago' {dir}/*"));
        }
        shell("mkdir /var/log/farrier/mine; touch -d '900 days ago' /var/log/farrier/mine/notes");
        let machine = Machine::new("s1").deploy();
        let line = machine.launch_line(&[], crate::machine::engine_digest(), "--keep-runs 3 --keep-days 30");
        shell(&line);
        assert_eq!(shell("ls /var/log/farrier"), "a\nb\nmine\nspring\n");
        let mut runner = Runner::default();
        runner.order("retire-1", farrier_protocol::Work::Retire);
        runner.talk(&machine, Runner::retired);
    }
}
