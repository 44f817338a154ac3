//! What the API server asks and is answered: `admission.k8s.io/v1`, the part of it that is needed.

use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::UserInfo;
use serde::Deserialize;
use serde_json::{Value, json};

/// A question.
#[derive(Debug, Deserialize)]
pub struct Review {
    /// What is asked.
    pub request: Request,
}

/// An object that somebody wants to create or change.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Of the question; the answer repeats it.
    pub uid: String,
    /// Kind of the object.
    pub kind: GroupKind,
    /// Its namespace.
    #[serde(default)]
    pub namespace: String,
    /// CREATE, UPDATE, DELETE or CONNECT.
    pub operation: String,
    /// Who wants it.
    #[serde(default)]
    pub user_info: UserInfo,
    /// The object as it is to be.
    #[serde(default)]
    pub object: Value,
    /// The object as it is.
    #[serde(default)]
    pub old_object: Value,
}

/// A kind.
#[derive(Clone, Debug, Deserialize)]
pub struct GroupKind {
    /// Its group.
    pub group: String,
    /// Its name.
    pub kind: String,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Let it through as it is.
    Allowed,
    /// Let it through with these changes (RFC 6902).
    Patched(json_patch::Patch),
    /// Turn it away: the object is wrong.
    Invalid(String),
    /// Turn it away: its user may not have this done.
    Forbidden(String),
    /// It could not be judged now.
    Unavailable(String),
}

impl Answer {
    /// The answer as the API server reads it.
    pub fn to_review(&self, uid: &str) -> Result<Value, serde_json::Error> {
        let mut response = json!({"uid": uid, "allowed": matches!(self, Self::Allowed | Self::Patched(_))});
        match self {
            Self::Allowed => {}
            Self::Patched(patch) => {
                response["patchType"] = json!("JSONPatch");
                response["patch"] = serde_json::to_value(ByteString(serde_json::to_vec(patch)?))?;
            }
            Self::Invalid(message) => response["status"] = json!({"code": 422, "reason": "Invalid", "message": message}),
            Self::Forbidden(message) => {
                response["status"] = json!({"code": 403, "reason": "Forbidden", "message": message});
            }
            Self::Unavailable(message) => {
                response["status"] = json!({"code": 503, "reason": "ServiceUnavailable", "message": message});
            }
        }
        Ok(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
    }
}
