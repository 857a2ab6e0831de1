"""What is published, each package installed by itself where the checkout is not, and used as a newcomer would use it.

`scripts/package wheel` must have run (scripts/prepare does it); gem and crates are packed here, from what is
compiled already.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ["TASKER_BIN"])
CACHE = Path(os.environ.get("TASKER_CACHE") or Path.home() / ".cache/tasker")
DIST = Path(os.environ.get("TASKER_DIST") or CACHE / "dist")
VERSION = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
# A process that is killed must not be waited for for ever when a test is wrong.
PATIENCE = 300

# Each handler waits at a gate, if the test has closed it: the step is then in progress for as long as it likes.
GATES = {
    "python": (
        "order.py",
        "        items = context.get_input(",
        "        import os, time\n"
        "        open('at_the_gate', 'w').close()\n"
        "        while os.path.exists('gate'): time.sleep(0.02)\n",
    ),
    "ruby": (
        "order.rb",
        '      items = context.get_input("items")\n',
        '      File.write("at_the_gate", "")\n      sleep(0.02) while File.exist?("gate")\n',
    ),
    "rust": (
        "order.rs",
        "    let order: Order = context.input()?;\n    let total",
        '    std::fs::write("at_the_gate", "").unwrap();\n'
        '    while std::path::Path::new("gate").exists() { std::thread::yield_now(); }\n',
    ),
}


@dataclass
class Installed:
    """A package in a place of its own, and the environment of somebody who has nothing else."""

    package: str
    language: str
    tasker: Path
    env: dict[str, str]
    uninstall: list[str]
    left: list[Path] = field(default_factory=list)
    """What is gone after uninstalling."""

    def run(self, *words: str, cwd: Path, code: int | None = 0, **more: object) -> subprocess.CompletedProcess[str]:
        command = [str(self.tasker), *words]
        done = subprocess.run(  # type: ignore[call-overload]
            command, cwd=cwd, env=self.env, capture_output=True, text=True, timeout=PATIENCE, **more
        )
        assert code is None or done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done


def bare(**more: str) -> dict[str, str]:
    """The environment without anything that leads to the checkout or names an interpreter."""
    kept = {"HOME", "LANG", "PATH", "TERM", "TMPDIR", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"}
    return {k: v for k, v in os.environ.items() if k in kept} | more


def call(*command: object, env: dict[str, str], cwd: Path) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def install_wheel(folder: Path) -> Installed:
    (wheel,) = DIST.glob("tasker_engine-*.whl")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [str(venv / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # What it depends on comes from where scripts/prepare put it, so that this works without network.
    call(*pip, "install", "--no-index", "--find-links", CACHE / "wheels", wheel, env=bare(), cwd=folder)
    tasker = venv / "bin/tasker"
    left = [tasker, *venv.glob("lib/python*/site-packages/tasker_core")]
    return Installed("wheel", "python", tasker, bare(), [*pip, "uninstall", "-y", "tasker-engine"], left)


def install_gem(folder: Path) -> Installed:
    env = bare(GEM_HOME=str(folder / "gems"))
    call(ROOT / "scripts/package", "gem", env={**os.environ, "TASKER_DIST": str(folder)}, cwd=folder)
    (gem,) = folder.glob("tasker-engine-*.gem")
    # Its only dependency is Debian's; there is no registry to take it from.
    call("gem", "install", "--local", "--ignore-dependencies", "--no-document", gem, env=env, cwd=folder)
    tasker = folder / "gems/bin/tasker"
    left = [tasker, tasker.with_name("tasker-ruby"), *(folder / "gems/gems").glob("tasker-engine-*")]
    return Installed("gem", "ruby", tasker, env, ["gem", "uninstall", "-x", "tasker-engine"], left)


def install_crates(_folder: Path) -> Installed:
    """There is no command of its own to install: a Rust project is made and run by the binary."""
    # The same place each time, or cargo would keep a build of each run.
    place = CACHE / "packed"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    call(ROOT / "scripts/package", "crates", env={**os.environ, "TASKER_DIST": str(place)}, cwd=ROOT)
    for crate in (place / "crates").glob("*.crate"):
        with tarfile.open(crate) as tar:
            tar.extractall(place / "crates")
    for file in (place / "crates").rglob("*"):
        # All packed files have one date, by which cargo would not see what has changed.
        file.touch()
    # Dependencies are those that other tests of Rust projects have compiled.
    return Installed("crates", "rust", BINARY, bare(CARGO_TARGET_DIR=str(CACHE / "target")), [], [])


INSTALLERS = {"wheel": install_wheel, "gem": install_gem, "crates": install_crates}
# Those with the command in them; who uses the crates installs the binary.
CARRIERS = ["wheel", "gem"]


@pytest.fixture(scope="module", params=list(INSTALLERS))
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    package = INSTALLERS[request.param](tmp_path_factory.mktemp(request.param))
    yield package
    if package.uninstall:
        assert all(path.exists() for path in package.left)
        call(*package.uninstall, env=package.env, cwd=package.tasker.parent)
        assert [path for path in package.left if path.exists()] == []


@pytest.fixture
def project(installed: Installed, tmp_path: Path) -> Path:
    installed.run("new", "shop", "--lang", installed.language, cwd=tmp_path)
    shop = tmp_path / "shop"
    if installed.language == "rust":
        use_packed_crates(shop, CACHE / "packed/crates")
    return shop


def use_packed_crates(shop: Path, packed: Path) -> None:
    """What crates.io would give, from the packed files; the other crates in the versions that are on this machine."""
    manifest = shop / "Cargo.toml"
    text, found = re.subn(r"^tasker-engine = .*", f'tasker-engine = "={VERSION}"', manifest.read_text(), flags=re.M)
    assert found == 1
    folders = sorted(path for path in packed.iterdir() if path.is_dir())
    assert len(folders) >= 8, folders
    names = {path: path.name.removesuffix(f"-{VERSION}") for path in folders}
    text += "\n[patch.crates-io]\n" + "".join(f"{name} = {{ path = {str(path)!r} }}\n" for path, name in names.items())
    manifest.write_text(text)
    shutil.copy(ROOT / "Cargo.lock", shop)
    (shop / ".cargo").mkdir()
    (shop / ".cargo/config.toml").write_text("[net]\noffline = true\n")


def test_the_package_says_its_version(installed: Installed, tmp_path: Path) -> None:
    assert installed.run("--version", cwd=tmp_path).stdout == f"tasker {VERSION}\n"


def test_a_new_project_runs_an_order(installed: Installed, project: Path) -> None:
    said = installed.run("run", "order", "-i", "customer=Ada", cwd=project).stdout
    assert "complete  order" in said
    uuid = re.search(r"order  ([0-9a-f-]{36})", said)[1]
    shown = installed.run("show", uuid, cwd=project).stdout
    assert "38.90 EUR" in shown


def test_an_order_that_was_killed_goes_on_where_it_was(installed: Installed, project: Path) -> None:
    file, before, gate = GATES[installed.language]
    handlers = project / "handlers" / file
    text = handlers.read_text()
    assert text.count(before) >= 1
    handlers.write_text(text.replace(before, gate + before, 1))
    (project / "gate").touch()
    run = [str(installed.tasker), "run", "order", "-i", "customer=Ada", "--key", "one"]
    process = subprocess.Popen(run, cwd=project, env=installed.env, start_new_session=True, stderr=subprocess.DEVNULL)
    until(lambda: (project / "at_the_gate").exists(), process)
    # The command and the worker it lent to the task: a machine that loses its power spares neither.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (project / "gate").unlink()
    done = installed.run(*run[1:], cwd=project)
    assert "exists already" in done.stderr
    assert "complete  order" in done.stdout
    uuid = re.search(r"order  ([0-9a-f-]{36})", done.stdout)[1]
    shown = installed.run("show", uuid, "--json", cwd=project).stdout
    assert shown.count('"complete"') >= 5, shown


def until(condition: object, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.02)


# What the command prints and how it ends must not depend on what carries it.
SAME = {
    "help": ["--help"],
    "help of a command": ["run", "--help"],
    "a command that is not there": ["rum"],
    "an option that is not there": ["run", "order", "--wach"],
    "a template that is not there": ["run", "ordr", "-i", "customer=Ada"],
    "an input that does not fit": ["run", "order", "-i", "customer="],
    "an order": ["run", "order", "-i", "customer=Ada"],
    "an order as JSON": ["--json", "run", "order", "-i", "customer=Ada"],
    "an order that is watched": ["run", "order", "-i", "customer=Ada", "--watch"],
    "an order that fails": ["run", "order", "-i", "customer=Ada", "-i", 'items=[{"sku":"CUP","quantity":1,"price":1}]'],
    "an input from a pipe": ["run", "order", "--input", "-"],
    "a task that is not there": ["show", "00000000-0000-7000-8000-000000000000"],
    "a list": ["ls"],
    "a store that is not there": ["--url", "postgres://127.0.0.1:1/x", "ls"],
    "the templates": ["template", "validate", "workflows"],
}
CODES = {"an order that fails": 1, "a command that is not there": 2, "an order": 0, "a list": 0}


def without_chance(text: str) -> str:
    """Times, durations, identities and what was drawn in between, which differ from run to run."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", text)
    text = re.sub(r"(RES|PAY)-[\w:.-]+", r"\1", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r"\b\d+(\.\d+)? ?(ms|s|us|µs)\b", "TOOK", text)
    text = re.sub(r'"(pid|worker_id|execution_time_ms|duration_ms)": ?("[^"]*"|[\d.]+)', r'"\1":X', text)
    text = re.sub(r"\b\d\d:\d\d:\d\d\b", "NOW", text)
    text = re.sub(r"\b(pid|started on) [\w.:-]+", r"\1 X", text)
    lines = (re.sub(r" +", " ", line).strip() for line in text.splitlines())
    # Steps beside one another end in any order, and the start of a short one is not always seen.
    return "\n".join(sorted(line for line in lines if line and " started on " not in line))


