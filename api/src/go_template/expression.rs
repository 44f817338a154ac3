//! What stands in an action: fields, literals, and functions of them.

use serde_json::{Number, Value};

use super::{DEPTH_MAX, TemplateError, shown};

#[derive(Debug)]
pub(super) enum Expression {
    /// `.A.B`; `.` alone has no names.
    Field(Vec<String>),
    Literal(Value),
    Call(Function, Vec<Expression>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Eq,
    Ne,
    Not,
    And,
    Or,
}

impl Function {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "not" => Self::Not,
            "and" => Self::And,
            "or" => Self::Or,
            _ => return None,
        })
    }

    fn takes(self, count: usize) -> bool {
        match self {
            Self::Eq => count >= 2,
            Self::Ne => count == 2,
            Self::Not => count == 1,
            Self::And | Self::Or => count >= 1,
        }
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Open,
    Close,
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

    pub(super) fn value(&self, data: &Value) -> Value {
        match self {
            Self::Field(names) => {
                let found = names.iter().try_fold(data, |value, name| value.get(name));
                found.cloned().unwrap_or(Value::Null)
            }
            Self::Literal(value) => value.clone(),
            Self::Call(function, arguments) => {
                let mut values = arguments.iter().map(|argument| argument.value(data));
                match function {
                    Function::Eq => {
                        let first = values.next();
                        Value::Bool(values.any(|value| Some(value) == first))
                    }
                    Function::Ne => Value::Bool(values.next() != values.next()),
                    Function::Not => Value::Bool(!values.next().is_some_and(|value| is_true(&value))),
                    // As in Go: the argument that decides, not its truth.
                    Function::And => decided(values, |value| !is_true(value)),
                    Function::Or => decided(values, is_true),
                }
            }
        }
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

fn decided(values: impl Iterator<Item = Value>, decides: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for value in values {
        last = value;
        if decides(&last) {
            break;
        }
    }
    last
}

/// A function with its arguments, or one operand; up to a closing parenthesis or the end.
fn sequence(text: &str, tokens: &[Token], at: &mut usize, depth: usize) -> Result<Expression, TemplateError> {
    if depth > DEPTH_MAX {
        return Err(TemplateError::TooDeep);
    }
    if let Some(Token::Word(word)) = tokens.get(*at)
        && let Some(function) = Function::of(word)
    {
        *at += 1;
        let mut arguments = Vec::new();
        while !matches!(tokens.get(*at), None | Some(Token::Close)) {
            arguments.push(operand(text, tokens, at, depth)?);
        }
        if !function.takes(arguments.len()) {
            return Err(TemplateError::Malformed(shown(text), "a function has the wrong number of arguments"));
        }
        return Ok(Expression::Call(function, arguments));
    }
    let one = operand(text, tokens, at, depth)?;
    match tokens.get(*at) {
        None | Some(Token::Close) => Ok(one),
        Some(_) => Err(TemplateError::Malformed(shown(text), "only a function has arguments")),
    }
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
    }
}

fn word_operand(word: &str) -> Result<Expression, TemplateError> {
    if let Some(path) = word.strip_prefix('.') {
        let names: Vec<String> = path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let is_name = |name: &String| name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        if names.iter().all(is_name) {
            return Ok(Expression::Field(names));
        }
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

fn tokens(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter.is_whitespace() => {}
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            '`' => tokens.push(Token::Text(raw(text, &mut letters)?)),
            '"' => tokens.push(Token::Text(quoted(text, &mut letters)?)),
            first => {
                let mut word = String::from(first);
                while let Some(next) = letters.next_if(|next| !next.is_whitespace() && !"()`\"".contains(*next)) {
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
