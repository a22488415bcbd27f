# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Show what lfm_ros does: a real node over real DDS, and a mission that remembers.

Starts the node with the embedded model in a process of its own and talks to it as another node
would: by topic, service and action. Ends with status 1 when an answer is not the expected one.
"""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
from tempfile import TemporaryDirectory
import time

# Whoever else is on the network must not meet this demonstration.
os.environ['ROS_DOMAIN_ID'] = str(random.randint(1, 101))
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

from lfm_ros.cli.output import print_text  # noqa: E402
from lfm_ros.client import LfmClient  # noqa: E402
from lfm_ros.msg import Response  # noqa: E402
from lfm_ros.msg import Sampling  # noqa: E402
from lfm_ros.msg import Status  # noqa: E402
from lfm_ros.msg import Token  # noqa: E402
import rclpy  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import DurabilityPolicy  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402
from std_msgs.msg import String  # noqa: E402

NODE = [sys.executable, '-m', 'lfm_ros.node.start', '--ros-args', '--log-level', 'error',
        '-p', 'model.path:=demo']
GREEDY = Sampling(temperature=0.0)
SCENE = Path(__file__).parent / 'scene.png'  # a red circle and a blue square

failures = []


def main() -> int:
    """Run the demonstration."""
    with TemporaryDirectory() as folder:
        title('Starting: lfm_node --ros-args -p model.path:=demo -p missions.dir:=FOLDER')
        with lfm_node(folder) as process, talking() as (node, client):
            tell_by_topic(node)
            observe(node, client)
            ask_by_service(client)
            stream_by_action(client)
            use_tools(client)
            look(node, client)
            keep_missions_apart(client)
            go_back(client)
            cancel(client)
            process.kill()
        title('Power loss (kill -9). Starting again')
        with lfm_node(folder), talking() as (node, client):
            add_restore_point(client)
            show_missions(client)
    if failures:
        title(f'{len(failures)} answers were not as expected: {", ".join(failures)}')
        return 1
    title('That was the real node; start yours with: '
          'ros2 launch lfm_ros lfm.launch.py model_path:=FOLDER')
    return 0


def tell_by_topic(node: Node) -> None:
    """Tell facts as `ros2 topic pub /lfm/prompt` would."""
    title('Topic ~/prompt -> ~/answer (std_msgs/String, mission "default")')
    publisher = node.create_publisher(String, '/lfm/prompt', 10)
    answers: list[str] = []
    node.create_subscription(String, '/lfm/answer', lambda m: answers.append(m.data), 10)
    spin(node, lambda: publisher.get_subscription_count() > 0
         and node.count_publishers('/lfm/answer') > 0)
    for text in ('The charging dock is at waypoint 7.', 'The red toolbox is at waypoint 23.',
                 'The red toolbox moved to waypoint 41.'):
        count = len(answers)
        publisher.publish(String(data=text))
        spin(node, lambda: len(answers) > count)
        dialog(text, answers[-1])


def observe(node: Node, client: LfmClient) -> None:
    """Tell something that needs no answer; it is read while the node is idle."""
    title('Topic ~/observe (lfm_ros/msg/Observation): processed while idle, no answer')
    text = 'The north gate is at waypoint 12.'
    turns = client.missions()[0].tokens
    client.observe(text)
    while client.missions()[0].tokens == turns:
        spin_for(node)
    say(f'observed: {text}')


def ask_by_service(client: LfmClient) -> None:
    """Ask what only the mission's state can know."""
    title('Service ~/ask (lfm_ros/srv/Ask): the answers come from the mission state')
    for question, expected in (
            ('Where is the charging dock?', 'The charging dock is at waypoint 7.'),
            ('Where is the red toolbox?', 'The red toolbox is at waypoint 41.'),
            ('Where is the north gate?', 'The north gate is at waypoint 12.'),
            ('Where is the blue crate?', 'I do not know where the blue crate is.')):
        response = client.ask(question, sampling=GREEDY)
        dialog(question, response.text, response)
        check(response, expected)


def stream_by_action(client: LfmClient) -> None:
    """Receive an answer token by token."""
    title('Action ~/generate (lfm_ros/action/Generate): tokens as they come')
    question = 'Go to the charging dock.'
    pieces: list[str] = []

    def collect(token: Token) -> None:
        pieces.append(token.text)

    response = client.generate(question, on_token=collect, sampling=GREEDY).result()
    dialog(question, ' | '.join(p for p in pieces if p), response)
    check(response, '{"action":"navigate","waypoint":7}')


def use_tools(client: LfmClient) -> None:
    """Let the model call functions of this program, and tell it what they gave back."""
    title('Tools: the model calls functions of this program')

    def navigate(waypoint: int) -> str:
        """Drive to a waypoint."""
        say(f'called: navigate({waypoint})')
        return f'arrived at waypoint {waypoint}'

    def take_picture() -> None:
        """Take a picture of what is ahead."""
        say('called: take_picture()')

    command = 'Go to waypoint 12 and take a picture.'
    response = client.run_tools(command, [navigate, take_picture], 'driver', sampling=GREEDY)
    dialog(command, response.text, response)
    check(response, 'I am at waypoint 12. I took a picture.')


