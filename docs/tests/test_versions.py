"""One version in all packages: Cargo.toml states it, the others say the same."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
from pathlib import Path

import tasker_core
from tasker_core import _native

ROOT = Path(__file__).resolve().parent.parent.parent
MANIFEST = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
STATED = re.search(r'^version = "(.+)"', MANIFEST, re.MULTILINE)
assert STATED is not None
VERSION = STATED[1]


def test_the_crates_ask_for_each_other_at_this_version() -> None:
    asked = re.findall(r'path = "crates/[\w-]+".*version = "=(.+)"', MANIFEST)
    assert len(asked) == len(list((ROOT / "crates").iterdir()))
    assert set(asked) == {VERSION}


def test_the_python_package() -> None:
    assert tasker_core.__version__ == VERSION
    assert _native.version() == VERSION
    assert importlib.metadata.version("tasker-engine") == VERSION


def test_the_gem() -> None:
    source = (ROOT / "workers/ruby/lib/tasker_core/version.rb").read_text(encoding="utf-8")
    assert f'VERSION = "{VERSION}"' in source


def test_the_command() -> None:
    said = subprocess.run([os.environ["TASKER_BIN"], "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == f"tasker {VERSION}\n"
