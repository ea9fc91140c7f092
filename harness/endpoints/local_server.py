"""llama.cpp server as a child process: OpenAI-compatible, on a free loopback port, until standard input closes.

The parent holds the other end of that pipe. When it ends, in whatever way, the kernel closes it and this process
goes too, so that no server is ever left behind.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """``local_server PATH SLOTS CONTEXT THREADS ALIAS``; prints one JSON line: the address, or the package missing."""
    path, slots, context, threads, alias = sys.argv[1:6]
    try:
        import xllamacpp
    except ModuleNotFoundError as e:
        print(json.dumps({"missing": e.name}))  # noqa: T201 - the parent reads this
        return

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.model_alias = {alias} if isinstance(params.model_alias, set) else alias
    params.port = 0
    params.n_parallel = int(slots)
    params.n_ctx = int(slots) * int(context)
    params.cpuparams.n_threads = int(threads)
    params.cpuparams_batch.n_threads = int(threads)
    params.verbosity = -1
    server = xllamacpp.Server(params)
    print(json.dumps({"address": server.listening_address}), flush=True)  # noqa: T201 - the parent reads this
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)  # the server's threads have nothing worth saving


if __name__ == "__main__":
    main()
