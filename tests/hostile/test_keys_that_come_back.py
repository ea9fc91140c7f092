"""A key that a server sends back, in whatever spelling and place, reaches nothing that is kept or shown."""

from __future__ import annotations

import base64
import json
import random
import string
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign import score, write
from harness.config.secrets import Redactor
from harness.endpoints.client import as_utf8
from harness.evidence import pack_folder
from harness.plan import prepare
from harness.token_logprobs import unpack
from tests.support import Write, payloads
from tests.support.command_line import harness
from tests.support.fault_server import FaultServer, Reply, Request

KEY = "test-Key/0123+456789=abcdef_X"
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "base64 of Bearer": lambda k: base64.b64encode(f"Bearer {k}".encode()).decode(),
    "base64 of user:key": lambda k: base64.b64encode(f"user:{k}".encode()).decode(),
    "base64 at offset 1": lambda k: base64.b64encode(f"x{k}yz".encode()).decode(),
    "base64 at offset 2": lambda k: base64.b64encode(f"xy{k}".encode()).decode(),
    "base64 for URLs, offset 1": lambda k: base64.urlsafe_b64encode(f"?{k}~".encode()).decode(),
    "base64 in lines": lambda k: base64.encodebytes(f"Authorization: Bearer {k} and so on".encode() * 3).decode(),
    "base64 in percents": lambda k: base64.b64encode(f"?{k}".encode()).decode().replace("+", "%2B").replace("/", "%2f"),
    "percent, upper case": lambda k: "".join(f"%{ord(c):02X}" for c in k),
    "percent, lower case": lambda k: "".join(f"%{ord(c):02x}" for c in k),
    "percent, mixed case": lambda k: k.replace("/", "%2f").replace("+", "%2B").replace("=", "%3d"),
    "percent, twice": lambda k: k.replace("/", "%252F").replace("+", "%252b"),
    "JSON escapes": lambda k: "".join(f"\\u{ord(c):04X}" for c in k),
    "JSON escapes, twice": lambda k: "".join(f"\\\\u{ord(c):04x}" for c in k),
    "Python escapes": lambda k: "".join(f"\\x{ord(c):02x}" for c in k),
    "entities": lambda k: "".join(f"&#{ord(c)};" for c in k),
    "entities in hex": lambda k: "".join(f"&#x{ord(c):x};" for c in k),
    "slashes of PHP": lambda k: k.replace("/", "\\/"),
    "hex": lambda k: k.encode().hex(),
    "spaced": " ".join,
    "zeros between": "\0".join,
    "lines": lambda k: f"{k[:9]}\n{k[9:]}",
    "hidden characters": "\u200b".join,
}  # fmt: skip
TAKEN_WHOLE: dict[str, Callable[[str], str]] = {  # of these nothing can be cut out by itself
    "hex, mixed case": lambda k: "".join(c.upper() if i % 3 else c for i, c in enumerate(k.encode().hex())),
    "hex with colons": lambda k: k.encode().hex(":"),
    "hex as of a dump": lambda k: k.encode().hex(" ", 2),
    "hex as a list": lambda k: ", ".join(f"0x{c:02X}" for c in k.encode()),
    "upper case": str.upper,
    "lower case": str.lower,
    "dashes": "-".join,
    "a list": lambda k: str(list(k)),
    "bold": "**".join,
    "Markdown": lambda k: k.replace("_", "\\_").replace("+", "\\+").replace("-", "\\-"),
    "colours": "\x1b[31m".join,
    "a line that goes on": lambda k: f"{k[:9]}=\n{k[9:]}",
    "base64, spaced": lambda k: " ".join(base64.b64encode(f"Bearer {k}".encode()).decode()),
}  # fmt: skip
TRACES = [KEY, KEY[4:], "Key%2f0123", "Key/0123", base64.b64encode(KEY.encode()).decode()[8:24], "0123+456789"]


def leaks(text: str) -> list[str]:
    """What of a text still tells the key, after every spelling above was undone."""
    plain = Redactor("")  # undoes nothing: what is looked for here is written anew
    assert plain.text(KEY) == KEY
    found = [t for t in TRACES if t in text]
    for offset in range(3):
        core = base64.b64encode(b"\0" * offset + KEY.encode()).decode()[4:-4]
        found += [core] if core in text or core.replace("+", "-").replace("/", "_") in text else []
    return found


