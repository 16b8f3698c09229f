"""Adapter of `testbench run` for the public wasi-testsuite: `run-tests -r <this file> <tests>`.

TESTBENCH names the program, with options of `run` behind it if wanted.
"""
import os
import shlex
import subprocess

TESTBENCH = shlex.split(os.getenv("TESTBENCH", "testbench"))


def get_name():
    return "testbench"


def get_version():
    line = subprocess.run([TESTBENCH[0], "--version"], encoding="UTF-8", capture_output=True, check=True).stdout
    return line.split()[1]


def get_wasi_versions():
    return ["wasm32-wasip1"]


def get_wasi_worlds():
    return ["wasi:cli/command"]


def compute_argv(test_path, args_env_root, proposals, wasi_world, wasi_version):
    args, env, root = args_env_root
    argv = [TESTBENCH[0], "run", *TESTBENCH[1:]]
    argv += [part for key, value in env.items() for part in ("--env", f"{key}={value}")]
    argv += ["--dir", f"{root}::/"] if root else []
    return [*argv, test_path, *args]
