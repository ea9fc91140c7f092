"""Endpoints of a YAML text are replaced as they are written, whatever way that is."""

from __future__ import annotations

import pytest
import yaml

from harness.cli.templates import endpoint_blocks, rewritten, without_comments
from harness.errors import ConfigError

CONTROLS = {"b": {"role": "control", "model": "b"}, "c": {"role": "control", "model": "c"}}
FLOW = """# top
endpoints:
- {name: a, role: suspect, model: x}   # the one
# about the controls
- {name: b, role: control, model: b}
- {name: c, role: control,
   model: c}
analysis: {}
"""
BLOCK = """endpoints:
  - name: a
    role: suspect        # who
    model: x
    # api_key_env: KEY

  # about the controls
  - name: b
    role: control
    model: >
      b
  - role: control
    name: c
    model: "c"
    # the end
analysis: {}
"""
ANCHORED = """endpoints:
  - &first {name: a, <<: &how {role: control, kind: openai-chat}, model: x, params: &p {seed: 1}}
  # about the controls
  - {<<: *how, name: b, model: b}
  - <<: [*how]
    name: c
    params: *p
    model: c
  - {<<: *first, name: d}
analysis: {}
"""


@pytest.mark.parametrize("text", [FLOW, BLOCK, ANCHORED], ids=["flow", "block", "anchors"])
def test_one_is_replaced_and_all_else_stays(text: str) -> None:
    before = {e["name"]: e for e in yaml.safe_load(text)["endpoints"]}
    assert [b.values["name"] for b in endpoint_blocks(text)] == list(before)
    new = rewritten(text, {"a": "- name: z\n  model: new  # mine\n"})
    after = {e["name"]: e for e in yaml.safe_load(new)["endpoints"]}
    assert list(after) == ["z", *list(before)[1:]]
    assert after.pop("z") == {"name": "z", "model": "new"}
    assert after == {k: v for k, v in before.items() if k != "a"}
    assert "# about the controls" in new
    assert "# mine" in new
    assert "KEY" not in new
    assert yaml.safe_load(new)["analysis"] == {}


@pytest.mark.parametrize("text", [FLOW, BLOCK, ANCHORED], ids=["flow", "block", "anchors"])
@pytest.mark.parametrize("gone", ["a", "b", "c"])
def test_any_of_them_can_be_taken_out(text: str, gone: str) -> None:
    before = {e["name"]: e for e in yaml.safe_load(text)["endpoints"]}
    after = {e["name"]: e for e in yaml.safe_load(rewritten(text, {gone: ""}))["endpoints"]}
    assert after == {k: v for k, v in before.items() if k != gone}


def test_what_cannot_be_taken_apart_is_refused() -> None:
    for text in ("a: 1", "endpoints: []", "endpoints: [{name: a}, {name: b}]", ""):
        with pytest.raises(ConfigError):
            endpoint_blocks(text)


def test_comments_that_name_a_word_go_as_a_whole() -> None:
    text = "# one\n# Pangu two\na: 1  # Pangu\n# three\nb: '#Pangu'  # four\n"
    assert without_comments(text, ["Pangu"]) == "a: 1\n# three\nb: '#Pangu'  # four\n"
    assert without_comments(text, []) == text
