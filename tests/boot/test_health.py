"""Checks, what they decide, and what is done about it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from rootman.boot import checks
from rootman.boot.block import BootState, serialise_block
from rootman.boot.checks import Check, find_checks, run_check
from rootman.boot.health import Health, act, examine
from rootman.boot.verdict import decide
from tests.boot.shells import DATA
from tests.boot.states import read_block
from tests.builders import file
from tests.commands import ROOTMAN, Done, Machine
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def check(path: Path) -> Check:
    return Check("required", str(path), (str(path),))


@pytest.mark.parametrize(
    ("boot", "is_healthy", "verdict"),
    [
        (BootState("olpc.7", 2), True, "mark good"),
        (BootState("olpc.7", 0), True, "mark good"),
        (BootState("olpc.7", 2), False, "try again"),
        (BootState("olpc.7", 0), False, "fall back"),
        (BootState(), True, "stay"),
        (BootState(), False, "stay"),
        (BootState("olpc.8", 2), False, "stay"),
        (BootState(bad=("olpc.7",)), False, "stay"),
        (BootState(bad=("olpc.7",)), True, "stay"),
    ],
)
def test_what_follows(boot: BootState, is_healthy: bool, verdict: str) -> None:  # noqa: FBT001
    """BT-15: only a tree on trial is rebooted."""
    assert decide(boot, "olpc.7", is_healthy=is_healthy) == verdict


@pytest.mark.parametrize(
    ("script", "passed", "said"),
    [
        ("echo one; echo two", True, "two"),
        ("echo 'what is wrong' >&2; exit 3", False, "what is wrong"),
        ("printf 'all well\\n\\n'", True, "all well"),
        ("kill -9 $$", False, ""),
        ("sleep 100 & echo it goes on behind", True, "it goes on behind"),
        ("printf '\\377'", True, "\\xff"),
    ],
)
def test_a_check_says_it_by_its_exit_code(
    tmp_path: Path,
    script: str,
    passed: bool,  # noqa: FBT001
    said: str,
) -> None:
    """BT-15."""
    result = run_check(check(program(tmp_path / "check", script)))

    assert (result.passed, result.said) == (passed, said)


def test_a_check_that_hangs_has_failed_and_is_ended(tmp_path: Path) -> None:
    """BT-15: with all that it has started."""
    path = program(tmp_path / "check", f"exec 9>{tmp_path}/lock; flock 9; sleep 100 & wait")

    result = run_check(check(path), timeout=0.5)

    assert (result.passed, result.said) == (False, "no answer in 0.5 s")
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits for whoever is left


def test_a_check_that_cannot_be_run_has_failed(tmp_path: Path) -> None:
    """BT-15."""
    path = program(tmp_path / "check", "exit 0")
    path.chmod(0o644)

    assert not run_check(check(path)).passed
    assert not run_check(check(tmp_path / "none")).passed


def test_later_directories_replace_and_take_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BT-15: /etc has the last word, and greenboot's stand beside."""
    usr, etc, green = (str(tmp_path / name) for name in ("usr", "etc", "green"))
    monkeypatch.setattr(checks, "OURS", (usr, etc))
    monkeypatch.setattr(checks, "GREENBOOT", (green,))
    program(tmp_path / "usr/required.d/30-mine", "exit 1")
    program(tmp_path / "etc/required.d/30-mine", "exit 0")
    program(tmp_path / "etc/required.d/.hidden", "exit 1")
    program(tmp_path / "etc/required.d/30-mine~", "exit 1")
    program(tmp_path / "green/check/required.d/25-theirs", "exit 0")
    program(tmp_path / "green/green.d/10-told", "exit 0")
    (tmp_path / "etc/required.d/20-store.sh").symlink_to("/dev/null")
    (tmp_path / "etc/required.d/40-lost").symlink_to("/nowhere")

    found = {one.path.rpartition("/")[2]: one.path for one in find_checks("required")}

    assert list(found) == sorted(found)
    assert found["10-boot-complete.sh"].startswith(f"{DATA}/health.d")
    assert found["25-theirs"] == f"{green}/check/required.d/25-theirs"
    assert found["30-mine"] == f"{etc}/required.d/30-mine"
    assert "40-lost" in found
    assert not {"20-store.sh", ".hidden", "30-mine~"} & found.keys()
    assert [one.path for one in find_checks("green")] == [f"{green}/green.d/10-told"]


