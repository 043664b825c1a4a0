"""The steps that plans are made of. Pure: ``execute`` carries them out.

``str(step)`` is what ``--dry-run`` shows and what an error names. What a power cut
in each step leaves behind is the transition table of spec/40-transitions.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rootman.boot.block import BootState
    from rootman.merge.note import MergeNote
    from rootman.names import StageName, TreeNumber
    from rootman.state import Settings


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


@dataclass(frozen=True, slots=True)
class Publish:
    """Make the names in the store durable, which a killed command may have left otherwise."""

    def __str__(self) -> str:
        return "make durable what was done before"


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove a stage and what is in it."""

    stage: StageName

    def __str__(self) -> str:
        return f"remove staging/{self.stage}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """Remove a temporary name from staging."""

    name: str

    def __str__(self) -> str:
        return f"remove staging/{self.name}"


@dataclass(frozen=True, slots=True)
class DropRecord:
    """Remove the seal record of a tree that is not there."""

    number: TreeNumber

    def __str__(self) -> str:
        return f"remove the seal record of version {self.number}"


@dataclass(frozen=True, slots=True)
class Fetch:
    """Have the content that the seed lacks, verified, in ``objects/``."""

    objects: int
    size: int

    def __str__(self) -> str:
        return f"fetch {_counted(self.objects, 'object')} ({_counted(self.size, 'byte')})"


@dataclass(frozen=True, slots=True)
class KeepRelease:
    """Keep the release beside its content, for an upgrade to come."""

    version: int

    def __str__(self) -> str:
        return f"keep version {self.version} for a later upgrade"


@dataclass(frozen=True, slots=True)
class TakeSpare:
    """Make the spare the stage of the new tree."""

    seed: TreeNumber
    number: TreeNumber

    def __str__(self) -> str:
        return f"start version {self.number} from the spare (a clone of version {self.seed})"


@dataclass(frozen=True, slots=True)
class CloneTree:
    """Clone a complete tree by hardlinks into the stage of the new one."""

    seed: TreeNumber
    number: TreeNumber

    def __str__(self) -> str:
        return f"start version {self.number} from a clone of version {self.seed}"


@dataclass(frozen=True, slots=True)
class StartEmpty:
    """Make an empty stage for the new tree."""

    number: TreeNumber

    def __str__(self) -> str:
        return f"start version {self.number} from nothing"


@dataclass(frozen=True, slots=True)
class Apply:
    """Make the seed the wanted tree."""

    number: TreeNumber
    changes: int

    def __str__(self) -> str:
        return f"apply {_counted(self.changes, 'change')}"


@dataclass(frozen=True, slots=True)
class Record:
    """Write the seal record beside the staged tree."""

    number: TreeNumber

    def __str__(self) -> str:
        return f"record what version {self.number} is sealed with"


@dataclass(frozen=True, slots=True)
class Merge:
    """Carry the local changes of another tree's configuration into the staged tree."""

    source: TreeNumber
    number: TreeNumber

    def __str__(self) -> str:
        return f"merge the configuration of version {self.source} into version {self.number}"


@dataclass(frozen=True, slots=True)
class Layer:
    """Have the package manager of the staged tree install what is kept to be in every tree."""

    number: TreeNumber
    packages: tuple[str, ...]

    def __str__(self) -> str:
        return f"layer {', '.join(self.packages)} into version {self.number}"


@dataclass(frozen=True, slots=True)
class StageConfig:
    """Make the configuration of a complete tree anew, with the local changes of another."""

    source: TreeNumber
    number: TreeNumber

    def __str__(self) -> str:
        return f"merge configuration of version {self.source} into that of version {self.number}"


@dataclass(frozen=True, slots=True)
class PutConfig:
    """Put what was merged into the place of the configuration that a complete tree has."""

    number: TreeNumber

    def __str__(self) -> str:
        return f"replace the configuration of version {self.number}"


@dataclass(frozen=True, slots=True)
class NoteMerge:
    """Write the note of what a tree's configuration was merged of."""

    number: TreeNumber
    note: MergeNote

    def __str__(self) -> str:
        return f"note what became of the configuration of version {self.number}"


@dataclass(frozen=True, slots=True)
class ForgetMerge:
    """Remove the note of what a tree's configuration was merged of."""

    number: TreeNumber

    def __str__(self) -> str:
        return f"merge nothing into version {self.number} any more"


