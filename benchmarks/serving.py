"""recipes/serve_text_model.py under load, on 127.0.0.1: sentences a second and latencies.

The server runs in a process of its own with the default classifier, untrained; the client is this
process, so the two share the cores. "busy": each connection sends its next request when it has the
answer to the last one. "1000/s": requests are sent at that rate, whatever comes back, and their
latency counts from the moment they were due.

Every row: percentiles of a request's latency in milliseconds, sentences a second and the 99th
percentile. There is nothing stock to compare with.
"""

import asyncio
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import measure
from benchmarks.jieba import read_corpus
from kerasllm import TextClassifier
from kerasllm.models.presets import make_classifier
from kerasllm.text import TextPipeline

SERVER = pathlib.Path(__file__).parents[1] / "recipes" / "serve_text_model.py"
LABELS = [f"class {i}" for i in range(10)]


def export(texts, folder):
    pipeline = TextPipeline.fit(
        texts, max_size=50_000, min_frequency=2, spell_unknown=True, max_length=256, labels=LABELS
    )
    model = make_classifier("embedding_lstm", len(pipeline.vocabulary), len(LABELS))
    TextClassifier(model, pipeline).export(folder)


def start(folder):
    """The server's process and port."""
    server = subprocess.Popen(
        [sys.executable, SERVER, folder, "--port", "0"],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "KERASLLM_API_KEY": "key", "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    line = server.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
    if not found:
        server.kill()
        raise RuntimeError(f"The server did not start; it said {line!r}.")
    return server, int(found[1])


def request_bytes(texts):
    body = json.dumps({"texts": texts}, ensure_ascii=False).encode()
    head = (
        "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer key\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """Keeps one connection open. A client library would cost more than the server."""

    async def open(self, port):
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def ask(self, request):
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        size = int(re.search(rb"content-length: (\d+)", head)[1])
        body = await self._reader.readexactly(size)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"The server answered {head[:60]!r} {body[:200]!r}.")
        return body

    def close(self):
        self._writer.close()


async def busy(port, requests, num_connections):
    """Seconds of each request, and of all together."""
    connections = [await Connection().open(port) for _ in range(num_connections)]
    queue, times = iter(requests), []

    async def work(connection):
        for request in queue:
            begin = time.perf_counter()
            await connection.ask(request)
            times.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*map(work, connections))
    seconds = time.perf_counter() - begin
    for connection in connections:
        connection.close()
    return times, seconds


async def paced(port, requests, rate, num_connections=64):
    """The same with requests at a rate; each takes a connection that is free."""
    free = asyncio.Queue()
    for _ in range(num_connections):
        free.put_nowait(await Connection().open(port))
    times, tasks = [], []

    async def work(request, due):
        connection = await free.get()
        await connection.ask(request)
        times.append(time.perf_counter() - due)
        free.put_nowait(connection)

    begin = time.perf_counter()
    for number, request in enumerate(requests):
        due = begin + number / rate
        delay = due - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        tasks.append(asyncio.create_task(work(request, due)))
    await asyncio.gather(*tasks)
    seconds = time.perf_counter() - begin
    while not free.empty():
        free.get_nowait().close()
    return times, seconds


def row(shape, texts_per_request, times, seconds):
    p20, p50, p80, p99 = np.percentile(np.array(times) * 1e3, [20, 50, 80, 99])
    rate = f"{len(times) * texts_per_request / seconds:.0f} texts/s"
    work = f"{texts_per_request} a request"
    return measure.Row(work, shape, rate, f"p99 {p99:.1f} ms", p20, p50, p80)


def run(quick=False):
    texts = read_corpus(10_000)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        export(texts, f"{folder}/model")
        server, port = start(f"{folder}/model")
        try:
            for size, num_connections in ((1, 1), (1, 8), (1, 32), (10, 4), (100, 2)):
                count = max(20, (400 if quick else 3000) // size)
                some = [texts[i % 1000 * 10 :][:size] for i in range(count)]
                requests = [request_bytes(part) for part in some]
                asyncio.run(busy(port, requests[: count // 4], num_connections))
                found = asyncio.run(busy(port, requests, num_connections))
                rows.append(row(f"{num_connections} busy", size, *found))
            for size in (1, 10):
                count = (400 if quick else 3000) // size
                requests = [request_bytes(texts[i * size :][:size]) for i in range(count)]
                found = asyncio.run(paced(port, requests, 1000 / size))
                rows.append(row("1000 texts/s", size, *found))
        finally:
            server.terminate()
            server.wait(30)
    return rows
