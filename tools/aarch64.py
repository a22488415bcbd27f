#!/usr/bin/env python3
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Run the tests that need no ROS on emulated aarch64 cores, on a Debian or Ubuntu x86-64 machine.

The first call makes a root of Debian's arm64 packages and of the pinned wheels in build/aarch64
(1 GB); later ones ask nothing of the network. What has passed is not run again until the sources
change, so a call that was interrupted is simply repeated. QEMU says nothing about speed.
"""
import argparse
import ast
from concurrent.futures import as_completed
from concurrent.futures import ThreadPoolExecutor
import contextlib
import fcntl
from functools import lru_cache
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
import threading
import time
from typing import Dict, Iterator, List, Optional, Set, Tuple

from ros_venv import ROOT
from ros_venv import run_logged
from ros_venv import say
from ros_venv import SetupError
from ros_venv import stage

CACHE = ROOT / 'build' / 'aarch64'
# Count this up when a root made by an older version of this file must be made again.
LAYOUT = 2
SUITE = 'bookworm'
KEYRING = Path('/usr/share/keyrings/debian-archive-keyring.gpg')
PACKAGES = ['python3', 'python3-distutils', 'bash', 'coreutils', 'libgomp1', 'libstdc++6']
# The QEMU of bookworm itself, 7.2, crashes when ONNX Runtime is imported.
QEMU_SUITE, QEMU_PACKAGE = 'bookworm-backports', 'qemu-user'
PYTHON = '3.11'
# What builds or lints does so on x86-64.
NOT_INSTALLED = re.compile(
    r'cmake|ninja|wheel|flake8.*|import-linter|grimp|mypy.*|ast-serialize|librt|ruff|types-.*|'
    r'mccabe|py(codestyle|flakes)')
PLATFORMS = [f'manylinux_2_{minor}_aarch64' for minor in (36, 35, 34, 31, 28, 27, 26, 17)] + [
    'manylinux2014_aarch64']
# Wheels of a Jetson with JetPack 6: those for Python 3.10, where they exist for 3.11 too.
JETPACK = 'jetpack6'
JETPACK_WHEELS = ['onnxruntime==1.23.2', 'numpy==2.2.6']
PORTABLE_MODEL = 'build/aarch64/portable'
TIME_LIMIT = 3600  # seconds for one file of tests
PATIENCE = 10  # how many times longer than elsewhere a test waits for an event

MAIN_CORE = 'cortex-a76'  # Raspberry Pi 5
FEW = ('test/engine/test_cpu.py', 'test/engine/test_goldens.py', 'test/prepare/test_portable.py',
       'test/cli/test_cli_doctor.py')
# What another processor may make different: numbers, taking back, batches, files, kills.
CHOSEN = {
    JETPACK: ('test/prepare/test_portable.py',),
    MAIN_CORE: (
        *FEW, 'test/storage/test_kills.py', 'test/engine/test_prompt_lookup.py',
        'test/engine/test_batch.py', 'test/engine/test_capabilities.py',
        'test/prepare/test_prepared_models.py', 'test/engine/test_vision.py',
        'test/storage/test_old_files.py', 'test/engine/test_buffers.py'),
    'cortex-a72': (*FEW, 'test/engine/test_capabilities.py'),
    'neoverse-n1': FEW,
}

# $1: the root, $2: QEMU, $3: the repository, $4: whether binfmt_misc is that of the machine.
# The magic and the mask are those of Debian's own entry; F opens QEMU now, so that it is found
# behind chroot. What was mounted ends with the process; an entry of the machine is removed.
INSIDE = r"""
root=$1 qemu=$2 repository=$3 shared=$4; shift 4
formats=/proc/sys/fs/binfmt_misc
mount -t binfmt_misc binfmt_misc $formats
name=lfm_ros_aarch64_$$
if [ "$shared" ]; then trap "echo -1 > $formats/$name" EXIT; trap 'exit 130' INT TERM HUP; fi
head='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf %s ":$name:M::$head:$mask:$qemu:PF" > $formats/register
for place in proc dev sys; do mount --rbind /$place "$root/$place"; done
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/tmp/lfm_ros"
mount --bind "$repository" "$root/tmp/lfm_ros"
chroot "$root" /usr/bin/env -C /tmp/lfm_ros "$@" &
wait $! || exit $?
"""


# Which tests there are -----------------------------------------------------------------------

@lru_cache(maxsize=None)
def _imported(file: Path) -> List[str]:
    """Return the modules that a file imports when it is imported."""
    found = []
    for node in ast.parse(file.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f'{node.module}.{alias.name}' for alias in node.names)]
    return found


@lru_cache(maxsize=None)
def _file_of(module: str) -> Optional[Path]:
    """Return the file of a module of this repository."""
    path = module.replace('.', '/')
    for folder in (ROOT, ROOT / 'test', ROOT / 'test' / 'support', ROOT / 'test' / 'models'):
        for file in (folder / f'{path}.py', folder / path / '__init__.py'):
            if file.is_file():
                return file
    return None


def needs_ros(file: Path, seen: Set[Path]) -> bool:
    """Tell whether a file, or one that it imports, imports ROS."""
    seen.add(file)
    for module in _imported(file):
        if re.match(r'rclpy|rosidl_|launch|\w+_msgs|lfm_ros\.(msg|srv|action)\b', module):
            return True
        found = _file_of(module)
        if found and found not in seen and needs_ros(found, seen):
            return True
    return False


def all_files() -> List[str]:
    """Return the test files that need no ROS; linters find the same on every machine."""
    return [str(file.relative_to(ROOT)) for file in sorted((ROOT / 'test').rglob('test_*.py'))
            if file.parent.name != 'lint' and not needs_ros(file, set())]


# The root ------------------------------------------------------------------------------------

def check_machine() -> None:
    """Raise SetupError where the root cannot be made."""
    if sys.platform != 'linux' or platform.machine() != 'x86_64':
        raise SetupError(
            f'the emulation is for Linux on x86-64 and this is {platform.system()} on '
            f'{platform.machine()}: on aarch64 run "python3 -m pytest '
            '$(python3 tools/aarch64.py --files)" instead')
    for program, package in (('apt-get', 'apt'), ('dpkg-deb', 'dpkg'), ('unshare', 'util-linux'),
                             ('chroot', 'coreutils')):
        if shutil.which(program, path=_path()) is None:
            raise SetupError(f'{program} was not found: install the package {package}; this needs '
                             'Debian or Ubuntu')
    if not KEYRING.exists():
        raise SetupError(f'{KEYRING} was not found, and packages of Debian are checked with it: '
                         'run "apt install debian-archive-keyring"')
    if subprocess.run([sys.executable, '-m', 'pip', '--version'],
                      capture_output=True).returncode:
        raise SetupError(f'the Python at {sys.executable} has no pip: run "apt install '
                         'python3-pip", or name another one with PYTHON=...')


def _path() -> str:
    return os.pathsep.join([os.environ.get('PATH', os.defpath), '/usr/sbin', '/sbin'])


def mirror() -> str:
    """Return the address of Debian's packages: $DEBIAN_MIRROR, or what apt uses here."""
    given = os.environ.get('DEBIAN_MIRROR', '')
    if given:
        return given
    done = subprocess.run(
        ['apt-get', 'indextargets', '--format', '$(ORIGIN) $(REPO_URI)', 'Identifier: Packages'],
        capture_output=True, text=True)
    for line in done.stdout.splitlines():
        origin, _, uri = line.partition(' ')
        if origin == 'Debian' and 'security' not in uri:
            return uri.rstrip('/')
    raise SetupError('apt knows no mirror of Debian here: run "apt-get update", or name one, as '
                     'in DEBIAN_MIRROR=http://.../debian make test-aarch64')


