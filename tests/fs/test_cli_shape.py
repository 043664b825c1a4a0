"""What all commands have in common: help, usage, errors, output, start-up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from cli.boot import SUBCOMMANDS as BOOT
from cli.layer import SUBCOMMANDS as LAYER
from cli.main import COMMANDS
from cli.repo import SUBCOMMANDS as REPO
from tests.builders import Tree, build, file
from tests.commands import ROOTMAN, UNVERIFIED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

# What a healthy store's status does without: each costs a device some milliseconds.
HEAVY = {
    "concurrent.futures", "ctypes", "jsonschema", "psutil", "rootman.execute", "rootman.fsops",
    "rootman.plan", "rootman.recovery", "rootman.scanner", "rootman.steps", "rootman.verify",
    "subprocess", "tempfile", "xattr", "zstandard",
}  # fmt: skip


def test_help_lists_every_command(machine: Machine) -> None:
    lines = machine.run("--help").lines

    for name, summary in COMMANDS.items():
        assert any(line.split(maxsplit=1) == [name, summary] for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_teaches(machine: Machine, name: str) -> None:
    text = machine.run(name, "--help").out

    assert text.startswith(f"Usage: rootman {name} ")
    assert f"\n  {COMMANDS[name]}\n" in text
    assert re.search(rf"\n    rootman (--rootfs /mnt/rootfs )?{name}\b", text), "no example"
    assert "rootman --help lists" in text


@pytest.mark.parametrize(
    ("group", "name", "summary"),
    [
        (group, name, summary)
        for group, table in (("repo", REPO), ("boot", BOOT), ("layer", LAYER))
        for name, summary in table.items()
    ],
)
def test_the_help_of_a_command_of_a_group_teaches(
    machine: Machine, group: str, name: str, summary: str
) -> None:
    text = machine.run(group, name, "--help").out

    assert text.startswith(f"Usage: rootman {group} {name} ")
    assert f"\n  {summary}\n" in text
    assert f"\n    rootman {group} " in text or "Commands:" in text
    assert "rootman --help lists" in text


def test_the_version_is_told(machine: Machine) -> None:
    assert re.fullmatch(r"rootman [0-9.]+\n", machine.run("--version").out)


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ("--zz status", "no such option: --zz", "rootman --help"),
        ("statsu", "no such command 'statsu'", "rootman status, or rootman --help"),
        ("zzz", "no such command 'zzz'", "rootman --help"),
        ("status --zz", "status: no such option: --zz", "rootman status --help"),
        ("status x", "status: got unexpected extra argument (x)", "rootman status --help"),
        (
            "status --rootfs x",
            "status: no such option: --rootfs",
            "it stands before the command: rootman --rootfs DIR COMMAND",
        ),
        ("publish", "publish: missing argument 'TREE'", "rootman publish --help"),
        ("publish a b", "publish: missing option '--version'", "rootman publish --help"),
        ("init tree", "init: TREE and --version go together", "rootman init --help"),
        ("prune --keep 1 2", "prune: give versions, or --keep", "rootman prune --help"),
        (
            "pin 0",
            "pin: invalid value for 'N': '0' is no version: those are like 7 or 7.1",
            "rootman pin --help",
        ),
    ],
)
def test_wrong_usage_is_one_line(machine: Machine, arguments: str, message: str, hint: str) -> None:
    """EX-1, EX-2."""
    line = machine.refused(*arguments.split(), code=2)

    assert line == f"rootman: {message} (hint: {hint})"


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "2147483648", "9" * 30, "", "olpc.7"])
def test_the_version_of_a_release_is_a_whole_number(machine: Machine, number: str) -> None:
    line = machine.refused("init", machine.home, "--version", number, code=2)

    assert f"'{number}' is no version: those are whole numbers from 1" in line


@pytest.mark.parametrize(
    "number", ["x", "-1", "07", "1.0", "1.05", "1.5.1", "2147483648", "1." + "9" * 30, "", "olpc.7"]
)
def test_that_of_a_tree_may_have_a_second_number(machine: Machine, number: str) -> None:
    line = machine.refused("rollback", "--to", number, code=2)

    assert f"'{number}' is no version: those are like 7 or 7.1" in line


@pytest.mark.parametrize(
    "arguments",
    ["status", "rollback", "diff 1 2", "verify", "repair", "prune", "pin 1", "unpin 1"],
)
def test_without_a_store_every_command_says_what_to_do(machine: Machine, arguments: str) -> None:
    line = machine.refused(*arguments.split(), code=8)

    name = arguments.split(maxsplit=1)[0]
    assert line == (
        f"rootman: {name}: {machine.store}: there is no store here"
        f" (hint: rootman --rootfs {machine.store} init)"
    )


def test_the_option_names_the_store_before_the_environment_does(machine: Machine) -> None:
    machine.run("init")

    out = machine.run("--rootfs", machine.store, "status", env={"ROOTMAN_ROOTFS": "/nowhere"}).out

    assert out.startswith(f"{machine.store}: ")


def test_a_name_that_is_no_text_is_told_in_ascii(machine: Machine) -> None:
    """EX-3: a message is one line whatever is in a name."""
    name = b"caf\xe9 \xc3\xa9\n\x1b[31m"
    store = os.fsdecode(os.fsencode(machine.home) + b"/" + name)

    line = machine.refused("--rootfs", store, "status", code=8)
    machine.run("--rootfs", store, "init")
    status = machine.run("--rootfs", store, "status").out

    told = rf"{machine.home}/caf\udce9 \xe9\x0a\x1b[31m: "
    assert line.startswith(f"rootman: status: {told}there is no store here")
    assert status.startswith(f"{told}olpc, 0 trees\n")
    assert machine.document("--rootfs", store, "status")["rootfs"].startswith(f"{machine.home}/caf")


def test_a_bug_shows_its_traceback_and_exits_with_1(machine: Machine) -> None:
    """EX-1."""
    program = """