@dataclass(frozen=True, slots=True)
class SealTree:
    """Make the staged tree durable and give it its final name."""

    number: TreeNumber

    def __str__(self) -> str:
        return f"seal version {self.number}"


@dataclass(frozen=True, slots=True)
class PointPrevious:
    """Point ``previous`` at a tree."""

    number: TreeNumber

    def __str__(self) -> str:
        return f"point previous at version {self.number}"


@dataclass(frozen=True, slots=True)
class PointCurrent:
    """Point ``current`` at a tree, where there is no ``previous`` to exchange with."""

    number: TreeNumber

    def __str__(self) -> str:
        return f"point current at version {self.number}"


@dataclass(frozen=True, slots=True)
class Exchange:
    """Exchange ``current`` and ``previous``; the numbers are those they have afterwards."""

    current: TreeNumber
    previous: TreeNumber

    def __str__(self) -> str:
        return f"exchange current and previous: version {self.current} is current"


@dataclass(frozen=True, slots=True)
class CloseStage:
    """Remove the emptied stage of a tree that was sealed and switched to."""

    number: TreeNumber

    def __str__(self) -> str:
        return f"close the stage of version {self.number}"


@dataclass(frozen=True, slots=True)
class Retire:
    """Take a tree's final name away, before anything in it is changed."""

    number: TreeNumber

    def __str__(self) -> str:
        return f"retire version {self.number}"


@dataclass(frozen=True, slots=True)
class RollForward:
    """Make the retired tree a clone of another: the spare."""

    number: TreeNumber
    target: TreeNumber

    def __str__(self) -> str:
        return f"roll version {self.number} forward to a spare of version {self.target}"


@dataclass(frozen=True, slots=True)
class CloneSpare:
    """Clone a tree to be the spare, where none fell out."""

    target: TreeNumber

    def __str__(self) -> str:
        return f"clone version {self.target} as the spare"


@dataclass(frozen=True, slots=True)
class DeleteTree:
    """Retire a tree and remove it."""

    number: TreeNumber

    def __str__(self) -> str:
        return f"delete version {self.number}"


@dataclass(frozen=True, slots=True)
class DropState:
    """Remove a generation of the state, which no tree has any more."""

    generation: int

    def __str__(self) -> str:
        return f"remove generation {self.generation} of the state"


@dataclass(frozen=True, slots=True)
class ClearObjects:
    """Remove what is left in ``objects/``."""

    def __str__(self) -> str:
        return "remove downloads that nothing needs"


@dataclass(frozen=True, slots=True)
class SaveSettings:
    """Write ``state.json``."""

    settings: Settings

    def __str__(self) -> str:
        return "write state.json"


@dataclass(frozen=True, slots=True)
class SaveBoot:
    """Write the boot state, which says of a tree that it is on trial, or bad."""

    boot: BootState

    def __str__(self) -> str:
        if not self.boot.pending:
            return "write the boot state"
        return f"put {self.boot.pending} on trial, for {self.boot.tries} attempts to boot"


@dataclass(frozen=True, slots=True)
class KeepKernel:
    """Have the kernel of the staged tree where the loader finds it, before the tree is sealed."""

    number: TreeNumber

    def __str__(self) -> str:
        return f"copy the kernel of version {self.number} to where the loader finds it"


@dataclass(frozen=True, slots=True)
class UpdateMenu:
    """Make the menu of the loader what the links and the boot state say.

    ``leaving`` are trees that are about to be deleted. In a recovery a failure is told, and
    does not end it: what is to be done about it may be another command.
    """

    leaving: frozenset[TreeNumber] = frozenset()
    recovering: bool = False

    def __str__(self) -> str:
        return "update the menu of the loader"


Step = (
    Publish
    | Discard
    | Sweep
    | DropRecord
    | Fetch
    | KeepRelease
    | TakeSpare
    | CloneTree
    | StartEmpty
    | Apply
    | Record
    | Merge
    | Layer
    | StageConfig
    | PutConfig
    | NoteMerge
    | ForgetMerge
    | SealTree
    | PointPrevious
    | PointCurrent
    | Exchange
    | CloseStage
    | Retire
    | RollForward
    | CloneSpare
    | DeleteTree
    | DropState
    | ClearObjects
    | SaveSettings
    | SaveBoot
    | KeepKernel
    | UpdateMenu
)
Plan = tuple[Step, ...]
