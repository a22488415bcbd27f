# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The words that missions are made of, and the rules for what is held out of training."""

import random
import zlib

ADJECTIVES = (
    'red blue green yellow white black orange purple brown grey pink silver charging loading main '
    'spare north south east west left right upper lower front back old new big small heavy light '
    'metal wooden plastic glass steel inner outer central first second third fourth last broken '
    'repair safety fire cold hot storage packing sorting test guest staff night visitor emergency '
    'electric manual mobile fixed round square long short water tool paint welding cleaning '
    'shipping parking medical kitchen office garden empty full public private tall narrow').split()

NOUNS = (
    'dock station shelf toolbox printer pallet crate forklift conveyor elevator door gate ladder '
    'cart trolley bin box barrel tank pump valve sensor camera server desk table chair sofa bed '
    'fridge oven sink plant tree statue fountain bench locker cabinet drawer rack scanner drill '
    'saw hammer wrench bucket mop broom hose lamp mirror window stairs ramp exit entrance kiosk '
    'machine package parcel tray charger antenna generator compressor drone scooter bike truck '
    'trailer container bay zone area corner marker beacon tower bridge tunnel pool stage booth '
    'cup bottle ball book key phone apple spoon plate screwdriver bag hat pen cable glove fence '
    'wall pillar column engine motor wheel tire battery-pack heater cooler fan radio screen '
    'keyboard laptop monitor speaker clock phone-box mailbox basket bowl pot pan kettle stove '
    'freezer washer dryer vacuum bath shower toilet towel curtain carpet pillow blanket wagon '
    'crane lift platform switch panel meter pipe boiler furnace lathe press cutter welder anvil '
    'workbench vise rope chain hook net tarp tent flag sign post cone barrier helmet vest boot '
    'extinguisher alarm detector first-aid-kit stretcher wheelchair defibrillator medicine '
    'bandage dog cat box-cutter sample specimen microscope centrifuge beaker flask '
    'pipette').split()

ROOMS = (
    'kitchen lobby garage office lab warehouse workshop hallway basement attic bathroom bedroom '
    'library cafeteria courtyard yard hangar greenhouse archive classroom clinic pharmacy laundry '
    'studio gym cellar balcony pantry lounge reception').split()

STATES = (
    'open closed locked broken empty full clean dirty free busy on off ready damaged '
    'blocked').split()

OBJECTS = 'cup bottle ball book key phone apple spoon plate screwdriver bag hat pen cable'.split()
COLOURS = 'red blue green yellow white black orange purple brown grey pink'.split()
SHAPES = 'circle square triangle star cross rectangle arrow line dot ring heart'.split()
NUMBERS = 'zero one two three four five six seven eight nine ten eleven twelve'.split()
VISION = (
    'there is are a an the circle circles square squares triangle triangles star stars cross '
    'large small medium on left right top bottom middle above below beside I see an image '
    'picture What do you How many shapes colour colours sign signs stop yield warning danger exit '
    'arrow turn speed limit number no none it and in of background').split()

NAMES = (
    'Ana Ben Carla David Emma Felix Grace Hugo Ines Jack Kenji Lena Maria Noah Olga Paul Rosa Sam '
    'Tina Uma Victor Wendy Yuki Zoe Omar Lucas Sofia Peter Linda Marco').split()

_ONSETS = ('b c d f g h j k l m n p r s t v w y z br ch cl cr dr fl gr pl pr qu sh sk sl sn sp st '
           'str th tr').split()
_NUCLEI = 'a e i o u a e i o u ai ea oo ou ee'.split()
_CODAS = ['', '', '', ''] + 'n r s t l m x ck sh ng rt nd b d p'.split()


def _share(*parts: object) -> int:
    """Return a stable number from 0 to 999 for the parts."""
    return zlib.crc32('|'.join(map(str, parts)).encode()) % 1000


def is_held_out_entity(entity: str) -> bool:
    """Tell whether an entity is never trained (one in twenty)."""
    return _share('entity', entity) < 50


def is_held_out_pair(entity: str, value: object) -> bool:
    """Tell whether an entity is never trained together with this value (one in eight)."""
    return _share('pair', entity, value) < 125


def is_held_out_word(word: str) -> bool:
    """Tell whether a made-up word is never trained (one in five)."""
    return _share('word', word) < 200


def made_up_word(rng: random.Random, held_out: bool = False) -> str:
    """Return a pronounceable word of 1 to 3 syllables; one in five such words is held out."""
    while True:
        count = rng.choice((1, 2, 2, 2, 3))
        word = ''.join(rng.choice(_ONSETS) + rng.choice(_NUCLEI) + rng.choice(_CODAS)
                       for _ in range(count))
        if len(word) > 2 and is_held_out_word(word) == held_out:
            return word.capitalize() if rng.random() < 0.2 else word


def similar_word(rng: random.Random, word: str) -> str:
    """Return another made-up word that begins or ends as this one; never a held-out one."""
    while True:
        other = made_up_word(rng).lower()
        cut = rng.randint(2, len(word) - 1)
        similar = word[:cut] + other[-rng.randint(1, 4):] if rng.random() < 0.5 else \
            other[:rng.randint(1, 4)] + word[-cut:]
        if similar != word and not is_held_out_word(similar.lower()):
            return similar
