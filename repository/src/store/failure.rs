//! What a store's refusal means for the caller, and its words in one line.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use object_store::Error;

use super::{Source, StoreError};

/// Keys that have run out, not keys that are wrong: new ones are all that is needed.
const EXPIRED: [&str; 3] = ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"];
const DENIED: [&str; 8] = [
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];
const FULL: [&str; 4] = ["QuotaExceeded", "ServiceQuotaExceeded", "XMinioStorageFull", "InsufficientStorage"];
/// In the words of a refusal for a lock (retention, legal hold), which has no code of its own everywhere.
const LOCKED: [&str; 3] = ["object lock", "WORM protected", "ObjectLocked"];
/// In the words of a bucket with a lock that takes no object without a checksum.
const WANTS_CHECKSUM: &str = "x-amz-checksum";
const WORDS_MAX: usize = 300;

/// A store's words, without its XML, its line ends and our own URLs.
#[derive(Debug)]
struct Words(String);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Words {}

/// An error of `object_store`, by what the caller can do.
pub(super) fn typed(name: &str, error: Error) -> StoreError {
    let object = name.to_owned();
    let said = error.to_string();
    let code = between(&said, "<Code>", "</Code>").or_else(|| between(&said, "(code: ", ")"));
    let source = words(&said, code);
    match (code, &error) {
        (_, Error::NotFound { .. }) => StoreError::NotFound { object },
        (_, Error::AlreadyExists { .. } | Error::Precondition { .. }) => StoreError::AlreadyExists { object },
        (Some("NoSuchKey"), _) => StoreError::NotFound { object },
        (Some(code), _) if EXPIRED.contains(&code) => {
            let source: Source = Arc::new(Words(format!("the credentials have expired ({source})")));
            StoreError::Denied { object, source }
        }
        (Some(code), _) if FULL.contains(&code) => StoreError::Full { object, source },
        (Some(code), _) if DENIED.contains(&code) => StoreError::Denied { object, source },
        _ if LOCKED.iter().any(|words| said.contains(words)) => StoreError::Denied { object, source },
        (Some("NotImplemented"), _) | (_, Error::NotImplemented { .. } | Error::NotSupported { .. }) => StoreError::Unsupported { object, source },
        (_, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => StoreError::Denied { object, source },
        _ if said.contains("status code: 507") => StoreError::Full { object, source },
        _ if said.contains("status code: 501") => StoreError::Unsupported { object, source },
        _ => by_system_error(object, &error, source),
    }
}

/// Whether the store takes the object only with a checksum in its request.
pub(super) fn wants_checksum(error: &Error) -> bool {
    matches!(error, Error::Generic { .. }) && error.to_string().contains(WANTS_CHECKSUM)
}

/// The local file system's reasons stand somewhere down the chain of sources.
fn by_system_error(object: String, error: &Error, source: Source) -> StoreError {
    match system_error(error).map(io::Error::kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge) => StoreError::Full { object, source },
        Some(io::ErrorKind::ReadOnlyFilesystem) => StoreError::ReadOnly { object, source },
        Some(io::ErrorKind::PermissionDenied) => StoreError::Denied { object, source },
        _ => StoreError::Unreachable { object, source },
    }
}

fn system_error(error: &Error) -> Option<&io::Error> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(system) = current.downcast_ref::<io::Error>() {
            return Some(system);
        }
        cause = current.source();
    }
    None
}

fn words(said: &str, code: Option<&str>) -> Source {
    let message = between(said, "<Message>", "</Message>");
    let line = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        // Without XML there is at most a page of a proxy's HTML behind the first tag.
        _ => said.split("<?xml").next().and_then(|said| said.split("<html").next()).unwrap_or(said).to_owned(),
    };
    let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(WORDS_MAX) {
        line.truncate(end);
        line.push('…');
    }
    Arc::new(Words(line))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let text = text.split_once(before)?.1;
    Some(text.split_once(after).map_or(text, |(found, _)| found).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(said: &str) -> StoreError {
        typed("packs/x", Error::Generic { store: "S3", source: said.into() })
    }

    #[test]
    fn what_a_server_says_is_one_line_and_typed() {
        let body = |code: &str| format!("Error performing PUT http://x/y - Server returned non-2xx status code: 400 Bad Request: <?xml version=\"1.0\"?>\n<Error><Code>{code}</Code>\n<Message>some\nwords</Message></Error>");
        assert!(matches!(generic(&body("ExpiredToken")), StoreError::Denied { .. }));
        assert!(generic(&body("ExpiredToken")).to_string().contains("have expired"));
        assert!(matches!(generic(&body("SignatureDoesNotMatch")), StoreError::Denied { .. }));
        assert!(matches!(generic(&body("XMinioStorageFull")), StoreError::Full { .. }));
        assert!(matches!(generic(&body("NotImplemented")), StoreError::Unsupported { .. }));
        assert!(matches!(generic(&body("SlowDown")), StoreError::Unreachable { .. }));
        for code in ["ExpiredToken", "AccessDenied", "SlowDown"] {
            let line = generic(&body(code)).to_string();
            assert!(line.ends_with(&format!("{code}: some words")) || line.ends_with(&format!("{code}: some words)")), "{line}");
        }
        assert!(matches!(generic("status code: 400: <Error><Code>InvalidRequest</Code><Message>Object is WORM protected</Message></Error>"), StoreError::Denied { .. }));
        let wants = |said: &str| wants_checksum(&Error::Generic { store: "S3", source: said.into() });
        assert!(wants(&body("InvalidRequest").replace("some\nwords", "Content-MD5 OR x-amz-checksum- HTTP header is required")));
        assert!(!wants(&body("InvalidRequest")));
        assert!(matches!(generic("status code: 507 Insufficient Storage: "), StoreError::Full { .. }));
        let long = generic(&"line\n".repeat(1000)).to_string();
        assert!(!long.contains('\n') && long.len() < 500, "{long}");
    }
}
