//! One run, to its end: the pod is made or found, watched, and removed.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use holdfast_api::Function;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::watcher::watch_object;

use super::{ENDING_MAX, Functions, Run, verdict};
use crate::api;

/// Pause after an answer of the API server that may be another one next time.
const PAUSE: Duration = Duration::from_secs(2);
/// How a run ends whose pod has gone.
const REMOVED: &str = "its pod was removed before it had ended";

/// Why a look at a pod did not end with its end.
enum Stopped {
    /// Looked at again.
    ForNow(String),
    /// Nothing more comes of it.
    ForGood(String),
}

impl From<kube::Error> for Stopped {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if (400..429).contains(&status.code) && !status.is_conflict() && !status.is_already_exists() => {
                Self::ForGood(api::said(&kube::Error::Api(status)))
            }
            other => Self::ForNow(api::said(&other)),
        }
    }
}

impl Functions {
    /// Runs a Function to its end, or to that of its time; says why it failed. Dropping the future stops it, and its pod goes.
    pub async fn run(&self, run: &Run) -> Result<(), String> {
        if !self.are_allowed {
            return Err(format!("Function {}: Functions do not run here (functions.enabled and webhooks.enabled of the chart)", run.function));
        }
        let _attendance = self.attended.attend(run.named());
        let mut seen = None;
        let ended = tokio::time::timeout(run.timeout, self.to_its_end(run, &mut seen)).await;
        let stays = run.stays && ended.is_ok();
        let result = ended.unwrap_or_else(|_| {
            let doing = seen.as_ref().map_or_else(|| "it has no pod".to_owned(), verdict::doing);
            Err(format!("it did not end within {} s: {doing}", run.timeout.as_secs()))
        });
        if let Some(pod) = seen.filter(|_| !stays) {
            self.remove(run, &pod).await;
        }
        result.map_err(|error| format!("Function {}: {error}", run.function))
    }

    async fn to_its_end(&self, run: &Run, seen: &mut Option<Pod>) -> Result<(), String> {
        loop {
            match self.look(run, seen).await {
                Ok(result) => return result,
                Err(Stopped::ForGood(why)) => return Err(why),
                Err(Stopped::ForNow(why)) => {
                    tracing::info!(pod = %run.named(), function = run.function, why, "a Function's pod cannot be followed; tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Watches the pod to its end; makes it if there is none.
    async fn look(&self, run: &Run, seen: &mut Option<Pod>) -> Result<Result<(), String>, Stopped> {
        let (pods, name): (Api<Pod>, _) = (Api::namespaced(self.client.clone(), &run.namespace), run.pod_name());
        let standing = match (pods.get_opt(&name).await?, seen.as_ref()) {
            (Some(pod), _) if !run.owns(&pod) => return Err(Stopped::ForGood(format!("pod {name} is there, and is somebody else's"))),
            // Whoever removed it may have seen its end, as a later leader does: to make it again would be to run it again.
            (found, Some(known)) => match found.filter(|pod| pod.metadata.uid == known.metadata.uid) {
                None => return Ok(Err(REMOVED.to_owned())),
                same => same,
            },
            (Some(pod), None) if pod.metadata.deletion_timestamp.is_some() => {
                until_gone(&pods, &pod).await?;
                None
            }
            (found, None) => found,
        };
        let pod = match standing {
            Some(pod) => pod,
            None => pods.create(&PostParams::default(), &self.pod(run).await?).await?,
        };
        let uid = pod.metadata.uid.clone();
        *seen = Some(pod);
        let mut versions = pin!(watch_object(pods, &name));
        while let Some(version) = versions.next().await {
            let version = version.map_err(|error| Stopped::ForNow(api::said_of_watch(&error)))?;
            let Some(pod) = version.filter(|pod| pod.metadata.uid == uid) else {
                return Ok(Err(REMOVED.to_owned()));
            };
            let verdict = verdict::of(&pod);
            *seen = Some(pod);
            if let Some(verdict) = verdict {
                return Ok(verdict);
            }
        }
        Err(Stopped::ForNow("the watch ended".to_owned()))
    }

    async fn pod(&self, run: &Run) -> Result<Pod, Stopped> {
        let functions: Api<Function> = Api::all(self.client.clone());
        let function = functions.get_opt(&run.function).await?;
        let function = function.ok_or_else(|| Stopped::ForGood("it does not exist".to_owned()))?;
        let pod = function.pod(&run.wanted).map_err(|error| Stopped::ForGood(error.problems.join("; ")))?;
        tracing::info!(pod = %run.named(), function = run.function, owner = %run.owner.name, "a Function runs as a pod");
        Ok(run.pod(pod))
    }

    /// What cannot be removed now is by the keeper.
    async fn remove(&self, run: &Run, pod: &Pod) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &run.namespace);
        let removed = api::delete(&pods, &pod.name_any(), pod.uid().unwrap_or_default(), DeleteParams::background()).await;
        if let Err(error) = removed {
            tracing::warn!(pod = %run.named(), %error, "a Function's pod could not be removed; tried again");
        }
    }
}

/// One that was asked to end, by the run before this one or by somebody else.
async fn until_gone(pods: &Api<Pod>, pod: &Pod) -> Result<(), Stopped> {
    let name = pod.name_any();
    let mut versions = pin!(watch_object(pods.clone(), &name));
    let gone = async {
        while let Some(version) = versions.next().await {
            match version.map_err(|error| Stopped::ForNow(api::said_of_watch(&error)))? {
                Some(other) if other.metadata.uid == pod.metadata.uid => {}
                _ => return Ok(()),
            }
        }
        Err(Stopped::ForNow("the watch ended".to_owned()))
    };
    let stuck = || Err(Stopped::ForGood(format!("the pod {name} of the try before does not go")));
    tokio::time::timeout(ENDING_MAX, gone).await.unwrap_or_else(|_| stuck())
}

#[cfg(test)]
mod tests;
