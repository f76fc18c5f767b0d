"""The server's process."""

import socket

from kerasllm.serving.app import create_app


def listen(host, port):
    """A socket that is bound before anything takes time.

    Args:
        host: An address or name.
        port: 0 for any that is free.

    Raises:
        OSError: If it cannot be had; the message names it.
    """
    try:
        listener = socket.create_server((host, port))
        # Connections inherit it; asyncio sets it only where a socket's protocol is written down.
        # Without it an answer's body waits for the client to acknowledge its head: 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise OSError(f"{host}:{port} cannot be listened on: {error.strerror or error}.") from error


def run_server(model, listener, api_key=None, limits=None):
    """Serves a model until the process is told to end (SIGINT, SIGTERM).

    Args:
        model: A `kerasllm.export.TextModel`.
        listener: A bound socket, see `listen`.
        api_key: See `create_app`.
        limits: See `create_app`.

    Raises:
        ImportError: If uvicorn, fastapi or prometheus_client is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError("Serving needs uvicorn: pip install 'kerasllm[serving]'.") from error
    app = create_app(model, api_key, limits)
    model(["热身", "第一次调用比较慢"])  # what TensorFlow does at the first call
    host, port = listener.getsockname()[:2]
    print(f"listening on http://{host}:{port}", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=30)
    uvicorn.Server(config).run(sockets=[listener])
