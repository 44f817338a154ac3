//! Does the store refuse to create what exists? Asked once, at init, and whenever someone doubts it.

use bytes::Bytes;

use super::{Store, StoreError};
use crate::environment::Environment;
use crate::id::hex;

/// Creates one object twice: conditional creation works if the second is refused *and* the first content stands
/// (some stores refuse nothing, some ignore the condition and overwrite). The probe object is removed, if that is allowed.
pub async fn probe_conditional_create(store: &dyn Store, environment: &Environment) -> Result<bool, StoreError> {
    let name = format!("probe/{}", hex(&environment.random::<16>()));
    let first = Bytes::from_static(b"first");
    match store.create(&name, vec![first.clone()]).await {
        Ok(()) => {}
        // An answer that was lost: a second try found the first. The name is random, so nobody else's can stand there.
        Err(StoreError::AlreadyExists { .. }) => {}
        // It refuses the condition itself, not the object.
        Err(StoreError::Unsupported { .. }) => return Ok(false),
        Err(error) => return Err(error),
    }
    let second = store.create(&name, vec![Bytes::from_static(b"second")]).await;
    let stands = store.get(&name).await? == first;
    if let Err(error) = store.delete(&name).await {
        tracing::debug!(%error, "the probe object stays; nothing reads it");
    }
    match second {
        Ok(()) => Ok(false),
        Err(StoreError::AlreadyExists { .. }) => Ok(stands),
        Err(error) => Err(error),
    }
}