def look(node: Node, client: LfmClient) -> None:
    """Ask about what a camera sees, and about it again when only the state knows it."""
    title('Topic ~/image/compressed (a camera): subscribed only while a request needs it')
    with camera(node):
        question = 'What do you see?'
        response = client.ask(question, 'camera', use_camera=True, sampling=GREEDY)
    dialog(question, response.text, response)
    check(response, 'I see a red circle and a blue square.')
    title('Three turns later, the image is only in the state')
    for text in ('The blue crate is at waypoint 5.', 'Stop.', 'Thank you.'):
        dialog(text, client.ask(text, 'camera', sampling=GREEDY).text)
    ask_about_image(client)


def ask_about_image(client: LfmClient) -> None:
    """Ask about an image that was looked at before."""
    question = 'What colour was the square in the picture?'
    response = client.ask(question, 'camera', sampling=GREEDY)
    dialog(question, response.text, response)
    check(response, 'The square is blue.')


def keep_missions_apart(client: LfmClient) -> None:
    """Ask another mission, which was never told."""
    title('Another mission does not know any of this')
    question = 'Where is the charging dock?'
    response = client.ask(question, mission_id='inspection', sampling=GREEDY)
    dialog(question, response.text, response)
    check(response, 'I do not know where the charging dock is.')


def go_back(client: LfmClient) -> None:
    """Rewind to the turn before the toolbox moved."""
    title('Service ~/missions/rewind: back to before the toolbox moved')
    client.fork('', 'what_if')
    client.rewind(2, 'what_if')
    question = 'Where is the red toolbox?'
    response = client.ask(question, mission_id='what_if', sampling=GREEDY)
    dialog(question, response.text, response)
    check(response, 'The red toolbox is at waypoint 23.')


def cancel(client: LfmClient) -> None:
    """Cancel an answer; the mission does not remember the turn."""
    title('Cancel: the turn is rolled back')
    before = client.missions()[0].turns
    generation = client.generate('What have I told you?', max_tokens=2000)
    generation.cancel()
    response = generation.result()
    say(f'{response.finish_reason}: {response.error_msg or "it had ended already"}')
    if response.error_code and client.missions()[0].turns != before:
        failures.append('the cancelled turn')


def add_restore_point(client: LfmClient) -> None:
    """Ask what was told before the power loss."""
    title('Every mission is restored; nothing was sent again')
    for mission_id, place in (('', 41), ('what_if', 23)):
        question = 'Where is the red toolbox?'
        response = client.ask(question, mission_id=mission_id, sampling=GREEDY)
        dialog(question, response.text, response)
        check(response, f'The red toolbox is at waypoint {place}.')
    ask_about_image(client)


def show_missions(client: LfmClient) -> None:
    """List what the node keeps."""
    title('Service ~/missions/list')
    for m in client.missions():
        say(f'{m.mission_id:<12} {m.turns:>2} turns {m.tokens:>5} tokens {m.bytes / 1e6:>6.2f} MB')


@contextmanager
def camera(node: Node) -> Iterator[None]:
    """Publish what a camera sees, ten times a second."""
    message = CompressedImage(format='png')
    message.data.frombytes(SCENE.read_bytes())
    publisher = node.create_publisher(CompressedImage, '/lfm/image/compressed', 1)

    def send() -> None:
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)

    timer = node.create_timer(0.1, send)
    try:
        yield
    finally:
        node.destroy_timer(timer)
        node.destroy_publisher(publisher)


@contextmanager
def lfm_node(folder: str) -> Iterator[subprocess.Popen]:
    """Run the node until the block ends."""
    process = subprocess.Popen([*NODE, '-p', f'missions.dir:={folder}'])
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


@contextmanager
def talking() -> Iterator[tuple[Node, LfmClient]]:
    """Join the network, and wait for the node."""
    rclpy.init()
    node = rclpy.create_node('demo')
    client = LfmClient(node)
    status = wait_active(node)
    client.wait()
    say(f'active: model {status.model}, {status.rss_bytes / 1e6:.0f} MB resident, '
        f'{len(status.missions)} missions')
    try:
        yield node, client
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def wait_active(node: Node) -> Status:
    """Wait for the latched status that says active."""
    found: list[Status] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    subscription = node.create_subscription(Status, '/lfm/status', found.append, latched)
    spin(node, lambda: bool(found) and found[-1].state == 'active')
    node.destroy_subscription(subscription)
    return found[-1]


def spin(node: Node, condition: Callable[[], bool], timeout: float = 30.0) -> None:
    """Spin until something has happened."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise SystemExit('demo: the node does not answer; its messages are above')
        spin_for(node)


def spin_for(node: Node, seconds: float = 0.1) -> None:
    """Let the node work for a moment."""
    rclpy.spin_once(node, timeout_sec=seconds)


def check(response: Response, expected: str) -> None:
    """Note an answer that is not the expected one."""
    if response.text != expected:
        failures.append(repr(response.error_msg or response.text))


def dialog(question: str, answer: str, response: Response | None = None) -> None:
    """Print one exchange."""
    print_text(f'    > {question}')
    cost = ''
    if response:
        usage = response.usage
        seen = f', {usage.image_tokens} of an image' if usage.image_tokens else ''
        cost = (f'    [{usage.prompt_tokens} new tokens{seen}, {usage.cached_tokens} cached; '
                f'first token after {usage.time_to_first_token * 1000:.0f} ms]')
    print_text(f'      {answer}{cost}', flush=True)


def title(text: str) -> None:
    """Print the head of a part."""
    print_text(f'\n{text}', flush=True)


def say(text: str) -> None:
    """Print a line."""
    print_text(f'    {text}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
