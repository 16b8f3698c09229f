//! Tapes as files: what is written is read back, and what is damaged says where and why.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use tempfile::TempDir;
use testbench_harness::tape::{CompareMode, Tape, compare, payload_dir};

const HEADER: &str = r#"{"format":"testbench-tape","version":1,"engine":"testbench 0.1.0","modules":[{"name":"cat","blake3":"00"}],"seed":7,"start_unix_ns":946684800000000000,"reproducible":false,"spawns":2}"#;

/// A record with something in every field.
const FULL: &str = r#"{"sequence":1,"call":{"program":"tool","argv":["tool","-o",{"parts":[{"mark":"root"},"/out"]},{"b64":"/w=="}],"cwd":"sub","env":[["LANG","C"],["TOKEN",{"parts":[{"mark":"secret:TOKEN"}]}],["HOME",null]]},"stdin":{"size":3,"blake3":"aa","cut":true,"content":"in\n"},"route":"native","status":{"signal":{"number":15}},"stdout":"a\nb\n","stderr":{"b64":"gIE="},"duration_ns":301000000,"files":[{"path":"a","op":"delete","kind":"dir"},{"path":"b","op":"add","kind":"file","mode":"0755","content":"x\n","from":"a/b"},{"path":"c","op":"add","kind":"file","mode":"0644","content":"x\n","link":"b"},{"path":"l","op":"retype","kind":"symlink","target":"b"},{"path":"m","op":"meta","kind":"file","mode":"0600","mtime_ns":-5},{"path":"n","op":"modify","kind":"file","mode":"0644","content":"n","fresh":true}]}"#;

const PLAIN: &str = r#"{"sequence":3,"call":{"program":"cat","argv":["cat"],"cwd":"."},"route":"guest","module":"00","status":{"code":300},"duration_ns":0}"#;

struct Dir(TempDir);

