//! Names that are nothing but names, however they look, and paths that are too long.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use testbench_overlay::{
    Diff, Errno, Follow, Fs as _, GuestPath, HostDir, OpenHow, Overlay, capture, fs, install,
};

use crate::escape::arena::{Arena, NEW, trees};

/// Every byte that a name may have occurs, and every trap that comes to mind.
fn odd_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b"new\nline"[..],
        b"\n",
        b"\r\n",
        b"\xff\xfe",
        b"caf\xe9",
        b"\xed\xa0\x80",
        b" ",
        b" lead and trail ",
        b"...",
        b"..\n",
        b"-rf",
        b"~",
        b"a\\b",
        b"..\\..\\x",
        b"C:",
        b"%2e%2e%2f",
        b"*",
        b"\x1b[2J",
        b"\"quoted\"",
        b" -> ",
        b"# comment",
        b"\xe2\x80\xae.txt",
        b"\xc0\xaf",
        b"CON",
        b"file.",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    names.push(vec![b'x'; 255]);
    names.push("é".repeat(127).into_bytes());
    names.push((1..=255u8).filter(|b| *b != b'/').collect());
    names
}

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

#[test]
fn odd_names_are_names_through_the_seam() {
    let arena = Arena::new(|_, _| {});
    for (tree, fs, top) in trees(&arena.root()) {
        let read_only = tree.starts_with("read-only");
        for name in odd_names() {
            let path = GuestPath::new(&name);
            let made = fs.open_at(&*top, path, &NEW);
            if read_only {
                assert_eq!(made.map(drop), Err(Errno::Rofs), "{tree}: {path}");
                continue;
            }
            assert_eq!(made.unwrap().write_at(b"x", 0), Ok(1), "{tree}: {path}");
            let listed = top.read_dir().unwrap();
            assert_eq!(listed.iter().filter(|e| *e.name == *name).count(), 1, "{tree}: {path}");
            let stat = fs.stat_at(&*top, path, Follow::No).unwrap();
            assert_eq!(stat.size, 1, "{tree}: {path}");
            fs.remove_file_at(&*top, path).unwrap();
            fs.create_dir_at(&*top, path, 0o755).unwrap();
            fs.remove_dir_at(&*top, path).unwrap();
            fs.symlink_at(&name, &*top, path).unwrap();
            assert_eq!(fs.read_link_at(&*top, path).unwrap(), name, "{tree}");
            fs.remove_file_at(&*top, path).unwrap();
        }
    }
    arena.check();
}

/// In and out again by every way that there is.
#[test]
fn odd_names_survive_every_way_in_and_out() {
    let arena = Arena::new(|root, _| {
        for (at, name) in odd_names().iter().enumerate() {
            let dir = root.join("names").join(os(name));
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(os(name)), format!("{at}")).unwrap();
        }
    });
    let (root, out) = (arena.root(), tempfile::tempdir().unwrap());
    let overlay = Overlay::new(&root).unwrap();
    let installed = install(overlay.clone());
    let names = fs::read_dir(root.join("names")).unwrap();
    assert_eq!(names.count(), odd_names().len());
    for name in odd_names() {
        let dir = root.join("names").join(os(&name));
        let old = fs::read_to_string(dir.join(os(&name))).unwrap();
        fs::write(dir.join(os(&name)), format!("{old} changed\n")).unwrap();
        fs::rename(&dir, root.join(os(&name))).unwrap();
    }
    drop(installed);
    let diff = overlay.diff().unwrap();
    assert_eq!(diff.entries().len(), 2 * odd_names().len());
    assert_eq!(diff.summary().lines().count(), diff.entries().len(), "one line for each");

    overlay.materialize(out.path().join("copy")).unwrap();
    let copied = Diff::between(&root, &out.path().join("copy")).unwrap();
    let captured = capture(&root, |copy| {
        for name in odd_names() {
            let dir = copy.join("names").join(os(&name));
            let old = std::fs::read_to_string(dir.join(os(&name)))?;
            std::fs::write(dir.join(os(&name)), format!("{old} changed\n"))?;
            std::fs::rename(&dir, copy.join(os(&name)))?;
        }
        Ok::<(), std::io::Error>(())
    });
    assert_eq!(captured.unwrap().to_json(), copied.to_json());

    overlay.commit().unwrap();
    assert!(Diff::between(&root, &out.path().join("copy")).unwrap().is_empty());
    arena.check();
}

