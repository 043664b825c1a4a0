"""Where the time of an upgrade goes: ``python -m tests.bench --profile``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.bench.measure import execute, interpreter

if TYPE_CHECKING:
    from tests.bench.images import Images
    from tests.bench.recipes import Recipes


def profile(images: Images, recipes: Recipes, *, rounds: int, functions: int = 0) -> None:
    """Print where the time of an upgrade goes, and its ``functions`` costliest functions.

    Each of the rounds is one upgrade, on a copy of the same image.
    """
    image = recipes.store()
    python = interpreter(recipes.rootman)
    for number in range(rounds):
        with images.fresh(image) as filesystem:
            began = time.monotonic()
            module = (python, "-m", "tests.bench.tracing", str(began), str(functions))
            done = execute(*module, *recipes.upgrade(filesystem.path, 3))
        print(f"round {number + 1}:\n{done.output}\n{done.seconds:9.4f} s  all\n", flush=True)
