//! The repository's `left_out!(Rule)`, for the rules that are the mover's; and on to the threads of a backup, since a rule is left out
//! for the thread that asks.

#[cfg(any(test, feature = "testing"))]
macro_rules! left_out {
    ($rule:ident) => {
        holdfast_repository::testing::mutation::is_left_out(holdfast_repository::testing::mutation::Rule::$rule)
    };
}

#[cfg(not(any(test, feature = "testing")))]
macro_rules! left_out {
    ($rule:ident) => {
        false
    };
}

pub(crate) use left_out;

/// For a thread that is to be started: leaves out there what is left out here.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn carried<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    use holdfast_repository::testing::mutation;
    let rule = mutation::current();
    move || mutation::without(rule, work)
}

/// For a thread that is to be started: all rules hold.
#[cfg(not(any(test, feature = "testing")))]
pub(crate) fn carried<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    work
}
