"""Where the mount is known not to be as ext4 is: what each of them shows.

Each is of the kernel's FUSE or of pyfuse3 3.2; one that goes away fails, too.
"""

from __future__ import annotations

from typing import Final

_CAPABILITY: Final = b"\x01\x00\x00\x02\x00\x20" + bytes(14)

LIMITS: Final[dict[str, dict[str, tuple[object, object]]]] = {
    # No request for them in pyfuse3: the kernel refuses, and sees no holes.
    "files.preallocation": {f"mode {mode}": (None, "ENOTSUP") for mode in (0, 1, 3, 8, 16, 32)},
    "files.sparse_files": {
        "first hole": (4096, 50_000_003),
        "next data": (50_000_000 & ~0xFFF, 4096),
    },
    "opening.unnamed_files": {"O_TMPFILE": (None, "ENOTSUP")},
    # Refused by the guard.
    "names.whiteouts": {"rename": (None, "EINVAL"), "left": ("0o20000", "0o100000")},
    # The kernel cuts the mode by the umask before FUSE is asked to make the file.
    "permissions.default_acls_and_umask": {
        "f": ("0o100664", "0o100640"),
        "d": ("0o40775", "0o40750"),
    },
    # A mapping reaches the disk by a write, which takes a capability away.
    "privileges.capabilities_go_with_a_change": {"_map leaves": (_CAPABILITY, "ENODATA")},
    # The kernel dates nothing on FUSE by itself, and no request tells of what goes through.
    "processes.fifos": {"fifo dated": (True, False)},
    # The kernel's FUSE can be waited for.
    "processes.files_are_always_ready": {"epoll": ("EPERM", None)},
}
"""By case and label: what ext4 shows and what the mount does."""
