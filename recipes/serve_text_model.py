"""Serves an exported classifier over HTTP.

    python recipes/chinese_text_classification.py --output-dir runs/demo --export
    KERASLLM_API_KEY=secret python recipes/serve_text_model.py runs/demo/saved_model
    curl http://127.0.0.1:8000/predict -H "Authorization: Bearer secret" \\
        -d '{"texts": ["房间很干净，还会再来"]}'

    {"predictions":[{"label":"positive","probability":0.93,"id":2}]}

/predict takes up to --max-texts texts at once, and "probabilities": true for those of all classes;
/health says that the server is up, /metrics is for Prometheus, /docs describes it all. Requests
that come at the same time share a call of the model. Without KERASLLM_API_KEY no key is asked for.
It needs the extra "serving": pip install 'kerasllm[serving]'.
"""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from kerasllm.export import load_text_model
from kerasllm.serving import Limits, run_server
from kerasllm.serving.server import listen


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", help="the folder that --export wrote")
    add("--host", default="127.0.0.1", help="0.0.0.0 for every network (default: 127.0.0.1)")
    add("--port", type=int, default=8000, help="0 for any that is free (default: 8000)")
    add("--max-body-bytes", type=int, default=Limits.body_bytes)
    add("--max-texts", type=int, default=Limits.texts, help="in a request")
    add("--max-characters", type=int, default=Limits.text_characters, help="of a text")
    return parser.parse_args(arguments)


def main(arguments=None):
    arguments = parse_arguments(arguments)
    api_key = os.environ.get("KERASLLM_API_KEY") or None
    with listen(arguments.host, arguments.port) as listener:
        model = load_text_model(arguments.model)
        if api_key is None:
            print("KERASLLM_API_KEY is not set: everyone who reaches the server may use it")
        limits = Limits(arguments.max_body_bytes, arguments.max_texts, arguments.max_characters)
        run_server(model, listener, api_key, limits)


if __name__ == "__main__":
    try:
        main()
    except (OSError, OverflowError, ValueError, ImportError, RuntimeError) as error:
        sys.exit(f"error: {error}")
