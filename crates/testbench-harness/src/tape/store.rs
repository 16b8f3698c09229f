//! Reads and writes a [`Tape`] as lines and payload files.
//!
//! A tape is written beside its place and then renamed, and its payloads are written before it. So a
//! reader finds the old tape or the new one, whole. A payload's name is the digest of its content:
//! a payload that is there already is not written again, and a damaged one is found when it is
//! read.
#![allow(clippy::disallowed_methods, reason = "tapes are files of the real disk")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::error::TapeError;
use super::format::{FORMAT, Header, Record, VERSION};
use super::taped::{Pending, is_digest};
use super::{Tape, Taped};

impl Tape {
    /// Reads a tape and all its payloads.
    ///
    /// # Errors
    ///
    /// Fails with a [`TapeError`]; no part of a damaged tape is used.
    pub fn load(path: impl AsRef<Path>) -> Result<Tape, TapeError> {
        let path = path.as_ref();
        let bytes =
            fs::read(path).map_err(|source| TapeError::Read { path: path.to_owned(), source })?;
        Reader { path, payloads: payload_dir(path) }.read(&bytes)
    }

    /// Writes the tape, and contents that are too long for a line into the folder
    /// `<file name>.payloads` beside it. Payloads that only an earlier tape needed are removed.
    ///
    /// # Errors
    ///
    /// Fails with [`TapeError::Write`]; an earlier tape is unchanged then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TapeError> {
        let path = path.as_ref();
        let payload_dir = payload_dir(path);
        let payloads = self.payloads();
        let fails = |file: &Path, source| TapeError::Write {
            path: path.to_owned(),
            file: file.to_owned(),
            source,
        };
        let dir = dir_of(path);
        fs::create_dir_all(dir).map_err(|source| fails(dir, source))?;
        if !payloads.is_empty() {
            fs::create_dir_all(&payload_dir).map_err(|source| fails(&payload_dir, source))?;
        }
        for (digest, bytes) in &payloads {
            let file = payload_dir.join(digest);
            let is_there = fs::read(&file).is_ok_and(|there| there == **bytes);
            if !is_there {
                write_beside(&file, bytes).map_err(|source| fails(&file, source))?;
            }
        }
        write_beside(path, &self.to_bytes()).map_err(|source| fails(path, source))?;
        let stale = stale_payloads(path, &payloads.into_keys().collect());
        for file in stale.map_err(|source| fails(&payload_dir, source))? {
            match fs::remove_file(&file) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(fails(&file, source));
                }
                _ => {}
            }
        }
        // Not empty, or not there: both are fine.
        let _ = fs::remove_dir(&payload_dir);
        Ok(())
    }

    /// The lines, without the payloads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let records = self.records().iter().map(serde_json::to_vec);
        let mut bytes = Vec::new();
        for line in std::iter::once(serde_json::to_vec(self.header())).chain(records) {
            bytes.extend(line.expect("a tape has no maps, whose keys could be no strings"));
            bytes.push(b'\n');
        }
        bytes
    }

    /// The contents of the payload files, by name.
    pub fn payloads(&self) -> BTreeMap<String, Arc<Vec<u8>>> {
        let mut payloads = BTreeMap::new();
        for mut record in self.records().iter().cloned() {
            payloads.extend(record.texts_mut().iter().filter_map(|text| text.payload()));
        }
        payloads
    }
}

/// The folder of the payloads of the tape `path`.
pub fn payload_dir(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(|| OsString::from("tape"), OsString::from);
    name.push(".payloads");
    path.with_file_name(name)
}

/// The payload files of the tape `path` that are not `needed`, in order. A file whose name is no
/// digest is not listed.
///
/// # Errors
///
/// Fails if their folder cannot be listed.
pub fn stale_payloads(path: &Path, needed: &BTreeSet<String>) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(payload_dir(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut stale = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| is_digest(name) && !needed.contains(name)) {
            stale.push(entry.path());
        }
    }
    stale.sort();
    Ok(stale)
}

fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tape");
    #[cfg(unix)]
    {
        // The umask decides, as for any new file.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(dir_of(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(path)?;
    Ok(())
}

struct Reader<'a> {
    path: &'a Path,
    payloads: PathBuf,
}

impl Reader<'_> {
    fn read(&self, bytes: &[u8]) -> Result<Tape, TapeError> {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').zip(1..);
        let header = self.header(lines.next().map_or(b"", |(first, _)| first))?;
        let mut records: Vec<Record> = Vec::new();
        for (line, number) in lines {
            let record = self.record(line, records.last());
            records.push(record.map_err(|problem| self.damaged(number, problem))?);
        }
        let (announced, found) = (header.spawns, records.len());
        if found != announced {
            let problem = format!("it announces {announced} spawns, but {found} follow");
            return Err(self.damaged(1, problem));
        }
        Ok(Tape::new(header, records))
    }

    fn header(&self, line: &[u8]) -> Result<Header, TapeError> {
        let path = || self.path.to_owned();
        let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
        if value["format"] != FORMAT {
            return Err(TapeError::NotATape { path: path() });
        }
        // The version decides how everything else is read.
        match value["version"].as_u64() {
            Some(VERSION) => json(line).map_err(|problem| self.damaged(1, problem)),
            Some(found) => Err(TapeError::Version { path: path(), found }),
            None => Err(TapeError::NotATape { path: path() }),
        }
    }

    /// Reads one line; the error is its problem.
    fn record(&self, line: &[u8], previous: Option<&Record>) -> Result<Record, String> {
        let mut record: Record = json(line)?;
        if let Some(previous) = previous.filter(|p| p.sequence >= record.sequence) {
            let (sequence, previous) = (record.sequence, previous.sequence);
            return Err(format!("spawn {sequence} comes after spawn {previous}"));
        }
        for text in record.texts_mut() {
            self.payload(text)?;
        }
        Ok(record)
    }

    fn payload(&self, text: &mut Taped) -> Result<(), String> {
        let Some(Pending { digest, size_bytes }) = &text.pending else { return Ok(()) };
        let file = self.payloads.join(digest);
        let shown = file.display();
        let bytes = fs::read(&file).map_err(|error| {
            let error = io::Error::from(error.kind());
            format!("its payload is missing: {error} (`{shown}`)")
        })?;
        let (found, found_bytes) = (blake3::hash(&bytes).to_hex(), bytes.len());
        if found.as_str() != digest || found_bytes as u64 != *size_bytes {
            return Err(format!(
                "its payload `{shown}` has the wrong digest: it holds {found_bytes} bytes of BLAKE3 \
                 {found}, not the {size_bytes} bytes that its name says"
            ));
        }
        match text.resolve(bytes) {
            true => Ok(()),
            false => Err(format!("a mark lies behind the end of the payload `{shown}`")),
        }
    }

    fn damaged(&self, line: usize, problem: String) -> TapeError {
        TapeError::Damaged { path: self.path.to_owned(), line, problem }
    }
}

/// Reads a whole line of JSON; the error is its problem.
fn json<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    if !line.ends_with(b"\n") {
        return Err("it is cut off (no line feed at its end)".to_owned());
    }
    serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        // serde counts lines within this one.
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        format!("column {}: {message}", error.column().max(1))
    })
}
