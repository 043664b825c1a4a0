"""``rootman init``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import VERSION, as_json, real_fs
from cli.progress import Progress
from cli.render import emit, emit_json, numbered, printable, readable

if TYPE_CHECKING:
    from rootman.initialisation import InitResult


@click.command
@click.argument("tree", required=False)
@click.option("--version", type=VERSION, metavar="N", help="The version that TREE becomes.")
@click.option(
    "--name", metavar="OS", help="The operating system's name, trees are OS.N [default: olpc]."
)
@click.option("--compatible", metavar="NAME", help="The hardware that this device is.")
@click.option("--trust", metavar="ROOT", help="Take only what this root.json makes trusted.")
@as_json
@click.pass_obj
def command(
    rootfs: str,
    tree: str | None,
    version: int | None,
    name: str | None,
    compatible: str | None,
    trust: str | None,
    as_json: bool,
) -> None:
    """Make a store, or take a tree into it.

    Without TREE, an empty store is made; the first upgrade installs into it. With
    TREE, that directory becomes version N of the store, which is made if it is
    missing: its files are linked where they are on the same filesystem (and are
    not to be changed there any more) and copied otherwise. The first tree becomes
    current. A device says with --compatible what hardware it is, also later;
    releases for other hardware are refused. With --trust releases are refused that the
    publisher has not signed; `rootman trust` says more, and does the same later.

    \b
      rootman init --trust root.json
      rootman init /build/root --version 1
      rootman --rootfs /mnt/rootfs init --compatible olpc,xo-1

    Exit codes: rootman --help lists them.
    """
    if (tree is None) != (version is None):
        raise click.UsageError("TREE and --version go together", click.get_current_context())
    from rootman import workers
    from rootman.initialisation import Request, initialise

    request = Request(tree, version or 0, name, compatible, trust)
    with Progress("init") as reporter:
        result = initialise(rootfs, request, real_fs(), reporter, forks=workers.DEFAULT)
    if as_json:
        emit_json(_document(rootfs, result))
    else:
        emit(_lines(printable(rootfs), result, trust))


def _document(rootfs: str, result: InitResult) -> dict[str, object]:
    return {
        "rootfs": readable(rootfs),
        "name": result.os_name,
        "made": result.made,
        "compatible": result.compatible,
        **numbered("adopted", result.os_name, result.adopted),
        "files": result.files,
        **numbered("current", result.os_name, result.current),
    }


def _lines(rootfs: str, result: InitResult, trust: str | None) -> list[str]:
    lines = [f"{rootfs}: a store of {result.os_name}"] if result.made else []
    if trust is not None:
        lines.append(f"{rootfs}: takes what is signed as {printable(trust)} says, and nothing else")
    if result.adopted is not None:
        line = f"{result.os_name}.{result.adopted} taken in, its files {result.files}"
        lines.append(line + ("; it is current" if result.current == result.adopted else ""))
    elif result.made:
        lines.append(f"to install: rootman --rootfs {rootfs} upgrade REPO")
    elif trust is None or result.compatible:
        lines.append(f"{rootfs}: this device is {result.compatible or 'of no named hardware'}")
    return lines
