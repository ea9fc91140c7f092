"""Keys: where they come from, and that they stay there."""

from __future__ import annotations

import base64
import json
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from harness.check import warnings
from harness.config.secrets import Redactor, environment, read_secrets
from harness.errors import ConfigError
from harness.plan import prepare
from harness.report.manifest import public_config
from tests.support import Write, payloads
from tests.support.fault_server import FaultServer, Reply, Request

SECRET = "test/key+0123456789=abcdef"


def test_a_secrets_file_is_read_and_the_environment_wins(tmp_path: Path, write_campaign: Write) -> None:
    path = tmp_path / "keys.env"
    path.write_text("# mine\nexport A_KEY='one'\n\nB_KEY = two\nC_KEY=\"th=ree\"\n")
    path.chmod(0o600)
    plan = prepare(write_campaign("http://localhost:1/v1", secrets="keys.env"), {})
    found = environment(plan.campaign, plan.base, {"B_KEY": "other"})
    assert found == {"A_KEY": "one", "B_KEY": "other", "C_KEY": "th=ree"}
    assert not [w for w in warnings(plan) if "chmod" in w]
    path.chmod(0o640)
    assert [w for w in warnings(plan) if "chmod 600" in w]


def test_a_broken_secrets_file_says_its_line_and_no_value(tmp_path: Path) -> None:
    path = tmp_path / "keys.env"
    path.write_text("A_KEY=x\nsk-very-secret\n")
    with pytest.raises(ConfigError, match=r"keys.env:2: not NAME=value") as caught:
        read_secrets(path)
    assert "very-secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="No such file"):
        read_secrets(tmp_path / "none")


def _echoes(request: Request) -> Reply:
    """The key in every form a server might write it back, in every field."""
    key = request.key
    forms = [key, base64.b64encode(key.encode()).decode(), urllib.parse.quote(key, safe=""), f"Bearer {key}"]
    said = " ".join(forms)
    value: dict[str, Any] = {**payloads.chat(said, reasoning_content=said), "model": key, "id": key}
    value |= {"system_fingerprint": key, "provider": key}
    body = json.dumps(value).replace(key, "".join(f"\\u{ord(c):04x}" for c in key), 1)
    return Reply(body=body.replace(key, key.replace("/", "\\/"), 1).encode())


def test_an_echoed_key_reaches_no_file_in_any_form(run_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.running.KEY", SECRET)
    with FaultServer({"good": [_echoes], "shaky": ["ok", "echo-400"]}) as server:
        run = run_on(server, n=4, samples=1)
        run.go()
        answer = run.answers("good")[0]
        assert "[key]" in answer.text
        assert answer.model_answered == answer.provider == answer.response_id == "[key]"
    files = [p for p in run.path.parent.rglob("*") if p.is_file()]
    assert files
    forms = (SECRET, base64.b64encode(SECRET.encode()).decode().rstrip("="), urllib.parse.quote(SECRET, safe=""))
    for path in files:
        for form in forms:
            assert form.encode() not in path.read_bytes()


@pytest.mark.parametrize("key", [SECRET, "sk-abcdefgh0123", 'quo"te\\back/slash+012', "??>>~~key/+with=signs"])
def test_a_key_is_cut_in_every_form_that_servers_write(key: str) -> None:
    cut = Redactor(key)
    forms = {
        "plain": key,
        "base64": base64.b64encode(key.encode()).decode(),
        "base64 for URLs": base64.urlsafe_b64encode(key.encode()).decode(),
        "percent-encoded": urllib.parse.quote(key, safe=""),
        "JSON": json.dumps(key)[1:-1],
        "JSON of PHP": key.replace("/", "\\/"),
    }
    for name, form in forms.items():
        assert form.rstrip("=") not in cut.text(f"said {form}."), name
        assert cut.text(f"said {form}.").startswith("said [key]"), name
        assert form.rstrip("=").encode() not in cut.body(f'{{"said": "{form}"}}'.encode()), name
    spelled = "".join(c if c in '"\\' else f"\\u{ord(c):04x}" for c in key)
    if '"' not in key:
        body = cut.body(f'{{"said": "{spelled}", "next": "\\u00e9 \\\\u0041"}}'.encode())
        assert json.loads(body) == {"said": "[key]", "next": "é \\u0041"}


def test_a_short_or_missing_key_cuts_nothing() -> None:
    for key in (None, "", "EMPTY", "x"):
        assert Redactor(key).text("EMPTY x \\u0041") == "EMPTY x \\u0041"
        assert Redactor(key).body(b'"EMPTY x \\u0041"') == b'"EMPTY x \\u0041"'
    assert SECRET not in repr(Redactor(SECRET))


def test_a_private_seed_is_asked_for_and_never_repeated(tmp_path: Path, write_campaign: Write) -> None:
    path = write_campaign("http://localhost:1/v1", prompts=[{"set": "daily", "limit": 8}], private_seed_env="MY_SEED")
    fresh = prepare(path, {"MY_SEED": "a-long-private-seed"})
    assert sum(bool(p.fields.get("fresh")) for p in fresh.prompts) == 4
    assert "MY_SEED" not in json.dumps(public_config(fresh.campaign))  # whose hash stays that of any other campaign
    for environ, says in (({}, "MY_SEED is not set"), ({"MY_SEED": "guessable-one"}, "too short")):
        with pytest.raises(ConfigError, match=says) as caught:
            prepare(path, environ)
        assert "guessable-one" not in str(caught.value)
    plain = prepare(write_campaign("http://localhost:1/v1", prompts=[{"set": "daily", "limit": 8}]), {"MY_SEED": "x"})
    assert not any(p.fields.get("fresh") for p in plain.prompts)
    assert public_config(plain.campaign) == public_config(fresh.campaign)
