# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Services that manage missions and describe the model."""
from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
import threading
from typing import Any

from lfm_ros.engine.text.text_check import check_text
from lfm_ros.engine.vision.mono16 import AUTO
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.files import check_folder
from lfm_ros.node import convert
from lfm_ros.node.deferred import call_in_executor
from lfm_ros.node.deferred import DeferredService
from lfm_ros.node.model_runtime import ModelRuntime
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.past_turn import add_turns
from lfm_ros.serving.query import DEFAULT_MISSION
from lfm_ros.serving.query_message import to_past_turns
from lfm_ros.serving.query_message import to_tools
from lfm_ros.srv import AddTurns
from lfm_ros.srv import DeleteMission
from lfm_ros.srv import ExportMission
from lfm_ros.srv import ForkMission
from lfm_ros.srv import GetModelInfo
from lfm_ros.srv import ImportMission
from lfm_ros.srv import ListMissions
from lfm_ros.srv import ResetMission
from lfm_ros.srv import RewindMission
from lfm_ros.srv import SaveMission
from lfm_ros.srv import Tokenize
from lfm_ros.storage.atomic_files import make_folder
from rclpy.node import Node

EXPORTS = 'exports'
_MAX_NAME_LENGTH = 255  # bytes; of a file on Linux
MAX_TEXT_LENGTH = 1 << 13  # characters; more would keep the executor from other calls


class MissionServices:
    """
    Serves ~/missions/..., ~/model_info and ~/tokenize.

    :param changed: called after every change of a mission.
    """

    def __init__(self, node: Node, runtime: ModelRuntime, changed: Callable[[], Any]) -> None:
        self._node = node
        self._runtime = runtime
        self._changed = changed
        node.create_service(ListMissions, '~/missions/list', self._on_list)
        node.create_service(GetModelInfo, '~/model_info', self._on_model_info)
        DeferredService(node, Tokenize, '~/tokenize', self._on_tokenize)
        self._serve(AddTurns, 'add_turns', _add_turns)
        self._serve(ResetMission, 'reset', lambda s, r: s.reset(_id(r)))
        self._serve(DeleteMission, 'delete', lambda s, r: s.delete(_id(r)))
        self._serve(ForkMission, 'fork', lambda s, r: s.fork(_id(r), r.new_mission_id))
        self._serve(RewindMission, 'rewind', lambda s, r: s.rewind(_id(r), r.turns))
        self._serve(SaveMission, 'save', lambda s, r: {'stored_bytes': s.save(_id(r))})
        self._serve(ExportMission, 'export', _export)
        self._serve(ImportMission, 'import', _import)

    def _serve(self, kind: Any, name: str, work: Callable[[MissionStore, Any], Any]) -> None:
        """
        Offer an operation on one mission; it waits for the end of the mission's turn.

        :param work: done in the thread of the model; returns fields of the response, nothing, or
            a function that returns them, for what takes long and needs no model.
        """
        def handle(request: Any, send: Callable[[Any], None]) -> None:
            names = (getattr(request, field, '') for field in ('mission_id', 'new_mission_id'))
            touched = {name or DEFAULT_MISSION for name in names}

            def done(error: BaseException | None, found: Any = None) -> None:
                fields = found if isinstance(found, dict) else {}
                call_in_executor(self._node, lambda: finish(
                    _with_error(kind.Response(**fields), error)))

            def finish(response: Any) -> None:
                self._changed()
                send(response)

            def worked(future: Future[Any]) -> None:
                error = future.exception()
                found = None if error else future.result()
                if callable(found):
                    _in_thread(found).add_done_callback(worked)
                else:
                    done(error, found)

            try:
                scheduler = self._runtime.active_scheduler()
            except LfmError as error:
                done(error)
                return
            future = scheduler.submit_job(lambda: work(scheduler.store, request), *touched)
            future.add_done_callback(worked)

        DeferredService(self._node, kind, f'~/missions/{name}', handle)

    def _on_list(self, _: ListMissions.Request,
                 response: ListMissions.Response) -> ListMissions.Response:
        store = self._runtime.store
        response.missions = [convert.to_mission_status(m) for m in store.list()] if store else []
        return response

    def _on_model_info(self, _: GetModelInfo.Request,
                       response: GetModelInfo.Response) -> GetModelInfo.Response:
        if self._runtime.model is None:
            return _with_error(response, self._runtime.not_active_error())
        for name, value in self._runtime.description.items():
            if name in response.get_fields_and_field_types():
                setattr(response, name, value)
        return response

    def _on_tokenize(self, request: Tokenize.Request, send: Callable[[Any], None]) -> None:
        """Tokenize in the thread of the model, whose watchdog sees a text that takes for ever."""
        def work() -> dict[str, Any]:
            model = self._runtime.model
            if model is None:
                raise self._runtime.not_active_error()
            check_text(request.text, 'text')
            if len(request.text) > MAX_TEXT_LENGTH:
                raise LfmError(ErrorCode.INVALID_VALUE, f'the text has {len(request.text)} '
                               f'characters: send {MAX_TEXT_LENGTH} at most')
            ids = model.tokenizer.encode(request.text)
            return {'tokens': ids, 'pieces': [model.tokenizer.piece(i) for i in ids]}

        def worked(future: Future[Any]) -> None:
            error = future.exception()
            fields = {} if error else future.result()
            call_in_executor(self._node, lambda: send(
                _with_error(Tokenize.Response(**fields), error)))

        scheduler = self._runtime.scheduler
        future = scheduler.submit_job(work) if scheduler else _in_thread(work)
        future.add_done_callback(worked)


