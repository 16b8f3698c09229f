//! `testbench toolchain`, `compile` and `completions` from the outside.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use testbench_harness::Toolchain;

fn testbench(args: &[&str], cache: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbench"));
    // Where the cache is by default, on Linux and on macOS.
    command.args(args).env("XDG_CACHE_HOME", cache).env("HOME", cache).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn init_writes_the_tools_out_once_and_spoils_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let tools = temp.path().join("a/tools");
    let name = tools.to_str().unwrap();
    let init =
        |args: &[&str]| testbench(&[&["toolchain", "init", name], args].concat(), temp.path());
    let count = Toolchain::builtin_modules().len();

    let made = init(&[]);
    assert_eq!(text(&made.stdout), format!("wrote {count} programs to {name}\n"), "{made:?}");
    assert_eq!(Toolchain::open(&tools).unwrap().names(), Toolchain::builtin().names());
    for (name, module) in Toolchain::builtin_modules() {
        assert!(fs::read(tools.join(format!("{name}.wasm"))).unwrap() == module, "{name}");
    }
    let again = init(&[]);
    let there = format!("wrote 0 programs to {name}, {count} were there already\n");
    assert_eq!(text(&again.stdout), there);

    fs::write(tools.join("cat.wasm"), "mine").unwrap();
    fs::remove_file(tools.join("wc.wasm")).unwrap();
    let refused = init(&[]);
    assert_eq!(refused.status.code(), Some(125));
    assert!(text(&refused.stderr).contains("cat.wasm` is there and holds something else"));
    assert!(!tools.join("wc.wasm").exists(), "nothing is written by one that fails");
    let forced = json(&init(&["--force", "--json"]));
    assert_eq!(forced["written"], serde_json::json!(["cat", "wc"]));
    assert_eq!(forced["schema"], "testbench-toolchain-init/1");
    // Nothing else is left there.
    assert_eq!(fs::read_dir(&tools).unwrap().count(), count);
}

#[test]
fn list_tells_names_sizes_and_what_the_manifest_adds() {
    let temp = tempfile::tempdir().unwrap();
    let tools = temp.path().join("tools");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("cat.wasm"), [0; 20_480]).unwrap();
    fs::write(tools.join("busybox.wasm"), [0; 99]).unwrap();
    let manifest = "[tools.dog]\nalias = \"cat\"\n\n[tools.busybox]\nmulticall = [\"awk\"]\n";
    fs::write(tools.join("testbench.toml"), manifest).unwrap();
    let list = |args: &[&str]| testbench(&[&["toolchain", "list"], args].concat(), temp.path());
    let name = tools.to_str().unwrap();
    insta::assert_snapshot!(text(&list(&[name]).stdout), @r"
    awk            99 B  multicall: busybox.wasm
    busybox        99 B
    cat        20.0 KiB
    dog        20.0 KiB  alias: cat.wasm
    ");
    let listed = json(&list(&[name, "--json"]));
    assert_eq!(listed["programs"][3]["match"], "alias");
    assert_eq!(listed["programs"][3]["bytes"], 20_480);
    let builtin = json(&list(&["--json"]));
    assert_eq!(builtin["programs"].as_array().unwrap().len(), Toolchain::builtin_modules().len());
    let missing = list(&["/no/such/dir"]);
    assert_eq!(missing.status.code(), Some(125));
    assert!(text(&missing.stderr).contains("/no/such/dir"), "{missing:?}");
}

#[test]
fn compile_fills_the_cache_and_names_what_cannot_be_compiled() {
    let temp = tempfile::tempdir().unwrap();
    let (tools, cache) = (temp.path().join("tools"), temp.path().join("cache"));
    fs::create_dir(&tools).unwrap();
    for (name, module) in Toolchain::builtin_modules().filter(|(n, _)| ["cat", "wc"].contains(n)) {
        fs::write(tools.join(format!("{name}.wasm")), module).unwrap();
    }
    let name = tools.to_str().unwrap();
    let compile = |args: &[&str]| testbench(&[&["compile", name], args].concat(), &cache);
    let first = compile(&["-j", "2", "--json"]);
    assert_eq!((first.status.code(), &json(&first)["compiled"]), (Some(0), &2.into()), "{first:?}");
    assert!(Path::new(json(&first)["cache"].as_str().unwrap()).starts_with(&cache));
    // The second time all of it is there.
    assert_eq!(json(&compile(&["--json"]))["compiled"], 0);
    assert!(text(&compile(&[]).stdout).starts_with("2 modules, 0 compiled in "));

    fs::write(tools.join("bad.wasm"), "not wasm").unwrap();
    let failed = compile(&[]);
    assert_eq!(failed.status.code(), Some(126));
    assert!(text(&failed.stdout).starts_with("bad: "), "{failed:?}");
    assert_eq!(json(&compile(&["--json"]))["modules"][0]["name"], "bad");
    assert_eq!(compile(&["-j", "0"]).status.code(), Some(125));
}

#[test]
fn completions_are_for_every_shell() {
    let temp = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = testbench(&["completions", shell], temp.path());
        assert!(script.status.success(), "{shell}");
        let script = text(&script.stdout).to_owned();
        assert!(script.contains("against-toolchain") && script.contains("which"), "{shell}");
    }
    let wrong = testbench(&["completions", "cmd"], temp.path());
    assert_eq!(wrong.status.code(), Some(125));
    assert!(text(&wrong.stderr).contains("bash"), "{wrong:?}");
}
