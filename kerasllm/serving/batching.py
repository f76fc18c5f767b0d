"""Requests that come at the same time share a call of the model."""

import asyncio
import collections
import concurrent.futures


class Overloaded(Exception):
    """More texts wait than may."""


class MicroBatcher:
    """Collects texts while the model is busy, and gives it all that came in one batch.

    Nothing waits for a timer: a text that comes when the model is idle is classified at once, and
    the busier the server, the larger and more efficient the batches. The model runs in one thread
    of its own, so the event loop goes on accepting requests.

    Args:
        classify: A function from a list of str to a list of as many results, called in a thread.
        max_batch: Texts in a batch; a single request may have more.
        max_waiting: Texts that may wait; more are refused.
        observe: Called with the number of texts of each batch; None for nothing.
    """

    def __init__(self, classify, max_batch=128, max_waiting=4096, observe=None):
        self._classify = classify
        self._max_batch, self._max_waiting = max_batch, max_waiting
        self._observe = observe
        self._waiting = collections.deque()  # (texts, future)
        self._task = None
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "kerasllm-model")
        self.num_waiting = 0

    async def classify(self, texts):
        """The results of a list of texts.

        Raises:
            Overloaded: If too many texts wait already.
        """
        if self.num_waiting + len(texts) > self._max_waiting:
            raise Overloaded(
                f"{self.num_waiting} texts are waiting and {len(texts)} more are too many: at most"
                f" {self._max_waiting} may wait."
            )
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((texts, future))
        self.num_waiting += len(texts)
        if self._task is None:
            self._task = loop.create_task(self._work(loop))
        return await future

    async def _work(self, loop):
        """Classifies until nothing waits."""
        try:
            while self._waiting:
                requests = self._next_batch()
                texts = [text for some, _ in requests for text in some]
                if not texts:
                    continue
                if self._observe is not None:
                    self._observe(len(texts))
                try:
                    results = await loop.run_in_executor(self._thread, self._classify, texts)
                except Exception as error:
                    for _, future in requests:
                        if not future.done():
                            future.set_exception(error)
                    continue
                begin = 0
                for some, future in requests:
                    if not future.done():  # a client that went away has cancelled its own
                        future.set_result(results[begin : begin + len(some)])
                    begin += len(some)
        finally:
            self._task = None

    def _next_batch(self):
        """Whole requests, one at least, up to `max_batch` texts, without those that are gone."""
        requests, size = [], 0
        while self._waiting:
            texts, future = self._waiting[0]
            if requests and size + len(texts) > self._max_batch:
                break
            self._waiting.popleft()
            self.num_waiting -= len(texts)
            if not future.done():
                requests.append((texts, future))
                size += len(texts)
        return requests