def test_all_run_and_required_ones_decide(tmp_path: Path) -> None:
    """BT-15: and the programs that are told are those of the outcome."""
    note = f"basename $0 >>{tmp_path}/log"
    program(tmp_path / "required.d/20", f"{note}; exit 1")
    program(tmp_path / "required.d/30", note)
    program(tmp_path / "wanted.d/10", f"{note}; exit 1")
    program(tmp_path / "green.d/green", note)
    program(tmp_path / "red.d/red", note)

    health = examine([str(tmp_path)])
    program(tmp_path / "required.d/20", note)
    mended = examine([str(tmp_path)])

    assert not health.is_healthy
    assert mended.is_healthy
    assert (tmp_path / "log").read_text().split() == [
        *("20", "30", "10", "red"),
        *("20", "30", "10", "green"),
    ]


def test_the_checks_that_come_with_rootman_are_found() -> None:
    names = [one.path.rpartition("/")[2] for one in find_checks("required", None)]

    assert names[:3] == ["10-boot-complete.sh", "15-state.sh", "20-store.sh"]
    assert all(one.command[0] == "sh" for one in find_checks("wanted")[:2])


@pytest.mark.loopfs
@pytest.mark.parametrize(
    ("tries", "verdict", "after", "current"),
    [
        (3, "mark good", BootState(), 3),
        (2, "try again", BootState("olpc.3", 2), 3),
        (0, "fall back", BootState(bad=("olpc.3",)), 2),
    ],
)
def test_it_is_done(
    booted_on_trial: Callable[[int], Lab], tries: int, verdict: str, after: BootState, current: int
) -> None:
    """BT-15."""
    lab = booted_on_trial(tries)
    failed = run_check(check(lab.home / "none"))

    with lab.session() as opened:
        assert act(opened, Health(() if verdict == "mark good" else (failed,))) == verdict

    assert read_block(lab.control / "boot" / "grubenv") == after
    assert lab.link("current") == f"olpc.{current}"


@pytest.mark.loopfs
def test_the_last_tree_to_boot_from_stays_up(booted_on_trial: Callable[[int], Lab]) -> None:
    """BT-15."""
    lab = booted_on_trial(0)
    write_block(lab, BootState("olpc.3", 0, ("olpc.2",)))

    with lab.session() as opened:
        assert act(opened, Health((run_check(check(lab.home / "none")),))) == "stay"


@pytest.fixture
def booted_on_trial(tmp_on_ext4: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Lab]:
    """Give a store with tree 3 booted, on trial with so many attempts left, and 2 before it."""
    monkeypatch.setattr("rootman.boot.running.booted_name", lambda: "olpc.3")

    def make(tries: int) -> Lab:
        lab = Lab(tmp_on_ext4)
        lab.init()
        for version in (2, 3):
            lab.publish(version, {"a": file(str(version).encode())})
        lab.upgrade(2)
        lab.boot_init()
        lab.upgrade(3)
        write_block(lab, BootState("olpc.3", tries))
        return lab

    return make


def write_block(lab: Lab, boot: BootState) -> None:
    (lab.control / "boot" / "grubenv").write_bytes(serialise_block(boot))


