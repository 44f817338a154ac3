//! The part of Go's text/template that notifications in hooks use: fields, variables, `if`, `else if`, `else`, `end`, functions (Go's and
//! sprig's, see `function`), pipes, literals, parentheses, comments and trim markers. No loops.
//!
//! A template comes from whoever writes HookTemplates: nesting, steps and output have limits, and nothing but `data` can be
//! read. (<https://pkg.go.dev/text/template>)

use serde_json::Value;
use thiserror::Error;

mod expression;
mod function;

use expression::{Expression, Scope, is_name};

/// Longest output in bytes.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Deepest nesting of `if` and of parentheses.
const DEPTH_MAX: usize = 32;

/// Why a template cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("an action is not closed: {0:?}")]
    Unclosed(String),
    /// `if` without `end`, or the other way round.
    #[error("if, else and end do not match: {0}")]
    Unbalanced(&'static str),
    /// A word that this part of the language does not have.
    #[error(
        "{0:?} is not supported in templates; fields, $variables, if, else, end, eq, ne, not, and, or, len, print, printf, dict, list, toJson, \
         quote, default, upper, lower and trim are"
    )]
    Unknown(String),
    /// An action that cannot be read.
    #[error("{0:?} cannot be read: {1}")]
    Malformed(String, &'static str),
    /// Nested too deep.
    #[error("nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// The output is too long.
    #[error("the output is longer than {OUTPUT_BYTES_MAX} bytes")]
    TooLong,
}

#[derive(Debug)]
enum Piece<'a> {
    Text(&'a str),
    Print(Expression),
    /// `$x := …` if it declares, else `$x = …`.
    Set { name: String, declares: bool, value: Expression },
    If(Expression),
    ElseIf(Expression),
    Else,
    End,
}

/// Carries a template out over `data`, whose fields are named as in Go (`.Status.Phase`); a field that is missing is
/// `<no value>`, as there.
pub fn render(template: &str, data: &Value) -> Result<String, TemplateError> {
    let mut output = String::new();
    let mut scope = Scope { data, variables: Vec::new() };
    // For each `if` around: whether this branch is taken, whether one was already, whether the `else` has come.
    let mut around: Vec<Branch> = Vec::new();
    for piece in pieces(template)? {
        let taken = around.iter().all(|branch| branch.taken);
        match piece {
            Piece::Text(text) if taken => output.push_str(text),
            Piece::Print(expression) if taken => output.push_str(&expression::text(&expression.value(&scope)?)),
            Piece::Set { name, declares, value } if taken => scope.set(name, declares, around.len(), &value)?,
            Piece::Text(_) | Piece::Print(_) | Piece::Set { .. } => {}
            Piece::If(condition) => {
                if around.len() >= DEPTH_MAX {
                    return Err(TemplateError::TooDeep);
                }
                let holds = taken && expression::is_true(&condition.value(&scope)?);
                around.push(Branch {
                    taken: holds,
                    done: holds || !taken,
                    last: false,
                });
            }
            Piece::ElseIf(condition) => {
                let depth = around.len();
                let branch = around
                    .last_mut()
                    .filter(|branch| !branch.last)
                    .ok_or(TemplateError::Unbalanced("else if without if"))?;
                scope.leave(depth);
                branch.taken = !branch.done && expression::is_true(&condition.value(&scope)?);
                branch.done |= branch.taken;
            }
            Piece::Else => {
                scope.leave(around.len());
                let branch = around
                    .last_mut()
                    .filter(|branch| !branch.last)
                    .ok_or(TemplateError::Unbalanced("else without if"))?;
                (branch.taken, branch.done, branch.last) = (!branch.done, true, true);
            }
            Piece::End => {
                scope.leave(around.len());
                around
                    .pop()
                    .ok_or(TemplateError::Unbalanced("end without if"))?;
            }
        }
        if output.len() > OUTPUT_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
    }
    if around.is_empty() {
        Ok(output)
    } else {
        Err(TemplateError::Unbalanced("if without end"))
    }
}

/// Whether there is anything to carry out.
pub fn is_template(text: &str) -> bool {
    text.contains("{{")
}

