//! Every small record, whether anything depends on it or not: a flipped bit is named.

use futures::stream::StreamExt;

use super::Findings;
use crate::codec::Malformed;
use crate::core::Core;
use crate::error::ReadError;
use crate::index::Run;
use crate::lease::LeaseRecord;
use crate::sealed::ObjectKind;
use crate::snapshot::SnapshotObject;
use crate::state::State;
use crate::store::StoreError;

type Decode = fn(&[u8]) -> Result<(), Malformed>;

const FOLDERS: [(&str, ObjectKind, Decode); 4] = [
    ("state", ObjectKind::State, |content| State::decode(content).map(|_| ())),
    ("leases", ObjectKind::Lease, |content| LeaseRecord::decode(content).map(|_| ())),
    ("snapshots", ObjectKind::Snapshot, |content| SnapshotObject::decode(content).map(|_| ())),
    ("index", ObjectKind::IndexRun, |content| Run::decode(content).map(|_| ())),
];

pub(super) async fn check(core: &Core, findings: &mut Findings) -> Result<(), ReadError> {
    for (folder, kind, decode) in FOLDERS {
        let mut names = core.store.list(folder, None);
        while let Some(entry) = names.next().await {
            let name = entry?.name;
            match core.read(kind, &name).await {
                Ok(content) => {
                    if let Err(error) = decode(&content) {
                        findings.add(&name, error.to_string());
                    }
                }
                // A prune removed it since it was listed.
                Err(ReadError::Store(StoreError::NotFound { .. })) => {}
                Err(error @ (ReadError::Damaged { .. } | ReadError::TooNew { .. })) => findings.error(&name, &error),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
