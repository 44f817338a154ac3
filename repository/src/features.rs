//! Features that a repository uses beyond the first version: unknown ones say what this version may still do.

use crate::codec::{Decoder, Encoder, Malformed};

/// What a version that does not know a feature must leave alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Need {
    /// Nothing: optional.
    Nothing = 0,
    /// It must not write.
    ToWrite = 1,
    /// It must not even read.
    ToRead = 2,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Feature {
    pub(crate) name: String,
    /// The first version of Holdfast that knows it, for people.
    pub(crate) since: String,
    pub(crate) need: Need,
}

/// Strictly sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Features(pub(crate) Vec<Feature>);

/// The features that this version knows: none yet.
const KNOWN: [&str; 0] = [];

impl Features {
    pub(crate) fn encode(&self, encoder: &mut Encoder) {
        encoder.count(self.0.len());
        for feature in &self.0 {
            encoder.u8(feature.need as u8);
            encoder.bytes(feature.name.as_bytes());
            encoder.bytes(feature.since.as_bytes());
        }
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let count = decoder.count(3)?;
        let mut features = Vec::with_capacity(count);
        for _ in 0..count {
            // A need that we do not know is the strictest.
            let need = match decoder.u8()? {
                0 => Need::Nothing,
                1 => Need::ToWrite,
                _ => Need::ToRead,
            };
            let name = decoder.text()?.to_owned();
            let since = decoder.text()?.to_owned();
            features.push(Feature { name, since, need });
        }
        if features.windows(2).any(|pair| pair[0].name >= pair[1].name) {
            return Err(Malformed("features are not sorted"));
        }
        Ok(Self(features))
    }

    /// What is missing here to read, for people.
    pub(crate) fn missing_to_read(&self) -> Option<String> {
        self.missing(Need::ToRead)
    }

    /// What is missing here to write, for people.
    pub(crate) fn missing_to_write(&self) -> Option<String> {
        self.missing(Need::ToWrite)
    }

    fn missing(&self, at_least: Need) -> Option<String> {
        let unknown: Vec<_> = self
            .0
            .iter()
            .filter(|feature| feature.need >= at_least && !KNOWN.contains(&feature.name.as_str()))
            .map(|feature| format!("Holdfast {} or newer (feature {})", feature.since, feature.name))
            .collect();
        (!unknown.is_empty()).then(|| unknown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(need: Need) -> Features {
        Features(vec![Feature { name: "sealed-packs".into(), since: "0.9".into(), need }])
    }

    #[test]
    fn an_unknown_feature_stops_what_it_must() {
        assert_eq!((with(Need::Nothing).missing_to_read(), with(Need::Nothing).missing_to_write()), (None, None));
        assert_eq!(with(Need::ToWrite).missing_to_read(), None);
        let message = with(Need::ToWrite).missing_to_write().expect("refused");
        assert!(message.contains("0.9") && message.contains("sealed-packs"), "{message}");
        assert!(with(Need::ToRead).missing_to_read().is_some() && with(Need::ToRead).missing_to_write().is_some());
    }

    #[test]
    fn features_survive_and_an_unknown_need_is_the_strictest() {
        let mut encoder = Encoder::new();
        with(Need::ToWrite).encode(&mut encoder);
        let mut bytes = encoder.finish();
        assert_eq!(Features::decode(&mut Decoder::new(&bytes)), Ok(with(Need::ToWrite)));
        bytes[1] = 77;
        assert_eq!(Features::decode(&mut Decoder::new(&bytes)), Ok(with(Need::ToRead)));
    }
}
