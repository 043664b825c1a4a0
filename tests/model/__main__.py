"""``python -m tests.model``: check the model, and say how many states it has."""

from __future__ import annotations

import sys

from tests.capabilities import lack
from tests.model.checker import check
from tests.model.variants import SEARCHES, VARIANTS


def main() -> int:
    """Return 1 if the model breaks a promise, or if a broken variant of it does not."""
    reason = lack("spin")
    if reason is not None:
        print(f"the model needs spin and gcc: {reason}", file=sys.stderr)
        return 1
    failed = False
    for search in SEARCHES:
        verdict = check(*search.defines, liveness=search.liveness, model=search.model)
        outcome = f"VIOLATED: {verdict.error}" if verdict.error else "no violation"
        print(
            f"{search.name}: {verdict.states:,} states, all of them seen, {outcome}"
            f" ({verdict.seconds:.0f} s, {verdict.memory_mib:.0f} MiB)",
            flush=True,
        )
        print("".join(f"    {line}\n" for line in verdict.counterexample), end="")
        failed |= bool(verdict.error)
    for variant in VARIANTS:
        verdict = check(
            variant.define, *variant.search, liveness=variant.liveness, model=variant.model
        )
        last = "; ".join(line for line in verdict.counterexample if line[0] in ">!")[-60:]
        outcome = f"caught, after ...{last}" if verdict.error else "NOT CAUGHT"
        print(f"  variant: {variant.name}: {outcome}", flush=True)
        failed |= not verdict.error
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
