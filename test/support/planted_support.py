# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What others may have put where a file of ours is to be."""
from concurrent.futures import Future
import os
import socket
import threading

from waiting import WAIT


def soon(work):
    """Return what some work returns, or raise what it raises; it must not hang, as a pipe may."""
    future = Future()

    def run():
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(WAIT)


def link(path, victim):
    """Plant a symbolic link."""
    path.symlink_to(victim)


def hard_link(path, victim):
    """Plant a second name of a file."""
    os.link(victim, path)


def pipe(path, victim):
    """Plant a pipe."""
    os.mkfifo(path)


def folder(path, victim):
    """Plant a folder with something in it."""
    path.mkdir()
    (path / 'content').write_text('mine')


def a_socket(path, victim):
    """Plant a socket."""
    here = os.getcwd()
    os.chdir(path.parent)  # its name may have 107 bytes only
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)


PLANTS = [link, hard_link, pipe, folder, a_socket]
