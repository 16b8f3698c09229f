#!/bin/sh
# Builds the guest programs and plugins: build.sh [OUT_DIR]   (default: beside the sources)
#
# The bytes of a .wasm depend on the compiler, the linker and the C library only, never on where or
# when it is built; README.md names the versions that the committed files come from.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here}
mkdir -p "$out/plugins"
out=$(cd "$out" && pwd)

# Relative source names, so that no path of this machine gets into a file.
cd "$here"
for source in *.c plugins/*.c; do
    name=${source%.c}
    # Backtraces of a trap show the functions' names, which every other program goes without; those of
    # lines show source lines too, by a path that is the same wherever it is built.
    case $name in
        trap) symbols=-Wl,--strip-debug ;;
        plugins/lines) symbols="-g -fdebug-compilation-dir=. -nostdlib -Wl,--no-entry" ;;
        *) symbols=-Wl,--strip-all ;;
    esac
    # A plugin has no main; `_initialize` sets up its C library.
    case $name in
        plugins/*) model=reactor ;;
        *) model=command ;;
    esac
    # Stack first: a stack that overflows traps, where otherwise it would run into the data.
    clang-19 --target=wasm32-wasi -mexec-model=$model -std=gnu17 -D_GNU_SOURCE -Os -Wall -Wextra -Werror \
        -ffunction-sections -fdata-sections -fno-ident \
        -Wl,--gc-sections $symbols -Wl,--stack-first -Wl,-z,stack-size=65536 \
        -o "$out/$name.wasm" "$source" -lc-printscan-no-floating-point
    chmod 644 "$out/$name.wasm"
done
