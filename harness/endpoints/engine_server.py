"""Serve weights by transformers or vLLM as a child process: OpenAI-compatible, on a free loopback port.

As `local_server.py` it imports nothing of ours, prints one JSON line, and ends when standard input closes. vLLM has a
server of its own, which is started and stopped here. transformers is asked directly: its own server gives no logprobs.
No code from the folder is run, and of weights only safetensors and GGUF are read: a pickle can run anything.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KNOWN = frozenset(
    {"model", "messages", "prompt", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p"}
    | {"seed", "logprobs", "top_logprobs", "n", "stream", "stop", "echo"}
)
MOST_ALTERNATIVES = 20
MEMORY = 0.4  # share that one vLLM server takes: it wants nearly all, and a campaign has several servers
LONGEST_ANSWER = 256  # tokens, where a request sets no limit


class RefusedError(Exception):
    """A request that cannot be answered; ``param`` is what of it."""

    def __init__(self, message: str, param: str = "") -> None:
        super().__init__(message)
        self.param = param


class Engine:
    """One model in transformers; it answers one call after the other."""

    def __init__(self, folder: str, context: int, threads: int, alias: str, reads: bool = False) -> None:
        import torch
        import transformers

        torch.set_num_threads(threads)
        self._torch, self._transformers = torch, transformers
        told: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        if as_gguf := Path(folder).is_file():
            folder, told["gguf_file"] = str(Path(folder).parent), Path(folder).name
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **told)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        told |= {"dtype": torch.float32} if as_gguf else {"dtype": "auto", "use_safetensors": True}
        load = transformers.AutoModelForCausalLM.from_pretrained
        self._model = load(folder, **told).to(self._device, dtype=fast_numbers(torch) if reads else None).eval()
        self._context, self._alias, self._one = context, alias, threading.Lock()
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        self._bytes = _byte_letters() if backend is not None and '"ByteLevel"' in backend.to_str() else {}

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to a body of chat completions or completions. `RefusedError` for what cannot be answered."""
        for name in body:
            if name not in KNOWN or (name in ("n", "stream", "stop") and body[name] not in (None, 1, False)):
                raise RefusedError(f"unsupported parameter: {name}", name)
        chat = "messages" in body
        if body.get("echo"):
            return self._echo(body)
        ids = self._encoded(body)
        longest = body.get("max_completion_tokens") or body.get("max_tokens") or LONGEST_ANSWER
        room = self._context - ids.shape[1]
        if room < 1:
            raise RefusedError(f"the prompt has {ids.shape[1]} tokens, and the context holds {self._context}")
        asked = body.get("top_logprobs" if chat else "logprobs")
        alternatives = int(asked or 0) if not chat or body.get("logprobs") else 0
        if alternatives > MOST_ALTERNATIVES:
            raise RefusedError(f"top_logprobs: at most {MOST_ALTERNATIVES}", "top_logprobs")
        with self._one:
            new, logits = self._generated(ids, min(int(longest), room), body)
        ended = bool(new) and new[-1] in self._ends()
        text = self._tokenizer.decode(new, skip_special_tokens=True)
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop" if ended else "length", "logprobs": None}
        if alternatives or (chat and body.get("logprobs")):
            choice["logprobs"] = (self._chat_logprobs if chat else self._logprobs)(new, logits, alternatives)
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        used = {"prompt_tokens": ids.shape[1], "completion_tokens": len(new), "total_tokens": ids.shape[1] + len(new)}
        return {
            "object": "chat.completion" if chat else "text_completion",
            "model": self._alias,
            "choices": [choice],
            "usage": used,
        }

    def _echo(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The prompt itself, with the logprob of each of its tokens after all before it; nothing is generated."""
        if "messages" in body or body.get("max_tokens") != 0:
            raise RefusedError("echo: of completions alone, with max_tokens 0", "echo")
        text, torch = str(body.get("prompt", "")), self._torch
        told = self._tokenizer(text, return_offsets_mapping=True)
        ids = torch.tensor([told.input_ids], device=self._device)
        if not 1 < ids.shape[1] <= self._context:
            raise RefusedError(f"the prompt has {ids.shape[1]} tokens, and the context holds {self._context}")
        with self._one, torch.inference_mode():
            logits = self._model(ids).logits[0, :-1].float()
            whole, (best, at) = logits.logsumexp(-1), logits.max(-1)
            found = (logits.gather(1, ids[0, 1:, None])[:, 0] - whole).tolist()
            best = (best - whole).tolist()
        tokens, offsets, end = [], [], 0
        for start, stop in told.offset_mapping:  # pieces of one character have one place
            offsets.append(max(start, end))
            tokens.append(text[max(start, end) : stop])
            end = max(end, stop)
        shape: dict[str, Any] = {"tokens": tokens, "token_logprobs": [None, *found], "text_offset": offsets}
        if body.get("logprobs"):  # the likeliest last: pieces of characters look alike
            likeliest = [self._spelt(t).decode("utf-8", "replace") for t in at.tolist()]
            own = zip(tokens[1:], found, likeliest, best, strict=True)
            shape["top_logprobs"] = [None, *({t: p} | {n: b} for t, p, n, b in own)]
        choice = {"index": 0, "text": text, "finish_reason": "length", "logprobs": {"top_logprobs": None, **shape}}
        used = {"prompt_tokens": len(tokens), "completion_tokens": 0, "total_tokens": len(tokens)}
        return {"object": "text_completion", "model": self._alias, "choices": [choice], "usage": used}

    def _encoded(self, body: Mapping[str, Any]) -> Any:
        if "messages" not in body:
            return self._tokenizer(str(body.get("prompt", "")), return_tensors="pt").input_ids
        if not self._tokenizer.chat_template:
            raise RefusedError("this model has no chat template: ask it through completions")
        try:
            text = self._tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, tokenize=False)
        except Exception as e:  # templates are programs, and say in words of their own what they do not take
            raise RefusedError(f"the chat template refuses these messages: {e}"[:300]) from None
        return self._tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids

    def _ends(self) -> set[int]:
        ends = self._model.generation_config.eos_token_id
        ends = self._tokenizer.eos_token_id if ends is None else ends
        return {*ends} if isinstance(ends, list) else set() if ends is None else {ends}

    def _generated(self, ids: Any, longest: int, body: Mapping[str, Any]) -> tuple[list[int], Any]:
        """Tokens drawn, and the logits they were drawn from, before temperature. OpenAI's defaults, not the model's."""
        torch = self._torch
        torch.manual_seed(int(body["seed"]) % 2**63) if body.get("seed") is not None else torch.seed()
        heat = 1.0 if body.get("temperature") is None else float(body["temperature"])
        ends = sorted(self._ends()) or None
        drawn = {"temperature": heat, "top_p": body.get("top_p") or 1.0, "top_k": body.get("top_k") or 0}
        settings = self._transformers.GenerationConfig(
            max_new_tokens=longest,
            do_sample=heat > 0,
            eos_token_id=ends,
            pad_token_id=ends[0] if ends else 0,
            output_logits=True,
            return_dict_in_generate=True,
            **(drawn | ({"min_p": body["min_p"]} if body.get("min_p") else {}) if heat > 0 else {}),
        )
        with torch.inference_mode():
            mask = torch.ones_like(ids)
            out = self._model.generate(
                ids.to(self._device), attention_mask=mask.to(self._device), generation_config=settings
            )
        return out.sequences[0, ids.shape[1] :].tolist(), out.logits

    def _likeliest(self, new: Sequence[int], logits: Any, most: int) -> list[tuple[float, list[tuple[int, float]]]]:
        """For each token drawn its logprob, and the likeliest ones with theirs."""
        out = []
        for token, row in zip(new, logits, strict=False):
            p = self._torch.log_softmax(row[0].float(), -1)
            top = p.topk(most) if most else None
            pairs = list(zip(top.indices.tolist(), top.values.tolist(), strict=True)) if top is not None else []
            out.append((p[token].item(), pairs))
        return out

    def _chat_logprobs(self, new: Sequence[int], logits: Any, most: int) -> dict[str, Any]:
        def entry(token: int, logprob: float) -> dict[str, Any]:
            spelt = self._spelt(token)
            return {"token": spelt.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(spelt)}

        found = zip(new, self._likeliest(new, logits, most), strict=True)
        return {"content": [{**entry(t, p), "top_logprobs": [entry(*o) for o in top]} for t, (p, top) in found]}

    def _logprobs(self, new: Sequence[int], logits: Any, most: int) -> dict[str, Any]:
        found = self._likeliest(new, logits, most)
        text = [self._spelt(t).decode("utf-8", "replace") for t in new]
        tops: list[dict[str, float]] = []
        for _, top in found:
            kept: dict[str, float] = {}
            for token, p in top:
                kept.setdefault(self._spelt(token).decode("utf-8", "replace"), p)  # pieces of characters look alike
            tops.append(kept)
        return {"tokens": text, "token_logprobs": [p for p, _ in found], "top_logprobs": tops, "text_offset": []}

    def _spelt(self, token: int) -> bytes:
        """The bytes of a token: of byte-level tokenizers by their alphabet, of others with their mark for a space."""
        raw = str(self._tokenizer.convert_ids_to_tokens(token))
        if self._bytes and all(c in self._bytes for c in raw):
            return bytes(self._bytes[c] for c in raw)
        if piece := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", raw):
            return bytes([int(piece[1], 16)])
        return raw.replace("\u2581", " ").encode()


def fast_numbers(torch: Any) -> Any:
    """Numbers to read in: bfloat16 where the processor computes in it, three times as fast; else as the weights are.

    A logprob then is off by about .03 nat, at random; the mean of an answer's by less than .01
    (tests/endpoints/test_engines.py).
    """
    knows = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return torch.bfloat16 if torch.cuda.is_available() or (knows is not None and knows()) else None


def _byte_letters() -> dict[str, int]:
    """The letter that byte-level tokenizers write for each byte (GPT-2): itself if it prints, else one from 256 on."""
    printing = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printing]
    return {chr(b): b for b in printing} | {chr(256 + i): b for i, b in enumerate(others)}


def serve_transformers(folder: str, context: int, threads: int, alias: str, reads: bool) -> str:
    """Start to answer in threads of this process; the address."""
    engine = Engine(folder, context, threads, alias, reads)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._send(200, {"object": "list", "data": [{"id": alias, "object": "model"}]})

        def do_POST(self) -> None:
            try:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                if not self.path.partition("?")[0].endswith("completions"):
                    self._send(404, {"error": {"message": f"nothing is served at {self.path}"}})
                    return
                self._send(200, engine.answer(body))
            except RefusedError as e:
                self._send(400, {"error": {"message": str(e), "param": e.param or None}})
            except Exception as e:  # one call must not end the server
                self._send(500, {"error": {"message": f"{type(e).__name__}: {e}"[:300]}})

        def _send(self, status: int, value: Mapping[str, Any]) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def serve_vllm(folder: str, slots: int, context: int, alias: str) -> tuple[str, subprocess.Popen[bytes]]:
    """Start vLLM's own server and wait until it answers; the address, and the process to stop."""
    import vllm  # noqa: F401 - said to be missing before anything is started

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", "--model", folder]
    command += [
        "--served-model-name",
        alias,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--load-format",
        "safetensors",
    ]
    command += ["--max-model-len", str(context), "--max-num-seqs", str(slots)]
    command += ["--max-logprobs", str(MOST_ALTERNATIVES), "--generation-config", "vllm"]  # OpenAI's defaults
    command += ["--gpu-memory-utilization", str(MEMORY)]  # of a graphics card, and of the machine where there is none
    process = subprocess.Popen(command, stdout=sys.stderr, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    threading.Thread(target=_stop_with_parent, args=(process,), daemon=True).start()
    while process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return f"http://127.0.0.1:{port}", process
        time.sleep(0.5)
    raise RefusedError(f"vLLM ended with code {process.returncode}")


def _stop_with_parent(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of standard input, stop what was started, and end."""
    while sys.stdin.buffer.read(4096):
        pass
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)
        os.killpg(process.pid, signal.SIGKILL)
    os._exit(0)


def main() -> None:
    """``engine_server PATH SLOTS CONTEXT THREADS ALIAS ENGINE [reads]``: a JSON line, the address or what is missing.

    With ``reads`` it is a model that reads answers, and gives none.
    """
    folder, slots, context, threads, alias, engine = sys.argv[1:7]
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    try:
        if engine == "vllm":
            address, process = serve_vllm(folder, int(slots), int(context), alias)
        else:
            reads = sys.argv[7:] == ["reads"]
            address, process = serve_transformers(folder, int(context), int(threads), alias, reads), None
    except ModuleNotFoundError as e:
        print(json.dumps({"missing": e.name}))  # noqa: T201 - the parent reads this
        return
    print(json.dumps({"address": address}), flush=True)  # noqa: T201 - the parent reads this
    if process is not None:
        process.wait()
        return
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
