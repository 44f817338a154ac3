//! A mount's `subPathExpr`, worked out as the kubelet does it: `$(NAME)` from the container's environment.

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};

/// Expands `$(NAME)` and `$$(NAME)` (which stands for itself without the first dollar).
pub(super) fn expand(expression: &str, pod: &Pod, container: &Container) -> Result<String, String> {
    let variables = container.env.as_deref().unwrap_or_default();
    substitute(expression, &|name| {
        let position = variables.iter().rposition(|variable| variable.name == name);
        match position {
            Some(position) => value(position, variables, pod, 0).map(Some),
            None => Ok(None),
        }
    })
    .and_then(|(expanded, unknown)| match unknown {
        Some(name) => Err(format!(
            "subPathExpr {expression:?} needs the variable {name:?}, which the container's env does not have"
        )),
        None => Ok(expanded),
    })
}

/// Variables may refer to earlier ones; deeper than this they refer to themselves.
const DEPTH_MAX: usize = 32;

fn value(position: usize, variables: &[EnvVar], pod: &Pod, depth: usize) -> Result<String, String> {
    let Some(variable) = variables.get(position) else { return Ok(String::new()) };
    if let Some(source) = &variable.value_from {
        let path = source.field_ref.as_ref().map(|field| field.field_path.as_str()).ok_or_else(|| {
            format!(
                "the variable {:?} of a subPathExpr comes from a ConfigMap, Secret or resource, which is not read",
                variable.name
            )
        })?;
        return field(path, pod).ok_or_else(|| {
            format!("the variable {:?} of a subPathExpr comes from {path}, which is not known", variable.name)
        });
    }
    let text = variable.value.as_deref().unwrap_or_default();
    if depth >= DEPTH_MAX {
        return Err(format!("the variable {:?} refers to itself", variable.name));
    }
    let (expanded, _) =
        substitute(text, &|name| match variables.iter().take(position).rposition(|earlier| earlier.name == name) {
            Some(earlier) => value(earlier, variables, pod, depth + 1).map(Some),
            None => Ok(None),
        })?;
    Ok(expanded)
}

/// Replaces references; those that `lookup` does not know stay as they are, and the first of them is named.
fn substitute(
    text: &str,
    lookup: &dyn Fn(&str) -> Result<Option<String>, String>,
) -> Result<(String, Option<String>), String> {
    let (mut out, mut unknown, mut rest) = (String::new(), None, text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(escaped) = rest.strip_prefix('$') {
            out.push('$');
            rest = escaped;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name)? {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str(&format!("$({name})"));
                    unknown.get_or_insert_with(|| name.to_owned());
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok((out, unknown))
}

fn field(path: &str, pod: &Pod) -> Option<String> {
    let metadata = &pod.metadata;
    let keyed = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.strip_suffix("']")).map(str::to_owned);
    if let Some(label) = keyed("metadata.labels['") {
        return Some(metadata.labels.as_ref()?.get(&label).cloned().unwrap_or_default());
    }
    if let Some(annotation) = keyed("metadata.annotations['") {
        return Some(metadata.annotations.as_ref()?.get(&annotation).cloned().unwrap_or_default());
    }
    match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "spec.nodeName" => pod.spec.as_ref()?.node_name.clone(),
        _ => None,
    }
}