impl Dir {
    fn new(lines: &[&str]) -> Dir {
        let dir = Dir(tempfile::tempdir().unwrap());
        dir.write(lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        dir
    }

    fn tape(&self) -> std::path::PathBuf {
        self.0.path().join("t.tape")
    }

    fn write(&self, content: impl AsRef<[u8]>) {
        fs::write(self.tape(), content).unwrap();
    }

    fn load(&self) -> Tape {
        Tape::load(self.tape()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The text of the error, without the machine's paths.
    fn fails(&self) -> String {
        let error = Tape::load(self.tape()).unwrap_err().to_string();
        error.replace(self.0.path().to_str().unwrap(), "DIR")
    }
}

#[test]
fn what_is_written_is_what_was_read() {
    let dir = Dir::new(&[HEADER, FULL, PLAIN]);
    let text = fs::read_to_string(dir.tape()).unwrap();
    assert_eq!(String::from_utf8(dir.load().to_bytes()).unwrap(), text);
    let other = dir.0.path().join("new/folder/t.tape");
    dir.load().save(&other).unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), text);
    assert!(!payload_dir(&other).exists(), "nothing is long");
    assert_snapshot!(dir.load(), @r#"
    1 $ tool -o [root]/out "�"
      native, signal 15, 301ms, in sub
      env LANG=C
      env TOKEN=[secret:TOKEN]
      env without HOME
      stdin: 3 bytes, not to the end
      stdout:
        | a
        | b
      stderr: 2 bytes of BLAKE3 094625f27dbf62f800e7f58a1176b0dc69f63510c4ac90600c99821ca8ac4cd3
      D a/
      A b (was a/b) 0755 2 bytes 44c77418e275
      A c (also b) 0644 2 bytes 44c77418e275
      T l -> b
      M m 0600 at -5 ns
      M n 0644 1 bytes a74e0b1433b5

    3 $ cat
      guest, exit 300
    "#);
}

#[test]
fn long_contents_have_a_file_of_their_own_which_goes_with_the_last_need() {
    let long = "0123456789abcdef".repeat(300);
    let line = |stdout: &str| {
        format!(
            r#"{{"sequence":1,"call":{{"program":"p","argv":["p"],"cwd":"."}},"route":"guest","status":{{"code":0}},"stdout":{stdout:?},"duration_ns":0}}"#
        )
    };
    let header = HEADER.replace(r#""spawns":2"#, r#""spawns":1"#);
    let dir = Dir::new(&[&header, &line(&long)]);
    let tape = dir.load();
    tape.save(dir.tape()).unwrap();
    assert!(fs::metadata(dir.tape()).unwrap().len() < 600, "the line is short");
    assert_eq!(dir.load(), tape);
    let payloads = payload_dir(&dir.tape());
    let files: Vec<_> = fs::read_dir(&payloads).unwrap().map(|e| e.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(fs::read_to_string(file).unwrap(), long);

    fs::write(payloads.join("notes.txt"), "not ours").unwrap();
    Dir::new(&[&header, &line("short")]).load().save(dir.tape()).unwrap();
    assert!(!file.exists(), "no record needs it any more");
    assert!(payloads.join("notes.txt").exists());
    fs::remove_file(payloads.join("notes.txt")).unwrap();
    dir.load().save(dir.tape()).unwrap();
    assert!(!payloads.exists());
}

#[test]
fn a_payload_that_is_not_what_its_name_says_is_found() {
    let digest = blake3_of(b"content");
    let line = PLAIN.replace(
        r#""duration_ns""#,
        &format!(r#""stdout":{{"payload":"{digest}","size":7}},"duration_ns""#),
    );
    let header = HEADER.replace(r#""spawns":2"#, r#""spawns":1"#);
    let dir = Dir::new(&[&header, &line]);
    let payloads = payload_dir(&dir.tape());
    let fails = || dir.fails().replace(&digest, "DIGEST");
    assert_snapshot!(fails(), @"the tape `DIR/t.tape` is damaged at line 2: its payload is missing: entity not found (`DIR/t.tape.payloads/DIGEST`)");

    fs::create_dir(&payloads).unwrap();
    fs::write(payloads.join(&digest), "c0ntent").unwrap();
    assert_snapshot!(fails(), @"the tape `DIR/t.tape` is damaged at line 2: its payload `DIR/t.tape.payloads/DIGEST` has the wrong digest: it holds 7 bytes of BLAKE3 db69ca7457143595fe4d655d889100d7192347ee7979fd466c9664aef0492d6e, not the 7 bytes that its name says");
    fs::write(payloads.join(&digest), "content").unwrap();
    assert_eq!(dir.load().records()[0].stdout.bytes(), b"content");

    dir.write(format!(
        "{header}\n{}\n",
        line.replace(r#""size":7"#, r#""size":7,"marks":[[8,"root"]]"#)
    ));
    assert_snapshot!(fails(), @"the tape `DIR/t.tape` is damaged at line 2: a mark lies behind the end of the payload `DIR/t.tape.payloads/DIGEST`");
    dir.write(format!("{header}\n{}\n", line.replace(&digest, "../../etc/passwd")));
    assert_snapshot!(fails(), @"the tape `DIR/t.tape` is damaged at line 2: column 164: `payload` is `../../etc/passwd`, not 64 lower-case hexadecimal digits");
}

#[test]
fn what_is_no_tape_says_so() {
    let dir = Dir::new(&[]);
    let fails = |content: &[u8]| {
        dir.write(content);
        dir.fails()
    };
    assert_snapshot!(fails(b""), @r#"`DIR/t.tape` is no tape: its first line is not the header of one (`"format":"testbench-tape"`)"#);
    for other in [&b"{}\n"[..], b"\n", b"\x00\xff", b"[1]", br#"{"format":"x","version":1}"#] {
        assert_eq!(fails(other), fails(b""), "{other:?}");
    }
    assert_snapshot!(fails(br#"{"format":"testbench-tape","version":2,"what":"ever"}"#), @"the tape `DIR/t.tape` is of format version 2, this program reads version 1: use the testbench that wrote it, or a newer one, or record it again");
    fs::remove_file(dir.tape()).unwrap();
    assert_snapshot!(dir.fails(), @"cannot read the tape `DIR/t.tape`: No such file or directory (os error 2) (record it first, with `TapeMode::Record`)");
}

#[test]
fn a_damaged_line_is_named_with_what_is_wrong() {
    let dir = Dir::new(&[]);
    let fails = |lines: &[&str]| {
        dir.write(lines.join("\n") + "\n");
        dir.fails()
    };
    let with = |from: &str, to: &str| {
        assert!(PLAIN.contains(from));
        fails(&[HEADER, FULL, &PLAIN.replace(from, to)])
    };
    assert_snapshot!(with(r#""cwd":"."#, r#""cwd":."#), @"the tape `DIR/t.tape` is damaged at line 3: column 60: expected value");
    assert_snapshot!(with(r#""route":"guest""#, r#""route":"boat""#), @"the tape `DIR/t.tape` is damaged at line 3: column 78: unknown variant `boat`, expected `guest` or `native`");
    assert_snapshot!(with(r#","duration_ns":0"#, ""), @"the tape `DIR/t.tape` is damaged at line 3: column 116: missing field `duration_ns`");
    assert_snapshot!(with(r#","duration_ns":0"#, r#","duration_ns":0,"more":1"#), @"the tape `DIR/t.tape` is damaged at line 3: column 138: unknown field `more`, expected one of `sequence`, `call`, `stdin`, `route`, `module`, `status`, `stdout`, `stderr`, `duration_ns`, `files`");
    assert_snapshot!(with(r#""duration_ns":0"#, r#""duration_ns":-1"#), @"the tape `DIR/t.tape` is damaged at line 3: column 132: invalid value: integer `-1`, expected u64");
    assert_snapshot!(with(r#""sequence":3"#, r#""sequence":1"#), @"the tape `DIR/t.tape` is damaged at line 3: spawn 1 comes after spawn 1");
    assert_snapshot!(with(r#"["cat"]"#, r#"[{"b64":"?"}]"#), @"the tape `DIR/t.tape` is damaged at line 3: column 58: Invalid symbol 63, offset 0.");
    assert_snapshot!(fails(&[HEADER, "", FULL]), @"the tape `DIR/t.tape` is damaged at line 2: column 1: EOF while parsing a value");
    assert_snapshot!(fails(&[&HEADER.replace(r#""seed":7"#, r#""seed":"x""#), FULL, PLAIN]), @r#"the tape `DIR/t.tape` is damaged at line 1: column 117: invalid type: string "x", expected u64"#);
}

#[test]
fn a_tape_that_was_cut_off_is_noticed_wherever_the_cut_is() {
    let dir = Dir::new(&[HEADER, FULL, PLAIN]);
    let whole = fs::read(dir.tape()).unwrap();
    for len in 0..whole.len() {
        dir.write(&whole[..len]);
        let error = dir.fails();
        assert!(
            error.starts_with("the tape `DIR/t.tape` is damaged") || error.contains("is no tape"),
            "{error}"
        );
    }
    dir.write(&whole[..whole.len() - 1]);
    assert_snapshot!(dir.fails(), @"the tape `DIR/t.tape` is damaged at line 3: it is cut off (no line feed at its end)");
    dir.write(format!("{HEADER}\n{FULL}\n"));
    assert_snapshot!(dir.fails(), @"the tape `DIR/t.tape` is damaged at line 1: it announces 2 spawns, but 1 follow");
    dir.write(format!("{HEADER}\n{FULL}\n{PLAIN}\n{}\n", PLAIN.replace(":3,", ":4,")));
    assert_snapshot!(dir.fails(), @"the tape `DIR/t.tape` is damaged at line 1: it announces 2 spawns, but 3 follow");
}

#[test]
fn no_change_of_a_byte_makes_the_reader_panic() {
    let dir = Dir::new(&[HEADER, FULL, PLAIN]);
    let whole = fs::read(dir.tape()).unwrap();
    let mut state = 1_u64;
    for _ in 0..500 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut bytes = whole.clone();
        bytes[(state >> 33) as usize % whole.len()] = (state >> 20) as u8;
        dir.write(&bytes);
        // Either way; what is read can be shown and written.
        if let Ok(tape) = Tape::load(dir.tape()) {
            assert!(!tape.to_string().is_empty() && !tape.to_bytes().is_empty());
        }
    }
}

#[cfg(unix)]
#[test]
fn a_tape_that_cannot_be_written_leaves_the_old_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = Dir::new(&[HEADER, FULL, PLAIN]);
    let before = fs::read(dir.tape()).unwrap();
    // A directory in the way of the payloads: no user can write there, not even root.
    fs::write(payload_dir(&dir.tape()), "a file").unwrap();
    let long = FULL.replace(r#""stdout":"a\nb\n""#, &format!(r#""stdout":{:?}"#, "x".repeat(5000)));
    let tape = Dir::new(&[HEADER, &long, PLAIN]).load();
    let error = tape.save(dir.tape()).unwrap_err().to_string();
    assert!(
        error.contains("cannot write the tape") && error.contains("t.tape.payloads"),
        "{error}"
    );
    assert_eq!(fs::read(dir.tape()).unwrap(), before);
    let names: Vec<_> =
        fs::read_dir(dir.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing else is left: {names:?}");

    fs::remove_file(payload_dir(&dir.tape())).unwrap();
    tape.save(dir.tape()).unwrap();
    let mode = fs::metadata(dir.tape()).unwrap().permissions().mode() & 0o777;
    fs::write(dir.0.path().join("any"), "").unwrap();
    let usual = fs::metadata(dir.0.path().join("any")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, usual, "as any other file");
}

fn pair(a: &[&str], b: &[&str]) -> (Tape, Tape) {
    let load = |lines: &[&str]| {
        let header = HEADER.replace(r#""spawns":2"#, &format!(r#""spawns":{}"#, lines.len()));
        Dir::new(&[&[header.as_str()], lines].concat()).load()
    };
    (load(a), load(b))
}

fn divergences(a: &Tape, b: &Tape, mode: CompareMode) -> String {
    let all: Vec<String> = compare(a, b, mode).iter().map(ToString::to_string).collect();
    all.join("\n")
}

#[test]
fn the_modes_of_a_comparison_look_at_less_and_less() {
    let other = FULL
        .replace(r#""sequence":1"#, r#""sequence":2"#)
        .replace("301000000", "302000000")
        .replace(r#""mtime_ns":-5"#, r#""mtime_ns":-6"#);
    let (a, b) = pair(&[FULL, PLAIN], &[&other, PLAIN]);
    assert_snapshot!(divergences(&a, &b, CompareMode::ByteIdentical), @r#"
    spawn 1/2 `tool -o [root]/out "�"`: sequence: 1 -> 2
    spawn 1/2 `tool -o [root]/out "�"`: duration_ns: 301000000 -> 302000000
    spawn 1/2 `tool -o [root]/out "�"`: file times
      @@ -1,1 +1,1 @@
      -m at -5 ns
      +m at -6 ns
    "#);
    assert_eq!(divergences(&a, &b, CompareMode::Semantic), "");
    assert_eq!(divergences(&a, &b, CompareMode::Outcome), "");
    assert_eq!(divergences(&a, &a, CompareMode::ByteIdentical), "");

    // The order of the spawns is their sequence numbers.
    let early = PLAIN.replace(r#""sequence":3"#, r#""sequence":1"#);
    let late = FULL.replace(r#""sequence":1"#, r#""sequence":9"#);
    let (a, b) = pair(&[FULL, PLAIN], &[&early, &late]);
    assert_eq!(divergences(&a, &b, CompareMode::Semantic), "");
    assert_ne!(divergences(&a, &b, CompareMode::ByteIdentical), "");

    let other = FULL
        .replace(r#""stdout":"a\nb\n""#, r#""stdout":"a\nc\n""#)
        .replace(r#"{"number":15}"#, r#"{"number":9}"#)
        .replace(r#""content":"n""#, r#""content":"other""#)
        .replace(r#""-o""#, r#""-x""#);
    let (a, b) = pair(&[FULL], &[&other, PLAIN]);
    assert_snapshot!(divergences(&a, &b, CompareMode::Semantic), @r#"
    header: modules
      @@ -0,0 +1,1 @@
      +cat 00
    spawn 1 `tool -o [root]/out "�"`: call: tool -o [root]/out "�" (in sub) LANG=C TOKEN=[secret:TOKEN] -HOME -> tool -x [root]/out "�" (in sub) LANG=C TOKEN=[secret:TOKEN] -HOME
    spawn 1 `tool -o [root]/out "�"`: status: signal 15 -> signal 9
    spawn 1 `tool -o [root]/out "�"`: stdout
      @@ -1,2 +1,2 @@
       a
      -b
      +c
    spawn 1 `tool -o [root]/out "�"`: files
      @@ -3,4 +3,4 @@
       A c (also b) 0644 2 bytes 44c77418e275
       T l -> b
       M m 0600
      -M n 0644 1 bytes a74e0b1433b5
      +M n 0644 5 bytes 3f796163ebf9
    spawn 3 `cat`: on the second tape only
    "#);
    assert_snapshot!(divergences(&a, &b, CompareMode::Outcome), @r#"
    spawn 1 `tool -o [root]/out "�"`: call: tool -o [root]/out "�" (in sub) LANG=C TOKEN=[secret:TOKEN] -HOME -> tool -x [root]/out "�" (in sub) LANG=C TOKEN=[secret:TOKEN] -HOME
    spawn 1 `tool -o [root]/out "�"`: status: signal 15 -> signal 9
    spawn 3 `cat`: on the second tape only
    file n
      @@ -1,2 +1,2 @@
       file 0644
      -n
      \ No newline at end of file
      +other
      \ No newline at end of file
    "#);
}

#[test]
fn only_the_last_state_of_a_file_is_its_outcome() {
    let write = |sequence: u32, content: &str| {
        PLAIN.replace(r#""sequence":3"#, &format!(r#""sequence":{sequence}"#)).replace(
            r#""duration_ns":0"#,
            &format!(
                r#""duration_ns":0,"files":[{{"path":"f","op":"modify","kind":"file","mode":"0644","content":{content:?}}}]"#
            ),
        )
    };
    let (a, b) = pair(&[&write(1, "x"), &write(2, "end")], &[&write(1, "y"), &write(2, "end")]);
    assert_eq!(divergences(&a, &b, CompareMode::Outcome), "");
    assert_ne!(divergences(&a, &b, CompareMode::Semantic), "");
    let (a, b) = pair(&[&write(1, "end"), &write(2, "x")], &[&write(1, "x"), &write(2, "end")]);
    assert_snapshot!(divergences(&a, &b, CompareMode::Outcome), @r"
    file f
      @@ -1,2 +1,2 @@
       file 0644
      -x
      \ No newline at end of file
      +end
      \ No newline at end of file
    ");
}

fn blake3_of(content: &[u8]) -> String {
    testbench_wasi::ContentHash::of(content).to_string()
}

#[test]
fn a_folder_of_payloads_lies_beside_its_tape() {
    assert_eq!(payload_dir(Path::new("a/b.tape")), Path::new("a/b.tape.payloads"));
}
