"""What `scripts/prepare` says when something is missing: one sentence that names it and what to do, and that early."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


class Machine:
    """A machine whose programs are those of this one, but for the ones that a test replaces or takes away."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.cache = folder / "cache"
        for place in os.environ["PATH"].split(os.pathsep):
            for program in Path(place).iterdir() if Path(place).is_dir() else ():
                link = self.bin / program.name
                if not link.is_symlink() and os.access(program, os.X_OK):
                    link.symlink_to(program)

    def without(self, *programs: str) -> None:
        for program in programs:
            (self.bin / program).unlink(missing_ok=True)

    def where(self, program: str, script: str) -> None:
        self.without(program)
        (self.bin / program).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / program).chmod(0o755)

    def prepare(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TASKER_", "CARGO_TARGET", "PYO3_"))}
        env = kept | {"PATH": str(self.bin), "TASKER_CACHE": str(self.cache)} | more
        return subprocess.run(
            [ROOT / "scripts/prepare", *words], env=env, cwd=ROOT, capture_output=True, text=True, timeout=120
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence, after what was going to be done."""
    assert done.returncode == 1, done.stdout + done.stderr
    *announced, last = [line for line in done.stderr.splitlines() if line]
    assert all("==>" in line for line in announced), announced
    assert last.startswith("tasker: ")
    return last


def test_no_rust(machine: Machine) -> None:
    machine.without("cargo", "rustc")
    assert "install it from https://rustup.rs, then run this again" in refused(machine.prepare("demo"))


def test_an_old_rust(machine: Machine) -> None:
    machine.where("rustc", 'echo "rustc 1.63.0 (4b91a6ea7 2022-08-08)"')
    said = refused(machine.prepare("demo"))
    assert "this is rustc 1.63.0" in said
    assert "run `rustup update`" in said


def test_a_cache_that_cannot_be_written(machine: Machine) -> None:
    said = refused(machine.prepare("demo", TASKER_CACHE="/proc/tasker"))
    assert "cannot write to /proc/tasker" in said
    assert "TASKER_CACHE" in said


def test_a_folder_for_temporary_files_that_cannot_be_written(machine: Machine) -> None:
    assert "name another with TMPDIR" in refused(machine.prepare("demo", TMPDIR="/proc"))


def test_no_compiler_and_nobody_who_may_install_one(machine: Machine) -> None:
    machine.without("cc", "sudo")
    machine.where("id", "echo 1000")
    said = refused(machine.prepare("demo"))
    assert "as root, run `apt-get install gcc libc6-dev" in said


def test_a_disk_that_is_too_full_for_a_build(machine: Machine) -> None:
    machine.where("df", "printf 'Avail\\n   2G\\n'")
    said = refused(machine.prepare("demo"))
    assert "builds need about 6 GB" in said
    assert "2 GB left" in said


def test_a_mirror_that_cannot_be_reached(machine: Machine) -> None:
    machine.without("cc")
    machine.where("id", "echo 0")
    machine.where("apt-get", 'echo "W: Failed to fetch http://deb.invalid/ Could not resolve" >&2')
    said = machine.prepare("demo")
    assert said.returncode == 1
    assert "Debian's mirror cannot be reached" in said.stderr
    assert "connect, or set the clients up for a registry you can reach" in said.stderr


def test_a_look_changes_nothing(machine: Machine) -> None:
    machine.without("cc")
    machine.where("apt-get", "echo called > " + str(machine.cache / "called"))
    done = machine.prepare("--check", "test")
    assert done.returncode == 0
    assert "would install Debian packages" in done.stdout
    assert "gcc libc6-dev" in done.stdout
    assert list(machine.cache.iterdir()) == []
