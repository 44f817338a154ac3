//! Create, update and delete, with the rules that every object's life follows.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    apply, builtin, custom,
    failure::{Cause, Failure},
    kind::{Generation, Kind, Shape},
    metadata,
    state::{State, now, random},
    store::Key,
};

/// Finalizer that the garbage collector removes once the dependents are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer that the garbage collector removes once the dependents no longer name this owner.
pub(crate) const ORPHAN: &str = "orphan";

/// Which part of an object a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
}

/// Options of a write.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) manager: String,
    /// The object's managedFields are already as they shall be: an apply wrote them.
    pub(crate) owners_settled: bool,
}

/// `DeleteOptions`.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) dry_run: bool,
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) propagation_policy: Option<String>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// What a deletion came to.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// The object is gone.
    Gone(Arc<Value>),
    /// It waits for finalizers or for a kubelet.
    Waiting(Arc<Value>),
}

impl State {
    pub(crate) fn create(
        &mut self,
        kind: &Kind,
        namespace: Option<&str>,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, Failure> {
        kind.stamp_type(&mut object)?;
        place_in_namespace(kind, namespace, &mut object)?;
        if !metadata::text(&object, "resourceVersion").is_empty() {
            // 500, for so does the real server's storage.
            return Err(Failure::new(
                500,
                "InternalError",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        name_new_object(kind, &mut object)?;
        let key = Key::new(
            namespace.unwrap_or_default(),
            metadata::text(&object, "name"),
        );
        if kind.has_status
            && !kind.is_core("nodes")
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
        }
        normalize(kind, &mut object)?;
        builtin::default_on_create(kind, &mut object);
        if kind.generation == Generation::Counted {
            object["metadata"]["generation"] = json!(1);
        }
        validate(kind, &object)?;
        self.admit_namespace(kind, namespace, &key.name)?;
        let resource = kind.group_resource();
        if self.store.get(&resource, &key).is_some() {
            return Err(Failure::already_exists(kind, &key.name));
        }
        if options.dry_run {
            if custom::is_definition(kind) {
                custom::kind_of(&object)?;
            }
            return Ok(Arc::new(object));
        }
        if custom::is_definition(kind) {
            custom::establish(self, &mut object)?;
        }
        Ok(self.store.put(&resource, key, object))
    }

    /// Replaces the object by `new`, which came from a PUT or from a patch of `old`.
    pub(crate) fn update(
        &mut self,
        kind: &Kind,
        old: &Arc<Value>,
        mut new: Value,
        part: Part,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, Failure> {
        let name = metadata::text(old, "name").to_owned();
        kind.stamp_type(&mut new)?;
        check_identity(kind, old, &new)?;
        check_revision(kind, old, &new)?;
        let mut new = match part {
            Part::Main => keep_status(kind, old, new),
            Part::Status => take_status(old, new),
        };
        keep_system_metadata(old, &mut new);
        normalize(kind, &mut new)?;
        refuse_new_finalizers(kind, old, &new)?;
        validate(kind, &new)?;
        if kind.generation == Generation::Counted && counted(kind, old) != counted(kind, &new) {
            raise_generation(&mut new);
        }
        if !options.owners_settled {
            apply::note_update(kind, old, &mut new, part, &options.manager);
        }
        if new == **old || options.dry_run {
            return Ok(Arc::new(new));
        }
        if custom::is_definition(kind) && part == Part::Main {
            custom::establish(self, &mut new)?;
        }
        let key = Key::new(metadata::text(&new, "namespace"), &name);
        let resource = kind.group_resource();
        let written = self.store.put(&resource, key.clone(), new);
        if is_finished_deleting(kind, &written) {
            self.forget(kind, &key);
        }
        Ok(written)
    }

    pub(crate) fn delete(
        &mut self,
        kind: &Kind,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<Deleted, Failure> {
        let old = self.get(kind, key)?;
        check_preconditions(kind, &old, options)?;
        let mut new = (*old).clone();
        let mut finalizers = metadata::finalizers(&old);
        match options.propagation_policy.as_deref() {
            Some("Foreground") if !finalizers.contains(&FOREGROUND) => finalizers.push(FOREGROUND),
            Some("Orphan") if !finalizers.contains(&ORPHAN) => finalizers.push(ORPHAN),
            Some("Foreground" | "Orphan" | "Background") | None => {}
            Some(other) => {
                return Err(Failure::bad_request(format!(
                    "invalid propagationPolicy {other:?}"
                )));
            }
        }
        let grace_seconds = grace_seconds(kind, &old, options);
        let waits = !finalizers.is_empty() || grace_seconds > 0 || kind.is_core("namespaces");
        if !waits {
            if !options.dry_run {
                self.forget(kind, key);
            }
            return Ok(Deleted::Gone(old));
        }
        new["metadata"]["finalizers"] = json!(finalizers);
        let already = metadata::is_deleting(&old);
        let shorter = already
            && old["metadata"]["deletionGracePeriodSeconds"]
                .as_i64()
                .is_some_and(|was| grace_seconds < was);
        if !already || shorter {
            let end = now() + jiff::SignedDuration::from_secs(grace_seconds);
            new["metadata"]["deletionTimestamp"] = metadata::seconds(end);
            new["metadata"]["deletionGracePeriodSeconds"] = json!(grace_seconds);
            if kind.generation == Generation::Counted {
                raise_generation(&mut new);
            }
        }
        if kind.is_core("namespaces") {
            new["status"]["phase"] = json!("Terminating");
        }
        metadata::canonicalize(&mut new)?;
        if new == *old || options.dry_run {
            return Ok(Deleted::Waiting(old));
        }
        Ok(Deleted::Waiting(self.store.put(
            &kind.group_resource(),
            key.clone(),
            new,
        )))
    }

    /// Removes the object now. A definition takes its objects with it.
    pub(crate) fn forget(&mut self, kind: &Kind, key: &Key) {
        let gone = self.store.remove(&kind.group_resource(), key);
        if let Some(definition) = gone.filter(|_| custom::is_definition(kind)) {
            custom::retire(self, &definition);
        }
    }

    fn admit_namespace(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<(), Failure> {
        let Some(namespace) = namespace else {
            return Ok(());
        };
        let Some(found) = self.store.get("namespaces", &Key::new("", namespace)) else {
            let namespaces = self
                .kinds
                .get("namespaces")
                .ok_or_else(Failure::no_such_resource)?;
            return Err(Failure::not_found(namespaces, namespace));
        };
        if metadata::is_deleting(&found) {
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            return Err(Failure::forbidden(kind, name, &why));
        }
        Ok(())
    }
}

fn place_in_namespace(
    kind: &Kind,
    namespace: Option<&str>,
    object: &mut Value,
) -> Result<(), Failure> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let stated = metadata::text(object, "namespace").to_owned();
    match namespace {
        Some(namespace) if stated.is_empty() => object["metadata"]["namespace"] = json!(namespace),
        Some(namespace) if stated != namespace => {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        None if kind.namespaced => {
            return Err(Failure::bad_request(
                "an empty namespace may not be set during creation",
            ));
        }
        None if !stated.is_empty() => {
            return Err(Failure::bad_request(
                "namespace may not be set on a cluster-scoped object",
            ));
        }
        _ => {}
    }
    Ok(())
}

fn name_new_object(kind: &Kind, object: &mut Value) -> Result<(), Failure> {
    if metadata::text(object, "name").is_empty() {
        let prefix = metadata::text(object, "generateName").to_owned();
        if prefix.is_empty() {
            let cause = Cause::required("metadata.name", "name or generateName is required");
            return Err(Failure::invalid(kind, "", &[cause]));
        }
        object["metadata"]["name"] = json!(metadata::generate_name(&prefix, random));
    }
    if let Some(fields) = object["metadata"].as_object_mut() {
        for system in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "generation",
        ] {
            fields.remove(system);
        }
    }
    object["metadata"]["uid"] = json!(metadata::generate_uid(random));
    object["metadata"]["creationTimestamp"] = metadata::seconds(now());
    Ok(())
}

fn check_identity(kind: &Kind, old: &Value, new: &Value) -> Result<(), Failure> {
    for field in ["name", "namespace"] {
        let (was, is) = (metadata::text(old, field), metadata::text(new, field));
        let may_be_absent = field == "namespace";
        if was != is && !(may_be_absent && is.is_empty()) {
            return Err(Failure::bad_request(format!(
                "the {field} of the object ({is}) does not match the {field} on the URL ({was})"
            )));
        }
    }
    let (was, is) = (metadata::text(old, "uid"), metadata::text(new, "uid"));
    if !is.is_empty() && was != is {
        let why =
            format!("Precondition failed: UID in precondition: {is}, UID in object meta: {was}");
        return Err(Failure::conflict(kind, metadata::text(old, "name"), &why));
    }
    Ok(())
}

fn check_revision(kind: &Kind, old: &Value, new: &Value) -> Result<(), Failure> {
    let name = metadata::text(old, "name");
    match metadata::text(new, "resourceVersion") {
        "" if kind.unconditional_update => Ok(()),
        "" => {
            let cause = Cause::invalid(
                "metadata.resourceVersion",
                &json!(0),
                "must be specified for an update",
            );
            Err(Failure::invalid(kind, name, &[cause]))
        }
        stated if stated == metadata::text(old, "resourceVersion") => Ok(()),
        _ => Err(Failure::modified(kind, name)),
    }
}

fn keep_status(kind: &Kind, old: &Value, mut new: Value) -> Value {
    if kind.has_status
        && let Some(fields) = new.as_object_mut()
    {
        fields.remove("status");
        if let Some(status) = old.get("status") {
            fields.insert("status".to_owned(), status.clone());
        }
    }
    new
}

/// A status write changes nothing else, not even labels.
fn take_status(old: &Value, mut new: Value) -> Value {
    let mut kept = old.clone();
    if let Some(fields) = kept.as_object_mut() {
        match new
            .as_object_mut()
            .and_then(|fields| fields.remove("status"))
        {
            Some(status) => fields.insert("status".to_owned(), status),
            None => fields.remove("status"),
        };
    }
    kept["metadata"]["managedFields"] = new["metadata"]["managedFields"].take();
    kept
}

/// What only the server writes stays as it was.
fn keep_system_metadata(old: &Value, new: &mut Value) {
    let Some(fields) = new["metadata"].as_object_mut() else {
        return;
    };
    for field in [
        "uid",
        "namespace",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "selfLink",
    ] {
        match old["metadata"].get(field) {
            Some(value) => fields.insert(field.to_owned(), value.clone()),
            None => fields.remove(field),
        };
    }
}

fn normalize(kind: &Kind, object: &mut Value) -> Result<(), Failure> {
    match &kind.shape {
        Shape::Builtin(canonical) => {
            builtin::fold_string_data(object);
            *object = canonical(object.take()).map_err(|error| {
                Failure::bad_request(format!("{} cannot be decoded: {error}", kind.kind))
            })?;
        }
        Shape::Custom(schema) => schema.normalize(object),
    }
    metadata::canonicalize(object)
}

fn validate(kind: &Kind, object: &Value) -> Result<(), Failure> {
    let mut causes = metadata::validate(kind, object);
    if let Shape::Custom(schema) = &kind.shape {
        causes.extend(schema.validate(object));
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid(
            kind,
            metadata::text(object, "name"),
            &causes,
        ))
    }
}

fn refuse_new_finalizers(kind: &Kind, old: &Value, new: &Value) -> Result<(), Failure> {
    let had = metadata::finalizers(old);
    let added: Vec<_> = metadata::finalizers(new)
        .into_iter()
        .filter(|one| !had.contains(one))
        .collect();
    if added.is_empty() || !metadata::is_deleting(old) {
        return Ok(());
    }
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{added:?}"
    );
    Err(Failure::invalid(
        kind,
        metadata::text(old, "name"),
        &[Cause::forbidden("metadata.finalizers", why)],
    ))
}

/// The part of the object whose changes the generation counts.
fn counted<'a>(kind: &Kind, object: &'a Value) -> Vec<(&'a String, &'a Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| *name != "metadata" && !(kind.has_status && *name == "status"))
        .collect()
}

fn raise_generation(object: &mut Value) {
    let generation = object["metadata"]["generation"]
        .as_i64()
        .unwrap_or_default();
    object["metadata"]["generation"] = json!(generation + 1);
}

fn is_finished_deleting(kind: &Kind, object: &Value) -> bool {
    metadata::is_deleting(object)
        && metadata::finalizers(object).is_empty()
        && object["metadata"]["deletionGracePeriodSeconds"]
            .as_i64()
            .unwrap_or_default()
            == 0
        && !kind.is_core("namespaces")
}

fn check_preconditions(kind: &Kind, old: &Value, options: &DeleteOptions) -> Result<(), Failure> {
    for (what, wanted, field) in [
        ("UID", &options.uid, "uid"),
        (
            "ResourceVersion",
            &options.resource_version,
            "resourceVersion",
        ),
    ] {
        let found = metadata::text(old, field);
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            );
            return Err(Failure::conflict(kind, metadata::text(old, "name"), &why));
        }
    }
    Ok(())
}

/// Only a scheduled Pod that still runs waits for its kubelet.
fn grace_seconds(kind: &Kind, object: &Value, options: &DeleteOptions) -> i64 {
    let is_scheduled = object["spec"]["nodeName"]
        .as_str()
        .is_some_and(|node| !node.is_empty());
    let has_ended = matches!(
        object["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    );
    if !kind.is_core("pods") || !is_scheduled || has_ended {
        return 0;
    }
    let own = object["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .unwrap_or(30);
    options.grace_period_seconds.unwrap_or(own).max(0)
}
