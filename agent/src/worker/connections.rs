//! No more requests at once than a storage says its server takes (`maxConnections`).

use std::sync::Arc;

use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService, ReqwestConnector};
use tokio::sync::Semaphore;

/// Makes clients that have a number of connections together.
#[derive(Debug)]
pub(super) struct Limited {
    free: Arc<Semaphore>,
}

impl Limited {
    /// At least one.
    pub(super) fn to(connections: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS))) }
    }
}

impl HttpConnector for Limited {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { client, free: Arc::clone(&self.free) }))
    }
}

#[derive(Debug)]
struct Service {
    client: HttpClient,
    free: Arc<Semaphore>,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(|closed| HttpError::new(HttpErrorKind::Interrupted, closed))?;
        let (parts, body) = self.client.execute(request).await?.into_parts();
        // A connection is in use until its answer has been read, or is given up.
        let body = HttpResponseBody::new(body.map_err(move |error| {
            let _held = &permit;
            error
        }));
        Ok(HttpResponse::from_parts(parts, body))
    }
}
