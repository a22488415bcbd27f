# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Ask about what a camera sees.

The node listens to ~/image/compressed only when a question uses the camera. Here this program is
the camera; with a camera of your own, remap the topic when you start the node:

    ros2 run lfm_ros lfm_node --ros-args -p model.path:=demo
    python examples/camera_question.py

    ros2 run lfm_ros lfm_node --ros-args -p model.path:=/models/LFM2-VL-450M-ONNX \
        -r '~/image/compressed:=/camera/image/compressed'
"""
from pathlib import Path

from lfm_ros.cli.output import print_text
from lfm_ros.client import LfmClient
from lfm_ros.msg import Sampling
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

MISSION = 'lookout'
GREEDY = Sampling(temperature=0.0)  # the same question, the same answer
SCENE = Path(__file__).parent / 'scene.png'  # a red circle and a blue square


class Camera:
    """Sees the same scene ten times a second, while its node is spun."""

    def __init__(self, node: Node) -> None:
        self._clock = node.get_clock()
        self._frame = CompressedImage(format='png')
        self._frame.header.frame_id = 'camera'
        self._frame.data.frombytes(SCENE.read_bytes())
        self._publisher = node.create_publisher(CompressedImage, '/lfm/image/compressed', 1)
        node.create_timer(0.1, self._send)

    def _send(self) -> None:
        self._frame.header.stamp = self._clock.now().to_msg()
        self._publisher.publish(self._frame)


def main() -> None:
    """Ask about the latest frame, then about what was seen."""
    rclpy.init()
    node = rclpy.create_node('camera_question')
    Camera(node)
    client = LfmClient(node)
    client.wait()
    for question, look in (('What do you see?', True),
                           ('What colour was the square in the picture?', False)):
        response = client.ask(question, MISSION, use_camera=look, sampling=GREEDY)
        frames = ', '.join(header.frame_id for header in response.image_headers)
        print_text(f'asked: {question}\n'
                   f'model: {response.text or response.error_msg}  '
                   f'[looked at: {frames or "nothing, it remembers"}]')
    rclpy.shutdown()


if __name__ == '__main__':
    main()
