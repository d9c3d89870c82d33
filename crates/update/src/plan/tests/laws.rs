//! Properties of every plan, for any baseline and any machine.

use super::*;
use proptest::prelude::*;

fn any_component() -> impl Strategy<Value = Component> {
    let need = (0..6_u8, proptest::option::of("[0-3]"));
    (0..6_u8, "[0-3]", 0..12_usize, proptest::collection::vec(need, 0..4)).prop_map(
        |(name, version, kind, needs)| {
            let needs: Vec<(String, Option<String>)> =
                needs.into_iter().map(|(n, v)| (format!("c{n}"), v)).collect();
            let needs: Vec<(&str, Option<&str>)> =
                needs.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
            let base = requiring(&format!("c{name}"), &needs);
            let kind = InstallerKind::ALL.get(kind.saturating_sub(7)).copied().unwrap_or(InstallerKind::Deb);
            Component { version, installer: kind, ..base }
        },
    )
}

fn any_reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        Just(Reading::Absent),
        "[0-3]".prop_map(Reading::present),
        "[0-3]?".prop_map(|version| Reading::broken(version, "broken")),
        Just(Reading::Unreadable { detail: "unreadable".to_owned() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// For any baseline, the plan has one item for each component, installs requirements
    /// before the components that require them, and leaves nothing to do after it is
    /// carried out.
    #[test]
    fn plans_are_whole_ordered_and_final(
        components in proptest::collection::vec(any_component(), 0..7),
        found in proptest::collection::vec(any_reading(), 6),
        (downgrade, policy) in (any::<bool>(), 0..3_usize),
    ) {
        let mut world = World::of(&components);
        world.readings = found.into_iter().enumerate().map(|(i, reading)| (format!("c{i}"), reading)).collect();
        world.force.downgrade = downgrade;
        world.policy =
            [FailedDependency::OmitNode, FailedDependency::OmitComponent, FailedDependency::Force][policy];
        let plan = world.plan();
        prop_assert_eq!(plan.items.len(), components.len());
        let steps = plan.steps(&BTreeMap::new());
        for (position, step) in steps.iter().enumerate() {
            for before in &step.after {
                prop_assert!(steps[..position].iter().any(|other| &other.component == before), "{:?}", steps);
            }
        }
        // Carries out the plan.
        for item in plan.installs() {
            world.readings.insert(item.component.name.clone(), present(&item.component.version));
        }
        let again = world.plan();
        for item in plan.installs() {
            let same = |other: &&PlanItem| other.component == item.component;
            let now = &again.items.iter().find(same).unwrap().action;
            let is_current = matches!(now, Action::UpToDate { newer: false, .. });
            prop_assert!(is_current, "{:?}", now);
        }
    }
}
