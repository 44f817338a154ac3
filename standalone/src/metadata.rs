//! What holds for the metadata of every object, whatever its kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::{
    failure::{Cause, Failure},
    kind::Kind,
};

/// The real server's limit on all annotations of one object.
const ANNOTATION_BYTES_MAX: usize = 256 * 1024;
const SUBDOMAIN_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Letters of generated names: without vowels and look-alikes, as the real server's.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_BYTES: usize = 5;

pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    let listed = object["metadata"]["finalizers"].as_array();
    listed
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

pub(crate) fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Seconds are all the real server keeps of creation and deletion times.
pub(crate) fn seconds(time: jiff::Timestamp) -> Value {
    json!(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Drops unknown metadata fields and empty maps, and refuses wrong types.
pub(crate) fn canonicalize(object: &mut Value) -> Result<(), Failure> {
    let unreadable = |error| Failure::bad_request(format!("metadata cannot be read: {error}"));
    let typed: ObjectMeta =
        serde_json::from_value(object["metadata"].take()).map_err(unreadable)?;
    let typed = ObjectMeta {
        labels: typed.labels.filter(|labels| !labels.is_empty()),
        annotations: typed
            .annotations
            .filter(|annotations| !annotations.is_empty()),
        finalizers: typed.finalizers.filter(|finalizers| !finalizers.is_empty()),
        owner_references: typed.owner_references.filter(|owners| !owners.is_empty()),
        managed_fields: typed.managed_fields.filter(|managers| !managers.is_empty()),
        ..typed
    };
    object["metadata"] = serde_json::to_value(typed).map_err(unreadable)?;
    Ok(())
}

/// A name of the prefix and five letters.
pub(crate) fn generate_name(prefix: &str, random: impl Fn(&mut [u8])) -> String {
    let mut bytes = [0; SUFFIX_BYTES];
    random(&mut bytes);
    let room = LABEL_BYTES_MAX - SUFFIX_BYTES;
    let mut name: String = prefix.chars().take(room).collect();
    name.extend(
        bytes
            .iter()
            .map(|byte| char::from(SUFFIX_LETTERS[usize::from(*byte) % SUFFIX_LETTERS.len()])),
    );
    name
}

/// A random UUID, version 4.
pub(crate) fn generate_uid(random: impl Fn(&mut [u8])) -> String {
    let mut bytes = [0; 16];
    random(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// What is wrong with names, labels, annotations and owners.
pub(crate) fn validate(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = text(object, "name");
    let is_label_name = kind.is_core("namespaces") || kind.is_core("services");
    let valid = if is_label_name {
        is_dns_label(name)
    } else {
        is_dns_subdomain(name)
    };
    if !valid {
        let what = if is_label_name { "label" } else { "subdomain" };
        let detail = format!(
            "a lowercase RFC 1123 {what} must consist of lower case alphanumeric characters or '-'"
        );
        causes.push(Cause::invalid("metadata.name", &json!(name), detail));
    }
    for (key, value) in object["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
    {
        if !is_qualified_name(key) {
            causes.push(Cause::invalid(
                "metadata.labels",
                &json!(key),
                "name part must consist of alphanumeric characters, '-', '_' or '.'",
            ));
        }
        if !value.as_str().is_some_and(is_label_value) {
            causes.push(Cause::invalid("metadata.labels", value, "a valid label must be an empty string or at most 63 alphanumeric characters, '-', '_' or '.'"));
        }
    }
    let mut annotation_bytes = 0;
    for (key, value) in object["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
    {
        annotation_bytes += key.len() + value.as_str().unwrap_or_default().len();
        if !is_qualified_name(&key.to_lowercase()) {
            causes.push(Cause::invalid(
                "metadata.annotations",
                &json!(key),
                "name part must consist of alphanumeric characters, '-', '_' or '.'",
            ));
        }
    }
    if annotation_bytes > ANNOTATION_BYTES_MAX {
        let message = format!("Too long: may not be more than {ANNOTATION_BYTES_MAX} bytes");
        causes.push(Cause {
            field: "metadata.annotations".to_owned(),
            reason: "FieldValueTooLong",
            message,
        });
    }
    for (at, owner) in object["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                causes.push(Cause::invalid(
                    format!("metadata.ownerReferences[{at}].{field}"),
                    &json!(""),
                    format!("{field} must not be empty"),
                ));
            }
        }
    }
    causes
}

fn is_dns_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= LABEL_BYTES_MAX
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn is_dns_subdomain(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    name.len() <= SUBDOMAIN_BYTES_MAX && name.split('.').all(is_part)
}

fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => {
            is_dns_subdomain(prefix) && !name.is_empty() && is_label_value(name)
        }
        None => !key.is_empty() && is_label_value(key),
    }
}

fn is_label_value(value: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= LABEL_BYTES_MAX
        && bytes.iter().copied().all(inner)
        && is_edge(bytes.first())
        && is_edge(bytes.last())
}
