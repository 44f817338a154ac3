//! A stored file becomes objects again: in an order in which each finds what it needs, in a few passes, as the account that the
//! session names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use holdfast_proto::v1;
use serde_json::Value;

use super::resources::Resources;
use super::{NAMED_MAX, Refused, RestoreOrder};
use crate::api::said;
use made::{Made, Maker};
use owners::{Identity, Owners, References};
use prepare::{Skipped, prepared};

mod document;
mod made;
mod order;
mod owners;
mod prepare;

/// What needs something that comes later, or takes a moment to be served, is tried so often.
const PASSES_MAX: usize = 5;
const PASS_PAUSE: Duration = Duration::from_secs(2);
/// Names in a summary, of each sort.
const SUMMARY_NAMES_MAX: usize = 20;

/// How far a restore is, for whoever asks.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) done: AtomicU64,
    pub(super) total: AtomicU64,
}

/// Whether this controller still leads.
pub(super) type Leads = dyn Fn() -> bool + Send + Sync;

/// Makes all that the order takes of a file.
pub(super) async fn all(base: &kube::Client, order: &RestoreOrder, file: &[u8], progress: &Arc<Progress>, leads: &Leads) -> Result<v1::RestoreResult, Refused> {
    let client = order.identity.client(base).map_err(|error| Refused::for_good(error.to_string()))?;
    let resources = Resources::ask(&client).await.map_err(|error| Refused::for_now(format!("the API server's resources: {}", said(&error))))?;
    let documents = document::all(file)?;
    progress.total.store(documents.len() as u64, Relaxed);
    let mut run = Run {
        order,
        maker: Maker::new(client.clone(), resources, order),
        report: Report::default(),
        defined: BTreeSet::new(),
        // What nothing is made of has no owners.
        owners: if order.dry_run { Owners::default() } else { Owners::in_file(file, &documents) },
    };
    let mut left: Vec<document::Document> = documents;
    for pass in 1..=PASSES_MAX {
        let is_last = pass == PASSES_MAX;
        let mut again = Vec::new();
        for document in left {
            if !leads() {
                return Err(Refused::for_now("the controller's leadership lapsed"));
            }
            if run.one(document.text(file), is_last).await {
                progress.done.fetch_add(1, Relaxed);
            } else {
                again.push(document);
            }
        }
        left = again;
        if left.is_empty() || is_last {
            break;
        }
        tokio::time::sleep(PASS_PAUSE).await;
        // What was made meanwhile may have brought new kinds.
        if let Ok(resources) = Resources::ask(&client).await {
            run.maker.resources = resources;
        }
    }
    Ok(run.report.result(order.dry_run))
}

struct Run<'a> {
    order: &'a RestoreOrder,
    maker: Maker,
    report: Report,
    /// Kinds, with their groups, that a dry run would have made.
    defined: BTreeSet<(String, String)>,
    owners: Owners,
}

impl Run<'_> {
    /// Makes one object; false if it is to be tried again.
    async fn one(&mut self, text: &[u8], is_last: bool) -> bool {
        let object = match document::parse(text) {
            Ok(object) => object,
            Err(why) => {
                self.report.fail("a document", &why);
                return true;
            }
        };
        let identity = Identity::of(&object);
        let is_settled = self.object(object, &identity, is_last).await;
        if is_settled {
            // Without a UID nobody waits for it any more.
            self.owners.settle(&identity);
        }
        is_settled
    }

    async fn object(&mut self, object: Value, identity: &Identity, is_last: bool) -> bool {
        let stored = named(&object);
        let (api_version, kind) = (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
        let Some(resource) = self.maker.resources.of(api_version, kind).cloned() else {
            let group = api_version.split('/').next().unwrap_or_default();
            if self.defined.contains(&(group.to_owned(), kind.to_owned())) {
                self.report.add(Made::New, stored);
                return true;
            }
            return self.failed(&stored, &format!("the API server knows no {kind} of {api_version}"), is_last || self.order.dry_run);
        };
        if self.order.dry_run && kind == "CustomResourceDefinition" {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            self.defined.insert((text("/spec/group"), text("/spec/names/kind")));
        }
        let references = self.owners.now(&object, is_last);
        let mut object = match prepared(object, &resource, self.order) {
            Ok(object) => object,
            Err(Skipped::NotAsked) => return true,
            Err(Skipped::MadeByOthers) => {
                self.report.skipped += 1;
                return true;
            }
        };
        let References::Now(owners, unowned) = references else { return false };
        if !owners.is_empty() {
            object["metadata"]["ownerReferences"] = Value::Array(owners);
        }
        let name = named(&object);
        match self.maker.make(&resource, object).await {
            Ok((made, uid)) => {
                self.report.add(made, name);
                self.report.unowned += if made == Made::Stood || self.order.dry_run { 0 } else { unowned };
                self.owners.made(identity, uid);
                true
            }
            Err(error) => {
                let is_final = is_last || made::is_final(&error);
                self.failed(&name, &said(&error), is_final)
            }
        }
    }

    fn failed(&mut self, name: &str, why: &str, is_final: bool) -> bool {
        if is_final {
            self.report.fail(name, why);
        }
        is_final
    }
}

/// `Deployment shop/web`.
fn named(object: &Value) -> String {
    let (kind, metadata) = (object["kind"].as_str().unwrap_or_default(), &object["metadata"]);
    let namespace = metadata["namespace"].as_str().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{kind} {namespace}{}", metadata["name"].as_str().unwrap_or_default()).chars().take(400).collect()
}

#[derive(Debug, Default)]
struct Report {
    made: BTreeMap<Made, (u64, Vec<String>)>,
    skipped: u64,
    /// References to owners that were not made in this run.
    unowned: u64,
    failed: u64,
    failed_first: Vec<String>,
}

impl Report {
    fn add(&mut self, made: Made, name: String) {
        let (count, names) = self.made.entry(made).or_default();
        *count += 1;
        if names.len() < SUMMARY_NAMES_MAX {
            names.push(name);
        }
    }

    fn fail(&mut self, name: &str, why: &str) {
        self.failed += 1;
        if self.failed_first.len() < NAMED_MAX {
            self.failed_first.push(format!("{name}: {why}"));
        }
    }

    fn result(self, dry_run: bool) -> v1::RestoreResult {
        let summary = self.summary(dry_run);
        let count = |made: Made| self.made.get(&made).map_or(0, |(count, _)| *count);
        v1::RestoreResult {
            files: count(Made::New) + count(Made::Changed),
            failed_count: self.failed,
            failed_first: self.failed_first,
            summary,
            ..v1::RestoreResult::default()
        }
    }

    fn summary(&self, dry_run: bool) -> String {
        let mut parts = Vec::new();
        for (made, verb, would) in [
            (Made::New, "made", "would be made"),
            (Made::Changed, "changed", "would be changed"),
            (Made::Stood, "left as they stand", "would be left as they stand"),
        ] {
            let Some((count, names)) = self.made.get(&made) else { continue };
            let more = if *count > names.len() as u64 { ", ..." } else { "" };
            parts.push(format!("{count} {}: {}{more}", if dry_run { would } else { verb }, names.join(", ")));
        }
        if self.skipped > 0 {
            parts.push(format!("{} that others make are left to them", self.skipped));
        }
        if self.unowned > 0 {
            parts.push(format!("{} references to owners that were not made with them are left out", self.unowned));
        }
        if parts.is_empty() && self.failed == 0 {
            parts.push("nothing of the file was asked for".to_owned());
        }
        let text = parts.join("; ");
        if dry_run { format!("dry run: {text}") } else { text }
    }
}

#[cfg(test)]
mod tests;
