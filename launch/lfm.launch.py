# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start the node `lfm` with a model."""
import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode

BOOL = ['true', 'false']


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the node."""
    params_file = os.path.join(get_package_share_directory('lfm_ros'), 'config', 'demo.yaml')
    return LaunchDescription([
        DeclareLaunchArgument(
            'model_path', default_value='',
            description="Folder of an ONNX export, or 'demo'; empty: that of the parameter file"),
        DeclareLaunchArgument(
            'params_file', default_value=params_file,
            description='YAML file with parameters of the node; config/ has one per model size'),
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of the node'),
        DeclareLaunchArgument(
            'node_name', default_value='lfm', description='Name of the node'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', choices=BOOL,
            description='Use the time of /clock'),
        DeclareLaunchArgument(
            'log_level', default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='Minimum severity of log messages'),
        DeclareLaunchArgument(
            'autostart', default_value='true', choices=BOOL,
            description='Configure and activate at start; set to false under a lifecycle manager'),
        DeclareLaunchArgument(
            'use_respawn', default_value='false', choices=BOOL,
            description='Restart the node if it dies'),
        OpaqueFunction(function=_start),
    ])


def _start(context: LaunchContext) -> list:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    overrides: dict = {'use_sim_time': value('use_sim_time') == 'true',
                       'autostart': value('autostart') == 'true'}
    if value('model_path'):
        overrides['model.path'] = value('model_path')
    return [LifecycleNode(
        package='lfm_ros', executable='lfm_node', name=value('node_name'),
        namespace=value('namespace'), output='screen', emulate_tty=True,
        parameters=[value('params_file'), overrides],
        arguments=['--ros-args', '--log-level', value('log_level')],
        respawn=value('use_respawn') == 'true', respawn_delay=2.0)]
