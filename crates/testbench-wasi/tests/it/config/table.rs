//! The documentation's table of knobs is complete, and the tests that it names exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The part of the page about our own knobs.
fn our_tables() -> String {
    let page = read("../../docs/RUN_CONFIGURATION.md");
    let (ours, _) = page.split_once("\n## wazero\n").expect("the tables of other hosts");
    ours.split_once("\n## The knobs\n").expect("the tables of ours").1.to_owned()
}

/// The parts between backticks in `text`.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names of the builder methods (`self` to `Self`) in a source file.
fn builder_methods(path: &str) -> Vec<String> {
    let source = read(path);
    let methods = source.split("    pub fn ").skip(1).filter_map(|rest| {
        let (head, _) = rest.split_once('{')?;
        let takes_self = head.contains("(mut self") || head.contains("self,");
        let name = head.split(['(', '<']).next()?;
        (takes_self && head.contains("-> Self")).then(|| name.to_owned())
    });
    methods.collect()
}

#[test]
fn every_knob_has_a_row() {
    let tables = our_tables();
    let first_cells =
        tables.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let rows: BTreeSet<&str> = first_cells.flat_map(quoted).collect();
    let sources = ["src/engine/config.rs", "src/spec.rs", "src/plugin/spec.rs"];
    let mut knobs: Vec<String> = sources.into_iter().flat_map(builder_methods).collect();
    let limits = read("src/limits.rs");
    let fields = limits.lines().take_while(|line| !line.starts_with("impl Limits"));
    knobs.extend(
        fields
            .filter_map(|line| Some(line.strip_prefix("    pub ")?.split_once(':')?.0.to_owned())),
    );
    assert!(knobs.len() > 35, "{knobs:?}");
    let missing: Vec<_> = knobs.iter().filter(|knob| !rows.contains(knob.as_str())).collect();
    assert!(missing.is_empty(), "without a row in docs/RUN_CONFIGURATION.md: {missing:?}");
}

#[test]
fn every_row_names_tests_that_exist() {
    let mut named = 0;
    for row in our_tables().lines().filter(|line| line.starts_with("| `")) {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().expect("a last cell");
        for test in quoted(last).filter(|name| name.contains("::")) {
            let (file, function) = test.split_once("::").expect("module::test");
            let sources = ["config", "plugin"].map(|dir| format!("tests/it/{dir}/{file}.rs"));
            let wanted = format!("#[test]\nfn {function}()");
            let found = sources.iter().filter(|path| root().join(path).exists());
            let found = found.into_iter().any(|path| {
                let source = read(path);
                // An attribute may stand between.
                source.contains(&wanted) || source.contains(&format!("]\nfn {function}()"))
            });
            assert!(found, "{row}\nnames `{test}`, which is not there");
            named += 1;
        }
    }
    assert!(named > 40, "only {named} tests are named");
}

#[test]
fn rows_of_other_hosts_name_tests_that_exist() {
    let document = read("../../docs/RUN_CONFIGURATION.md");
    let (_, others) = document.split_once("\n## wazero\n").expect("the tables of other hosts");
    let named: BTreeSet<&str> = others
        .split("; test `")
        .skip(1)
        .filter_map(|rest| rest.split_once("` in `tests/it/guests/`")?.0.split_once("::"))
        .map(|(file, function)| {
            assert_eq!(file, "modules");
            function
        })
        .collect();
    let source = read("tests/it/guests/modules.rs");
    for function in &named {
        let there = source.contains(&format!("#[test]\nfn {function}()"));
        assert!(there, "`modules::{function}` is not there");
    }
    assert!(named.len() >= 3, "{named:?}");
}
