# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much longer the rules of a tokenizer may make a text."""
from __future__ import annotations

import json
from typing import Any

import tokenizers

# Tokenizers in use replace a space by a character of three bytes, or put one in front.
MAX_GROWTH = 64


def growth(inner: tokenizers.Tokenizer) -> int:
    """
    Return how many times longer a text may become by rules that replace text.

    Each rule multiplies it: eight that write a hundred letters for one would fill any memory.

    :param inner: a tokenizer of the library ``tokenizers``.
    """
    # Each part gives its settings for pickle, which is far less than the whole tokenizer.
    return max(_growth(json.loads(part.__getstate__())) if part else 1
               for part in (inner.normalizer, inner.decoder))


def _growth(rule: Any) -> int:
    """Return the product over a rule and those inside of it; the library allows 127 levels."""
    if not isinstance(rule, dict):
        return 1
    found = 1
    for inner in [*_rules(rule.get('normalizers')), *_rules(rule.get('decoders'))]:
        found = min(found * _growth(inner), MAX_GROWTH + 1)
    content, pattern = str(rule.get('content') or ''), rule.get('pattern')
    replaced = str(pattern.get('String') or '') if isinstance(pattern, dict) else 'x'
    # What replaces nothing, as some regular expressions do, stands between all characters.
    times = -(-len(content) // len(replaced)) if replaced else len(content) + 1
    return min(found * max(1, times, 1 + len(str(rule.get('prepend') or ''))), MAX_GROWTH + 1)


def _rules(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []
