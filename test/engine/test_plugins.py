# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plugin providers of ONNX Runtime are found, listed and used like those that are built in."""
from __future__ import annotations

import logging
from types import SimpleNamespace

from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.providers import open_on_best
from lfm_ros.engine.runtime import execution_provider
from lfm_ros.engine.runtime.execution_provider import available_providers
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.execution_provider import find_plugins
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import onnxruntime
import pytest
from support import assert_one_line
from support import DEFAULT
from support import folder
from support import new_mission
from support import open_model
from support import text_of

FAST = 'FastExecutionProvider'
LIBRARY = 'libfast.so'


class Machine:
    """
    What is installed, as ONNX Runtime sees it.

    :ivar finds: how many devices the library finds.
    :ivar error: raised when it is loaded; None: it loads.
    :ivar used: what sessions were given of its devices.
    """

    def __init__(self) -> None:
        self.finds = 2
        self.error: Exception | None = None
        self.devices: list[SimpleNamespace] = []
        self.used: list[tuple[list[SimpleNamespace], dict[str, str]]] = []

    def register(self, _: str, path: str) -> None:
        assert path == LIBRARY
        if self.error:
            raise self.error
        self.devices += [SimpleNamespace(ep_name=FAST)] * self.finds


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Install a plugin in a folder of packages; its provider computes as the CPU does."""
    package = tmp_path / 'onnxruntime_ep_fast'
    package.mkdir()
    (package / '__init__.py').write_text(f"def get_library_path():\n    return '{LIBRARY}'\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = Machine()

    class Options(onnxruntime.SessionOptions):
        def add_provider_for_devices(self, devices, options):
            found.used.append((devices, options))

    class Session(onnxruntime.InferenceSession):
        def __init__(self, path, options, providers=None, **more):
            self.first = [] if providers else [FAST]
            super().__init__(path, options, providers=providers or [CPU], **more)

        def get_providers(self):
            return [*self.first, CPU]

    for name, value in (('register_execution_provider_library', found.register),
                        ('get_ep_devices', lambda: found.devices), ('SessionOptions', Options),
                        ('InferenceSession', Session)):
        monkeypatch.setattr(onnxruntime, name, value)
    find_plugins.cache_clear()
    yield found
    find_plugins.cache_clear()


def test_a_plugin_is_listed_before_what_is_built_in(machine):
    assert available_providers()[0] == FAST
    assert available_providers()[-1] == CPU


def test_a_plugin_runs_a_model(machine):
    model, notice = open_on_best(lambda o: Model(folder(DEFAULT), o), ModelOptions(
        providers=(FAST,), threads=1, provider_options={'speed': 'high'}))
    assert model.describe()['providers'] == [FAST, CPU] and not notice
    assert all(devices == machine.devices[:1] and options == {'speed': 'high'}
               for devices, options in machine.used) and machine.used
    assert text_of(new_mission(model), 'What?') == text_of(new_mission(open_model()), 'What?')


def test_a_plugin_that_cannot_be_loaded_is_named_once_and_the_rest_works(machine, caplog):
    machine.error = RuntimeError('undefined symbol: OrtGetApiBase')
    assert FAST not in available_providers() and CPU in available_providers()
    assert available_providers()
    said, = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert_one_line(said.getMessage(), 'onnxruntime_ep_fast', 'undefined symbol')


def test_a_plugin_without_a_device_is_named_when_it_is_asked_for(machine):
    machine.finds = 0
    with pytest.raises(LfmError) as caught:
        Model(folder(DEFAULT), ModelOptions(providers=(FAST,), fallback=False))
    assert caught.value.code == ErrorCode.PROVIDER_UNAVAILABLE
    assert_one_line(caught.value.message, FAST, 'onnxruntime_ep_fast is installed', CPU)


def test_plugins_are_looked_for_only_where_they_are_asked_for(machine):
    Model(folder(DEFAULT), ModelOptions(threads=1))
    assert not machine.devices


def test_a_runtime_that_knows_no_plugins_has_none(machine, monkeypatch):
    monkeypatch.delattr(onnxruntime, 'register_execution_provider_library')
    assert execution_provider.available_providers()[-1] == CPU


@pytest.mark.parametrize('text, said', [
    ('device_id', 'name=value'), ('=3', 'name=value'), ('a=', 'name=value'), ('', 'name=value')])
def test_an_option_that_is_none_is_refused(text, said):
    with pytest.raises(LfmError) as caught:
        execution_provider.parse_options([text])
    assert caught.value.code == ErrorCode.INVALID_VALUE
    assert_one_line(caught.value.message, said)


def test_options_are_parsed_once_each():
    parse = execution_provider.parse_options
    assert parse(['a=1', ' b = x=y ']) == {'a': '1', 'b': 'x=y'}
    with pytest.raises(LfmError, match='twice'):
        parse(['a=1', 'a=2'])


def test_the_cpu_takes_no_options():
    with pytest.raises(LfmError) as caught:
        Model(folder(DEFAULT), ModelOptions(provider_options={'device_id': '0'}))
    assert caught.value.code == ErrorCode.INVALID_VALUE
    assert_one_line(caught.value.message, 'device_id', 'leave it out')