import rootman.overview
def broken(*_): raise KeyError("a bug")
rootman.overview.overview = broken
import sys, cli.main
sys.argv = ["rootman", "status"]
cli.main.main()
"""
    machine.run("init")

    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        env={"ROOTMAN_ROOTFS": str(machine.store)},
    )

    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError: 'a bug'" in done.stderr


def many_files(machine: Machine) -> Path:
    """Make a tree whose manifest fits into no pipe."""
    tree: Tree = {f"file.{number:04}": file() for number in range(1500)}
    return build(machine.source(1), tree)


def test_a_reader_that_goes_away_ends_the_command_quietly(machine: Machine) -> None:
    """EX-1."""
    with subprocess.Popen(
        [ROOTMAN, "manifest", many_files(machine)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"#mtree\n"
        process.stdout.close()
        told = process.stderr.read()

    assert (process.returncode, told) == (141, b"")


def test_output_that_cannot_be_written_is_an_error_of_one_line(machine: Machine) -> None:
    machine.run("init")

    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [ROOTMAN, "--rootfs", machine.store, "status"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
        )

    line = b"rootman: status: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (7, line)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_stop_nothing(machine: Machine, closed: str) -> None:
    build(machine.source(1), {"a": file("1")})
    machine.run("publish", machine.source(1), machine.repo, "--version", 1)
    machine.run("init")

    line = f"{ROOTMAN} --rootfs {machine.store} upgrade {machine.repo} {closed}"
    done = subprocess.run(["sh", "-c", line], check=False, capture_output=True)

    assert (done.returncode, UNVERIFIED.sub("", done.stderr.decode())) == (0, "")
    assert machine.document("verify")["verdict"] == "pristine"


def test_without_the_right_to_it_says_who_has(machine: Machine) -> None:
    machine.run("init")

    done = subprocess.run(
        [ROOTMAN, "--rootfs", machine.store, "status"],
        check=False,
        capture_output=True,
        text=True,
        user=65534,
    )

    assert done.returncode == 7
    assert done.stderr == (
        f"rootman: status: {machine.store}/.rootman: Permission denied (hint: be root)\n"
    )


def test_an_interrupt_is_told_in_one_line(machine: Machine) -> None:
    """EX-1."""
    with subprocess.Popen(
        [ROOTMAN, "manifest", many_files(machine)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        _wait_until_it_sleeps(process.pid)
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()

    assert process.returncode == 130
    assert told == (
        b"rootman: manifest: interrupted (hint: the next rootman command finishes or undoes it)\n"
    )


def _wait_until_it_sleeps(pid: int) -> None:
    """Wait until the process waits for its pipe to be read."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as place:
            if "pipe_write" in place.read():
                return
        time.sleep(0.01)
    pytest.fail("it does not fill the pipe")


def test_status_imports_little(machine: Machine) -> None:
    machine.install({"a": file("1")}, {"a": file("2")})
    machine.run("status")  # computes the sizes once
    program = """
import sys
from cli.main import run
code = run(["status"])
print(*sorted(sys.modules), sep="\\n", file=sys.stderr)
sys.exit(code)
"""

    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"ROOTMAN_ROOTFS": str(machine.store)},
    )

    assert "* olpc.2" in done.stdout
    assert HEAVY & set(done.stderr.split()) == set()


def test_help_imports_no_command() -> None:
    program = """
import sys
from cli.main import run
code = run(["--help"])
print(*(name for name in sys.modules if name.startswith("cli.")), file=sys.stderr)
"""

    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert set(done.stderr.split()) == {"cli.main", "cli.render"}


def test_the_summaries_are_those_of_the_commands() -> None:
    from importlib import import_module

    summaries = {
        name: import_module(f"cli.{name.replace('-', '_')}").command.help for name in COMMANDS
    }

    assert {name: text.splitlines()[0] for name, text in summaries.items()} == dict(COMMANDS)
