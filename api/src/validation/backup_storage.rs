//! What makes a BackupStorage invalid.

use super::{FieldErrors, Findings, Problem, same, set, title};
use crate::backup_storage::{Backend, BackupStorage, Provider};

/// Checks a storage against the rules and against the `others` of the cluster (itself among them does no harm).
pub fn validate(storage: &BackupStorage, others: &[&BackupStorage]) -> Result<(), FieldErrors> {
    let mut findings = Findings::default();
    match &storage.spec.storage {
        None => findings.required("spec.storage", "it says where the data goes"),
        Some(backend) => check_backend(&mut findings, backend),
    }
    findings.usage_policy(storage.spec.usage_policy.as_ref());
    for other in others.iter().filter(|other| !same(**other, storage)) {
        let both_default = storage.spec.default == Some(true) && other.spec.default == Some(true);
        if both_default && other.metadata.namespace == storage.metadata.namespace {
            findings.taken(
                "spec.default",
                "true",
                format!("{} is the default of this namespace", title(*other)),
            );
        }
        let place = storage.spec.storage.as_ref().and_then(Place::of);
        if let (Some(place), Some(other_place)) =
            (place, other.spec.storage.as_ref().and_then(Place::of))
            && place == other_place
        {
            findings.taken(
                "spec.storage",
                &place.to_string(),
                format!("{} is there", title(*other)),
            );
        }
    }
    findings.result()
}

/// Checks a change: a storage stays where it is while it holds repositories.
pub fn validate_update(old: &BackupStorage, new: &BackupStorage) -> Result<(), FieldErrors> {
    let mut findings = Findings::default();
    let holds = old
        .status
        .as_ref()
        .map_or(0, |status| status.repositories.len());
    if holds > 0 && old.spec.storage != new.spec.storage {
        let place = |storage: &BackupStorage| {
            storage
                .spec
                .storage
                .as_ref()
                .and_then(Place::of)
                .map_or_else(String::new, |place| place.to_string())
        };
        let why = format!("the storage holds {holds} repositories");
        findings.immutable("spec.storage", place(old), place(new), why);
    }
    findings.result()
}

fn check_backend(findings: &mut Findings, backend: &Backend) {
    let allowed = || {
        Provider::ALL
            .map(|provider| provider.as_str().to_owned())
            .to_vec()
    };
    let Some(name) = set(backend.provider.as_deref()) else {
        return findings.required(
            "spec.storage.provider",
            &format!("one of {}", allowed().join(", ")),
        );
    };
    let Some(provider) = Provider::parse(name) else {
        let problem = Problem::NotAllowed {
            found: name.to_owned(),
            allowed: allowed(),
        };
        return findings.add("spec.storage.provider", problem);
    };
    let (present, field, value) = match provider {
        Provider::Local => (backend.local.is_some(), None, None),
        Provider::S3 => (
            backend.s3.is_some(),
            Some("bucket"),
            backend.s3.as_ref().and_then(|s3| s3.bucket.as_deref()),
        ),
        Provider::Gcs => (
            backend.gcs.is_some(),
            Some("bucket"),
            backend.gcs.as_ref().and_then(|gcs| gcs.bucket.as_deref()),
        ),
        Provider::Azure => (
            backend.azure.is_some(),
            Some("container"),
            backend
                .azure
                .as_ref()
                .and_then(|azure| azure.container.as_deref()),
        ),
    };
    if !present {
        return findings.required(
            format!("spec.storage.{name}"),
            &format!("the provider is {name}"),
        );
    }
    if let Some(field) = field.filter(|_| set(value).is_none()) {
        findings.required(
            format!("spec.storage.{name}.{field}"),
            "it says where the data goes",
        );
    }
    if provider == Provider::Azure
        && set(backend
            .azure
            .as_ref()
            .and_then(|azure| azure.storage_account.as_deref()))
        .is_none()
    {
        findings.required(
            "spec.storage.azure.storageAccount",
            "it holds the container",
        );
    }
}

/// The directory of a bucket that a storage takes for itself. KubeStash leaves the endpoint out, so that two buckets
/// of one name with two providers exclude each other; we tell them apart.
#[derive(PartialEq, Eq)]
struct Place<'a>(&'static str, [&'a str; 4]);

impl<'a> Place<'a> {
    /// None for a volume: whether two volumes are one cannot be told here.
    fn of(backend: &'a Backend) -> Option<Self> {
        let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
        let directory = |prefix: &'a Option<String>| text(prefix).trim_matches('/');
        match Provider::parse(backend.provider.as_deref()?)? {
            Provider::Local => None,
            Provider::S3 => backend.s3.as_ref().map(|s3| {
                Self(
                    "s3",
                    [
                        text(&s3.endpoint).trim_end_matches('/'),
                        text(&s3.region),
                        text(&s3.bucket),
                        directory(&s3.prefix),
                    ],
                )
            }),
            Provider::Gcs => backend
                .gcs
                .as_ref()
                .map(|gcs| Self("gcs", ["", "", text(&gcs.bucket), directory(&gcs.prefix)])),
            Provider::Azure => backend.azure.as_ref().map(|azure| {
                Self(
                    "azure",
                    [
                        text(&azure.storage_account),
                        "",
                        text(&azure.container),
                        directory(&azure.prefix),
                    ],
                )
            }),
        }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)?;
        self.1
            .iter()
            .filter(|part| !part.is_empty())
            .try_for_each(|part| write!(f, " {part}"))
    }
}
