"""Make one pack and do nothing else: ``packing REPOSITORY VERSION ORIGIN``."""

from __future__ import annotations

import sys

from rootman.fsops import RealFs
from rootman.repo.packs import make_packs


def main(repository: str, version: int, origin: int) -> None:
    """Make the pack that leads from ``origin`` to ``version``."""
    for pack in make_packs(repository, version, [origin], fs=RealFs()):
        if not pack.kept:
            sys.exit("the pack is no smaller than the objects")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
