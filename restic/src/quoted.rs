//! Names as restic has them: quoted as Go quotes strings (without the marks), so that any bytes fit into JSON.

/// The bytes; none if it is not what Go would have written.
pub(crate) fn unquote(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain(&rest[..at], &mut bytes)?;
        rest = escape(&rest[at + 1..], &mut bytes)?;
    }
    plain(rest, &mut bytes)?;
    Some(bytes)
}

fn plain(text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    if text.contains(['"', '\n']) {
        return None;
    }
    bytes.extend_from_slice(text.as_bytes());
    Some(())
}

/// What stands behind a backslash; returns what is left.
fn escape<'t>(text: &'t str, bytes: &mut Vec<u8>) -> Option<&'t str> {
    let first = *text.as_bytes().first()?;
    let single = match first {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' | b'"' => first,
        b'x' => return number(&text[1..], 2, 16, bytes),
        b'u' => return number(&text[1..], 4, 16, bytes),
        b'U' => return number(&text[1..], 8, 16, bytes),
        b'0'..=b'7' => return number(text, 3, 8, bytes),
        _ => return None,
    };
    bytes.push(single);
    Some(&text[1..])
}

fn number<'t>(text: &'t str, digits: usize, radix: u32, bytes: &mut Vec<u8>) -> Option<&'t str> {
    let written = text.get(..digits).filter(|written| written.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    let value = u32::from_str_radix(written, radix).ok()?;
    if digits <= 3 {
        bytes.push(u8::try_from(value).ok()?);
    } else {
        bytes.extend_from_slice(char::from_u32(value)?.encode_utf8(&mut [0; 4]).as_bytes());
    }
    text.get(digits..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unquoted_as_go_does() {
        for (quoted, bytes) in [
            ("plain", &b"plain"[..]),
            ("", b""),
            (r"new\nline", b"new\nline"),
            (r"bad\xffutf8", b"bad\xffutf8"),
            (r#"quote\"back\\slash"#, b"quote\"back\\slash"),
            (r"\u00e4\U0001F600", "ä😀".as_bytes()),
            ("ä€", "ä€".as_bytes()),
            (r"\101\x00", b"A\0"),
            (r"\a\b\f\r\t\v", b"\x07\x08\x0c\r\t\x0b"),
        ] {
            assert_eq!(unquote(quoted).as_deref(), Some(bytes), "{quoted}");
        }
        for wrong in [r"\", r"\x", r"\x1", r"\xg1", r"\x+1", r"\ud800", r"\U00110000", r"\777", r"\8", r"\'", "a\"b", "a\nb", r"\u12", r"\xä"] {
            assert_eq!(unquote(wrong), None, "{wrong}");
        }
    }
}
