"""Rate-limit headers as providers document them or as they were seen, each with what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.endpoints.quotas import Quota, read_quotas, retry_after, seconds, until_reset

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (  # OpenAI
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-limit-tokens": "150000",
                "x-ratelimit-remaining-tokens": "149984",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            (Quota("requests", 60, 59, 1, 60), Quota("tokens", 150_000, 149_984, 360, 3600)),
        ),
        (  # Groq: requests of a day
            {
                "X-RateLimit-Limit-Requests": "1000",
                "X-RateLimit-Remaining-Requests": "998",
                "X-RateLimit-Reset-Requests": "2m52.8s",
                "X-RateLimit-Limit-Tokens": "18000",
                "X-RateLimit-Remaining-Tokens": "17997",
                "X-RateLimit-Reset-Tokens": "7.66s",
            },
            (Quota("requests", 1000, 998, 172.8, 3600), Quota("tokens", 18000, 17997, 7.66, 60)),
        ),
        (  # Anthropic
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:25Z",
                "anthropic-ratelimit-output-tokens-limit": "8000",
                "anthropic-ratelimit-output-tokens-remaining": "7000",
                "anthropic-ratelimit-output-tokens-reset": "2023-11-14T22:13:28Z",
            },
            (Quota("requests", 50, 0, 5, 60), Quota("part", 8000, 7000, 8, 60)),
        ),
        (  # Azure, GitHub Models
            {
                "x-ratelimit-limit-requests": "1000",
                "x-ratelimit-remaining-requests": "999",
                "x-ratelimit-renewalperiod-requests": "10",
            },
            (Quota("requests", 1000, 999, None, 10),),
        ),
        (  # Mistral: no reset; the windows stand in the names
            {"x-ratelimit-limit-req-minute": "50", "x-ratelimit-remaining-req-minute": "49"},
            (Quota("requests", 50, 49, None, 60),),
        ),
        (  # Cerebras
            {
                "x-ratelimit-limit-requests-day": "1000",
                "x-ratelimit-remaining-requests-day": "750",
                "x-ratelimit-reset-requests-day": "3600",
                "x-ratelimit-limit-tokens-minute": "60000",
            },
            (Quota("requests", 1000, 750, 3600, 86400), Quota("tokens", 60000, None, None, 60)),
        ),
        (  # Together: calls and tokens a second
            {
                "x-ratelimit-limit": "10",
                "x-ratelimit-remaining": "9",
                "x-ratelimit-reset": "1",
                "x-tokenlimit-limit": "3000",
                "x-tokenlimit-remaining": "2900",
            },
            (Quota("requests", 10, 9, 1, 1), Quota("tokens", 3000, 2900, None, None)),
        ),
        (  # Fireworks
            {"x-ratelimit-limit-requests": "600", "x-ratelimit-limit-tokens-prompt": "216000"},
            (Quota("requests", 600, None, None, 60), Quota("part", 216_000, None, None, 60)),
        ),
        (  # GitHub, and OpenRouter with milliseconds
            {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4999", "x-ratelimit-reset": "1700003000"},
            (Quota("requests", 5000, 4999, 3000, 3600),),
        ),
        (
            {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700000030000"},
            (Quota("requests", 20, 0, 30, 60),),
        ),
        (  # IETF drafts of 2021, 2023 and 2024
            {
                "ratelimit-limit": "100, 100;w=60, 9000;w=86400",
                "ratelimit-remaining": "98",
                "ratelimit-reset": "3",
                "ratelimit-policy": "100;w=60",
            },
            (Quota("requests", 100, 98, 3, 60),),
        ),
        (
            {"ratelimit": "limit=100, remaining=50, reset=30", "ratelimit-policy": "100;w=60"},
            (Quota("requests", 100, 50, 30, 60),),
        ),
        (
            {
                "ratelimit": '"burst";r=50;t=5, "daily";r=900;t=4000',
                "ratelimit-policy": '"burst";q=100;w=10, "daily";q=1000;w=86400',
            },
            (Quota("requests", 100, 50, 5, 10), Quota("requests", 1000, 900, 4000, 86400)),
        ),
        ({"x-ratelimit-limit-requests": "unlimited", "x-ratelimit-reset-tokens": "soon"}, (Quota("requests"),) * 0),
        ({"content-type": "application/json"}, ()),
    ],
)
def test_what_providers_tell(headers: dict[str, str], expected: tuple[Quota, ...]) -> None:
    assert [q for q in read_quotas(headers, NOW) if q.limit is not None] == list(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("1700000009", 9),
        ("1700000009000", 9),
        ("2023-11-14T22:13:28Z", 8),
        ("2023-11-14T23:13:28+01:00", 8),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("inf", float("inf")),
        ("-5", 0),
    ],
)
def test_retry_after_in_every_form(text: str, expected: float) -> None:
    assert retry_after({"retry-after": text}, NOW) == pytest.approx(expected)


def test_used_up_is_what_has_nothing_left() -> None:
    quotas = (Quota("requests", 60, 3, 50, 60), Quota("part", 9, 0, 7, 60), Quota("tokens", 9, 0, None, 60))
    assert until_reset(quotas) == 7


NAMES = st.sampled_from(
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy"]
)


@given(st.dictionaries(NAMES, st.text(alphabet='0123456789.;,=wqrt"-mshd eninf', max_size=20)))
def test_no_header_costs_an_answer(headers: dict[str, str]) -> None:
    for q in read_quotas(headers, NOW):
        assert q.window is None or q.window >= 0
    assert until_reset(read_quotas(headers, NOW)) >= 0
    for value in headers.values():
        try:
            assert seconds(value, NOW) >= 0
        except ValueError:
            continue
