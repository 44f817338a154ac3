//! Handler: an action with a result, as a probe has it, and HTTP POST besides.

use k8s_openapi::api::core::v1::{ExecAction, HTTPGetAction, HTTPHeader, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An action: exactly one of exec, httpGet, httpPost and tcpSocket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Handler {
    /// A command in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// A GET request; any status from 200 to 399 is success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HTTPGetAction>,
    /// A POST request; any status from 200 to 399 is success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_post: Option<HttpPostAction>,
    /// A connection that must open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TCPSocketAction>,
    /// Container of the command and of named ports; the first one when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
}

/// A POST request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpPostAction {
    /// Path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Port, by number or name.
    pub port: IntOrString,
    /// Host; the pod's address when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// HTTP or HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Headers of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http_headers: Vec<HTTPHeader>,
    /// Body of the request: a template over the session's summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Form fields of the request, instead of a body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub form: Vec<FormEntry>,
}

/// A form field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormEntry {
    /// Name of the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}