@pytest.mark.loopfs
def test_the_checks_that_come_with_rootman_pass_on_a_store(
    booted_on_trial: Callable[[int], Lab], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """BT-15: and tell of one that is not there."""
    store = str(booted_on_trial(3).store)
    monkeypatch.setenv("PATH", f"{ROOTMAN.parent}:{os.environ['PATH']}")
    kept = ("20-store.sh", "20-space.sh")
    shipped = [
        one
        for one in (*find_checks("required"), *find_checks("wanted"))
        if one.path.rpartition("/")[2] in kept
    ]

    assert [run_check(one, store=store).passed for one in shipped] == [True, True]
    assert [run_check(one, store=f"{tmp_path}/none").passed for one in shipped] == [False, False]


NETWORK: Final = DATA / "health.d/required.d/25-network.sh"


def reaches(*servers: str) -> Done:
    """Run the check of the network, where these servers are to be reached; without patience."""
    environment = {"ROOTMAN_HEALTH_NETWORK": " ".join(servers), "ROOTMAN_HEALTH_PATIENCE": "0"}
    return script(NETWORK, environment)


def script(path: Path, environment: dict[str, str]) -> Done:
    done = subprocess.run(
        ("sh", path), env={"PATH": os.environ["PATH"], **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_network_is_reached_where_one_server_is() -> None:
    """BT-64: by a URL, or by a host and a port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = f"127.0.0.1:{server.getsockname()[1]}"

        assert reaches(there).out == f"{there} can be reached\n"
        assert reaches(f"http://{there}/repo").code == 0
        assert reaches("https://127.0.0.1:1", "nonsense:x", there).code == 0
    assert reaches("https://").out == "https://: no host\n"
    gone = reaches(f"http://{there}/repo")
    assert (gone.code, gone.err) == (1, "")
    assert "Connection refused" in gone.out


@pytest.mark.root
def test_the_network_is_no_matter_where_none_is_wanted(tmp_path: Path) -> None:
    """BT-64: and it is wanted by a file, too."""
    seen = 'mount -t overlay -o lowerdir=$1:/etc overlay /etc && exec sh "$2"'
    (tmp_path / "rootman").mkdir()
    (tmp_path / "rootman/health.conf").write_text(
        "ROOTMAN_HEALTH_NETWORK=127.0.0.1:1\nROOTMAN_HEALTH_PATIENCE=0\n"
    )

    assert reaches() == Done(0, "", "")
    done = subprocess.run(
        ("unshare", "--mount", "sh", "-c", seen, "sh", tmp_path, NETWORK),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "127.0.0.1:1: " in done.stdout


@pytest.mark.root
@pytest.mark.parametrize(
    ("engines", "enabled", "said"),
    [
        ({}, True, ""),
        ({"podman": "exit 0", "docker": "exit 0", "ctr": "exit 0"}, True, ""),
        ({"podman": "exit 125"}, True, "no answer from podman\n"),
        ({"docker": "exit 1", "ctr": "exit 1"}, True, "no answer from docker containerd\n"),
        ({"docker": "exit 1", "ctr": "exit 1"}, False, ""),
    ],
)
def test_a_container_engine_answers_where_there_is_one(
    tmp_path: Path,
    engines: dict[str, str],
    enabled: bool,  # noqa: FBT001
    said: str,
) -> None:
    """BT-64: one that is not enabled need not."""
    path = DATA / "health.d/wanted.d/30-containers.sh"
    for name, text in engines.items():
        program(tmp_path / name, text)
    program(tmp_path / "systemctl", f"exit {0 if enabled else 1}")
    (tmp_path / "timeout").symlink_to("/usr/bin/timeout")
    (tmp_path / "sh").symlink_to("/bin/sh")
    under_systemd = 'mount -t tmpfs t /run && mkdir -p /run/systemd/system && PATH=$1 exec sh "$2"'

    done = subprocess.run(
        ("unshare", "--mount", "sh", "-c", under_systemd, "sh", tmp_path, path),
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.stdout, done.returncode) == (said, 1 if said else 0)


@pytest.mark.loopfs
def test_the_command_tells(tmp_on_ext4: Path) -> None:
    """EX-1: 13 where a required check failed."""
    machine = Machine(tmp_on_ext4)
    program(tmp_on_ext4 / "health.d/required.d/10-ok", "echo fine")
    program(tmp_on_ext4 / "health.d/wanted.d/10-no", "echo 'not so fine'; exit 1")

    fine = machine.run("health", "--checks", tmp_on_ext4 / "health.d")
    program(tmp_on_ext4 / "health.d/required.d/20-hangs", "sleep 100")
    bad = machine.attempt(
        "health", "--checks", tmp_on_ext4 / "health.d", "--timeout", "0.3", "--json"
    )

    assert fine.lines == [
        f"passed: required {tmp_on_ext4}/health.d/required.d/10-ok: fine",
        f"failed: wanted {tmp_on_ext4}/health.d/wanted.d/10-no: not so fine",
    ]
    assert bad.code == 13
    document = json.loads(bad.out)
    assert document["healthy"] is False
    assert document["verdict"] is None
    assert [one["passed"] for one in document["checks"]] == [True, False, False]
