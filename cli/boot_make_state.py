"""``rootman boot make-state``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import NUMBER, as_json, real_fs
from cli.render import emit, emit_json

if TYPE_CHECKING:
    from rootman.names import TreeNumber


@click.command
@click.argument("number", metavar="N", type=NUMBER)
@click.option("--from", "left", metavar="DIR", help="Where the tree is that ran last.")
@click.option("--place", metavar="DIR", help="A directory for them; by default in the store.")
@as_json
@click.pass_obj
def command(
    rootfs: str, number: TreeNumber, left: str | None, place: str | None, as_json: bool
) -> None:
    """Make the state paths of version N that are not there yet.

    A release names state paths, such as /var: what is there once for all versions. They
    are directories in .rootman/state, and the initramfs has them over what the version
    has there. The first time it runs this, before anything of the version runs; there
    is no need to, but where something else brings up versions.

    What is in the tree that ran last goes on in them, with all that was changed there;
    what that has not begins with what version N has.

    \b
      rootman boot make-state 7 --from /mnt/left

    Exit codes: rootman --help lists them.
    """
    from rootman.boot.statedirs import make_state
    from rootman.execute import explained
    from rootman.lock import locked
    from rootman.store import open_store

    with open_store(rootfs) as store, locked(store), explained("boot make-state"):
        made = make_state(real_fs(), store, number, left=left, place=place)
    if as_json:
        emit_json({"made": [{"path": one.path, "from": one.what} for one in made]})
    else:
        emit(
            f"state {one.path}: from {one.what}"
            if one.what
            else f"state {one.path}: not made, there is no such directory"
            for one in made
        )
