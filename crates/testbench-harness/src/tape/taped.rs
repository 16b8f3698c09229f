//! [`Taped`]: bytes as a tape holds them.
//!
//! They contain neither the path of the session's root, which differs from run to run, nor secrets. A
//! [`Mark`] stands in the place of each. A replay replaces the marks by its own values, so output that
//! names the root names the root of the *replaying* session.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

/// The most bytes that stand on a line of a tape, so that a person can read it. Longer content goes
/// to a payload file.
pub const INLINE_BYTES_MAX: usize = 4096;

/// A placeholder for bytes that a tape does not keep.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mark {
    /// The path of the overlay's root on the host.
    Root,
    /// A secret: the value of the variable, or a match of the pattern, of this name.
    Secret(String),
}

/// Bytes with [`Mark`]s between them. They need not be UTF-8.
///
/// Its `Display` is for people: `[root]` and `[secret:NAME]` stand for the marks, and `U+FFFD` for
/// bytes that are not UTF-8.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Taped {
    bytes: Arc<Vec<u8>>,
    /// The marks, ordered; each stands before the byte at its offset.
    marks: Vec<(usize, Mark)>,
    /// The payload that holds the bytes, until it is read.
    pub(super) pending: Option<Pending>,
}

/// A payload that has not been read yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pending {
    /// BLAKE3 of the content in hexadecimal, which is also the name of the file.
    pub(crate) digest: String,
    pub(crate) size_bytes: u64,
}

impl Taped {
    /// Returns these bytes, without marks.
    pub fn plain(bytes: impl Into<Vec<u8>>) -> Taped {
        Taped { bytes: Arc::new(bytes.into()), ..Taped::default() }
    }

    /// Adds bytes at the end.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        Arc::make_mut(&mut self.bytes).extend_from_slice(bytes);
    }

    /// Adds a mark at the end.
    pub(crate) fn push_mark(&mut self, mark: Mark) {
        self.marks.push((self.bytes.len(), mark));
    }

    /// Returns the bytes without the marks.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there are neither bytes nor marks.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.marks.is_empty()
    }

    /// Returns the bytes with the result of `with` in the place of each mark.
    pub fn expand(&self, with: impl Fn(&Mark) -> Vec<u8>) -> Vec<u8> {
        self.split(|mark| Some(with(mark))).concat()
    }

    /// As [`Taped::expand`], and cuts the bytes in two where `with` returns `None`.
    pub(crate) fn split(&self, with: impl Fn(&Mark) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut pieces = vec![Vec::new()];
        for piece in self.pieces() {
            let bytes = match piece {
                Piece::Bytes(bytes) => Some(bytes.to_vec()),
                Piece::Mark(mark) => with(mark),
            };
            match (bytes, pieces.last_mut()) {
                (Some(bytes), Some(last)) => last.extend(bytes),
                _ => pieces.push(Vec::new()),
            }
        }
        pieces
    }

    /// Returns the bytes with each mark's text in its place, for people.
    pub(crate) fn shown(&self) -> Vec<u8> {
        self.expand(|mark| mark.to_string().into_bytes())
    }

    /// Returns the name of the payload file, which is the bytes' BLAKE3 in hexadecimal, and the bytes.
    /// Returns `None` if the bytes are short and stand on the line.
    pub(crate) fn payload(&self) -> Option<(String, Arc<Vec<u8>>)> {
        let is_long = self.bytes.len() > INLINE_BYTES_MAX;
        is_long.then(|| (blake3::hash(&self.bytes).to_string(), self.bytes.clone()))
    }

    /// Sets the bytes of the payload. Returns false if a mark lies beyond their end.
    pub(crate) fn resolve(&mut self, bytes: Vec<u8>) -> bool {
        self.pending = None;
        self.bytes = Arc::new(bytes);
        self.marks.iter().all(|(at, _)| *at <= self.bytes.len())
    }

    fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let mut from = 0;
        let marked = self.marks.iter().flat_map(move |(at, mark)| {
            let before = &self.bytes[from..*at];
            from = *at;
            [Piece::Bytes(before), Piece::Mark(mark)]
        });
        let last = self.marks.last().map_or(0, |(at, _)| *at);
        let all = marked.chain([Piece::Bytes(&self.bytes[last..])]);
        all.filter(|piece| !matches!(piece, Piece::Bytes([])))
    }
}

enum Piece<'a> {
    Bytes(&'a [u8]),
    Mark(&'a Mark),
}

impl From<&str> for Taped {
    fn from(text: &str) -> Taped {
        Taped::plain(text)
    }
}

impl fmt::Display for Taped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.shown()))
    }
}

/// Shows up to 200 bytes as text, and more by their number.
impl fmt::Debug for Taped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes.len() {
            0..=200 => write!(f, "{:?}", self.to_string()),
            len => write!(f, "<{len} bytes>"),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mark::Root => f.write_str("[root]"),
            Mark::Secret(name) => write!(f, "[secret:{name}]"),
        }
    }
}

/// `root` or `secret:NAME`.
impl Serialize for Mark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Mark::Root => serializer.serialize_str("root"),
            Mark::Secret(name) => serializer.collect_str(&format_args!("secret:{name}")),
        }
    }
}

impl<'de> Deserialize<'de> for Mark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mark, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (text.as_str(), text.strip_prefix("secret:")) {
            ("root", _) => Ok(Mark::Root),
            (_, Some(name)) => Ok(Mark::Secret(name.to_owned())),
            _ => Err(D::Error::custom(format!("unknown mark `{text}`"))),
        }
    }
}

