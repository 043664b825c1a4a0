"""What a command tells while it works: on a terminal, and to a pipe."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.builders import Tree, build, file
from tests.commands import ROOTMAN, UNVERIFIED

if TYPE_CHECKING:
    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

TREE: Tree = {f"file.{number}": file("x" * number) for number in range(600)}


def on_a_terminal(machine: Machine, *arguments: object, term: str = "xterm") -> tuple[str, str]:
    """Run a command with a terminal as standard error; return both outputs."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [ROOTMAN, "--rootfs", machine.store, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={"TERM": term, "PATH": os.environ["PATH"]},
        text=True,
    ) as process:
        os.close(theirs)
        told = b""
        with suppress(OSError):  # EIO: the other end is closed
            while data := os.read(ours, 4096):
                told += data
        os.close(ours)
        assert process.stdout is not None
        out = process.stdout.read()
    assert process.returncode == 0
    return out, UNVERIFIED.sub("", told.decode())


def screen(told: str) -> list[str]:
    """Return what was to be read on the one line, one text after the other."""
    return [text for text in told.split("\r\x1b[K") if text]


def test_progress_is_one_line_that_is_gone_at_the_end(machine: Machine) -> None:
    machine.run("init")
    machine.run("publish", build(machine.source(1), TREE), machine.repo, "--version", 1)

    out, told = on_a_terminal(machine, "upgrade", machine.repo)

    assert out.startswith("nothing -> olpc.1: 601 added")
    assert "\n" not in told
    assert told.endswith("\r\x1b[K")
    assert "upgrade: seal version 1" in screen(told)
    assert any(text.startswith("upgrade: fetch ") for text in screen(told))
    assert all(len(text) < 80 for text in screen(told))


def test_a_publish_and_a_verify_tell_how_far_they_are(machine: Machine) -> None:
    _, published = on_a_terminal(
        machine, "publish", build(machine.source(1), TREE), machine.repo, "--version", 1
    )
    machine.run("init")
    machine.run("upgrade", machine.repo)

    _, verified = on_a_terminal(machine, "verify")

    assert screen(published)[0].startswith("publish: read the tree: ")
    assert screen(verified)[0] == "verify: read olpc.1"


def test_the_making_of_a_pack_is_told(machine: Machine) -> None:
    build(machine.source(1), TREE)
    machine.run("publish", machine.source(1), machine.repo, "--version", 1, "--no-packs")

    _, packed = on_a_terminal(machine, "repo", "pack", machine.repo, "--from", "empty")

    assert screen(packed)[0].startswith("repo pack: pack from nothing: compare: ")
    assert packed.endswith("\r\x1b[K")


def test_a_pipe_is_told_nothing_but_notes(machine: Machine) -> None:
    machine.run("init")
    machine.run("publish", build(machine.source(1), TREE), machine.repo, "--version", 1)
    (machine.store / ".rootman/staging/link").symlink_to("olpc.1")

    done = machine.attempt("upgrade", machine.repo, env={"TERM": "xterm"})

    note = "an earlier command was interrupted: remove staging/link"
    assert (done.code, done.err) == (0, f"rootman: upgrade: note: {note}\n")


def test_a_note_on_a_terminal_stands_on_a_line_of_its_own(machine: Machine) -> None:
    machine.run("init")
    machine.run("publish", build(machine.source(1), TREE), machine.repo, "--version", 1)
    (machine.store / ".rootman/staging/link").symlink_to("olpc.1")

    _, told = on_a_terminal(machine, "upgrade", machine.repo)

    note = "rootman: upgrade: note: an earlier command was interrupted: remove staging/link\r\n"
    assert note in screen(told)


def test_a_terminal_that_cannot_is_left_alone(machine: Machine) -> None:
    machine.run("init")

    assert on_a_terminal(machine, "status", term="dumb")[1] == ""


def test_a_standard_error_that_is_closed_stops_nothing(machine: Machine) -> None:
    machine.run("init")
    machine.run("publish", build(machine.source(1), TREE), machine.repo, "--version", 1)
    (machine.store / ".rootman/staging/link").symlink_to("olpc.1")
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [ROOTMAN, "--rootfs", machine.store, "upgrade", machine.repo],
        check=False,
        stdout=subprocess.PIPE,
        stderr=writer,
    )

    os.close(writer)
    assert done.returncode == 0
    assert machine.links == {"current": "olpc.1"}
