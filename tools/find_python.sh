#!/bin/sh
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
#
# Print the path of a Python that lfm_ros can be set up with.
# usage: find_python.sh [PYTHON]    PYTHON: the one that the user asks for; empty: search

usable() {
  # Run it: a name on PATH may be a pyenv shim of a version that is not installed.
  "$1" -I -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
    >/dev/null 2>&1
}

if [ -n "$1" ]; then
  if usable "$1"; then
    command -v "$1"
    exit
  fi
  echo "make: PYTHON=$1 cannot be used: it has to be a Python of version 3.10 to 3.13" >&2
  exit 2
fi

for name in python3 python3.13 python3.12 python3.11 python3.10; do
  if usable "$name"; then
    command -v "$name"
    exit
  fi
done
echo 'make: no Python of version 3.10 to 3.13 was found: install one (Debian, Ubuntu:' \
  'apt install python3-venv python3-dev) or name it with PYTHON=/path/to/python3' >&2
exit 2
