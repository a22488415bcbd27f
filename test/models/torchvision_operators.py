# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Declare the operators of torchvision, so that its Python part opens beside any build of torch.

The wheel of torchvision holds C++ operators for one build of torch only and fails to open beside
another one, as that for CPUs. Pictures are resized by torch itself, and none of these operators is
ever called. Import this module before transformers.
"""

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
import re

import torch

_SPEC = find_spec('torchvision')
if _SPEC is None or _SPEC.origin is None:
    raise ImportError('torchvision is missing: see requirements.txt')
_MISSING = re.findall(
    r'register_fake\("torchvision::(\w+)"\)',
    (Path(_SPEC.origin).parent / '_meta_registrations.py').read_text())

for _library in Path(_SPEC.origin).parent.glob('_C*.so'):
    with suppress(OSError):  # it was built for another torch
        torch.ops.load_library(str(_library))
# Operators vanish when their library is collected, so it is kept here.
LIBRARY = torch.library.Library('torchvision', 'FRAGMENT')
for _name in sorted(set(_MISSING)):
    if not hasattr(torch.ops.torchvision, _name):
        LIBRARY.define(f'{_name}(Tensor a) -> Tensor')
