"""``rootman trust``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import as_json, changing, looking
from cli.render import emit, emit_json, moment, printable

if TYPE_CHECKING:
    from rootman.repo.anchor import Anchor


@click.command
@click.argument("root", required=False)
@as_json
@click.pass_obj
def command(rootfs: str, root: str | None, as_json: bool) -> None:
    """Show or set whose signatures a store trusts.

    ROOT is a root.json of a publisher: it names their keys, and is the one thing that
    has to come to a device by a way that you trust, such as its first image. From then
    on the store takes only what those keys have signed, from wherever it comes; new
    keys follow by themselves if the old ones have signed them. Giving the same ROOT
    again changes nothing; another one begins anew. Without ROOT, it is shown what is
    trusted: keys, how many of them have to sign, versions, until when they hold.

    \b
      rootman trust /media/usb/root.json
      rootman trust

    Exit codes: rootman --help lists them.
    """
    from rootman.repo.anchor import describe, give_root, read_root
    from rootman.trust import read_trust

    if root is not None:
        data = read_root(root)
        with changing(rootfs, "trust") as opened:
            is_new = give_root(opened, data)
            trust = read_trust(opened.store)
    else:
        is_new = False
        with looking(rootfs, "trust") as view:
            trust = read_trust(view.store)
    anchor = describe(trust) if trust is not None else None
    if as_json:
        emit_json(_document(anchor))
    else:
        emit(_lines(printable(rootfs), anchor, is_new=is_new))


def _document(anchor: Anchor | None) -> dict[str, object]:
    if anchor is None:
        return {"trusted": False}
    return {
        "trusted": True,
        "roles": {
            one.role: {"threshold": one.threshold, "keys": list(one.keys)} for one in anchor.roles
        },
        "metadata": {
            one.kind: {"version": one.version, "expires": int(one.expires.timestamp())}
            for one in anchor.parts
        },
        "floor": anchor.floor,
    }


def _lines(rootfs: str, anchor: Anchor | None, *, is_new: bool) -> list[str]:
    if anchor is None:
        return [f"{rootfs} trusts nobody yet; to begin: rootman trust root.json"]
    lines = [f"{rootfs} {'trusts from now on' if is_new else 'trusts'}:"]
    for role in anchor.roles:
        lines.append(f"  {role.role}: {role.threshold} of these keys")
        lines += [f"    {key}" for key in role.keys]
    lines += [
        f"{part.kind} {part.version}, until {moment(int(part.expires.timestamp()))}"
        for part in anchor.parts
    ]
    return [*lines, f"no clock is believed that says it is before {moment(anchor.floor)}"]
