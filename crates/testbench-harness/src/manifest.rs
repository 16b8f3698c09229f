//! `testbench.toml`: additions to the file names of a toolchain.
//!
//! The file lies in the toolchain's directory, beside the modules, and is read when the toolchain is
//! opened. All of it is optional:
//!
//! ```toml
//! # Directories whose programs the toolchain replaces: `/usr/bin/ls` is its `ls`.
//! claims = ["/bin", "/usr/bin", "/opt/tools/bin"]
//!
//! [tools.python]
//! alias = "python-3.12"                 # runs python-3.12.wasm
//! argv0 = "python3"                     # the name that the program gets as its `argv[0]`
//! mounts = [{ host = "lib/python", guest = "/usr/lib/python3.12" }]
//! env = { PYTHONHOME = "/usr" }
//!
//! [tools.busybox]
//! multicall = ["awk", "sed"]            # `awk` runs busybox.wasm as `awk`
//!
//! [tools.git]
//! policy = "native"                     # the name of a `Policy`
//! ```
//!
//! A mount is a real directory, read-only. A relative `host` starts at the toolchain's directory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::policy::Policy;

/// The file's name.
pub(crate) const FILE_NAME: &str = "testbench.toml";

/// The directories whose programs a toolchain replaces by default.
pub(crate) const CLAIMS: [&str; 2] = ["/bin", "/usr/bin"];

/// A manifest; an empty one for a toolchain without the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifest {
    /// The file; `None` if there is none.
    pub(crate) path: Option<PathBuf>,
    claims: Option<Vec<PathBuf>>,
    tools: BTreeMap<OsString, Entry>,
}

/// A manifest's table for one program.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Entry {
    /// The program whose module runs in its place.
    pub(crate) alias: Option<String>,
    pub(crate) argv0: Option<String>,
    #[serde(default)]
    pub(crate) mounts: Vec<MountEntry>,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Further names under which the module can be called.
    #[serde(default)]
    pub(crate) multicall: Vec<String>,
    pub(crate) policy: Option<Policy>,
}

/// A real directory that a program sees.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MountEntry {
    /// Made absolute when the manifest is read.
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
}

/// Why a `testbench.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The file exists and cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not TOML, or has an unknown key or value.
    #[error("cannot understand `{}`: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The place and the mistake.
        source: Box<toml::de::Error>,
    },
    /// A value in the file is impossible.
    #[error("`{}`: {what}", path.display())]
    Meaning {
        /// The file.
        path: PathBuf,
        /// The mistake, and the correct form.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    claims: Option<Vec<PathBuf>>,
    #[serde(default)]
    tools: BTreeMap<String, Entry>,
}

