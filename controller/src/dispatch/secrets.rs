//! Secrets' data, read when a task is assigned. What many tasks need within seconds is read once: it stays that long, and is wiped.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use tokio::time::Instant;

use super::task::NotStarted;
use crate::api;
use crate::object::Named;
use crate::target::consent;

/// How long what was read is used: a minute's slot has the same few Secrets in hundreds of tasks. Much less than whoever changes one waits.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Secrets that are kept.
const KEPT_MAX: usize = 1_000;

/// A Secret's data, wiped when it is dropped.
pub struct SecretData {
    name: Named,
    granted_to: Option<String>,
    data: BTreeMap<String, ByteString>,
}

impl Drop for SecretData {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.data.values_mut().for_each(|value| value.0.zeroize());
    }
}

impl SecretData {
    /// Whether the objects of another namespace may have it used.
    pub fn grants(&self, namespace: &str) -> bool {
        consent::names(self.granted_to.as_ref(), namespace)
    }

    /// The value of a key; nothing if there is none.
    pub fn optional(&self, key: &str) -> Vec<u8> {
        self.data.get(key).map(|value| value.0.clone()).unwrap_or_default()
    }

    /// The value of a key, which must have one.
    pub fn required(&self, key: &str) -> Result<Vec<u8>, NotStarted> {
        match self.data.get(key) {
            Some(value) if !value.0.is_empty() => Ok(value.0.clone()),
            _ => Err(NotStarted::Secret(format!("Secret {} has no key {key}", self.name))),
        }
    }

    /// The value of a key as text.
    pub fn optional_text(&self, key: &str) -> Result<String, NotStarted> {
        let text = String::from_utf8(without_newline(self.optional(key)));
        text.map_err(|_| NotStarted::Secret(format!("Secret {}: the value of {key} is not text", self.name)))
    }

    /// The value of a key as text, which must be there.
    pub fn text(&self, key: &str) -> Result<String, NotStarted> {
        self.required(key)?;
        self.optional_text(key)
    }
}

/// One trailing newline is what an editor leaves, never a part of a password.
pub fn without_newline(mut password: Vec<u8>) -> Vec<u8> {
    if password.last() == Some(&b'\n') {
        password.pop();
        if password.last() == Some(&b'\r') {
            password.pop();
        }
    }
    password
}

/// Reads Secrets.
pub struct Secrets {
    client: kube::Client,
    kept: Mutex<HashMap<Named, (Instant, Arc<SecretData>)>>,
}

impl Secrets {
    /// Reads with this client.
    pub fn new(client: kube::Client) -> Self {
        Self { client, kept: Mutex::default() }
    }

    /// A Secret as it was a moment ago; as it is now, if what was read before may be what has failed.
    pub async fn read(&self, name: &Named, afresh: bool) -> Result<Arc<SecretData>, NotStarted> {
        let now = Instant::now();
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|_, (read_at, _)| *read_at + KEPT_FOR > now);
            if let Some((_, data)) = kept.get(name).filter(|_| !afresh) {
                return Ok(Arc::clone(data));
            }
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &name.namespace);
        match secrets.get_opt(&name.name).await {
            Ok(Some(mut secret)) => {
                let granted_to = secret.metadata.annotations.as_mut().and_then(|annotations| annotations.remove(consent::GRANTED_TO));
                let data = Arc::new(SecretData { name: name.clone(), granted_to, data: secret.data.unwrap_or_default() });
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() < KEPT_MAX {
                    kept.insert(name.clone(), (now, Arc::clone(&data)));
                }
                Ok(data)
            }
            Ok(None) => Err(NotStarted::Secret(format!("Secret {name} does not exist"))),
            Err(error) => Err(NotStarted::Api(format!("Secret {name} could not be read: {}", api::said(&error)))),
        }
    }

    /// Wipes what has been kept for too long, also where nobody asks any more.
    pub fn wipe_old(&self) {
        let now = Instant::now();
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (read_at, _)| *read_at + KEPT_FOR > now);
    }
}
