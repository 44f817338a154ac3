//! A directory's entries: one JSON document, read entry by entry, so that only the next one is in memory beside the text.

use bytes::Bytes;

use crate::node::{Found, Node};

const HEAD: &[u8] = br#"{"nodes":"#;

/// Stands before the next entry.
#[derive(Debug)]
pub(crate) struct Tree {
    raw: Bytes,
    at: usize,
    last: Option<Vec<u8>>,
    at_end: bool,
}

impl Tree {
    pub(crate) fn parse(raw: Bytes) -> Result<Self, &'static str> {
        let list = raw.strip_prefix(HEAD).ok_or("it is no list of entries")?;
        let at_end = match list {
            [b'[', ..] => false,
            // An empty list of old versions.
            _ if list.starts_with(b"null}") => true,
            _ => return Err("it is no list of entries"),
        };
        Ok(Self { raw, at: HEAD.len() + 1, last: None, at_end })
    }

    /// What it takes of the memory.
    pub(crate) fn bytes(&self) -> usize {
        self.raw.len()
    }

    /// The next entry, behind the one before in the order of names; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, &'static str> {
        if self.at_end {
            return Ok(None);
        }
        match (self.raw.get(self.at), self.last.is_some()) {
            (Some(b']'), _) => return self.end(),
            (Some(b','), true) => self.at += 1,
            (Some(_), false) => {}
            _ => return Err("its list of entries is broken"),
        }
        let mut values = serde_json::Deserializer::from_slice(&self.raw[self.at..]).into_iter::<Node>();
        let node = values.next().and_then(Result::ok).ok_or("an entry is none of restic's")?;
        self.at += values.byte_offset();
        let found = node.take()?;
        if self.last.as_ref().is_some_and(|last| *last >= found.name) {
            return Err("its entries are not in the order of their names");
        }
        self.last = Some(found.name.clone());
        Ok(Some(found))
    }

    fn end(&mut self) -> Result<Option<Found>, &'static str> {
        if self.raw[self.at..].trim_ascii_end() != b"]}" {
            return Err("something stands behind its entries");
        }
        self.at_end = true;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<Vec<u8>>, &'static str> {
        let mut tree = Tree::parse(Bytes::copy_from_slice(text.as_bytes()))?;
        let mut names = Vec::new();
        while let Some(found) = tree.next()? {
            names.push(found.name);
        }
        assert!(tree.next().unwrap().is_none());
        Ok(names)
    }

    fn file(name: &str) -> String {
        format!(r#"{{"name":"{name}","type":"file","mtime":"2020-01-02T03:04:05Z"}}"#)
    }

    #[test]
    fn entries_come_in_order_or_not_at_all() {
        let list = |nodes: &[&str]| format!(r#"{{"nodes":[{}]}}{}"#, nodes.iter().map(|name| file(name)).collect::<Vec<_>>().join(","), "\n");
        assert_eq!(names(&list(&[])), Ok(vec![]));
        assert_eq!(names(r#"{"nodes":null}"#), Ok(vec![]));
        assert_eq!(names(&list(&["a", "a-b", r"a\\xff", "b"])), Ok(vec![b"a".to_vec(), b"a-b".to_vec(), b"a\xff".to_vec(), b"b".to_vec()]));
        for wrong in [list(&["b", "a"]), list(&["a", "a"]), list(&["a"]).replace("]}", ""), list(&["a"]).replace("]}", ",]}"), list(&["a"]) + "x", "[]".into(), r#"{"nodes":[,]}"#.into(), list(&["a", "b"]).replace("},{", "}{"), r#"{"nodes":[]"#.into(), r#"{"nodes":["#.into(), r#"{"nodes":7}"#.into()] {
            assert!(names(&wrong).is_err(), "{wrong}");
        }
    }
}
