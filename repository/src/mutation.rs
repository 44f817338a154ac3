//! `left_out!(Rule)`: whether a test leaves that rule out, to see that it is noticed. `false` in every build that is not for tests.

#[cfg(any(test, feature = "testing"))]
macro_rules! left_out {
    ($rule:ident) => {
        $crate::testing::mutation::is_left_out($crate::testing::mutation::Rule::$rule)
    };
}

#[cfg(not(any(test, feature = "testing")))]
macro_rules! left_out {
    ($rule:ident) => {
        false
    };
}

pub(crate) use left_out;
