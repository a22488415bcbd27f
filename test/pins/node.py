# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A node as others see it: topics, services, the action, parameters, diagnostics."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
import re
import threading
import time
from typing import Any
from unittest.mock import patch

from internals import from_lines
from internals import lfm
from internals import new_node
from internals import node_facts
from internals import takes_encoding
from pins.shape import shape

# What every node of rclpy has; another version may have more of it.
_OF_ROS = ('rcl_interfaces/', 'type_description_interfaces/')
_PARAMETERS_OF_ROS = ('use_sim_time', 'start_type_description_service')
_LAST_SERVICE = '/lfm/get_transition_graph'  # the last one that a lifecycle node offers
# Those of image_encodings.hpp, of which more may be accepted some day.
_ENCODINGS = [
    *(f'{colours}{bits}' for colours in ('rgb', 'bgr', 'rgba', 'bgra', 'mono')
      for bits in (8, 16)),
    *(f'{bits}{kind}C{count}' for bits, kinds in ((8, 'US'), (16, 'USF'), (32, 'SF'), (64, 'F'))
      for kind in kinds for count in (1, 2, 3, 4)),
    *(f'bayer_{order}{bits}' for order in ('rggb', 'bggr', 'gbrg', 'grbg') for bits in (8, 16)),
    'yuv422', 'yuv422_yuy2', 'uyvy', 'yuyv', 'nv12', 'nv21', 'nv24']


def collect() -> dict[str, Any]:
    """Start a node without a model in this process, and ask it."""
    with _node() as node, _diagnostics(node.context) as statuses:
        found = {'topics and services': _graph(node), 'quality of service': _qualities(node),
                 'parameters': _parameters(node), 'name of its logger': node.get_logger().name}
        status, text = lfm('top', '--node', '/lfm', '--json')
        assert not status, text
    return {
        **found, 'names in /diagnostics': sorted(statuses),
        'keys of lfm top --json': shape(from_lines(text)), **node_facts(),
        'encodings of images': [name for name in _ENCODINGS if takes_encoding(name)]}


@contextmanager
def _node() -> Iterator[Any]:
    """Give a node that is alone in its domain, spun in another thread."""
    from node_support import claim_domain
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    domain, claim = claim_domain()
    context = Context()
    with claim, patch.dict(os.environ, ROS_DOMAIN_ID=str(domain)):
        context.init(args=[])
        executor = SingleThreadedExecutor(context=context)
        node = new_node(context=context)
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        try:
            yield node
        finally:
            executor.shutdown()
            thread.join()
            node.destroy_node()
            context.try_shutdown()


@contextmanager
def _diagnostics(context: Any) -> Iterator[set[str]]:
    """Give the names of what is reported on /diagnostics; at the end there is one at least."""
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node
    names: set[str] = set()
    reader = Node('reader', context=context, start_parameter_services=False)
    reader.create_subscription(DiagnosticArray, '/diagnostics', lambda message: names.update(
        status.name for status in message.status), 10)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(reader)
    try:
        yield names
        end = time.monotonic() + 10.0
        while not names and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.1)
    finally:
        executor.shutdown()
        reader.destroy_node()


def _graph(node: Any) -> dict[str, dict[str, str]]:
    """Return the types of all names that it has opened, by the side that it has."""
    end = time.monotonic() + 10.0
    while _LAST_SERVICE not in dict(node.get_service_names_and_types_by_node('lfm', '/')) and \
            time.monotonic() < end:
        time.sleep(0.01)  # the graph of the own node is there in a moment
    return {side: {name: types[0] for name, types in sorted(ask('lfm', '/'))
                   if not types[0].startswith(_OF_ROS)}
            for side, ask in (('publishes', node.get_publisher_names_and_types_by_node),
                              ('subscribes', node.get_subscriber_names_and_types_by_node),
                              ('serves', node.get_service_names_and_types_by_node))}


def _qualities(node: Any) -> dict[str, str]:
    """Return reliability, durability and depth of its topics."""
    return {f'{entity.topic_name} {side}': f'{quality.reliability.name} '
            f'{quality.durability.name} {quality.history.name} {quality.depth}'
            for side, entities in (('publisher', node.publishers),
                                   ('subscription', node.subscriptions))
            for entity in entities for quality in [entity.qos_profile]
            if entity.topic_name.startswith(('/lfm/', '/diagnostics'))
            and 'transition_event' not in entity.topic_name}


def _parameters(node: Any) -> dict[str, dict[str, Any]]:
    """Return what can be known of its parameters, but for the sentences about them."""
    found = {}
    for name, parameter in sorted(node.get_parameters_by_prefix('').items()):
        told = node.describe_parameter(name)
        if name in _PARAMETERS_OF_ROS:
            continue
        limits = [*told.integer_range, *told.floating_point_range]
        parts = {
            'type': parameter.type_.name, 'default': parameter.value,
            'read only': told.read_only, 'any type': told.dynamic_typing,
            'range': ', '.join(f'{limit.from_value} to {limit.to_value}' for limit in limits),
            'values': re.findall(r'\w+', told.additional_constraints.partition(':')[2])}
        found[name] = {part: value for part, value in parts.items()
                       if value not in (False, '', []) or part == 'default'}
    return found
