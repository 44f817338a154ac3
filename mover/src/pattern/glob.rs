//! One name of a pattern: what Go's `filepath.Match` takes, on bytes.

/// Stands for a byte that is not part of any UTF-8 character, as Go has it.
const NO_CHARACTER: u32 = 0xfffd;

/// A compiled name pattern.
#[derive(Clone, Debug)]
pub(super) enum Glob {
    /// No special characters: compared as it is.
    Literal(Vec<u8>),
    Tokens(Vec<Token>),
}

#[derive(Clone, Debug)]
pub(super) enum Token {
    Byte(u8),
    /// `?`
    Character,
    /// `*`
    Any,
    Class {
        negated: bool,
        ranges: Vec<(u32, u32)>,
    },
}

impl Glob {
    pub(super) fn parse(name: &[u8]) -> Result<Self, &'static str> {
        if !name.iter().any(|byte| b"\\[]*?".contains(byte)) {
            return Ok(Self::Literal(name.to_vec()));
        }
        let mut tokens = Vec::with_capacity(name.len());
        let mut rest = name;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'*' => {
                    if !matches!(tokens.last(), Some(Token::Any)) {
                        tokens.push(Token::Any);
                    }
                }
                b'?' => tokens.push(Token::Character),
                b'\\' => {
                    let (&literal, after) = rest.split_first().ok_or("it ends in a backslash")?;
                    tokens.push(Token::Byte(literal));
                    rest = after;
                }
                b'[' => {
                    let (class, after) = parse_class(rest)?;
                    tokens.push(class);
                    rest = after;
                }
                _ => tokens.push(Token::Byte(byte)),
            }
        }
        Ok(Self::Tokens(tokens))
    }

    /// Linear in both for patterns with one `*`, their product at worst: on a mismatch only the last `*` takes one byte more.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        let tokens = match self {
            Self::Literal(literal) => return literal == name,
            Self::Tokens(tokens) => tokens.as_slice(),
        };
        let (mut token, mut at) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match tokens.get(token) {
                Some(Token::Any) => {
                    retry = Some((token, at));
                    token += 1;
                    continue;
                }
                Some(other) => {
                    if let Some(width) = other.takes(&name[at..]) {
                        token += 1;
                        at += width;
                        continue;
                    }
                }
                None if at == name.len() => return true,
                None => {}
            }
            let Some((star, from)) = retry.filter(|(_, from)| *from < name.len()) else {
                return false;
            };
            retry = Some((star, from + 1));
            token = star + 1;
            at = from + 1;
        }
    }
}

impl Token {
    /// How many bytes of `rest` it takes; none if it does not fit.
    fn takes(&self, rest: &[u8]) -> Option<usize> {
        let &first = rest.first()?;
        match self {
            Self::Byte(byte) => (*byte == first).then_some(1),
            Self::Character => Some(decode(rest).1),
            Self::Class { negated, ranges } => {
                let (character, width) = decode(rest);
                let within = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                (within != *negated).then_some(width)
            }
            Self::Any => None,
        }
    }
}

/// The first character of `bytes` (which are not empty) and its width.
fn decode(bytes: &[u8]) -> (u32, usize) {
    let chunk = bytes[..bytes.len().min(4)].utf8_chunks().next();
    match chunk.and_then(|chunk| chunk.valid().chars().next()) {
        Some(character) => (u32::from(character), character.len_utf8()),
        None => (NO_CHARACTER, 1),
    }
}

/// A class, after its opening bracket, and what follows its closing one.
fn parse_class(mut rest: &[u8]) -> Result<(Token, &[u8]), &'static str> {
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if rest.first() == Some(&b']') && !ranges.is_empty() {
            return Ok((Token::Class { negated, ranges }, &rest[1..]));
        }
        let (low, after) = parse_class_character(rest)?;
        let (high, after) = match after.strip_prefix(b"-") {
            Some(after) => parse_class_character(after)?,
            None => (low, after),
        };
        ranges.push((low, high));
        rest = after;
    }
}

fn parse_class_character(rest: &[u8]) -> Result<(u32, &[u8]), &'static str> {
    let rest = match rest.first() {
        None => return Err("a bracket is not closed"),
        Some(b'-' | b']') => return Err("a class begins with - or ], or is empty"),
        Some(b'\\') => &rest[1..],
        Some(_) => rest,
    };
    if rest.is_empty() {
        return Err("a bracket is not closed");
    }
    let (character, width) = decode(rest);
    if character == NO_CHARACTER && width == 1 {
        return Err("a class has a byte that is no character");
    }
    Ok((character, &rest[width..]))
}
