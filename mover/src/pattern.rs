//! Include and exclude patterns, as restic 0.18 has them: what people's KubeStash manifests already say.
//!
//! - A pattern is a list of names joined by slashes, each matched as a whole: `*` (any bytes), `?` (one character), `[a-z]`,
//!   `[^a-z]`, `\` takes the next character literally. Letters count as they are, large and small.
//! - `**` stands for any number of names, none included.
//! - With a leading `/` it is matched from the root, else at any depth: `foo` matches every `foo`.
//! - What matches a directory matches all below it.
//! - `!pattern` takes back what patterns before it matched; an empty pattern is skipped.
//!
//! Paths are bytes. Like restic, `?` and `[...]` take a whole UTF-8 character where there is one, and a single byte elsewhere.
//! One thing differs: several `**` in one pattern may each stand for no name at all (restic finds that only in deep paths).

mod glob;

use glob::Glob;

/// More patterns than this are refused: each entry of a volume is held against all of them.
const PATTERNS_MAX: usize = 10_000;
/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 16 << 10;

/// A pattern that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// An open bracket, an empty class, or a backslash at the end.
    #[error("the pattern {pattern:?} is malformed: {reason}")]
    Malformed {
        /// The pattern, as far as it is text.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Too long, or too many.
    #[error("too many patterns, or one too long ({PATTERNS_MAX} patterns of {PATTERN_BYTES_MAX} bytes at most)")]
    TooMany,
}

/// What the patterns say about one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The path is matched, and with it everything below.
    pub matched: bool,
    /// Something below may be matched even if the path is not. (Never false if something is.)
    pub below_may_match: bool,
}

/// Patterns in their order.
#[derive(Clone, Debug, Default)]
pub struct PatternSet {
    patterns: Vec<Pattern>,
    has_negated: bool,
}

#[derive(Clone, Debug)]
struct Pattern {
    negated: bool,
    anchored: bool,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    /// `**`
    AnyDepth,
    Name(Glob),
}

impl PatternSet {
    /// Reads patterns; empty ones are skipped.
    pub fn parse<P: AsRef<[u8]>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, PatternError> {
        let mut set = Self::default();
        for text in patterns {
            let text = text.as_ref();
            if text.is_empty() {
                continue;
            }
            if text.len() > PATTERN_BYTES_MAX || set.patterns.len() == PATTERNS_MAX {
                return Err(PatternError::TooMany);
            }
            let pattern = Pattern::parse(text)?;
            set.has_negated |= pattern.negated;
            set.patterns.push(pattern);
        }
        Ok(set)
    }

    /// True if there is no pattern: nothing is matched then, neither for exclusion nor for inclusion.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Holds an absolute path, given by its names from `/` downwards, against the patterns.
    pub fn verdict<C: AsRef<[u8]>>(&self, path: &[C]) -> Verdict {
        let mut verdict = Verdict { matched: false, below_may_match: false };
        for pattern in &self.patterns {
            let matched = pattern.matches(path);
            if pattern.negated {
                verdict.matched &= !matched;
                continue;
            }
            verdict.matched |= matched;
            verdict.below_may_match |= pattern.may_match_below(path);
            if verdict.matched && verdict.below_may_match && !self.has_negated {
                break;
            }
        }
        verdict
    }

    /// True if the path, or a directory above it, is matched.
    pub fn matches<C: AsRef<[u8]>>(&self, path: &[C]) -> bool {
        self.verdict(path).matched
    }
}

impl Pattern {
    fn parse(text: &[u8]) -> Result<Self, PatternError> {
        let (negated, body) = match text.strip_prefix(b"!") {
            Some(body) => (true, body),
            None => (false, text),
        };
        let anchored = body.first() == Some(&b'/');
        let mut parts: Vec<Part> = Vec::new();
        for name in clean(body, anchored) {
            if name == b"**" {
                // Two in a row mean what one means, and would cost the matcher.
                if !matches!(parts.last(), Some(Part::AnyDepth)) {
                    parts.push(Part::AnyDepth);
                }
                continue;
            }
            let glob = Glob::parse(name)
                .map_err(|reason| PatternError::Malformed { pattern: String::from_utf8_lossy(text).into_owned(), reason })?;
            parts.push(Part::Name(glob));
        }
        Ok(Self { negated, anchored, parts })
    }

    /// True if the pattern fits a run of the path's names: from the first one if anchored, from any one if not. What follows
    /// the run is below the match.
    fn matches<C: AsRef<[u8]>>(&self, path: &[C]) -> bool {
        if self.anchored && self.parts.is_empty() {
            return true;
        }
        if !self.anchored && path.is_empty() {
            return false;
        }
        // reach[i]: the parts looked at so far can end just before path[i].
        let mut reach = vec![!self.anchored; path.len() + 1];
        reach[0] = true;
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                // Anywhere from the first place on. At the front of an unanchored pattern that is already so.
                Part::AnyDepth if index == 0 && !self.anchored => {}
                Part::AnyDepth => {
                    if let Some(first) = reach.iter().position(|reached| *reached) {
                        reach[first..].fill(true);
                    }
                }
                Part::Name(glob) => {
                    for end in (1..reach.len()).rev() {
                        reach[end] = reach[end - 1] && glob.matches(path[end - 1].as_ref());
                    }
                    reach[0] = false;
                }
            }
        }
        reach.contains(&true)
    }

    /// True if a path below this one could be matched.
    fn may_match_below<C: AsRef<[u8]>>(&self, path: &[C]) -> bool {
        if !self.anchored {
            return true;
        }
        for (part, name) in self.parts.iter().zip(path) {
            match part {
                Part::AnyDepth => return true,
                Part::Name(glob) if !glob.matches(name.as_ref()) => return false,
                Part::Name(_) => {}
            }
        }
        true
    }
}

/// The names of a pattern, with `.`, `..`, double and trailing slashes resolved by their text, as restic does.
fn clean(body: &[u8], anchored: bool) -> Vec<&[u8]> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in body.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => match names.last() {
                Some(last) if *last != b".." => {
                    names.pop();
                }
                _ if anchored => {}
                _ => names.push(name),
            },
            _ => names.push(name),
        }
    }
    if names.is_empty() && !anchored {
        // Only dots: a name that no entry has, so it matches nothing.
        names.push(b".");
    }
    names
}

#[cfg(test)]
mod tests;
