use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small timestamp")
}

#[test]
fn the_time_moves_only_when_the_status_changes() {
    let mut conditions = Vec::new();
    assert!(set(
        &mut conditions,
        Condition::new("Ready", false, "No", "first", at(1))
    ));
    assert!(set(
        &mut conditions,
        Condition::new("Ready", false, "No", "second", at(2))
    ));
    assert_eq!(conditions[0].last_transition_time, Time(at(1)));
    assert_eq!(conditions[0].message.as_deref(), Some("second"));
    assert!(set(
        &mut conditions,
        Condition::new("Ready", true, "Yes", "", at(3))
    ));
    assert_eq!(conditions[0].last_transition_time, Time(at(3)));
    assert_eq!(conditions[0].message, None);
}

#[test]
fn setting_the_same_twice_changes_nothing() {
    let mut conditions = vec![Condition::new("Ready", true, "Yes", "all is well", at(1))];
    assert!(!set(
        &mut conditions,
        Condition::new("Ready", true, "Yes", "all is well", at(9))
    ));
    assert_eq!(conditions.len(), 1);
}

#[test]
fn conditions_are_found_by_type() {
    let mut conditions = vec![
        Condition::new("A", true, "Yes", "", at(1)),
        Condition::new("B", false, "No", "", at(1)),
        Condition::new("C", ConditionStatus::Unknown, "Maybe", "", at(1)),
    ];
    assert!(is_true(&conditions, "A") && !is_false(&conditions, "A"));
    assert!(is_false(&conditions, "B") && !is_true(&conditions, "B"));
    assert!(has(&conditions, "C") && !is_true(&conditions, "C") && !is_false(&conditions, "C"));
    assert!(!has(&conditions, "D") && !is_false(&conditions, "D"));
    assert!(remove(&mut conditions, "B") && !remove(&mut conditions, "B"));
}
