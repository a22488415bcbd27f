# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
What tools can do: the names, descriptions and parameters that they may have, and the commands.

Every tuple of names, descriptions, commands and frames comes twice: trained, and held out.
Commands are clauses, which a frame makes a sentence of; their slots are roles of parameters.
Needs the Python standard library only.
"""

from keyword import iskeyword
import random
from typing import Any, NamedTuple
import zlib

from entities import EntityMaker
from words import ADJECTIVES, COLOURS, made_up_word, NOUNS, OBJECTS, STATES

FRAMES = ('{c}.', '{c}.', '{c}.', '{c}.', 'please {c}.', 'please {c}.', 'now {c}.', '{c}, please.',
          'can you {c}?', 'will you {c}?', 'I want you to {c}.', 'you should {c}.', 'robot, {c}.',
          'then {c}.', 'ok, {c}.', 'next, {c}.', 'you can {c} now.', 'I would like you to {c}.')
HELD_FRAMES = ('could you {c}?', 'could you please {c}?', 'your task is to {c}.', 'kindly {c}.',
               'the plan is to {c}.', 'go on and {c}.')
JOINTS, HELD_JOINTS = (' and ', ' and ', ', then ', ' and then '), (' and after that ', ', and ')
# Commands that no tool of the pool is for.
STRANGE = ('start the mission', 'resume', 'clean the floor', 'call the nurse', 'sing a song',
           'follow me', 'go upstairs', 'paint the wall', 'wash the window', 'make coffee',
           'show me the map', 'water the plant', 'close the window', 'read the sign',
           'find a doctor', 'patrol the hallway', 'count the boxes', 'write a letter')
HELD_STRANGE = ('unlock the door', 'send a message to the staff', 'wake the guest', 'fix the pump',
                'play some music', 'follow the cart', 'clean the table', 'water the tree')
REASONS = ('no path', 'not found', 'too far', 'too heavy', 'time is over', 'the way is blocked',
           'no power', 'out of reach', 'the battery is empty', 'the motor is hot', 'not ready')
BLOCKED = ('the way to waypoint {waypoint} is blocked', 'no path to waypoint {waypoint}',
           'waypoint {waypoint} is not on the map', 'waypoint {waypoint} is too far')
HELD_REASONS = ('the path is closed', 'the battery is not charged', 'no tool', 'too hot',
                'the camera is dirty')
SAYINGS = ('hello', 'good morning', 'I am ready', 'please wait', 'good bye', 'thank you',
           'please move', 'I am a robot', 'follow me', 'time to go', 'stand back')


class Role(NamedTuple):
    """
    What an argument is for: the names that its parameter may have, and its kind of values.

    :param limits: of numbers, or the texts of a choice or of a switch.
    """

    names: tuple[str, ...]
    kind: str
    limits: tuple[Any, ...] = ()


class Value(NamedTuple):
    """What an argument is: as a number or a text, as words of a command, and in a report."""

    value: Any
    words: str
    report: str


class Skill(NamedTuple):
    """A kind of tool; of its roles, the optional ones may be missing in a list of tools."""

    names: tuple[str, ...]
    held_names: tuple[str, ...]
    about: tuple[str, ...]
    held_about: tuple[str, ...]
    roles: tuple[str, ...]
    commands: tuple[str, ...]
    held_commands: tuple[str, ...]
    done: str
    optional: tuple[str, ...] = ()


ROLES = {
    'waypoint': Role(('waypoint', 'waypoint', 'goal', 'target', 'id'), 'integer', (1, 300)),
    'speed': Role(('speed', 'speed', 'velocity'), 'number', (0, 2)),
    'seconds': Role(('seconds', 'seconds', 'duration', 'time'), 'integer', (1, 99)),
    'degrees': Role(('degrees', 'degrees', 'angle'), 'integer', (1, 180)),
    'side': Role(('direction', 'side'), 'choice', ('left', 'right')),
    'way': Role(('direction', 'way'), 'choice', ('forward', 'back')),
    'meters': Role(('meters', 'meters', 'distance'), 'number', (0, 20)),
    'thing': Role(('object', 'object', 'item', 'thing', 'what'), 'text'),
    'words': Role(('text', 'text', 'message', 'words'), 'text'),
    'height': Role(('height', 'height', 'level'), 'integer', (0, 100)),
    'camera': Role(('camera', 'side'), 'choice', ('front', 'back')),
    'on': Role(('on', 'on', 'state'), 'switch', ('on', 'off')),
    'open': Role(('open', 'open', 'state'), 'switch', ('open', 'closed')),
    'number': Role(('number', 'value', 'id'), 'integer', (0, 300)),
}

SKILLS = {
    'navigate': Skill(
        ('navigate', 'navigate', 'go_to', 'drive_to', 'drive', 'move_to', 'go'),
        ('travel_to', 'go_to_waypoint', 'navigate_to'),
        ('Go to a waypoint.', 'Drive to a waypoint.', 'Drive the robot to a waypoint.',
         'Move to the waypoint with this number.', 'Take the robot to a numbered place.',
         'Find the way to a waypoint and drive there.'),
        ('Bring the robot to a waypoint.', 'Travel to a waypoint.'), ('waypoint',),
        ('go to waypoint {waypoint}{speed}', 'drive to waypoint {waypoint}{speed}',
         'navigate to waypoint {waypoint}{speed}', 'move to waypoint {waypoint}{speed}',
         'take me to waypoint {waypoint}{speed}', 'drive on to waypoint {waypoint}{speed}',
         'waypoint {waypoint} is your goal{speed}', 'return to waypoint {waypoint}{speed}',
         'find the way to waypoint {waypoint}{speed}'),
        ('head to waypoint {waypoint}{speed}', 'come to waypoint {waypoint}{speed}'),
        'I am at waypoint {waypoint}.', ('speed',)),
    'dock': Skill(
        ('dock', 'dock', 'park', 'go_to_dock', 'charge'), ('recharge', 'return_to_dock'),
        ('Drive to the dock.', 'Charge the battery.', 'Go back to the base and charge.',
         'Park the robot.', 'Go to the charging place.', 'Drive to the charging dock.',
         'Drive to the charger.', 'Drive home and charge.'),
        ('Return to the base.',), (),
        ('dock', 'park', 'charge the battery', 'return to the base', 'come back', 'go and charge',
         'drive to the dock', 'park at the base', 'get some power', 'go to the dock',
         'go back to the dock', 'return to the dock', 'go to the charger', 'drive home'),
        ('go back to the base', 'charge now'), 'I am docked.'),
    'picture': Skill(
        ('take_picture', 'take_picture', 'take_photo', 'capture', 'photo'),
        ('make_picture', 'camera_photo'),
        ('Take a picture.', 'Take a photo with the camera.', 'Capture an image.',
         'Use the camera.', 'See what is ahead of the robot.'),
        ('Make a picture of what is ahead.',), (),
        ('take a picture{camera}', 'take a photo{camera}', 'capture an image{camera}',
         'take an image{camera}', 'use the camera', 'capture what is ahead{camera}'),
        ('make a picture{camera}', 'make a photo{camera}'), 'I took a picture.', ('camera',)),
    'stop': Skill(
        ('stop', 'stop', 'halt', 'stop_robot'), ('emergency_stop', 'stop_moving'),
        ('Stop at once.', 'Stop the robot.', 'Stop all motion.', 'End what the robot does.'),
        ('Halt the motors.',), (),
        ('stop', 'halt', 'stop at once', 'stop the robot', 'stop now', 'stop all motors',
         'halt at once', 'end all motion'), ('stop here', 'do not move'),
        'I stopped.'),
    'wait': Skill(
        ('wait', 'wait', 'pause', 'sleep', 'wait_for'), ('hold', 'wait_time'),
        ('Wait some seconds.', 'Do nothing for a time.', 'Pause the robot.',
         'Let some time go by.'),
        ('Stay still for some seconds.',), ('seconds',),
        ('wait {seconds} seconds', 'wait for {seconds} seconds', 'pause for {seconds} seconds',
         'pause {seconds} seconds', 'do nothing for {seconds} seconds', 'sleep {seconds} seconds',
         'let {seconds} seconds go by'),
        ('stay here for {seconds} seconds',), 'I waited {seconds} seconds.'),
    'rotate': Skill(
        ('rotate', 'rotate', 'turn', 'spin'), ('turn_robot', 'rotate_base'),
        ('Turn on the spot.', 'Rotate the robot.', 'Turn left or right.',
         'Change where the robot looks.'),
        ('Turn the robot around.',), ('side', 'degrees'),
        ('turn {side} {degrees} degrees', 'rotate {side} {degrees} degrees',
         'turn {degrees} degrees to the {side}', 'spin {side} {degrees} degrees',
         'look {degrees} degrees to the {side}', 'turn the base {side} {degrees} degrees',
         'make a turn of {degrees} degrees to the {side}'),
        ('rotate {degrees} degrees to the {side}', 'turn to the {side} by {degrees} degrees'),
        'I turned {side} {degrees} degrees.'),
    'move': Skill(
        ('move', 'move', 'drive_straight', 'step'), ('shift', 'move_straight'),
        ('Move straight.', 'Drive a distance.', 'Move some meters.', 'Go forward or back.'),
        ('Roll some meters.',),
        ('way', 'meters'),
        ('move {way} {meters} meters', 'drive {way} {meters} meters', 'go {way} {meters} meters',
         'go {meters} meters {way}', 'drive {meters} meters {way}', 'step {way} {meters} meters',
         'move the base {way} by {meters} meters'),
        ('roll {way} {meters} meters', 'move {meters} meters {way}'),
        'I moved {way} {meters} meters.'),
    'pick': Skill(
        ('pick', 'pick', 'pick_up', 'take', 'grasp'), ('grab', 'pick_object'),
        ('Pick up an object.', 'Take a thing with the arm.', 'Take an object.',
         'Hold a thing in the hand.'),
        ('Grab an object.',), ('thing',),
        ('pick up the {thing}', 'take the {thing}', 'grasp the {thing}',
         'take the {thing} with your arm', 'pick the {thing}', 'I need the {thing}',
         'take hold of the {thing}'),
        ('grab the {thing}', 'get the {thing}'), 'I have the {thing}.'),
    'place': Skill(
        ('place', 'place', 'put_down', 'put', 'drop'), ('release', 'place_object'),
        ('Put down an object.', 'Place what the arm holds.', 'Put an object down.',
         'Let go of a thing.'),
        ('Release an object.',), ('thing',),
        ('put down the {thing}', 'place the {thing}', 'drop the {thing}',
         'put the {thing} down', 'let go of the {thing}', 'put the {thing} here',
         'place the {thing} here'),
        ('release the {thing}', 'set down the {thing}'), 'I put down the {thing}.'),
    'say': Skill(
        ('say', 'say', 'speak', 'tell'), ('announce', 'say_text'),
        ('Say something.', 'Speak a text.', 'Say a text with the speaker.',
         'Let people hear a text.'),
        ('Tell people a text.',), ('words',),
        ('say "{words}"', 'say {words}', 'say: {words}', 'speak "{words}"',
         'tell them "{words}"', 'tell people: {words}', 'speak the text "{words}"',
         'let them hear "{words}"'),
        ('announce "{words}"', 'say the words {words}'), 'I said it.'),
    'lift': Skill(
        ('lift', 'lift', 'set_lift', 'lift_to'), ('move_lift', 'elevate'),
        ('Move the lift.', 'Set the height of the lift.', 'Raise or lower the lift.',
         'Move the arm up or down.'),
        ('Bring the lift to a height.',), ('height',),
        ('raise the lift to {height} centimeters', 'move the lift to {height} centimeters',
         'set the lift to {height} centimeters', 'lower the lift to {height} centimeters',
         'lift to {height} centimeters', 'move to a height of {height} centimeters',
         'raise it to {height} centimeters', 'drive the lift to {height} centimeters'),
        ('bring the lift to {height} centimeters', 'put the lift at {height} centimeters'),
        'The lift is at {height} centimeters.'),
    'light': Skill(
        ('light', 'light', 'set_light', 'lamp', 'lights'), ('switch_light', 'use_lamp'),
        ('Turn the light on or off.', 'Switch the lamp.', 'Set the light.',
         'Make it light or dark.'),
        ('Control the light.',), ('on',),
        ('turn {on} the light', 'switch {on} the light', 'turn the light {on}',
         'turn {on} the lamp', 'switch the light {on}', 'set the light to {on}', 'light {on}'),
        ('put the light {on}', 'switch the lamp {on}'), 'The light is {on}.'),
    'gripper': Skill(
        ('gripper', 'gripper', 'set_gripper', 'hand'), ('move_gripper', 'use_hand'),
        ('Open or close the gripper.', 'Move the gripper.', 'Open or close the hand.',
         'Let the hand take hold or let go.'),
        ('Control the gripper.',), ('open',),
        ('{open} the gripper', '{open} the hand', '{open} the gripper of the arm',
         'set the gripper to {opened}', 'make the gripper {opened}'),
        ('{open} your gripper', '{open} your hand'),
        'The gripper is {opened}.'),
}
# In front of or behind a name, to have many of them; some of these are held out.
_BEFORE = ('robot_', 'base_', 'arm_', 'my_', 'do_')
_BEHIND = ('_robot', '_action', '_tool', '_now', '_2')


def is_held_out_name(name: str) -> bool:
    """Tell whether a name with something in front or behind is never trained (one in seven)."""
    return zlib.crc32(f'tool|{name}'.encode()) % 1000 < 143


def longer_name(rng: random.Random, skill: Skill, held_out: bool) -> str:
    """Return a trained name with something in front of it or behind."""
    while True:
        name = rng.choice(skill.names)
        name = rng.choice(_BEFORE) + name if rng.random() < 0.5 else name + rng.choice(_BEHIND)
        if is_held_out_name(name) == held_out and name not in skill.held_names:
            return name


def made_up_name(rng: random.Random, held_out: bool) -> str:
    """Return a made-up word that may name a tool or a parameter."""
    while True:
        name = made_up_word(rng, held_out).lower()
        if not iskeyword(name):
            return name


def made_up_skill(rng: random.Random, word: str) -> Skill:
    """Return a skill that only its name tells of."""
    role, slot = rng.choice((('thing', ' the {thing}'), ('thing', ' the {thing}'),
                             ('number', ' {number}'), ('', '')))
    return Skill((word,), (word,), ('',), ('',), (role,) if role else (), (word + slot,),
                 (word + slot,), 'Done.')


def draw_value(rng: random.Random, names: EntityMaker, role: str) -> Value:
    """Return a value for a role."""
    kind, limits = ROLES[role].kind, ROLES[role].limits
    if role == 'waypoint':
        value: Any = names.waypoint()
    elif kind == 'integer':
        value = rng.choice((rng.randint(*limits), 10 * rng.randint(1, limits[1] // 10)))
    elif role == 'speed':
        value = rng.choice((rng.randint(1, 9) / 10, 1 + rng.randint(1, 9) / 10, 1))
        return Value(value, f' at {value} m/s', str(value))
    elif kind == 'number':
        value = rng.choice((rng.randint(1, limits[1]), rng.randint(0, 9) + rng.randint(1, 9) / 10))
    elif role == 'camera':
        value = rng.choice(limits)
        return Value(value, f' with the {value} camera', value)
    elif kind == 'choice':
        value = rng.choice(limits)
    elif role == 'open':
        value = rng.choice(limits)
        return Value(value, 'open' if value == 'open' else 'close', value)
    elif kind == 'switch':
        value = rng.choice(limits)
    elif role == 'words':
        value = rng.choice(SAYINGS) if rng.random() < 0.6 else \
            f'the {rng.choice(NOUNS)} is {rng.choice(STATES)}'
    elif rng.random() < 0.7:
        value = rng.choice(OBJECTS)
        value = f'{rng.choice(COLOURS)} {value}' if rng.random() < 0.6 else value
    else:
        value = f'{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}'
    return Value(value, str(value), str(value))


def reason(rng: random.Random, held_out: bool) -> str:
    """Return why a tool could not do what it was called for."""
    if held_out:
        return rng.choice(HELD_REASONS)
    share = rng.random()
    if share < 0.3:
        return rng.choice(STATES)
    if share < 0.6:
        while (text := f'the {rng.choice(NOUNS)} is {rng.choice(STATES)}') in HELD_REASONS:
            pass
        return text
    if share < 0.75:
        return rng.choice(BLOCKED).format(waypoint=rng.randint(1, 300))
    return rng.choice(REASONS)
