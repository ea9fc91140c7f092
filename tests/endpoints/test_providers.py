"""Providers, APIs and refusals, over a real socket: what is sent, where, with which header, and what is learned."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.campaign import collect_async
from harness.check import check_endpoints, unpinned, warnings
from harness.config.endpoint import Remote
from harness.config.providers import providers
from harness.config.yaml import load_config
from harness.endpoints import APIS
from harness.errors import CeilingError, ConfigError, EndpointError
from harness.plan import prepare
from harness.store.store import Store
from harness.token_logprobs import decode_logprobs
from tests.support import ROOT, Write, payloads
from tests.support.command_line import harness
from tests.support.fault_server import FaultServer, Reply, Request, Step, ok, refuses, says
from tests.support.running import KEY, Run


def spy(seen: list[Request]) -> Step:
    """A step that answers and keeps the request."""

    def step(request: Request) -> Any:
        seen.append(request)
        return ok(request)

    return step


def with_prompts(run: Run, **card: Any) -> Run:
    """The same run with other settings on its prompt set."""
    path = run.path.parent / "prompts" / "tiny.yaml"
    content = yaml.safe_load(path.read_text())
    content["card"] |= card
    path.write_text(yaml.safe_dump(content))
    return run


@pytest.mark.parametrize("name", list(providers()))
def test_a_provider_fills_in_what_is_not_written(name: str, tmp_path: Path, write_campaign: Write) -> None:
    known = providers()[name]
    host = known.hosts[0].replace("*", "x") if known.hosts else ""
    own = f"https://my{host}" if host.startswith(".") else f"https://{host}"
    path = write_campaign(own, ("good", "fine"), endpoint={"provider": name})
    config = yaml.safe_load(path.read_text())
    if known.base_url:
        for endpoint in config["endpoints"]:
            del endpoint["base_url"]
    path.write_text(yaml.safe_dump(config))
    found = load_config(path).endpoints[0]
    assert isinstance(found, Remote)
    assert found.base_url == (known.base_url or own)
    assert found.api_key_env == known.api_key_env
    assert known.source.startswith("https://")
    assert known.base_url is None or known.base_url.startswith(("https://", "http://localhost:"))
    assert all(url.startswith("https://") for url in known.base_urls.values())
    assert {*known.base_urls, *known.batches} <= {*known.kinds} <= APIS.keys()
    documented = (ROOT / "docs" / "endpoints.md").read_text()
    limit = known.top_logprobs if known.top_logprobs < 100 else "-"
    assert (
        f"| `{name}` | {known.title} | {known.base_url or '-'} | {known.api_key_env or '-'} | {limit} |" in documented
    )


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ({"provider": "opnrouter"}, "did you mean 'openrouter'?"),
        ({"provider": "nobody"}, "known: openai, azure"),
        ({"upstream": "deepinfra"}, "provider: openrouter"),
        ({"provider": "mistral", "kind": "openai-responses"}, "no kind 'openai-responses'"),
    ],
)
def test_a_wrong_provider_is_said_with_its_line(write_campaign: Write, endpoint: dict[str, str], says: str) -> None:
    path = write_campaign("http://localhost:1/v1", endpoint=endpoint)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert says in str(caught.value)
    assert ":1:" not in caught.value.message


def test_azure_has_its_own_header_path_and_version(run_on: Any) -> None:
    seen: list[Request] = []
    with FaultServer({"good": [spy(seen)], "fine": [spy(seen)]}) as server:
        run = run_on(server, ("good", "fine"), n=2, samples=1, endpoint={"provider": "azure"})
        run.go()
        assert len(run.answers()) == 4
    assert {r.path for r in seen} == {
        f"/v1/openai/deployments/{m}/chat/completions?api-version=2024-10-21" for m in ("good", "fine")
    }
    assert {r.headers.get("api-key") for r in seen} == {KEY}
    assert not [r for r in seen if "authorization" in r.headers]
    assert {"max_completion_tokens"} == {k for r in seen for k in json.loads(r.body) if "tokens" in k}


def test_openrouter_pins_its_upstream_and_the_pin_is_stored(run_on: Any) -> None:
    seen: list[Request] = []
    with FaultServer({"good": [spy(seen)], "fine": [spy(seen)]}) as server:
        endpoint = {"provider": "openrouter", "upstream": "deepinfra/fp8"}
        run = run_on(server, ("good", "fine"), n=1, samples=1, endpoint=endpoint)
        run.go()
        pinned = {"order": ["deepinfra/fp8"], "allow_fallbacks": False, "require_parameters": True}
        assert json.loads(seen[0].body)["provider"] == pinned
        with Store(run.store, readonly=True) as store:
            stored = store.request(run.answers()[0].request_hash)
        assert stored is not None
        assert json.loads(stored[1])["provider"] == pinned


@pytest.mark.parametrize(
    ("endpoint", "warned"),
    [
        ({"provider": "openrouter"}, "openrouter may answer from several providers; `upstream:` pins one"),
        ({"provider": "openrouter", "upstream": "deepinfra/fp8"}, ""),
        (
            {"provider": "huggingface", "model": "o/m"},
            "huggingface may answer from several providers; `model:",
        ),
        ({"provider": "huggingface", "model": "o/m:fastest"}, "huggingface may answer from several providers"),
        ({"provider": "huggingface", "model": "o/m:novita"}, ""),
        ({"provider": "groq"}, ""),
        ({}, ""),
    ],
)
def test_a_router_that_is_not_pinned_is_told_before_money_is_spent(
    write_campaign: Write, endpoint: dict[str, str], warned: str
) -> None:
    plan = prepare(write_campaign("http://127.0.0.1:9/v1", endpoint=endpoint), {})
    said = [n for n in warnings(plan) if "several providers" in n]
    assert said == unpinned(plan.campaign)
    assert len(said) == bool(warned)
    assert all(n.startswith(warned) and n.endswith("Not pinned: good, fine") for n in said)


def test_the_dry_run_warns_of_a_router_that_is_not_pinned(tmp_path: Path, write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1", endpoint={"provider": "openrouter"})
    done = harness("run", path, "--dry-run", cwd=tmp_path)
    assert "note: openrouter may answer from several providers; `upstream:` pins one. Not pinned: good" in done.stderr
    assert done.returncode == 0


def test_together_counts_in_logprobs_and_fireworks_gives_five(run_on: Any) -> None:
    for name, expected in (
        ("together", {"logprobs": 20}),
        ("fireworks", {"logprobs": True, "top_logprobs": 5}),
        ("mistral", {}),
    ):
        seen: list[Request] = []
        with FaultServer({"good": [spy(seen)], "fine": ["ok"]}) as server:
            run = run_on(server, ("good", "fine"), n=1, samples=1, endpoint={"provider": name}, campaign=name)
            with_prompts(run, top_logprobs=20).go()
        assert {k: v for k, v in json.loads(seen[0].body).items() if "logprobs" in k} == expected


def test_the_responses_api(run_on: Any) -> None:
    seen: list[Request] = []
    with FaultServer({"good": [spy(seen)], "fine": ["ok"]}) as server:
        endpoint = {"kind": "openai-responses", "system_prompt": "Be brief."}
        run = run_on(server, ("good", "fine"), n=2, samples=1, endpoint=endpoint)
        with_prompts(run, top_logprobs=5).go()
        answer = run.answers("good")[0]
    assert seen[0].path == "/v1/responses"
    assert json.loads(seen[0].body) == {
        "model": "good",
        "instructions": "Be brief.",
        "input": "Question number 0?",
        "max_output_tokens": 8,
        "top_logprobs": 5,
        "include": ["message.output_text.logprobs"],
        "store": False,
    }
    assert (answer.text, answer.outcome, answer.reasoning) == ("answer 0", "ok", "Capitals.")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.reasoning_tokens) == (9, 7, 4)
    logprobs = decode_logprobs(answer.logprobs)
    assert logprobs is not None
    assert len(logprobs.top[0]) == 3


REFUSALS = [
    (
        "Unsupported parameter: 'max_tokens' is not supported here. Use 'max_completion_tokens' instead.",
        lambda b: "max_tokens" in b,
        {"max_completion_tokens": 8, "temperature": 0.5, "top_logprobs": 20, "logprobs": True, "seed": None},
    ),
    (
        "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) is.",
        lambda b: "temperature" in b,
        {"max_tokens": 8, "top_logprobs": 20, "logprobs": True, "seed": None},
    ),
    (
        "Invalid value for 'top_logprobs': must be less than or equal to 5.",
        lambda b: b.get("top_logprobs", 0) > 5,
        {"max_tokens": 8, "temperature": 0.5, "top_logprobs": 5, "logprobs": True, "seed": None},
    ),
    (
        "This model does not support logprobs.",
        lambda b: "logprobs" in b,
        {"max_tokens": 8, "temperature": 0.5, "seed": None},
    ),
    (
        "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted'}]",
        lambda b: "seed" in b,
        {"max_tokens": 8, "temperature": 0.5, "top_logprobs": 20, "logprobs": True},
    ),
    (
        "System role not supported",
        lambda b: b["messages"][0]["role"] == "system",
        {"max_tokens": 8, "temperature": 0.5, "top_logprobs": 20, "logprobs": True, "seed": None},
    ),
]


@pytest.mark.parametrize(("message", "when", "sent"), REFUSALS)
def test_a_refused_parameter_is_learned_once(run_on: Any, message: str, when: Any, sent: dict[str, Any]) -> None:
    with FaultServer({"good": [refuses(message, when)], "fine": ["ok"]}) as server:
        endpoint = {"params": {"seed": 1}, "system_prompt": "Be brief."}
        run = with_prompts(run_on(server, ("good", "fine"), n=4, endpoint=endpoint), top_logprobs=20, temperature=0.5)
        run.go()
        assert len(run.answers("good")) == 8
        assert server.asked["good"] == 9  # one refusal, and never again
        assert run.failures() == []
        with Store(run.store, readonly=True) as store:
            bodies = [json.loads(store.request(r.request_hash)[1]) for r in run.answers("good")]  # type: ignore[index]
        for body in bodies:
            assert server.delivered["good", payloads.compact(body)] >= 1  # what is stored is what was sent
            head = body["messages"][0]
            assert head["content"].startswith("Be brief.")
            assert (head["role"] == "user") == ("System role" in message)
            assert {k: v if k != "seed" else None for k, v in body.items() if k not in ("model", "messages")} == sent
        run.go()
        assert server.asked["good"] == 9
        with_prompts(run, samples=3).go()
        assert server.asked["good"] == 13  # learned in the first run, known in the third


def test_logprobs_step_down_until_they_are_taken(run_on: Any) -> None:
    step = refuses("top_logprobs: must be at most 3", lambda b: b.get("top_logprobs", 0) > 3)
    with FaultServer({"good": [step], "fine": ["ok"]}) as server:
        run = with_prompts(run_on(server, ("good", "fine"), n=3, samples=1), top_logprobs=20)
        run.go()
        assert len(run.answers("good")) == 3
        assert server.asked["good"] == 3 + 1  # the server says how many
    step = refuses("top_logprobs is too large and not allowed", lambda b: b.get("top_logprobs", 0) > 3)
    with FaultServer({"good": [step], "fine": ["ok"]}) as server:
        run = with_prompts(run_on(server, ("good", "fine"), n=3, samples=1), top_logprobs=20)
        run.store.unlink()
        run.go()
        assert server.asked["good"] == 3 + 2  # 20, 5, none


NOBODY = says({"error": {"message": "No endpoints found that can handle the requested parameters.", "code": 404}}, 404)


@pytest.mark.parametrize("unsupported", [{"logprobs"}, {"temperature"}, {"seed", "temperature"}, {"logprobs", "seed"}])
def test_a_router_that_does_not_say_what_it_lacks(run_on: Any, unsupported: set[str]) -> None:
    """OpenRouter with `require_parameters`: a 404 without a name. As little as possible is left out, learned once."""

    def route(request: Request) -> Reply:
        return NOBODY(request) if unsupported & json.loads(request.body).keys() else ok(request)

    with FaultServer({"good": [route], "fine": ["ok"]}) as server:
        settings = {"endpoint": {"params": {"seed": 1}}}
        run = with_prompts(run_on(server, ("good", "fine"), n=3, **settings), top_logprobs=5, temperature=0.5)
        run.go()
        assert len(run.answers("good")) == 6
        first = server.asked["good"]
        with Store(run.store, readonly=True) as store:
            bodies = [json.loads(store.request(r.request_hash)[1]) for r in run.answers("good")]  # type: ignore[index]
        for body in bodies:
            assert {"logprobs", "seed", "temperature"} - body.keys() == unsupported
        with_prompts(run, samples=3).go()
        assert server.asked["good"] == first + 3


def test_a_router_that_takes_nothing_is_unusable(run_on: Any) -> None:
    with FaultServer({"good": [NOBODY], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=3, endpoint={"params": {"seed": 1}})
        with pytest.raises(EndpointError, match="good: HTTP 404: No endpoints found"):
            run.go()
        assert server.asked["good"] == 3  # as planned, the same once more, without the seed
        server.script["good"] = ["ok"]
        run.go()
        assert all("seed" in json.loads(body) for (model, body), n in server.delivered.items() if model == "good")


def test_what_cannot_be_left_out_is_no_lesson(run_on: Any) -> None:
    too_long = says({"error": {"message": "maximum context length exceeded: 'messages' is too long"}}, 400)
    with FaultServer({"good": [too_long], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=3, samples=1)
        with pytest.raises(EndpointError, match="good: HTTP 400: maximum context length"):
            run.go()
        assert server.asked["good"] == 2, "the first prompt, and one more, for it may be the prompt"
        assert run.failures() == [("good", "http", 2)]


@pytest.mark.parametrize("fault", ["azure-filter", "moderation"])
def test_a_filter_before_the_model_is_an_outcome(run_on: Any, fault: str) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", fault]}) as server:
        run = run_on(server, n=3, samples=1)
        run.go()
        run.go()
        assert sorted(r.outcome for r in run.answers("shaky")) == ["filtered", "filtered", "ok"]
        assert server.asked["shaky"] == 3


def test_check_notes_refusals_for_the_run(tmp_path: Path, write_campaign: Write) -> None:
    from harness.check import check_endpoints, dry_run_rows
    from harness.plan import prepare

    def step(request: Request) -> Any:
        body = json.loads(request.body)
        if body.get("top_logprobs", 0) > 5:
            return says({"error": {"message": "top_logprobs must be <= 5, invalid"}}, 400)(request)
        return says(payloads.chat("4", reasoning_content="2+2"))(request)

    with FaultServer({"good": [step], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=2, samples=1)
        card = path.parent / "prompts" / "tiny.yaml"
        card.write_text(card.read_text().replace("top_logprobs: null", "top_logprobs: 20"))
        plan = prepare(path, {})
        good, fine = check_endpoints(plan, {}, offline=False)
        assert server.asked == {"good": 2, "fine": 1}
        assert (good["logprobs"], good["reasoning"], fine["logprobs"]) == ("empty", "reasoning_content", "3")
        bodies = [json.loads(r["requests"][0]["body"]) for r in dry_run_rows(plan)]
        assert [b["top_logprobs"] for b in bodies] == [5, 20]


@pytest.mark.parametrize("passing", ["500", "half-json", "error-502-in-200"])
def test_check_asks_once_more_where_a_run_would(write_campaign: Write, passing: str) -> None:
    with FaultServer({"good": [passing, "ok"], "fine": [passing]}) as server:
        rows = check_endpoints(prepare(write_campaign(server.url), {}), {}, offline=False)
        assert [r["state"].split(",")[0] for r in rows] == ["up", "does not answer"]
        assert (server.asked["good"], server.asked["fine"]) == (2, 2)


def test_a_dead_endpoint_is_said_by_check(write_campaign: Write) -> None:
    from harness.check import check_endpoints, raise_unusable
    from harness.plan import prepare

    rows = check_endpoints(prepare(write_campaign("http://127.0.0.1:9/v1"), {}), {}, offline=False)
    assert [r["state"] for r in rows] == ["does not answer"] * 2
    with pytest.raises(EndpointError, match="good: no connection"):
        raise_unusable(rows)


def test_check_waits_for_a_server_that_is_busy_as_long_as_it_says_but_not_for_ever(write_campaign: Write) -> None:
    from harness.check import check_endpoints
    from harness.plan import prepare

    faults = {"good": ["429-seconds", "ok"], "fine": ["503-seconds", "429-ms", "ok"], "shaky": ["429-hour"]}
    with FaultServer(faults) as server:
        began = time.monotonic()
        rows = check_endpoints(prepare(write_campaign(server.url, list(faults)), {}), {}, offline=False)
        seconds = time.monotonic() - began
        assert [r["state"].split()[0] for r in rows] == ["up,", "up,", "does"]
        assert "come back later" in rows[2]["error"]
        assert server.asked == {"good": 2, "fine": 3, "shaky": 1}
        assert 3.5 <= seconds < 60


@pytest.mark.parametrize("fault", ["reordered", "minus-9999", "nan"])
def test_odd_json_is_an_answer(run_on: Any, fault: str) -> None:
    with FaultServer({"good": ["ok"], "shaky": [fault]}) as server:
        run = run_on(server, n=2, samples=1)
        run.go()
        assert [r.outcome for r in run.answers("shaky")] == ["ok", "ok"]
        for answer in run.answers("shaky"):
            found = decode_logprobs(answer.logprobs)
            assert found is None or all(v > -1000 for top in found.top for v in top.values())


def test_headers_are_bounded(run_on: Any) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", "huge-header"]}) as server:
        run = run_on(server, n=2, samples=1, collect={"attempts": 1})
        run.go()
        assert run.failures() == [("shaky", "connection", 1)]


def test_one_passing_404_of_a_router_costs_nothing(run_on: Any) -> None:
    """No logprobs are given up for it, and the try is recorded."""
    with FaultServer({"good": [NOBODY, "ok"], "fine": ["ok"]}) as server:
        run = with_prompts(run_on(server, ("good", "fine"), n=3, samples=1), top_logprobs=5)
        run.go()
        assert all(r.logprobs for r in run.answers("good"))
        assert not any("it is asked without" in s for s in run.said)
        with Store(run.store, readonly=True) as store:
            found = store.rows("attempts", "SELECT endpoint, status FROM attempts")
        assert found == [("good", 404)]


def test_what_is_learned_is_said_and_check_does_not_undo_it(tmp_path: Path, write_campaign: Write) -> None:
    """After a run, other requests would be other keys: everything answered would be paid again."""
    refusing = refuses("top_p is not supported", lambda b: "top_p" in b)
    with FaultServer({"good": [refusing], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=3, samples=1, endpoint={"params": {"top_p": 0.9}})
        said: list[str] = []
        for _ in range(2):
            plan = prepare(path, {})
            asyncio.run(collect_async(plan, {}, {}, asyncio.Event(), said.append))
            server.script["good"] = ["ok"]
            check_endpoints(plan, {}, offline=False)
        assert [s for s in said if "good: refuses top_p" in s]
        asked = sum(n for (model, body), n in server.seen.items() if model == "good" and b"capital of" not in body)
        assert asked == 3 + 1


@pytest.mark.parametrize("pace", [{}, {"rpm": 1200}])
def test_a_reply_that_nobody_asked_for_is_nobodys_answer(run_on: Any, pace: dict[str, float]) -> None:
    """A server sends a second reply on a connection: it must not become the answer to the next question.

    With no time between the calls it is still in the socket when the next one is sent, else the event loop has read it.
    """

    def twice(request: Request) -> Reply:
        answer = ok(request)
        extra = payloads.encode(payloads.chat("nobody asked"))
        head = f"HTTP/1.1 200 X\r\nContent-Length: {len(extra)}\r\n\r\n".encode()
        return replace(answer, stray=head + extra)

    with FaultServer({"good": [twice], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=5, samples=2, endpoint={"concurrency": 1, **pace})

        def after_strays() -> float:  # it is asked right before a request is sent
            server.strays_sent()
            return time.monotonic()

        run.monotonic = after_strays
        run.go()
        texts = [r.text for r in run.answers("good")]
    assert len(texts) == 10
    assert "nobody asked" not in texts


def test_nothing_of_the_environment_reaches_a_third_party(run_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "secret-of-another-place")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Mine: secret-of-another-place")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody is there: a call through it would fail
    seen: list[Request] = []
    with FaultServer({"good": [spy(seen)], "fine": ["ok"]}) as server:
        run_on(server, ("good", "fine"), n=2).go()
    assert len(seen) == 4
    assert not any("secret-of-another-place" in v for r in seen for v in r.headers.values())


def test_a_key_spelled_in_escapes_is_found(run_on: Any) -> None:
    spelled = "".join(f"\\u{ord(c):04x}" for c in KEY)
    error = f'{{"error": {{"message": "your key {spelled} is bad", "code": 400}}}}'.encode()
    with FaultServer({"good": ["ok", lambda _: Reply(body=error)], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=3, samples=1)
        run.go()
        assert run.failures() == [("good", "http", 2)]
        assert KEY not in run.tallies["good"].last_error
        assert KEY.encode() not in run.store.read_bytes()


def test_a_ceiling_without_usage_holds_over_runs(run_on: Any) -> None:
    silent = says({k: v for k, v in payloads.chat("word " * 100).items() if k != "usage"})
    with FaultServer({"good": [silent], "fine": [silent]}) as server:
        run = run_on(server, ("good", "fine"), n=30, endpoint={"concurrency": 1}, collect={"max_tokens": 1000})
        for _ in range(3):
            with pytest.raises(CeilingError):
                run.go()
        assert sum(server.asked.values()) < 1000 // 100 + 2 + 2 * 3
