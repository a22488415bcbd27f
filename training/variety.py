# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Vary the sentences of training, so that a model learns what carries the meaning and not a list.

Two ways: a small grammar with many more verbs, openings and questions than `wordings.py`, and
words replaced, dropped or put in at random in any sentence, but for the words that carry its
meaning: the entity, the place, and what makes it a change, a question or a wish. Missions of the
held-out splits never come here. What is held out is never made here, as a whole or as a part of a
longer sentence, nor is any word that only held-out sentences have.
"""

import random
import re
from typing import Callable

from wordings import compose, HELD_OUT, TRAINED, words_of_parts
from words import ADJECTIVES, made_up_word

KINDS = ('fact', 'update', 'where', 'go')
# The share of sentences that the grammar makes, and of sentences with words changed at random.
GRAMMAR_SHARE, LIST_SHARE, CHANGED_SHARE = 0.45, 0.3, 0.35

# Words that stay: without them a sentence of the kind would mean something else.
_MARKS = {
    'fact': frozenset(),
    'update': frozenset(('to', 'now', 'new', 'update', 'correction', 'change', 'instead',
                         'longer', 'not')),
    'where': frozenset(('where', "where's", 'which', 'what', 'waypoint', 'location', 'place',
                        'position', 'find', 'looking', 'seen')),
    'go': frozenset(('to',)),
}

_SAYS = ('believe', 'think', 'guess', 'suppose', 'hear', 'see', 'noticed', 'found out', 'read',
         'understand', 'am told', 'can see', 'can tell you', 'told you', 'want you to note',
         'hope', 'bet', 'learned', 'saw', 'remember', 'am certain', 'have checked')
_ORDERS = ('note', 'remember', 'notice', 'store', 'write down', 'keep in mind', 'learn', 'mark',
           'record', 'save', 'be aware', 'understand', 'take note', 'do not forget',
           'never forget', 'make a note', 'memorize', 'mind', 'see')
_OPENINGS = ('info: ', 'fact: ', 'listen: ', 'attention: ', 'ok, ', 'well, ', 'hello, ', 'yes, ',
             'for your information, ', 'just so you know, ', 'in case you need it, ',
             'this morning ', 'at the moment ', 'as far as I can see, ', 'usually ', 'still, ',
             'one more thing: ', 'also, ', 'here ', 'in fact, ', 'first, ', 'of course ',
             'good news: ', 'from the log: ', 'as a reminder, ', 'according to the map, ',
             'for the night, ', 'it is a fact that ', 'the plan says ', 'my notes say ')
_NEWS = ('update: ', 'correction: ', 'change: ', 'new: ', 'a change: ', 'small change: ',
         'an update: ', 'change of plan: ', 'new plan: ', 'important update: ')
_PEOPLE = ('I', 'we', 'they', 'he', 'she', 'you', 'somebody', 'someone', 'the team', 'a guest',
           'the staff', 'the nurse', 'the boss', 'the driver', 'people', 'my friend', 'a worker',
           'the engineer', 'the night shift', 'another robot', 'everybody', 'the operator')
_OFTEN = ('', '', '', '', 'still', 'always', 'just', 'usually', 'already', 'also', 'probably',
          'certainly', 'normally', 'really', 'often', 'simply', 'currently')
_BE = ('is', 'is', 'was', 'has been', 'had been', 'will be', 'must be', 'should be', 'can be',
       'might be', 'gets', 'got', 'is being', 'seems to be', 'appears')
_DONE = ('put', 'left', 'placed', 'parked', 'stored', 'kept', 'seen', 'found', 'dropped', 'set',
         'hidden', 'installed', 'mounted', 'positioned', 'located', 'built', 'stationed', 'fixed',
         'waiting', 'resting', 'sitting', 'lying', 'hanging', 'staying', 'stuck', 'spotted',
         'reported', 'observed', 'deposited', 'unloaded', 'available', 'ready')
_STANDS = ('stands', 'sits', 'waits', 'lies', 'stays', 'remains', 'rests', 'hangs', 'lives',
           'belongs', 'works', 'stops', 'stood', 'stayed', 'lay', 'waited', 'ended up', 'hides')
_PUT = ('left', 'put', 'saw', 'placed', 'parked', 'found', 'stored', 'dropped', 'set', 'keep',
        'store', 'see', 'noticed', 'spotted', 'have', 'installed', 'hid', 'mounted', 'left behind',
        'unloaded', 'use', 'need', 'fixed', 'need to keep', 'forgot', 'met', 'park')
_MOVED = ('moved', 'taken', 'brought', 'carried', 'driven', 'sent', 'pushed', 'pulled', 'shifted',
          'transferred', 'relocated', 'returned', 'dragged', 'rolled', 'lifted', 'delivered',
          'transported', 'reassigned', 'flown', 'walked', 'shipped', 'guided', 'led')
_MOVES = ('moved', 'went', 'came', 'drove', 'changed', 'rolled', 'walked', 'travelled', 'shifted',
          'returned', 'jumped', 'ran', 'switched', 'relocated', 'flew', 'headed', 'turned')
_WAS = ('was', 'has been', 'got', 'had been', 'is being', 'was just', 'was quickly', 'is')
_AGAIN = ('', '', '', '', ' back', ' over', ' again', ' from there', ' straight', ' away',
          ' yesterday', ' this morning', ' today', ' by hand', ' by mistake')
_LATER = ('', '', '', '', '', ' today', ' again', ', I think', ', as always', ' this morning',
          ', believe me', ' every day', ', as you can see', ', thank you', ', please', ' tonight',
          ' for a while', ', by the way', ', ok?')

_ASK = ('tell me', 'show me', 'remind me', 'inform me', 'let me know', 'explain to me',
        'report to me', 'answer me', 'write down', 'help me find out', 'check', 'find out',
        'look up', 'tell us', 'give me a hint', 'describe', 'guess', 'point out', 'name')
_MODAL = ('can you ', 'will you ', 'would you ', 'please ', 'would you please ', 'can you please ',
          'I want you to ', 'I need you to ', 'you should ', 'now ', 'try to ', 'quickly ', '', '')
_OPEN = ('do you know', 'do you remember', 'did you notice', 'did you see', 'did you hear',
         'do they know', 'does anybody know', 'are you sure', 'have you seen', 'any idea',
         'I wonder', 'I want to know', 'I need to know', 'I would like to know', 'I forgot',
         'I must know', 'who knows', 'is it known', 'may I ask', 'what do you think,',
         'I am not sure', 'the question is', 'my question:', 'I ask you', 'we need to know')
_CLAUSE = ('where the {x} is', 'where the {x} stands', 'where the {x} was put',
           'where the {x} might be', 'where the {x} has been left', 'where the {x} is located',
           'where the {x} is kept', 'where the {x} can be found', 'where to find the {x}',
           'where to look for the {x}', 'where to go for the {x}', 'at which waypoint the {x} is',
           'in which place the {x} is', 'which waypoint the {x} is at', 'where the {x} stays',
           'which place the {x} is in', 'the location of the {x}', 'the place of the {x}',
           'the position of the {x}', 'the waypoint of the {x}', 'where the {x} went',
           'what place the {x} has', 'where exactly the {x} is')
_WHERE = ('where is', 'where was', 'where stands', 'where, please, is', 'where exactly is',
          'where else is', 'in which place is', 'at which place is', 'at which waypoint is',
          'which waypoint has', 'which place has', 'what is the location of',
          'what is the place of', 'what is the position of', 'what is the waypoint of',
          "what's the location of", 'what was the location of', 'where on the map is',
          'where in the building is', 'in which room or at which waypoint is')
_DO = ('can', 'do', 'did', 'should', 'must', 'would', 'will', 'may', 'might')
_FIND = ('find', 'see', 'look for', 'put', 'leave', 'keep', 'meet', 'get', 'store', 'pick up',
         'search for', 'reach', 'expect', 'place', 'park', 'fetch', 'locate')
_SOON = ('', '', '', ' now', ' today', ', please', ' at the moment', ' at this time', ' by now',
         ' again', ' exactly', ' these days', ' then', ' this morning', ', my friend', ' tonight',
         ' on the map', ' in the building', ' anyway', ', do you know', ' at present')
_SO = ('', '', '', '', 'and ', 'so ', 'then ', 'again, ', 'please, ', 'tell me, ', 'ok, ',
       'well, ', 'hello, ', 'listen, ', 'one question: ', 'but ', 'sorry, ', 'question: ',
       'quick question: ', 'next, ', 'robot, ', 'thanks, ', 'after all, ', 'once more: ', 'good, ',
       'hey, ', 'oh, ')
_OTHER_QUESTIONS = (
    'the {x}, where is it?', 'I am looking for the {x}.', 'I cannot find the {x}.',
    'I need the location of the {x}.', 'the location of the {x}, please.',
    'location of the {x}?', 'the place of the {x}?', 'we are looking for the {x}.',
    'has anybody seen the {x}?', 'who has seen the {x}?', 'I want to find the {x}.',
    'help me find the {x}.', 'the {x} is where?', 'the {x}: where?', 'position of the {x}?',
    'give me the location of the {x}.', 'give me the place of the {x}.', 'find the {x} for me.',
    'how do I find the {x}?', 'how can we find the {x}?', 'the {x} is at which waypoint?')
_WISH = ('', '', 'now ', 'please ', 'I want you to ', 'I need you to ', 'you should ', 'then ',
         'can you ', 'will you ', 'would you ', 'I would like you to ', 'you must ', 'let us ',
         'first ', 'next ', 'after that ', 'ok, ', 'we have to ', 'quickly ', 'it is time to ',
         'try to ', 'you can ', 'robot, ', 'slowly ', 'I ask you to ', 'do ', 'so ', 'and ')
_GO = ('go', 'drive', 'move', 'head', 'navigate', 'travel', 'roll', 'proceed', 'run', 'walk',
       'hurry', 'advance', 'make your way', 'find your way', 'take me', 'drive me', 'bring me',
       'lead me', 'guide me', 'take us', 'bring us', 'go back', 'drive back', 'continue',
       'carry on', 'go straight', 'drive over', 'come', 'fly', 'get', 'move on', 'set off')


def _bare(text: str) -> str:
    return re.sub(r'[.?!:,]', '', text).lower().strip()


_HELD_SENTENCES = {kind: [_bare(text) for text in HELD_OUT[kind]] for kind in KINDS}
_HELD_WORDS = {word for kind in KINDS for text in HELD_OUT[kind] for word in _bare(text).split()}
_HELD_WORDS -= {word for texts in TRAINED.values() for text in texts
                for word in _bare(text).split()} | words_of_parts()


def is_held_out(kind: str, text: str) -> bool:
    """Tell whether a sentence holds a held-out one, or a word that only those have."""
    bare = _bare(text)
    return any(sentence in bare for sentence in _HELD_SENTENCES[kind]) or \
        not _HELD_WORDS.isdisjoint(bare.split())


def pick_widely(rng: random.Random, kind: str, canonical: float,
                filler: Callable[[], str]) -> str:
    """Return a wording for training: the canonical one with that probability, else any other."""
    if rng.random() < canonical:
        return TRAINED[kind][0]
    if kind not in KINDS:
        return rng.choice(TRAINED[kind])
    while True:
        share = rng.random()
        text = _sentence(rng, kind) if share < GRAMMAR_SHARE else \
            rng.choice(TRAINED[kind]) if share < GRAMMAR_SHARE + LIST_SHARE else \
            compose(rng, kind)
        if rng.random() < CHANGED_SHARE:
            text = change_words(rng, kind, text, filler)
        if not is_held_out(kind, text):
            return text


def change_words(rng: random.Random, kind: str, text: str, filler: Callable[[], str]) -> str:
    """Replace or drop one to three words that do not carry the meaning, or put some in."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        words = text.split(' ')
        free = [i for i, word in enumerate(words) if '{' not in word and
                _bare(word) not in _MARKS[kind] and not _leads(words, i)]
        if not free:
            break
        place, share = rng.choice(free), rng.random()
        after = place > 0 and '{x}' in words[place - 1]
        # Right behind an entity a word of the vocabulary might be a part of its name, but for an
        # adjective: hardly any name ends with one.
        foreign = after and rng.random() < 0.4
        word = rng.choice(ADJECTIVES) if foreign else \
            _inflected(rng) if after or rng.random() < 0.4 else filler()
        if share < 0.75:
            end = words[place][-1] if words[place][-1] in ',:.?' else ''
            words[place] = word + end
        elif share < 0.85 and len(words) > 4:
            del words[place]
        elif foreign or not after:
            words.insert(place, word)
        text = ' '.join(words)
    # The slots stay as they are.
    return text if text.startswith('{') else text[0].upper() + text[1:]


