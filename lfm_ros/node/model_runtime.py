# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model that a node holds, its missions, and the scheduler while the node is active."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import gc
import logging
from pathlib import Path
from typing import Any

from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.providers import open_on_best
from lfm_ros.engine.runtime.execution_provider import memory_of
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare.choose_provider import resolve
from lfm_ros.prepare.open_model import open_prepared
from lfm_ros.process import return_freed_memory
from lfm_ros.serving.memory_budget import with_budgets
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.request_errors import DEACTIVATED
from lfm_ros.serving.request_errors import SHUT_DOWN
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.serving.scheduler import Scheduler
from lfm_ros.storage.encryption import open_cipher
from lfm_ros.storage.storage import Storage

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StorageConfig:
    """
    Where missions may be.

    :param folder: in which they outlive the process; empty: none.
    :param budget_mb: most memory of the process in MiB; 0: no limit; negative: automatic.
    :param device_budget_mb: most memory of a device that has its own; 0: no limit.
    :param key_file: with the key with which they are encrypted there; empty: they are not.
    :param strict: refuse a folder that others may write to, instead of a warning.
    """

    folder: str = ''
    budget_mb: int = 0
    device_budget_mb: int = 0
    key_file: str = ''
    strict: bool = False


@dataclass(frozen=True)
class PrepareConfig:
    """
    Whether graphs are made ready for this machine before they are opened, see lfm_ros.prepare.

    :param folder: where they are kept; empty: the user's cache folder.
    """

    wanted: bool = True
    folder: str = ''


class ModelRuntime:
    """
    Follows the lifecycle: open at configure, start at activate, stop, close.

    :param on_hang: called in another thread when the model hangs for good, with the reason.
    :ivar error: why the model could not be opened or warmed up the last time.
    :ivar hung: why it will never answer again; None: it does.
    :ivar provider_notice: why it does not run on the provider that was wished for; empty: it does.
    :ivar shut_down: whether the node will never be active again.
    """

    def __init__(self, on_hang: Callable[[LfmError], None] = lambda _: None) -> None:
        self._on_hang = on_hang
        self.model: Model | None = None
        self.description: dict[str, Any] = {}
        self.store: MissionStore | None = None
        self.scheduler: Scheduler | None = None
        self.error: LfmError | None = None
        self.hung: LfmError | None = None
        self.provider_notice = ''
        self.shut_down = False

    def open(self, path: str | Path, options: ModelOptions, system_prompt: str,
             retention: RetentionPolicy, place: StorageConfig, prepare_config: PrepareConfig
             ) -> Model:
        """
        Open a model, read the system prompt, and find the missions that were kept.

        :raises LfmError: which is also the reason given to later requests.
        """
        self.error = self.hung = None
        storage = None

        cache = Path(prepare_config.folder).expanduser() if prepare_config.folder else None

        def open_model(options: ModelOptions) -> Model:
            if not prepare_config.wanted:
                return Model(path, options)
            return open_prepared(path, options, cache_dir=cache)

        try:
            cipher = open_cipher(place.key_file)
            options = resolve(path, options, cache, prepare_config.wanted)
            free_before = memory_of(options.providers, options.provider_options).free_bytes()
            model, self.provider_notice = open_on_best(open_model, options)
            return_freed_memory()  # opening takes much more than it leaves
            retention = with_budgets(retention, model, place.budget_mb, place.device_budget_mb,
                                     free_before)
            folder = Path(place.folder).expanduser() if place.folder else None
            storage = Storage(folder, model, cipher, place.strict, required=False)
            self.store = MissionStore(model, system_prompt, retention, storage)
            if options.preload_formats:
                self.store.structured_output.load()
            self.description = model.describe()
        except Exception as error:
            if storage:
                storage.close()
            raise self.failure('opening the model', error) from error
        self.model = model
        return model

    def start(self, queue_size: int, policy: str, defaults: RequestDefaults,
              parallel: int = 1) -> None:
        """
        Warm up and take requests.

        :raises LfmError: likewise.
        """
        assert self.model and self.store
        scheduler = Scheduler(self.store, queue_size, policy, defaults, parallel, self._abandon)
        try:
            scheduler.submit_job(self.model.warm_up).result()  # its watchdog looks on there
        except Exception as error:
            scheduler.stop()
            raise self.failure('warming up the model', error) from error
        self.scheduler, self.error = scheduler, None

    def stop(self, why: tuple[str, str] = DEACTIVATED) -> bool:
        """Undo what runs and answer all that waits; return whether there was anything."""
        self.shut_down |= why is SHUT_DOWN
        scheduler, self.scheduler = self.scheduler, None
        busy = scheduler.stop(why) if scheduler else False
        if scheduler and scheduler.hung:
            self.hung = scheduler.hung
        elif scheduler and self.store:
            self.store.flush_all()
        return busy

    def close(self) -> None:
        """Give the memory of the model and its missions back."""
        self.stop()
        if self.store:
            self.store.storage.close()
        if self.model:
            self.model.close()
        self.model = self.store = None
        self.provider_notice = ''
        self.description = {}
        gc.collect()
        return_freed_memory()

    def active_scheduler(self) -> Scheduler:
        """
        Return the scheduler of an active node.

        :raises LfmError: NOT_ACTIVE with the reason.
        """
        if self.scheduler is None:
            raise self.not_active_error()
        return self.scheduler

    def not_active_error(self) -> LfmError:
        """Return why nothing can be asked now."""
        if self.shut_down:
            return LfmError(ErrorCode.NOT_ACTIVE, 'the node was shut down: start it again')
        if self.hung:
            return self.hung
        if self.error:
            what = 'be activated' if self.model else 'open its model'
            return LfmError(ErrorCode.NOT_ACTIVE, f'the node could not {what}: '
                            f'{self.error.message}')
        missing = 'activate' if self.model else 'configure and activate'
        return LfmError(ErrorCode.NOT_ACTIVE, f'the node is not active: {missing} it first')

    def _abandon(self, error: LfmError) -> None:
        self.hung = error
        self._on_hang(error)

    def failure(self, work: str, error: Exception) -> LfmError:
        """Keep and return why the model cannot be used."""
        if not isinstance(error, LfmError):
            # rclpy would say nothing of it and call on_error.
            _log.error(f'{work} failed', exc_info=error)
            error = LfmError(ErrorCode.INTERNAL, f'{work} failed ({type(error).__name__}: '
                             f'{error}): please report this')
        # Without the traceback, whose frames hold the model that could not be used.
        self.error = LfmError(error.code, error.message)
        return error
