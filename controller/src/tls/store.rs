//! Where the authorities are kept: keys in a Secret of the controller's namespace, certificates in a ConfigMap that the
//! agents mount.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};

use super::TlsError;
use super::authority::Authorities;
use crate::api::is_race;

/// Name of the Secret and of the ConfigMap.
pub const CA_NAME: &str = "holdfast-ca";
const SECRET_KEY: &str = "authorities.json";
const BUNDLE_KEY: &str = "ca.crt";
/// Others write it at the same time as often as this, and it is given up until the next time.
const TRIES_MAX: usize = 10;

/// Reads and writes the authorities.
pub struct AuthorityStore {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
}

impl AuthorityStore {
    /// In `namespace`.
    pub fn new(client: kube::Client, namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client.clone(), namespace), config_maps: Api::namespaced(client, namespace) }
    }

    /// The authorities as they should be at `now`: read, rotated if due, published. Replicas that do this at once agree,
    /// since the Secret is written by compare-and-swap and the loser reads again.
    pub async fn load(&self, now: Timestamp) -> Result<Authorities, TlsError> {
        let mut tries = 0;
        loop {
            let existing = self.secrets.get_opt(CA_NAME).await.map_err(api_error)?;
            let mut authorities = existing.as_ref().map(parse).transpose()?.unwrap_or_default();
            if !authorities.rotate(now)? {
                self.publish(&authorities).await?;
                return Ok(authorities);
            }
            let secret = secret(existing.as_ref(), &authorities)?;
            let written = match existing {
                None => self.secrets.create(&PostParams::default(), &secret).await,
                Some(_) => self.secrets.replace(CA_NAME, &PostParams::default(), &secret).await,
            };
            tries += 1;
            match written {
                Ok(_) => {
                    self.publish(&authorities).await?;
                    return Ok(authorities);
                }
                Err(error) if is_race(&error) && tries < TRIES_MAX => {}
                Err(error) => return Err(api_error(error)),
            }
        }
    }

    /// Until the ConfigMap says so: who else writes it may have written something else.
    async fn publish(&self, authorities: &Authorities) -> Result<(), TlsError> {
        let data = BTreeMap::from([(BUNDLE_KEY.to_owned(), authorities.bundle_pem())]);
        let mut tries = 0;
        loop {
            let existing = self.config_maps.get_opt(CA_NAME).await.map_err(api_error)?;
            let written = match existing {
                Some(existing) if existing.data.as_ref() == Some(&data) => return Ok(()),
                Some(mut existing) => {
                    existing.data = Some(data.clone());
                    self.config_maps.replace(CA_NAME, &PostParams::default(), &existing).await
                }
                None => {
                    let metadata = ObjectMeta { name: Some(CA_NAME.into()), ..ObjectMeta::default() };
                    let map = ConfigMap { metadata, data: Some(data.clone()), ..ConfigMap::default() };
                    self.config_maps.create(&PostParams::default(), &map).await
                }
            };
            tries += 1;
            match written {
                Ok(_) => return Ok(()),
                Err(error) if is_race(&error) && tries < TRIES_MAX => {}
                Err(error) => return Err(api_error(error)),
            }
        }
    }
}

fn parse(secret: &Secret) -> Result<Authorities, TlsError> {
    let bytes =
        secret.data.as_ref().and_then(|data| data.get(SECRET_KEY)).ok_or(TlsError::Pem("Secret holdfast-ca"))?;
    serde_json::from_slice(&bytes.0).map_err(|_| TlsError::Pem("Secret holdfast-ca"))
}

fn secret(existing: Option<&Secret>, authorities: &Authorities) -> Result<Secret, TlsError> {
    let json = serde_json::to_vec(authorities).map_err(|_| TlsError::Pem("Secret holdfast-ca"))?;
    let metadata = existing.map_or_else(
        || ObjectMeta { name: Some(CA_NAME.into()), ..ObjectMeta::default() },
        |secret| secret.metadata.clone(),
    );
    Ok(Secret {
        metadata,
        data: Some(BTreeMap::from([(SECRET_KEY.to_owned(), ByteString(json))])),
        ..Secret::default()
    })
}

fn api_error(error: kube::Error) -> TlsError {
    TlsError::Api(CA_NAME, Box::new(error))
}
