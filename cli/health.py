"""``rootman health``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from cli.options import as_json, changing
from cli.render import emit, emit_json, printable

if TYPE_CHECKING:
    from rootman.boot.checks import Result
    from rootman.boot.health import Health
    from rootman.boot.verdict import Verdict

UNHEALTHY: Final = 13


@click.command
@click.option("--act", is_flag=True, help="Mark the booted version good, or reboot, or fall back.")
@click.option(
    "--checks",
    "folders",
    multiple=True,
    metavar="DIR",
    help="Take the checks from DIR in place of the usual directories; may be given again.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each check may take.",
)
@as_json
@click.pass_obj
def command(rootfs: str, act: bool, folders: tuple[str, ...], timeout: float, as_json: bool) -> int:
    """Say whether this machine works, by its checks.

    Checks are programs in required.d and wanted.d of /usr/lib/rootman/health.d,
    /etc/rootman/health.d and greenboot's directories, run in the order of their names; an
    exit code other than 0, or no answer in time, is a failure. Only required ones decide.
    Then the programs in green.d or red.d are run. With --act, which is for the unit
    rootman-health.service: a version on trial is marked good if all is well, else the
    machine reboots while attempts last, and then falls back. A version that is not on
    trial is never rebooted. With rootman.firstboot on the kernel command line this tests the
    first boot of a device, too: what came of it is kept, and the machine reboots once, to see
    that it comes up again (rootman.firstboot=noreboot: it does not).

    \b
      rootman health
      rootman health --checks ./health.d

    Exits with 0 when every required check passed, with 13 when one failed;
    rootman --help lists the others.
    """
    from rootman.boot.health import act as do
    from rootman.boot.health import examine
    from rootman.boot.restart import restart

    health = examine(
        folders or None,
        timeout=timeout,
        store=rootfs,
        on_result=lambda result: None if as_json else emit((_line(result),)),
    )
    verdict: Verdict | None = None
    if act:
        with changing(rootfs, "health") as opened:
            verdict = do(opened, health)
    if as_json:
        emit_json(_document(health, verdict))
    elif verdict is not None:
        emit((_VERDICTS[verdict],))
    if verdict in ("prove", "try again", "fall back"):
        restart("reboot")
    return 0 if health.is_healthy else UNHEALTHY


_VERDICTS: Final[dict[Verdict, str]] = {
    "mark good": "the booted version is good",
    "prove": "the booted version passed its first boot: rebooting once, to see that it comes up",
    "try again": "the booted version is tried again: rebooting",
    "fall back": "the booted version is bad: rebooting into another one",
    "stay": "nothing is changed: the booted version is not on trial, or the last one",
}


def _line(result: Result) -> str:
    said = f": {result.said}" if result.said else ""
    outcome = "passed" if result.passed else "failed"
    return printable(f"{outcome}: {result.check.kind} {result.check.path}{said}")


def _document(health: Health, verdict: Verdict | None) -> dict[str, object]:
    return {
        "healthy": health.is_healthy,
        "verdict": verdict,
        "checks": [
            {
                "kind": one.check.kind,
                "path": printable(one.check.path),
                "passed": one.passed,
                "said": printable(one.said),
                "seconds": round(one.seconds, 3),
            }
            for one in health.results
        ],
    }
