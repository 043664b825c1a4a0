"""What is typed: keys, signing, trust, and an upgrade that is verified or refused."""

from __future__ import annotations

import json
import re
import stat
from typing import TYPE_CHECKING

import pytest

from tests.builders import build, file
from tests.commands import Machine

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.loopfs]


@pytest.fixture
def machine(tmp_on_ext4: Path) -> Machine:
    """Return a device without a store, and a source of version 1 and 2."""
    made = Machine(tmp_on_ext4)
    for version in (1, 2):
        build(made.source(version), {"version": file(str(version))})
    return made


def test_one_person_with_one_key(machine: Machine) -> None:
    """TU-1, TU-12: from nothing to a verified upgrade, and renewal."""
    out = machine.run("repo", "keys", "new", "olpc.key").out
    assert re.fullmatch(r"key [0-9a-f]{64}: olpc\.key, public half olpc\.key\.pub\n", out)
    assert stat.S_IMODE((machine.home / "olpc.key").stat().st_mode) == 0o600

    lines = machine.run(
        "publish", machine.source(1), "repo", "--version", 1, "--sign", "olpc.key"
    ).lines
    assert lines[1:3] == [
        "signed: root 1, targets 1, snapshot 1, timestamp 1",
        "devices need repo/metadata/1.root.json: rootman trust 1.root.json",
    ]
    machine.run("init", "--trust", "repo/metadata/1.root.json")
    done = machine.attempt("upgrade", "repo")

    assert (done.code, done.err, done.is_unverified) == (0, "", False)
    document = machine.document("publish", machine.source(2), "repo", "--version", 2)
    assert document["signed"] == document["waiting"] == []
    assert "is current already" in machine.run("upgrade", "repo").out
    assert machine.run("repo", "sign", "repo", "--key", "olpc.key").lines == [
        "signed: targets 2, snapshot 2, timestamp 2"
    ]
    assert machine.run("upgrade", "repo").lines[0].startswith("olpc.1 -> olpc.2")
    signed = machine.document("repo", "sign", "repo", "--key", "olpc.key", "--role", "online")
    assert signed == {"signed": ["snapshot 3", "timestamp 3"], "waiting": []}


def test_new_keys_follow_by_themselves(machine: Machine) -> None:
    for name in ("a", "b"):
        machine.run("repo", "keys", "new", name)
    machine.run("publish", machine.source(1), "repo", "--version", 1, "--sign", "a")
    machine.run("init", "--trust", "repo/metadata/1.root.json")
    roles = ("--role", "root", "--role", "targets", "--role", "online")

    lines = machine.run("repo", "keys", "change", "repo", *roles, "--add", "b.pub").lines
    assert re.fullmatch(r"prepared: version 2, until 20..-..-.. ..:..", lines[0])
    assert lines[-1] == "to publish it: rootman repo sign repo --role root --key FILE"
    machine.run("repo", "keys", "change", "repo", *roles, "--remove", "a")
    waiting = machine.run("repo", "sign", "repo", "--role", "root", "--key", "b").out
    assert waiting == "waiting: root 2: 0 of 1 signatures by the keys of the root before it\n"
    listed = machine.document("repo", "keys", "list", "repo")
    assert (listed["root"]["version"], listed["staged"]["version"]) == (1, 2)
    assert len(listed["staged"]["signed_by"]) == 1
    machine.run("repo", "sign", "repo", "--role", "root", "--key", "a", "--key", "b")

    assert machine.run("upgrade", "repo").lines[0].startswith("nothing -> olpc.1")
    trusted = machine.document("trust")
    assert trusted["metadata"]["root"]["version"] == 2
    assert trusted["roles"]["online"]["keys"] == listed["staged"]["signed_by"]
    line = machine.refused("repo", "sign", "repo", "--key", "a", code=4)
    assert line == (
        "rootman: repo sign: a: no key of this repository (hint: rootman repo keys list REPO)"
    )


