//! As whom the API server is asked: a ServiceAccount, by impersonation.

use http::HeaderValue;
use kube::client::Body;

/// The account of a pod that names none.
pub const DEFAULT: &str = "default";

/// A ServiceAccount. The API server adds the groups that its tokens would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    namespace: String,
    name: String,
}

impl Identity {
    /// The account of this name; none if no account can be called so.
    pub fn new(namespace: &str, name: &str) -> Option<Self> {
        let is_name = |text: &str| {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
            !text.is_empty() && text.len() <= 253 && text.bytes().all(is_plain)
        };
        (is_name(namespace) && is_name(name)).then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// As the API server calls it.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// A client that is this account, over the connections of `base`. Nothing that it sends goes without the header.
    pub fn client(&self, base: &kube::Client) -> Result<kube::Client, http::Error> {
        let user = HeaderValue::try_from(self.user())?;
        let base = base.clone();
        let service = tower::service_fn(move |mut request: http::Request<Body>| {
            let (base, user) = (base.clone(), user.clone());
            async move {
                request.headers_mut().insert("impersonate-user", user);
                base.send(request).await
            }
        });
        Ok(kube::Client::new(service, self.namespace.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn no_name_is_more_than_one_account() {
        assert_eq!(Identity::new("demo", "reader").unwrap().user(), "system:serviceaccount:demo:reader");
        for name in ["", "a:b", "a\r\nimpersonate-user: admin", "Admin", &"x".repeat(254)] {
            assert_eq!(Identity::new("demo", name), None, "{name:?}");
            assert_eq!(Identity::new(name, "reader"), None, "{name:?}");
        }
    }

    #[tokio::test]
    async fn every_request_is_the_accounts() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = {
            let seen = Arc::clone(&seen);
            tower::service_fn(move |request: http::Request<Body>| {
                let users = request.headers().get_all("impersonate-user").iter().map(|user| user.to_str().unwrap().to_owned());
                seen.lock().unwrap().push(users.collect::<Vec<_>>());
                async { Ok::<_, std::io::Error>(http::Response::builder().status(404).body(Body::empty()).unwrap()) }
            })
        };
        let base = kube::Client::new(server, "holdfast");
        let client = Identity::new("demo", "reader").unwrap().client(&base).unwrap();
        let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> = kube::Api::namespaced(client, "demo");
        for _ in 0..2 {
            let _ = secrets.list(&kube::api::ListParams::default()).await;
        }
        assert_eq!(*seen.lock().unwrap(), [["system:serviceaccount:demo:reader"], ["system:serviceaccount:demo:reader"]]);
    }
}
