"""``rootman config-diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.diff import listed, written
from cli.options import NUMBER, as_json, looking
from cli.render import emit

if TYPE_CHECKING:
    from rootman.names import TreeNumber


@click.command
@click.argument("old", metavar="[A", type=NUMBER, required=False)
@click.argument("new", metavar="[B]]", type=NUMBER, required=False)
@as_json
@click.pass_obj
def command(rootfs: str, old: TreeNumber | None, new: TreeNumber | None, as_json: bool) -> None:
    """Show what was changed in the configuration of a version.

    Of version A, current by default, where its configuration is not what its release
    has; of A and B, where that of the two differs as it is now. Configuration is what
    the release names (rootman publish --config). A line for each path, as of `rootman
    diff`: A for added, D for deleted, M for modified and then what differs, times apart.

    Where both a release and you had changed a file, an upgrade has left the new default
    beside yours, as NAME.rootman-new. Compare the two, make one of them, and remove it.

    \b
      rootman config-diff
      rootman config-diff 6 7
      rootman config-diff | grep rootman-new

    Exit codes: rootman --help lists them.
    """
    from rootman.execute import explained
    from rootman.merge.difference import differences_between, local_differences
    from rootman.store import require_tree

    with looking(rootfs, "config-diff") as view, explained(rootfs):
        before = require_tree(view.state, old)
        after = before if new is None else require_tree(view.state, new)
        if new is None:
            found = local_differences(view.store, before)
        else:
            found = differences_between(view.store, before, after)
        emit(written(before, after, found) if as_json else listed(found))
