//! An in-process Kubernetes API, enough to run controller and agents without a cluster.
//!
//! It holds the built-in kinds that Holdfast uses (see `builtin`) and every custom resource whose definition is created in
//! it, and does what controllers rely on: resource versions and conflicts, watches with bookmarks and 410, finalizers and
//! graceful deletion, owner references, patches and apply, schemas of custom resources, token reviews. It has no
//! authorization (so whom a request impersonates changes nothing: everybody may do everything), no admission but the namespace's, no scheduler, no kubelet: who needs a Pod to run writes its status.
//!
//! **Invariant:** what it does not do as a real server does is answered with 501 and a `Status` that says so, never by
//! something similar. `tests/two-server` holds it to the real one.

mod apply;
mod builtin;
mod custom;
mod discovery;
mod failure;
mod garbage;
mod http_server;
mod kind;
mod listing;
mod metadata;
mod patch;
mod request;
mod schema;
mod selector;
mod service;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod token;
mod watching;
mod write;

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::Status;
use serde_json::json;

use crate::{failure::Failure, state::Server, write::WriteOptions};
pub use crate::{
    service::{ApiService, ResponseBody},
    token::MintError,
};

/// Namespaces that every cluster has.
const FIRST_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];

/// A Kubernetes API in this process. Cheap to clone; the clones are one server.
#[derive(Debug, Clone)]
pub struct Standalone {
    server: Arc<Server>,
}

impl Standalone {
    /// A server with the first namespaces and no custom resources. Must be called within a tokio runtime, on which it
    /// collects garbage as long as a clone or a client lives.
    #[expect(
        clippy::new_without_default,
        reason = "needs a runtime and starts a task"
    )]
    pub fn new() -> Self {
        let server = Arc::new(Server::new());
        let standalone = Self { server };
        for name in FIRST_NAMESPACES {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            if let Err(failure) = standalone.create("namespaces", namespace) {
                tracing::error!(%failure, name, "a first namespace was refused");
            }
        }
        tokio::spawn(garbage::collect_forever(Arc::downgrade(&standalone.server)));
        standalone
    }

    /// Serves one more custom resource.
    ///
    /// # Errors
    /// The server's refusal: a definition of several versions, with CEL rules or with a scale subresource is 501.
    pub fn install(&self, definition: &CustomResourceDefinition) -> Result<(), Box<Status>> {
        let object = serde_json::to_value(definition)
            .map_err(|error| Failure::bad_request(error.to_string()));
        let created = object.and_then(|object| {
            self.create("customresourcedefinitions.apiextensions.k8s.io", object)
        });
        created.map_err(|failure| {
            Box::new(Status::failure(&failure.message, failure.reason).with_code(failure.code))
        })
    }

    /// A client of this server, with `default` as its namespace.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// The API as a tower service.
    pub fn service(&self) -> ApiService {
        ApiService {
            server: self.server.clone(),
        }
    }

    /// A token as a kubelet projects it into a pod: of `service_account` (`namespace/name`), bound to the pod of the same
    /// namespace and to the node, for the audience. All three objects must exist.
    ///
    /// # Errors
    /// One of the objects is missing.
    pub fn mint_token(
        &self,
        service_account: &str,
        pod: &str,
        node: &str,
        audience: &str,
    ) -> Result<String, MintError> {
        self.server
            .with(|state| state.mint_token(service_account, pod, node, audience))
    }

    /// Serves the API over plain HTTP until the listener fails. For loopback: there is no authentication.
    ///
    /// # Errors
    /// The listener's error.
    pub async fn serve(&self, listener: tokio::net::TcpListener) -> std::io::Result<()> {
        http_server::serve(self.service(), listener).await
    }

    fn create(&self, resource: &str, object: serde_json::Value) -> Result<(), Failure> {
        let options = WriteOptions {
            dry_run: false,
            manager: "standalone".to_owned(),
            owners_settled: false,
        };
        self.server.with(|state| {
            let kind = state
                .kinds
                .get(resource)
                .cloned()
                .ok_or_else(Failure::no_such_resource)?;
            state.create(&kind, None, object, &options).map(|_| ())
        })
    }
}
