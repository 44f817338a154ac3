use proptest::prelude::*;

use super::*;

fn names(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect()
}

fn verdict(patterns: &[&str], path: &str) -> (bool, bool) {
    let verdict = PatternSet::parse(patterns).unwrap().verdict(&names(path.as_bytes()));
    (verdict.matched, verdict.below_may_match)
}

/// What restic's own manual and behaviour say, pattern by pattern.
#[test]
fn single_patterns_match_as_restics_do() {
    let cases = [
        ("*.go", "/foo/bar/test.go", true),
        ("*.c", "/foo/bar/test.go", false),
        ("*", "/foo/bar/test.go", true),
        ("**", "/foo/bar/test.go", true),
        ("foo*", "/foo/bar/test.go", true),
        ("/bar*", "/foo/bar/test.go", false),
        ("bar/*", "/foo/bar/test.go", true),
        ("baz/*", "/foo/bar/test.go", false),
        ("bar/test.go", "/foo/bar/test.go", true),
        ("ba*/*.go", "/foo/bar/test.go", true),
        ("bb*/*.go", "/foo/bar/test.go", false),
        ("tesT.*", "/foo/bar/test.go", false),
        ("/foo/bar", "/foo/bar", true),
        ("/foo/bar/", "/foo/bar", true),
        ("/foo///bar", "/foo/bar", true),
        ("/foo/../bar", "/foo/bar", false),
        ("/foo/../bar", "/bar", true),
        ("/foo", "/foo/baz", true),
        ("/foo/*", "/foo", false),
        ("/foo/*", "/foo/baz", true),
        ("bar", "/foo/bar/baz", true),
        ("/foo/*test.*", "/foo/bar/test.go", false),
        ("/foo/*/test.*", "/foo/bar/test.go", true),
        ("/*/*/bar/test.*", "/foo/bar/test.go", false),
        ("/*/*/baz/test.*", "/foo/bar/baz/test.go", true),
        ("sdk/*/cpp/*/*vars*.html", "/usr/share/doc/libreoffice/sdk/docs/cpp/ref/a00517.html", false),
        ("foo/**/bar/*.go", "/home/user/foo/work/special/project/bar/test.go", true),
        ("foo/**/bar/*.go", "/home/user/foo/bar/test.go", true),
        ("foo/**/bar/*.go", "/home/user/foo/test.c", false),
        ("foo/**/bar", "/home/user/foo/x/y/bar/main.go", true),
        ("foo/**/bar/**/x", "/home/user/foo/bar/x", true),
        ("foo/**/bar/**/x", "/home/user/foo/blaaa/blaz/bar/shared/work/x", true),
        ("user/**/important*", "/home/user/work/x/y/hidden/x", false),
        ("/home/[uU]ser/?.go", "/home/user/F.go", true),
        ("[^a-c]x", "/dx", true),
        ("[^a-c]x", "/bx", false),
        ("\\*x", "/*x", true),
        ("\\*x", "/ax", false),
        ("?", "/é", true),
        ("??", "/é", false),
        ("/", "/foo", true),
        ("/**", "/", true),
        (".", "/foo", false),
        ("tmp", "/tmpfile", false),
        // Where restic needs a deeper path to see it.
        ("/a/**/b/**/c", "/a/b/c", true),
    ];
    for (pattern, path, matched) in cases {
        assert_eq!(verdict(&[pattern], path).0, matched, "{pattern:?} on {path:?}");
    }
}

#[test]
fn below_may_match_opens_only_the_way_down() {
    let cases = [
        ("foo/bar", "/foo", true),
        ("baz", "/foo/bar", true),
        ("/foo/bar/baz", "/foo", true),
        ("/foo/bar/baz", "/foo/bar", true),
        ("/foo/bar/baz", "/foo/baz", false),
        ("/foo/**/baz", "/foo/bar/baz/blah", true),
        ("/foo/*/qux", "/foo/bar", true),
        ("/foo/*/qux", "/foo/bar/boo", false),
        ("/baz/bar", "/foo", false),
        ("/foo", "/foo/bar", true),
        ("/**/bar", "/foo/bar", true),
        ("/foo/*/baz", "/bar/baz", false),
        ("/a/b", "/", true),
    ];
    for (pattern, path, below) in cases {
        assert_eq!(verdict(&[pattern], path).1, below, "{pattern:?} on {path:?}");
    }
}