def logged(title: str, command: List[str]) -> None:
    """Do a step of the setup, with its output in a file."""
    with stage(title):
        run_logged(command, CACHE / 'setup.log', dict(os.environ),
                   f'{title} failed: check the network, then run this again')


def fetch_packages(place: Path, arch: str, suite: str, packages: List[str], source: str,
                   alone: bool = False) -> None:
    """Unpack packages of Debian, with all they need, into a folder; nothing is installed."""
    apt = place.with_name(f'apt-{arch}')
    for folder in ('lists/partial', 'cache/archives/partial', 'parts', 'state'):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / 'status').touch()
    (apt / 'sources.list').write_text(
        f'deb [arch={arch} signed-by={KEYRING}] {source} {suite} main\n')
    options = {
        'Dir::Etc::SourceList': apt / 'sources.list', 'Dir::Etc::SourceParts': apt / 'parts',
        'Dir::Etc::Preferences': '/dev/null', 'Dir::Etc::PreferencesParts': apt / 'parts',
        'Dir::State': apt / 'state', 'Dir::State::Lists': apt / 'lists',
        'Dir::State::status': apt / 'status', 'Dir::Cache': apt / 'cache',
        'APT::Architecture': arch, 'APT::Architectures': arch, 'APT::Sandbox::User': '',
        'APT::Install-Recommends': 'false', 'Acquire::Languages': 'none'}
    command = ['apt-get', '-q', '-y', *(f'-o{key}={value}' for key, value in options.items())]
    logged(f'looking for packages of {suite} for {arch}', [*command, 'update'])
    if alone:
        logged(f'fetching {packages[0]}', [
            '/bin/sh', '-c', 'cd "$0" && "$@"', str(apt / 'cache' / 'archives'), *command,
            'download', *packages])
    else:
        logged(f'fetching {" ".join(packages)}', [
            *command, 'install', '--download-only', *packages])
    place.mkdir(parents=True, exist_ok=True)
    for file in sorted((apt / 'cache' / 'archives').glob('*.deb')):
        subprocess.run(['dpkg-deb', '-x', str(file), str(place)], check=True)
    shutil.rmtree(apt)


