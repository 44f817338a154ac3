//! How data is stored: the tool that wrote it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The tool that stored some data.
///
/// A name we do not know is kept, not refused: one object of a newer version must not stop us from reading the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Driver {
    /// restic.
    #[default]
    Restic,
    /// WAL-G.
    WalG,
    /// Volume snapshots of the storage provider.
    VolumeSnapshotter,
    /// Solr's own backup.
    Solr,
    /// Medusa, for Cassandra.
    Medusa,
    /// clickhouse-backup.
    ClickHouseBackup,
    /// neo4j-admin.
    Neo4jAdmin,
    /// Holdfast's own repository: our addition.
    Holdfast,
    /// A driver that this version does not know.
    Other(String),
}

impl Driver {
    /// Every driver that the schema allows, KubeStash's in its own order, then ours.
    pub const KNOWN: [Self; 8] = [
        Self::Restic,
        Self::WalG,
        Self::VolumeSnapshotter,
        Self::Solr,
        Self::Medusa,
        Self::ClickHouseBackup,
        Self::Neo4jAdmin,
        Self::Holdfast,
    ];

    /// The name in a resource.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Restic => "Restic",
            Self::WalG => "WalG",
            Self::VolumeSnapshotter => "VolumeSnapshotter",
            Self::Solr => "Solr",
            Self::Medusa => "Medusa",
            Self::ClickHouseBackup => "ClickHouseBackup",
            Self::Neo4jAdmin => "Neo4jAdmin",
            Self::Holdfast => "Holdfast",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<String> for Driver {
    fn from(name: String) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|driver| driver.as_str() == name)
            .unwrap_or(Self::Other(name))
    }
}

impl Serialize for Driver {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Driver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for Driver {
    fn schema_name() -> Cow<'static, str> {
        "Driver".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::KNOWN.map(|driver| driver.as_str().to_owned()) })
    }
}
