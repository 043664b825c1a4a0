"""Carrying out a plan: the only place where a command changes the store.

Each step is one method here, a few lines over the module that knows how. An
``OSError`` becomes an error of ours once, here, with the step and the path.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from rootman import links, retirement
from rootman.boot.record import write_boot
from rootman.errors import NoSpace, RootmanError, SystemFailure
from rootman.fsops import opened
from rootman.names import CURRENT, PREVIOUS, StageKind, StageName
from rootman.removal import empty_directory, remove_tree
from rootman.smallfiles import put_file
from rootman.steps import (
    Apply,
    ClearObjects,
    CloneSpare,
    CloneTree,
    CloseStage,
    DeleteTree,
    Discard,
    DropRecord,
    DropState,
    Exchange,
    Fetch,
    ForgetMerge,
    KeepKernel,
    KeepRelease,
    Layer,
    Merge,
    NoteMerge,
    PointCurrent,
    PointPrevious,
    Publish,
    PutConfig,
    Record,
    Retire,
    RollForward,
    SaveBoot,
    SaveSettings,
    SealTree,
    StageConfig,
    StartEmpty,
    Step,
    Sweep,
    TakeSpare,
    UpdateMenu,
)
from rootman.store import (
    NOTE_FILE,
    OBJECTS,
    STAGE_ROOT,
    STAGE_SEAL,
    STATE_FILE,
    Store,
    scan,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootman.building import Building
    from rootman.fsops import Fs
    from rootman.merge.staging import ConfigStage
    from rootman.report import Reporter
    from rootman.state import StoreState
    from rootman.steps import Plan

_NEW_STATE: Final = "state.json.new"
_NEW_NOTE: Final = "merge.json.new"
_NEW_OBJECTS: Final = "objects.new"
_LARGE_DIRECTORY: Final = 1 << 16  # bytes; some hundred downloads
_HINTS: Final = {
    errno.EROFS: "remount it read-write",
    errno.EACCES: "be root",
    errno.EPERM: "be root, on a filesystem with hardlinks and owners",
    errno.EXDEV: "keep the whole store on one filesystem",
    errno.EIO: "check the disk: dmesg",
}


class Executor:
    """Carries out steps on one store.

    ``state`` is the store as it was scanned before the plan was made. ``building``
    is what the steps of a new tree work on, ``config`` what those of configuration do that
    is merged into a complete tree.
    """

    def __init__(
        self,
        store: Store,
        fs: Fs,
        reporter: Reporter,
        state: StoreState,
        *,
        building: Building | None = None,
        config: ConfigStage | None = None,
        forks: int = 1,
    ) -> None:
        self._store = store
        self._fs = fs
        self._reporter = reporter
        self._state = state
        self._building = building
        self._config = config
        self._forks = forks
        self._actions: dict[type, Callable[[Step], None]] = {}
        for step, method in _METHODS.items():
            self._actions[step] = getattr(self, method)

    def run(self, plan: Plan) -> None:
        """Carry out ``plan``, step after step.

        Raises:
            RootmanError: a step failed; it is named.
        """
        for step in plan:
            self._reporter.step(str(step))
            with explained(str(step)):
                self._actions[type(step)](step)

    def _built(self) -> Building:
        if self._building is None:
            raise AssertionError("a plan with a new tree has to come with its building")
        return self._building

    def _fetch(self, _: Fetch) -> None:
        self._built().fetch()

    def _keep_release(self, _: KeepRelease) -> None:
        self._built().keep()

    def _take_spare(self, step: TakeSpare) -> None:
        self._built().take_spare(str(StageName(StageKind.SPARE, step.seed)))

    def _clone_tree(self, step: CloneTree) -> None:
        building = self._built()
        seed = building.seed
        if seed is None:
            raise AssertionError("cloning needs a seed")
        with opened(self._state.name_of(step.seed), dir_fd=self._store.fd) as source:
            building.clone(source, seed)

    def _start_empty(self, _: StartEmpty) -> None:
        self._built().start_empty()

    def _apply(self, _: Apply) -> None:
        self._built().apply()

    def _record(self, _: Record) -> None:
        self._built().record()

    def _merge(self, _: Merge) -> None:
        self._built().merge_configuration()

    def _layer(self, _: Layer) -> None:
        self._built().install_layer()

    def _staged(self) -> ConfigStage:
        if self._config is None:
            raise AssertionError("a plan with configuration has to come with its stage")
        return self._config

    def _stage_config(self, _: StageConfig) -> None:
        self._staged().make()

    def _put_config(self, _: PutConfig) -> None:
        self._staged().put()

    def _note_merge(self, step: NoteMerge) -> None:
        with opened(str(step.number), dir_fd=self._store.trees) as record:
            data, staging = step.note.serialise(), self._store.staging
            put_file(self._fs, NOTE_FILE, data, new=_NEW_NOTE, staging=staging, dir_fd=record)
            self._fs.fsync(record)

    def _forget_merge(self, step: ForgetMerge) -> None:
        with opened(str(step.number), dir_fd=self._store.trees) as record:
            self._fs.unlink(NOTE_FILE, dir_fd=record)
            self._fs.fsync(record)

    def _seal_tree(self, step: SealTree) -> None:
        """Make durable, then name (S1): the record first, so that a name never lacks one."""
        fs, store = self._fs, self._store
        stage = self._built().stage
        fs.syncfs(store.fd)
        fs.move(
            f"{stage}/{STAGE_SEAL}",
            str(step.number),
            source_fd=store.staging,
            target_fd=store.trees,
        )
        fs.fsync(store.trees)
        fs.move(
            f"{stage}/{STAGE_ROOT}",
            self._state.name_of(step.number),
            source_fd=store.staging,
            target_fd=store.fd,
        )
        links.publish(fs, store)

    def _point_previous(self, step: PointPrevious) -> None:
        links.point(self._fs, self._store, PREVIOUS, self._state.name_of(step.number))

    def _point_current(self, step: PointCurrent) -> None:
        links.point(self._fs, self._store, CURRENT, self._state.name_of(step.number))

    def _exchange(self, _: Exchange) -> None:
        links.exchange(self._fs, self._store)

    def _close_stage(self, step: CloseStage) -> None:
        retirement.drop_stage(
            self._fs, self._store, str(StageName(StageKind.BUILDING, step.number))
        )

    def _retire(self, step: Retire) -> None:
        tree = self._state.tree(step.number)
        if tree is not None:
            retirement.retire(self._fs, self._store, tree)

    def _roll_forward(self, step: RollForward) -> None:
        stage = str(StageName(StageKind.RETIRED, step.number))
        target = self._state.tree(step.target)
        if target is not None:
            retirement.roll_forward(self._fs, self._store, stage, target)

    def _clone_spare(self, step: CloneSpare) -> None:
        target = self._state.tree(step.target)
        if target is not None:
            retirement.clone_spare(self._fs, self._store, target, forks=self._forks)

    def _delete_tree(self, step: DeleteTree) -> None:
        tree = self._state.tree(step.number)
        if tree is not None:
            retirement.delete_tree(self._fs, self._store, tree)

    def _drop_state(self, step: DropState) -> None:
        from rootman.boot.statedirs import drop_generation

        drop_generation(self._fs, self._store, step.generation)

    def _publish(self, _: Publish) -> None:
        links.publish(self._fs, self._store)

    def _discard(self, step: Discard) -> None:
        retirement.drop_stage(self._fs, self._store, str(step.stage))

    def _sweep(self, step: Sweep) -> None:
        remove_tree(self._fs, os.fsencode(step.name), dir_fd=self._store.staging)

    def _drop_record(self, step: DropRecord) -> None:
        remove_tree(self._fs, str(step.number).encode(), dir_fd=self._store.trees)

    def _clear_objects(self, _: ClearObjects) -> None:
        empty_directory(self._fs, self._store.objects)
        if os.fstat(self._store.objects).st_size > _LARGE_DIRECTORY:
            with suppress(OSError):  # it is as empty without, and a full disk refuses it
                replace_objects(self._fs, self._store)

    def _save_settings(self, step: SaveSettings) -> None:
        write_state(self._fs, self._store, step.settings.serialise())

    def _save_boot(self, step: SaveBoot) -> None:
        write_boot(self._fs, self._store, step.boot)

    def _keep_kernel(self, step: KeepKernel) -> None:
        from rootman.boot.menuwriter import keep_kernel

        stage = f"{self._built().stage}/{STAGE_ROOT}"
        with opened(stage, dir_fd=self._store.staging) as root:
            name = self._state.name_of(step.number)
            keep_kernel(self._fs, self._store, self._state.settings, name, root)

    def _update_menu(self, step: UpdateMenu) -> None:
        from rootman.boot.menuwriter import update_menu

        try:
            with explained(str(step)):
                update_menu(self._fs, self._store, scan(self._store), step.leaving)
        except RootmanError as error:
            if not step.recovering:
                raise
            hint = f" (hint: {error.hint})" if error.hint else ""
            self._reporter.warn(f"{error}{hint}")


_METHODS: Final = {
    Publish: "_publish",
    Discard: "_discard",
    Sweep: "_sweep",
    DropRecord: "_drop_record",
    Fetch: "_fetch",
    KeepRelease: "_keep_release",
    TakeSpare: "_take_spare",
    CloneTree: "_clone_tree",
    StartEmpty: "_start_empty",
    Apply: "_apply",
    Record: "_record",
    Merge: "_merge",
    Layer: "_layer",
    StageConfig: "_stage_config",
    PutConfig: "_put_config",
    NoteMerge: "_note_merge",
    ForgetMerge: "_forget_merge",
    SealTree: "_seal_tree",
    PointPrevious: "_point_previous",
    PointCurrent: "_point_current",
    Exchange: "_exchange",
    CloseStage: "_close_stage",
    Retire: "_retire",
    RollForward: "_roll_forward",
    CloneSpare: "_clone_spare",
    DeleteTree: "_delete_tree",
    DropState: "_drop_state",
    ClearObjects: "_clear_objects",
    SaveSettings: "_save_settings",
    SaveBoot: "_save_boot",
    KeepKernel: "_keep_kernel",
    UpdateMenu: "_update_menu",
}


def replace_objects(fs: Fs, store: Store) -> None:
    """Put a new directory in the place of the empty ``objects``.

    An ext4 directory never shrinks: that of an installation is read for as long as an
    upgrade takes otherwise, by every upgrade to come.

    Raises:
        OSError: the system refused; the old one is there.
    """
    fs.mkdir(_NEW_OBJECTS, 0o700, dir_fd=store.staging)
    fs.rename(_NEW_OBJECTS, OBJECTS, source_fd=store.staging, target_fd=store.control)


def write_state(fs: Fs, store: Store, data: bytes) -> None:
    """Replace ``state.json``: the old content or the new, whatever happens.

    Raises:
        OSError: the system refused.
    """
    put_file(fs, STATE_FILE, data, new=_NEW_STATE, staging=store.staging, dir_fd=store.control)
    fs.fsync(store.control)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an ``OSError`` in the context into an error of ours that names ``what``.

    Raises:
        NoSpace: the disk is full.
        SystemFailure: for every other reason.
    """
    try:
        yield
    except OSError as error:
        path = os.fsdecode(error.filename) if error.filename is not None else ""
        reason = error.strerror or str(error)
        message = f"{what}: {path}: {reason}" if path else f"{what}: {reason}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(message, hint="rootman prune") from error
        hint = _HINTS.get(error.errno or 0)
        raise SystemFailure(message, hint=hint) from error
