"""Layers with Debian's own apt-get and dpkg, from a repository that is made here.

One device serves all tests, as a device does: each begins with what the one before left.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Final

import pytest

from tests.builders import differences, published, snapshot
from tests.commands import Machine
from tests.debian_trees import debian_trees
from tests.filesystems import loop_filesystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.debian

# What apt-get and dpkg do without.
_UNUSED: Final = ("doc", "info", "locale", "man", "perl", "zoneinfo")
_CONTROL: Final = """\
Package: {name}
Version: 1
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: a package of a test
"""
# It changes a file of the release in place, would start a service in every way that there is,
# leaves a process behind, and makes a user.
_POSTINST: Final = """\
#!/bin/sh
set -e
printf 'by tool\\n' >>/usr/share/base-files/motd
chmod 700 /usr/bin/mawk
update-rc.d tool-daemon defaults >/dev/null
invoke-rc.d tool-daemon start
test -z "$(ls /run/systemd 2>/dev/null)"
test ! -b /dev/vda && test ! -b /dev/sda && test -c /dev/null
(sleep 1000000 </dev/null >/dev/null 2>&1 &)
getent passwd tool >/dev/null || useradd --system --no-create-home tool
"""
_DAEMON: Final = "#!/bin/sh\n### BEGIN INIT INFO\n### END INIT INFO\ntouch /started\n"


def _package(home: Path, name: str, control: str, files: dict[str, str]) -> None:
    """Put a package into the repository ``home``."""
    tree = home / "package"
    for path, content in {
        "DEBIAN/control": _CONTROL.format(name=name) + control,
        "DEBIAN/conffiles": "".join(f"/{one}\n" for one in files if one.startswith("etc/")),
        **files,
    }.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        is_program = content.startswith("#!")
        target.chmod(0o755 if is_program else 0o644)
    for folder in tree.rglob("*"):  # whatever the umask is
        if folder.is_dir():
            folder.chmod(0o755)
    deb = home / f"{name}.deb"
    subprocess.run(
        ("dpkg-deb", "--build", "--root-owner-group", tree, deb), check=True, capture_output=True
    )
    shutil.rmtree(tree)
    data = deb.read_bytes()
    fields = _CONTROL.format(name=name) + control
    fields += f"Filename: ./{deb.name}\nSize: {len(data)}\n"
    fields += f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n"
    with (home / "Packages").open("a") as file:
        file.write(fields)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def archive(scratch: Path) -> Iterator[str]:
    """Return where packages are served."""
    home = scratch / "archive"
    home.mkdir()
    tool = {
        "DEBIAN/postinst": _POSTINST,
        "etc/init.d/tool-daemon": _DAEMON,
        "etc/tool.conf": "as packaged\n",
        "usr/bin/tool": "#!/bin/sh\ncat /etc/tool.conf\n",
    }
    _package(home, "tool", "Depends: tool-lib\n", tool)
    _package(home, "tool-lib", "", {"usr/lib/tool-lib": "lib\n"})
    failing = "#!/bin/sh\necho the tool is broken\nexit 3\n"
    _package(home, "broken", "", {"DEBIAN/postinst": failing})
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *given: _Quiet(*given, directory=str(home))
    )
    with server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def machine(scratch: Path, archive: str) -> Iterator[Machine]:
    """Return a device with a Debian that gets packages from the archive; more are published."""
    with loop_filesystem(scratch, size_mib=2048) as filesystem:
        machine = Machine(filesystem.path)
        tree = filesystem.path / "tree"
        subprocess.run(("cp", "-a", debian_trees().first, tree), check=True)
        for name in _UNUSED:
            shutil.rmtree(tree / "usr/share" / name, ignore_errors=True)
        sources = tree / "etc/apt/sources.list"
        sources.write_text(f"deb [trusted=yes] {archive} ./\n")
        machine.run("init")
        for version in (1, 2, 3, 4):
            (tree / "etc/issue.net").write_text(f"{version}\n")
            machine.run(
                "publish", tree, machine.repo,
                "--version", version, "--config", "/etc", "--no-packs",
            )  # fmt: skip
        machine.run("upgrade", machine.release(1))
        yield machine


def _inside(machine: Machine, number: int, *command: str) -> str:
    done = subprocess.run(
        ("chroot", machine.tree(number), *command), check=True, capture_output=True, text=True
    )
    return done.stdout


def _expect_layer(machine: Machine, number: int) -> None:
    """See to it that a tree has the package, and nothing that installing it needed."""
    tree = machine.tree(number)
    assert _inside(machine, number, "dpkg-query", "-Wf", "${Package} ${Status}\n", "tool*") == (
        "tool install ok installed\ntool-lib install ok installed\n"
    )
    states = (tree / "var/lib/apt/extended_states").read_text()
    assert re.search(r"^Package: tool-lib\n.*\nAuto-Installed: 1\n", states, re.MULTILINE)
    assert re.search(r"^tool:", (tree / "etc/passwd").read_text(), re.MULTILINE)
    assert (tree / "usr/share/base-files/motd").read_text().endswith("by tool\n")
    assert not (tree / "started").exists()
    found = machine.document("verify", number, code=10)["differences"]
    litter = ("dev", "etc/resolv.conf", "proc", "run", "sys", "tmp", "usr/sbin/", "var/cache/apt")
    assert [one["path"] for one in found if one["path"].startswith(litter)] == []
    assert not any(one["damaged"] for one in found)


def test_a_package_is_in_the_new_version_and_in_no_other(machine: Machine) -> None:
    """LY-4, LY-5, LY-7, S5."""
    before = snapshot(machine.tree(1))
    added = machine.run("layer", "add", "tool")
    rehearsed = machine.run("upgrade", machine.release(2), "--dry-run")

    done = machine.run("upgrade", machine.release(2))

    assert added.lines == [
        "the next upgrade installs tool in the new version",
        "to have it in olpc.1, too: apt-get install tool",
    ]
    assert "  layer tool into version 2" in rehearsed.lines
    assert "layered: tool" in done.lines
    assert differences(snapshot(machine.tree(1)), before) == []
    assert machine.document("verify", 1)["verdict"] == "pristine"
    _expect_layer(machine, 2)
    assert _inside(machine, 2, "tool") == "as packaged\n"
    assert machine.run("layer").lines == ["tool: in olpc.2"]


def test_it_is_installed_anew_by_the_next_upgrade(machine: Machine) -> None:
    """LY-1, LY-5, LY-6: what was configured stays; nothing is told that comes again."""
    (machine.tree(2) / "etc/tool.conf").write_text("configured here\n")
    before = snapshot(machine.tree(2))

    document = machine.document("upgrade", machine.release(3))

    assert document["layered"] == ["tool"]
    assert document["not_carried"]["paths"] == []
    assert document["fetch_objects"] == 1  # what the release changed: all else was kept
    assert differences(snapshot(machine.tree(2)), before) == []
    _expect_layer(machine, 3)
    assert _inside(machine, 3, "tool") == "configured here\n"


def test_a_package_that_fails_changes_nothing(machine: Machine) -> None:
    """LY-8."""
    machine.run("layer", "add", "broken")
    before = published(snapshot(machine.tree(3)))

    line = machine.refused("upgrade", machine.release(4), code=7)

    assert line == (
        "rootman: upgrade: layer broken, tool: apt-get: the tool is broken; "
        "dpkg: error processing package broken (--configure):; installed broken package "
        "post-installation script subprocess returned error exit status 3; "
        "Errors were encountered while processing:; broken; "
        "E: Sub-process /usr/bin/dpkg returned an error code (1) "
        "(hint: rootman upgrade --no-layer goes without, rootman layer remove for good)"
    )
    assert machine.links == {"current": "olpc.3", "previous": "olpc.2"}
    assert differences(published(snapshot(machine.tree(3))), before) == []
    machine.run("layer", "remove", "broken")


def test_an_unknown_package_is_told(machine: Machine) -> None:
    """LY-8."""
    machine.run("layer", "add", "unknown-package")

    line = machine.refused("upgrade", machine.release(4), code=7)

    assert "apt-get: " in line
    assert "E: Unable to locate package unknown-package (hint: " in line
    machine.run("layer", "remove", "unknown-package")


def test_an_upgrade_without_the_layer_says_what_is_not_there(machine: Machine) -> None:
    """LY-1, LY-8."""
    done = machine.attempt("upgrade", machine.release(4), "--no-layer")

    assert done.code == 0
    assert "packages installed here: tool (rootman layer add tool keeps them)" in done.err
    assert not (machine.tree(4) / "usr/bin/tool").exists()
    assert (machine.tree(4) / "etc/tool.conf").read_text() == "configured here\n"
    assert machine.document("layer")["layer"] == ["tool"]