impl Manifest {
    /// Reads the manifest in the directory `dir`. Returns an empty one if there is no file.
    pub(crate) fn read(dir: &Path) -> Result<Manifest, ManifestError> {
        let path = dir.join(FILE_NAME);
        #[allow(clippy::disallowed_methods, reason = "a toolchain is on the real disk")]
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Manifest::default());
            }
            Err(source) => return Err(ManifestError::Unreadable { path, source }),
        };
        let document: Document = match toml::from_str(&text) {
            Ok(document) => document,
            Err(source) => {
                return Err(ManifestError::Syntax { path, source: Box::new(source) });
            }
        };
        Manifest::checked(document, dir, path)
    }

    fn checked(
        mut document: Document,
        dir: &Path,
        path: PathBuf,
    ) -> Result<Manifest, ManifestError> {
        let wrong = |what: String| ManifestError::Meaning { path: path.clone(), what };
        if let Some(claim) = document.claims.iter().flatten().find(|dir| !dir.has_root()) {
            let claim = claim.display();
            return Err(wrong(format!("`{claim}` in `claims` is not an absolute path")));
        }
        for (name, entry) in &mut document.tools {
            let at = format!("[tools.{name}]");
            if !is_name(name) {
                return Err(wrong(format!("{at}: a program's name is one name without a `/`")));
            }
            if let Some(alias) = entry.alias.as_ref().filter(|alias| !is_name(alias)) {
                return Err(wrong(format!(
                    "{at}: `alias = {alias:?}` must be the name of a program in this directory, \
                     without `.wasm`"
                )));
            }
            if let Some(name) = entry.multicall.iter().find(|name| !is_name(name)) {
                return Err(wrong(format!("{at}: {name:?} in `multicall` is no program's name")));
            }
            for mount in &mut entry.mounts {
                if !mount.guest.starts_with('/') {
                    let guest = &mount.guest;
                    return Err(wrong(format!(
                        "{at}: `guest = {guest:?}` is not an absolute path"
                    )));
                }
                mount.host = dir.join(&mount.host);
            }
        }
        let tools = document.tools.into_iter().map(|(name, entry)| (name.into(), entry));
        Ok(Manifest { claims: document.claims, tools: tools.collect(), path: Some(path) })
    }

    /// The table for a program.
    pub(crate) fn entry(&self, name: &OsStr) -> Option<&Entry> {
        self.tools.get(name)
    }

    /// The program that lists this name in `multicall`.
    pub(crate) fn multicall(&self, name: &OsStr) -> Option<&OsStr> {
        let mut tools = self.tools.iter();
        let (module, _) = tools.find(|(_, entry)| entry.multicall.iter().any(|n| name == &**n))?;
        Some(module)
    }

    /// Whether the toolchain replaces programs directly in `dir`.
    pub(crate) fn claims(&self, dir: &Path) -> bool {
        match &self.claims {
            Some(claims) => claims.iter().any(|claim| claim == dir),
            None => CLAIMS.iter().any(|claim| Path::new(claim) == dir),
        }
    }

    /// The directories whose programs the toolchain replaces.
    pub(crate) fn claimed(&self) -> Vec<PathBuf> {
        self.claims.clone().unwrap_or_else(|| CLAIMS.iter().map(PathBuf::from).collect())
    }

    /// The names of programs that come from the manifest alone.
    pub(crate) fn names(&self) -> impl Iterator<Item = &OsStr> {
        let aliases = self.tools.iter().filter(|(_, entry)| entry.alias.is_some());
        let applets = self.tools.values().flat_map(|entry| &entry.multicall);
        aliases.map(|(name, _)| name.as_os_str()).chain(applets.map(OsStr::new))
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of reading this manifest, with the directory's path taken out.
    fn error(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
        let error = Manifest::read(dir.path()).unwrap_err().to_string();
        error.replace(dir.path().to_str().unwrap(), "tools")
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        insta::assert_snapshot!(error("[tools.git]\npolicy = \"sometimes\""), @r#"
        cannot understand `tools/testbench.toml`: TOML parse error at line 2, column 10
          |
        2 | policy = "sometimes"
          |          ^^^^^^^^^^^
        unknown policy `sometimes`, expected one of `not-found`, `deny`, `native`, `record`, `replay`, `replay-or-record`, `replay-or-native`
        "#);
        insta::assert_snapshot!(error("[tools.git]\nalais = \"x\""), @"
        cannot understand `tools/testbench.toml`: TOML parse error at line 2, column 1
          |
        2 | alais = \"x\"
          | ^^^^^
        unknown field `alais`, expected one of `alias`, `argv0`, `mounts`, `env`, `multicall`, `policy`
        ");
        insta::assert_snapshot!(error("claims = [\"bin\"]"), @"`tools/testbench.toml`: `bin` in `claims` is not an absolute path");
        insta::assert_snapshot!(error("[tools.a]\nalias = \"../b\""), @r#"`tools/testbench.toml`: [tools.a]: `alias = "../b"` must be the name of a program in this directory, without `.wasm`"#);
        insta::assert_snapshot!(error("[tools.\"x/y\"]"), @"`tools/testbench.toml`: [tools.x/y]: a program's name is one name without a `/`");
        insta::assert_snapshot!(error("[tools.a]\nmounts = [{ host = \"lib\", guest = \"lib\" }]"), @r#"`tools/testbench.toml`: [tools.a]: `guest = "lib"` is not an absolute path"#);
        insta::assert_snapshot!(error("[tools.a]\nmulticall = [\"\"]"), @r#"`tools/testbench.toml`: [tools.a]: "" in `multicall` is no program's name"#);
    }

    #[test]
    fn no_manifest_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = Manifest::read(dir.path()).unwrap();
        assert!(manifest.path.is_none() && manifest.entry(OsStr::new("cat")).is_none());
        assert!(manifest.claims(Path::new("/usr/bin")) && !manifest.claims(Path::new("/opt")));
    }
}
