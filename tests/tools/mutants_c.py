# SPDX-License-Identifier: MIT
"""Do the tests bite on the C helper? Small changes to one file of csrc, one after the other.

``python tests/tools/mutants_c.py FILE TEST...``: FILE in csrc, TESTs as pytest takes them. Each
change is compiled into a copy of the installed package; prints those that no test noticed, and the
score.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import oldmemfs

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
SWAPS = {
    "<=": ("<", "=="), ">=": (">", "=="), "<": ("<=", "!="), ">": (">=", "!="), "==": ("!=",),
    "!=": ("==",), "&&": ("||",), "||": ("&&",), "<<": (">>",), ">>": ("<<",), "+=": ("-=", "="),
    "-=": ("+=", "="), "|=": ("&=", "="), "&=": ("|=", "="), "++": ("--",), "+": ("-",),
    "-": ("+",), "%": ("/",), "|": ("&",), "&": ("|",), "^": ("|",), "!": ("",), "?": ("? !",),
}  # fmt: skip
TOKEN = re.compile(
    r"/\*.*?\*/|//[^\n]*|\"[^\"\n]*\"|^#[^\n]*(?:\\\n[^\n]*)*|->|[0-9][0-9a-zA-Z]*|\w+"
    r"|<<=|>>=|[<>=!+\-|&]=|&&|\|\||<<|>>|\+\+|--|[-+%|&^!?<>=*/~;(){}\[\],.:]",
    re.MULTILINE | re.DOTALL,
)
BEFORE_A_SIGN = ("", "(", "=", ",", "return", "?", ":")
LEFT_OUT = re.compile(r"\s*[*\w>.\[\]-]+ *([-+|&]?=|\+\+|--|\()[^;]*")  # no declaration: one word
MOST_MEMORY = 2 << 30  # a change may make a loop that takes all of it
TIMES, LEAST = 5, 30  # a test that takes so many times as long as it should, or seconds, noticed it


class Change(NamedTuple):
    """``old`` at ``at`` becomes ``new``."""

    at: int
    old: str
    new: str


def changes(text: str) -> Iterator[Change]:
    """Operators for their neighbours, numbers one more, and statements that are left out."""
    braces = parens = start = 0
    before, condition = "", False
    for token in TOKEN.finditer(text):
        word, at = token.group(), token.start()
        if word.startswith(("/*", "#")):
            start = token.end()
            continue
        if word in SWAPS and not (word in "&-+" and (before in SWAPS or before in BEFORE_A_SIGN)):
            for new in SWAPS[word]:
                yield Change(at, word, new)
        elif number := re.fullmatch(r"([0-9]+)u?", word):
            yield Change(at, word, str(int(number[1]) + 1))
        braces += {"{": 1, "}": -1}.get(word, 0)
        if word == "(" and not parens:
            condition = before in ("if", "for", "while", "switch")
        parens += {"(": 1, ")": -1}.get(word, 0)
        if word == ";" and braces and not parens and LEFT_OUT.match(text, start, at):
            yield Change(start, text[start:at], " (void)0")
        if word in (";", "{", "}") or (word == ")" and not parens and condition):
            start = token.end()
        before = word


def line_of(text: str, change: Change) -> str:
    """The change as a person reads it."""
    old, new = change.old.strip(), change.new
    number = text.count("\n", 0, change.at + change.old.index(old)) + 1
    return f"{number}: {text.splitlines()[number - 1].strip()}   [{old} -> {new}]"


class Build:
    """The helper, compiled file by file, in a package of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sources = folder, folder / "csrc"
        shutil.copytree(CSRC, self.sources)
        package = Path(oldmemfs.__file__).parent
        if not list(package.glob("_oldmem*.so")):
            package = Path(sysconfig.get_path("platlib")) / "oldmemfs"
        shutil.copytree(package, folder / "oldmemfs")
        (self.target,) = (folder / "oldmemfs").glob("_oldmem*.so")
        words = ["read-sources", "oldmemfs._oldmem", "oldmem.cdef.txt", "oldmem.csrc.c", "oldmem.c"]
        subprocess.run([sys.executable, "-m", "cffi.gen_src", *words], cwd=self.sources, check=True)
        self.files = [p for p in self.sources.glob("*.c") if p.name != "oldmem.csrc.c"]
        assert all(self.compiled(file) for file in self.files)

    def compiled(self, file: Path) -> bool:
        """Whether this file can be; its object lies beside it."""
        include = [f"-I{self.sources}", f"-I{sysconfig.get_path('include')}"]
        words = ["-c", "-O1", "-fPIC", "-w", "-std=c11", "-DPy_LIMITED_API=0x030b0000", *include]
        target = ["-o", str(file.with_suffix(".o")), str(file)]
        done = subprocess.run(["cc", *words, *target], capture_output=True, check=False)
        return done.returncode == 0

    def with_text(self, name: str, text: str) -> bool:
        """Whether it builds with another text of one file."""
        (self.sources / name).write_text(text)
        users = [f for f in self.files if f.name == name or f'"{name}"' in f.read_text()]
        if not all(self.compiled(file) for file in users):
            return False
        objects = [str(file.with_suffix(".o")) for file in self.files]
        words = ["-shared", "-o", str(self.target), *objects, "-lpthread"]
        return subprocess.run(["cc", *words], capture_output=True, check=False).returncode == 0

    def noticed(self, tests: list[str], seconds: float | None) -> bool:
        """Whether a test fails, or takes too long."""
        words = ["-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m",
                 "not golden and not vm and not mount", *tests]  # fmt: skip
        try:
            done = subprocess.run(
                [sys.executable, *words], cwd=ROOT, timeout=seconds, capture_output=True,
                env={**os.environ, "PYTHONPATH": str(self.folder)}, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return True
        return done.returncode != 0


def main() -> None:
    name, tests = sys.argv[1], sys.argv[2:]
    text = (CSRC / name).read_text()
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        build = Build(Path(folder))
        before = os.times()
        assert build.with_text(name, text)
        assert not build.noticed(tests, None), "the tests fail without any change"
        seconds = max(TIMES * (os.times().elapsed - before.elapsed), LEAST)
        seen = total = 0
        for change in changes(text):
            end = change.at + len(change.old)
            if not build.with_text(name, text[: change.at] + change.new + text[end:]):
                continue
            total += 1
            if build.noticed(tests, seconds):
                seen += 1
            else:
                print(f"lived {name}:{line_of(text, change)}", flush=True)
        print(f"{name}: {seen} of {total} changes were noticed")


if __name__ == "__main__":
    main()