@pytest.mark.parametrize("name", [*SPELLINGS, *TAKEN_WHOLE])
def test_every_spelling_is_cut(name: str) -> None:
    cut, spelled = Redactor(KEY), (SPELLINGS | TAKEN_WHOLE)[name](KEY)
    said = cut.text(f"Who asks: {spelled}, and so on.")
    assert spelled not in said
    assert not leaks(said)
    assert "[key]" in said
    assert cut.text(said) == said
    if name in SPELLINGS and "\n" not in spelled and "\0" not in spelled:
        assert said.startswith("Who asks: ")  # the rest of the answer stays


@given(
    st.text(string.ascii_letters + string.digits + "-_/+=.~", min_size=16, max_size=60),
    st.binary(max_size=9), st.binary(max_size=9), st.booleans(),
)  # fmt: skip
def test_base64_at_every_alignment(key: str, before: bytes, after: bytes, safe: bool) -> None:
    encode = base64.urlsafe_b64encode if safe else base64.b64encode
    text = encode(before + key.encode() + after).decode()
    cut = Redactor(key).text(f"token {text} end")
    if "[key]" not in key:
        assert cut == "token [key] end" or cut == "token [key]" + "=" * text.count("=", -2 if text else 0) + " end"


@given(st.text(max_size=200))
def test_what_holds_no_key_stays(said: str) -> None:
    assert Redactor(KEY).text(said) == said
    body = json.dumps({"a": said}).encode()
    assert json.loads(Redactor(KEY).body(body)) == json.loads(body)  # escapes may be written otherwise


def tokens_of(key: str, size: int) -> dict[str, Any]:
    pieces = [key[i : i + size] for i in range(0, len(key), size)]
    entries = [{"token": p, "logprob": -0.5, "bytes": list(p.encode()), "top_logprobs": []} for p in pieces]
    return {"content": entries}


def only_bytes(key: str) -> dict[str, Any]:
    return {"content": [{"token": "\ufffd", "logprob": -0.5, "bytes": [c], "top_logprobs": []} for c in key.encode()]}


