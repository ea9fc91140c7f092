"""One plan in several stores, and answers of another campaign: none twice, none lost, none of somebody else."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.campaign import collect_async
from harness.config.endpoint import Local, OpenAIChat
from harness.endpoints.apis import planned_keys
from harness.endpoints.local import endpoint_fingerprint as identity
from harness.endpoints.quirks import Quirks
from harness.errors import ConfigError, StoreError
from harness.plan import STORE, Shard, planned, prepare
from harness.records import Response
from harness.store.merging import require_whole, seal
from harness.store.provenance import noted_endpoints as endpoints_of
from harness.store.provenance import reused
from harness.store.store import Store
from harness.transfer import merge_stores
from tests.support import Write
from tests.support.fault_server import FaultServer, refuses
from tests.support.stored_plans import answer, answered


def change(path: Path, **settings: object) -> Path:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | settings))
    return path


def ask(path: Path, shard: Shard | None = None) -> list[str]:
    said: list[str] = []
    plan = replace(prepare(path, {}), shard=shard or Shard())
    asyncio.run(collect_async(plan, {}, {}, asyncio.Event(), said.append))
    return said


def stored(folder: Path) -> list[Response]:
    with Store(folder / STORE, readonly=True) as store:
        return list(store.responses())


def test_each_key_is_in_exactly_one_shard() -> None:
    keys = [("e", f"p{i}", s, "h") for i in range(300) for s in range(2)]
    owners = Counter(i for k in keys for i in range(1, 4) if Shard(i, 3).holds(k))
    assert sum(owners.values()) == 600
    assert min(owners.values()) > 150
    assert all(Shard().holds(k) for k in keys)
    assert Shard.parse("2/3") == Shard(2, 3)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5"])
def test_a_shard_that_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError, match="not i/n"):
        Shard.parse(text)


def test_shards_together_ask_everything_once_and_merge(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=10)
        folders = [tmp_path / f"machine-{i}" / "test" for i in (1, 2, 3)]
        for i, folder in enumerate(folders, start=1):
            ask(change(path, results=folder.parent.name), Shard(i, 3))
        assert sum(server.asked.values()) == 40
        sizes = [len(stored(f)) for f in folders]
        assert sum(sizes) == 40
        assert min(sizes) > 0
        plan = prepare(change(path, results="whole"), {})
        assert sum(merge_stores(plan, folders).values()) == 40
        assert sum(merge_stores(plan, [folders[0] / STORE]).values()) == 0  # identical ones are skipped
        assert sorted(map(repr, stored(plan.folder))) == sorted(repr(r) for f in folders for r in stored(f))
        with Store(plan.folder / STORE, readonly=True) as store:
            assert all(store.request(r.request_hash) for r in store.responses())
            assert [e[0] for e in endpoints_of(store)] == ["fine", "good"]
        ask(path)
        assert sum(server.asked.values()) == 40


def test_what_one_shard_was_refused_holds_for_all(tmp_path: Path, write_campaign: Write) -> None:
    """A shard without calls of a kind learns nothing of them, and its plan is another one; they merge all the same."""
    refuses_top_p = refuses("top_p is not supported", lambda body: "top_p" in body)
    with FaultServer({"good": [refuses_top_p], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=2, samples=1, endpoint={"params": {"top_p": 0.9}})
        shards = [Shard(i, 3) for i in (1, 2, 3)]
        for shard in shards:
            ask(change(path, results=f"part-{shard.index}"), shard)
        folders = [tmp_path / f"part-{s.index}" / "test" for s in shards]
        plans = []
        for folder in folders:
            with Store(folder / STORE, readonly=True) as store:
                plans.append({key for key, _ in store.plan_keys()})
        assert len({frozenset(p) for p in plans}) > 1  # else this shows nothing
        plan = prepare(change(path, results="whole"), {})
        assert sum(merge_stores(plan, folders).values()) == 4
        ask(path)
    assert sum(server.delivered.values()) == 4


def test_what_the_campaigns_own_store_was_refused_holds_as_well(tmp_path: Path, write_campaign: Write) -> None:
    refuses_top_p = refuses("top_p is not supported", lambda body: "top_p" in body)
    with FaultServer({"good": [refuses_top_p], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=1, samples=1, endpoint={"params": {"top_p": 0.9}})
        plan = prepare(path, {})
        known = {"good": Quirks(refuses=frozenset({"top_p"}))}
        keys = [k for k in (*planned(plan), *planned(plan, known)) if k[0] == "good"]
        shards = (Shard(i, n) for n in range(2, 50) for i in range(1, n + 1))
        own = next(s for s in shards if all(s.holds(k) for k in keys))  # it asks with top_p, and without
        other = Shard(own.index % own.count + 1, own.count)  # it asks `good` nothing
        ask(path, own)
        ask(change(path, results="other"), other)
        merge_stores(plan, [tmp_path / "other" / "test"])
        assert "good" in {r.endpoint for r in stored(plan.folder)}
        ask(change(path, results="results"))
        assert len(stored(plan.folder)) == 2
    assert sum(server.delivered.values()) == 2


@pytest.mark.parametrize("own_first", [False, True])
def test_answers_with_and_without_a_parameter_are_not_joined(
    tmp_path: Path, write_campaign: Write, own_first: bool
) -> None:
    """Whoever sits behind one address may change its mind; the message names endpoint, parameter and store."""
    moods = [True]
    refused = refuses("top_p is not supported", lambda body: moods[0] and "top_p" in body)
    with FaultServer({"good": [refused], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=10, endpoint={"params": {"top_p": 0.9}})
        ask(change(path, results="refused"), Shard(1, 2))
        moods[0] = False
        ask(change(path, results="took"), Shard(2, 2))
        plan = prepare(change(path, results="took" if own_first else "whole"), {})
        sources = [tmp_path / n / "test" for n in ("refused", "took")][: 1 if own_first else 2]
        took = re.escape(str(tmp_path / "took" / "test" / STORE))
        with pytest.raises(StoreError, match=rf"{took}: good gave \d+ answers to requests with `top_p`, which another"):
            merge_stores(plan, sources)
        plan = prepare(change(path, results="rest"), {})
        kept = sum(merge_stores(plan, [tmp_path / "refused" / "test"]).values())  # what the message says to do
        before = sum(server.delivered.values())
        moods[0] = True
        ask(path)
    assert len(stored(plan.folder)) == 40
    assert sum(server.delivered.values()) - before == 40 - kept


def test_two_answers_to_one_key_are_refused_and_named(tmp_path: Path, write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1")
    for name, text in (("a", "one"), ("b", "one"), ("c", "other")):
        answered(change(path, results=name), [text])
    plan = prepare(change(path, results="whole"), {})
    with pytest.raises(StoreError, match=r"12 keys have two different answers: .*tiny-000 / sample 0.* and 7 more"):
        merge_stores(plan, [tmp_path / n / "test" for n in "abc"])
    with Store(plan.folder / STORE, readonly=True) as store:
        assert not store.keys()
    assert sum(merge_stores(plan, [tmp_path / n / "test" for n in "ab"]).values()) == 12


def test_stores_of_another_plan_are_refused(tmp_path: Path, write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1", n=3)
    answered(change(path, results="a"), ["one"])
    write_campaign("http://127.0.0.1:9/v1", n=4)
    with pytest.raises(StoreError, match="other prompts"):
        merge_stores(prepare(path, {}), [tmp_path / "a" / "test"])
    write_campaign("http://127.0.0.1:9/v1", n=3, endpoint={"params": {"temperature": 0.5}})
    with pytest.raises(StoreError, match=r"another plan .* 12 answers to requests that it does not make"):
        merge_stores(prepare(path, {}), [tmp_path / "a" / "test"])


def test_identity_is_address_and_model_and_not_the_name() -> None:
    e = OpenAIChat(kind="openai-chat", name="a", role="suspect", base_url="https://x.org/v1", model="m")
    same = [
        {"name": "b"},
        {"role": "control", "lineage": "l"},
        {"api_key_env": "K"},
        {"base_url": "https://X.org/v1/"},
        {"concurrency": 3},
    ]
    assert {identity(e.model_copy(update=u)) for u in same} == {identity(e)}
    for u in (
        {"model": "n"},
        {"base_url": "https://y.org/v1"},
        {"base_url": "https://x.org/v2"},
        {"base_url": "https://x.org/v1?deployment=a"},
    ):
        assert identity(e.model_copy(update=u))[0] != identity(e)[0]
    assert "secret" not in identity(e.model_copy(update={"base_url": "https://u:secret@x.org/v1?key=secret"}))[1]


def test_identity_of_a_local_model_is_its_weights_and_context(tmp_path: Path) -> None:
    def of(folder: str, **settings: object) -> str:
        weights = settings.pop("weights", {"gguf": "m.gguf"})
        given = {"kind": "local", "name": "m", "role": "control", "lineage": "m", "weights": weights, **settings}
        return identity(Local.model_validate(given), tmp_path / folder)[0]

    for folder, content in (("a", b"GGUF1"), ("b", b"GGUF2"), ("c", b"GGUF1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.gguf").write_bytes(content)
    assert of("a") == of("c") == of("b", weights={"gguf": str(tmp_path / "a" / "m.gguf")}) == of("a", threads=3)
    digest = hashlib.sha256(b"GGUF1").hexdigest()
    assert of("nowhere", weights={"gguf": "m.gguf", "sha256": digest}) == of("a")
    different = [of("a"), of("b"), of("nowhere"), of("elsewhere"), of("a", context=256), of("a", context=512)]
    assert len(set(different)) == len(different)


def test_a_key_in_an_address_reaches_no_file(tmp_path: Path, write_campaign: Write) -> None:
    """A config in memory is not read by `load_config`, which refuses such an address."""
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        plan = prepare(write_campaign(server.url, n=1), {})
        url = server.url + "?deployment=a&api-key=hunter2"
        endpoints = tuple(e.model_copy(update={"base_url": url}) for e in plan.campaign.endpoints)
        plan = replace(plan, campaign=plan.campaign.model_copy(update={"endpoints": endpoints}))
        asyncio.run(collect_async(plan, {}, {}, asyncio.Event()))
    with Store(plan.folder / STORE, readonly=True) as store:
        told = [text for _, _, text in endpoints_of(store)]
        assert all("?deployment=a&api-key=[key]" in text for text in (*told, store.note("learned/good") or ""))
    content = b"".join(p.read_bytes() for p in plan.folder.iterdir())
    assert b"hunter" not in content
    assert len(told) == 2


def test_answers_of_another_campaign_are_not_asked_again(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=3, campaign="first")
        ask(path)
        assert sum(server.asked.values()) == 12
        path = write_campaign(server.url, n=5, campaign="second", reuse=["results/first"])
        assert "reused 12 answers of other campaigns" in ask(path)
        assert sum(server.asked.values()) == 20
        with Store(tmp_path / "results" / "second" / STORE, readonly=True) as store:
            assert reused(store) == [("fine", "results/first", 6), ("good", "results/first", 6)]
            assert {key for key, _ in store.plan_keys()} == {*planned(prepare(path, {}))} == store.keys()
            assert {r.text for r in store.responses() if r.prompt == "tiny-000"}
        ask(path)
        assert sum(server.asked.values()) == 20
        path = write_campaign(server.url, n=3, campaign="third", reuse=["results/first"], samples=1)
        path.write_text(path.read_text().replace("127.0.0.1", "localhost"))  # the same name and model elsewhere
        assert "reused 0 answers of other campaigns" in ask(path)
        assert sum(server.asked.values()) == 26
        with pytest.raises(
            StoreError, match=r"answers came from http://localhost.*this config asks http://127\.0\.0\.1"
        ):
            ask(write_campaign(server.url, n=4, campaign="third", samples=1))
        assert sum(server.asked.values()) == 26


def test_a_reuse_that_is_not_there_is_said(write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1", reuse=["results/none"])
    with pytest.raises(StoreError, match="no answers are stored here"):
        ask(path)


def test_hashes_are_of_the_answers_that_were_read(write_campaign: Write) -> None:
    plan = prepare(write_campaign("http://127.0.0.1:9/v1", n=4), {})
    *keys, last = planned_keys(plan.campaign, plan.prompts)
    with Store(plan.store) as store:
        store.set_plan(plan.prompts, [*keys, last], plan.prompt_hashes)
        store.add_many(answer(k, f"née {i}", logprobs=b"\x00\xff") for i, k in enumerate(keys))
        found, before = require_whole(store), seal(store)
        assert before.chain["answers"] == len(keys) > 1
        assert seal(store, found) == before
        store.add(answer(last, "late"))
        assert seal(store, found) == before != seal(store)
        store.insert("UPDATE responses SET text = ? WHERE position = 1", [("another",)])
        with pytest.raises(StoreError, match=r"answer 1 \(.*\) was changed"):
            require_whole(store)


def test_the_digest_sees_every_field() -> None:
    from harness.store.chain import content_digest

    r = Response("e", "p", 0, "h", "ok", "text", logprobs=b"\x00")
    changes = [{"text": "Text"}, {"reasoning": "x"}, {"logprobs": b"\x01"}, {"seconds": 1.0}, {"prompt_tokens": 1}]
    assert len({content_digest(replace(r, **c)) for c in changes} | {content_digest(r)}) == 6
