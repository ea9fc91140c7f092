"""Answers as hashed words: what `wording` compares, of models whose texts whoever recorded them may not pass on.

Every word is replaced by a code that depends on the word alone, so cosines of words and pairs of words are what they
are of the texts. Nothing but `wording` can read a code: form, copies, traces and refusals are gone. Where one model of
a table is hashed all are, so that codes meet codes. A code is no secret: who has a list of words can look it up, one by
one. It keeps answers from being read and passed on as texts, not from being guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache

from harness.channels.base import answer, words
from harness.channels.wording import MAX_WORDS, own_words
from harness.records import USABLE, Responses

_LETTERS = str.maketrans("0123456789abcdef", "bcdfghjklmnpqrst")  # no vowels: no code is a word, number or encoding


@lru_cache(maxsize=200_000)
def code(word: str) -> str:
    """The code of a word: twelve letters, the same on every machine.

    Examples
    --------
    >>> code("harbour") == code("harbour"), len(code("a")), code("a") == code("b")
    (True, 12, False)
    """
    found = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=6, person=b"harness-words")
    return found.hexdigest().translate(_LETTERS)


def coded(said: Sequence[str]) -> str:
    """Words as a text of codes."""
    return " ".join(map(code, said))


def hashed(responses: Responses, already: Collection[str] = ()) -> Responses:
    """A table whose prompts of `wording` hold codes, questions and answers, and serve that channel alone.

    Parameters
    ----------
    responses : Responses
        Nothing was looked for in it that an endpoint says everywhere: that is for `harness.channels.reading.read` to
        find among codes.
    already : names of models whose answers are codes as they stand

    Returns
    -------
    Responses
        Other prompts are as they were.
    """
    texts, reasoning = list(responses.text), list(responses.reasoning)
    prompts = list(responses.prompts)
    for p in responses.where("wording"):
        for m, name in enumerate(responses.models):
            for row in responses.rows(p, m):
                usable = responses.outcome[row] in USABLE and bool(responses.text[row].strip())
                if usable and name not in already:
                    texts[row] = coded(own_words(responses, p, name, answer(responses, row)))
                reasoning[row] = ""
        asked = prompts[p]
        prompts[p] = replace(asked, text=coded(words(asked.text, MAX_WORDS)), channels=("wording",))
    return replace(responses, prompts=tuple(prompts), text=texts, reasoning=reasoning, furniture={})