def _in_thread(work: Callable[[], Any]) -> Future[Any]:
    """Do something in a thread of its own."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # a panic in a library is no Exception
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _id(request: Any) -> str:
    return request.mission_id or DEFAULT_MISSION


def _add_turns(store: MissionStore, request: Any) -> None:
    add_turns(store, _id(request), to_past_turns(request.turns, AUTO), request.system_prompt,
              to_tools(request.tools))


def _export(store: MissionStore, request: Any) -> Callable[[], dict[str, Any]]:
    file = _exported(store, request.file or f'{_id(request)}.lfm')
    package = store.archives.writer(_id(request))

    def write() -> dict[str, Any]:
        try:
            make_folder(file.parent)
        except OSError as error:
            raise _not_a_folder(file.parent, error) from error
        return {'bytes': package.write(file), 'path': str(file)}

    return write


def _import(store: MissionStore, request: Any) -> dict[str, Any]:
    file = _exported(store, request.file)
    return {'mission_id': store.archives.import_(file, request.new_mission_id)}


def _exported(store: MissionStore, name: str) -> Path:
    """Return the path of an exported file; a request cannot reach files elsewhere."""
    folder = store.storage.folder
    if folder is None:
        raise LfmError(ErrorCode.STORAGE_FAILED, 'missions.dir is not set, so there is no folder '
                       'for files: set it to a folder')
    if not name or name in ('.', '..') or Path(name).name != name or \
            not name.isprintable() or len(name.encode()) > _MAX_NAME_LENGTH:
        raise LfmError(ErrorCode.INVALID_VALUE, f'{name[:80]!r} is not a file name: give one '
                       f'without folders; the files are in {folder / EXPORTS}')
    try:
        check_folder(folder / EXPORTS)
    except OSError as error:
        raise _not_a_folder(folder / EXPORTS, error) from error
    return folder / EXPORTS / name


def _not_a_folder(folder: Path, error: OSError) -> LfmError:
    return LfmError(ErrorCode.STORAGE_FAILED, f'{folder} cannot be used ({error.strerror}): make '
                    'it a folder that the node can write; missions.dir itself may be a link')


def _with_error(response: Any, error: BaseException | None) -> Any:
    if isinstance(error, LfmError):
        response.error_code, response.error_msg = int(error.code), error.message
    elif error:
        response.error_code = int(ErrorCode.INTERNAL)
        response.error_msg = f'the operation failed ({type(error).__name__}: {error}): please ' \
            'report this'
    return response
