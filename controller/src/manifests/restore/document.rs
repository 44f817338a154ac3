//! The documents of a file: JSON, each on a line of its own. The file is an enemy's: lines, depth and number are bounded.

use std::ops::Range;

use serde_json::Value;

use super::order;
use crate::manifests::{OBJECTS_MAX, Refused, is_name};

/// Of one object: what an API server takes in a request.
const DOCUMENT_BYTES_MAX: usize = 3 << 20;
/// In one object: parsed, one may take some hundred bytes, and an enemy's two in the file. A large definition has 20,000.
const VALUES_MAX: usize = 50_000;

/// Where a document is, and when its turn is.
#[derive(Clone, Debug)]
pub(super) struct Document {
    range: Range<usize>,
    rank: usize,
}

impl Document {
    pub(super) fn text<'f>(&self, file: &'f [u8]) -> &'f [u8] {
        file.get(self.range.clone()).unwrap_or_default()
    }
}

/// All of a file, in the order in which they are to be made.
pub(super) fn all(file: &[u8]) -> Result<Vec<Document>, Refused> {
    let mut documents = Vec::new();
    let mut start = 0;
    for line in file.split(|byte| *byte == b'\n') {
        let range = start..start + line.len();
        start = range.end + 1;
        if line.is_empty() || line == b"---" {
            continue;
        }
        if documents.len() == OBJECTS_MAX {
            return Err(Refused::for_good(format!("the stored manifests have more than {OBJECTS_MAX} objects, which is more than one restore takes")));
        }
        // One that cannot be read has its turn, and is named then.
        let rank = parse(line).map_or(usize::MAX, |object| order::rank(&object));
        documents.push(Document { range, rank });
    }
    documents.sort_by_key(|document| document.rank);
    Ok(documents)
}

/// One object.
pub(super) fn parse(text: &[u8]) -> Result<Value, String> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(format!("it has {} bytes, and no object has more than {DOCUMENT_BYTES_MAX}", text.len()));
    }
    if values(text) > VALUES_MAX {
        return Err(format!("it has more than {VALUES_MAX} values"));
    }
    let object: Value = serde_json::from_slice(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let has = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if !["/apiVersion", "/kind", "/metadata/name"].into_iter().all(has) {
        return Err("it is no object: apiVersion, kind and metadata.name are needed".into());
    }
    let is_fine = |field: &str| object["metadata"].get(field).is_none_or(|name| name.as_str().is_some_and(is_name));
    match ["name", "namespace"].into_iter().find(|field| !is_fine(field)) {
        Some(field) => Err(format!("nothing can be called like its metadata.{field}")),
        None => Ok(object),
    }
}

/// About how many values there are in a text, if it is JSON: what stands in strings does not count.
fn values(text: &[u8]) -> usize {
    let (mut values, mut is_string, mut is_escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_string,
            b'"' => is_string = !is_string,
            b',' | b'[' | b'{' if !is_string => values += 1,
            _ => {}
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_lines_in_the_order_of_their_kinds() {
        let file = concat!(
            "---\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"}}\n",
            "---\nnonsense\n\n---\n{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"n\"}}",
        );
        let documents = all(file.as_bytes()).unwrap();
        let texts: Vec<_> = documents.iter().map(|document| std::str::from_utf8(document.text(file.as_bytes())).unwrap()).collect();
        assert!(texts[0].contains("Namespace") && texts[1].contains("Pod") && texts[2] == "nonsense", "{texts:?}");
    }

    #[test]
    fn an_enemys_file_is_bounded() {
        assert!(parse(&vec![b'['; 1 << 20]).is_err(), "depth");
        assert!(parse(&vec![b' '; DOCUMENT_BYTES_MAX + 1]).unwrap_err().contains("bytes"));
        assert!(parse(br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":7}}"#).is_err());
        let many = format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"a"}},"spec":[{}0]}}"#, "0,".repeat(VALUES_MAX));
        assert!(parse(many.as_bytes()).unwrap_err().contains("values"));
        let table = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},"data":{{"a":"\"{}"}}}}"#, "0,[{".repeat(VALUES_MAX));
        assert!(parse(table.as_bytes()).is_ok(), "text may hold what it likes");
        for (name, namespace) in [("a/../b", "shop"), ("..", "shop"), ("a", "shop/pods/web/exec?command=id#"), ("a", ""), ("a%2fb", "shop")] {
            let object = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}});
            assert!(parse(object.to_string().as_bytes()).unwrap_err().contains("can be called"), "{name} {namespace}: a path of its own");
        }
        assert!(parse(br#"{"apiVersion":"v1","kind":"ClusterRole","metadata":{"name":"system:node"}}"#).is_ok());
        let many = "x\n".repeat(OBJECTS_MAX + 1);
        assert!(all(many.as_bytes()).unwrap_err().message.contains("more than"));
        assert!(all(b"").unwrap().is_empty());
    }
}
