"""What is published, each package installed by itself where the checkout is not, and used as a newcomer would use it.

`scripts/package wheel` must have run (scripts/prepare does it); gem and crates are packed here, from what is
compiled already.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ["TASKER_BIN"])
CACHE = Path(os.environ.get("TASKER_CACHE") or Path.home() / ".cache/tasker")
DIST = Path(os.environ.get("TASKER_DIST") or CACHE / "dist")
VERSION = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
# Longer than anything here takes on a slow machine, which compiles a Rust project: a wrong test must end all the same.
PATIENCE = 900

# What a first handler does in addition: it asks at the gate, if there is one, and goes on when that hangs up.
GATES = {
    "python": (
        "order.py",
        "        items = context.get_input(",
        "        import os, socket\n"
        "        if os.path.exists('gate'):\n"
        "            socket.create_connection(('127.0.0.1', int(open('gate').read()))).recv(1)\n",
    ),
    "ruby": (
        "order.rb",
        '      items = context.get_input("items")\n',
        '      require "socket"\n'
        '      TCPSocket.open("127.0.0.1", File.read("gate").to_i, &:read) if File.exist?("gate")\n',
    ),
    "rust": (
        "order.rs",
        "    let order: Order = context.input()?;\n    let total",
        '    if let Ok(port) = std::fs::read_to_string("gate") {\n'
        '        let mut gate = std::net::TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();\n'
        "        std::io::Read::read(&mut gate, &mut [0]).unwrap();\n"
        "    }\n",
    ),
}
# A program that uses the library of the package, and says what a step of its own gave and where the library lies.
PROGRAMS = {
    "wheel": (
        "python",
        """
import tasker_core._native
from tasker_core import StepHandler
from tasker_core.testing import Harness
class Answer(StepHandler):
    handler_name = "h"
    def call(self, context): return self.success(42)
with Harness("name: t\\nsteps: [{name: s, handler: h}]", handlers=[Answer]) as harness:
    print(harness.run("t", {}).assert_complete().result("s"))
print(tasker_core._native.__file__)
""",
    ),
    "gem": (
        "ruby",
        """
require "tasker_core"
require "tasker_core/testing"
handler = Class.new(TaskerCore::StepHandler::Base) { def call(_context) = 42 }
TaskerCore::Testing::Harness.open("name: t\\nsteps: [{name: s, handler: h}]", handlers: { "h" => handler }) do |h|
  puts h.run("t", {}).assert_complete.result("s")
end
puts $LOADED_FEATURES.grep(/tasker_core_native/)
""",
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
    target = os.environ.get("CARGO_TARGET_DIR") or str(CACHE / "target")
    return Installed("crates", "rust", BINARY, bare(CARGO_TARGET_DIR=target), [])


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


@pytest.mark.parametrize("installed", CARRIERS, indirect=True, scope="module")
def test_the_library_is_used_from_the_package_alone(installed: Installed, tmp_path: Path) -> None:
    name, program = PROGRAMS[installed.package]
    interpreter = installed.tasker.with_name(name) if installed.package == "wheel" else Path(name)
    said = call(interpreter, "-c" if name == "python" else "-e", program, env=installed.env, cwd=tmp_path).splitlines()
    assert said[0] == "42"
    # The folder the package was installed into, which is not the checkout's.
    assert Path(said[-1]).is_relative_to(installed.tasker.parent.parent), said


class Gate:
    """Keeps the first step of a project's order in progress, from `reached` until the connection it gives is closed."""

    def __init__(self, installed: Installed, project: Path) -> None:
        file, before, gate = GATES[installed.language]
        handlers = project / "handlers" / file
        text = handlers.read_text()
        assert before in text
        handlers.write_text(text.replace(before, gate + before, 1))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.file = project / "gate"
        self.file.write_text(str(self.listener.getsockname()[1]))

    def reached(self) -> socket.socket:
        return self.listener.accept()[0]

    def remove(self) -> None:
        self.file.unlink()
        self.listener.close()


@contextmanager
def started(command: list[str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A process in a session of its own, of which nothing is left afterwards."""
    process = subprocess.Popen(command, start_new_session=True, text=True, stderr=subprocess.PIPE, **more)
    try:
        yield process
    finally:
        kill_session(process)
        process.communicate()


PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def keep_the_dead() -> None:
    """Orphans stay listed after their end, as where the first program of a container reaps nobody: they come here."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def kill_session(process: subprocess.Popen[str]) -> None:
    """Kills the command and whatever it started: the worker it lends to a task has a process group of its own."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which may hold anything: state, parent, process group, session.
            session = int(stat.read_text().rpartition(")")[2].split()[3])
            if session == process.pid:
                os.kill(int(stat.parent.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue


def test_an_order_that_was_killed_goes_on_where_it_was(installed: Installed, project: Path) -> None:
    keep_the_dead()
    gate = Gate(installed, project)
    run = ["run", "order", "-i", "customer=Ada", "--key", "one"]
    with started([str(installed.tasker), *run], cwd=project, env=installed.env) as process, gate.reached():
        kill_session(process)
    gate.remove()
    done = installed.run(*run, cwd=project)
    assert "exists already" in done.stderr
    assert "complete  order" in done.stdout
    uuid = re.search(r"order  ([0-9a-f-]{36})", done.stdout)[1]
    steps = json.loads(installed.run("show", uuid, "--json", cwd=project).stdout)["steps"]
    outcomes = {step["name"]: [attempt["outcome"] for attempt in step["history"]] for step in steps}
    assert outcomes.pop("check_order") == ["lease_expired", "completed"]
    assert list(outcomes.values()) == [["completed"]] * 3


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
    gate = Gate(installed, project)
    ends = []
    for command in (installed, binary_of(installed)):
        shutil.rmtree(project / ".tasker", ignore_errors=True)
        run = [str(command.tasker), "run", "order", "-i", "customer=Ada"]
        with started(run, cwd=project, env=command.env) as process:
            with gate.reached():
                process.send_signal(number)
                assert process.stderr is not None
                # Who can still say something says that it was interrupted, before it waits for the step.
                first = "" if number == signal.SIGKILL else process.stderr.readline()
            process.wait(timeout=PATIENCE)
            # What follows is said by the worker, or not if its handler has ended by then.
            ends.append((process.returncode, without_chance(first)))
    gate.remove()
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
