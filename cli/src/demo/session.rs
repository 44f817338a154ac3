//! Waiting for sessions, with a bar.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use kube::{
    Client,
    api::{DynamicObject, ListParams},
};
use serde_json::Value;
use tokio::time::Instant;

use super::manifests::objects;

/// How often statuses are read. The controller writes progress about as often.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const READY_LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Watcher {
    client: Client,
    limit: Duration,
}

impl Watcher {
    pub(super) fn new(client: Client, limit: Duration) -> Self {
        Self { client, limit }
    }

    pub(super) async fn storage_ready(&self, name: &str) -> Result<()> {
        let storages = objects(&self.client, "storage.kubestash.com", "BackupStorage");
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let storage = storages.get(name).await?;
            if storage.data["status"]["phase"] == "Ready" {
                println!("  BackupStorage {name} is Ready");
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "BackupStorage {name} does not get Ready: {}",
                    storage.data["status"]
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The sessions that the configurations trigger once they are Ready.
    pub(super) async fn first_sessions(
        &self,
        configurations: &[impl AsRef<str>],
    ) -> Result<Vec<String>> {
        let sessions = objects(&self.client, "core.kubestash.com", "BackupSession");
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let listed = sessions.list(&ListParams::default()).await?;
            let of = |configuration: &str| {
                listed
                    .items
                    .iter()
                    .find(|session| session.data["spec"]["invoker"]["name"] == configuration)
            };
            let found: Vec<Option<&DynamicObject>> = configurations
                .iter()
                .map(|name| of(name.as_ref()))
                .collect();
            if found.iter().all(Option::is_some) {
                return Ok(found
                    .into_iter()
                    .flatten()
                    .filter_map(|session| session.metadata.name.clone())
                    .collect());
            }
            if Instant::now() > deadline {
                bail!(
                    "not every BackupConfiguration triggered its first backup within {READY_LIMIT:?}"
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every BackupSession has succeeded.
    pub(super) async fn backups(&self, names: &[String]) -> Result<()> {
        let bar = bar();
        self.all_succeeded("BackupSession", names, &bar).await?;
        bar.finish_and_clear();
        for name in names {
            println!("  BackupSession {name}: Succeeded");
        }
        Ok(())
    }

    /// The same without a word.
    pub(super) async fn backups_quietly(&self, names: &[String]) -> Result<()> {
        self.all_succeeded("BackupSession", names, &ProgressBar::hidden())
            .await
    }

    /// Waits until every RestoreSession has succeeded.
    pub(super) async fn restores(&self, names: &[&str]) -> Result<()> {
        let bar = bar();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.all_succeeded("RestoreSession", &names, &bar).await?;
        bar.finish_and_clear();
        for name in &names {
            println!("  RestoreSession {name}: Succeeded");
        }
        Ok(())
    }

    async fn all_succeeded(&self, kind: &str, names: &[String], bar: &ProgressBar) -> Result<()> {
        let sessions = objects(&self.client, "core.kubestash.com", kind);
        let deadline = Instant::now() + self.limit;
        loop {
            let listed = sessions.list(&ListParams::default()).await?;
            let ours: Vec<&DynamicObject> = listed
                .items
                .iter()
                .filter(|session| {
                    session
                        .metadata
                        .name
                        .as_ref()
                        .is_some_and(|name| names.contains(name))
                })
                .collect();
            for session in &ours {
                let (name, status) = (
                    session.metadata.name.as_deref().unwrap_or_default(),
                    &session.data["status"],
                );
                if let Some(phase @ ("Failed" | "Skipped" | "Invalid")) = status["phase"].as_str() {
                    let snapshots = self.snapshots_of(name).await.unwrap_or_default();
                    bail!("{kind} {name} is {phase}: {status}\n{snapshots:?}");
                }
            }
            let done = ours
                .iter()
                .filter(|session| session.data["status"]["phase"] == "Succeeded")
                .count();
            if done == names.len() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{done} of {} {kind}s succeeded within {:?}",
                    names.len(),
                    self.limit
                );
            }
            if !bar.is_hidden() {
                self.show(kind, &ours, done, bar).await?;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn show(
        &self,
        kind: &str,
        sessions: &[&DynamicObject],
        done: usize,
        bar: &ProgressBar,
    ) -> Result<()> {
        let mut files = (0, 0);
        if kind == "BackupSession" {
            for session in sessions {
                let name = session.metadata.name.as_deref().unwrap_or_default();
                for snapshot in self.snapshots_of(name).await? {
                    add(&mut files, &snapshot["status"]["components"]);
                }
            }
        } else {
            sessions
                .iter()
                .for_each(|session| add(&mut files, &session.data["status"]["components"]));
        }
        bar.set_length(files.1.max(files.0));
        bar.set_position(files.0);
        bar.set_message(format!("{done} of {} sessions done", sessions.len()));
        Ok(())
    }

    async fn snapshots_of(&self, session: &str) -> Result<Vec<Value>> {
        let snapshots = objects(&self.client, "storage.kubestash.com", "Snapshot");
        let listed = snapshots
            .list(&ListParams::default())
            .await
            .context("list Snapshots")?;
        let of_session = listed
            .items
            .into_iter()
            .filter(|snapshot| snapshot.data["spec"]["backupSession"] == session);
        Ok(of_session.map(|snapshot| snapshot.data).collect())
    }
}

/// Adds the files done and in all of every component's progress.
fn add(files: &mut (u64, u64), components: &Value) {
    for component in components
        .as_object()
        .into_iter()
        .flat_map(|components| components.values())
    {
        let one = component.get("progress").into_iter();
        let several = component["resticStats"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|stats| stats.get("progress"));
        for progress in one.chain(several) {
            files.0 += progress["filesDone"].as_u64().unwrap_or(0);
            files.1 += progress["totalFiles"].as_u64().unwrap_or(0);
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("  [{elapsed_precise}] {bar:40} {pos}/{len} files  {msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
