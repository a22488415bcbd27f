# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
A camera in a process of its own: publishes a picture until it is ended.

    python test/support/camera.py TOPIC [--compressed] [--best-effort] [--rate HZ] [--size WxH]
"""
from __future__ import annotations

import argparse
import io
import sys

import numpy as np
from PIL import Image as PillowImage
import rclpy
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image


def picture(width: int, height: int, number: int = 0) -> np.ndarray:
    """Return a picture, uint8 RGB ``[height, width, 3]``: a disk before something uneven."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x + y + 10 * number) % 256], axis=2)
    pixels[(x - width // 2) ** 2 + (y - height // 2) ** 2 < (height // 4) ** 2] = (220, 30, 30)
    return pixels.astype(np.uint8)


def to_image(pixels: np.ndarray) -> Image:
    """Return a raw message."""
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    message.data.frombytes(pixels.tobytes())
    return message


def to_compressed(pixels: np.ndarray, kind: str = 'JPEG') -> CompressedImage:
    """Return a compressed message."""
    stream = io.BytesIO()
    PillowImage.fromarray(pixels).save(stream, kind)
    message = CompressedImage(format=kind.lower())
    message.data.frombytes(stream.getvalue())
    return message


class CameraNode(Node):
    """Publishes at a steady rate; every frame is stamped when it is sent."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__('camera')
        reliability = ReliabilityPolicy.BEST_EFFORT if options.best_effort else \
            ReliabilityPolicy.RELIABLE
        width, height = map(int, options.size.split('x'))
        pixels = picture(width, height)
        self._message = to_compressed(pixels) if options.compressed else to_image(pixels)
        self._message.header.frame_id = 'camera_optical_frame'
        self._age = Duration(seconds=options.age)
        self._publisher = self.create_publisher(
            type(self._message), options.topic, QoSProfile(depth=1, reliability=reliability))
        self.create_timer(1 / options.rate, self._send)

    def _send(self) -> None:
        self._message.header.stamp = (self.get_clock().now() - self._age).to_msg()
        self._publisher.publish(self._message)


def main() -> int:
    """Publish until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('topic')
    parser.add_argument('--compressed', action='store_true')
    parser.add_argument('--best-effort', action='store_true')
    parser.add_argument('--rate', type=float, default=30.0)
    parser.add_argument('--size', default='640x480')
    parser.add_argument('--age', type=float, default=0.0, help='seconds by which stamps lie')
    rclpy.init()
    try:
        rclpy.spin(CameraNode(parser.parse_args()))
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