/// The form of a [`Taped`] on a line. The simplest form that can hold it is used.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected a string, or an object with `b64`, `parts` or `payload`"
)]
enum Wire {
    Parts {
        parts: Vec<Part>,
    },
    Payload {
        payload: String,
        #[serde(rename = "size")]
        size_bytes: u64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        marks: Vec<(usize, Mark)>,
    },
    /// Bytes without a mark.
    Bytes(Part),
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected a string, or an object with `b64` or `mark`"
)]
enum Part {
    Text(String),
    Base64 { b64: String },
    Mark { mark: Mark },
}

impl Part {
    fn of(piece: Piece<'_>) -> Part {
        match piece {
            Piece::Mark(mark) => Part::Mark { mark: mark.clone() },
            Piece::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Part::Text(text.to_owned()),
                Err(_) => Part::Base64 { b64: BASE64.encode(bytes) },
            },
        }
    }
}

impl Serialize for Taped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wire = if let Some((payload, _)) = self.payload() {
            let (size_bytes, marks) = (self.bytes.len() as u64, self.marks.clone());
            Wire::Payload { payload, size_bytes, marks }
        } else if self.marks.is_empty() {
            Wire::Bytes(Part::of(Piece::Bytes(&self.bytes)))
        } else {
            Wire::Parts { parts: self.pieces().map(Part::of).collect() }
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Taped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Taped, D::Error> {
        let mut taped = Taped::default();
        let parts = match Wire::deserialize(deserializer)? {
            Wire::Bytes(Part::Mark { .. }) => {
                return Err(D::Error::custom("a `mark` outside of `parts`"));
            }
            Wire::Bytes(part) => vec![part],
            Wire::Parts { parts } => parts,
            Wire::Payload { payload, .. } if !is_digest(&payload) => {
                return Err(D::Error::custom(format!(
                    "`payload` is `{payload}`, not 64 lower-case hexadecimal digits"
                )));
            }
            Wire::Payload { marks, .. } if !marks.is_sorted_by_key(|(at, _)| *at) => {
                return Err(D::Error::custom("`marks` are not in order"));
            }
            Wire::Payload { payload, size_bytes, marks } => {
                taped.marks = marks;
                taped.pending = Some(Pending { digest: payload, size_bytes });
                return Ok(taped);
            }
        };
        for part in parts {
            match part {
                Part::Text(text) => taped.push(text.as_bytes()),
                Part::Base64 { b64 } => {
                    taped.push(&BASE64.decode(&b64).map_err(D::Error::custom)?);
                }
                Part::Mark { mark } => taped.push_mark(mark),
            }
        }
        Ok(taped)
    }
}

/// Whether a text is a BLAKE3 in lower-case hexadecimal.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(taped: &Taped) -> String {
        let json = serde_json::to_string(taped).unwrap();
        assert_eq!(&serde_json::from_str::<Taped>(&json).unwrap(), taped, "{json}");
        json
    }

    #[test]
    fn the_simplest_form_is_written_and_read_back() {
        assert_eq!(round(&Taped::plain("a\n\"")), r#""a\n\"""#);
        assert_eq!(round(&Taped::plain([0xff, 0])), r#"{"b64":"/wA="}"#);
        let mut marked = Taped::plain("in ");
        marked.push_mark(Mark::Root);
        marked.push(b"/x ");
        marked.push(&[0x80]);
        marked.push_mark(Mark::Secret("TOKEN".into()));
        marked.push_mark(Mark::Root);
        assert_eq!(
            round(&marked),
            r#"{"parts":["in ",{"mark":"root"},{"b64":"L3gggA=="},{"mark":"secret:TOKEN"},{"mark":"root"}]}"#
        );
        assert_eq!(marked.to_string(), "in [root]/x \u{fffd}[secret:TOKEN][root]");
        assert_eq!(marked.expand(|_| b"!".to_vec()), b"in !/x \x80!!");
    }

    #[test]
    fn long_bytes_become_a_payload() {
        let mut taped = Taped::plain(vec![b'x'; INLINE_BYTES_MAX]);
        assert!(taped.payload().is_none());
        taped.push(b"y");
        taped.push_mark(Mark::Root);
        let json = serde_json::to_string(&taped).unwrap();
        let digest = blake3::hash(taped.bytes()).to_hex();
        let expected = format!(r#"{{"payload":"{digest}","size":4097,"marks":[[4097,"root"]]}}"#);
        assert_eq!(json, expected);
        let mut read: Taped = serde_json::from_str(&json).unwrap();
        assert_eq!(read.pending.as_ref().unwrap().size_bytes, 4097);
        assert!(read.resolve(taped.bytes().to_vec()));
        assert_eq!(read, taped);
        assert!(!read.clone().resolve(b"short".to_vec()), "the mark is behind the end");
    }

    #[test]
    fn what_is_not_one_says_so() {
        let fails = |json| serde_json::from_str::<Taped>(json).unwrap_err().to_string();
        assert!(fails("7").contains("expected a string, or an object with `b64`"));
        assert!(fails(r#"{"b64":"!"}"#).contains("Invalid symbol"));
        assert!(fails(r#"{"parts":[{"mark":"x"}]}"#).contains("expected a string"));
        assert!(fails(r#"{"payload":"ab","size":1}"#).contains("64 lower-case"));
    }
}