#[test]
fn what_cannot_be_a_name_is_refused() {
    let arena = Arena::new(|_, _| {});
    for (tree, fs, top) in trees(&arena.root()) {
        let stat = |path: &[u8]| {
            fs.stat_at(&*top, GuestPath::new(path), Follow::Yes).map(drop).map_err(|e| (tree, e))
        };
        let make = |path: &[u8]| match fs.create_dir_at(&*top, GuestPath::new(path), 0o755) {
            Err(Errno::Rofs) if tree.starts_with("read-only") => Err((tree, Errno::Nametoolong)),
            made => made.map_err(|errno| (tree, errno)),
        };
        let too_long = Err((tree, Errno::Nametoolong));
        assert_eq!(stat(&[b'x'; 256]), too_long);
        assert_eq!(make(&[b'x'; 256]), too_long);
        assert_eq!(make(&[b'x'; 4_000]), too_long);
        assert_eq!(stat(b"in\0/open"), Err((tree, Errno::Inval)));
        assert_eq!(stat(b"\0"), Err((tree, Errno::Inval)));
        assert_eq!(stat(b""), Err((tree, Errno::Noent)));
        // A path of 4,095 bytes is the longest that Linux takes.
        let path = |len: usize| [b"./", &*b"/".repeat(len - 6), b"open"].concat();
        assert_eq!(path(4095).len(), 4095);
        assert_eq!(stat(&path(4095)), Ok(()));
        for len in [4096, 4097, 5000, 100_000] {
            assert_eq!(stat(&path(len)), too_long, "{len}");
        }
        assert_eq!(stat(&b"../".repeat(2_000)), too_long);
    }
    arena.check();
}

/// A tree that is deeper than a path may be long can only be walked by handles. It is looked at,
/// changed, copied, compared and committed all the same.
#[test]
fn a_tree_deeper_than_a_path_is_long() {
    const DEPTH: usize = 60;
    let name = "d".repeat(100);
    let arena = Arena::new(|root, _| dig(root, &name, DEPTH));
    let (root, out) = (arena.root(), tempfile::tempdir().unwrap());
    let overlay = Overlay::new(&root).unwrap();
    let mut dir = overlay.root().unwrap();
    let open = OpenHow { directory: true, ..OpenHow::READ };
    for _ in 0..DEPTH {
        dir = overlay.open_at(&*dir, GuestPath::new(&name), &open).unwrap();
    }
    let file = overlay.open_at(&*dir, GuestPath::new("made"), &NEW).unwrap();
    file.write_at(b"deep", 0).unwrap();
    assert_eq!(overlay.diff().unwrap().entries().len(), 1);

    let mut written = overlay.materialize(out.path().join("copy")).unwrap();
    written.absorb().unwrap();
    assert_eq!(overlay.diff().unwrap().entries().len(), 1);
    let diff = Diff::between(&root, &out.path().join("copy")).unwrap();
    assert_eq!(diff.to_json(), overlay.diff().unwrap().to_json());
    let path = diff.entries()[0].path();
    assert_eq!(path.len(), DEPTH * 101 + 4);

    overlay.commit().unwrap();
    assert!(Diff::between(&root, &out.path().join("copy")).unwrap().is_empty());
    // Too deep for `tempdir` on some systems, so from the bottom up and by handles.
    for top in [root, out.path().join("copy")] {
        fill_in(&top, &name);
    }
    arena.check();
}

fn dig(root: &Path, name: &str, depth: usize) {
    let host = HostDir::open(root).unwrap();
    let open = OpenHow { directory: true, ..OpenHow::READ };
    let mut dir = host.root().unwrap();
    for _ in 0..depth {
        host.create_dir_at(&*dir, GuestPath::new(name), 0o755).unwrap();
        dir = host.open_at(&*dir, GuestPath::new(name), &open).unwrap();
    }
}

fn fill_in(root: &Path, name: &str) {
    let removed = std::process::Command::new("rm").arg("-rf").arg(root.join(name)).status();
    assert!(removed.unwrap().success());
}