def in_alternatives(key: str) -> dict[str, Any]:
    top = [{"token": "a", "logprob": -0.1}, {"token": f"x{key}", "logprob": -3.0}]
    return {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": top}]}


LOGPROBS: dict[str, Callable[[str], dict[str, Any]]] = {
    "in one token": lambda k: tokens_of(k, 99),
    "in pieces": lambda k: tokens_of(k, 3),
    "letter by letter": lambda k: tokens_of(k, 1),
    "in bytes": only_bytes,
    "in alternatives": in_alternatives,
    "completions": lambda k: {"tokens": [k[:5], k[5:]], "token_logprobs": [-0.1, -2.0], "top_logprobs": [{k: -9}, {}]},
}  # fmt: skip


def escaped(body: bytes, key: str) -> bytes:
    """A body in which the key is spelled in escapes, slashes one way and the other."""
    spelled = "".join(f"\\u{ord(c):04x}" if i % 3 else (f"\\{c}" if c == "/" else c) for i, c in enumerate(key))
    return body.replace(key.encode(), spelled.encode())


def utf16(body: bytes) -> Reply:
    return Reply(body=body.decode().encode("utf-16"), headers={"Content-Type": "application/json; charset=utf-16"})


def unsaid_utf16(body: bytes) -> Reply:
    return Reply(body=body.decode().encode("utf-16"))


def answers(say: Callable[[str], str], place: Callable[[str], dict[str, Any]] | None, how: Any) -> Callable[..., Reply]:
    def step(request: Request) -> Reply:
        value = {**payloads.chat(f"it is {say(request.key)} so"), "model": say(request.key), "id": say(request.key)}
        if place is not None:
            value = payloads.with_logprobs(value, place(request.key))
        body = json.dumps(value, ensure_ascii=False).encode()
        sent = how(body, request.key) if how is escaped else how(body) if how is not None else body
        return sent if isinstance(sent, Reply) else Reply(body=sent)

    return step


def fails(say: Callable[[str], str], status: int, how: Any = None) -> Callable[..., Reply]:
    def step(request: Request) -> Reply:
        value = {"error": {"message": "x" * 240 + f" with {say(request.key)}", "code": "odd"}}
        body = json.dumps(value).encode()
        if how is escaped:
            return Reply(status, escaped(body, request.key))
        if how is not None:
            sent = how(body)
            return Reply(status, sent.body, sent.headers)
        return Reply(status, body)

    return step


def steps() -> list[Any]:
    """A server's whole repertoire: every spelling in answers and errors, every place in logprobs, every encoding."""
    said = [answers(s, None, None) for s in SPELLINGS.values()]
    said += [answers(str, place, how) for place in LOGPROBS.values() for how in (None, escaped, utf16)]
    said += [answers(str, None, how) for how in (escaped, utf16, unsaid_utf16)]
    said += [fails(s, status) for s in SPELLINGS.values() for status in (200, 400)]
    return [*said, *(fails(str, status, how) for status in (200, 500) for how in (escaped, utf16, unsaid_utf16))]


def test_none_of_it_reaches_store_report_manifest_or_pack(
    run_on: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.support.running.KEY", KEY)
    every = steps()
    random.Random(1).shuffle(every)
    every.insert(0, answers(str, None, None))  # so that the endpoint is known to answer
    with FaultServer({"good": every, "fine": [answers(str, LOGPROBS["in pieces"], None)]}) as server:
        collect = {"attempts": 1, "park_after": 999}
        run = run_on(server, ("good", "fine"), n=len(every), samples=1, collect=collect, campaign="keys")
        run.go()
        assert server.asked["good"] >= len(every)
        answered = run.answers()
        assert sum("[key]" in a.text for a in answered) > len(SPELLINGS)
        assert len({f[1] for f in run.failures()}) > 1
        environ = {"TEST_KEY": KEY}
        shown = harness("run", run.path, cwd=tmp_path, **environ)  # again, with the command line, into its own place
        assert shown.returncode in (0, 3), shown.stderr
        assert not leaks(shown.stdout + shown.stderr)
        assert "Traceback" not in shown.stderr
    plan = prepare(run.path, environ)
    write(plan, score(plan))
    pack_folder(plan.folder, tmp_path / "pack.zip")
    with zipfile.ZipFile(tmp_path / "pack.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) > 15
    for path in files:
        content = path.read_bytes()
        assert not leaks(content.decode("utf-8", "replace")), path
        assert not leaks(content.decode("utf-16-le", "replace")), path
        assert KEY.encode("utf-16-le")[2:] not in content
    for a in answered:
        if a.logprobs:
            told = unpack(a.logprobs).decode()
            tokens = [t["token"] for t in json.loads(told).get("content") or []]
            assert not leaks(told)
            assert not leaks("".join(tokens))


@pytest.mark.parametrize("status", [200, 400, 401, 500])
@pytest.mark.parametrize("how", [None, escaped, utf16, unsaid_utf16], ids=["as it is", "escaped", "UTF-16", "unsaid"])
def test_an_error_of_check_does_not_tell_it(status: int, how: Any, write_campaign: Write, tmp_path: Path) -> None:
    from harness.check import check_endpoints

    with FaultServer({"good": [fails(str, status, how)], "fine": [answers(str, LOGPROBS["in pieces"], how)]}) as server:
        plan = prepare(write_campaign(server.url, endpoint={"api_key_env": "TEST_KEY"}), {})
        rows = check_endpoints(plan, {"TEST_KEY": KEY}, offline=False)
    assert rows[0]["error"]
    assert not leaks(str(rows))
    assert not leaks(str(rows).replace("\\x00", "").replace("\\", ""))


@pytest.mark.parametrize(
    ("declared", "kept"),
    [("application/json; charset=utf-16", True), ('application/json; charset="UTF-16LE"', True), ("text/plain", False),
     ("a; charset=utf-8", False), ("a;charset=utf-7", False), ("a;charset=unicode_escape", False),
     ("a; charset=rot13", False), ("a;charset=cp-nope", False), ("a;charset=zlib", False), ("a; charset=idna", False)],
)  # fmt: skip
def test_a_body_is_read_as_declared_or_as_utf8(declared: str, kept: bool) -> None:
    body = '{"a": "é"}'.encode("utf-16-le")
    assert (as_utf8(body, declared) == '{"a": "é"}'.encode()) is ((kept and "LE" in declared) or kept)
    assert (as_utf8(body, declared) == body) is not kept


@pytest.mark.parametrize(
    "filler", ["\\", "%", "%25", "&amp;", "&#", "A", "A/", "t ", "te", " ", "\\u00", "[key]", KEY[:6], "\0"]
)
def test_no_reply_makes_it_slow(filler: str) -> None:
    """Time grows with the length of a text and not with its square, also where a key is found in it."""
    bearer, cut = base64.b64encode(f"Bearer {KEY}".encode()).decode(), Redactor(KEY)
    took = []
    for length in (25_000, 200_000):
        whole, spelt = filler * (length // len(filler)), SPELLINGS["percent, lower case"](KEY)
        text = f"{whole} {bearer} {spelt} {whole[: length // 4]}"
        began = time.process_time()
        assert not leaks(cut.text(text))
        assert not leaks(cut.body(json.dumps(text).encode()).decode())
        took.append(time.process_time() - began)
    assert took[1] < 24 * took[0] + 0.5  # of eight times the length; its square would be 64