def wheels(python: str) -> List[str]:
    """Return the pinned packages for a version of Python, without those that are not needed."""
    found = []
    for line in (ROOT / 'requirements' / 'python.txt').read_text().splitlines():
        wanted, _, marker = (part.strip() for part in line.partition(';'))
        if not wanted or wanted.startswith('#') or NOT_INSTALLED.fullmatch(wanted.split('==')[0]):
            continue
        # pip would take the version of the Python that runs it.
        if marker and not eval(marker, {'python_version': _Version(python)}):
            continue
        found.append(wanted)
    return found


class _Version(str):
    """A version that compares by its numbers."""

    def __lt__(self, other: str) -> bool:
        return [*map(int, self.split('.'))] < [*map(int, other.split('.'))]

    def __ge__(self, other: str) -> bool:
        return not self < other


def fetch_wheels(target: Path, packages: List[str]) -> None:
    """Unpack wheels for aarch64 into a folder."""
    logged(f'fetching {len(packages)} wheels for {target.name}', [
        sys.executable, '-m', 'pip', 'install', '--no-input', '--disable-pip-version-check',
        '--no-deps', '--no-compile', '--only-binary=:all:', '--implementation', 'cp',
        '--python-version', PYTHON, *(f'--platform={name}' for name in PLATFORMS),
        '--target', str(target), *packages])


def recipe() -> str:
    """Return a digest of all that the root is made from."""
    text = repr((LAYOUT, SUITE, PACKAGES, QEMU_SUITE, wheels(PYTHON), JETPACK_WHEELS))
    return hashlib.sha256(text.encode()).hexdigest()


def make_root() -> None:
    """Make the root where there is none or it is old."""
    note = CACHE / 'made'
    if note.exists() and note.read_text() == recipe():
        return
    check_machine()
    source = mirror()
    note.unlink(missing_ok=True)
    root, qemu = CACHE / 'root', CACHE / 'new-qemu'
    for folder in (root, qemu):
        shutil.rmtree(folder, ignore_errors=True)
    fetch_packages(qemu, 'amd64', QEMU_SUITE, [QEMU_PACKAGE], source, alone=True)
    shutil.copy(qemu / 'usr' / 'bin' / 'qemu-aarch64', CACHE / 'qemu-aarch64')
    shutil.rmtree(qemu)
    fetch_packages(root, 'arm64', SUITE, PACKAGES, source)
    for folder in ('proc', 'dev', 'sys', 'tmp', 'root', 'etc'):
        (root / folder).mkdir(exist_ok=True)
    # As scripts of the packages would, which do not run here.
    (root / 'bin' / 'sh').symlink_to('bash')
    (root / 'etc' / 'passwd').write_text('root:x:0:0:root:/root:/bin/sh\n')
    packages = root / 'usr' / 'local' / 'lib' / f'python{PYTHON}' / 'dist-packages'
    fetch_wheels(packages, wheels(PYTHON))
    fetch_wheels(root / 'opt' / JETPACK, JETPACK_WHEELS)
    note.write_text(recipe())


# Running -------------------------------------------------------------------------------------

