"""One guided run: bytes for one check, led by the branches that they make rootman take.

``python -m tests.fuzz.guided CHECK [--mutant NAME] [libFuzzer's options, files, folders]``
takes this process over; a file alone is tried once, which replays a finding. Out of scope:
what a run starts with and what it found (``campaign``).
"""

from __future__ import annotations

import argparse
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from tests.fuzz.mutation import mutate_document

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

PATIENCE: Final = 10
DOCUMENTS: Final = ("release", "state", "metadata")


class Hang(BaseException):
    """An input took too long. No ``except Exception`` on the way takes it for an error."""


class Watched:
    """A check that raises ``Hang`` where it is still at the same input after a while.

    libFuzzer has an option for that, whose signal handler waits for ever for a lock when
    it comes at the wrong moment; and this way the traceback says where it hangs.
    """

    def __init__(self, check: Callable[[bytes], None], seconds: float) -> None:
        self._check = check
        self._begun = 0
        self._seen = -1
        self._running = False
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)

    def __call__(self, data: bytes) -> None:
        """Run the check on ``data``."""
        self._begun += 1
        self._running = True
        try:
            self._check(data)
        except BaseException:
            # It takes its time to be written down, and then there is no handler any more.
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise
        finally:
            self._running = False

    def _look(self, _: int, __: FrameType | None) -> None:
        if self._running and self._seen == self._begun:
            raise Hang
        self._seen = self._begun


def main(arguments: list[str]) -> NoReturn:
    """Run the check that is named until libFuzzer ends the process."""
    import atheris

    parser = argparse.ArgumentParser(prog="tests.fuzz.guided", allow_abbrev=False)
    parser.add_argument("check")
    parser.add_argument("--mutant", help="break a parser first")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds for an input")
    options, others = parser.parse_known_args(arguments)
    with atheris.instrument_imports(include=["rootman", "tuf"]):
        from tests.fuzz.parsers import CHECKS
    if options.mutant:
        from tests.fuzz.mutants import PARSERS

        PARSERS[options.mutant].break_it()
    check = Watched(CHECKS[options.check], options.patience)
    setup = partial(atheris.Setup, [sys.argv[0], "-timeout=0", *others], check)
    if options.check in DOCUMENTS:

        def mutate(data: bytes, most: int, seed: int) -> bytes:
            return mutate_document(data, most, seed, atheris.Mutate)

        setup = partial(setup, custom_mutator=mutate)
    setup()
    atheris.Fuzz()
    raise AssertionError("libFuzzer ends the process")


if __name__ == "__main__":
    main(sys.argv[1:])
