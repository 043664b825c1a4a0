"""Clone one tree of a store and do nothing else: ``cloning STORE VERSION TARGET``.

It prints the seconds that the clone alone took, without the start of Python.
"""

from __future__ import annotations

import os
import sys
import time

from rootman.clone import clone_tree
from rootman.fsops import RealFs, open_dir
from rootman.names import TreeNumber
from rootman.seal import SealRecord
from rootman.store import open_store, require_tree, scan


def main(path: str, version: int, target: str) -> None:
    """Clone the tree ``version`` of the store at ``path`` to the new directory ``target``."""
    os.umask(0)
    began = time.monotonic()
    with open_store(path) as store:
        tree = require_tree(scan(store), TreeNumber(version))
        os.mkdir(target)
        source_fd = open_dir(tree.name, dir_fd=store.fd)
        target_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        record = SealRecord(open_dir(str(tree.number), dir_fd=store.trees), tree.name)
        entries = tree.seal.entries if tree.seal else 0
        moments = record.stamps(record.digests())
        cloned = clone_tree(
            RealFs(), source_fd, target_fd, record, entries=entries, moments=moments
        )
        if cloned.left_out:
            sys.exit(f"{len(cloned.left_out)} entries were left out")
    print(time.monotonic() - began)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
