//! How names and modes stand in the JSON, for serde's `with`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A string, or `{"b64": …}` if it is not UTF-8.
#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Name {
    Text(String),
    Bytes { b64: String },
}

impl Name {
    fn of(name: &[u8]) -> Name {
        match std::str::from_utf8(name) {
            Ok(text) => Name::Text(text.to_owned()),
            Err(_) => Name::Bytes { b64: BASE64.encode(name) },
        }
    }

    fn bytes<E: serde::de::Error>(self) -> Result<Box<[u8]>, E> {
        match self {
            Name::Text(text) => Ok(text.into_bytes().into()),
            Name::Bytes { b64 } => BASE64.decode(b64).map(Into::into).map_err(E::custom),
        }
    }
}

/// A name.
pub(crate) mod name {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(name: &[u8], to: S) -> Result<S::Ok, S::Error> {
        Name::of(name).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Box<[u8]>, D::Error> {
        Name::deserialize(from)?.bytes()
    }
}

/// A name that may be missing.
pub(super) mod option_name {
    use super::*;

    type Bytes = Option<Box<[u8]>>;

    pub(crate) fn serialize<S: Serializer>(name: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        name.as_deref().map(Name::of).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        Option::<Name>::deserialize(from)?.map(Name::bytes).transpose()
    }
}

/// Permission bits that may be missing: four octal digits in a string.
pub mod mode {
    use super::*;

    /// Writes the bits.
    pub fn serialize<S: Serializer>(mode: &Option<u32>, to: S) -> Result<S::Ok, S::Error> {
        mode.map(|mode| format!("{mode:04o}")).serialize(to)
    }

    /// Reads the bits.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let is_octal = text.len() == 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if is_octal => Ok(Some(mode)),
            _ => Err(D::Error::invalid_value(Unexpected::Str(&text), &"four octal digits")),
        }
    }
}
