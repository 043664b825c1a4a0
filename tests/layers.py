"""A package manager of a few lines, and trees that have it: what layers are tried with.

The real thing is in ``tests/cow/test_layer_debian``. Here it is a static program that goes by the
name of apt-get, so that a tree which it runs in needs nothing else, and does at once what the
packages that it is told to install stand for. Out of scope: a guard that leaks (``mutants``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rootman.layer.keeping import change_layer
from tests.builders import TIME, build, directory, file

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootman.layer.layering import Job
    from tests.builders import Tree
    from tests.stores import Lab

STATUS: Final = "Package: base\n"
# What a package manager needs, and files that packages change.
BASE: Final[Tree] = {
    **{name: directory() for name in ("dev", "etc", "proc", "run", "sys", "tmp", "usr/sbin")},
    "usr/bin/su": file("su", 0o4755),
    "var/lib/dpkg/info/base.list": file("/usr/bin/su\n"),
    "var/lib/dpkg/status": file(STATUS),
}
# What installing ``tool`` makes of it, in every way that a file can change.
TOOL: Final[Tree] = {
    "etc/tool.conf": file("configured\n"),
    "usr/bin/su": file("su", 0o700),
    "usr/bin/tool": file("tool\n", 0o755),
    "var/lib/dpkg/info/tool.list": file("/usr/bin/tool\n"),
    "var/lib/dpkg/status": file(f"{STATUS}Package: tool\n"),
}

_PROGRAM: Final = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void set_time(const char *path)
{
    struct timespec times[2] = {{@SECONDS@, @NANOSECONDS@}, {@SECONDS@, @NANOSECONDS@}};
    utimensat(AT_FDCWD, path, times, 0);
}

static int put(const char *path, const char *text, int flags, int mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | flags, mode);
    ssize_t size = strlen(text);
    if (fd < 0 || write(fd, text, size) != size)
        return 1;
    close(fd);
    set_time(path);
    return 0;
}

static int make_directories(char *path)
{
    for (char *at = path + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = 0;
        mkdir(path, 0755);
    }
    return mkdir(path, 0755);
}

static int fill_the_disk(void)
{
    static char zeros[1 << 20];
    int fd = open("/usr/bin/filler", O_WRONLY | O_CREAT, 0644);
    while (write(fd, zeros, sizeof zeros) > 0)
        ;
    perror("E: /usr/bin/filler");
    return 100;
}

static int install(const char *name)
{
    if (!strcmp(name, "broken")) {
        puts("Setting up broken ...");
        puts("E: this went wrong");
        return 100;
    }
    if (!strcmp(name, "full"))
        return fill_the_disk();
    if (!strcmp(name, "endless")) {
        puts("Setting up endless ...");
        fflush(stdout);
        for (;;)
            pause();
    }
    if (!strcmp(name, "daemon") && !fork()) {
        close(0), close(1), close(2);
        for (;;)
            pause();
    }
    int failed = put("/etc/tool.conf", "configured\n", O_TRUNC, 0644)
        | put("/usr/bin/tool", "tool\n", O_TRUNC, 0755)
        | put("/var/lib/dpkg/info/tool.list", "/usr/bin/tool\n", O_TRUNC, 0644)
        | put("/var/lib/dpkg/status", "Package: tool\n", O_APPEND, 0644)
        | chmod("/usr/bin/su", 0700);
    set_time("/etc");
    set_time("/usr/bin");
    set_time("/var/lib/dpkg/info");
    return failed ? 100 : 0;
}

int main(int count, char **words)
{
    int is_mkdir = strstr(words[0], "mkdir") != NULL;
    int is_download = 0;
    for (int at = 1; at < count; at++) {
        if (is_mkdir && words[at][0] == '/')
            make_directories(words[at]);
        if (!strcmp(words[at], "--download-only"))
            is_download = 1;
        if (!strcmp(words[at], "--no-download"))
            while (++at < count) {
                int code = install(words[at]);
                if (code)
                    return code;
            }
    }
    if (is_download)
        return put("/tmp/cache/archives/tool.deb", "a package", 0, 0644);
    return 0;
}
"""


@cache
def program() -> bytes:
    """Return the package manager, and what makes directories for it.

    Raises:
        subprocess.CalledProcessError: it cannot be compiled.
    """
    seconds, nanoseconds = divmod(TIME, 1_000_000_000)
    source = _PROGRAM.replace("@SECONDS@", str(seconds))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "program")
        path.with_suffix(".c").write_text(source.replace("@NANOSECONDS@", str(nanoseconds)))
        subprocess.run(
            ("gcc", "-Os", "-s", "-static", "-o", path, path.with_suffix(".c")), check=True
        )
        return path.read_bytes()


def with_manager(tree: Tree, content: bytes = b"") -> Tree:
    """Return ``tree`` with a package manager, which runs unless another ``content`` is given."""
    manager = file(content or program(), 0o755)
    return {**BASE, "usr/bin/apt-get": manager, "bin/mkdir": manager, **tree}


def keep(lab: Lab, *names: str) -> None:
    """``rootman layer add``."""
    with lab.session() as opened:
        change_layer(opened, added=names)


def stand_in(job: Job, said: Callable[[str], None]) -> int:
    """Make of the staged tree what the package manager and a guard would, without either."""
    stage = Path(job.stage)
    said("Setting up tool ...")
    made = build(stage / "made", TOOL)
    for name in TOOL:
        path = stage / "root" / name
        os.rename(made / name, path)
        os.utime(path.parent, ns=(TIME, TIME))
    shutil.rmtree(made)
    (stage / "tmp/package").write_text("a package")
    return 0
