//! The test of the test: each rule left out is noticed by some schedule within a bounded number of them.
//!
//! Some rules are there for more than one piece of bad luck at a time, such as a rotten copy or a lost state beside a prune, and chance
//! does not bring that about in seconds: for `DoomedBeforeDelete`, `ForgetLists`, `FarBelowFloor`, `BadIsAbsent`, `HeldByFloor` and
//! `InTheChain` the scenarios do. `LostFloor` the model notices; here a writer that finds a pack missing leaves it alone.

use std::time::Instant;

use holdfast_repository::testing::mutation::Rule;

use crate::run_many;

/// Several times what the rarest of them needs (300, a few seconds): the seeds are the same everywhere.
const SCHEDULES_MAX: u64 = 4000;

fn is_noticed(rule: Rule) {
    let began = Instant::now();
    let Err(report) = run_many(1, SCHEDULES_MAX, Some(rule)) else {
        panic!("without the rule {rule:?} {SCHEDULES_MAX} schedules break nothing: the simulation does not test it");
    };
    let last = report.lines().rev().nth(1).unwrap_or_default();
    println!("without {rule:?}, after {:.1} s, {last}", began.elapsed().as_secs_f64());
}

macro_rules! noticed {
    ($($name:ident: $rule:ident;)*) => {
        $(
            #[test]
            fn $name() {
                is_noticed(Rule::$rule);
            }
        )*
    };
}

noticed! {
    a_state_that_is_not_read_again_is_noticed: Reread;
    a_floor_that_voids_nothing_is_noticed: Floor;
    use_of_what_is_condemned_is_noticed: Condemned;
    a_commit_that_is_not_confirmed_is_noticed: Confirm;
    a_tombstone_taken_for_a_commit_is_noticed: Tombstone;
    a_snapshot_before_its_index_is_noticed: IndexBeforeSnapshot;
    survivors_that_are_not_looked_at_are_noticed: Survivors;
    a_prune_that_does_not_look_again_is_noticed: Relook;
    a_prune_that_does_not_wait_is_noticed: Wait;
    a_prune_that_dooms_all_is_noticed: Number;
    a_prune_that_skips_what_it_cannot_read_is_noticed: FailClosed;
    a_resume_from_what_is_void_is_noticed: ResumedAboveFloor;
    a_listing_of_what_is_void_is_noticed: ListOnlyAccepted;
    an_epoch_that_does_not_rise_is_noticed: Epoch;
}
