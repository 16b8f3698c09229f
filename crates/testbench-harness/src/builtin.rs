//! The tools that come with the library; `guests/README.md` says what each does.

/// Embeds `guests/NAME.wasm` for each name.
macro_rules! guests {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("../guests/", $name, ".wasm")))),*]
    };
}

/// Each program's name with its module, ordered by name.
pub(crate) static GUESTS: &[(&str, &[u8])] = guests! {
    "act" "build" "cat" "cp" "date" "echo" "env" "escape" "exit42" "fingerprint" "fsops" "grep" "head" "hog"
    "ln" "ls" "mkdir" "mktree" "mv" "readlink" "relay" "rm" "rmdir" "seq" "sha256sum" "sleep" "slowcp"
    "sort" "spin" "tee" "touch" "trap" "wc"
};

#[cfg(test)]
mod tests {
    use super::GUESTS;

    #[test]
    fn every_committed_guest_is_embedded() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
        let mut committed: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                Some(name.strip_suffix(".wasm")?.to_owned())
            })
            .collect();
        committed.sort();
        let embedded: Vec<&str> = GUESTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(embedded, committed);
    }
}
