//! How names and modes stand in the JSON, for serde's `with`.

/// A name: a string, or `{"b64": …}` if it is not UTF-8.
pub(crate) mod name {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use serde::de::{Deserialize, Deserializer, Error as _};
    use serde::ser::{Serialize, Serializer};

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(untagged)]
    enum Name {
        Text(String),
        Bytes(Base64),
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Base64 {
        b64: String,
    }

    pub(crate) fn serialize<S: Serializer>(name: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(name) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Base64 { b64: BASE64.encode(name) }.serialize(serializer),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Box<[u8]>, D::Error> {
        match Name::deserialize(deserializer)? {
            Name::Text(text) => Ok(text.into_bytes().into()),
            Name::Bytes(Base64 { b64 }) => {
                let bytes = BASE64.decode(&b64).map_err(D::Error::custom)?;
                Ok(bytes.into())
            }
        }
    }
}

/// A [`name`] that may be missing.
pub(super) mod option_name {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Name(#[serde(with = "super::name")] Box<[u8]>);

    pub(in super::super) fn serialize<S: Serializer>(
        name: &Option<Box<[u8]>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        name.clone().map(Name).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Box<[u8]>>, D::Error> {
        Ok(Option::<Name>::deserialize(deserializer)?.map(|Name(name)| name))
    }
}

/// Permission bits that may be missing: four octal digits in a string.
pub mod mode {
    use serde::de::{Deserialize as _, Deserializer, Error as _, Unexpected};
    use serde::ser::{Serialize as _, Serializer};

    /// Writes the bits.
    pub fn serialize<S: Serializer>(mode: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
        mode.map(|mode| format!("{mode:04o}")).serialize(serializer)
    }

    /// Reads the bits.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u32>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let is_octal = text.len() == 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if is_octal => Ok(Some(mode)),
            _ => Err(D::Error::invalid_value(Unexpected::Str(&text), &"four octal digits")),
        }
    }
}