def _leads(words: list[str], place: int) -> bool:
    """Tell whether a word is the article of the entity."""
    return words[place].lower() == 'the' and place + 1 < len(words) and '{x}' in words[place + 1]


def _inflected(rng: random.Random) -> str:
    return made_up_word(rng).lower() + rng.choice(('', '', '', 's', 'ed', 'ing'))


def _sentence(rng: random.Random, kind: str) -> str:
    text = {'fact': _fact, 'update': _update, 'where': _where, 'go': _go}[kind](rng)
    text = ' '.join(text.split())
    return text if text.startswith('{') else text[0].upper() + text[1:]


def _opening(rng: random.Random) -> str:
    choose, share = rng.choice, rng.random()
    if share < 0.3:
        return ''
    if share < 0.55:
        return choose(_OPENINGS)
    that = choose((' that ', ' that ', ' ', ': '))
    if share < 0.75:
        return f'{choose(_PEOPLE[:2])} {choose(_SAYS)}{that}'
    return f"{choose(('', '', 'please ', 'now ', 'you should '))}{choose(_ORDERS)}{that}"


def _state(rng: random.Random) -> str:
    choose = rng.choice
    if rng.random() < 0.3:
        return f'{choose(_OFTEN)} {choose(_STANDS)}'
    return f"{choose(_BE)} {choose(_OFTEN)} {choose(_DONE) if rng.random() < 0.7 else ''}"


