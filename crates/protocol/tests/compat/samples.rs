//! One message of every kind, as this version writes it.

use farrier_protocol::{
    ChangeKind, Detect, DialOutcome, EventBody, FailureCode, FirewallState, Installer, LaunchError,
    LaunchReport, LeaseKind, NoReboot, PendingUntil, Reading, Simulation, StepExit, WaitFor, Work,
};
use serde_json::Value;

/// What the engine says: the name of its type, and the message.
pub(crate) const ENGINE_SAYS: &[(&str, &str)] = &[
    (
        "Hello",
        r#"{"protocol":1,"oldest":1,"engine":"0.1.0","digest":"sha256:00","now":1764403200000,"session":"s","boot_id":"b","last_seq":3,"tasks":[{"id":"a1-apply","finished":false}],"leases":[{"id":"directory-1","kind":"directory","what":"/var/lib/farrier-s"}],"dials":[{"address":"10.0.0.1:63001","result":"timed-out","message":"x","from":"10.0.0.2"}]}"#,
    ),
    ("Next", r#"{"done":null}"#),
    ("Next", r#"{"done":"a1-survey"}"#),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"leaseTaken","lease":{"id":"process-2","kind":"process","what":"7","started":9}}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"leaseTaken","lease":{"id":"boot-file-3","kind":"bootFile","what":"/etc/cron.d/farrier-s"}}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"leaseTaken","lease":{"id":"firewall-3","kind":"firewall","what":"nftables inet filter input: tcp 62286 from 10.0.0.1"}}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"leaseTaken","lease":{"id":"hold-4","kind":"hold","what":"hold on libfx:amd64"}}}"#,
    ),
    ("Event", r#"{"seq":1,"at":2,"body":{"kind":"leaseReturned","id":"process-2"}}"#),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"surveyDone","task":"a1-survey","facts":{"os":"debian","osVersion":"12","osLike":"","osName":"Debian","arch":"x86_64","kernel":"6.1","hostname":"db","vendor":"","model":"","serial":"","biosVersion":"","dpkgArch":"","rpmArch":"","kernelHeaders":"","bootId":"","packageManagers":"dpkg"},"packages":[{"name":"a","version":"1","arch":"amd64","kind":"deb"}],"firmware":[{"id":"bios","name":"HPE BIOS","version":"U30 2.64","source":"dmi"},{"id":"x","name":"SSD","version":"1","source":"fwupd","softwareId":"8a7e7c2e","updateable":true}],"readings":[["a",{"state":"present","version":"1"}],["b",{"state":"absent"}],["c",{"state":"broken","version":"1","detail":"x"}],["d",{"state":"unreadable","detail":"x"}]]}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"surveyDone","task":"a1-survey","facts":{"os":"debian","osVersion":"12","osLike":"","osName":"Debian","arch":"x86_64","kernel":"6.1","hostname":"db","vendor":"","model":"","serial":"","biosVersion":"","dpkgArch":"","rpmArch":"","kernelHeaders":"/h","bootId":"","packageManagers":"dpkg"},"packages":[],"readings":[],"programs":["gcc"]}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"simulated","task":"t","simulations":[["a",{"result":"possible","changes":[{"kind":"install","name":"a","arch":"amd64","version":"1"},{"kind":"upgrade","name":"b","version":"2"},{"kind":"downgrade","name":"c","version":"2"},{"kind":"reinstall","name":"d","version":"2"},{"kind":"remove","name":"e","version":"2"},{"kind":"other","name":"f","version":"2"}]}],["b",{"result":"refused","refusal":"held","detail":"x"}],["c",{"result":"failed","message":"x"}]]}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"surveyDone","task":"a1-survey","facts":{"os":"debian","osVersion":"12","osLike":"","osName":"Debian","arch":"x86_64","kernel":"6.1","hostname":"db","vendor":"","model":"","serial":"","biosVersion":"","dpkgArch":"","rpmArch":"","kernelHeaders":"","bootId":"","packageManagers":"dpkg"},"packages":[],"readings":[["a",{"state":"present","version":"1","pending":{"version":"2","until":"reboot"}}],["b",{"state":"present","version":"1","pending":{"version":"2","until":"powerCycle"}}],["c",{"state":"present","version":"1","pending":{"version":"2","until":"activation"}}],["m",{"state":"present","version":"2","pending":{"version":"2","until":"moduleLoad"}}]]}}"#,
    ),
    ("Event", r#"{"seq":1,"at":2,"body":{"kind":"taskStarted","task":"t","components":["a"]}}"#),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"payloadVerified","task":"t","component":"a","digest":"sha256:00"}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"stepStarted","task":"t","component":"a","limit":{"seconds":60,"interruptible":true}}}"#,
    ),
    ("Event", r#"{"seq":1,"at":2,"body":{"kind":"stepOverdue","task":"t","component":"a","ended":true}}"#),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"stepFinished","task":"t","component":"a","exit":{"how":"exited","code":0},"output":"x"}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"stepFinished","task":"t","component":"a","exit":{"how":"signalled","signal":9},"output":""}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"stepFinished","task":"t","component":"a","exit":{"how":"timedOut"},"output":""}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"stepFinished","task":"t","component":"a","exit":{"how":"dependencyMissing"},"output":""}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"stepFinished","task":"t","component":"a","exit":{"how":"interrupted"},"output":""}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"stepFinished","task":"t","component":"a","exit":{"how":"cancelled"},"output":""}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"stepFinished","task":"t","component":"a","exit":{"how":"skipped"},"output":""}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"stepFinished","task":"t","component":"a","exit":{"how":"notStarted","code":"DiskFull","detail":"x"},"output":""}}"#,
    ),
    ("Event", r#"{"seq":1,"at":2,"body":{"kind":"taskDone","task":"t"}}"#),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"taskFailed","task":"t","code":"DigestMismatch","component":"a","message":"x"}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"taskFailed","task":"t","code":"PayloadUnavailable","component":"a","message":"x"}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"taskFailed","task":"t","code":"PackageManagerBusy","component":"a","message":"x"}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"taskFailed","task":"t","code":"InstallerMissing","component":"a","message":"x"}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"taskFailed","task":"t","code":"Other","component":"","message":"x"}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"waiting","wait":{"what":{"kind":"packageLock","path":"/var/lib/dpkg/lock"},"holder":{"pid":714,"name":"apt-get"},"since":1,"until":2}}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"waiting","wait":{"what":{"kind":"room","path":"/var","needed":2,"free":1},"since":1}}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"waiting","wait":{"what":{"kind":"installer","component":"a"},"since":1}}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"waiting","wait":{"what":{"kind":"inhibitor","who":"backup","why":"at work"},"since":1}}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"waiting","wait":{"what":{"kind":"rebootDelay"},"since":1,"until":2}}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"waiting","wait":{"what":{"kind":"firmware"},"holder":{"pid":714,"name":"fwupdmgr"},"since":1,"until":2}}}"#,
    ),
    ("Event", r#"{"seq":1,"at":2,"body":{"kind":"waiting","wait":null}}"#),
    ("Event", r#"{"seq":1,"at":2,"body":{"kind":"rebootBegun","task":"t","bootId":"b"}}"#),
    ("Event", r#"{"seq":1,"at":2,"body":{"kind":"rebootRequested","task":"t"}}"#),
    ("Event", r#"{"seq":1,"at":2,"body":{"kind":"rebooted","task":"t","bootId":"c"}}"#),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"notRebooted","task":"t","why":{"cause":"inhibited","who":"backup","why":"at work","holder":{"pid":7,"name":"borg"}}}}"#,
    ),
    ("Event", r#"{"seq":1,"at":2,"body":{"kind":"notRebooted","task":"t","why":{"cause":"cancelled"}}}"#),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"notRebooted","task":"t","why":{"cause":"failed","detail":"x"}}}"#,
    ),
    (
        "Event",
        r#"{"seq":1,"at":2,"body":{"kind":"retired","leftovers":[{"what":"/var/lib/farrier-s","why":"busy"}]}}"#,
    ),
    ("LaunchReport", r#"{"result":"started","pid":7}"#),
    ("LaunchReport", r#"{"result":"alreadyRunning","pid":7}"#),
    (
        "LaunchReport",
        r#"{"result":"started","pid":7,"listening":{"port":62286,"firewalls":[{"name":"nftables (inet filter input)","state":"opened","command":"x"},{"name":"ufw (iptables INPUT)","state":"failed","command":"x","problem":"y"},{"name":"firewalld (zone public)","state":"untouched","command":"x"}]}}"#,
    ),
    ("LaunchReport", r#"{"result":"alreadyRunning","pid":7,"listening":{"port":0,"problem":"x"}}"#),
    ("LaunchReport", r#"{"result":"failed","code":"DigestMismatch","message":"x"}"#),
    (
        "LaunchReport",
        r#"{"result":"failed","code":"MachineBusy","message":"x","holder":{"pid":7,"name":"farrier-engine"}}"#,
    ),
    ("LaunchReport", r#"{"result":"failed","code":"NotRoot","message":"x"}"#),
    ("LaunchReport", r#"{"result":"failed","code":"DiskFull","message":"x"}"#),
    ("LaunchReport", r#"{"result":"failed","code":"NoJournal","message":"x"}"#),
    ("LaunchReport", r#"{"result":"failed","code":"Other","message":"x"}"#),
    ("Dial", r#"{"address":"10.0.0.1:1","result":"connected","message":""}"#),
    ("Dial", r#"{"address":"10.0.0.1:1","result":"refused","message":""}"#),
    ("Dial", r#"{"address":"10.0.0.1:1","result":"prohibited","message":""}"#),
    ("Dial", r#"{"address":"10.0.0.1:1","result":"no-route","message":""}"#),
    ("Dial", r#"{"address":"10.0.0.1:1","result":"closed","message":""}"#),
    ("Dial", r#"{"address":"10.0.0.1:1","result":"silent","message":""}"#),
    ("Dial", r#"{"address":"10.0.0.1:1","result":"untrusted","message":""}"#),
    ("Dial", r#"{"address":"10.0.0.1:1","result":"failed","message":""}"#),
];

/// What the operator says.
pub(crate) const OPERATOR_SAYS: &[(&str, &str)] = &[
    ("Welcome", r#"{"ack":3,"lease_seconds":900,"protocol":1}"#),
    ("Ack", r#"{"ack":3,"cancel":false}"#),
    (
        "Task",
        r#"{"id":"a1-survey","work":{"kind":"survey","packages":true,"detect":[["a",{"package":"a"}],["b",{"command":"b -v"}],["c",{"file":"/c"}]]}}"#,
    ),
    (
        "Task",
        r#"{"id":"a1-apply","work":{"kind":"apply","steps":[{"component":"a","version":"1","installer":"Deb","payload":{"digest":"sha256:00","size":1,"fileName":"a.deb"},"after":["b"],"timeoutSeconds":60,"interruptible":true,"downgrade":false,"rewrite":false},{"component":"b","version":"1","installer":"Rpm","payload":{"digest":"sha256:00","size":1,"fileName":"b.rpm"},"after":[],"timeoutSeconds":60,"interruptible":true,"downgrade":false,"rewrite":false},{"component":"c","version":"1","installer":"Script","payload":{"digest":"sha256:00","size":1,"fileName":"c.sh"},"after":[],"timeoutSeconds":60,"interruptible":true,"downgrade":false,"rewrite":false}],"waitSeconds":60}}"#,
    ),
    (
        "Task",
        r#"{"id":"a1-reboot","work":{"kind":"reboot","delaySeconds":60,"message":"x","waitSeconds":60,"ignoreInhibitors":false}}"#,
    ),
    (
        "Task",
        r#"{"id":"a1-survey","work":{"kind":"survey","packages":true,"detect":[["a",{"firmware":"Integrated Webcam"}]],"fwupd":true}}"#,
    ),
    (
        "Task",
        r#"{"id":"a1-apply","work":{"kind":"apply","steps":[{"component":"a","version":"1","installer":"Fwupd","payload":{"digest":"sha256:00","size":1,"fileName":"a.cab"},"after":[],"timeoutSeconds":60,"interruptible":false,"downgrade":false,"rewrite":false,"firmware":"Integrated Webcam","overridesTrustedModule":true}],"waitSeconds":60}}"#,
    ),
    (
        "Task",
        r#"{"id":"a1-apply","work":{"kind":"apply","steps":[{"component":"a","version":"1","installer":"DellDup","payload":{"digest":"sha256:00","size":1,"fileName":"a.BIN"},"after":[],"timeoutSeconds":60,"interruptible":false,"downgrade":false,"rewrite":false},{"component":"b","version":"1","installer":"HpeSmartComponent","payload":{"digest":"sha256:00","size":1,"fileName":"b.scexe"},"after":[],"timeoutSeconds":60,"interruptible":false,"downgrade":false,"rewrite":false}],"waitSeconds":60}}"#,
    ),
    ("Task", r#"{"id":"a1-survey","work":{"kind":"survey","packages":true,"detect":[],"programs":["gcc"]}}"#),
    (
        "Task",
        r#"{"id":"a1-survey","work":{"kind":"survey","packages":true,"detect":[["a",{"module":"r8125"}]]}}"#,
    ),
    (
        "Task",
        r#"{"id":"a1-apply","work":{"kind":"apply","steps":[{"component":"a","version":"1","installer":"Tar","payload":{"digest":"sha256:00","size":1,"fileName":"a.tar.gz"},"after":[],"timeoutSeconds":60,"interruptible":true,"downgrade":false,"rewrite":false,"package":{"name":"r8125"}}],"waitSeconds":60}}"#,
    ),
    (
        "Task",
        r#"{"id":"a1-simulate","work":{"kind":"simulate","steps":[{"component":"a","version":"1","installer":"Deb","after":[],"timeoutSeconds":60,"interruptible":true,"downgrade":false,"rewrite":false,"package":{"name":"a","arches":["amd64","all"]},"respectHolds":true}]}}"#,
    ),
    (
        "Task",
        r#"{"id":"a1-apply","work":{"kind":"apply","steps":[{"component":"a","version":"1","installer":"Rpm","after":[],"timeoutSeconds":60,"interruptible":true,"downgrade":false,"rewrite":false,"package":{"name":"a"},"respectHolds":true}],"waitSeconds":60}}"#,
    ),
    ("Task", r#"{"id":"retire-9","work":{"kind":"retire"}}"#),
    (
        "CallbackConfig",
        r#"{"addresses":["10.0.0.1:63001"],"server_name":"s.farrier.internal","server_pin":"sha256:00","certificate":"c","key":"k"}"#,
    ),
    (
        "CallbackConfig",
        r#"{"addresses":[],"server_name":"s.farrier.internal","server_pin":"sha256:00","certificate":"c","key":"k","listen":{"firstPort":62286,"lastPort":62289,"local":"10.0.0.2","peer":"10.0.0.1","token":"00","openFirewall":true}}"#,
    ),
];

/// Kinds of work, detections and installers that came with this version, and steps without a payload. An engine
/// of the previous one refuses them, so that they are given to engines of the operator's own build only.
pub(crate) fn only_for_own_engines(task: &Value) -> bool {
    let has_no_payload = |step: &Value| step.get("payload").is_none();
    let work = task.get("work");
    let steps = work.and_then(|work| work.get("steps")).and_then(Value::as_array);
    let is_without_payload = steps.is_some_and(|steps| steps.iter().any(has_no_payload));
    let text = task.to_string();
    let kinds = [
        r#""installer":"Fwupd""#,
        r#""installer":"DellDup""#,
        r#""installer":"HpeSmartComponent""#,
        r#""installer":"Tar""#,
        r#"{"firmware":"#,
        r#"{"module":"#,
    ];
    let is_reboot = work.and_then(|work| work.get("kind")).is_some_and(|kind| kind == "reboot");
    is_reboot || is_without_payload || kinds.iter().any(|kind| text.contains(kind))
}

/// Lists how each variant of an enum shows in JSON. The match has no wildcard: who adds a variant adds
/// it here, with a sample, and decides what the previous version makes of it. Those behind the bar are
/// never sent.
macro_rules! variants {
    ($type:ident in $before:literal $after:literal: $($variant:ident $word:literal)+ $(| $unsent:ident)?) => {{
        const _: fn(&$type) = |value| match value {
            $($type::$variant { .. } => (),)+
            $($type::$unsent { .. } => (),)?
        };
        [$(concat!($before, $word, $after)),+].as_slice()
    }};
}

/// Fails unless every variant of every enum occurs in a sample.
pub(crate) fn are_complete() {
    let all: String = ENGINE_SAYS.iter().chain(OPERATOR_SAYS).map(|(_, json)| *json).collect();
    for tag in tags().concat() {
        assert!(all.contains(tag), "no sample has {tag}");
    }
}

fn tags() -> [&'static [&'static str]; 17] {
    [
        variants!(EventBody in "\"kind\":\"" "\"": LeaseTaken "leaseTaken" LeaseReturned "leaseReturned"
            SurveyDone "surveyDone" Simulated "simulated" TaskStarted "taskStarted" PayloadVerified "payloadVerified"
            StepStarted "stepStarted" StepOverdue "stepOverdue" StepFinished "stepFinished"
            TaskDone "taskDone" TaskFailed "taskFailed" RebootBegun "rebootBegun"
            RebootRequested "rebootRequested" Rebooted "rebooted" NotRebooted "notRebooted"
            Waiting "waiting" Retired "retired" | Unknown),
        variants!(NoReboot in "\"cause\":\"" "\"": Cancelled "cancelled" Inhibited "inhibited" Failed "failed" | Unknown),
        variants!(StepExit in "\"how\":\"" "\"": Exited "exited" Signalled "signalled" TimedOut "timedOut"
            DependencyMissing "dependencyMissing" Interrupted "interrupted" Cancelled "cancelled"
            Skipped "skipped" NotStarted "notStarted" | Unknown),
        variants!(WaitFor in "\"kind\":\"" "\"": PackageLock "packageLock" Room "room" Firmware "firmware"
            Installer "installer" Inhibitor "inhibitor" RebootDelay "rebootDelay" | Unknown),
        variants!(Reading in "\"state\":\"" "\"": Absent "absent" Present "present" Broken "broken"
            Unreadable "unreadable" | Unknown),
        variants!(LaunchReport in "\"result\":\"" "\"": Started "started" AlreadyRunning "alreadyRunning" Failed "failed"),
        variants!(Work in "\"kind\":\"" "\"": Survey "survey" Apply "apply" Simulate "simulate" Reboot "reboot" Retire "retire"),
        variants!(Simulation in "\"result\":\"" "\"": Possible "possible" Refused "refused" Failed "failed" | Unknown),
        variants!(ChangeKind in "{\"kind\":\"" "\"": Install "install" Upgrade "upgrade" Downgrade "downgrade"
            Reinstall "reinstall" Remove "remove" Other "other"),
        variants!(Detect in "{\"" "\":": Package "package" Command "command" File "file"
            Firmware "firmware" Module "module"),
        variants!(FailureCode in "\"code\":\"" "\"": DiskFull "DiskFull" DigestMismatch "DigestMismatch"
            PayloadUnavailable "PayloadUnavailable" PackageManagerBusy "PackageManagerBusy"
            InstallerMissing "InstallerMissing" Other "Other"),
        variants!(LaunchError in "\"code\":\"" "\"": DigestMismatch "DigestMismatch" MachineBusy "MachineBusy"
            NotRoot "NotRoot" DiskFull "DiskFull" NoJournal "NoJournal" Other "Other"),
        variants!(DialOutcome in "\"result\":\"" "\"": Connected "connected" TimedOut "timed-out" Refused "refused"
            Prohibited "prohibited" NoRoute "no-route" Closed "closed" Silent "silent"
            Untrusted "untrusted" Failed "failed"),
        variants!(FirewallState in "\"state\":\"" "\"": Opened "opened" Failed "failed" Untouched "untouched"),
        variants!(LeaseKind in "\"kind\":\"" "\"": Directory "directory" Process "process" BootFile "bootFile" Firewall "firewall"
            Hold "hold" | Unknown),
        variants!(Installer in "\"installer\":\"" "\"": Deb "Deb" Rpm "Rpm" Script "Script" Fwupd "Fwupd"
            DellDup "DellDup" HpeSmartComponent "HpeSmartComponent" Tar "Tar"),
        variants!(PendingUntil in "\"until\":\"" "\"": Reboot "reboot" PowerCycle "powerCycle"
            Activation "activation" ModuleLoad "moduleLoad" | Unknown),
    ]
}
