"""``rootman repair``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from cli.options import NUMBER, as_json, changing
from cli.render import count, difference, emit, emit_json
from cli.verdict import document, exit_code, finding, lines

if TYPE_CHECKING:
    from rootman.names import TreeNumber
    from rootman.repo.repository import Repository


@click.command
@click.argument("number", metavar="[N]", type=NUMBER, required=False)
@click.option(
    "--from", "source", metavar="REPO", help="Where content is that no other version has."
)
@as_json
@click.pass_obj
def command(rootfs: str, number: TreeNumber | None, source: str | None, as_json: bool) -> int:
    """Bring a version back to what was installed.

    Version N, current by default, is verified; every path that differs is replaced
    by a new file, and the whole is verified again. Local changes to the tree are
    undone, too, but for those of configuration (rootman config-diff). Content comes
    from the other versions of the store where they have it, else from the repository
    REPO. A file that is there is never written into:
    programs that use it keep it, and other versions stay what they are.

    \b
      rootman repair
      rootman repair 6 --from /srv/repo

    Exits with 0 when the tree is pristine afterwards, else with 10 or 11 as verify;
    rootman --help lists the others.
    """
    from rootman.examination import mend

    with ExitStack() as stack:
        origin = stack.enter_context(_repository(source)) if source is not None else None
        opened = stack.enter_context(changing(rootfs, "repair"))
        found = mend(opened, number, origin)
    if as_json:
        repaired = [
            {**difference(one.difference), "damaged": one.damaged} for one in found.repaired
        ]
        emit_json({**document(found), "repaired": repaired, "local": found.local})
    else:
        emit(f"was {finding(one)}" for one in found.repaired)
        mended = len(found.repaired) - len(found.findings)
        if found.repaired:
            emit((f"{found.name}: {count(mended, 'path')} repaired",))
        emit(lines(found))
    return exit_code(found.verdict)


def _repository(source: str) -> Repository:
    """Open the repository; the seal record says what content is right, wherever it is from."""
    from rootman.repo.repository import Repository

    return Repository.open(source, insecure=True)
