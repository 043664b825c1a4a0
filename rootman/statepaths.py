"""State paths: what lives once per store, outside the versions, as ``/var`` (spec/55-state.md).

Each is a directory in that of its *generation*, called by its path, with ``:`` for ``/``. A
tree's record names its generation, and the paths that its release wants. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SEPARATOR: Final = ":"
FIRST_GENERATION: Final = 1


@dataclass(frozen=True, slots=True)
class StateRecord:
    """What a tree wants of the state: its ``generation``, and the ``names`` of its paths.

    The default is that of a tree that wants nothing: what is there is bound into it, too.
    """

    generation: int = FIRST_GENERATION
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, paths: Sequence[str], generation: int) -> StateRecord:
        """Return that of a release with these state ``paths``, without those within another."""
        names = {path: state_name(path) for path in paths}
        inner = {one for one in paths if any(is_within(one, above) for above in paths)}
        return cls(generation, tuple(sorted(names[path] for path in names.keys() - inner)))

    def serialise(self) -> bytes:
        """Return it as lines for a shell: the generation, and then a name in each."""
        return "".join(f"{line}\n" for line in (self.generation, *self.names)).encode()

    def missing(self, there: Collection[str]) -> tuple[str, ...]:
        """Return the names of those that are not ``there``, neither they nor one above them."""
        return tuple(name for name in self.names if not _has(name, there))


NO_STATE: Final = StateRecord()


def parse_state_record(data: bytes, origin: str) -> StateRecord:
    """Return the record in ``data``, the content of the file ``origin``.

    Raises:
        InvalidInput: it is damaged.
    """
    try:
        first, *names = data.decode().removesuffix("\n").split("\n")
        if not first.isascii() or not first.isdigit() or int(first) < FIRST_GENERATION:
            raise ValueError(f"{first!r} is no generation")
        return StateRecord(int(first), tuple(names))
    except ValueError as error:
        raise InvalidInput(f"{origin}: damaged: {error}") from error


def state_name(path: str) -> str:
    """Return the name of a state path: ``var:lib`` for ``/var/lib``."""
    return path[1:].replace("/", SEPARATOR)


def state_path(name: str) -> str:
    """Return the state path with a name."""
    return f"/{name.replace(SEPARATOR, '/')}"


def is_within(path: str, above: str) -> bool:
    """Return whether ``path`` is below ``above``."""
    return path.startswith(f"{above}/")


def _has(name: str, there: Collection[str]) -> bool:
    parts = name.split(SEPARATOR)
    return any(SEPARATOR.join(parts[:end]) in there for end in range(1, len(parts) + 1))
