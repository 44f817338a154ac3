//! Texts without what differs from run to run: ids by what they name, sizes, times, places.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Objects by what they are called in the texts.
pub(crate) struct Names {
    place: String,
    objects: BTreeMap<String, String>,
    /// Ids, whole and short, and what stands for each.
    ids: Vec<(String, String)>,
}

impl Names {
    pub(crate) fn new(place: &Path) -> Self {
        Self { place: place.display().to_string(), objects: BTreeMap::new(), ids: Vec::new() }
    }

    pub(crate) fn learn(&mut self, which: &str, objects: &BTreeSet<String>) {
        let known: BTreeSet<&String> = self.objects.values().collect();
        let new: Vec<String> = objects.iter().filter(|name| !known.contains(name)).cloned().collect();
        for name in new {
            let parts: Vec<&str> = name.split('/').collect();
            let (class, id) = match parts.as_slice() {
                ["config"] => ("config", None),
                ["packs", "data", _, id] => ("data pack", Some(*id)),
                ["packs", "meta", _, id] => ("meta pack", Some(*id)),
                ["index", lease, _] => ("index run", Some(*lease)),
                ["leases", lease, _] => ("lease", Some(*lease)),
                ["snapshots", lease] => ("snapshot", Some(*lease)),
                ["keys", id] => ("key", Some(*id)),
                ["state", _] => ("state", None),
                _ => continue,
            };
            // What a check leaves behind is not called anything.
            let label = format!("{which}{class}");
            if self.objects.contains_key(&label) {
                continue;
            }
            self.objects.insert(label, name.clone());
            let stands = |class: &str| format!("<{which}{class}>");
            match (class, id) {
                ("snapshot" | "index run" | "lease", Some(lease)) => {
                    self.ids.push((lease.to_owned(), stands("lease")));
                    self.ids.push((lease[17..25].to_owned(), stands("snapshot")));
                }
                ("data pack" | "meta pack", Some(id)) => self.ids.push((format!("{}/{id}", &id[..2]), stands("pack"))),
                (_, Some(id)) => self.ids.push((id.to_owned(), stands(class))),
                (_, None) => {}
            }
        }
    }

    pub(crate) fn object(&self, label: &str) -> &str {
        self.objects.get(label).unwrap_or_else(|| panic!("no {label} in {:?}", self.objects))
    }
}

/// Line by line; neighbours that begin with an object's name in the order of what these stand for, not of their ids.
pub(crate) fn normal(names: &Names, text: &str) -> Vec<String> {
    let mut text = text.replace(&names.place, "<place>");
    for (id, stands) in &names.ids {
        text = text.replace(id.as_str(), stands);
    }
    let mut lines: Vec<String> = text.lines().map(line).map(chance).collect();
    let starts = |line: &String| ["packs/", "index/", "snapshots/", "leases/", "failed: "].iter().any(|folder| line.starts_with(folder));
    for group in lines.chunk_by_mut(|a, b| starts(a) && starts(b)) {
        group.sort();
    }
    lines
}

/// Of two packs in each other's place a restore meets either problem first, the length or the seal.
fn chance(line: String) -> String {
    const PROBLEMS: [&str; 2] = ["it has <n> bytes instead of <n>", "blob <blob> at <n>: authentication failed"];
    match PROBLEMS.iter().find_map(|problem| line.strip_suffix(problem)) {
        Some(start) if line.starts_with("failed: ") => format!("{start}<its length or its seal>"),
        _ => line,
    }
}

fn line(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let mut normal: Vec<String> = Vec::with_capacity(words.len());
    let mut number = 0;
    while let Some(word) = words.get(number) {
        let bare = word.trim_matches(|character: char| "(),;:".contains(character));
        let next = words.get(number + 1).map(|next| next.trim_matches(|character: char| "(),;:".contains(character))).unwrap_or_default();
        let is_number = !bare.is_empty() && bare.chars().all(|character| character.is_ascii_digit() || character == '.');
        let stands = match next {
            "B" | "KiB" | "MiB" if is_number => Some("<size>"),
            "s" if is_number => Some("<time>"),
            time if bare.len() == 10 && bare.starts_with("20") && time.ends_with('Z') => Some("<when>"),
            _ => None,
        };
        if let Some(stands) = stands {
            normal.push(word.replace(bare, stands));
            // What stands behind the unit stays.
            let behind = words[number + 1].trim_start_matches(next);
            if let Some(last) = normal.last_mut() {
                last.push_str(behind);
            }
            number += 2;
            continue;
        }
        let is_place = is_number && (next == "bytes" || words.get(number.wrapping_sub(1)) == Some(&"at"));
        let instead = is_number && words.get(number.wrapping_sub(1)) == Some(&"of") && words.get(number.wrapping_sub(2)) == Some(&"instead");
        normal.push(if is_place || instead { word.replace(bare, "<n>") } else { ids(word) });
        number += 1;
    }
    normal.join(" ")
}

/// Ids that nothing here was called by.
fn ids(word: &str) -> String {
    let mut normal = String::new();
    let mut rest = word;
    while !rest.is_empty() {
        let hex = rest.len() - rest.trim_start_matches(|character: char| character.is_ascii_digit() || ('a'..='f').contains(&character)).len();
        let (run, behind) = rest.split_at(hex);
        match run.len() {
            64 => normal.push_str("<blob>"),
            32 => normal.push_str("<id>"),
            // The state that a lease saw stands before its id, and a state's or run's number is told.
            16 | 8 if run.starts_with("000000") => normal.push_str(run),
            8 => normal.push_str("<short id>"),
            _ => normal.push_str(run),
        }
        let mut characters = behind.chars();
        normal.extend(characters.next());
        rest = characters.as_str();
    }
    normal
}