@pytest.mark.parametrize("installed", CARRIERS, indirect=True, scope="module")
@pytest.mark.parametrize("what", list(SAME))
def test_the_command_is_the_same_from_every_package(what: str, installed: Installed, project: Path) -> None:
    answers = []
    for command in (installed, binary_of(installed)):
        shutil.rmtree(project / ".tasker", ignore_errors=True)
        done = command.run(*SAME[what], cwd=project, code=None, input='{"customer": "Ada"}')
        answers.append((done.returncode, without_chance(done.stdout), without_chance(done.stderr)))
    assert answers[0] == answers[1]
    assert answers[0][0] == CODES.get(what, answers[0][0])


def binary_of(installed: Installed) -> Installed:
    """The bare binary, told which interpreter to use."""
    other = {
        "python": {"TASKER_PYTHON": str(installed.tasker.with_name("python"))},
        "ruby": {"TASKER_RUBY": str(installed.tasker.with_name("tasker-ruby"))},
    }[installed.language]
    return Installed("binary", installed.language, BINARY, installed.env | other, [])


@pytest.mark.parametrize("installed", CARRIERS, indirect=True, scope="module")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_signals_end_it_in_the_same_way(number: signal.Signals, installed: Installed, project: Path) -> None:
    file, before, gate = GATES[installed.language]
    handlers = project / "handlers" / file
    handlers.write_text(handlers.read_text().replace(before, gate + before, 1))
    ends = []
    for command in (installed, binary_of(installed)):
        shutil.rmtree(project / ".tasker", ignore_errors=True)
        (project / "gate").touch()
        (project / "at_the_gate").unlink(missing_ok=True)
        run = [str(command.tasker), "run", "order", "-i", "customer=Ada"]
        process = subprocess.Popen(
            run, cwd=project, env=command.env, start_new_session=True, text=True, stderr=subprocess.PIPE
        )
        until(lambda: (project / "at_the_gate").exists(), process)
        process.send_signal(number)
        assert process.stderr is not None
        # Who can still say something says that it was interrupted, before it waits for the step.
        first = "" if number == signal.SIGKILL else process.stderr.readline()
        (project / "gate").unlink()
        process.communicate(timeout=PATIENCE)
        # What follows is said by the worker, or not if its handler has ended by then.
        ends.append((process.returncode, without_chance(first)))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("installed", CARRIERS, indirect=True, scope="module")
def test_output_that_nobody_reads_any_more_ends_it_quietly(installed: Installed, project: Path) -> None:
    for command in (installed, binary_of(installed)):
        process = subprocess.Popen(
            [str(command.tasker), "completions", "bash"],
            cwd=project,
            env=command.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        process.wait(timeout=PATIENCE)
        process.stderr.close()
