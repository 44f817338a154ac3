//! A restore task: repository to volumes.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use holdfast_proto::v1::{Assign, RestoreResult, RestoreTask, TaskFailure};

use super::backend::Opened;
use super::link::Link;
use super::{failure, grant};

pub(super) async fn run(
    task: RestoreTask,
    _assign: &Assign,
    _backend: &Opened,
    _roots: Vec<OwnedFd>,
    link: &Arc<Link>,
) -> Result<RestoreResult, TaskFailure> {
    grant::first(link).await.map_err(failure::invalid)?;
    let _ = (task, grant::watch(link).await);
    Err(failure::stopped(None))
}
