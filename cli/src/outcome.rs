//! How a verb ends.

use std::process::ExitCode;

use crate::text;

/// A verb that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything is as asked.
    Done,
    /// A snapshot was made, without some files. Each was named.
    Incomplete,
    /// It ran to its end and the answer is no; everything was said already.
    Failed,
}

/// A verb that could not do its work: one line for people, with what to do.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(line: impl AsRef<str>) -> Self {
        Self(text::one_line(line.as_ref()))
    }
}

pub(crate) fn exit(result: Result<Outcome, Failure>) -> ExitCode {
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete) => ExitCode::from(3),
        Ok(Outcome::Failed) => ExitCode::from(1),
        Err(Failure(line)) => {
            eprintln!("error: {line}");
            ExitCode::from(1)
        }
    }
}
