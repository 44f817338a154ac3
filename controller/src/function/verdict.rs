//! How a Function's pod ended, and what one that has not is at. What containers say is kept short, and printable.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// Of what a container said last, in characters.
const SAID_MAX: usize = 1000;
/// Reasons to wait that nothing mends but another pod.
const HOPELESS: [&str; 2] = ["InvalidImageName", "ErrImageNeverPull"];

/// How it ended; none if it has not.
pub fn of(pod: &Pod) -> Option<Result<(), String>> {
    let status = pod.status.as_ref()?;
    match status.phase.as_deref() {
        Some("Succeeded") => return Some(Ok(())),
        Some("Failed") => {}
        _ => return hopeless(pod).map(Err),
    }
    let of_pod = [status.reason.as_deref(), status.message.as_deref()];
    let of_pod: Vec<String> = of_pod.into_iter().flatten().map(printable).collect();
    let failed = containers(pod).find_map(failure);
    let parts: Vec<String> = of_pod.into_iter().chain(failed).collect();
    Some(Err(if parts.is_empty() { "its pod failed".to_owned() } else { parts.join(": ") }))
}

/// What one that has not ended is at.
pub fn doing(pod: &Pod) -> String {
    if let Some((container, reason, message)) = containers(pod).find_map(waiting) {
        return format!("container {container} waits: {reason}: {message}");
    }
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let unscheduled = conditions.into_iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    match unscheduled {
        Some(condition) => format!("its pod waits for a node: {}", printable(condition.message.as_deref().unwrap_or_default())),
        None if containers(pod).next().is_some() => "it runs".to_owned(),
        None => "no node has begun with its pod".to_owned(),
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let first = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    first.iter().chain(status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default())
}

fn failure(container: &ContainerStatus) -> Option<String> {
    let ended = container.state.as_ref()?.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    let reason = ended.reason.as_deref().filter(|reason| *reason != "Error").map(|reason| format!(" ({})", printable(reason)));
    let said = printable(ended.message.as_deref().unwrap_or_default());
    let said = if said.is_empty() { said } else { format!(": {said}") };
    Some(format!("container {} ended with code {}{}{said}", container.name, ended.exit_code, reason.unwrap_or_default()))
}

fn waiting(container: &ContainerStatus) -> Option<(String, String, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let text = |text: &Option<String>| printable(text.as_deref().unwrap_or_default());
    Some((container.name.clone(), text(&waiting.reason), text(&waiting.message)))
}

fn hopeless(pod: &Pod) -> Option<String> {
    let (container, reason, message) = containers(pod).filter_map(waiting).find(|(_, reason, _)| HOPELESS.contains(&reason.as_str()))?;
    Some(format!("container {container} cannot start: {reason}: {message}"))
}

/// The end of a text, where programs say why they gave up; nothing in it moves a terminal's cursor.
fn printable(text: &str) -> String {
    let text = text.trim();
    let excess = text.chars().count().saturating_sub(SAID_MAX);
    let kept = text.chars().skip(excess).map(|character| match character {
        '\n' | '\t' => character,
        control if control.is_control() => '\u{fffd}',
        other => other,
    });
    if excess > 0 { kept.fold("…".to_owned(), |mut text, character| { text.push(character); text }) } else { kept.collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    fn ended(code: i32, reason: &str, message: &str) -> Value {
        json!({"name": "function", "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}},
            "image": "i", "imageID": "", "ready": false, "restartCount": 0})
    }

    #[test]
    fn an_end_is_said_with_code_reason_and_last_words() {
        assert_eq!(of(&pod(json!({"phase": "Running"}))), None);
        assert_eq!(of(&pod(json!({"phase": "Succeeded", "containerStatuses": [ended(0, "Completed", "fine")]}))), Some(Ok(())));
        let failed = of(&pod(json!({"phase": "Failed", "containerStatuses": [ended(3, "Error", "no such table\n")]})));
        assert_eq!(failed, Some(Err("container function ended with code 3: no such table".to_owned())));
        let killed = of(&pod(json!({"phase": "Failed", "containerStatuses": [ended(137, "OOMKilled", "")]})));
        assert_eq!(killed, Some(Err("container function ended with code 137 (OOMKilled)".to_owned())));
        let late = of(&pod(json!({"phase": "Failed", "reason": "DeadlineExceeded", "message": "was active too long"})));
        assert_eq!(late, Some(Err("DeadlineExceeded: was active too long".to_owned())));
        assert_eq!(of(&pod(json!({"phase": "Failed"}))), Some(Err("its pod failed".to_owned())));
    }

    #[test]
    fn what_a_container_says_is_short_and_printable() {
        let hostile = format!("{}\u{1b}[2J\u{0}the end", "x".repeat(10_000));
        let said = of(&pod(json!({"phase": "Failed", "containerStatuses": [ended(1, "Error", &hostile)]}))).unwrap().unwrap_err();
        assert!(said.chars().count() < SAID_MAX + 100, "{}", said.len());
        assert!(said.ends_with("the end") && !said.contains('\u{1b}') && !said.contains('\u{0}'), "{said:?}");
    }

    #[test]
    fn what_does_not_begin_says_what_it_waits_for() {
        let waits = |reason: &str| json!({"phase": "Pending", "containerStatuses": [{"name": "function", "image": "i", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": reason, "message": "no such image"}}}]});
        assert_eq!(of(&pod(waits("ImagePullBackOff"))), None, "a registry may come back");
        assert_eq!(doing(&pod(waits("ImagePullBackOff"))), "container function waits: ImagePullBackOff: no such image");
        assert!(of(&pod(waits("InvalidImageName"))).unwrap().unwrap_err().contains("InvalidImageName"));
        let unscheduled = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]});
        assert_eq!(doing(&pod(unscheduled)), "its pod waits for a node: 0/3 nodes");
    }
}
