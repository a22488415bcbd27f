# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The latest frame of a camera, for requests that ask for it."""
from __future__ import annotations

import time
from typing import Any

from lfm_ros.engine.vision.compressed_frame import CompressedFrame
from lfm_ros.engine.vision.mono16 import AUTO
from lfm_ros.engine.vision.raw_frame import RawFrame
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.request_errors import DEACTIVATED
import numpy as np
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

PERIOD = 0.05  # seconds between two checks of the pending frames
# The compressed topic first: where a camera offers both, it costs a tenth.
TOPICS = {'~/image/compressed': (CompressedImage, CompressedFrame), '~/image': (Image, RawFrame)}
_TYPES = {'~/image/compressed': 'sensor_msgs/msg/CompressedImage',
          '~/image': 'sensor_msgs/msg/Image'}


class PendingFrame:
    """
    A frame that was asked for; it comes, or the reason why not.

    :ivar header: of the frame, once it is there.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.is_wanted = True
        self.header: Any = None
        self._frame: RawFrame | CompressedFrame | None = None
        self._error: LfmError | None = None

    def drop(self) -> None:
        """Note that no request waits for it any more."""
        self.is_wanted = False

    def set_frame(self, frame: RawFrame | CompressedFrame) -> None:
        """Take the frame."""
        self.header = frame.header
        self._frame = frame  # last: the model thread reads it

    def fail(self, error: LfmError) -> None:
        """Take the reason why there is none."""
        self._error = error

    @property
    def ready(self) -> bool:
        """Return whether either has come."""
        return self._frame is not None or self._error is not None

    @property
    def nbytes(self) -> int:
        """Return the bytes that it takes while it waits."""
        return self._frame.nbytes if self._frame else 0

    @property
    def memory(self) -> int:
        """Return about how many bytes it takes to take it in."""
        return self._frame.memory if self._frame else 0

    @property
    def notice(self) -> str:
        """Return what was done to its pixels that one may want to know."""
        return self._frame.notice if self._frame else ''

    def pixels(self) -> np.ndarray:
        """
        Return the pixels of the frame, see :class:`lfm_ros.engine.vision.image.ImageSource`.

        :raises LfmError: NO_CAMERA_FRAME, STALE_IMAGE, INVALID_IMAGE.
        """
        if self._error:
            raise LfmError(self._error.code, self._error.message)
        assert self._frame, 'it is not ready'
        return self._frame.pixels()


class Camera:
    """
    Subscribes to the camera while frames are wanted, and holds one frame at most.

    A frame that no request waits for is not deserialized. All here runs in the thread of the
    executor.

    :param max_age: seconds that a frame may be old when it is asked for; 0: any.
    :param frame_timeout: seconds to wait for a frame.
    :param keep_alive: seconds for which the topic stays subscribed after its last use; negative:
        for ever.
    :param mono16_range: values that are black and white in frames of 16 bits.
    """

    def __init__(self, node: Node, max_age: float, frame_timeout: float, keep_alive: float,
                 mono16_range: tuple[int, int] = AUTO) -> None:
        self._node = node
        self._max_age = max_age
        self._frame_timeout = frame_timeout
        self._keep_alive = keep_alive
        self._mono16_range = mono16_range
        self._subscription: Subscription | None = None
        self._subscribed: tuple[str, ReliabilityPolicy, DurabilityPolicy] | None = None
        self._pending: list[PendingFrame] = []
        self._latest: tuple[str, bytes, float] | None = None  # topic, message, when it came
        self._refused_age = 0.0
        self._is_empty = False  # what came last
        self._frames = 0  # since it was subscribed
        self._used = self._since = time.monotonic()
        # Simulated time may stand still.
        self._timer = node.create_timer(PERIOD, self._tick,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))
        if keep_alive >= 0:
            self._timer.cancel()

    def request_frame(self) -> PendingFrame:
        """Ask for a frame that is not too old, the one that is there or the next one."""
        self._used = time.monotonic()
        pending = PendingFrame(self._used + self._frame_timeout)
        self._pending.append(pending)
        self._subscribe()
        self._timer.reset()
        self._serve()
        return pending

    def close(self, why: tuple[str, str] = DEACTIVATED) -> None:
        """Let go of the topics; who waits is told why."""
        self._timer.cancel()
        self._node.destroy_timer(self._timer)
        for pending in self._pending:
            pending.fail(LfmError(ErrorCode.CANCELLED, f'the node was {why[0]} while it waited '
                                  f'for a camera frame: {why[1]} it and ask again'))
        self._pending.clear()
        self._unsubscribe()

    def _tick(self) -> None:
        now = time.monotonic()
        for pending in [w for w in self._pending if now >= w.deadline or not w.is_wanted]:
            pending.fail(self._no_frame_error())
            self._pending.remove(pending)
        if self._pending or self._keep_alive < 0:
            self._subscribe()
        elif now - self._used > self._keep_alive:
            self._unsubscribe()
            self._timer.cancel()

    def _subscribe(self) -> None:
        """
        Subscribe to what is published, as reliably and as durably as all who publish it offer.

        A reliable subscription does not match a camera that offers best effort; one of best effort
        matches all and may lose every frame that is larger than a segment of shared memory. One
        that is not durable never gets a frame that was latched (transient local) before.
        """
        offered = {topic: offers for topic in TOPICS if (offers := self._publishers(topic))}
        if self._subscribed and not self._latest and len(offered) > 1 and \
                (self._is_empty or time.monotonic() - self._since > self._frame_timeout / 2):
            offered.pop(self._subscribed[0], None)  # it is advertised, but nothing comes
        if not offered:
            return
        topic, offers = next(iter(offered.items()))
        profiles = [offer.qos_profile for offer in offers]
        reliable = all(p.reliability == ReliabilityPolicy.RELIABLE for p in profiles)
        latched = all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in profiles)
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        wanted = topic, reliability, durability
        if wanted == self._subscribed or self._latest and self._subscribed and \
                topic != self._subscribed[0] and self._subscribed[0] in offered:
            return
        self._unsubscribe()
        self._subscribed, self._since, self._is_empty = wanted, time.monotonic(), False
        self._frames = 0
        self._subscription = self._node.create_subscription(
            TOPICS[topic][0], topic, lambda data: self._on_frame(topic, data),
            QoSProfile(depth=1, reliability=reliability, durability=durability), raw=True)

    def _unsubscribe(self) -> None:
        if self._subscription:
            self._node.destroy_subscription(self._subscription)
        self._subscription = self._subscribed = self._latest = None

    @property
    def _is_latched(self) -> bool:
        return bool(self._subscribed) and self._subscribed[2] == DurabilityPolicy.TRANSIENT_LOCAL

    def _publishers(self, topic: str) -> list[Any]:
        """Return who publishes what this topic takes."""
        return [p for p in self._all_publishers(topic) if p.topic_type == _TYPES[topic]]

    def _all_publishers(self, topic: str) -> list[Any]:
        name = self._node.resolve_topic_name(topic)
        return self._node.get_publishers_info_by_topic(name)

    def _on_frame(self, topic: str, data: bytes) -> None:
        if self._subscribed and self._subscribed[0] == topic:  # else it was on its way
            self._latest = topic, data, time.monotonic()
            self._frames += 1
            self._serve()

    def _serve(self) -> None:
        """Give the latest frame to all who wait, if it is not too old."""
        if not (self._pending and self._latest):
            return
        topic, data, came = self._latest
        kind, frame_class = TOPICS[topic]
        try:
            message = deserialize_message(data, kind)
        except Exception as error:  # of the middleware; what came is no frame of this type
            self._latest = None
            self._node.get_logger().warning(f'a camera frame cannot be read ({error})')
            return
        if not message.data:  # of a driver that could not compress it
            self._latest = None
            self._is_empty = True
            return
        age = self._age(message.header.stamp, came)
        self._refused_age = age
        if self._max_age and age > self._max_age:
            return
        waiting, self._pending = self._pending, []
        try:
            frame = frame_class(message, self._mono16_range)
        except LfmError as error:
            for pending in waiting:
                pending.fail(error)
            return
        for pending in waiting:
            pending.set_frame(frame)

    def _age(self, stamp: Any, came: float) -> float:
        """Return how old a frame is in seconds, by its stamp where it has one."""
        here = time.monotonic() - came
        if not (stamp.sec or stamp.nanosec):
            # What was latched counts until the next one; a camera that offers that may have died.
            return 0.0 if self._is_latched and self._frames == 1 else here
        now = self._node.get_clock().now().nanoseconds
        age = (now - stamp.nanosec) / 1e9 - stamp.sec  # seconds of a stamp may be negative
        return age if age >= 0 else here  # from the future: clocks that differ, or one that jumped

    def _no_frame_error(self) -> LfmError:
        if self._latest:
            once = ', or set image.max_age to 0 if they are published once' * self._is_latched
            return LfmError(ErrorCode.STALE_IMAGE, f'the newest camera frame on '
                            f'{self._node.resolve_topic_name(self._latest[0])} is '
                            f'{self._refused_age:.1f} s old and image.max_age is '
                            f'{self._max_age:g} s: check the camera and the clock that stamps '
                            f'its frames{once}')
        seen = [f'{self._node.resolve_topic_name(topic)} ({self._describe(topic)})'
                for topic in TOPICS]
        todo = next(filter(None, map(self._misplaced, TOPICS)),
                    'remap ~/image or ~/image/compressed to the topic of the camera')
        return LfmError(ErrorCode.NO_CAMERA_FRAME, f'no camera frame came within '
                        f'{self._frame_timeout:g} s on {" or ".join(seen)}: {todo}')

    def _describe(self, topic: str) -> str:
        """Return who publishes on a topic without a frame that came."""
        fitting = self._publishers(topic)
        found = fitting or self._all_publishers(topic)
        if not found:
            return 'no publisher'
        count = f'{len(found)} publisher{"s" * (len(found) > 1)}'
        if not fitting:
            kinds = sorted({p.topic_type for p in found})
            return f'{count} of {" and ".join(kinds)}, not {_TYPES[topic]}'
        is_here = self._subscribed is not None and self._subscribed[0] == topic
        return f'{count}, ' + ('only empty frames' if is_here and self._is_empty else
                               'no frame since this node subscribed')

    def _misplaced(self, topic: str) -> str:
        """Return how to remap a camera that publishes what the other topic takes, if one does."""
        other = next(name for name in TOPICS if name != topic)
        kinds = {p.topic_type for p in self._all_publishers(topic)}
        if _TYPES[topic] in kinds or _TYPES[other] not in kinds:
            return ''
        return f'remap {other} instead of {topic} to {self._node.resolve_topic_name(topic)}'
