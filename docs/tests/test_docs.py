"""Every code block of the documentation does what it says: YAML is a valid template, Python runs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tasker_core._native import validate_template

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[Any]:
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            if block.group(1) == language:
                line = text[: block.start()].count("\n") + 2
                found.append(pytest.param(block.group(2), id=f"{page.relative_to(ROOT)}:{line}"))
    return found


@pytest.mark.parametrize("source", blocks("yaml"))
def test_yaml(source: str) -> None:
    checked = json.loads(validate_template(source, "block.yaml", "test", True))
    assert checked["ok"], "\n".join(d["text"] for d in checked["diagnostics"])
    assert checked["diagnostics"] == []


@pytest.mark.parametrize("source", blocks("python"))
def test_python(source: str) -> None:
    exec(compile(source, "block.py", "exec"), {"__name__": "block"})


@pytest.mark.parametrize("source", blocks("ruby"))
def test_ruby(source: str) -> None:
    library = ROOT / "workers" / "ruby" / "lib"
    ran = subprocess.run(["ruby", "-I", str(library), "-e", source], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("page", [pytest.param(p, id=p.name) for p in sorted((ROOT / "docs").rglob("*.md"))])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target
