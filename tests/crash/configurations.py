"""The filesystems that are recorded, each made and mounted as a device would have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.filesystems import run

if TYPE_CHECKING:
    from tests.filesystems import Kind

MIB: Final = 1 << 20
MARKS: Final = MIB
"""At the end of the disk, where no filesystem is."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A filesystem of ``mib`` MiB; the options are for mount(2), of the disk and of its copies."""

    name: str
    kind: Kind
    mib: int
    mkfs: tuple[str, ...]
    options: str = ""
    copy_options: str = ""
    torn: bool = True
    """Whether a block may be torn. XFS replays a change of a block onto what is there."""
    whole: tuple[int, ...] = ()
    """Blocks that are never torn: the superblocks, which no journal brings back."""

    @property
    def marks_at(self) -> int:
        """Return where the marks are on the disk, in bytes."""
        return self.mib * MIB

    @property
    def size(self) -> int:
        """Return the size of the disk in bytes."""
        return self.marks_at + MARKS

    def make(self, device: str) -> None:
        """Make the filesystem on all of ``device`` but the marks."""
        size = self.marks_at
        run(*(one.format(device=device, bytes=size, blocks=size // 4096) for one in self.mkfs))

    def __str__(self) -> str:
        return self.name


_EXT4: Final = (
    *("mkfs.ext4", "-q", "-F", "-b", "4096", "-N", "4096"),
    # Not lazily: the kernel would write inode tables meanwhile.
    *("-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", "{device}", "{blocks}"),
)
_XFS: Final = ("mkfs.xfs", "-q", "-f", "-K", "-d", "agcount=2,size={bytes}", "{device}")
_BTRFS: Final = ("mkfs.btrfs", "-q", "-f", "-K", "-b", "{bytes}", "{device}")

# Without the kernel's help for those who rename and do not sync.
_NOAUTO: Final = "noauto_da_alloc"

CONFIGURATIONS: Final = (
    Configuration("ext4", "ext4", 32, _EXT4, whole=(0,)),
    Configuration("ext4 noauto_da_alloc", "ext4", 32, _EXT4, _NOAUTO, _NOAUTO, whole=(0,)),
    Configuration("xfs", "xfs", 300, _XFS, "", "nouuid", torn=False),
    Configuration("btrfs", "btrfs", 120, _BTRFS, "nodiscard", "nodiscard", whole=(16, 16384)),
)
# It never flushes; so does a disk that lies about it.
NO_BARRIER: Final = Configuration("ext4 barrier=0", "ext4", 32, _EXT4, "barrier=0")

BY_NAME: Final = {one.name: one for one in (*CONFIGURATIONS, NO_BARRIER)}
