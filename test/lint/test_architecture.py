# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The house is built as CONTRIBUTING.md says."""
import ast
from collections.abc import Iterator
import json
import os
from pathlib import Path
import re
import subprocess
import sys

from conftest import ROOT
import pytest

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 45  # its docstring not counted
HEAVY = {'onnxruntime', 'jinja2', 'tokenizers', 'llguidance', 'onnx'}
# Words that this code base no longer uses, since each had several meanings or none elsewhere.
RETIRED = re.compile(
    r'\b(Company|company_size|IN_COMPANY|Answering|ActiveTurn|Sight|Wording|Shelf|Vault|salvage|'
    r'retell|reread|settle|put_away|look_after|guess|judge|refusals|wishes|Abilities|pretend|'
    r'MOST_[A-Z]+|LONGEST_[A-Z]+|LEAST_[A-Z]+)\b')
# What is stored, sent or typed has its name for good: a graph input, an option, keys of JSON.
PINNED = {'pretend'}


def sources() -> Iterator[Path]:
    """Yield the files of the package."""
    return (ROOT / 'lfm_ros').rglob('*.py')


def test_imports_point_one_way_and_make_no_circle() -> None:
    pytest.importorskip('importlinter')
    code = 'import sys; from importlinter.cli import lint_imports; ' \
        'sys.exit(lint_imports(config_filename="setup.cfg", no_cache=True))'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines())
               for file in sources()}
    assert not {name: n for name, n in lengths.items() if n > MAX_FILE_LINES}


def test_no_function_is_too_long_to_be_seen_at_once() -> None:
    found = {}
    for file in sources():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = node.body[1] if ast.get_docstring(node) and node.body[1:] else node.body[0]
                length = node.end_lineno - first.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    found[f'{file.relative_to(ROOT)}: {node.name}'] = length
    assert not found


def test_retired_words_do_not_come_back() -> None:
    found = [f'{file.relative_to(ROOT)}: {word}' for file in sources()
             for word in RETIRED.findall(file.read_text()) if word not in PINNED]
    assert not found


@pytest.mark.parametrize('arguments', [['list'], ['show', 'm']], ids=['list', 'show'])
def test_missions_are_listed_and_shown_without_the_libraries_of_a_model(
        arguments: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    place = ['--missions-dir', str(tmp_path / 'missions')]
    made = [sys.executable, '-m', 'lfm_ros.cli.main', 'ask', 'demo', 'hello', *place, '--mission',
            'm', '--max-tokens', '1']
    subprocess.run(made, check=True, env=environment, capture_output=True)
    code = 'import json, sys; from lfm_ros.cli.main import main; ' \
        f'status = main({["missions", *place, *arguments]!r}); ' \
        'print(json.dumps([status, sorted(sys.modules)]))'
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True,
                          text=True)
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 0 and 'sqlite3' in modules
    assert not HEAVY & set(modules)
