//! A simulated fleet with schedules: whoever decides, and whatever clocks do.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// 2026-11-30T23:45:00Z.
const START: Millis = Millis(1_796_082_300_000);

fn machine(number: usize) -> Machine {
    Machine {
        name: NodeName(format!("m{number:05}")),
        uid: format!("{number:08x}-0000-4000-8000-000000000000"),
        every: DAY,
        created: START,
        looked: None,
        is_busy: false,
    }
}

fn fleet(count: usize) -> Vec<Machine> {
    (0..count).map(machine).collect()
}

/// A replica that is restarted, or another one, would ask machines a second time.
#[test]
fn when_a_machine_is_due_follows_from_its_status_alone() {
    let known = Machine { looked: Some(START), ..machine(7) };
    let due = known.due_at(START);
    for later in [MINUTE, HOUR, DAY, DAY * 40] {
        assert_eq!(known.due_at(START.after(later)), due);
    }
    assert!(due >= START.after(DAY), "not more often than every 24h");
    assert!(due <= START.after(DAY + DAY / JITTER_PART + SLOT.1), "{due}");
    let moved = Machine { uid: "another".into(), ..known };
    assert_ne!(moved.due_at(START), due, "the UID decides");
}

/// A fleet that is applied at once, or looked at in one night after an outage, would be asked at once each day.
#[test]
fn machines_are_spread() {
    let spread = |round: u32| {
        let mut per_slot: BTreeMap<Millis, usize> = BTreeMap::new();
        for mut machine in fleet(10_000) {
            let mut due = machine.due_at(START);
            for _ in 0..round {
                machine.looked = Some(due);
                due = machine.due_at(due);
            }
            *per_slot.entry(due).or_default() += 1;
        }
        (per_slot.len(), per_slot.values().copied().max().unwrap())
    };
    let (first_slots, first_peak) = spread(0);
    assert!(first_slots >= 9 && first_peak < 1_300, "2.4 h of quarters: {first_slots} {first_peak}");
    let (slots, peak) = spread(10);
    assert!(slots >= 24 && peak < first_peak * 2 / 3, "hours, without clumps: {slots} {peak}");
}

/// Ten thousand machines would be ten thousand runs.
#[test]
fn a_day_of_ten_thousand_machines_is_few_runs() {
    let mut machines = fleet(10_000);
    let mut runs = 0;
    let mut taken = 0;
    for minute in 0..24 * 60 {
        let now = START.after(MINUTE * minute);
        let Some(run) = decide(now, &machines, 0) else { continue };
        runs += 1;
        taken += run.nodes.len();
        let of_run: BTreeSet<&NodeName> = run.nodes.iter().collect();
        for machine in machines.iter_mut().filter(|machine| of_run.contains(&machine.name)) {
            machine.looked = Some(now);
        }
    }
    assert_eq!(taken, 10_000);
    assert!(runs <= 96, "{runs}");
}

/// Machines that somebody works on would be asked meanwhile, or a run would wait for them for hours.
#[test]
fn busy_machines_are_left_alone_and_open_runs_are_bounded() {
    let late = START.after(DAY * 2);
    let mut machines = fleet(3);
    machines[1].is_busy = true;
    let names = |run: &InventoryRun| run.nodes.iter().map(|name| name.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&decide(late, &machines, 0).unwrap()), ["m00000", "m00002"]);
    assert_eq!(names(&decide(late, &machines, MAX_OPEN - 1).unwrap()), ["m00000", "m00002"]);
    assert_eq!(decide(late, &machines, MAX_OPEN), None);
    assert_eq!(decide(late, &[], 0), None);
    assert_eq!(decide(START, &[Machine { looked: Some(START), ..machine(1) }], 0), None);
}

/// The API server would refuse a run of so many machines, and machines that are late would never have their turn.
#[test]
fn those_that_have_waited_longest_come_first_if_there_are_too_many() {
    let late = START.after(DAY * 30);
    let mut machines = fleet(2_500);
    for (number, machine) in machines.iter_mut().enumerate() {
        machine.looked = Some(START.after(MINUTE * u32::try_from(number).unwrap() * 30));
        machine.every = HOUR;
    }
    let run = decide(late, &machines, 0).unwrap();
    assert_eq!((run.nodes.len(), run.nodes[0].0.as_str()), (MAX_NODES, "m00000"));
    assert!(run.nodes.iter().all(|name| name.0.as_str() < "m01010"), "{:?}", run.nodes.last());
}

/// A name that is no label value makes NodeUpdates that the API server refuses, and one that says nothing helps nobody.
#[test]
fn names_say_when_and_differ_by_what_is_due() {
    let late = START.after(DAY * 2);
    let all = fleet(2);
    let run = decide(late, &all, 0).unwrap();
    assert!(run.name.starts_with("inventory-20261201-") && run.name.len() == 32, "{}", run.name);
    let again = Machine { looked: Some(START), ..machine(0) };
    let other = decide(late, &[again, machine(1)], 0).unwrap();
    assert_ne!(other.name, run.name, "another inventory of the same machine");
    assert_ne!(decide(late, &all[..1], 0).unwrap().name, run.name, "other machines");
}

proptest! {
    /// Two leaders, or one before and after a restart, would make two runs of the same inventories: the API server
    /// refuses the second of the same name.
    #[test]
    fn whoever_decides_from_the_same_machines_names_the_same_run(
        looked in prop::collection::vec(prop::option::of(0u64..200_000_000), 1..40),
        seconds in 0u64..900,
        order in any::<prop::sample::Index>(),
    ) {
        let mut machines = fleet(looked.len());
        for (machine, looked) in machines.iter_mut().zip(looked) {
            machine.looked = looked.map(|ago| Millis(START.0 - ago));
        }
        let first = decide(START, &machines, 0);
        let turned = order.index(machines.len());
        machines.rotate_left(turned);
        prop_assert_eq!(&decide(START, &machines, 0), &first);
        // A minute later, or with a clock that differs, unless another machine has become due.
        let later = START.after(Duration::from_secs(seconds));
        let due = |now| machines.iter().filter(|machine| machine.due_at(now) <= now).count();
        if due(later) == due(START) {
            prop_assert_eq!(&decide(later, &machines, 0), &first);
        }
    }

    /// After a clock was wrong for a while, a machine would never be looked at again, or all the time.
    #[test]
    fn clocks_that_jump_delay_an_inventory_by_two_intervals_at_most_and_repeat_none(
        jumps in prop::collection::vec(-3_000_000_000i64..3_000_000_000, 1..20),
    ) {
        let mut machine = machine(3);
        // Years of margin, so that no time is before 1970.
        let mut clock = i64::try_from(START.0).unwrap() + 400_000_000_000;
        for jump in jumps {
            clock += jump;
            let mut now = Millis(u64::try_from(clock).unwrap());
            let mut waited = Duration::ZERO;
            while decide(now, std::slice::from_ref(&machine), 0).is_none() {
                waited += MINUTE * 10;
                now = now.after(MINUTE * 10);
                prop_assert!(waited <= DAY * 2 + DAY / JITTER_PART + SLOT.1 + MINUTE * 10, "{waited:?}");
            }
            machine.looked = Some(now);
            clock = i64::try_from(now.0).unwrap();
            // From now on the clock goes on, and the machine is left alone for its interval.
            for minutes in [1u32, 60, 24 * 60 - 1] {
                prop_assert_eq!(decide(now.after(MINUTE * minutes), std::slice::from_ref(&machine), 0), None);
            }
        }
    }
}
