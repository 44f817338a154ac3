//! Finding the newest state, and publishing the one after it.

use std::time::Duration;

use futures::stream::StreamExt;

use super::{State, object_name};
use crate::core::{Core, Created};
use crate::error::{ReadError, WriteError};
use crate::id::{LeaseId, STATE_NUMBER_MAX};
use crate::mutation::left_out;
use crate::sealed::ObjectKind;

/// Lost races of one publish. Each means that someone else published.
const RACES_MAX: u32 = 64;
const RACE_WAIT_MS_MAX: u16 = 500;

/// The newest state. Only a repository in which nothing was ever begun has none: then it is the first one, as if published.
/// One request if nothing was published since this process looked last.
pub(crate) async fn newest(core: &Core) -> Result<State, ReadError> {
    let seen = core.newest_seen();
    let seen_name = seen.as_ref().map(|state| object_name(state.number));
    let mut names = core.store.list("state", seen_name.as_deref());
    let mut highest = seen.as_ref().map(|state| state.number);
    while let Some(entry) = names.next().await {
        // A name that is no state's is not ours to judge.
        highest = highest.max(parse_object_name(&entry?.name));
    }
    let Some(number) = highest else {
        return first(core).await;
    };
    if let Some(seen) = seen.filter(|seen| seen.number == number) {
        // A state never changes.
        return Ok(State::clone(&seen));
    }
    let state = read(core, number).await?;
    core.saw_state(&state);
    Ok(state)
}

pub(crate) async fn read(core: &Core, number: u64) -> Result<State, ReadError> {
    let name = object_name(number);
    let content = core.read(ObjectKind::State, &name).await?;
    let state = State::decode(&content).map_err(|error| ReadError::damaged(&name, error.to_string()))?;
    if state.number != number {
        return Err(ReadError::damaged(&name, "it says it is another state"));
    }
    if let Some(needs) = state.features.missing_to_read() {
        return Err(ReadError::TooNew { object: name, needs });
    }
    Ok(state)
}

/// Reads of a state before it counts as lost.
pub(crate) const READS_MAX: u32 = 3;

/// For readers: the newest state that can be read, and why it is not the newest: what was forgotten since is back, and what is gone
/// since is found missing. Without any there is none.
pub(crate) async fn newest_readable(core: &Core) -> Result<(State, Option<ReadError>), ReadError> {
    // Three times: a read may be torn on its way.
    let mut tries = READS_MAX;
    let damage = loop {
        match newest(core).await {
            Ok(state) => return Ok((state, None)),
            Err(error) if error.is_damage() && tries > 1 => tries -= 1,
            Err(error) if error.is_damage() => break error,
            Err(error) => return Err(error),
        }
    };
    tracing::warn!(error = %damage, "the newest state cannot be read; an older one is used");
    let numbers = numbers(core).await?;
    for &number in numbers.iter().rev() {
        match read(core, number).await {
            // It can be read after all.
            Ok(state) if Some(&number) == numbers.last() => return Ok((state, None)),
            Ok(state) => return Ok((state, Some(damage))),
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Err(damage)
}

/// Every state's number, rising.
pub(crate) async fn numbers(core: &Core) -> Result<Vec<u64>, ReadError> {
    let mut numbers = Vec::new();
    let mut names = core.store.list("state", None);
    while let Some(entry) = names.next().await {
        numbers.extend(parse_object_name(&entry?.name));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The highest state that a lease names. It was there: who takes a lease has read it.
pub(crate) async fn named_by_leases(core: &Core) -> Result<Option<u64>, ReadError> {
    let mut highest = None;
    let mut names = core.store.list("leases", None);
    while let Some(entry) = names.next().await {
        let name = entry?.name;
        let lease = name.split('/').nth(1).and_then(|lease| lease.parse::<LeaseId>().ok());
        highest = highest.max(lease.map(|lease| lease.state));
    }
    Ok(highest)
}

/// A state that a prune may have removed since, or that is damaged: for whoever deletes less without it.
pub(crate) async fn read_if_readable(core: &Core, number: u64) -> Result<Option<State>, ReadError> {
    match read(core, number).await {
        Ok(state) => Ok(Some(state)),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number of the state with this name.
pub(crate) fn parse_object_name(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_prefix("state/")?, 16).ok()?;
    (object_name(number) == name && number <= STATE_NUMBER_MAX).then_some(number)
}

/// The number after it, unless nobody would see a state of that name.
pub(crate) fn number_after(number: u64) -> Result<u64, ReadError> {
    if number < STATE_NUMBER_MAX { Ok(number + 1) } else { Err(ReadError::damaged(object_name(number), "no number follows it: it cannot be a state's")) }
}

/// No state: init was cut off before its first, or all states were lost. Leases are taken only after the first state stands,
/// so a lease without any state means loss; going on as if nothing were condemned or forgotten would not be safe.
async fn first(core: &Core) -> Result<State, ReadError> {
    match core.store.list("leases", None).next().await {
        None => Ok(State::default()),
        Some(Ok(_)) => Err(ReadError::damaged("state", "there are leases, and no state is left")),
        Some(Err(error)) => Err(error.into()),
    }
}

/// Publishes the first state unless there is one: before any lease.
pub(crate) async fn ensure_first(core: &Core) -> Result<(), WriteError> {
    let first = State::default();
    // Whose first state it is does not matter: they are all the same.
    core.write(ObjectKind::State, &object_name(0), &first.encode()).await.map(|_| ())
}

/// Publishes what `change` makes of the newest state, or nothing if `change` finds nothing to do. `change` is called again after
/// each lost race, with the state that won: it merges, it never assumes.
///
/// A prune deletes states far below the floor, and their names are free again: a creation that took long may have landed in such a
/// place, where nobody looks. So the newest state is read once more, and if its floor has passed the one that was written, `change`
/// is asked whether it is in there.
pub(crate) async fn publish(core: &Core, change: impl Fn(&State) -> Option<State> + Send + Sync) -> Result<State, WriteError> {
    let mut seen = newest(core).await?;
    for _ in 0..RACES_MAX {
        let published = publish_after(core, seen, &change).await?;
        let after = newest(core).await?;
        if after.floor <= published.number || change(&after).is_none() || left_out!(InTheChain) {
            return Ok(published);
        }
        seen = after;
    }
    Err(WriteError::Internal { what: format!("state: {RACES_MAX} times a prune deleted what was read") })
}

/// The same for a caller that has just read the newest state, and that loses nothing if what it published lands in the place of a
/// deleted state. If it is not the newest any more, the number after it is taken, and that is a lost race.
pub(crate) async fn publish_after(core: &Core, newest_read: State, change: impl Fn(&State) -> Option<State> + Send + Sync) -> Result<State, WriteError> {
    let mut current = newest_read;
    for _ in 0..RACES_MAX {
        if let Some(needs) = core.missing_to_write(&current) {
            return Err(WriteError::TooNew { needs });
        }
        let Some(mut next) = change(&current) else {
            return Ok(current);
        };
        next.number = number_after(current.number)?;
        assert!(next.floor >= current.floor && next.prune_epoch >= current.prune_epoch, "a state that goes back");
        if core.write(ObjectKind::State, &object_name(next.number), &next.encode()).await? == Created::Written {
            core.saw_state(&next);
            return Ok(next);
        }
        let wait_ms = u16::from_le_bytes(core.environment.random()) % RACE_WAIT_MS_MAX;
        core.environment.clock.sleep(Duration::from_millis(wait_ms.into())).await;
        current = newest(core).await?;
    }
    Err(WriteError::Internal { what: format!("state: {RACES_MAX} publishes of others came first") })
}
