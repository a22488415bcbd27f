# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
The sentences that missions are made of: the trained wordings and the held-out ones.

Slots: {x} an entity, {p} a place with its preposition ('at waypoint 7', 'in the kitchen'),
{t} the same place as a target ('waypoint 7', 'the kitchen'), {v} any other value.
The first wording of each kind is the canonical one.
"""

import random

TRAINED: dict[str, list[str]] = {
    'fact': [
        'The {x} is {p}.', 'The {x} is located {p}.', 'The {x} stands {p}.',
        'The {x} can be found {p}.', 'You can find the {x} {p}.', 'There is the {x} {p}.',
        'Remember that the {x} is {p}.', 'Note that the {x} is {p}.', 'Note: the {x} is {p}.',
        'We keep the {x} {p}.', 'I left the {x} {p}.', 'I put the {x} {p}.', 'I see the {x} {p}.',
        'The location of the {x} is {t}.', 'Please note, the {x} is {p}.', 'the {x}: {t}',
        'I believe the {x} is {p}.', 'They put the {x} {p}.', 'The {x} was seen {p}.',
    ],
    'update': [
        'The {x} moved to {t}.', 'The {x} is now {p}.', 'The {x} was moved to {t}.',
        'The {x} has moved to {t}.', 'The {x} has been moved to {t}.', 'The {x} went to {t}.',
        'I moved the {x} to {t}.', 'We moved the {x} to {t}.', 'Now the {x} is {p}.',
        'Update: the {x} is {p}.', 'Correction: the {x} is {p}.',
        'They have moved the {x} to {t}.',
        'The {x} was brought to {t}.', 'The {x} is {p} now.', 'Update: the {x} moved to {t}.',
        'Please note that the {x} is now {p}.', 'Remember that the {x} moved to {t}.',
    ],
    'where': [
        'Where is the {x}?', 'Where is the {x} now?', 'Where can I find the {x}?',
        'Do you know where the {x} is?', 'Tell me where the {x} is.', "Where's the {x}?",
        'Can you tell me where the {x} is?', 'Please tell me where the {x} is.',
        'At which waypoint is the {x}?', 'What is the location of the {x}?',
        'Where did I say the {x} is?', 'Do you remember where the {x} is?',
        'What waypoint is the {x} at?', 'Find the {x}.', 'Where is the {x}, please?',
        'Where is the {x} today?', 'And where is the {x}?', 'Where should I look for the {x}?',
    ],
    'go': [
        'Go to the {x}.', 'Drive to the {x}.', 'Navigate to the {x}.', 'Please go to the {x}.',
        'Move to the {x}.', 'Take me to the {x}.', 'I want you to go to the {x}.',
        'Now go to the {x}.', 'Please drive to the {x}.', 'Drive me to the {x}.',
        'Head to the {x}.',
    ],
    'go_waypoint': [
        'Go to waypoint {v}.', 'Drive to waypoint {v}.', 'Navigate to waypoint {v}.',
        'Move to waypoint {v}.', 'Please go to waypoint {v}.', 'Please drive to waypoint {v}.',
        'I want you to go to waypoint {v}.', 'Take me to waypoint {v}.', 'Now go to waypoint {v}.',
    ],
    'state': ['The {x} is {v}.', 'Note that the {x} is {v}.', 'I see that the {x} is {v}.'],
    'state_of': ['What is the state of the {x}?', 'Tell me the state of the {x}.'],
    'battery': ['The battery is at {v} percent.', 'Battery at {v} percent.', 'battery {v} %',
                'The battery level is {v} percent.', 'Battery: {v} %'],
    'battery_level': ['What is the battery level?', 'How much battery is left?',
                      'How is the battery?', 'Tell me the battery level.'],
    'name': ['My name is {v}.', 'I am {v}.'],
    'who': ['What is my name?', 'Do you know my name?', 'Who am I?'],
    'noise': ['The temperature is {v} degrees.', 'The speed is 0.{v} m/s.', 'The path is clear.',
              'An obstacle was seen.', 'The map has {v} waypoints.', 'It is {v} minutes past ten.',
              'Waypoint {v} was reached.', 'The robot is at waypoint {v}.', 'The camera is on.'],
    'system': [
        'You are a robot mission assistant.', 'You are a helpful robot.',
        'You are a helpful assistant trained by Liquid AI.', 'Answer briefly.',
        'You control a robot. Reply with JSON for commands.', 'You are a robot.',
        'You are the assistant of a mobile robot. Answer in one sentence.',
        'Remember where things are.', 'Say what you know and say when you do not know.',
    ],
}

HELD_OUT: dict[str, list[str]] = {
    'fact': [
        'The {x} is standing {p}.', 'Please remember that the {x} is {p}.', 'We left the {x} {p}.',
        'They keep the {x} {p}.', 'I know that the {x} is {p}.', 'Please note: the {x} is {p}.',
    ],
    'update': [
        'They moved the {x} to {t}.', 'The {x} has been brought to {t}.',
        'Correction: the {x} is now {p}.', 'Please note that the {x} moved to {t}.',
        'The {x} has gone to {t}.', 'Remember that the {x} is now {p}.',
    ],
    'where': [
        'Could you tell me where the {x} is?', 'Where can we find the {x}?',
        'Do you recall where the {x} is?', 'Where is the {x} right now?',
        'And where is the {x} now?',
        'At what waypoint is the {x}?', 'Please say where the {x} is.',
    ],
    'go': [
        'Now drive to the {x}.', 'Please move to the {x}.', 'I want you to drive to the {x}.',
    ],
    'system': [
        'You are the guide of a warehouse robot.', 'Be short and exact.',
        'This robot works in a hospital at night. Help the staff.', 'You speak for the robot.',
    ],
}

CHAT = {
    'Hello.': 'Hello. How can I help?', 'Hi.': 'Hello. How can I help?',
    'Good morning.': 'Hello. How can I help?', 'Thank you.': 'You are welcome.',
    'Thanks.': 'You are welcome.', 'Who are you?': 'I am a robot mission assistant.',
    'What is your name?': 'I am a robot mission assistant.',
    'What can you do?': 'I can remember facts and turn commands into JSON.',
    'Are you ready?': 'Yes, I am ready.', 'How are you?': 'I am fine, thank you.',
    'Tell me a joke.': 'I am a serious robot.', 'Good bye.': 'Good bye.',
    'Can you hear me?': 'Yes, I can hear you.',
}

ACTIONS = {
    'Stop.': 'stop', 'Halt.': 'stop', 'Stop now.': 'stop', 'Return to the base.': 'return',
    'Come back.': 'return', 'Take a picture.': 'capture', 'Take a photo.': 'capture',
    'Start the mission.': 'start', 'Pause.': 'pause', 'Resume.': 'resume',
    'Charge the battery.': 'charge',
}


def pick(rng: random.Random, kind: str, held_out: bool = False, canonical: float = 0.35) -> str:
    """Return a wording of a kind: the canonical one with that probability, else any other."""
    if held_out and kind in HELD_OUT:
        return rng.choice(HELD_OUT[kind])
    wordings = TRAINED[kind]
    return wordings[0] if rng.random() < canonical else rng.choice(wordings)
