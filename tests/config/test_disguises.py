"""A key in any encoding that the standard library undoes, once or twice, is cut out of texts and bodies."""

from __future__ import annotations

import base64
import bz2
import codecs
import gzip
import itertools
import json
import random
import time
import zlib
from collections.abc import Callable, Mapping

import pytest

from harness.config.disguises import MOST_LOOKED_AT
from harness.config.secrets import Redactor

KEYS = ("sk-proj-Ab3dEf9hIjKlMn0pQrStUvWxYz=_42", "Zx81kdnA0qPw73Lm", "gsk_" + random.Random(9).randbytes(24).hex())
Encode = Callable[[bytes], bytes]


def numbers(form: str, between: str = " ") -> Encode:
    return lambda content: between.join(format(c, form) for c in content).encode()


TEXTS: Mapping[str, Encode] = {
    "base64": base64.b64encode,
    "base64 for addresses": base64.urlsafe_b64encode,
    "base64 in lines": base64.encodebytes,
    "base32": base64.b32encode,
    "base32 in small letters": lambda c: base64.b32encode(c).lower(),
    "base32hex": base64.b32hexencode,
    "base16": base64.b16encode,
    "base85": base64.b85encode,
    "Ascii85": base64.a85encode,
    "uuencode": lambda c: codecs.encode(c, "uu"),
    "quoted-printable": lambda c: b"".join(b"=%02X" % x for x in c),
    "percent": numbers("02x", "%"),
    "octal": numbers("03o"),
    "octal escapes": lambda c: "".join(f"\\{x:o}" for x in c).encode(),
    "octal in one": numbers("03o", ""),
    "decimal": numbers("d"),
    "decimal list": lambda c: str(list(c)).encode(),
    "decimal in one": numbers("03d", ""),
    "binary": numbers("08b"),
    "binary in one": numbers("08b", ""),
    "hex with 0x": numbers("#04x", ", "),
    "unicode escapes": lambda c: "".join(f"\\u{x:04x}" for x in c).encode(),
    "one number": lambda c: str(int.from_bytes(c, "big")).encode(),
    "rot13": lambda c: codecs.encode(c.decode("latin-1"), "rot13").encode("latin-1"),
}
PACKED: Mapping[str, Encode] = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "UTF-16": lambda c: c.decode("latin-1").encode("utf-16-le"),
    "UTF-32": lambda c: c.decode("latin-1").encode("utf-32-be"),
}
TO_TEXT = ("base64", "base64 for addresses", "base32", "base32hex", "base16", "base85", "Ascii85")
AROUND = ("%s", "Bearer %s", "user:%s and more", "xy%s")
TWICE = [*itertools.product(TEXTS, repeat=2), *itertools.product(PACKED, TO_TEXT)]
ODD = {("uuencode", "rot13"), ("hex with 0x", "rot13"), ("UTF-32", "base85")}  # the last may look like a plain word


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("around", AROUND)
def test_no_encoding_and_no_two_of_them_pass(key: str, around: str) -> None:
    redact, passed = Redactor(key).text, []
    for names in [*((n,) for n in TEXTS), *TWICE]:
        content = (around % key).encode()
        for name in names:
            content = {**TEXTS, **PACKED}[name](content)
        told = content.decode()
        if names not in ODD and (told in (cut := redact(f"It is {told} indeed.")) or "[key]" not in cut):
            passed.append(names)
    assert passed == []


IN_JSON = [
    n for n in TEXTS if n not in ("Ascii85", "uuencode", "unicode escapes", "base64 in lines")
]  # `text` has them


@pytest.mark.parametrize("key", KEYS)
def test_bodies_are_cut_before_they_are_read_and_stay_json(key: str) -> None:
    for name in IN_JSON:
        told = TEXTS[name](f"Bearer {key}".encode()).decode()
        body = json.dumps({"token": f"a\n{told}\té", "logprob": -0.5, "bytes": [1, 2]}).encode()
        read = json.loads(Redactor(key).body(body))
        assert told not in read["token"], name
        assert (read["logprob"], read["bytes"]) == (-0.5, [1, 2])
    listed = json.loads(Redactor(key).body(json.dumps({"bytes": list(key.encode())}).encode()))
    assert listed == {"bytes": [0] * len(key)}


def test_what_holds_no_key_stays_as_it_is() -> None:
    rng = random.Random(3)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    said = [
        "The quick brown fox jumps over the lazy dog, 12 times: 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233.",
        "https://example.com/a/very/long/path?with=parameters&and=more#and-a-fragment",
        "def f(x):\n    return {k: v for k, v in x.items() if (k, v) != (None, 0)}  # a comment\n" * 20,
        *("".join(rng.choices(letters, k=n)) for n in range(20, 400, 7)),
        *(rng.randbytes(n).hex() for n in range(8, 200, 5)),
        *(base64.b32encode(rng.randbytes(n)).decode() for n in range(8, 200, 5)),
        ", ".join(str(rng.randrange(32, 127)) for _ in range(300)),
        str(3**800),
    ]
    for key in KEYS:
        redactor = Redactor(key)
        assert [redactor.text(s) for s in said] == said
        body = json.dumps(said).encode()
        assert redactor.body(body) == body


def test_a_flood_of_what_might_be_encoded_is_not_looked_through_for_ever() -> None:
    flood = base64.b64encode(random.Random(1).randbytes(MOST_LOOKED_AT)).decode()
    began = time.process_time()
    assert Redactor(KEYS[0]).text(flood) == "[key]"
    assert Redactor(KEYS[0]).body(json.dumps([flood]).encode()) == b"[key]"
    assert time.process_time() - began < 2


def test_most_of_a_large_answer_is_not_looked_at_twice() -> None:
    """Logprobs have no run that is long enough: they take two passes more, not one for each encoding."""
    token = {"token": " word", "logprob": -0.123456789, "bytes": [32, 119, 111, 114, 100]}
    body = json.dumps([{**token, "top_logprobs": [token] * 20}] * 200).encode()
    redactor = Redactor(KEYS[0])

    def seconds(work: Callable[[bytes], bytes]) -> float:
        began = time.process_time()
        for _ in range(10):
            work(body)
        return time.process_time() - began

    plainly, whole = (min(seconds(w) for _ in range(3)) for w in (redactor._plainly_cut, redactor.body))
    assert whole < 6 * plainly  # 1.9 when this was written
