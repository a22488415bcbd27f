# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Measure what looking costs: from an image to the first token, in steps, and how fresh frames are.

    python bench/vision.py steps MODEL [--size 640x480] [--rounds 7]
    python bench/vision.py camera MODEL [--questions 20]

`steps` compares the model's own number of image tokens with half of it, in turn in one run; memory
is that of a process of its own for each. `camera` starts the node and a camera of 30 Hz VGA in
processes of their own, by raw reliable, raw best effort (with FASTDDS_BUILTIN_TRANSPORTS set to
LARGE_DATA) and compressed frames.
"""
from __future__ import annotations

import argparse
from contextlib import contextmanager
from contextlib import ExitStack
import json
import os
from pathlib import Path
import statistics
import subprocess
import sys
import time
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'test' / 'support'))

from camera import picture  # noqa: E402, I100
from camera import to_compressed  # noqa: E402
from lfm_ros.conversation.mission import Mission  # noqa: E402
from lfm_ros.engine.model import Model  # noqa: E402
from lfm_ros.engine.model_options import ModelOptions  # noqa: E402
from lfm_ros.engine.vision.image import decode  # noqa: E402
from lfm_ros.engine.vision.image import EncodedImage  # noqa: E402
from lfm_ros.process import forget_peak  # noqa: E402
from lfm_ros.process import peak_bytes  # noqa: E402
from lfm_ros.process import return_large_memory  # noqa: E402
from lfm_ros.process import rss_bytes  # noqa: E402
from looking import ask  # noqa: E402
from looking import measure  # noqa: E402
from looking import STEPS  # noqa: E402

TRANSPORTS = {
    'raw reliable': ('/lfm/image', ()), 'raw best effort': ('/lfm/image', ('--best-effort',)),
    'compressed': ('/lfm/image/compressed', ('--compressed',))}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('what', choices=('steps', 'once', 'camera'))
    parser.add_argument('model')
    parser.add_argument('--size', default='640x480')
    parser.add_argument('--tokens', type=int, default=0)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--questions', type=int, default=20)
    arguments = parser.parse_args()
    {'steps': steps, 'once': once, 'camera': camera}[arguments.what](arguments)


def steps(arguments: argparse.Namespace) -> None:
    """Measure the steps with all tokens of an image and with half of them, in turn."""
    width, height = map(int, arguments.size.split('x'))
    data = bytes(to_compressed(picture(width, height)).data)
    full = Model(arguments.model, ModelOptions(threads=2))
    whole = full.require_vision().processor.prepare(decode(data)).tokens
    half = Model(arguments.model, ModelOptions(threads=2, image_tokens=max(1, whole // 2)))
    found: dict[str, list[list[float]]] = {'full': [], 'half': []}
    for number in range(arguments.rounds + 1):
        for name, model in (('full', full), ('half', half)):
            seconds = measure(model, data)
            if number:  # the first run warms up
                found[name].append(seconds)
    print(f'{arguments.size} JPEG of {len(data) / 1000:.0f} kB; median milliseconds of '
          f'{arguments.rounds} runs')
    print(f'{"":18}{"full":>10}{"half":>10}{"ratio":>10}')
    for place, step in enumerate(STEPS):
        columns = [[1000 * run[place] for run in found[name]] for name in found]
        ratio = statistics.median(h / f for f, h in zip(*columns))
        medians = [statistics.median(column) for column in columns]
        print(f'{step:18}{medians[0]:10.1f}{medians[1]:10.1f}{ratio:10.2f}')
    tokens = [model.require_vision().processor.prepare(
        decode(data)).tokens for model in (full, half)]
    print(f'{"image tokens":18}{tokens[0]:10}{tokens[1]:10}')
    rss = [in_process(arguments, count) for count in (0, tokens[1])]
    print(f'{"peak RSS, MB":18}{rss[0]["peak"]:10.0f}{rss[1]["peak"]:10.0f}')
    print(f'{"before, MB":18}{rss[0]["before"]:10.0f}{rss[1]["before"]:10.0f}')


def in_process(arguments: argparse.Namespace, tokens: int) -> dict[str, float]:
    """Look once in a process of its own; return its memory."""
    done = subprocess.run(
        [sys.executable, __file__, 'once', arguments.model, '--size', arguments.size,
         '--tokens', str(tokens)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def once(arguments: argparse.Namespace) -> None:
    """Look at one image and print the memory of this process in MB."""
    return_large_memory()  # as the node does
    model = Model(arguments.model, ModelOptions(threads=2, image_tokens=arguments.tokens))
    model.warm_up()
    mission = Mission('bench', model, model.template.preamble())
    before = rss_bytes()
    forget_peak()
    width, height = map(int, arguments.size.split('x'))
    ask(mission, 'What?', EncodedImage(bytes(to_compressed(picture(width, height)).data)))
    peak = peak_bytes()
    print(json.dumps({'before': before / 1e6, 'peak': peak / 1e6}))


def camera(arguments: argparse.Namespace) -> None:
    """Ask through a camera and print how old frames are, and what subscriptions cost."""
    print(f'{"":18}{"age when asked, ms":>22}{"to first token, ms":>20}{"CPU of the node, %":>30}')
    print(f'{"":18}{"median":>14}{"most":>8}{"median":>20}{"not used":>15}{"subscribed":>15}')
    for name, (topic, options) in TRANSPORTS.items():
        if 'best effort' in name:
            os.environ['FASTDDS_BUILTIN_TRANSPORTS'] = 'LARGE_DATA'
            os.environ.pop('ROS_AUTOMATIC_DISCOVERY_RANGE', None)
        with node_and_camera(arguments.model, topic, options, keep='5.0') as (client, process):
            idle = cpu_share(process)
            ages, firsts = [], []
            for _ in range(arguments.questions):
                asked = client.node.get_clock().now().nanoseconds / 1e9
                response = client.ask('What do you see?', use_camera=True, aside=True,
                                      max_tokens=8)
                if response.error_code:
                    raise SystemExit(response.error_msg)
                stamp = response.image_headers[0].stamp
                ages.append(1000 * (asked - stamp.sec - stamp.nanosec / 1e9))
                firsts.append(1000 * response.usage.time_to_first_token)
        with node_and_camera(arguments.model, topic, options, keep='-1.0') as (_, process):
            subscribed = cpu_share(process)
        print(f'{name:18}{statistics.median(ages):14.0f}{max(ages):8.0f}'
              f'{statistics.median(firsts):20.0f}{idle:15.1f}{subscribed:15.1f}')


@contextmanager
def node_and_camera(model: str, topic: str, options: tuple[str, ...], keep: str) -> Any:
    """Run a node with a camera beside it; give a client and the node's process."""
    from node_support import running_node
    with ExitStack() as stack:
        client = stack.enter_context(running_node(
            model='', model__path=model, image__camera_keep_alive=keep, image__wait=10.0,
            check_end=False))
        env = dict(os.environ, ROS_DOMAIN_ID=str(client.node_process.domain),
                   PYTHONPATH=str(ROOT))
        camera = ROOT / 'test' / 'support' / 'camera.py'
        process = subprocess.Popen([sys.executable, str(camera), topic, *options], env=env)
        try:
            client.wait_until(lambda: client.node.count_publishers(topic) > 0, 'a camera')
            time.sleep(2)
            yield client, client.node_process.process
        finally:
            process.terminate()
            process.wait()


def cpu_share(process: subprocess.Popen[bytes], seconds: float = 10.0) -> float:
    """Return the share of one core that a process takes, in percent."""
    def used() -> float:
        fields = Path(f'/proc/{process.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    before = used()
    time.sleep(seconds)
    return 100 * (used() - before) / seconds


if __name__ == '__main__':
    main()
