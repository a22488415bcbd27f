# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Build lfm_ros with pip, for environments without colcon.

``colcon build`` reads package.xml and CMakeLists.txt and never runs this file. Here the same
CMakeLists.txt is built and what it installs is packed into the wheel, so that
``pip install --no-build-isolation --no-deps .`` in an environment that has the ROS 2 build
packages gives the node, the command, the launch files and the interfaces.

The environment variable LFM_ROS_BUILD_DIR names a folder for the CMake build tree that is kept
from one build to the next; without it each build starts from nothing.
"""
import os
from pathlib import Path
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

SOURCE = Path(__file__).resolve().parent
sys.path.insert(0, str(SOURCE / 'tools'))
from package_sources import source_files  # noqa: E402, I100
PACKAGE = ElementTree.parse(SOURCE / 'package.xml').getroot()
NAME = PACKAGE.findtext('name')
KEPT_BUILD_DIR = os.environ.get('LFM_ROS_BUILD_DIR')
BUILD_DIR = Path(KEPT_BUILD_DIR).resolve() if KEPT_BUILD_DIR else SOURCE / 'build' / 'pip'


def copy_sources(folder: Path) -> None:
    """
    Copy what the package is built from, with the times of the files.

    CMake refuses to export a target whose include folders are inside the source folder, and those
    of an environment ``.venv`` in the repository would be.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for file in source_files(SOURCE):
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(SOURCE / file, target)


def run_cmake(source: Path, build_dir: Path, prefix: Path) -> None:
    """Configure, build and install the package into the folder ``prefix``."""
    env = dict(os.environ)
    for name in ('AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH'):
        env[name] = os.pathsep.join(filter(None, [sys.prefix, env.get(name)]))
    configure = [
        'cmake', '-S', str(source), '-B', str(build_dir), '-DBUILD_TESTING=OFF',
        '-DLFM_ROS_UNITY_BUILD=ON', f'-DCMAKE_INSTALL_PREFIX={prefix}',
        f'-DPython3_EXECUTABLE={sys.executable}']
    if shutil.which('ninja'):
        configure.append('-GNinja')
    build = ['cmake', '--build', str(build_dir), '--target', 'install']
    if 'CMAKE_BUILD_PARALLEL_LEVEL' not in env:
        build += ['--parallel', str(os.cpu_count() or 1)]
    commands = [configure, build]
    if (build_dir / 'build.ninja').exists() or (build_dir / 'Makefile').exists():
        commands.remove(configure)  # the build itself configures again when it has to
    for command in commands:
        if subprocess.call(command, env=env) != 0:
            raise SystemExit(
                f'{NAME} was not built: "cmake {command[1]}" failed, see its output above. It '
                'needs the ROS 2 build packages in the same environment and the option '
                '--no-build-isolation of pip; "make setup" does both')


class BuildWithCMake(build_py):
    """Take the Python package, and as data files all the rest, from what CMake installs."""

    def run(self) -> None:
        if self.editable_mode:
            raise SystemExit(
                'an editable install cannot hold the generated messages; use '
                '"colcon build --symlink-install", or "pip install --no-build-isolation '
                '--no-deps ." after each change')
        prefix = BUILD_DIR / 'prefix'
        build_lib = Path(self.build_lib)
        for stale in (prefix, build_lib):
            shutil.rmtree(stale, ignore_errors=True)
        if not KEPT_BUILD_DIR:
            shutil.rmtree(BUILD_DIR / 'cmake', ignore_errors=True)
        copy_sources(BUILD_DIR / 'source')
        run_cmake(BUILD_DIR / 'source', BUILD_DIR / 'cmake', prefix)

        # lib/python3.x/site-packages, or dist-packages in Debian's own Python
        init, = prefix.glob(f'**/{NAME}/msg/__init__.py')
        site_packages = init.parents[2]
        shutil.copytree(
            site_packages / NAME, build_lib / NAME,
            ignore=shutil.ignore_patterns('__pycache__', '*.c'))
        shutil.rmtree(site_packages)
        shutil.rmtree(prefix / 'bin')  # pip writes its own, from console_scripts
        self.distribution.data_files.extend(
            (str(path.parent.relative_to(prefix)), [str(path)])
            for path in sorted(prefix.rglob('*')) if path.is_file())


class BinaryDistribution(Distribution):
    """Name the wheel after this Python and platform: it holds compiled libraries."""

    def has_ext_modules(self) -> bool:
        return True


BUILD_DIR.mkdir(parents=True, exist_ok=True)
setup(
    name=NAME,
    version=PACKAGE.findtext('version'),
    description=' '.join(PACKAGE.findtext('description').split()),
    license=PACKAGE.findtext('license'),
    packages=[NAME],
    data_files=[],
    entry_points=(SOURCE / 'entry_points.txt').read_text(),
    cmdclass={'build_py': BuildWithCMake},
    distclass=BinaryDistribution,
    options={
        'build': {'build_base': str(BUILD_DIR / 'setuptools')},
        'egg_info': {'egg_base': str(BUILD_DIR)},
    },
)