#[test]
fn later_patterns_take_back_what_earlier_ones_matched() {
    let patterns = ["*.log", "!keep.log", "/cache/*", "!/cache/important"];
    assert!(verdict(&patterns, "/a/x.log").0);
    assert!(!verdict(&patterns, "/a/keep.log").0);
    assert!(verdict(&patterns, "/cache/x").0);
    assert!(!verdict(&patterns, "/cache/important/x").0);
    // The order counts.
    assert!(verdict(&["!keep.log", "*.log"], "/keep.log").0);
    assert!(!PatternSet::parse(["", ""]).unwrap().matches(&names(b"/a")));
}

#[test]
fn names_are_bytes() {
    let set = PatternSet::parse([b"caf\xe9*".as_slice()]).unwrap();
    assert!(set.matches(&[b"caf\xe9.txt"]));
    assert!(!set.matches(&["café.txt"]));
    assert!(PatternSet::parse(["?x"]).unwrap().matches(&[b"\xffx"]));
    assert!(PatternSet::parse(["[^a]x"]).unwrap().matches(&[b"\xffx"]));
}

#[test]
fn malformed_patterns_are_named() {
    for bad in ["test/[", "a/[]", "[^]", "[a", "x\\", "[-a]", "[a-]"] {
        let error = PatternSet::parse([bad]).unwrap_err();
        assert!(matches!(&error, PatternError::Malformed { pattern, .. } if pattern == bad), "{bad}: {error}");
    }
    assert_eq!(PatternSet::parse(vec!["a"; PATTERNS_MAX + 1]).unwrap_err(), PatternError::TooMany);
}

/// By definition, without any cleverness: all ways to place the pattern, all lengths of each `**` and each `*`.
mod slow {
    pub(super) fn matches(pattern: &str, path: &[&[u8]]) -> bool {
        let anchored = pattern.starts_with('/');
        let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
        if !anchored && path.is_empty() {
            return false;
        }
        let starts = if anchored { 0..=0 } else { 0..=path.len() };
        starts.into_iter().any(|start| run(&parts, &path[start..]))
    }

    fn run(parts: &[&str], path: &[&[u8]]) -> bool {
        match parts.split_first() {
            None => true,
            Some((&"**", rest)) => (0..=path.len()).any(|skip| run(rest, &path[skip..])),
            Some((part, rest)) => path.split_first().is_some_and(|(name, below)| glob(part.as_bytes(), name) && run(rest, below)),
        }
    }

    fn glob(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|skip| glob(rest, &name[skip..])),
            Some((b'?', rest)) => !name.is_empty() && glob(rest, &name[1..]),
            Some((b'[', rest)) => {
                let (class, after) = rest.split_at(rest.iter().position(|byte| *byte == b']').unwrap());
                let (negated, class) = class.strip_prefix(b"^").map_or((false, class), |class| (true, class));
                name.first().is_some_and(|byte| class.contains(byte) != negated) && glob(&after[1..], &name[1..])
            }
            Some((byte, rest)) => name.first() == Some(byte) && glob(rest, &name[1..]),
        }
    }
}

proptest! {
    #[test]
    fn the_matcher_agrees_with_the_definition(
        pattern in r"/?(\*\*|[ab*?]{1,4}|\[\^?[ab]\]\*?)(/(\*\*|[ab*?]{1,3})){0,4}",
        path in prop::collection::vec("[ab]{1,4}", 0..6),
    ) {
        // `***` is a name to restic; the definition above would read it the same way. Only exact `**` is any depth.
        let path: Vec<&[u8]> = path.iter().map(|name| name.as_bytes()).collect();
        let set = PatternSet::parse([&pattern]).unwrap();
        prop_assert_eq!(set.matches(&path), slow::matches(&pattern, &path));
    }

    #[test]
    fn below_may_match_never_hides_a_match(
        pattern in r"/?(\*\*|[ab*?]{1,2})(/(\*\*|[ab*?]{1,2})){0,3}",
        path in prop::collection::vec("[ab]{1,2}", 1..5),
    ) {
        let path: Vec<&[u8]> = path.iter().map(|name| name.as_bytes()).collect();
        let set = PatternSet::parse([&pattern]).unwrap();
        if set.matches(&path) {
            for depth in 0..path.len() {
                prop_assert!(set.verdict(&path[..depth]).below_may_match, "{} hides {:?} at {}", pattern, path, depth);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_pattern_or_an_error(pattern in prop::collection::vec(any::<u8>(), 0..40), name in prop::collection::vec(any::<u8>(), 1..20)) {
        if let Ok(set) = PatternSet::parse([pattern]) {
            let _ = set.verdict(&[name]);
        }
    }
}
