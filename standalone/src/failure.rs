//! Errors as a Kubernetes API server words them: a `Status` object with code, reason, message and details.

use serde_json::{Value, json};

use crate::kind::Kind;

/// One refused request. Displayed to the client as a `Status` of the same code.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{reason} ({code}): {message}")]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Option<Value>,
}

/// One field that validation refused.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cause {
    pub(crate) field: String,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Cause {
    pub(crate) fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        Self {
            field: field.into(),
            reason: "FieldValueRequired",
            message,
        }
    }

    pub(crate) fn invalid(
        field: impl Into<String>,
        value: &Value,
        detail: impl AsRef<str>,
    ) -> Self {
        let message = format!("Invalid value: {value}: {}", detail.as_ref());
        Self {
            field: field.into(),
            reason: "FieldValueInvalid",
            message,
        }
    }

    pub(crate) fn wrong_type(field: &str, value: &Value, expected: &str) -> Self {
        let found = json!(type_name(value));
        let message =
            format!("Invalid value: {found}: {field} in body must be of type {expected}: {found}");
        Self {
            field: field.to_owned(),
            reason: "FieldValueTypeInvalid",
            message,
        }
    }

    pub(crate) fn unsupported(
        field: impl Into<String>,
        value: &Value,
        supported: &[Value],
    ) -> Self {
        let supported = supported
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!("Unsupported value: {value}: supported values: {supported}");
        Self {
            field: field.into(),
            reason: "FieldValueNotSupported",
            message,
        }
    }

    pub(crate) fn forbidden(field: impl Into<String>, detail: impl AsRef<str>) -> Self {
        let message = format!("Forbidden: {}", detail.as_ref());
        Self {
            field: field.into(),
            reason: "FieldValueForbidden",
            message,
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Failure {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
        }
    }

    /// What this server does not do, said so that nobody takes it for an answer of a real one.
    pub(crate) fn not_implemented(what: impl AsRef<str>) -> Self {
        let what = what.as_ref();
        Self::new(
            501,
            "NotImplemented",
            format!("the standalone API does not implement {what}; use a real API server"),
        )
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn no_such_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::about(kind, name, 404, "NotFound", "not found")
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::about(kind, name, 409, "AlreadyExists", "already exists")
    }

    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            kind.group_resource()
        );
        Self {
            code: 409,
            reason: "Conflict",
            message,
            details: Some(details(kind, name)),
        }
    }

    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.group_resource());
        Self {
            code: 403,
            reason: "Forbidden",
            message,
            details: Some(details(kind, name)),
        }
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        let lines = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect::<Vec<_>>();
        let listed = if lines.len() == 1 {
            lines.concat()
        } else {
            format!("[{}]", lines.join(", "))
        };
        let qualified = if kind.group.is_empty() {
            kind.kind.clone()
        } else {
            format!("{}.{}", kind.kind, kind.group)
        };
        let mut details = json!({"name": name, "kind": kind.kind, "causes": causes.iter().map(|cause| {
            json!({"reason": cause.reason, "message": cause.message, "field": cause.field})
        }).collect::<Vec<_>>()});
        if !kind.group.is_empty() {
            details["group"] = json!(kind.group);
        }
        Self {
            code: 422,
            reason: "Invalid",
            message: format!("{qualified} \"{name}\" is invalid: {listed}"),
            details: Some(details),
        }
    }

    fn about(kind: &Kind, name: &str, code: u16, reason: &'static str, what: &str) -> Self {
        let message = format!("{} \"{name}\" {what}", kind.group_resource());
        Self {
            code,
            reason,
            message,
            details: Some(details(kind, name)),
        }
    }

    /// The body of the answer, and of a watch's ERROR event.
    pub(crate) fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

fn details(kind: &Kind, name: &str) -> Value {
    let mut details = json!({"name": name, "kind": kind.plural});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    details
}
