"""The HTTP interface: answers, refusals, metrics and micro-batching."""

import asyncio
import re
import signal
import statistics
import subprocess
import threading

import httpx
import pytest
from processes import PROJECT, run_python, start_python
from small_classifier import LABELS, TEXTS, make_classifier

from kerasllm import export, native
from kerasllm.serving import MicroBatcher, Overloaded, create_app

pytestmark = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")

SERVE = PROJECT / "recipes" / "serve_text_model.py"


@pytest.fixture(scope="module")
def classifier():
    return make_classifier()


@pytest.fixture(scope="module")
def folder(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "model"
    classifier.export(path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return export.load_text_model(folder)


def ask(app, *requests):
    """The responses to requests, `(method, path, options)`, sent at the same time."""

    async def send():
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            sent = [client.request(method, path, **options) for method, path, options in requests]
            return await asyncio.gather(*sent)

    return asyncio.run(send())


def predict(app, **options):
    return ask(app, ("POST", "/predict", options))[0]


def test_predictions_are_those_of_keras(model, classifier):
    app = create_app(model)
    answer = predict(app, json={"texts": TEXTS, "probabilities": True})
    assert answer.status_code == 200
    predictions = answer.json()["predictions"]
    for row, (label, probability) in zip(predictions, classifier.predict(TEXTS), strict=True):
        assert row["label"] == label == LABELS[row["id"]]
        assert row["probability"] == pytest.approx(probability, abs=1e-6)
        assert row["probabilities"][row["id"]] == row["probability"]
        assert sum(row["probabilities"]) == pytest.approx(1)
    short = predict(app, json={"texts": TEXTS[:1]}).json()["predictions"][0]
    assert set(short) == {"label", "probability", "id"}


def test_requests_at_the_same_time_share_batches_and_keep_their_rows(model, classifier):
    app = create_app(model, max_batch=16)
    requests = [("POST", "/predict", {"json": {"texts": TEXTS[i % 8 :]}}) for i in range(60)]
    answers = ask(app, *requests)
    labels = [label for label, _ in classifier.predict(TEXTS)]
    for i, answer in enumerate(answers):
        assert [row["label"] for row in answer.json()["predictions"]] == labels[i % 8 :]
    page = ask(app, ("GET", "/metrics", {}))[0].text
    batches = float(re.search(r"kerasllm_batch_texts_count (\S+)", page)[1])
    assert batches < 60
    assert f"kerasllm_texts_total {sum(8 - i % 8 for i in range(60))}.0" in page


BAD = [
    ({"content": b"not json"}, 400, "is no JSON"),
    ({"content": b""}, 400, "is no JSON"),
    ({"content": b'{"texts": ["\xff"]}'}, 400, "not UTF-8: invalid start byte at byte 12"),
    ({"content": b"[" * 100_000}, 400, ""),
    ({"json": []}, 400, 'should be an object with "texts"'),
    ({"json": {}}, 400, 'should be an object with "texts"'),
    ({"json": {"texts": []}}, 400, '"texts" is empty'),
    ({"json": {"texts": "好"}}, 400, "a list of strings, not a string"),
    ({"json": {"texts": ["好", None]}}, 400, "texts[1] should be a string, not a null"),
    ({"json": {"texts": [1]}}, 400, "not a number"),
    ({"json": {"texts": ["好"], "probabilities": 1}}, 400, "true or false"),
    ({"json": {"texts": ["好"], "model": "x"}}, 400, "'model'"),
    ({"json": {"texts": ["好"] * 300}}, 413, "300 texts; send 256"),
    ({"json": {"texts": ["a" * 30_000]}}, 413, "texts[0] has 30000 characters; 20000"),
    ({"json": {"texts": ["好" * 3_500_000]}}, 413, "larger than 1048576 bytes"),
]


@pytest.mark.parametrize(("options", "status", "reason"), BAD)
def test_bad_requests_are_refused_with_a_reason(model, options, status, reason):
    app = create_app(model)
    bad, good = ask(
        app, ("POST", "/predict", options), ("POST", "/predict", {"json": {"texts": ["好"]}})
    )
    assert bad.status_code == status
    assert reason in bad.json()["error"]
    assert good.status_code == 200
    assert (
        f'kerasllm_requests_total{{status="{status}"}} 1.0'
        in ask(app, ("GET", "/metrics", {}))[0].text
    )


def test_a_body_without_a_length_is_limited_too(model):
    async def parts():
        for _ in range(100):
            yield b"x" * 100_000

    async def send():
        transport = httpx.ASGITransport(app=create_app(model))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/predict", content=parts())

    assert asyncio.run(send()).status_code == 413


def test_halves_of_surrogate_pairs_do_no_harm(model):
    body = b'{"texts": ["\\ud83d", "\\ud83d\\ude00"], "\\ud83d": 1}'
    answer = predict(create_app(model), content=body)
    assert answer.status_code == 400
    body = b'{"texts": ["\\ud83d", "\\ud83d\\ude00"]}'
    assert predict(create_app(model), content=body).status_code == 200


def test_the_key_is_asked_for(model):
    app = create_app(model, api_key="géheim")
    body = {"json": {"texts": ["好"]}}
    for headers in ({}, {"authorization": "Basic x"}, {"authorization": "Bearer wrong"}):
        answer = predict(app, headers=headers, **body)
        assert answer.status_code == 401
        assert "key" in answer.json()["error"]
        assert answer.headers["www-authenticate"] == "Bearer"
    for name, value in (("authorization", "bearer géheim"), ("x-api-key", "géheim")):
        assert predict(app, headers={name: value.encode()}, **body).status_code == 200
    for path in ("/health", "/metrics"):
        assert ask(app, ("GET", path, {}))[0].status_code == 200


def test_health_and_other_paths(model):
    health, missing, method = ask(
        create_app(model), ("GET", "/health", {}), ("GET", "/nope", {}), ("GET", "/predict", {})
    )
    assert health.json() == {"status": "ok", "labels": LABELS}
    assert (missing.status_code, method.status_code) == (404, 405)
    assert missing.json()["error"] == "GET /nope: Not Found."


def test_too_many_waiting_texts_are_refused(model):
    app = create_app(model, max_waiting=20)
    requests = [("POST", "/predict", {"json": {"texts": ["好"] * 8}})] * 12
    statuses = [answer.status_code for answer in ask(app, *requests)]
    assert set(statuses) == {200, 503}
    assert predict(app, json={"texts": ["好"]}).status_code == 200


def test_a_model_that_fails_answers_500_and_the_server_goes_on(model):
    class Failing:
        labels = LABELS
        calls = 0

        def __call__(self, texts):
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("broken")
            return model(texts)

    app = create_app(Failing())
    body = {"json": {"texts": ["好"]}}
    first = predict(app, **body)
    assert (first.status_code, "log" in first.json()["error"]) == (500, True)
    assert predict(app, **body).status_code == 200


def test_the_batcher_gives_everyone_his_own_and_leaves_out_who_went_away():
    sizes, go = [], threading.Event()

    def double(texts):
        go.wait(5)
        sizes.append(len(texts))
        return [2 * text for text in texts]

    async def run():
        batcher = MicroBatcher(double, max_batch=4, max_waiting=9)
        first = asyncio.create_task(batcher.classify(["a"]))
        await asyncio.sleep(0.05)
        tasks = [asyncio.create_task(batcher.classify([str(i)] * 2)) for i in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="8 texts are waiting and 2 more"):
            await batcher.classify(["x", "y"])
        tasks[1].cancel()
        await asyncio.sleep(0)
        go.set()
        assert await first == ["aa"]
        assert [await tasks[i] for i in (0, 2, 3)] == [["00"] * 2, ["22"] * 2, ["33"] * 2]
        assert batcher.num_waiting == 0

    asyncio.run(run())
    assert sizes == [1, 4, 2]


def test_the_recipe_serves_and_ends_when_it_is_told(folder, classifier, tmp_path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    server = start_python(SERVE, folder, "--port", "0", KERASLLM_API_KEY="secret", **pipes)
    try:
        line = server.stdout.readline()
        url = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", line)[1]
        with httpx.Client(base_url=url, headers={"x-api-key": "secret"}) as client:
            for options, status, _ in BAD:
                assert client.post("/predict", **options).status_code == status
            assert client.post("/predict", headers={"x-api-key": ""}).status_code == 401
            answer = client.post("/predict", json={"texts": TEXTS}).json()
            labels = [row["label"] for row in answer["predictions"]]
            assert labels == [label for label, _ in classifier.predict(TEXTS)]
            assert "kerasllm_request_seconds_bucket" in client.get("/metrics").text
            assert client.get("/docs").status_code == 200
            # The body of an answer once waited for the acknowledgement of its head, 40 ms.
            times = [client.post("/predict", json={"texts": ["好"]}).elapsed for _ in range(60)]
            assert statistics.median(times[30:]).total_seconds() < 0.03
    finally:
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=30)
    assert "Traceback" not in errors
    assert server.returncode in (0, -signal.SIGTERM)


def test_the_recipe_says_what_is_wrong(folder, tmp_path):
    done = run_python(SERVE, tmp_path, "--port", "0", status=1)
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path} holds no SavedModel")
    assert "Traceback" not in done.stderr
