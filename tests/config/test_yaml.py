"""config.yaml: every mistake is one line with file, line, what and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.config import yaml as reading
from harness.config.yaml import load_config, read_yaml
from harness.errors import ConfigError
from tests.support import ROOT

GOOD = """\
campaign: test
prompts:
  - {set: everyday}
endpoints:
  - name: suspect
    role: suspect
    kind: openai-chat
    model: m
  - {name: candidate, role: candidate, lineage: a, kind: openai-chat, model: a}
  - {name: control-1, role: control, lineage: b, kind: openai-chat, model: b}
  - {name: control-2, role: control, lineage: c, kind: openai-chat, model: c}
"""


def load(tmp_path: Path, text: str | bytes) -> object:
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(path)


def refused(tmp_path: Path, text: str | bytes) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    campaign = load_config(ROOT / "config.yaml")
    assert campaign.campaign == "nova"
    small = load(tmp_path, GOOD)
    assert small.endpoints[0].base_url == "https://api.openai.com/v1"  # type: ignore[attr-defined]


def test_unknown_key_says_line_and_what_was_meant(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("    model: m\n", "    modle: m\n"))
    assert "config.yaml:8: unknown key 'modle'" in error.message
    assert "did you mean 'model'?" in error.hint
    error = refused(tmp_path, GOOD + "colect: {attempts: 3}\n")
    assert "config.yaml:12: unknown key 'colect'" in error.message
    assert "'collect'" in error.hint


def test_a_misspelt_choice_says_what_was_meant(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("role: suspect", "role: suspct"))
    assert error.hint == "did you mean 'suspect'?"
    assert refused(tmp_path, "seed: -4\n" + GOOD).hint == "not '-4'"


def test_unknown_key_in_a_nested_model(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD + "collect:\n  call_timeout: 3\n  atempts: 3\n")
    assert "config.yaml:14:" in error.message
    assert "'attempts'" in error.hint


def test_wrong_kind_and_wrong_type_have_their_line(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("kind: openai-chat\n", "kind: openai-caht\n"))
    assert "config.yaml:7" in error.message
    assert error.hint == "did you mean 'openai-chat'?"
    error = refused(tmp_path, GOOD.replace("    kind: openai-chat\n", ""))
    assert "`kind` is missing" in error.message
    error = refused(tmp_path, GOOD + "collect:\n  attempts: many\n")
    assert "config.yaml:13: collect.attempts" in error.message


@pytest.mark.parametrize("kind", ["openai-completions", "openai-responses", "anthropic-messages", "gemini"])
def test_every_kind_of_endpoint_is_known_where_a_mistake_is_told(tmp_path: Path, kind: str) -> None:
    assert kind in refused(tmp_path, GOOD.replace("    kind: openai-chat\n", "")).hint
    error = refused(tmp_path, GOOD.replace("kind: openai-chat\n", f"kind: {kind}x\n"))
    assert error.hint == f"did you mean {kind!r}?"
    error = refused(
        tmp_path, GOOD.replace("    kind: openai-chat\n    model: m\n", f"    kind: {kind}\n    modle: m\n")
    )
    assert error.message.endswith("config.yaml:8: unknown key 'modle' in endpoints.0")
    assert "did you mean 'model'?" in error.hint


def test_duplicate_key_is_not_overwritten(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("    model: m\n", "    model: m\n    model: n\n"))
    assert "config.yaml:9: 'model' is written twice" in error.message


@pytest.mark.parametrize(
    "line",
    [
        "    params: {api_key: whatever}",
        "    params: {extra_headers: {X-Api-Key: whatever}}",
        "    api-key: whatever",
        "    api_key_env: sk-abcdefghijklmnopqrstuvwx",
        "    base_url: https://user:hunter2@example.com/v1",
        "    base_url: https://hunter2@example.com/v1",
        "    base_url: https://example.com/v1?x=1&api-key=hunter2",
        "    base_url: https://example.com/v1?apiKe%79=hunter2",
        "    base_url: https://example.com/v1?sig=hunter2#x",
    ],
)
def test_a_key_in_the_file_is_refused_and_not_repeated(tmp_path: Path, line: str) -> None:
    error = refused(tmp_path, GOOD.replace("    model: m\n", f"    model: m\n{line}\n"))
    assert "config.yaml:9: a key does not belong in this file" in error.message
    for secret in ("whatever", "hunter2", "sk-abc"):
        assert secret not in str(error)


def test_endpoint_names_differ_even_in_case(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("control-2", "Control-1"))
    assert "config.yaml:11: the campaign: two endpoints are called 'control-1'" in error.message


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 65, "a\\u0000b"])
def test_names_cannot_leave_the_results_folder(tmp_path: Path, name: str) -> None:
    refused(tmp_path, GOOD.replace("campaign: test", f'campaign: "{name}"'))


def test_candidate_without_controls(tmp_path: Path) -> None:
    text = "\n".join(x for x in GOOD.split("\n") if "control-2" not in x)
    error = refused(tmp_path, text)
    assert "config.yaml:9: the campaign: candidate 'candidate' has 1 control lineage(s)" in error.message


def test_control_of_the_candidates_own_lineage(tmp_path: Path) -> None:
    extra = "  - {name: kin, role: control, lineage: a, kind: openai-chat, model: m}\n"
    assert "config.yaml:12: the campaign: control 'kin' is of candidate" in refused(tmp_path, GOOD + extra).message


def test_missing_lineage_and_missing_roles(tmp_path: Path) -> None:
    assert "lineage" in refused(tmp_path, GOOD.replace(", lineage: b", "")).message
    error = refused(tmp_path, GOOD.replace("role: suspect", "role: control\n    lineage: d"))
    assert "config.yaml:4: " in error.message
    assert "role: suspect" in error.message


def test_bom_and_crlf_are_read(tmp_path: Path) -> None:
    crlf = b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()
    assert load(tmp_path, crlf) == load(tmp_path, GOOD)
    assert "config.yaml:12" in refused(tmp_path, crlf + b"colect: 1\r\n").message


def test_not_utf8_missing_empty_and_a_folder(tmp_path: Path) -> None:
    assert (
        "not UTF-8"
        in refused(tmp_path, GOOD.replace("campaign: test", "campaign: caf\u00e9").encode("latin-1")).message
    )
    assert "no settings" in refused(tmp_path, "").message
    assert "no settings" in refused(tmp_path, "- a\n- b\n").message
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError):
        load_config(tmp_path)


def test_bombs_and_recursion_end_soon(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "more than 200,000 values" in refused(tmp_path, "\n".join(levels)).message
    merges = ["a0: &a0 {k: 1}", *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12))]
    assert "more than 200,000 values" in refused(tmp_path, "\n".join(merges)).message
    assert "nested" in refused(tmp_path, "a: &a [*a]\n").message
    assert "nested" in refused(tmp_path, "[" * 5000 + "]" * 5000).message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3),
        ("a: 1\nb: !!python/object:os.system x\n", 2),
        ("a: 1\nb: 2026-13-45\n", 2),
        (f"a: 1\nb: {'9' * 5000}\n", 2),
        ("a: 1\n? [x, y]\n: 2\n", 2),
        ("a: 1\n<<: 3\n", 2),
        ("a: \x07\n", 1),
    ],
)
def test_broken_yaml_has_its_line(tmp_path: Path, text: str, line: int) -> None:
    assert f"config.yaml:{line}: " in refused(tmp_path, text).message


@pytest.mark.parametrize(
    "url", ["https://h/v1?design=a&max_tokens=3", "http://[::1]:80/v1?api-version=1", "https://h/a@b"]
)
def test_an_address_without_a_key_is_taken(tmp_path: Path, url: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(GOOD.replace("    model: m\n", f"    model: m\n    base_url: '{url}'\n"))
    assert load_config(path).endpoints[0].base_url == url  # type: ignore[union-attr]


ODD = [
    "# a\n\n# b\na: 1 # c\n\n\nb:\n  # d\n  - 1\n\n  - 2\n",
    "a:\nb:\n  c:\n  d:\n\n\ne: []\nf:\n  -\n  -\n\n  - x\n",
    "a: {b: 1,\n  c: [1,\n 2,\n\n 3], d:\n   {}}\n",
    "a: |\n  x\n  y\n\nb: >-\n  z\n  w\n\n\nc: 'q\n  r'\nd: \"s\\\n   t\"\n",
    "a: x\u2028b\nc: y\u0085d: 1\ne: z\u2029\nf: 1\n",
    "a: &a {x: 1}\nb: *a\nc:\n  <<: *a\n  y: 2\nd:\n  <<: [*a, {z: 3}]\n",
    "%YAML 1.1\n---\na: 1\n...\n",
    "a: 1\rb: \U0001f600\rc: 3\n",
    "a: 1\t# x\nb:\t2\n",
    "a: x\n  y\n\n  z\nb: !!str 1\n",
    "a: 1\n---\nb: 2\n",
    "a: [1\nb: 2\n",
    "a: b: c\n",
    "a: 'x\n\n",
    "- a\nb: 1\n",
    "a: *x\n",
    "a: 1\nb: @x\n",
    'a: 1\nb: "\\ud83d"\n',
    "a: 1\nb: \x07\n",
]


def _read(path: Path) -> object:
    try:
        found = read_yaml(path)
    except ConfigError as e:
        return str(e)
    return repr(found.values), found.lines


@pytest.mark.parametrize(
    "text", [*ODD, *sorted(p for d in ("prompts", "examples", ".") for p in (ROOT / d).glob("*.yaml"))]
)
def test_without_libyaml_values_lines_and_mistakes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | Path
) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text.read_bytes())
    with_libyaml = _read(path)
    monkeypatch.setattr(reading, "LOADER", yaml.SafeLoader)
    assert _read(path) == with_libyaml


def test_merged_keys_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("base: &b {seed: 1, top_p: 1.0}\nthis: {<<: *b, seed: 2}\nagain: {seed: 3, <<: [*b, {k: 1}]}\n")
    values = read_yaml(path).values
    assert values["this"] == {"seed": 2, "top_p": 1.0}
    assert values["again"] == {"seed": 3, "top_p": 1.0, "k": 1}


def test_one_mistake_is_counted_once(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("{set: everyday}", "{set: everyday, samples: many}"))
    assert error.message.endswith("config.yaml:3: prompts.0.samples: should be a valid integer")
    assert error.hint == "not 'many'"
    error = refused(tmp_path, GOOD.replace("{set: everyday}", "{set: everyday, samples: many, limit: 0}"))
    assert error.hint == "not '0' (1 more after this one)"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("temperature: on", "not 'on'"),
        ("temperature: true", "not 'true'"),
        ("samples: yes", "not 'yes'"),
        ("max_tokens: 012", "012 is no plain number"),
        ("max_tokens: 1:04", "1:04 is no plain number"),
        ("top_p: .nan", ".nan is no plain number"),
    ],
)
def test_a_number_is_no_word_and_no_octal(tmp_path: Path, setting: str, said: str) -> None:
    error = refused(tmp_path, GOOD.replace("{set: everyday}", f"{{set: everyday, {setting}}}"))
    assert said in str(error)


@pytest.mark.parametrize("model", ["no", "off", "Yes"])
def test_words_stay_the_words_that_they_are(tmp_path: Path, model: str) -> None:
    campaign = load(tmp_path, GOOD.replace("model: m\n", f"model: {model}\n    params: {{reasoning_effort: off}}\n"))
    first = campaign.endpoints[0]  # type: ignore[attr-defined]
    assert (first.model, first.params) == (model, {"reasoning_effort": "off"})


@pytest.mark.parametrize("value", ["12:30", "007"])
def test_what_is_no_plain_number_is_to_be_quoted(tmp_path: Path, value: str) -> None:
    error = refused(tmp_path, GOOD.replace("model: m\n", f"model: {value}\n"))
    assert "config.yaml:8" in error.message
    assert f'"{value}" in quotes' in error.hint


@pytest.mark.parametrize(
    "params",
    [
        *("{model: other}", "{n: 4}", "{stream: true}", "{Messages: []}", "{' model': other}", "{background: true}"),
        *("{candidate_count: 2}", "{num_return_sequences: 2}", "{generationConfig: {candidateCount: 2}}"),
    ],
)
def test_params_do_not_ask_another_question(tmp_path: Path, params: str) -> None:
    error = refused(tmp_path, GOOD.replace("model: m\n", f"model: m\n    params: {params}\n"))
    assert "may not hold" in error.message


def test_a_word_of_one_client_is_not_sent(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("model: m\n", "model: m\n    params: {extra_body: {model: other}}\n"))
    assert "write what it holds into `params` itself" in error.message


def test_an_address_with_a_fragment_is_none(tmp_path: Path) -> None:
    refused(tmp_path, GOOD.replace("model: m\n", 'model: m\n    base_url: "https://host.example/v1#x"\n'))


def test_params_hold_no_infinity(tmp_path: Path) -> None:
    refused(tmp_path, GOOD.replace("model: m\n", "model: m\n    params: {repetition_penalty: .inf}\n"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://host.example/v1/chat/completions", "https://host.example/v1"),
        ("https://host.example/v1/chat/completions/?route=a", "https://host.example/v1?route=a"),
        ("https://host.example/openai/completions", "https://host.example/openai"),
        ("https://host.example/v1/", "https://host.example/v1/"),
    ],
)
def test_an_address_with_the_path_of_a_call_is_understood(tmp_path: Path, written: str, meant: str) -> None:
    campaign = load(tmp_path, GOOD.replace("model: m\n", f"model: m\n    base_url: {written}\n"))
    assert campaign.endpoints[0].base_url == meant  # type: ignore[attr-defined]