struct Branch {
    taken: bool,
    done: bool,
    last: bool,
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim_start = false;
    loop {
        let (text, action) = match rest.split_once("{{") {
            Some((text, action)) => (text, Some(action)),
            None => (rest, None),
        };
        let text = if trim_start { text.trim_start() } else { text };
        let Some(action) = action else {
            pieces.push(Piece::Text(text));
            return Ok(pieces);
        };
        let trims_before = action.starts_with("- ") || action.starts_with("-\n");
        pieces.push(Piece::Text(if trims_before { text.trim_end() } else { text }));
        let action = action.strip_prefix('-').filter(|_| trims_before).unwrap_or(action);
        let end = end_of_action(action).ok_or_else(|| TemplateError::Unclosed(shown(action)))?;
        let (inside, behind) = (&action[..end], &action[end + 2..]);
        trim_start = inside.ends_with(" -") || inside.ends_with("\n-");
        let inside = inside.strip_suffix('-').filter(|_| trim_start).unwrap_or(inside).trim();
        if !(inside.starts_with("/*") && inside.ends_with("*/")) {
            pieces.push(piece(inside)?);
        }
        rest = behind;
    }
}

/// Where the `}}` is that no literal holds.
fn end_of_action(action: &str) -> Option<usize> {
    let bytes = action.as_bytes();
    let (mut at, mut quote) = (0, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if open == byte => quote = None,
            (None, byte @ (b'"' | b'`')) => quote = Some(byte),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn piece(action: &str) -> Result<Piece<'_>, TemplateError> {
    let (word, behind) = action
        .split_once(char::is_whitespace)
        .unwrap_or((action, ""));
    match (word, behind.trim()) {
        ("if", condition) => Ok(Piece::If(Expression::parse(condition)?)),
        ("else", "") => Ok(Piece::Else),
        ("else", behind) => match behind.split_once(char::is_whitespace) {
            Some(("if", condition)) => Ok(Piece::ElseIf(Expression::parse(condition)?)),
            _ => Err(TemplateError::Unknown(shown(action))),
        },
        ("end", "") => Ok(Piece::End),
        _ => match assignment(action) {
            Some((name, declares, value)) => Ok(Piece::Set { name: name.to_owned(), declares, value: Expression::parse(value)? }),
            None => Ok(Piece::Print(Expression::parse(action)?)),
        },
    }
}

/// The name, whether it is declared, and what it is set to, of `$name := value` and `$name = value`.
fn assignment(action: &str) -> Option<(&str, bool, &str)> {
    let (name, behind) = action.strip_prefix('$')?.split_once('=')?;
    let (name, declares) = match name.strip_suffix(':') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let name = name.trim_end();
    (!name.is_empty() && is_name(name)).then_some((name, declares, behind.trim()))
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(template: &str) -> Result<String, TemplateError> {
        let data = json!({
            "Name": "web", "Namespace": "demo", "Target": { "Name": "app" }, "Empty": "",
            "Status": { "Phase": "Failed", "Error": "no \"disk\"", "Count": 3 },
        });
        render(template, &data)
    }

    #[test]
    fn fields_and_conditions() {
        let slack = "{{ if eq .Status.Phase `Succeeded`}}ok{{ else }}Failed. Reason: {{ .Status.Error }}{{ end}} for {{ .Namespace }}/{{.Target.Name}}";
        assert_eq!(rendered(slack).as_deref(), Ok("Failed. Reason: no \"disk\" for demo/app"));
        for (template, expected) in [
            ("plain } text", "plain } text"),
            ("{{if .Empty}}a{{else if eq .Status.Count 3}}b{{else}}c{{end}}", "b"),
            ("{{if and .Name (not .Empty)}}yes{{end}}", "yes"),
            ("{{if or .Empty .Nothing}}yes{{else}}no{{end}}", "no"),
            ("{{if ne .Status.Phase \"Succeeded\" }}x{{if false}}y{{end}}z{{end}}", "xz"),
            ("{{if eq .Name \"a\" \"web\"}}one of{{end}}", "one of"),
            ("a {{- /* nothing */ -}} b", "ab"),
            ("a {{- .Name -}} b", "awebb"),
            ("{{ .Nothing.Here }}", "<no value>"),
            ("{{ \"}}\" }}{{ `{{` }}", "}}{{"),
            ("{{ .Status.Count }}", "3"),
        ] {
            assert_eq!(rendered(template).as_deref(), Ok(expected), "{template}");
        }
    }

    /// Both examples of KubeStash's guide to Slack notifications.
    #[test]
    fn kubestash_s_slack_notifications_are_json_whatever_the_error_says() {
        let failed = r#"{{- $msg := dict "type" "mrkdwn" "text" (printf "Backup failed for %s/%s Reason: %s." .Namespace .Target.Name .Status.Error) -}}
{
  "blocks": [ { "type": "section", "text": {{ toJson $msg }} } ]
}"#;
        let said: serde_json::Value = serde_json::from_str(&rendered(failed).unwrap()).unwrap();
        assert_eq!(said["blocks"][0]["text"], json!({"type": "mrkdwn", "text": "Backup failed for demo/app Reason: no \"disk\"."}));
        let either = r#"{{- $msg := dict "type" "mrkdwn" "text" "" -}}
{{- if eq .Status.Phase `Succeeded` -}}
{{- $msg = dict "type" "mrkdwn" "text" (printf "Backup succeeded for %s/%s" .Namespace .Target.Name) -}}
{{- else -}}
{{- $msg = dict "type" "mrkdwn" "text" (printf "Backup failed for %s/%s" .Namespace .Target.Name) -}}
{{- end -}}
{{ $msg | toJson }}"#;
        let said: serde_json::Value = serde_json::from_str(&rendered(either).unwrap()).unwrap();
        assert_eq!(said["text"], "Backup failed for demo/app");
    }

    #[test]
    fn variables_functions_and_pipes() {
        for (template, expected) in [
            ("{{$x := .Target}}{{$x.Name}}/{{$.Namespace}}", "app/demo"),
            ("{{$x := 1}}{{if .Name}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
            ("{{$x := 1}}{{if .Name}}{{$x = 2}}{{end}}{{$x}}", "2"),
            ("{{if .Empty}}{{$x := 1}}{{else}}{{$x := 2}}{{$x}}{{end}}", "2"),
            ("{{ .Name | upper | printf \"%s-%d%%\" | quote }}", "\"WEB-%!d(MISSING)%\""),
            ("{{ printf \"%s has %d, %v, %q\" .Name .Status.Count true .Status.Error }}", "web has 3, true, \"no \\\"disk\\\"\""),
            ("{{ .Empty | default \"none\" }} {{ default \"none\" .Name }}", "none web"),
            ("{{ toJson (list 1 \"a\" nil) }} {{ len .Target }} {{ \" a \" | trim | lower }}", "[1,\"a\",null] 1 a"),
            ("{{ print .Name \"=\" .Status.Count }}", "web=3"),
        ] {
            assert_eq!(rendered(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_not_supported_is_said() {
        for template in ["{{ range .Items }}{{ end }}", "{{ .Name | .Namespace }}", "{{ call .Name }}", "{{ $x }}", "{{ $x = 1 }}", "{{ dict .Name }}", "{{ else maybe }}"] {
            assert!(matches!(rendered(template), Err(TemplateError::Unknown(_) | TemplateError::Malformed(..))), "{template}: {:?}", rendered(template));
        }
        assert!(matches!(rendered("{{ .Name"), Err(TemplateError::Unclosed(_))));
        for template in ["{{ if .Name }}", "{{ end }}", "{{ else }}", "{{if .Name}}{{else}}{{else}}{{end}}"] {
            assert!(matches!(rendered(template), Err(TemplateError::Unbalanced(_))), "{template}");
        }
    }

    #[test]
    fn templates_have_limits() {
        let deep = "{{ if .Name }}".repeat(DEPTH_MAX + 1) + &"{{ end }}".repeat(DEPTH_MAX + 1);
        assert_eq!(rendered(&deep), Err(TemplateError::TooDeep));
        let nested = format!("{{{{ not {}.Name{} }}}}", "(not ".repeat(1000), ")".repeat(1000));
        assert_eq!(rendered(&nested), Err(TemplateError::TooDeep));
        assert_eq!(rendered(&"x".repeat(OUTPUT_BYTES_MAX + 1)), Err(TemplateError::TooLong));
        for doubled in ["{{$x = printf \"%s%s\" $x $x}}", "{{$x = print $x $x}}", "{{$x = dict \"a\" $x \"b\" $x}}", "{{$x = list $x $x}}"] {
            let bomb = format!("{{{{$x := .Name}}}}{}", doubled.repeat(64));
            assert_eq!(rendered(&bomb), Err(TemplateError::TooLong), "{doubled}");
        }
        let wide = format!("{{{{$x := printf \"%s\" `{}`}}}}{{{{len (list{})}}}}", "y".repeat(OUTPUT_BYTES_MAX / 2), " $x".repeat(10_000));
        assert_eq!(rendered(&wide), Err(TemplateError::TooLong));
        let nested = format!("{{{{$x := .Name}}}}{}", "{{$x = list $x}}".repeat(10_000));
        assert_eq!(rendered(&nested), Err(TemplateError::TooLong));
        let piped = format!("{{{{ .Name{} }}}}", " | upper".repeat(1000));
        assert_eq!(rendered(&piped), Err(TemplateError::TooDeep));
    }

    proptest::proptest! {
        #[test]
        fn no_template_panics(template in "(\\{\\{|\\}\\}|[-. a-z\"`()$|/*\\\\]|if|else|end|eq|\\$x|:=|=|printf|dict|toJson|\\.Name){0,40}") {
            let _ = rendered(&template);
        }
    }
}
