"""The choice as the shell makes it: ``choose.sh`` under dash and under busybox."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from rootman.boot.choice import Choice
from tests.boot.states import lay_out, read_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootman.boot.choice import Reason
    from tests.boot.states import Case

DATA: Final = Path(__file__).parents[2] / "rootman" / "boot" / "data"
SHELLS: Final = {"dash": ("dash",), "busybox": ("busybox", "sh")}

_DRIVER: Final = """
. "$1"
cd "$2" || exit 1
while read -r store rootman_count version; do
    rootman_choose "$store" "$version"
    echo "$? $rootman_tree,$rootman_why"
done
"""


def chosen_by_shell(
    shell: str,
    place: Path,
    cases: Sequence[Case],
    version: str = "",
    *,
    counts: Sequence[int] = (),
    library: Path = DATA / "choose.sh",
) -> list[Choice]:
    """Return what the shell chooses in each case, for the kernel of ``version`` if that is given.

    ``place`` is an empty directory for the stores, ``counts`` how far the firmware has counted,
    for one store after another.
    """
    for number, (layout, boot) in enumerate(cases):
        lay_out(place / str(number), layout, boot)
    done = subprocess.run(
        (*SHELLS[shell], "-c", _DRIVER, "driver", library, place),
        input="".join(
            f"{number} {count} {version}\n"
            for number, count in zip(range(len(cases)), itertools.cycle(counts or (0,)))
        ),
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stderr == ""
    return [
        _choice(line, place / str(number)) for number, line in enumerate(done.stdout.splitlines())
    ]


def _choice(line: str, store: Path) -> Choice:
    code, _, rest = line.partition(" ")
    tree, _, why = rest.partition(",")
    assert (code == "0") == bool(tree)
    return Choice(
        tree,
        cast("Reason", why) if why else None,
        read_block(store / ".rootman" / "boot" / "grubenv"),
    )
