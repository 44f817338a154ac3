//! What stands in an action: fields, literals, and functions of them.

use serde_json::{Number, Value};

use super::function::Function;
use super::{DEPTH_MAX, OUTPUT_BYTES_MAX, TemplateError, shown};

/// Variables of one template; each holds at most [`OUTPUT_BYTES_MAX`].
const VARIABLES_MAX: usize = 100;

#[derive(Debug)]
pub(super) enum Expression {
    /// `.A.B`; `.` alone has no names.
    Field(Vec<String>),
    /// `$x.A.B`.
    Variable(String, Vec<String>),
    Literal(Value),
    Call(Function, Vec<Expression>),
}

#[derive(Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Pipe,
    Word(String),
    Text(String),
}

impl Expression {
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let tokens = tokens(text)?;
        let mut at = 0;
        let expression = sequence(text, &tokens, &mut at, 0)?;
        if at < tokens.len() {
            return Err(TemplateError::Malformed(shown(text), "a parenthesis is closed that was not opened"));
        }
        Ok(expression)
    }

    pub(super) fn value(&self, scope: &Scope<'_>) -> Result<Value, TemplateError> {
        match self {
            Self::Field(names) => Ok(field(scope.data, names)),
            Self::Variable(variable, names) => Ok(field(scope.variable(variable)?, names)),
            Self::Literal(value) => Ok(value.clone()),
            Self::Call(function, arguments) => {
                let (mut values, mut bytes) = (Vec::new(), 0);
                for argument in arguments {
                    let value = argument.value(scope)?;
                    // What a variable holds may stand in it many times.
                    bytes += size(&value);
                    if bytes > OUTPUT_BYTES_MAX {
                        return Err(TemplateError::TooLong);
                    }
                    values.push(value);
                }
                function.of_values(&values)
            }
        }
    }
}

/// What expressions speak of.
pub(super) struct Scope<'a> {
    pub(super) data: &'a Value,
    /// Variables in their order, each with the number of `if` around it.
    pub(super) variables: Vec<(String, usize, Value)>,
}

impl Scope<'_> {
    pub(super) fn set(&mut self, name: String, declares: bool, depth: usize, value: &Expression) -> Result<(), TemplateError> {
        let value = value.value(self)?;
        if size(&value) > OUTPUT_BYTES_MAX || self.variables.len() >= VARIABLES_MAX {
            return Err(TemplateError::TooLong);
        }
        if declares {
            self.variables.push((name, depth, value));
            return Ok(());
        }
        let found = self.variables.iter_mut().rev().find(|(known, ..)| *known == name);
        let undeclared = || TemplateError::Malformed(shown(&format!("${name}")), "the variable is not declared");
        found.ok_or_else(undeclared)?.2 = value;
        Ok(())
    }

    /// A branch of an `if` is over: what was declared in it is gone.
    pub(super) fn leave(&mut self, depth: usize) {
        self.variables.retain(|(_, declared, _)| *declared < depth);
    }

    fn variable(&self, name: &str) -> Result<&Value, TemplateError> {
        // `$` alone is the data.
        if name.is_empty() {
            return Ok(self.data);
        }
        let found = self.variables.iter().rev().find(|(known, ..)| known == name);
        found.map(|(.., value)| value).ok_or_else(|| TemplateError::Malformed(shown(&format!("${name}")), "the variable is not declared"))
    }
}

fn field(value: &Value, names: &[String]) -> Value {
    names.iter().try_fold(value, |value, name| value.get(name)).cloned().unwrap_or(Value::Null)
}

/// About how much memory a value takes: at least what it is printed as. Lists and dicts count so much that none is nested deep.
fn size(value: &Value) -> usize {
    const NEST_BYTES: usize = 256;
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => NEST_BYTES + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => NEST_BYTES + fields.iter().map(|(name, value)| name.len() + 4 + size(value)).sum::<usize>(),
        _ => 24,
    }
}

/// Whether a value counts as true: not the zero value of its type.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// A value as it is printed.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Commands joined by pipes, each of whose values is the last argument of the next; up to a closing parenthesis or the end.
fn sequence(text: &str, tokens: &[Token], at: &mut usize, depth: usize) -> Result<Expression, TemplateError> {
    if depth > DEPTH_MAX {
        return Err(TemplateError::TooDeep);
    }
    let mut expression = command(text, tokens, at, depth, None)?;
    let mut pipes = 0;
    while tokens.get(*at) == Some(&Token::Pipe) {
        *at += 1;
        pipes += 1;
        if depth + pipes > DEPTH_MAX {
            return Err(TemplateError::TooDeep);
        }
        expression = command(text, tokens, at, depth, Some(expression))?;
    }
    Ok(expression)
}

