"""What servers refuse, over a real socket: learned and asked again as they want it, or fatal before others are paid."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from harness.errors import EndpointError
from tests.support import payloads
from tests.support.fault_server import FaultServer, Reply, Request, ok, says

N = 12
Body = dict[str, Any]


def refuses(when: Callable[[Body], Any], value: Any, status: int = 400) -> Callable[[Request], Reply]:
    """A server that answers so to bodies of which something is refused."""
    return lambda r: Reply(status, payloads.encode(value)) if when(json.loads(r.body)) else ok(r)


def system(body: Body) -> bool:
    return any(m["role"] == "system" for m in body["messages"])


LEARNED: dict[str, tuple[Callable[[Request], Reply], Callable[[Body], bool]]] = {
    "18, a number allowed": (
        refuses(
            lambda b: b.get("top_logprobs", 0) > 7,
            {"error": {"message": "20 logprobs requested, max allowed: 7 (parameter=logprobs)", "param": "logprobs"}},
        ),
        lambda b: b["top_logprobs"] == 7,
    ),
    "18, in Japanese": (
        refuses(lambda b: b.get("top_logprobs", 0) > 11, {"message": ["top_logprobsは11以下である必要があります"]}),
        lambda b: b["top_logprobs"] == 11,
    ),
    "18, a bound that is not reached": (
        refuses(lambda b: b.get("top_logprobs", 0) > 5, {"error": "`top_logprobs` must be less than 6"}, 422),
        lambda b: b["top_logprobs"] == 5,
    ),
    "20, in Chinese": (refuses(system, {"error": {"message": "不支持系统角色"}}), lambda b: not system(b)),
    "20, by FastAPI": (
        refuses(system, {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Input should be 'user'"}]}, 422),
        lambda b: not system(b) and "Be brief." in b["messages"][0]["content"],
    ),
    "22, both names of the length": (
        refuses(
            lambda b: b.keys() & {"max_tokens", "max_completion_tokens"},
            [{"error": {"message": "不支持参数 max_tokens 和 max_completion_tokens"}}],
        ),
        lambda b: not b.keys() & {"max_tokens", "max_completion_tokens"},
    ),
    "23, a field alone": (
        refuses(lambda b: "seed" in b, {"error": {"message": "Not valid for the chosen model.", "param": ["seed"]}}),
        lambda b: "seed" not in b,
    ),
    "23, by Google": (
        refuses(lambda b: "seed" in b, [{"error": {"details": [{"fieldViolations": [{"field": "seed"}]}]}}]),
        lambda b: "seed" not in b,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LEARNED)
def test_what_is_refused_is_learned(run_on: Any, case: str) -> None:
    step, right = LEARNED[case]
    with FaultServer({"good": [step], "fine": ["ok"]}) as server:
        run = run_on(
            server, ("good", "fine"), n=N, samples=1, prompts=[{"set": "tiny", "temperature": 1.0, "top_logprobs": 20}],
            endpoint={"system_prompt": "Be brief.", "params": {"seed": 9}},
        )  # fmt: skip
        run.go()
        assert run.failures() == []
        sent = [json.loads(body) for (model, body) in server.delivered if model == "good"]
        assert len(sent) == N
        assert all(right(body) for body in sent)
        assert server.asked["good"] <= N + 3  # learned by the first call, and not once a call


@pytest.mark.parametrize(
    ("status", "value", "kind"),
    [
        (
            400,
            [{"error": {"code": 400, "details": [{"reason": "API_KEY_INVALID"}], "message": "Key."}}],
            "check the key",
        ),
        (400, {"error": {"message": "APIキーが無効です"}}, "check the key"),
        (200, {"code": 401, "msg": "令牌无效"}, "check the key"),
        (429, {"error": {"code": "1113", "message": "Insufficient balance."}}, "no credit left"),
        (429, {"error": {"message": "잔액이 부족합니다"}}, "no credit left"),
        (403, {"detail": "You have exceeded your monthly included credits"}, "no credit left"),
        (400, {"error": {"message": "Das Modell x wurde nicht gefunden"}}, "check `base_url` and `model`"),
        (400, "<html><body>Bad Request</body></html>", "HTTP 400"),
        (400, {"message": "Diese Anfrage mag hier niemand."}, "HTTP 400"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_who_refuses_all_ends_the_run_before_the_others_are_paid(
    run_on: Any, status: int, value: Any, kind: str, place: int
) -> None:
    """Cases 25 to 27: a bad key as 400, an empty balance as 429, and a refusal that teaches nothing."""
    names = ["bad" if i == place else name for i, name in enumerate(("one", "two"))]
    with FaultServer({"bad": [says(value, status)], "one": ["ok"], "two": ["ok"], "third": ["ok"]}) as server:
        run = run_on(server, (*names, "third"), n=N, samples=1, collect={"first_calls": 5})
        with pytest.raises(EndpointError, match="bad: ") as caught:
            run.go()
        assert kind in str(caught.value)
        assert server.asked["bad"] <= 2
        assert server.asked[names[1 - place]] + server.asked["third"] <= 2
