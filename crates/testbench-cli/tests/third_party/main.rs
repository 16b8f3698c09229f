//! Programs made by others, run by `testbench run`: the measure of "real programs".
//!
//! Opt-in, because the programs are fetched: `fetch.sh` beside this file puts them into a directory,
//! and `THIRD_PARTY_GUESTS` names it. Without it every test says on standard error that it ran nothing.
//! The first run of each program compiles it, which takes up to a minute for the large ones.
//!
//! Each program works once on a real directory (`--dir`) and twice on an overlay of an equal one,
//! which must stay as it was, and give the same output and the same diff both times.

#![allow(clippy::disallowed_methods, reason = "these tests run real processes on real directories")]

mod bench;

use bench::{Bench, program, run, sources};

/// What the scripts in `scripts/` find.
const FILES: &[(&str, &str)] = &[("in.txt", "first line\nsecond\n"), ("delete-me.txt", "x\n")];

/// What is piped into them.
const INPUT: &str = "piped\nlast, without newline";

#[test]
fn lua_catches_errors_and_changes_files() {
    let Some(lua) = program("lua") else { return };
    let bench = Bench::new(FILES).script("work.lua");
    let both = bench.check(&lua, &["--clock", "2026-06-01T12:00:00.5Z"], &["work.lua", "5"], INPUT);
    assert_eq!(both.status, 5, "{}", both.stderr);
    insta::assert_snapshot!(both.stdout, @r#"
    read	18	first line
    size	27
    gone	true	true
    seek	89
    error	false	a string
    error	7
    error	false	bad argument #1 to 'string.rep' (string expected, got no value)
    coroutine	1	false	in a coroutine
    deep	false	deep
    overflow	false
    missing	nil	no/such/file: No such file or directory
    time	2026-06-01T12:00:00Z
    stdin	piped
    stdin	last, without newline
    "#);
    insta::assert_snapshot!(both.changes, @r#"
    D delete-me.txt
    A renamed.txt
    A seek.bin

    diff --git a/delete-me.txt b/delete-me.txt
    deleted file mode 100644
    --- a/delete-me.txt
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -x
    diff --git a/renamed.txt b/renamed.txt
    new file mode 100644
    --- /dev/null
    +++ b/renamed.txt
    @@ -0,0 +1,3 @@
    +FIRST LINE
    +SECOND
    +appended
    diff --git a/seek.bin b/seek.bin
    new file mode 100644
    --- /dev/null
    +++ b/seek.bin
    @@ -0,0 +1,1 @@
    +012x456789
    \ No newline at end of file
    "#);

    let broken = bench.on_dir(&lua, &[], &["-"], "local t = nil; return t.x");
    assert_eq!(broken.status, 1);
    assert!(broken.stderr.contains("attempt to index a nil value"), "{}", broken.stderr);
}

#[test]
fn python_changes_files_and_sleeps() {
    let Some(python) = program("python") else { return };
    let bench = Bench::new(FILES).script("work.py");
    let both = bench.check(&python, &[], &["work.py", "5"], INPUT);
    assert_eq!(both.status, 5, "{}", both.stderr);
    insta::assert_snapshot!(both.stdout, @r#"
    read 18 first line
    size 27
    gone True True
    link sub/file.bin 256000
    walk . ['dir'] ['in.txt', 'renamed.txt', 'work.py']
    walk ./dir ['sub'] ['link']
    walk ./dir/sub [] ['file.bin']
    missing 44 No such file or directory
    slept 90500000000 90500000000
    time 2000-01-01T00:01:30Z
    random 972b58fc4664cbdd
    stdin piped
    stdin last, without newline
    "#);
    insta::assert_snapshot!(both.changes, @r#"
    D delete-me.txt
    A dir/
    A dir/link (symlink)
    A dir/sub/
    A dir/sub/file.bin
    A renamed.txt

    diff --git a/delete-me.txt b/delete-me.txt
    deleted file mode 100644
    --- a/delete-me.txt
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -x
    diff --git a/dir/link b/dir/link
    new file mode 120000
    --- /dev/null
    +++ b/dir/link
    @@ -0,0 +1,1 @@
    +sub/file.bin
    \ No newline at end of file
    diff --git a/dir/sub/file.bin b/dir/sub/file.bin
    new file mode 100644
    +binary, 256000 bytes, sha256 b57b64b198d5d59ce5a22a9b9f25e72a7d081476d432051aa923f3dbebb90934
    diff --git a/renamed.txt b/renamed.txt
    new file mode 100644
    --- /dev/null
    +++ b/renamed.txt
    @@ -0,0 +1,3 @@
    +FIRST LINE
    +SECOND
    +appended
    "#);

    let seeded = bench.on_overlay(&python, &["--seed", "1"], &["work.py", "5"], INPUT);
    assert_eq!(seeded.status, 5, "{}", seeded.stderr);
    let random =
        |text: &str| text.lines().find(|line| line.starts_with("random")).map(str::to_owned);
    assert!(random(&seeded.stdout).is_some());
    assert_ne!(random(&seeded.stdout), random(&both.stdout), "another seed, the same bytes");

    let filter = "import sys; print(sum(map(int, sys.stdin)))";
    let sum = bench.on_dir(&python, &[], &["-c", filter], "1\n20\n300\n");
    assert_eq!((sum.status, sum.stdout.as_str()), (0, "321\n"), "{}", sum.stderr);
}

#[test]
fn ruby_changes_files_and_sleeps() {
    let Some(ruby) = program("ruby") else { return };
    let bench = Bench::new(FILES).script("work.rb");
    // On WASI, ruby's sleep never waits but reads the clock in a loop, so the clock moves by readings.
    let both = bench.check(&ruby, &["--tick", "1ms"], &["work.rb", "5"], INPUT);
    assert_eq!(both.status, 5, "{}", both.stderr);
    insta::assert_snapshot!(both.stdout, @r#"
    read 18 first line
    size 27
    gone true true
    link sub/file.bin 256000
    list . ["dir", "in.txt", "renamed.txt", "work.rb"]
    list dir ["link", "sub"]
    list dir/sub ["file.bin"]
    missing Errno::ENOENT
    slept 91
    time 2000-01-01T00:01:30Z
    stdin piped
    stdin last, without newline
    "#);
    insta::assert_snapshot!(both.changes, @r#"
    D delete-me.txt
    A dir/
    A dir/link (symlink)
    A dir/sub/
    A dir/sub/file.bin
    A renamed.txt

    diff --git a/delete-me.txt b/delete-me.txt
    deleted file mode 100644
    --- a/delete-me.txt
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -x
    diff --git a/dir/link b/dir/link
    new file mode 120000
    --- /dev/null
    +++ b/dir/link
    @@ -0,0 +1,1 @@
    +sub/file.bin
    \ No newline at end of file
    diff --git a/dir/sub/file.bin b/dir/sub/file.bin
    new file mode 100644
    +binary, 256000 bytes, sha256 b57b64b198d5d59ce5a22a9b9f25e72a7d081476d432051aa923f3dbebb90934
    diff --git a/renamed.txt b/renamed.txt
    new file mode 100644
    --- /dev/null
    +++ b/renamed.txt
    @@ -0,0 +1,3 @@
    +FIRST LINE
    +SECOND
    +appended
    "#);

    // On a clock that stands still its sleep would never end; the guard against that ends it.
    let spinning = bench.on_dir(&ruby, &[], &["-e", "sleep 1"], "");
    assert_eq!(spinning.status, 137, "{}", spinning.stderr);
    assert!(spinning.stderr.contains("without waiting"), "{}", spinning.stderr);
}

#[test]
fn php_changes_files_and_sleeps() {
    let Some(php) = program("php") else { return };
    let bench = Bench::new(FILES).script("work.php");
    // A CGI program gets its input as a request.
    let request = [
        "--env=REQUEST_METHOD=POST",
        "--env=CONTENT_TYPE=text/plain",
        &format!("--env=CONTENT_LENGTH={}", INPUT.len()),
        "--env=QUERY_STRING=5",
        "--env=REDIRECT_STATUS=200",
        "--env=SCRIPT_FILENAME=/work.php",
    ];
    let both = bench.check(&php, &request, &["-q"], INPUT);
    assert_eq!(both.status, 5, "{}", both.stderr);
    insta::assert_snapshot!(both.stdout, @r#"
    X-Powered-By: PHP/8.2.0
    Content-type: text/html; charset=UTF-8

    read 18 first line
    size 27
    gone true true
    list . dir in.txt renamed.txt work.php
    list dir sub
    list dir/sub file.bin
    missing false
    slept 90.500
    time 2000-01-01T00:01:30Z
    stdin piped
    stdin last, without newline
    "#);
    insta::assert_snapshot!(both.changes, @r#"
    D delete-me.txt
    A dir/
    A dir/sub/
    A dir/sub/file.bin
    A renamed.txt

    diff --git a/delete-me.txt b/delete-me.txt
    deleted file mode 100644
    --- a/delete-me.txt
    +++ /dev/null
    @@ -1,1 +0,0 @@
    -x
    diff --git a/dir/sub/file.bin b/dir/sub/file.bin
    new file mode 100644
    +binary, 256000 bytes, sha256 b57b64b198d5d59ce5a22a9b9f25e72a7d081476d432051aa923f3dbebb90934
    diff --git a/renamed.txt b/renamed.txt
    new file mode 100644
    --- /dev/null
    +++ b/renamed.txt
    @@ -0,0 +1,3 @@
    +FIRST LINE
    +SECOND
    +appended
    "#);
}

#[test]
fn sqlite_keeps_a_database_file() {
    let Some(sqlite) = program("sqlite3") else { return };
    let bench = Bench::new(&[]);
    let make = "create table t(n integer primary key, square, name text);
        begin; with recursive c(n) as (select 1 union all select n + 1 from c where n < 10000)
        insert into t select n, n * n, 'row ' || n from c; commit;
        create index by_name on t(name);
        begin; delete from t; rollback;
        select count(*), sum(square), datetime('now') from t;";
    let made = bench.check(&sqlite, &[], &["/app.db", make], "");
    assert_eq!(made.status, 0, "{}", made.stderr);
    insta::assert_snapshot!(made.stdout, @"10000|333383335000|2000-01-01 00:00:00");
    // The journal is made and deleted again.
    insta::assert_snapshot!(made.changes, @r#"
    A app.db

    diff --git a/app.db b/app.db
    new file mode 100644
    +binary, 380928 bytes, sha256 de96684315000d3f7575a9e1cd3ae30275e0b784297fc856c9559758989b9428
    "#);

    // Another process finds what the first one wrote, changes it, and packs the file.
    let query = "select name from t where n in (1, 10000); delete from t where n > 10; vacuum;
        select count(*) from t; pragma integrity_check;";
    let found = bench.on_dir(&sqlite, &[], &["/app.db"], query);
    assert_eq!((found.status, found.stdout.as_str()), (0, "row 1\nrow 10000\n10\nok\n"));

    let wrong = bench.on_dir(&sqlite, &[], &["/app.db", "selec 1"], "");
    assert_eq!(
        (wrong.status, wrong.stderr.as_str()),
        (1, "sqlite3: near \"selec\": syntax error\n")
    );
    let missing = bench.on_dir(&sqlite, &[], &["/no/such.db", "select 1"], "");
    assert_eq!(
        (missing.status, missing.stderr.as_str()),
        (1, "sqlite3: /no/such.db: unable to open database file\n")
    );
}

#[test]
fn jq_filters_its_input() {
    let Some(jq) = program("jq") else { return };
    let bench = Bench::new(&[("in.json", r#"{"rows": [{"n": 3}, {"n": 1}, {"n": 2}]}"#)]);
    let sorted = bench.check(&jq, &[], &["-c", "[.rows | sort_by(.n)[].n]", "in.json"], "");
    assert_eq!((sorted.status, sorted.stdout.as_str()), (0, "[1,2,3]\n"), "{}", sorted.stderr);
    assert_eq!(sorted.changes, "", "a filter changes nothing");

    let input = (1..=10_000).map(|n| format!("{{\"n\": {n}}}\n")).collect::<String>();
    let summed =
        bench.check(&jq, &[], &["-s", "-c", "[map(.n) | add, length], (now | todate)"], &input);
    assert_eq!(summed.status, 0, "{}", summed.stderr);
    assert_eq!(summed.stdout, "[50005000,10000]\n\"2000-01-01T00:00:00Z\"\n");
    let each = bench.on_dir(&jq, &[], &[".n"], &input);
    assert_eq!(each.stdout.lines().count(), 10_000);

    let broken = bench.on_dir(&jq, &[], &["."], "[3,1");
    assert_ne!(broken.status, 0);
    assert!(broken.stderr.contains("Unfinished JSON term"), "{}", broken.stderr);
}

#[test]
fn ripgrep_searches_a_thousand_files() {
    let Some(rg) = program("rg") else { return };
    let bench = Bench::new(&[]);
    let tree =
        bench.on_dir(&sources("testbench-harness/guests/mktree.wasm"), &[], &["t", "10", "2"], "");
    assert_eq!(tree.stdout, "1000 files, 111 directories, 15000 bytes\n", "{}", tree.stderr);

    let found = bench.check(&rg, &[], &["--sort", "path", "-n", "d[12]/f7", "t"], "");
    assert_eq!(found.status, 0, "{}", found.stderr);
    let lines: Vec<&str> = found.stdout.lines().collect();
    assert_eq!(lines.len(), 20, "{}", found.stdout);
    assert_eq!(lines[0], "t/d0/d1/f7.txt:1:t/d0/d1/f7.txt");
    assert_eq!(lines[19], "t/d9/d2/f7.txt:1:t/d9/d2/f7.txt");
    assert_eq!(found.changes, "", "a search changes nothing");

    let files = bench.on_dir(&rg, &[], &["--files", "t"], "");
    assert_eq!(files.stdout.lines().count(), 1000);
    let nothing = bench.on_dir(&rg, &[], &["no such text", "t"], "");
    assert_eq!((nothing.status, nothing.stdout.as_str()), (1, ""));
    let filtered = bench.on_dir(&rg, &[], &["-v", "^b", "-"], "a\nb\nc\n");
    assert_eq!((filtered.status, filtered.stdout.as_str()), (0, "a\nc\n"));
    let wrong = bench.on_dir(&rg, &[], &["[", "t"], "");
    assert_eq!(wrong.status, 2);
    assert!(wrong.stderr.contains("unclosed character class"), "{}", wrong.stderr);
}

#[test]
fn esbuild_bundles() {
    let Some(esbuild) = program("esbuild") else { return };
    let bench = Bench::new(&[
        ("src/main.ts", "import { answer } from './lib'\nconsole.log(answer satisfies number)\n"),
        ("src/lib.ts", "export const answer: number = 41 + 1\nexport const unused = 'unused'\n"),
    ]);
    // Go's runtime starts in the directory that PWD names.
    let pwd = &["--env", "PWD=/"];
    let arguments =
        ["--bundle", "--minify", "src/main.ts", "--outfile=out/main.js", "--log-level=error"];
    let bundled = bench.check(&esbuild, pwd, &arguments, "");
    assert_eq!(bundled.status, 0, "{}", bundled.stderr);
    insta::assert_snapshot!(bundled.changes, @r#"
    A out/
    A out/main.js

    diff --git a/out/main.js b/out/main.js
    new file mode 100644
    --- /dev/null
    +++ b/out/main.js
    @@ -0,0 +1,1 @@
    +(()=>{console.log(42);})();
    "#);

    let converted = bench.on_dir(&esbuild, pwd, &["--loader=ts"], "let  x: number  =  1");
    assert_eq!((converted.status, converted.stdout.as_str()), (0, "let x = 1;\n"));
    let wrong = bench.on_dir(&esbuild, pwd, &["--bundle", "missing.ts"], "");
    assert_eq!(wrong.status, 1);
    assert!(wrong.stderr.contains("Could not resolve \"missing.ts\""), "{}", wrong.stderr);
}

/// A compiler, a linker and the program that they make, all three as guests. They import
/// `wasi_unstable`, the interface before preview 1.
#[test]
fn clang_compiles_a_program_that_runs() {
    let (Some(clang), Some(linker)) = (program("clang"), program("wasm-ld")) else { return };
    let bench = Bench::new(&[(
        "hello.c",
        "#include <stdio.h>\n\
         int main(void) {\n\
         char line[64];\n\
         while (fgets(line, sizeof line, stdin)) printf(\"got %s\", line);\n\
         return 7;\n\
         }\n",
    )]);
    let sys = format!("--dir={}::/sys:ro", clang.with_file_name("sys").display());
    let headers =
        ["-internal-isystem", "/sys/include", "-internal-isystem", "/sys/lib/clang/8.0.1/include"];
    let mut arguments = vec!["-cc1", "-triple", "wasm32-unknown-wasi", "-isysroot", "/sys"];
    arguments.extend(headers);
    arguments.extend(["-O2", "-emit-obj", "-o", "/hello.o", "/hello.c"]);
    let compiled = bench.on_dir(&clang, &[&sys], &arguments, "");
    assert_eq!(compiled.status, 0, "{}", compiled.stderr);

    let libraries = ["-L/sys/lib/wasm32-wasi", "/sys/lib/wasm32-wasi/crt1.o", "/hello.o", "-lc"];
    let mut arguments = vec!["--no-threads"];
    arguments.extend(libraries);
    arguments.extend(["-o", "/hello.wasm"]);
    let linked = bench.on_dir(&linker, &[&sys], &arguments, "");
    assert_eq!(linked.status, 0, "{}", linked.stderr);

    let ran = run(&bench.path("hello.wasm"), &[], &[], "one\ntwo\n");
    assert_eq!((ran.status, ran.stdout.as_str()), (7, "got one\ngot two\n"), "{}", ran.stderr);
}
