"""A server that also takes batches, in OpenAI's and in Anthropic's shape, as their documentation shows them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.support import payloads
from tests.support.fault_server import FaultServer, Reply, Request, Step, ok


class BatchServer(FaultServer):
    """``looks`` are how often a batch is asked for before it has ended; ``spoil`` may turn the result of a call.

    ``made`` are the batches by id with their requests; ``paths`` what was asked for beside calls; ``trouble`` answers
    by the end of a path instead of the server.
    """

    def __init__(self, script: Mapping[str, Any], looks: int = 2) -> None:
        super().__init__(script)
        self.looks = looks
        self.made: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, bytes] = {}
        self.paths: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.asked_for: dict[str, int] = {}
        self.trouble: dict[str, Reply] = {}
        self.spoil: Callable[[dict[str, Any], int], dict[str, Any] | None] = lambda line, _: line
        self.ends_as = "completed"
        self.answer: Step = ok

    def beside(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        if "/files" not in path and "/batches" not in path:
            return None
        self.paths.append(path)
        self.headers.append(headers)
        for end, reply in self.trouble.items():
            if path.endswith(end):
                return reply
        if path.endswith("/files"):
            return self._upload(headers, body)
        if path.endswith("/batches"):
            return self._make(json.loads(body), "/messages/" in path)
        found = re.search(r"/(files|batches)/([^/]+)(/content|/results)?$", path)
        assert found, path
        if found[1] == "files":
            return Reply(body=self.files[found[2]])
        if found[2] not in self.made:
            return Reply(404, payloads.encode({"error": {"message": f"no batch {found[2]}"}}))
        return Reply(body=self._results(found[2])) if found[3] else self._look(found[2])

    def _upload(self, headers: Mapping[str, str], body: bytes) -> Reply:
        boundary = headers["content-type"].partition("boundary=")[2].encode()
        parts = [p.partition(b"\r\n\r\n") for p in body.split(b"--" + boundary)[1:-1]]
        fields = {re.search(rb'name="(\w+)"', head)[1].decode(): value[:-2] for head, _, value in parts}  # type: ignore[index]
        assert fields["purpose"] == b"batch"
        name = f"file-{len(self.files) + 1}"
        self.files[name] = fields["file"]
        return Reply(body=payloads.encode({"id": name, "object": "file", "purpose": "batch"}))

    def _make(self, asked: dict[str, Any], anthropic: bool) -> Reply:
        name = f"{'msgbatch' if anthropic else 'batch'}_{len(self.made) + 1}"
        if anthropic:
            self.made[name] = [{"body": r["params"], **r} for r in asked["requests"]]
        else:
            self.made[name] = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
            assert asked["completion_window"] == "24h"
            assert {r["url"] for r in self.made[name]} == {asked["endpoint"]}
        return self._look(name)

    def _look(self, name: str) -> Reply:
        self.asked_for[name] = self.asked_for.get(name, -1) + 1
        ended = self.asked_for[name] > self.looks
        if name.startswith("msg"):
            state = {"processing_status": "ended" if ended else "in_progress", "results_url": "https://x.example/steal"}
            return Reply(body=payloads.encode({"id": name, "type": "message_batch", **state}))
        state = {"status": self.ends_as if ended else "in_progress", "output_file_id": None, "error_file_id": None}
        if ended and self.ends_as == "failed":
            state["errors"] = {"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]}
        elif ended:
            lines = self._results(name).splitlines(keepends=True)
            self.files[f"out-{name}"] = b"".join(x for x in lines if b'"error": null' in x)
            self.files[f"err-{name}"] = b"".join(x for x in lines if b'"error": null' not in x)
            state |= {"output_file_id": f"out-{name}", "error_file_id": f"err-{name}"}
        return Reply(body=payloads.encode({"id": name, "object": "batch", **state}))

    def _results(self, name: str) -> bytes:
        """Lines in another order than they were asked in."""
        lines = []
        for number, request in enumerate(self.made[name]):
            path = request.get("url", "/v1/messages")
            asked = Request(path, {}, json.dumps(request["body"]).encode(), request["body"]["model"], number, self)
            reply = json.loads(self.answer(asked).body)
            line: dict[str, Any] | None = {"custom_id": request["custom_id"]}
            if name.startswith("msg"):
                line |= {"result": {"type": "succeeded", "message": reply}}  # type: ignore[operator]
            else:
                line |= {"response": {"status_code": 200, "request_id": "r", "body": reply}, "error": None}  # type: ignore[operator]
            line = self.spoil(line or {}, number)
            lines += [json.dumps(line).encode() + b"\n"] if line else []
        return b"".join(reversed(lines))
