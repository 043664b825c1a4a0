"""What was measured, as a table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_UNITS: Final = {"s": "{:.3f} s", "MiB": "{:.2f} MiB", "calls": "{:.0f}", "us": "{:.1f} us"}
_WIDTHS: Final = (50, 29, 29, 22, 7)


@dataclass(frozen=True, slots=True)
class Row:
    """Ours against theirs, one value per round.

    With ``theirs`` it is their ratio that the target, if any, is the limit of; without,
    the value itself.
    """

    name: str
    ours: Sequence[float]
    theirs: Sequence[float] = ()
    unit: str = "s"
    target: float | None = None

    @property
    def ratio(self) -> float | None:
        """The ratio of the medians."""
        return median(self.ours) / median(self.theirs) if self.theirs else None

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        found = self.ratio if self.theirs else median(self.ours)
        return found is not None and found <= self.target

    def cells(self) -> tuple[str, ...]:
        """Return what the table shows."""
        ratio = ""
        if self.ratio is not None:
            pairs = [ours / theirs for ours, theirs in self._rounds()]
            ratio = f"{self.ratio:.3f} ({min(pairs):.3f}-{max(pairs):.3f})"
        target = "" if self.target is None else f"{self.target:g}"
        verdict = {None: "", True: "ok", False: "MISSED"}[self.reached]
        return (self.name, self._value(self.ours), self._value(self.theirs), ratio, target, verdict)

    def _rounds(self) -> Iterable[tuple[float, float]]:
        """Return the values that belong together: of one round, or any where rounds differ."""
        if len(self.ours) != len(self.theirs):
            return product(self.ours, self.theirs)
        return zip(self.ours, self.theirs, strict=True)

    def document(self) -> dict[str, object]:
        """Return what goes into the JSON file."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": list(self.ours),
            "theirs": list(self.theirs),
            "ratio": self.ratio,
            "target": self.target,
            "reached": self.reached,
        }

    def _value(self, values: Sequence[float]) -> str:
        if not values:
            return ""
        shown = _UNITS[self.unit].format(median(values))
        if len(values) == 1:
            return shown
        number = _UNITS[self.unit].split(" ")[0]
        return f"{shown} ({number.format(min(values))}-{number.format(max(values))})"


def line(cells: Sequence[str]) -> str:
    """Return one line of the table."""
    fixed = (cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=False))
    return " ".join([*fixed, *cells[len(_WIDTHS) :]]).rstrip()


HEADING: Final = line(("median (least-most)", "rootman", "other", "ratio", "target"))
