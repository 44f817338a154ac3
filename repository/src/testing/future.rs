//! A repository as a later version may leave it: with features that this one does not know.

use bytes::Bytes;

use crate::core::{self, Created};
use crate::error::WriteError;
use crate::features::{Feature, Need};
use crate::repository::Repository;
use crate::sealed::ObjectKind;
use crate::{config, state};

/// Where a feature stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In `config`, from the beginning of the repository's life.
    Config,
    /// In the newest state, from any moment on.
    State,
}

/// Makes the repository need the feature `future` of version 9.9: 0 not at all, 1 to write, 2 to read.
pub async fn require(repository: &Repository, place: Place, need: u8) -> Result<(), WriteError> {
    let need = match need {
        0 => Need::Nothing,
        1 => Need::ToWrite,
        _ => Need::ToRead,
    };
    let feature = Feature { name: "future".into(), since: "9.9".into(), need };
    let core = &repository.core;
    let created = match place {
        Place::Config => {
            let mut config = core.config.clone();
            config.features.0.push(feature);
            core.store.delete(config::NAME).await?;
            core::create(core.store.as_ref(), &core.environment, config::NAME, &Bytes::from(config.encode(&core.keys))).await?
        }
        Place::State => {
            let mut next = state::newest(core).await?;
            next.number += 1;
            next.features.0.push(feature);
            core.write(ObjectKind::State, &format!("state/{:016x}", next.number), &next.encode()).await?
        }
    };
    match created {
        Created::Written => Ok(()),
        Created::Other(_) => Err(WriteError::Internal { what: "somebody else writes here".into() }),
    }
}
