#!/usr/bin/env bash
# Runs the tests of the tokio runtimes with the lowest tokio that the workspace asks for, in a copy of
# the crates that they need. Arguments are passed on to cargo test.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
lowest=$(sed -nE 's/^tokio = \{ version = "([0-9]+\.[0-9]+)".*/\1.0/p' "$root/Cargo.toml")
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

mkdir "$copy/crates"
cp -r "$root"/crates/testbench-clock "$root"/crates/testbench-clock-macros "$copy/crates"
cp "$root/Cargo.lock" "$copy"
# Everything but the members that are not there.
sed -E -e 's/^members = .*/members = ["crates\/*"]/' -e '/^default-members = /d' \
    "$root/Cargo.toml" >"$copy/Cargo.toml"
target=${CARGO_TARGET_DIR:-$root/target}/lowest-tokio
cd "$copy"
cargo update --quiet -p tokio --precise "$lowest"
echo "tokio $(cargo tree --quiet -p testbench-clock -e normal --features tokio -i tokio --depth 0)"
CARGO_TARGET_DIR=$target cargo test -p testbench-clock --features tokio --test it "$@" -- on_tokio tokio_time
