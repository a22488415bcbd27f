# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Ask a model from another Python node.

    client = LfmClient(node)
    client.wait()
    print(client.ask('Where is the dock?').text)
    for text in client.generate('Describe the way.'):  # while it is written
        print(text, end='')

Blocking calls spin the node until the answer is there. When the node is spun by another thread
(it was added to an executor that runs in another thread) they only wait. From inside a callback
use what ends in ``_async``, or :meth:`LfmClient.generate`: they return at once, and what they
return has a ``done()`` to look at, can be given a callback, and can be awaited. (Executors of
rclpy 7 to 9 poll a coroutine that awaits without pause; a callback leaves the core to the model.)
A blocking call in a callback is refused at once when no other thread of the executor is left to
receive the answer; with a MultiThreadedExecutor it waits.
"""
from lfm_ros.client.answers import AnswerError
from lfm_ros.client.answers import Choice
from lfm_ros.client.generation import Generation
from lfm_ros.client.lfm_client import LfmClient
from lfm_ros.client.toolbox import describe
from lfm_ros.client.toolbox import Toolbox

__all__ = ['AnswerError', 'Choice', 'describe', 'Generation', 'LfmClient', 'Toolbox']
