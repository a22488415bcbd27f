# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""README.md and docs/ say what the code says."""
import os
from pathlib import Path
import re
import subprocess
import sys

from lfm_ros.cli.main import VERBS
from lfm_ros.msg import Response
from lfm_ros.node.parameter_specs import BY_NAME

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
GUIDE = (ROOT / 'docs' / 'guide.md').read_text(encoding='utf-8')
ERRORS = (ROOT / 'docs' / 'errors.md').read_text(encoding='utf-8')
SECURITY = (ROOT / 'SECURITY.md').read_text(encoding='utf-8')


def test_the_table_of_parameters_is_up_to_date() -> None:
    result = subprocess.run([sys.executable, ROOT / 'tools' / 'document.py', '--check'],
                            capture_output=True, text=True,
                            env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert result.returncode == 0, result.stderr


def test_the_list_of_errors_is_that_of_the_response() -> None:
    codes = {name: value for name, value in vars(type(Response)).items()
             if isinstance(value, property) and name.isupper() and not name.startswith('FINISH_')}
    named = {name: int(code) for code, name in
             re.findall(r'^\| (\d+) \| ([A-Z_]+) \|', ERRORS, re.MULTILINE)}
    assert named == {name: getattr(Response, name) for name in codes if name != 'NONE'}


def test_errors_are_listed_in_their_order_under_the_right_titles() -> None:
    for text in (ERRORS, (ROOT / 'msg' / 'Response.msg').read_text(encoding='utf-8')):
        found = [int(code) for code in re.findall(r'^\| (\d+) \||^uint16 [A-Z_]+ = (\d+)', text,
                                                  re.MULTILINE) for code in code if code]
        assert len(found) > 35 and found == sorted(found)
    sections = re.split(r'^## ', ERRORS, flags=re.MULTILINE)[1:]
    assert len(sections) == 4
    for section in sections:
        codes = re.findall(r'^\| (\d+) \|', section, re.MULTILINE)
        first, last = re.findall(r'(\d+) (?:to (\d+)|and up)', section)[0]
        assert first == codes[0] and last in (codes[-1], '')


def test_every_parameter_named_first_exists() -> None:
    names = re.findall(r'`([a-z]+\.[a-z_]+)`', README.partition('| parameter | |')[2].partition(
        '\n\n')[0])
    assert len(names) >= 5 and set(names) <= set(BY_NAME)


def test_every_verb_of_lfm_is_in_the_readme() -> None:
    for verb in VERBS:
        assert re.search(rf'^lfm {verb} ', README, re.MULTILINE), verb


def test_every_interface_of_the_repository_is_in_the_readme_or_used_by_one_that_is() -> None:
    for path in (*ROOT.glob('srv/*.srv'), *ROOT.glob('action/*.action')):
        short = path.stem.removesuffix('Mission').removesuffix('Missions').lower()
        assert path.stem in README or f'`{short}`' in README or f'missions/{short}' in README, path


def test_files_that_are_named_exist() -> None:
    for name in re.findall(r'`((?:[a-z_]+/)+[a-z_.0-9]*|[A-Z]+\.[a-z]+)`',
                           README + GUIDE + ERRORS + SECURITY):
        if name.startswith(('msg/', 'srv/', 'action/')):
            continue
        assert (ROOT / name).exists() or name == 'onnx/model_q4.onnx', name