/// A function with its arguments, or one operand.
fn command(text: &str, tokens: &[Token], at: &mut usize, depth: usize, last: Option<Expression>) -> Result<Expression, TemplateError> {
    let is_over = |at: usize| matches!(tokens.get(at), None | Some(Token::Close | Token::Pipe));
    if let Some(Token::Word(word)) = tokens.get(*at)
        && let Some(function) = Function::of(word)
    {
        *at += 1;
        let mut arguments = Vec::new();
        while !is_over(*at) {
            arguments.push(operand(text, tokens, at, depth)?);
        }
        arguments.extend(last);
        if !function.takes(arguments.len()) {
            return Err(TemplateError::Malformed(shown(text), "a function has the wrong number of arguments"));
        }
        return Ok(Expression::Call(function, arguments));
    }
    let one = operand(text, tokens, at, depth)?;
    if last.is_some() || !is_over(*at) {
        return Err(TemplateError::Malformed(shown(text), "only a function has arguments"));
    }
    Ok(one)
}

fn operand(text: &str, tokens: &[Token], at: &mut usize, depth: usize) -> Result<Expression, TemplateError> {
    let token = tokens.get(*at).ok_or_else(|| TemplateError::Malformed(shown(text), "a value is missing"))?;
    *at += 1;
    match token {
        Token::Text(literal) => Ok(Expression::Literal(Value::String(literal.clone()))),
        Token::Word(word) => word_operand(word),
        Token::Open => {
            let inside = sequence(text, tokens, at, depth + 1)?;
            if tokens.get(*at) != Some(&Token::Close) {
                return Err(TemplateError::Malformed(shown(text), "a parenthesis is not closed"));
            }
            *at += 1;
            Ok(inside)
        }
        Token::Close => Err(TemplateError::Malformed(shown(text), "a parenthesis is closed that was not opened")),
        Token::Pipe => Err(TemplateError::Malformed(shown(text), "a value is missing")),
    }
}

fn word_operand(word: &str) -> Result<Expression, TemplateError> {
    if let Some(path) = word.strip_prefix('.')
        && let Some(names) = names(path)
    {
        return Ok(Expression::Field(names));
    }
    if let Some(path) = word.strip_prefix('$')
        && let Some((variable, behind)) = Some(path.split_once('.').unwrap_or((path, "")))
        && is_name(variable)
        && let Some(names) = names(behind)
    {
        return Ok(Expression::Variable(variable.to_owned(), names));
    }
    match word {
        "true" => Ok(Expression::Literal(Value::Bool(true))),
        "false" => Ok(Expression::Literal(Value::Bool(false))),
        "nil" => Ok(Expression::Literal(Value::Null)),
        _ => match word.parse::<i64>() {
            Ok(number) => Ok(Expression::Literal(Value::Number(Number::from(number)))),
            Err(_) => Err(TemplateError::Unknown(shown(word))),
        },
    }
}

fn names(path: &str) -> Option<Vec<String>> {
    let names = path.split('.').filter(|name| !name.is_empty()).map(str::to_owned);
    let names: Vec<String> = names.collect();
    names.iter().all(|name| is_name(name)).then_some(names)
}

/// Of a field or a variable; `$` has none.
pub(super) fn is_name(name: &str) -> bool {
    name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
}

fn tokens(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter.is_whitespace() => {}
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            '|' => tokens.push(Token::Pipe),
            '`' => tokens.push(Token::Text(raw(text, &mut letters)?)),
            '"' => tokens.push(Token::Text(quoted(text, &mut letters)?)),
            first => {
                let mut word = String::from(first);
                while let Some(next) = letters.next_if(|next| !next.is_whitespace() && !"()|`\"".contains(*next)) {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

fn raw(text: &str, letters: &mut impl Iterator<Item = char>) -> Result<String, TemplateError> {
    let mut literal = String::new();
    for letter in letters {
        if letter == '`' {
            return Ok(literal);
        }
        literal.push(letter);
    }
    Err(TemplateError::Malformed(shown(text), "a literal is not closed"))
}

fn quoted(text: &str, letters: &mut impl Iterator<Item = char>) -> Result<String, TemplateError> {
    let mut literal = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok(literal),
            '\\' => literal.push(match letters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(escaped @ ('"' | '\\')) => escaped,
                _ => return Err(TemplateError::Malformed(shown(text), "an escape that is not supported")),
            }),
            other => literal.push(other),
        }
    }
    Err(TemplateError::Malformed(shown(text), "a literal is not closed"))
}
