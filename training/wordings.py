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


# Trained sentences are also composed, so that the model learns what carries the meaning and not a
# list of sentences: an opening, then a clause. What is held out is never composed.
_KNOWN = ('', '', '', 'note that ', 'remember that ', 'I believe ', 'I think ', 'I am sure ',
          'be aware that ', 'you should know that ', 'keep in mind that ', 'note: ',
          'please note, ', 'remember: ', 'know that ', 'it seems ', 'today ', 'they say ',
          'for later: ', 'I heard that ', 'it is true that ', 'by the way, ')
_CHANGED = _KNOWN + ('update: ', 'correction: ', 'change: ', 'news: ', 'in the meantime ')
_STANDS = ('is', 'is', 'stands', 'sits', 'waits', 'is located', 'is placed', 'is parked',
           'is kept', 'was left', 'was seen', 'was found', 'is stored', 'lies', 'stays',
           'can be seen', 'is waiting', 'is sitting', 'remains', 'is to be found')
_WHO = ('I', 'we', 'they', 'he', 'she', 'you', 'somebody', 'the team', 'a guest', 'the staff')
_LEFT = ('left', 'put', 'saw', 'placed', 'parked', 'found', 'stored', 'dropped', 'set')
_MOVED = ('moved', 'went', 'has moved', 'was moved', 'has been moved', 'was brought', 'was taken',
          'was driven', 'was carried', 'has been taken', 'drove', 'has been sent', 'was sent',
          'changed', 'came')
_BROUGHT = ('moved', 'brought', 'took', 'carried', 'sent', 'drove', 'pushed', 'have moved')
_ASK = ('tell me', 'show me', 'do you know', 'do you remember', 'can you tell me',
        'would you tell me', 'will you tell me', 'I want to know', 'I need to know',
        'let me know', 'please tell me', 'please show me', 'can you say', 'may I ask')
_WHERE = ('where the {x} is', 'where the {x} stands', 'where I can find the {x}',
          'at which waypoint the {x} is', 'where to find the {x}', 'where the {x} is now')
_IS = ('where is', 'where is', 'where can I find', 'where can you see', 'where do I find',
       'where did I put', 'where did they leave', 'at which waypoint is', 'in which place is',
       'at which place can I find', 'where should I look for', 'where would I find')
_SOON = ('', '', ' now', ' today', ', please', ' at the moment', ' at this time', ' by now')
_SO = ('', '', '', 'and ', 'so ', 'then ', 'again, ', 'please, ', 'tell me, ')
_WISH = ('', '', 'now ', 'please ', 'I want you to ', 'I need you to ', 'you should ', 'then ')
_GO = ('go', 'drive', 'move', 'head', 'navigate', 'travel', 'take me', 'drive me', 'bring me',
       'lead me', 'go back', 'continue')


def _compose(rng: random.Random, kind: str) -> str:
    """Return a sentence of a kind that is in no list."""
    choose = rng.choice
    if kind == 'fact':
        clause = f'the {{x}} {choose(_STANDS)} {{p}}' if rng.random() < 0.65 else \
            f'{choose(_WHO)} {choose(_LEFT)} the {{x}} {{p}}'
        text = f'{choose(_KNOWN)}{clause}.'
    elif kind == 'update':
        clause = choose((f'the {{x}} {choose(_MOVED)} to {{t}}',
                         f'the {{x}} {choose(_MOVED)} to {{t}}',
                         f'{choose(_WHO)} {choose(_BROUGHT)} the {{x}} to {{t}}',
                         f'the {{x}} now {choose(_STANDS)} {{p}}',
                         f'the {{x}} {choose(_STANDS)} {{p}} now', 'the {x} is now {p}',
                         f'now the {{x}} {choose(_STANDS)} {{p}}'))
        text = f'{choose(_CHANGED)}{clause}.'
    elif kind == 'where':
        if rng.random() < 0.5:
            text = f"{choose(_SO)}{choose(_ASK)} {choose(_WHERE)}{choose('.?')}"
        else:
            text = f'{choose(_SO)}{choose(_IS)} the {{x}}{choose(_SOON)}?'
    else:
        text = f'{choose(_WISH)}{choose(_GO)} to the {{x}}.'
    return text[0].upper() + text[1:]


def words_of_parts() -> set[str]:
    """Return the words of the openings and clauses that sentences are composed of."""
    parts = (_KNOWN, _CHANGED, _STANDS, _WHO, _LEFT, _MOVED, _BROUGHT, _ASK, _WHERE, _IS, _SOON,
             _SO, _WISH, _GO)
    return {word.strip('.,:?').lower() for part in parts for text in part for word in text.split()}


def compose(rng: random.Random, kind: str) -> str:
    """Return a sentence of a kind, composed at random; never a held-out one."""
    while True:
        text = _compose(rng, kind)
        if text not in HELD_OUT[kind]:
            return text


def pick(rng: random.Random, kind: str, held_out: bool = False, canonical: float = 0.35) -> str:
    """Return a wording of a kind: the canonical one with that probability, else any other."""
    if held_out and kind in HELD_OUT:
        return rng.choice(HELD_OUT[kind])
    wordings = TRAINED[kind]
    if rng.random() < canonical:
        return wordings[0]
    if kind in ('fact', 'update', 'where', 'go') and rng.random() < 0.6:
        return compose(rng, kind)
    return rng.choice(wordings)


def disturb(rng: random.Random, wording: str, filler: str) -> str:
    """Return a wording with a word that means nothing, away from the entity."""
    words = wording.split(' ')
    places = [i for i in range(1, len(words)) if '{x}' not in words[i] + words[i - 1] and
              words[i - 1] not in ('the', 'The', '{p}', '{t}')]
    if not places:
        return wording
    place = rng.choice(places)
    return ' '.join([*words[:place], filler, *words[place:]])
