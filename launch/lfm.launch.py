# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start the node `lfm` with a model."""
from launch import LaunchContext
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode

BOOL = ['true', 'false']
# Arguments that leave a parameter as it is when they are empty.
PARAMETERS = {'model_path': 'model.path', 'autostart': 'autostart', 'use_sim_time': 'use_sim_time'}
TOPICS = {'image_topic': '~/image', 'compressed_image_topic': '~/image/compressed'}


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the node."""
    return LaunchDescription([
        DeclareLaunchArgument(
            'model_path', default_value='',
            description="Folder of an ONNX export, or 'demo'; empty: as in params_file, or demo"),
        DeclareLaunchArgument(
            'params_file', default_value='',
            description='YAML file with parameters of the node, as in the config folder of this '
                        'package; empty: the defaults'),
        DeclareLaunchArgument(
            'image_topic', default_value='',
            description='Topic of a camera with raw images (sensor_msgs/Image), as '
                        '/camera/image_raw; empty: ~/image'),
        DeclareLaunchArgument(
            'compressed_image_topic', default_value='',
            description='Topic of a camera with compressed images (sensor_msgs/CompressedImage); '
                        'empty: ~/image/compressed'),
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of the node'),
        DeclareLaunchArgument(
            'node_name', default_value='lfm', description='Name of the node'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='', choices=['', *BOOL],
            description='Use the time of /clock; empty: as in params_file, or false'),
        DeclareLaunchArgument(
            'log_level', default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='Minimum severity of log messages'),
        DeclareLaunchArgument(
            'autostart', default_value='', choices=['', *BOOL],
            description='Configure and activate at start; set to false under a lifecycle manager; '
                        'empty: as in params_file, or true'),
        DeclareLaunchArgument(
            'use_respawn', default_value='false', choices=BOOL,
            description='Restart the node if it dies'),
        OpaqueFunction(function=_start),
    ])


def _start(context: LaunchContext) -> list:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    given = {argument: value(argument) for argument in PARAMETERS}
    if not given['model_path'] and not value('params_file'):
        given['model_path'] = 'demo'
    overrides = {PARAMETERS[argument]: text == 'true' if text in BOOL else text
                 for argument, text in given.items() if text}
    files = [value('params_file')] if value('params_file') else []
    return [LifecycleNode(
        package='lfm_ros', executable='lfm_node', name=value('node_name'),
        namespace=value('namespace'), output='screen', emulate_tty=True,
        parameters=[*files, overrides] if overrides else files,
        remappings=[(topic, value(argument)) for argument, topic in TOPICS.items()
                    if value(argument)],
        arguments=['--ros-args', '--log-level', value('log_level')],
        respawn=value('use_respawn') == 'true', respawn_delay=2.0)]
