# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the package gives to others: executables, launch and parameter files, a Python client."""
from __future__ import annotations

import ast
from collections.abc import Iterator
from configparser import ConfigParser
import inspect
from pathlib import Path
import re
from typing import Any
from xml.etree import ElementTree

from internals import MODEL_FILES
from internals import ROOT


def collect() -> dict[str, Any]:
    """Return the names in files that are installed or read by others."""
    return {
        'entry points': {group: sorted(names) for group, names in entry_points().items()},
        'arguments of the launch files': {
            file.name: dict(_launch_arguments(file)) for file in sorted(ROOT.glob('launch/*'))},
        'files of config': sorted(str(file.relative_to(ROOT / 'config'))
                                  for file in ROOT.glob('config/**/*') if file.is_file()),
        'rights in the policy of SROS 2': _policy(),
        'names of the client': dict(_client()),
        'environment variables that are read': sorted(set(_variables())),
        'targets of make': sorted(re.findall(
            r'^([a-z]+):', (ROOT / 'Makefile').read_text(encoding='utf-8'), re.MULTILINE)),
        'files of models that are found': MODEL_FILES}


def entry_points() -> dict[str, dict[str, str]]:
    """Return the places of what other programs find by name; only the names are public."""
    points = ConfigParser(delimiters='=')
    points.optionxform = str  # type: ignore[assignment, method-assign]
    points.read(ROOT / 'entry_points.txt')
    return {group: dict(points[group]) for group in points.sections()}


def _launch_arguments(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the arguments that a launch file declares, with what else it says for programs."""
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == 'DeclareLaunchArgument':
            yield ast.literal_eval(node.args[0]), ', '.join(
                f'{word.arg}={ast.unparse(word.value)}' for word in node.keywords
                if word.arg != 'description')


def _policy() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for enclave in ElementTree.parse(ROOT / 'config/sros2/lfm.policy.xml').iter('enclave'):
        found[enclave.attrib['path']] = sorted(
            f'{thing.text} {" ".join(things.attrib)}' for profile in enclave.iter('profile')
            for things in profile for thing in things)
    return found


def _client() -> Iterator[tuple[str, str]]:
    """Yield the names of `lfm_ros.client` and of what they have, each with its parameters."""
    from lfm_ros import client
    for name in client.__all__:
        thing = getattr(client, name)
        # One is not made by others, but by a method of the client.
        yield name, 'class' if name == 'Generation' else _parameters(thing)
        for member, value in vars(thing).items() if isinstance(thing, type) else ():
            if not member.startswith('_'):
                function = isinstance(value, (staticmethod, classmethod)) or callable(value)
                yield f'{name}.{member}', _parameters(getattr(thing, member)) if function else \
                    'property' if isinstance(value, property) else 'value'


def _parameters(thing: Any) -> str:
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return ''
    return str(signature.replace(return_annotation=signature.empty, parameters=[
        parameter.replace(annotation=signature.empty)
        for parameter in signature.parameters.values()]))


def _variables() -> Iterator[str]:
    """Yield the environment variables that the package and its build read."""
    for file in [ROOT / 'setup.py', *ROOT.glob('lfm_ros/**/*.py'), *ROOT.glob('launch/*.py')]:
        text = file.read_text(encoding='utf-8')
        if 'env' not in text:
            continue
        module = ast.parse(text)
        constants = {ast.unparse(node.targets[0]): node.value for node in module.body
                     if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)}
        place = file.name if file.parent in (ROOT, ROOT / 'launch') else 'the package'
        for name in filter(None, map(_variable, ast.walk(module))):
            # What is no constant of this module is pinned as it is written.
            value = constants.get(ast.unparse(name), name)
            yield f'{value.value if isinstance(value, ast.Constant) else ast.unparse(name)} ' \
                f'in {place}'


def _variable(node: ast.AST) -> ast.expr | None:
    """Return the name in an expression that reads an environment variable."""
    if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith(
            ('environ.get', 'getenv', 'environ.pop', 'environ.setdefault')):
        return node.args[0]
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and \
            ast.unparse(node.value).endswith('environ'):
        return node.slice
    return None
