# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime is imported nowhere before its telemetry was switched off."""
from __future__ import annotations

import ast
from collections.abc import Iterator
import os
from pathlib import Path
import re
import subprocess
import sys

from conftest import ROOT
import pytest

VARIABLE = 'ORT_DISABLE_TELEMETRY'
RUNTIME = re.compile(r'onnxruntime(_genai)?(\.|$)')
# A module that another process is to run, or code that it is given.
IN_TEXT = re.compile(r'(?<![\w.])onnxruntime(_genai)?\.\w|import onnxruntime')
PACKAGE = ROOT / 'lfm_ros'  # its __init__ switches it off before any module of it begins

# What the library does when it is imported; the real one tells nobody what it has decided.
STANDIN = f"""
import os
seen = os.environ.get({VARIABLE!r})
calls = []
def disable_telemetry_events():
    calls.append('disable')
"""


def imported(node: ast.AST) -> list[str]:
    """Return the names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or '', *(f'{node.module}.{alias.name}' for alias in node.names)]
    return []


def uses(tree: ast.Module) -> Iterator[int]:
    """Give the lines from which ONNX Runtime is imported, in this process or in another."""
    told = {id(n.body[0].value) for n in ast.walk(tree)
            if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and n.body and isinstance(n.body[0], ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if any(RUNTIME.match(name) for name in imported(node)):
            yield node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) \
                and id(node) not in told and IN_TEXT.search(node.value):
            yield node.lineno


def switched_off(tree: ast.Module) -> Iterator[int]:
    """Give the lines of the module itself behind which telemetry is off."""
    for node in tree.body:
        names = {name.split('.')[0] for name in imported(node)}
        if names & {'lfm_ros', 'no_telemetry'} or (
                isinstance(node, ast.Expr)
                and ast.unparse(node) == f"os.environ.setdefault('{VARIABLE}', '1')"):
            yield node.lineno


def is_too_early(source: str) -> bool:
    """Tell whether a file imports ONNX Runtime before telemetry is off for certain."""
    tree = ast.parse(source)
    return min(uses(tree), default=1 << 30) < min(switched_off(tree), default=1 << 30)


@pytest.mark.parametrize('source', [
    'import onnxruntime', 'from onnxruntime.quantization import QuantType',
    'def f():\n    import onnxruntime_genai', 'import onnxruntime\nimport lfm_ros',
    'if True:\n    import lfm_ros\nimport onnxruntime',
    "run([python, '-m', 'onnxruntime_genai.models.builder'])", "CODE = 'import onnxruntime'"])
def test_an_import_before_telemetry_is_off_is_found(source: str) -> None:
    assert is_too_early(source)
    assert not is_too_early(f'from lfm_ros.errors import LfmError\n{source}')
    assert not is_too_early(f'import no_telemetry\n{source}')
    assert not is_too_early(f"import os\nos.environ.setdefault('{VARIABLE}', '1')\n{source}")


def test_no_file_imports_the_runtime_before_telemetry_is_off(python_files: list[Path]) -> None:
    others = [file for file in python_files
              if PACKAGE not in file.parents and file != Path(__file__)]
    users = [file for file in others if any(uses(ast.parse(file.read_text())))]
    assert len(users) > 10
    early = [str(file.relative_to(ROOT)) for file in users if is_too_early(file.read_text())]
    assert not early, f'import lfm_ros or no_telemetry before onnxruntime in {early}'


def first_seen(folder: Path, code: str, **env: str) -> str:
    """Return what a library that is imported as the code says sees and is told."""
    (folder / 'onnxruntime.py').write_text(STANDIN)
    paths = [str(folder), str(ROOT), str(ROOT / 'training'), str(ROOT / 'test' / 'models')]
    code = (f'import sys\nsys.path[:0] = {paths}\n{code}\n'
            'print(onnxruntime.seen, onnxruntime.calls)')
    done = subprocess.run([sys.executable, '-c', code], env={**clean_env(), **env},
                          stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def clean_env() -> dict[str, str]:
    """Return the environment without what these tests themselves have set."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}


@pytest.mark.parametrize('module', ['lfm_ros', 'lfm_ros.client', 'no_telemetry'])
def test_what_is_imported_first_switches_telemetry_off(tmp_path: Path, module: str) -> None:
    code = f'import {module}\nimport onnxruntime'
    assert first_seen(tmp_path, code) == '1 []'
    assert first_seen(tmp_path, code, **{VARIABLE: '0'}) == '0 []'


def test_an_empty_value_counts_as_none(tmp_path: Path) -> None:
    code = 'import lfm_ros\nimport onnxruntime'
    assert first_seen(tmp_path, code, **{VARIABLE: ''}) == '1 []'


def test_a_runtime_that_was_imported_before_is_told_to_report_no_more(tmp_path: Path) -> None:
    code = 'import onnxruntime\nimport lfm_ros'
    assert first_seen(tmp_path, code) == "None ['disable']"
    assert first_seen(tmp_path, code, **{VARIABLE: '0'}) == '0 []'
