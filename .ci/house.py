#!/usr/bin/env python3
"""Holds the house to its size: fails if a maximum is exceeded or a document names a missing file.

    .ci/house.py            a table of each crate's lines, then every finding; status 1 if there is one

Lines are counted in `crates/*/src`: code, documentation (`///`, `//!`), the examples within it, unit
tests. A circle is a set of files that import each other, directly or through others; an import through
`pub use` counts as one of the file that defines the item. Everything is read as text.

A change that needs more lines raises the maximum in its own commit and says why. The maximum of code is
still above its goal of 37,500: each simplification lowers it.
"""
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

CODE_MAX = 37_700
DOCUMENTATION_MAX = 12_500
EXAMPLES_MAX = 3_500
CIRCLE_FILES_MAX = 6
# The two walks in docs/ARCHITECTURE.md, and how many files each may name.
WALKS = {"The walk of one spawn": 15, "The walk of one file operation": 12}


def is_test(path):
    return "tests" in path.parts or path.stem in ("tests", "test_support")


def lines_of(path):
    """The lines of one source file by kind."""
    kinds, fenced, test_indent, pending = Counter(), False, None, False
    for line in path.read_text().splitlines():
        text = line.strip()
        if is_test(path):
            kinds["test"] += 1
        elif test_indent is not None:
            kinds["test"] += 1
            if line.rstrip() == test_indent + "}":
                test_indent = None
        elif text.startswith(("///", "//!")):
            kinds["documentation"] += 1
            fence = text[3:].strip().startswith("```")
            kinds["examples"] += fence or fenced
            fenced ^= fence
        elif text and not text.startswith("//"):
            pending |= text.startswith(("#[cfg(test", "#[cfg(all(test"))
            if pending and re.match(r"(pub(\([^)]*\))? )?mod \w+ \{", text):
                test_indent, pending = line[: len(line) - len(line.lstrip())], False
                kinds["test"] += 1
                continue
            pending &= text.startswith("#")
            kinds["code"] += 1
    return kinds


def tree_of_uses(text):
    """The paths of a `use` declaration's tree, each with its alias."""
    text = text.strip()
    brace = text.find("{")
    if brace < 0:
        path, _, alias = text.partition(" as ")
        return [(path.strip().split("::"), alias.strip())]
    prefix = [part for part in text[:brace].strip().split("::") if part]
    depth, item, found = 0, "", []
    for char in text[brace + 1 : text.rfind("}")] + ",":
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            found += [(prefix + path, alias) for path, alias in tree_of_uses(item) if item.strip()]
            item = ""
        else:
            item += char
    return found


class Crate:
    """The modules of one crate and the imports between them."""

    def __init__(self, source):
        self.files = {}
        for path in sorted(source.rglob("*.rs")):
            if not is_test(path.relative_to(source)):
                parts = path.relative_to(source).with_suffix("").parts
                self.files[parts[:-1] if parts[-1] in ("lib", "main", "mod") else parts] = path
        self.uses = {module: self.uses_of(module) for module in self.files}
        self.names = {
            module: {alias or path[-1]: path for path, alias, _ in uses if path}
            for module, uses in self.uses.items()
        }

    def uses_of(self, module):
        text = self.files[module].read_text()
        text = re.sub(r"#\[cfg\(test\)\]\s*mod \w+ \{.*?^\}", "", text, flags=re.S | re.M)
        text = re.sub(r'//[^\n]*|"(?:[^"\\]|\\.)*"', "", text)
        uses, declaration = [], re.compile(r"^\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", re.M)
        for public, tree in declaration.findall(text):
            uses += [(self.absolute(module, path), alias, bool(public)) for path, alias in tree_of_uses(tree)]
        for path in re.findall(r"\b((?:crate|super)(?:::\w+)+)", declaration.sub("", text)):
            uses.append((self.absolute(module, path.split("::")), "", False))
        return [(path, alias, public) for path, alias, public in uses if path is not None]

    def absolute(self, module, path):
        at = list(module)
        if path[0] == "crate":
            at = []
        elif path[0] not in ("self", "super") and module + (path[0],) not in self.files:
            return None
        for part in path:
            at = at[:-1] if part == "super" else at if part in ("crate", "self") else at + [part]
        return at

    def home(self, path, depth=0):
        """The module that defines what a path names."""
        for length in range(len(path), -1, -1):
            module, rest = tuple(path[:length]), path[length:]
            if module in self.files:
                through = self.names[module].get(rest[0]) if rest else None
                if through not in (None, path) and depth < 8:
                    return self.home(through + rest[1:], depth + 1)
                return module
        return None

    def circles(self):
        arrows = defaultdict(set)
        for module, uses in self.uses.items():
            for path, _, public in uses:
                home = self.home(path)
                own = public and home is not None and home[: len(module)] == module
                if home is not None and home != module and not own:
                    arrows[module].add(home)
        reached = {module: self.reached_from(module, arrows) for module in self.files}
        found = {frozenset(b for b in reached[a] if a in reached[b]) for a in self.files}
        return sorted((circle for circle in found if len(circle) > 1), key=len, reverse=True)

    @staticmethod
    def reached_from(module, arrows):
        seen, ahead = set(), [module]
        while ahead:
            for arrow in arrows[ahead.pop()] - seen:
                seen.add(arrow)
                ahead.append(arrow)
        return seen