def test_trust_is_shown_and_given(machine: Machine) -> None:
    """TU-7."""
    machine.run("init")
    assert machine.run("trust").out == (
        f"{machine.store} trusts nobody yet; to begin: rootman trust root.json\n"
    )
    assert machine.document("trust") == {"trusted": False}
    machine.run("repo", "keys", "new", "k")
    machine.run("publish", machine.source(1), "repo", "--version", 1, "--sign", "k")

    first = machine.run("trust", "repo/metadata/1.root.json").lines
    again = machine.run("trust", "repo/metadata/1.root.json").lines

    keyid = machine.document("trust")["roles"]["root"]["keys"][0]
    assert first[0] == f"{machine.store} trusts from now on:"
    assert first[1:3] == ["  root: 1 of these keys", f"    {keyid}"]
    assert again == [f"{machine.store} trusts:", *first[1:]]
    assert (machine.store / ".rootman/trust").stat().st_mode & 0o777 == 0o700
    line = machine.refused("trust", "repo/repository.json", code=3)
    assert line.startswith("rootman: trust: repo/repository.json: not a root of trust: ")
    assert "no such file" in machine.refused("trust", "none.json", code=8)


def test_what_is_not_signed_is_refused_unless_it_is_asked_for(machine: Machine) -> None:
    """TU-2, TU-13."""
    machine.run("repo", "keys", "new", "k")
    machine.run("publish", machine.source(1), "signed", "--version", 1, "--sign", "k")
    machine.run("publish", machine.source(2), "plain", "--version", 2)
    machine.run("init")
    done = machine.attempt("upgrade", "plain", "--dry-run")
    assert (done.code, done.err, done.is_unverified) == (0, "", True)
    machine.run("trust", "signed/metadata/1.root.json")

    assert machine.refused("upgrade", "plain", code=4) == (
        "rootman: upgrade: plain is not signed, and this store takes only what is (hint: whoever"
        " publishes signs it by rootman repo sign; --insecure takes it as it is)"
    )
    done = machine.attempt("upgrade", "plain", "--insecure")

    assert (done.code, done.err, done.is_unverified) == (0, "", True)


def test_a_dry_run_remembers_nothing(machine: Machine) -> None:
    """TU-6."""
    machine.run("repo", "keys", "new", "k")
    machine.run("publish", machine.source(1), "repo", "--version", 1, "--sign", "k")
    machine.run("init", "--trust", "repo/metadata/1.root.json")
    before = sorted((machine.store / ".rootman/trust").iterdir())

    machine.run("upgrade", "repo", "--dry-run")

    assert sorted((machine.store / ".rootman/trust").iterdir()) == before


def test_a_wrong_root_makes_no_store(machine: Machine) -> None:
    (machine.home / "root.json").write_text(json.dumps({"signed": {}}))

    line = machine.refused("init", "--trust", "root.json", code=3)

    assert line.startswith("rootman: init: root.json: not a root of trust: ")
    assert not machine.store.exists()


@pytest.mark.parametrize(
    "words", ["repo sign", "repo keys", "repo keys new", "repo keys list", "repo keys change"]
)
def test_the_help_of_what_is_below_repo_teaches(machine: Machine, words: str) -> None:
    text = machine.run(*words.split(), "--help").out

    assert text.startswith(f"Usage: rootman {words} ")
    assert re.search(rf"\n    rootman {words}\b", text), "no example"
    assert "rootman --help lists" in text
    parent, _, name = words.rpartition(" ")
    assert re.search(rf"\n  {name} +[A-Z]", machine.run(*parent.split(), "--help").out)


def test_wrong_usage_below_repo_is_one_line(machine: Machine) -> None:
    """EX-2."""
    assert machine.refused("repo", "sgn", code=2) == (
        "rootman: repo: no such command 'sgn' (hint: rootman repo --help)"
    )
    line = machine.refused("repo", "keys", "change", "r", code=2)
    assert line.endswith("(hint: rootman repo keys change --help)")
    assert "not a repository" in machine.refused("repo", "keys", "list", "none", code=3)
