"""What a command does that is told to have the machine boot again when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rootman.boot.restart import Restart, Way
    from rootman.session import Session


class Again:
    """A restart by ``way``, or none for None; refused at once where this machine cannot.

    It is prepared while the store is open, and made when all that was done is told.
    """

    def __init__(self, way: Way | None) -> None:
        self._way = way
        self._prepared: Restart | None = None
        if way is not None:
            from rootman.boot.restart import check

            check(way)

    def prepare(self, opened: Session, *, changed: bool) -> None:
        """Prepare it, if there is need of one; ``changed`` says whether anything was done."""
        if self._way is not None:
            from rootman.boot.restart import prepare

            self._prepared = prepare(opened, self._way, changed=changed)

    def document(self) -> dict[str, object]:
        """Return what scripts are told."""
        return {"restarts_into": (self._prepared.into or None) if self._prepared else None}

    def lines(self) -> list[str]:
        """Return what people are told."""
        if self._prepared is None or self._prepared.failure is not None:
            return []
        if not self._prepared.into:
            return ["what boots next runs already: no reboot"]
        return [f"rebooting into {self._prepared.into}"]

    def perform(self) -> None:
        """Have the machine boot again.

        Raises:
            NotRebooted: it does not.
        """
        if self._prepared is not None:
            from rootman.boot.restart import perform

            perform(self._prepared)