def is_private() -> bool:
    """
    Tell whether this user can have formats of executables of his own, as from Linux 6.7 on.

    Without that only root can register QEMU, for the whole machine, until the tests end.
    """
    entered = ['unshare', '--user', '--map-root-user', '--mount']
    mount = [*entered, 'mount', '-t', 'binfmt_misc', 'binfmt_misc', '/proc/sys/fs/binfmt_misc']
    if subprocess.run(mount, capture_output=True, env=dict(os.environ, PATH=_path())
                      ).returncode == 0:
        return True
    if os.geteuid() == 0 and subprocess.run(
            ['unshare', '--mount', *mount[len(entered):]], capture_output=True).returncode == 0:
        return False
    raise SetupError(
        'QEMU cannot be registered: this needs root with the right to mount (not in a container '
        'without --privileged), or Linux 6.7 with user namespaces for everyone (Ubuntu: "sysctl '
        'kernel.apparmor_restrict_unprivileged_userns=0")')


def emulated(core: str, command: List[str], private: bool) -> List[str]:
    """Return the command line that runs a command in the root, in the repository, on a core."""
    entered = ['unshare', '--mount', '--propagation', 'private']
    if private:
        entered += ['--user', '--map-root-user']
    path = '/usr/local/bin:/usr/bin:/bin'
    python_path = '/tmp/lfm_ros'
    more = []
    if core == JETPACK:
        core, python_path = 'neoverse-n1', f'{python_path}:/opt/{JETPACK}'
        more = [f'LFM_ROS_PORTABLE_MODEL={PORTABLE_MODEL}']
    return [
        *entered, '/bin/sh', '-e', '-c', INSIDE, 'sh', str(CACHE / 'root'),
        str(CACHE / 'qemu-aarch64'), str(ROOT), '' if private else 'shared',
        f'PATH={path}', 'HOME=/root', 'LANG=C.UTF-8', f'QEMU_CPU={core}',
        'PYTHONDONTWRITEBYTECODE=1', f'PYTHONPATH={python_path}',
        f'LFM_ROS_TEST_PATIENCE={PATIENCE}', *more, *command]


class Results:
    """
    What was found with the sources as they are.

    :ivar found: by core and piece: passed, failed, skipped, seconds.
    """

    def __init__(self) -> None:
        """Read what an earlier call has found with the same sources."""
        digest = hashlib.sha256()
        for folder in ('lfm_ros', 'test', 'bench', 'examples', 'config'):
            for file in sorted((ROOT / folder).rglob('*')):
                if file.is_file() and not {'__pycache__', 'lint'} & {*file.parts}:
                    digest.update(f'{file}\0'.encode() + file.read_bytes())
        self._sources, self._file = digest.hexdigest(), CACHE / 'results.json'
        self.found: Dict[str, Dict[str, List[float]]] = {}
        with contextlib.suppress(OSError, ValueError):
            read = json.loads(self._file.read_text())
            if read['sources'] == self._sources:
                self.found = read['found']

    def passed(self, core: str, piece: str) -> bool:
        """Tell whether a piece needs not to be run again."""
        return self.found.get(core, {}).get(piece, [0, 1])[1] == 0

    def add(self, core: str, piece: str, found: List[float]) -> None:
        """Keep what was found, in one step."""
        self.found.setdefault(core, {})[piece] = found
        new = self._file.with_suffix('.new')
        new.write_text(json.dumps({'sources': self._sources, 'found': self.found}, indent=1))
        new.replace(self._file)


