"""The HTTP interface of a text model."""

import hmac
import json
import time

import numpy as np

from kerasllm.serving.batching import MicroBatcher, Overloaded
from kerasllm.serving.metrics import ServerMetrics
from kerasllm.serving.requests import BadRequest, Limits, parse_body, read_body


def create_app(model, api_key=None, limits=None, max_batch=128, max_waiting=4096):
    """A FastAPI application that classifies texts.

    - `POST /predict` takes `{"texts": ["...", ...]}` and answers `{"predictions": [{"label": ...,
      "probability": ..., "id": ...}, ...]}`; with `"probabilities": true` each prediction also has
      `"probabilities"`, in the order of the labels that /health gives.
    - `GET /health` answers `{"status": "ok", "labels": [...]}`.
    - `GET /metrics` is for Prometheus.

    What is wrong with a request is said as `{"error": "..."}`: 400 for a body that is not as it
    should be, 401 for a wrong key, 413 for too much, 503 when too many texts wait.

    Args:
        model: A `kerasllm.export.TextModel`.
        api_key: What requests to /predict must give as `Authorization: Bearer KEY` or
            `X-API-Key: KEY`; None for nothing.
        limits: A `Limits`, None for the default ones.
        max_batch: Texts that the model is given at once, see `MicroBatcher`.
        max_waiting: Texts that may wait.

    Returns:
        A `fastapi.FastAPI`.

    Raises:
        ImportError: If fastapi or prometheus_client is not installed.
    """
    try:
        from fastapi import FastAPI, Request, Response
        from starlette.exceptions import HTTPException
    except ImportError as error:
        raise ImportError("Serving needs fastapi: pip install 'kerasllm[serving]'.") from error

    limits = limits or Limits()
    metrics = ServerMetrics()
    batcher = MicroBatcher(
        lambda texts: classify(model, texts), max_batch, max_waiting, metrics.batch_texts.observe
    )
    metrics.waiting.set_function(lambda: batcher.num_waiting)
    app = FastAPI(title="kerasllm", description="Classification of Chinese texts.")

    def answer(status, content, **headers):
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        # Half of a surrogate pair, which an error may quote, is the only thing that UTF-8 lacks.
        body = body.encode("utf-8", "backslashreplace")
        return Response(body, status, headers, media_type="application/json")

    async def predict(request):
        check_key(request.headers, api_key)
        texts, wanted = parse_body(await read_body(request, limits.body_bytes), limits)
        try:
            rows = await batcher.classify(texts)
        except Overloaded as error:
            raise BadRequest(503, str(error)) from error
        metrics.texts.inc(len(rows))
        predictions = []
        for label, probability, label_id, probabilities in rows:
            metrics.labels.labels(label).inc()
            row = {"label": label, "probability": probability, "id": label_id}
            predictions.append({**row, "probabilities": probabilities} if wanted else row)
        return {"predictions": predictions}

    @app.post("/predict", openapi_extra=_OPENAPI)
    async def _predict(request: Request):
        begin = time.perf_counter()
        try:
            response = answer(200, await predict(request))
        except BadRequest as error:
            headers = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}
            response = answer(
                error.status, {"error": error.reason}, **headers.get(error.status, {})
            )
        except Exception:
            metrics.requests.labels(500).inc()
            raise
        metrics.requests.labels(response.status_code).inc()
        metrics.seconds.observe(time.perf_counter() - begin)
        return response

    @app.get("/health")
    async def _health():
        return answer(200, {"status": "ok", "labels": model.labels})

    @app.get("/metrics")
    async def _metrics():
        content, media_type = metrics.page()
        return Response(content, media_type=media_type)

    @app.exception_handler(HTTPException)
    async def _http_error(request, error):
        reason = f"{request.method} {request.url.path}: {error.detail}."
        return answer(error.status_code, {"error": reason}, **(error.headers or {}))

    @app.exception_handler(Exception)
    async def _error(request, error):
        return answer(500, {"error": "The model failed; the server's log says why."})

    return app


def classify(model, texts):
    """`(label, probability, id, probabilities)` of each text, in Python's own types.

    Rows are padded to the longest of the batch: what a text costs depends on its neighbours, its
    result does not.
    """
    probabilities = model(texts)["probabilities"]
    ids = probabilities.argmax(axis=-1)
    best = probabilities[np.arange(len(ids)), ids].tolist()
    rows = zip(best, ids.tolist(), probabilities.tolist(), strict=True)
    return [(model.labels[label_id], p, label_id, row) for p, label_id, row in rows]


def check_key(headers, api_key):
    """Raises a `BadRequest` if there is a key and the headers do not give it."""
    if api_key is None:
        return
    given = headers.get("x-api-key")
    if given is None:
        kind, _, credentials = headers.get("authorization", "").partition(" ")
        given = credentials.strip() if kind.lower() == "bearer" else None
    if given is None:
        raise BadRequest(401, "A key is needed: send the header Authorization: Bearer KEY.")
    if not hmac.compare_digest(given.encode("latin-1", "replace"), api_key.encode()):
        raise BadRequest(401, "The key is wrong.")


# What the page /docs shows of the body.
_OPENAPI = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["texts"],
                    "properties": {
                        "texts": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                        "probabilities": {"type": "boolean", "default": False},
                    },
                },
                "example": {"texts": ["房间很干净，还会再来"]},
            }
        },
    }
}