def measure(crates, findings):
    kinds = ("code", "documentation", "examples", "test")
    print(f"{'crate':24}" + "".join(f"{kind:>15}" for kind in kinds) + "  circles")
    total = Counter()
    for source in sorted(crates.glob("*/src")):
        lines = sum((lines_of(path) for path in sorted(source.rglob("*.rs"))), Counter())
        circles = Crate(source).circles()
        total += lines
        name = source.parent.name
        print(f"{name:24}" + "".join(f"{lines[k]:15}" for k in kinds), [len(c) for c in circles])
        for circle in circles:
            if len(circle) > CIRCLE_FILES_MAX:
                files = ", ".join(sorted("/".join(module) or "lib" for module in circle))
                findings.append(f"{name}: {len(circle)} files import each other (at most {CIRCLE_FILES_MAX}): {files}")
    print(f"{'all':24}" + "".join(f"{total[kind]:15}" for kind in kinds))
    for kind, most in (("code", CODE_MAX), ("documentation", DOCUMENTATION_MAX), ("examples", EXAMPLES_MAX)):
        if total[kind] > most:
            findings.append(f"{total[kind]} lines of {kind}, at most {most}")


def check_prose(root, findings):
    """Finds sentences that begin with a word for which a noun serves, outside of code."""
    begins = re.compile(r"(?:^|[.!?:|]\s+|[-*>]\s+|\d\.\s+|#\s+|\*\*)(What|Who|Whoever|That which)\b(?!`)")
    listed = subprocess.run(["git", "ls-files", "--", "*.md", "crates/*/src/**.rs"], cwd=root, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if not (root / name).exists():
            continue
        prose, fenced = [], False
        for number, line in enumerate((root / name).read_text().splitlines(), 1):
            if name.endswith(".rs"):
                comment = re.match(r"\s*//[/!] ?(.*)", line)
                line = comment.group(1) if comment else ""
            if line.strip().startswith("```"):
                fenced, line = not fenced, ""
            prose.append((number, "" if fenced else line))
        before = ""
        for number, line in prose:
            # The first word of a line continues the sentence of the line before, unless that ended.
            joined = line.strip() if not before or before.endswith((".", "!", "?", ":", "|")) else "… " + line.strip()
            if begins.search(re.sub(r"`[^`]*`", "`", joined)):
                findings.append(f"{name}:{number}: begins a sentence with What, Who or Whoever: {line.strip()[:70]}")
            before = line.strip()


def check_links(root, findings):
    """Checks that each relative link of a document leads to a file, and that the walks are short."""
    listed = subprocess.run(["git", "ls-files", "--", "*.md"], cwd=root, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if not (root / name).exists():
            continue
        text = re.sub(r"```.*?```", "", (root / name).read_text(), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in target and not (root / name).parent.joinpath(target).exists():
                findings.append(f"{name}: the link to {target} leads nowhere")
    architecture = (root / "docs/ARCHITECTURE.md").read_text()
    for title, most in WALKS.items():
        section = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", architecture, flags=re.S | re.M)
        files = set(re.findall(r"\]\((\.\./crates/[^)]+\.rs)\)", section.group(1))) if section else set()
        if not 0 < len(files) <= most:
            findings.append(f"docs/ARCHITECTURE.md: “{title}” names {len(files)} files, from 1 to {most} are wanted")


def main():
    root = Path(__file__).resolve().parent.parent
    findings = []
    measure(root / "crates", findings)
    check_prose(root, findings)
    check_links(root, findings)
    for finding in findings:
        print(finding, file=sys.stderr)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