def run_piece(core: str, piece: str, private: bool, running: Set[int]) -> List[float]:
    """Run one file of tests; return how many passed, failed and were skipped, and the seconds."""
    log = log_of(core, piece)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = ['python3', '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *piece.split()]
    start = time.monotonic()
    with open(log, 'wb') as output:
        process = subprocess.Popen(
            emulated(core, command, private), stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True, env={'PATH': _path()})
        running.add(process.pid)
        try:
            code = process.wait(TIME_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            output.write(f'\nstopped after {TIME_LIMIT} s\n'.encode())
            code = -1
        running.discard(process.pid)
    seconds = time.monotonic() - start
    lines = [line for line in log.read_text(errors='replace').splitlines()
             if re.search(r' in [\d.]+s', line)]
    counts = {word: int(number) for number, word in re.findall(
        r'(\d+) (passed|failed|error|skipped)', lines[-1] if lines else '')}
    failed = counts.get('failed', 0) + counts.get('error', 0)
    # 5: nothing was there to run, as where every test was left out.
    return [counts.get('passed', 0), failed or int(code not in (0, 5)),
            counts.get('skipped', 0), round(seconds)]


def log_of(core: str, piece: str) -> Path:
    """Return where the output of a piece is."""
    return CACHE / 'logs' / core / (re.sub(r'\W+', '_', piece) + '.log')


def prepare_portable(private: bool) -> None:
    """Prepare the model that the ONNX Runtime of a Jetson is to open, with a newer one."""
    shutil.rmtree(ROOT / PORTABLE_MODEL, ignore_errors=True)
    logged('preparing a portable model', emulated('neoverse-n1', [
        'python3', '-m', 'lfm_ros.cli.main', 'prepare', 'test/models/lfm2-int4', PORTABLE_MODEL,
        '--portable'], private))


def run_pieces(work: List[Tuple[str, str]], private: bool, jobs: int) -> int:
    """Run what has not passed yet, and print a table; return how much has failed."""
    results = Results()
    left = [each for each in work if not results.passed(*each)]
    if len(left) < len(work):
        say(f'{len(work) - len(left)} of {len(work)} files passed in an earlier call')
    if any(core == JETPACK for core, _ in left):
        prepare_portable(private)
    running: Set[int] = set()
    start, done = time.monotonic(), threading.Event()

    def one(each: Tuple[str, str]) -> Optional[List[float]]:
        return None if done.is_set() else run_piece(*each, private, running)

    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(one, each): each for each in left}
        try:
            for number, future in enumerate(as_completed(futures), 1):
                (core, piece), found = futures[future], future.result()
                assert found is not None
                results.add(core, piece, found)
                passed, failed, skipped, seconds = found
                more = f': see {log_of(core, piece).relative_to(ROOT)}' if failed else ''
                say(f'[{number}/{len(left)}, {(time.monotonic() - start) / 60:.0f} min] {core} '
                    f'{piece}: {passed} passed, {failed} failed, {skipped} skipped in '
                    f'{seconds} s{more}')
        except BaseException:
            done.set()
            for group in list(running):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGTERM)
            raise
    bad = 0
    for core in dict.fromkeys(core for core, _ in work):
        passed, failed, skipped, seconds = (
            sum(column) for column in zip(*(results.found[core][piece] for each, piece in work
                                            if each == core)))
        bad += int(failed)
        say(f'{core}: {passed:.0f} passed, {failed:.0f} failed, {skipped:.0f} skipped, '
            f'{seconds / 60:.0f} minutes')
    return bad


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Let one call run at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / 'lock', 'w') as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError('another call is at work in build/aarch64: wait for its end') \
                from None
        yield


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='*', help='files of tests to run; default: a chosen set')
    parser.add_argument('--all', action='store_true',
                        help=f'all tests that need no ROS, on {MAIN_CORE} (hours)')
    parser.add_argument('--core', default='',
                        help=f'{", ".join(CHOSEN)}, or another core that QEMU knows')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1, help='files at a time')
    parser.add_argument('--files', dest='list_files', action='store_true',
                        help='print the files of all tests that need no ROS, and end')
    parser.add_argument('--run', nargs=argparse.REMAINDER, metavar='COMMAND',
                        help='run a command on the core instead, in the repository')
    return parser.parse_args()


def main() -> int:
    """Run the command line; return the exit code."""
    args = arguments()
    if args.list_files:
        say('\n'.join(all_files()))
        return 0
    for each in (signal.SIGINT, signal.SIGTERM):  # a background job ignores the first
        signal.signal(each, signal.default_int_handler)
    core = args.core or MAIN_CORE
    try:
        if args.run:
            make_root()
            return subprocess.run(emulated(core, args.run, is_private()),
                                  env={'PATH': _path()}).returncode
        with lock():
            private = is_private()
            make_root()
            if args.all or args.files:
                work = [(core, piece) for piece in args.files or all_files()]
            else:
                work = [(each, piece) for each, pieces in CHOSEN.items() for piece in pieces
                        if args.core in ('', each)]
            return int(run_pieces(work, private, args.jobs) > 0)
    except SetupError as error:
        print(f'make: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('make: interrupted; the next call goes on', file=sys.stderr)
        return 130


if __name__ == '__main__':
    sys.exit(main())
