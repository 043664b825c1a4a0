"""Run one rootman command with its phases timed: ``tracing BEGAN FUNCTIONS SCRIPT ARGUMENTS``.

BEGAN is ``time.monotonic()`` before this process was started. Functions are
wrapped from outside, so that nothing in rootman is there for the bench alone.
Times are of the wall clock, and what worker processes do is in the time of the
function that waits for them.
"""

from __future__ import annotations

import time

_STARTED = time.monotonic()

# ruff: noqa: E402 - the imports are what is timed
import importlib
import inspect
import os
import runpy
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

# A phase is every function that these modules name or define, every method of the
# classes that they define, and of these classes.
_MODULES: Final = (
    "rootman.session",
    "rootman.upgrade",
    "rootman.survey",
    "rootman.building",
    "rootman.retirement",
)
_CLASSES: Final = ("rootman.wanted.Delta", "rootman.apply.Applier", "rootman.fsops.RealFs")
_SHOWN: Final = 0.0005
_IMPORTED: Final = ("cli.main", "rootman.session", "rootman.upgrade", "rootman.repo.repository")


class Trace:
    """Times of nested calls, summed by where they were made."""

    def __init__(self) -> None:
        self._stack: list[str] = []
        self._seconds: dict[tuple[str, ...], float] = {}
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, name: str, seconds: float) -> None:
        """Add a phase that was timed elsewhere."""
        self._seconds[name,] = seconds
        self._counts[name,] = 1

    def wrap(self, owner: object, attribute: str, *, step: bool = False) -> None:
        """Time every call of the ``attribute`` of ``owner``; a step goes by its own text."""
        function: Callable[..., object] = getattr(owner, attribute)

        def timed(*arguments: object, **keywords: object) -> object:
            self._stack.append(str(arguments[1]) if step else attribute)
            place = tuple(self._stack)
            self._seconds.setdefault(place, 0.0)  # outer ones are listed first
            began = time.monotonic()
            try:
                return function(*arguments, **keywords)
            finally:
                self._seconds[place] += time.monotonic() - began
                self._counts[place] = self._counts.get(place, 0) + 1
                self._stack.pop()

        setattr(owner, attribute, timed)

    def show(self, total: float) -> None:
        """Print all phases, and what is in none of them."""
        for place in self._ordered(()):
            seconds, count = self._seconds[place], self._counts[place]
            if seconds < _SHOWN:
                continue
            times = f" ({count} times)" if count > 1 else ""
            print(f"{seconds:9.4f} s  {'    ' * (len(place) - 1)}{place[-1]}{times}")
        top = sum(seconds for place, seconds in self._seconds.items() if len(place) == 1)
        print(f"{total - top:9.4f} s  in none of these")

    def _ordered(self, parent: tuple[str, ...]) -> list[tuple[str, ...]]:
        found: list[tuple[str, ...]] = []
        for place in self._seconds:
            if place[:-1] == parent:
                found += [place, *self._ordered(place)]
        return found


def main(began: float, functions: int, script: str) -> None:
    """Run ``script`` as Python would, with ``sys.argv`` set, and print the trace."""
    trace = Trace()
    trace.add("start of Python", _STARTED - began)
    _import(trace)
    _wrap(trace)
    if functions:
        _profile(script, functions)
    else:
        _run(script)
    trace.show(time.monotonic() - began)


def _import(trace: Trace) -> None:
    started = time.monotonic()
    for module in (*_IMPORTED, *_MODULES):
        importlib.import_module(module)
    trace.add("imports", time.monotonic() - started)


def _wrap(trace: Trace) -> None:
    from rootman import execute

    for method in execute._METHODS.values():
        trace.wrap(execute.Executor, method, step=True)
    for owner in [*_classes(), *(sys.modules[name] for name in _MODULES)]:
        for name, member in list(vars(owner).items()):
            if _is_phase(member):
                trace.wrap(owner, name)


def _classes() -> set[type]:
    found: set[type] = set()
    for name in _MODULES:
        members = vars(sys.modules[name]).values()
        found.update(one for one in members if isinstance(one, type) and one.__module__ == name)
    for name in _CLASSES:
        module, _, attribute = name.rpartition(".")
        found.add(getattr(importlib.import_module(module), attribute))
    return found


def _is_phase(member: object) -> bool:
    """Return whether it is a function of rootman that has done its work when it returns."""
    if not isinstance(member, FunctionType) or not member.__module__.startswith("rootman"):
        return False
    name = member.__name__
    return not name.startswith("__") and not inspect.isgeneratorfunction(inspect.unwrap(member))


def _run(script: str) -> None:
    leave, pid = os._exit, os.getpid()

    def leave_or_return(status: int) -> NoReturn:
        """End a worker as ever; here the trace is still to be shown."""
        if os.getpid() != pid:
            leave(status)
        sys.exit(status)

    os._exit = leave_or_return
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise


def _profile(script: str, functions: int) -> None:
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    profiler.runcall(_run, script)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(functions)


if __name__ == "__main__":
    sys.argv[0:4], arguments = [sys.argv[3]], sys.argv[1:4]
    main(float(arguments[0]), int(arguments[1]), arguments[2])
