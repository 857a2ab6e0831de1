"""What `tasker new` writes, used as its README says, in every language: run, own tests, `tasker dev` with a reload."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TASKER = os.environ["TASKER_BIN"]
# The project's own tests, as its README names them.
TESTS = {
    "python": [sys.executable, "-m", "pytest", "-q"],
    "ruby": ["rspec", "-I", str(ROOT / "workers/ruby/lib")],
    "rust": ["cargo", "test", "--quiet", "--offline"],
}
FILES = {"python": "order.py", "ruby": "order.rb", "rust": "order.rs"}


@pytest.fixture(params=list(TESTS))
def project(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    subprocess.run([TASKER, "new", "shop", "--lang", request.param], cwd=tmp_path, check=True, capture_output=True)
    if request.param == "rust":
        # The versions that are on this machine already: nothing is looked up or built twice.
        shutil.copy(ROOT / "Cargo.lock", tmp_path / "shop")
    return request.param, tmp_path / "shop"


def run_order(folder: Path) -> str:
    command = [TASKER, "run", "order", "-i", "customer=Ada", "--timeout", "300"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_project_runs_and_passes_its_own_tests(project: tuple[str, Path]) -> None:
    language, folder = project
    said = run_order(folder)
    assert '"text":"38.90 EUR for RES-' in said
    assert "complete  order" in said
    subprocess.run(TESTS[language], cwd=folder, check=True)


@pytest.fixture
def dev(project: tuple[str, Path]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([TASKER, "dev"], cwd=project[1], stderr=subprocess.PIPE, text=True)
    yield process
    process.terminate()
    process.communicate(timeout=60)


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if word in line:
            return
    raise AssertionError(f"it ended without saying {word!r}:\n{''.join(said)}")


def test_dev_takes_up_what_was_saved(project: tuple[str, Path], dev: subprocess.Popen[str]) -> None:
    language, folder = project
    wait_for(dev, "worker ready")
    assert "RES-" in run_order(folder)
    file = folder / "handlers" / FILES[language]
    good = file.read_text(encoding="utf-8")
    file.write_text("this is } no program (", encoding="utf-8")
    wait_for(dev, "the former worker goes on")
    assert "RES-" in run_order(folder)
    file.write_text(good.replace("RES-", "KEPT-"), encoding="utf-8")
    wait_for(dev, "worker ready")
    assert "KEPT-" in run_order(folder)
