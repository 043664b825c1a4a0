"""What the guard answers to the kernel: every FUSE request that pyfuse3 knows.

Whoever changes an inode calls ``Breaker.make_private`` first; whoever changes a name tells
``GuardedTree``. What is not here is refused by the kernel: fallocate(2), ioctl(2), O_TMPFILE.
Permissions are checked by the kernel (``default_permissions``). spec/40-guard.md says what
must hold, HACKING.md how to add a request.
"""

from __future__ import annotations

import pyfuse3

from cow.content import ContentRequests
from cow.listing import ListingRequests
from cow.naming import NameRequests


class GuardOperations(NameRequests, ContentRequests, ListingRequests, pyfuse3.Operations):  # type: ignore[misc]  # it has no types
    """The requests of one mount."""

    enable_acl = True
    supports_dot_lookup = True