def _fact(rng: random.Random) -> str:
    choose, share = rng.choice, rng.random()
    opening = _opening(rng).replace('now ', '')
    if share < 0.5:
        clause = f'the {{x}} {_state(rng)} {{p}}'
    elif share < 0.82:
        clause = f'{choose(_PEOPLE)} {choose(_OFTEN)} {choose(_PUT)} the {{x}} {{p}}'
    else:
        clause = choose((
            '{p} is the {x}', '{p} you find the {x}', '{p} there is the {x}', '{p}: the {x}',
            'there is a place for the {x} {p}', 'the place of the {x} is {t}',
            'the home of the {x} is {t}', 'the {x} has its place {p}', 'the {x} = {t}',
            'the {x}, {p}', 'the position of the {x} is {t}', 'it is {p} that the {x} is',
            'look for the {x} {p}', 'if you need the {x}, it is {p}',
            'the {x} and its place: {t}', 'the waypoint or room of the {x} is {t}'))
    later = '' if clause.endswith('the {x}') else choose(_LATER).rstrip('?')
    return f'{opening}{clause}{later}.'


def _update(rng: random.Random) -> str:
    choose, share = rng.choice, rng.random()
    opening = _opening(rng) if rng.random() < 0.75 else choose(_NEWS)
    if share < 0.3:
        clause = f'the {{x}} {choose(_WAS)} {choose(_MOVED)}{choose(_AGAIN)} to {{t}}'
    elif share < 0.5:
        clause = f"the {{x}} {choose(('', '', 'has', 'just'))} {choose(_MOVES)}{choose(_AGAIN)} " \
            'to {t}'
    elif share < 0.72:
        have = choose(('', '', 'have', 'had', 'just'))
        clause = f'{choose(_PEOPLE)} {have} {choose(_MOVED)} the {{x}}{choose(_AGAIN)} to {{t}}'
    elif share < 0.9:
        clause = choose((f'the {{x}} {_state(rng)} now {{p}}',
                         f'the {{x}} {_state(rng)} {{p}} now',
                         f'now the {{x}} {_state(rng)} {{p}}',
                         f'from now on the {{x}} {_state(rng)} {{p}}',
                         f'the {{x}} {_state(rng)} {{p}} from now on',
                         f'{choose(_PEOPLE)} now {choose(_PUT)} the {{x}} {{p}}'))
    elif share < 0.95:
        clause = choose(('the new place of the {x} is {t}', 'the {x} has a new place: {t}',
                         'the {x} is {p} instead', 'the new location of the {x} is {t}',
                         'the {x} is no longer there, it is {p}', 'the {x} is not there but {p}'))
    else:
        opening, clause = choose(_NEWS), f'the {{x}} {_state(rng)} {{p}}'
    return f"{opening}{clause}{choose(_LATER).rstrip('?')}."


def _where(rng: random.Random) -> str:
    choose, share = rng.choice, rng.random()
    if share < 0.25:
        text = f"{choose(_MODAL)}{choose(_ASK)} {choose(_CLAUSE)}{choose(_SOON)}{choose('.?')}"
    elif share < 0.4:
        text = f"{choose(_OPEN)} {choose(_CLAUSE)}{choose(_SOON)}{choose('.?')}"
    elif share < 0.6:
        text = f'{choose(_WHERE)} the {{x}}{choose(_SOON)}?'
    elif share < 0.75:
        text = f'where {choose(_DO)} {choose(_PEOPLE)} {choose(_FIND)} the {{x}}{choose(_SOON)}?'
    elif share < 0.85:
        first = choose(('is', 'was', 'has', 'might', 'does'))
        second = choose(('', 'be', 'been', 'stand', 'stay', 'wait', 'hide'))
        text = f'where {first} the {{x}} {second} {choose(_DONE)}{choose(_SOON)}?'
    else:
        text = choose(_OTHER_QUESTIONS)
    return choose(_SO) + text


def _go(rng: random.Random) -> str:
    return f'{rng.choice(_WISH)}{rng.choice(_GO)} to the {{x}}.'
