//! How long a request may take, and a server's own wish to be left alone for a while. The retries are `object_store`'s.

use std::time::Duration;

use async_trait::async_trait;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

/// Until the answer begins, for a request without a body.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// A line that carries less is as good as broken: a pack of 32 MiB then takes four minutes.
const BODY_BYTES_PER_SECOND: u64 = 128 << 10;
/// However long a `Retry-After` asks for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
const RETRIES_MAX: usize = 8;
/// Below the five minutes for which a request's signature holds.
const RETRY_TIMEOUT: Duration = Duration::from_secs(180);

/// Bounded retries with exponential backoff and jitter.
pub(super) fn retries() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(15), base: 3.0 };
    RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT }
}

/// Gives requests up that get no answer in a time that fits their size, and waits as long as a `Retry-After` says before the
/// answer that carries it is passed on (to be tried again).
#[derive(Debug, Default)]
pub struct PatientConnector(ReqwestConnector);

impl HttpConnector for PatientConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Patient(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct Patient(HttpClient);

#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct NoAnswer(Duration);

#[async_trait]
impl HttpService for Patient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let within = answer_within(request.body().content_length() as u64);
        let answer = tokio::time::timeout(within, self.0.execute(request)).await;
        let response = answer.map_err(|_| HttpError::new(HttpErrorKind::Timeout, NoAnswer(within)))??;
        if matches!(response.status().as_u16(), 429 | 503)
            && let Some(wait) = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).and_then(retry_after)
        {
            tokio::time::sleep(wait).await;
        }
        Ok(response)
    }
}

fn answer_within(body_bytes: u64) -> Duration {
    ANSWER_MAX + Duration::from_secs(body_bytes / BODY_BYTES_PER_SECOND)
}

/// Seconds; the other form, a date, would compare two clocks.
fn retry_after(value: &str) -> Option<Duration> {
    Some(Duration::from_secs(value.trim().parse().ok()?).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_bounded() {
        assert_eq!(retry_after("2"), Some(Duration::from_secs(2)));
        assert_eq!(retry_after("86400"), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after("Mon, 23 Nov 2026 02:00:00 GMT"), None);
        assert_eq!(answer_within(0), ANSWER_MAX);
        assert!(answer_within(32 << 20) < Duration::from_secs(300));
    }
}
