"""``rootman verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import NUMBER, as_json
from cli.progress import Progress
from cli.render import emit, emit_json
from cli.verdict import document, exit_code, lines

if TYPE_CHECKING:
    from rootman.names import TreeNumber


@click.command
@click.argument("number", metavar="[N]", type=NUMBER, required=False)
@click.option("--quick", is_flag=True, help="Go by what lstat(2) says; read no file.")
@as_json
@click.pass_obj
def command(rootfs: str, number: TreeNumber | None, quick: bool, as_json: bool) -> int:
    """Compare a version with what was installed.

    Version N, current by default: every byte is read and every bit of metadata
    compared with the manifest. A path is `modified` when it was added, removed or
    replaced in this tree alone. It is `damaged` when its file is still the one that
    was installed and is not what it was: every version that shares the file is
    damaged, too. With --quick, content is not read and xattrs are not seen.

    \b
      rootman verify
      rootman verify 6 --quick

    Exits with 0 when the tree is pristine, 10 when it is modified, 11 when damaged;
    rootman --help lists the others.
    """
    from cli.options import real_fs
    from rootman import workers
    from rootman.examination import examine
    from rootman.session import look

    with Progress("verify") as progress, look(rootfs, real_fs, progress) as view:
        found = examine(view, number, quick=quick, forks=workers.DEFAULT, on_tree=progress.reading)
    if as_json:
        emit_json({**document(found), "quick": quick})
    else:
        emit(lines(found))
    return exit_code(found.verdict)
