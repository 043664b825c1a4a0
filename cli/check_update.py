"""``rootman check-update``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from cli.options import as_json, insecure, looking, mirrors
from cli.progress import Progress
from cli.render import emit, emit_json, numbered

if TYPE_CHECKING:
    from rootman.news import News

NEWER: Final = 12


@click.command
@click.argument("repository", metavar="REPO", envvar="ROOTMAN_REPO")
@click.option("--retry-bad", is_flag=True, help="Offer a release that failed here before, too.")
@mirrors
@insecure
@as_json
@click.pass_obj
def command(
    rootfs: str,
    repository: str,
    retry_bad: bool,
    mirrors: tuple[str, ...],
    insecure: bool,
    as_json: bool,
) -> int:
    """Say whether there is a newer release.

    REPO is the URL or the folder of a repository; ROOTMAN_REPO in the environment
    names a default. Only the release itself is read, and nothing is changed.

    \b
      rootman check-update https://example.org/repo
      rootman check-update /srv/repo || rootman upgrade /srv/repo

    Exits with 0 when current is the newest, with 12 when there is a newer release;
    rootman --help lists the others.
    """
    from rootman.news import read_news
    from rootman.repo.repository import Repository
    from rootman.repo.trusted import Vetting

    with looking(rootfs, "check-update") as view, Progress("check-update") as reporter:
        vet = Vetting(view.store, reporter, is_insecure=insecure)
        with Repository.open(repository, mirrors, vet=vet) as opened:
            news = read_news(view.state, opened, retry_bad=retry_bad)
    if as_json:
        emit_json(_document(news))
    else:
        emit((_line(news),))
    return NEWER if news.is_newer else 0


def _document(news: News) -> dict[str, object]:
    return {
        "name": news.release.name,
        "version": news.release.version,
        "timestamp": news.release.timestamp,
        **numbered("current", news.release.name, news.current),
        "newer": news.is_newer,
    }


def _line(news: News) -> str:
    name, version = news.release.name, news.release.version
    if not news.is_newer:
        return f"{name}.{news.current} is current, and there is nothing newer"
    current = "nothing" if news.current is None else f"{name}.{news.current}"
    return f"{name}.{version} of {news.release.timestamp} is there; {current} is current"
