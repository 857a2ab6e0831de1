"""Writes docs/parity.md: every conformance case and SDK member, in every language, as it was found by running.

python conformance/parity.py                       # all languages that have a host
python conformance/parity.py --languages python

Every case is run through a server too; run by scripts/with-postgres, also on PostgreSQL.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent
STORES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "pgmq": "PostgreSQL, steps by PGMQ"}
NAMES = {"python": "Python", "ruby": "Ruby", "rust": "Rust"}
HOSTS = {
    "python": [sys.executable, str(ROOT / "hosts/python/host.py")],
    "ruby": ["ruby", str(ROOT / "hosts/ruby/host.rb")],
    "rust": [os.environ.get("TASKER_RUST_HOST", "tasker-conformance-host")],
}


def members() -> list[tuple[str, str, dict[str, str]]]:
    """Group, row and the name in each language."""
    rows = []
    group = ""
    for line in (ROOT / "members.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            group = line[3:]
        elif line and not line.startswith("#"):
            row, *names = (part.strip() for part in line.split("|"))
            rows.append((group, row, dict(zip(NAMES, names))))
    return rows


def python_has(name: str) -> bool:
    parts = name.split(".")
    for cut in range(len(parts), -1, -1):
        try:
            found: Any = importlib.import_module(".".join(["tasker_core", *parts[:cut]]))
        except ImportError:
            continue
        for part in parts[cut:]:
            # A field without a default is an annotation, not an attribute.
            if not hasattr(found, part) and part not in getattr(found, "__annotations__", {}):
                return False
            found = getattr(found, part, None)
        return True
    return False


def has(language: str, names: list[str]) -> dict[str, bool]:
    """Which of the names a language's package has; a host other than Python's answers `--members` itself."""
    if language == "python":
        return {name: python_has(name) for name in names}
    asked = subprocess.run(
        [*HOSTS[language], "--members"], input="\n".join(names), capture_output=True, text=True, check=True
    )
    found: dict[str, bool] = json.loads(asked.stdout)
    return found


def run_cases(language: str, *options: str) -> dict[str, list[str]]:
    """What is wrong with each conformance case in a language; nothing, when it passes."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, str(ROOT / "runner/run.py"), "--json", str(report), *options]
        subprocess.run([*command, "--language", language, "--worker-cmd", " ".join(HOSTS[language])], check=False)
        found: dict[str, list[str]] = json.loads(report.read_text(encoding="utf-8"))
        return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--languages", default=",".join(NAMES), help="of python, ruby, rust")
    parser.add_argument("--out", type=Path, default=ROOT.parent / "docs" / "parity.md")
    given = parser.parse_args()
    languages = given.languages.split(",")
    exclusions = yaml.safe_load((ROOT / "exclusions.yaml").read_text(encoding="utf-8"))
    today = datetime.date.today()
    counts = {"pass": 0, "fail": 0, "excluded": 0}
    problems: list[str] = []

    def cell(row: str, language: str, ok: bool | None, word: str | None = None) -> str:
        if word is not None:
            rule = exclusions.get(word)
            if rule is None or rule["until"] < today:
                problems.append(f"{row}, {NAMES[language]}: the exclusion `{word}` is unknown or has expired")
                counts["fail"] += 1
                return "**expired**"
            counts["excluded"] += 1
            return f"– ({word})"
        if ok is None:
            problems.append(f"{row}, {NAMES[language]}: empty")
        elif not ok:
            problems.append(f"{row}, {NAMES[language]}: failed")
        counts["pass" if ok else "fail"] += 1
        return "pass" if ok else "**empty**" if ok is None else "**fail**"

    heads = "| | " + " | ".join(NAMES[language] for language in languages) + " |\n|---|" + "---|" * len(languages)
    out = [
        "# Parity",
        "",
        "Written by `make parity` from what it ran: every conformance case by every language's worker, every SDK",
        "member by reflection over the packages. Do not edit.",
    ]
    rows = members()
    found = {
        language: has(language, sorted({names[language] for *_, names in rows if names[language][:1] != "-"}))
        for language in languages
    }
    results = {language: run_cases(language) for language in languages}
    for language in languages:
        nasty = run_cases(language, "--nasty")
        wrong = [f"{name}: {line}" for name, lines in nasty.items() for line in lines]
        results[language]["all again under bad conditions: one slot, leases of 50 ms, every report twice"] = wrong
        for store, how in STORES.items():
            if store != "sqlite" and not os.environ.get("TASKER_TEST_POSTGRES"):
                continue
            for options, through in ([], ""), (["--remote"], ", through `tasker serve`"):
                if store == "sqlite" and not options:
                    continue
                again = run_cases(language, "--store", store, *options)
                wrong = [f"{name}: {line}" for name, lines in again.items() for line in lines]
                results[language][f"all again on {how}{through}"] = wrong
    names = list(dict.fromkeys(name for result in results.values() for name in result))
    lacking = {}
    for trouble in yaml.safe_load((ROOT / "classification.yaml").read_text(encoding="utf-8")):
        for language in languages:
            if trouble[language].startswith("-"):
                name = f"classification.yaml trouble-{trouble['kind'].replace('_', '-')}"
                lacking[name, language] = trouble[language][1:]
    out += ["", f"## Behaviour: {len(names)} checks", "", heads]
    for name in names:
        cells = [
            cell(name, lang, results[lang][name] == [] if name in results[lang] else None, lacking.get((name, lang)))
            for lang in languages
        ]
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    out += ["", f"## SDK members: {len(rows)} rows"]
    group = ""
    for of_group, row, spelled in rows:
        if of_group != group:
            group = of_group
            out += ["", f"### {group}", "", heads]
        cells = []
        for language in languages:
            name = spelled[language]
            if name.startswith("-"):
                cells.append(cell(row, language, None, name[1:]))
            else:
                cells.append(f"{cell(row, language, found[language].get(name))} `{name}`")
        out.append(f"| {row} | " + " | ".join(cells) + " |")
    if counts["excluded"]:
        out += ["", "## Exclusions", ""]
        out += [f"- **{word}** (until {rule['until']}): {rule['reason']}" for word, rule in exclusions.items()]
    given.out.write_text("\n".join(out) + "\n", encoding="utf-8")
    for problem in problems:
        print(f"FAIL {problem}")
    print(f"parity: {counts['pass']} passed, {counts['fail']} failed ({counts['excluded']} excluded with reason)")
    return 1 if counts["fail"] else 0


if __name__ == "__main__":
    sys.exit(main())
