//! Messages that hold secrets: Debug without them, and wiped when dropped is the holder's duty (`wipe`).

use std::fmt;

use zeroize::Zeroize;

use crate::v1::{Backend, Data, DataPiece, RepositoryAccess, S3, backend};

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("prefix", &self.prefix)
            .field("insecure_tls", &self.insecure_tls)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RepositoryAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryAccess")
            .field("backend", &self.backend)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// Manifests hold Secrets.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, offset, bytes, last, error, .. } = self;
        let mut shown = f.debug_struct("Data");
        shown.field("task", task).field("offset", offset).field("bytes", &bytes.len()).field("last", last).field("error", error);
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for DataPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, offset, bytes, last } = self;
        f.debug_struct("DataPiece").field("task", task).field("offset", offset).field("bytes", &bytes.len()).field("last", last).finish()
    }
}

impl Backend {
    /// Overwrites the credentials. Called by whoever is done with a task.
    pub fn wipe(&mut self) {
        if let Some(backend::Kind::S3(s3)) = &mut self.kind {
            s3.access_key_id.zeroize();
            s3.secret_access_key.zeroize();
            s3.session_token.zeroize();
        }
    }
}

impl RepositoryAccess {
    /// Overwrites password and credentials.
    pub fn wipe(&mut self) {
        self.password.zeroize();
        if let Some(backend) = &mut self.backend {
            backend.wipe();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_prints_a_secret() {
        let access = RepositoryAccess {
            backend: Some(Backend {
                kind: Some(backend::Kind::S3(S3 {
                    bucket: "b".into(),
                    access_key_id: "AKIASECRET".into(),
                    secret_access_key: "hush".into(),
                    session_token: "hush".into(),
                    ..S3::default()
                })),
            }),
            directory: "d".into(),
            password: b"hush".to_vec(),
        };
        let text = format!("{access:?}");
        assert!(text.contains("bucket"));
        let data = Data { bytes: b"hush".to_vec(), ..Data::default() };
        let piece = DataPiece { bytes: b"hush".to_vec(), ..DataPiece::default() };
        let text = text + &format!("{data:?} {piece:?}");
        assert!(!text.contains("hush") && !text.contains("AKIASECRET") && !text.contains("104, 117"));
    }

    #[test]
    fn wipe_leaves_nothing() {
        let mut access = RepositoryAccess { password: b"hush".to_vec(), ..RepositoryAccess::default() };
        access.wipe();
        assert!(access.password.is_empty());
    }
}
