//! Rules left out on purpose, one at a time, to see that the tests of the protocol notice: the test of the tests.
//!
//! What the code asks with `left_out!(Rule)`; in a build that is not for tests that is the constant `false`, and nothing of this
//! exists. What is left out is left out for the calling thread: a simulated run has one thread for all of its processes.

use std::cell::Cell;

/// A rule of `docs/format.md` §12, or of how it is implemented; the last one is the mover's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A writer reads the state again after putting its lease.
    Reread,
    /// What is below the floor counts only if a state lists it.
    Floor,
    /// A writer does not use what is condemned.
    Condemned,
    /// After its commit a writer looks whether readers accept it.
    Confirm,
    /// A tombstone that stands at a writer's name is not its commit.
    Tombstone,
    /// Index runs stand before the snapshot that names them.
    IndexBeforeSnapshot,
    /// Runs of uncommitted leases are used only if they are not below the floor.
    ResumedAboveFloor,
    /// A state that no longer accepts a commit does not list it.
    ListOnlyAccepted,
    /// What a fenced writer had sent is used again only if it is still there and usable.
    Survivors,
    /// A forget lists first what no state lists.
    ForgetLists,
    /// A pack found rotten is published, and not used again.
    BadIsAbsent,
    /// A prune lists the snapshots again after the old leases have ended.
    Relook,
    /// What was committed and forgotten again since the state that condemned counts as used.
    Opened,
    /// A prune waits until every lease older than its condemning state has ended.
    Wait,
    /// A prune dooms only what was condemned no later than the state it has waited for.
    Number,
    /// A prune deletes only what the published state dooms. While nothing else goes wrong nobody would notice: what is condemned no new
    /// snapshot uses. It is there for the copy that turns out to be the last good one, and for the condemning state that is lost.
    DoomedBeforeDelete,
    /// A prune stops at a snapshot, catalog, refs or run that it cannot read.
    FailClosed,
    /// A prune that publishes raises the epoch.
    Epoch,
    /// A prune deletes runs below the floor only when the floor's own state has risen above them too.
    FarBelowFloor,
    /// What the floor's own state lists stays, though it was forgotten since.
    HeldByFloor,
    /// What was published is looked for in the newest state if that has left it far behind.
    InTheChain,
    /// What follows more than one lost state has a floor as high as a lost one can have had.
    LostFloor,
    /// The mover's: id and stored bytes come from one buffer, and no second read stands in for the first.
    SameBuffer,
}

thread_local! {
    static LEFT_OUT: Cell<Option<Rule>> = const { Cell::new(None) };
}

/// Leaves `rule` out in what `run` does on this thread.
pub fn without<T>(rule: Option<Rule>, run: impl FnOnce() -> T) -> T {
    /// Whatever `run` does, a panic included, the thread keeps its rules.
    struct Restore(Option<Rule>);
    impl Drop for Restore {
        fn drop(&mut self) {
            LEFT_OUT.set(self.0);
        }
    }
    let _restore = Restore(LEFT_OUT.replace(rule));
    run()
}

/// What is left out for the calling thread: to leave it out in a thread that it starts.
pub fn current() -> Option<Rule> {
    LEFT_OUT.get()
}

/// What `left_out!` asks.
pub fn is_left_out(rule: Rule) -> bool {
    LEFT_OUT.get() == Some(rule)
}
