"""A chief that hands trials to workers, here or on other machines, and outlives their deaths."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from concurrent import futures

# A worker that was not heard of for so long is given up.
LEASE_SECONDS = 60
# So often a worker on this machine is started again.
RESTARTS = 3
# How long workers are given at the end to learn that it has come.
FAREWELL_SECONDS = 20
PARENT = "KERASLLM_PARENT"


class LocalWorkers:
    """Processes on this machine that run trials.

    Args:
        command: What each runs: a list of str.
        count: How many.
        folder: Where each one's output is kept, as `NAME.log`.
    """

    def __init__(self, command, count, folder):
        self.command, self.folder = command, pathlib.Path(folder)
        self.processes = {f"worker{number}": None for number in range(count)}
        self.restarts = dict.fromkeys(self.processes, 0)

    def start(self, name, address):
        """Starts one, as Keras Tuner's worker of the chief at an address."""
        ip, port = address
        threads = max(1, (os.cpu_count() or 1) // len(self.processes))
        environment = {
            **os.environ,
            "KERASTUNER_TUNER_ID": name,
            "KERASTUNER_ORACLE_IP": ip,
            "KERASTUNER_ORACLE_PORT": str(port),
            "TF_NUM_INTRAOP_THREADS": str(threads),
            PARENT: str(os.getpid()),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / f"{name}.log", "ab") as log:
            # In a session of their own, Ctrl-C reaches the chief alone, which ends them.
            self.processes[name] = subprocess.Popen(
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def dead(self):
        """Those that have ended: a list of names."""
        return [name for name, one in self.processes.items() if one and one.poll() is not None]

    def last_words(self, name):
        """How a worker ended: its exit status, and the last line that it wrote."""
        status = self.processes[name].returncode
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        text = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        return f"{how}, {lines[-1].strip()[:300]}" if lines and status > 0 else how

    def stop(self):
        """Ends those that still run."""
        for process in self.processes.values():
            if process and process.poll() is None:
                process.kill()
        for process in self.processes.values():
            if process:
                process.wait()


def serve(oracle, address, workers=None, lease_seconds=LEASE_SECONDS, report=print):
    """Is the chief of a search until its end; Keras Tuner's own waits for dead workers for ever.

    A worker of this machine that dies is started again; one elsewhere that is silent for the time
    of the lease is given up. The trial that it was at is tried once more by another.

    Args:
        oracle: A `kerasllm.tuning.oracles.RecordedOracle`.
        address: `(ip, port)` to listen at; port 0 takes a free one.
        workers: `LocalWorkers` to start; None where they are started elsewhere.
        lease_seconds: How long a worker may be silent.
        report: Gets a line about each worker that is lost.

    Raises:
        OSError: If the address cannot be had.
        RuntimeError: If every worker of this machine dies again and again.
    """
    import grpc
    from keras_tuner.src import protos
    from keras_tuner.src.distribute import oracle_chief

    from kerasllm.tuning.oracles import message

    def sent(trial_id):
        return message(oracle.trials[trial_id]).to_proto()

    class Servicer(oracle_chief.OracleServicer):
        """Keras Tuner's, with an ear for its workers."""

        def CreateTrial(self, request, context):
            try:
                return super().CreateTrial(request, context)
            except BaseException as error:
                oracle.broken = error  # the chief itself raises it
                raise

        def EndTrial(self, request, context):
            try:
                return super().EndTrial(request, context)
            except BaseException as error:
                oracle.broken = error
                raise

        def GetTrial(self, request, context):
            for tuner_id, trial in list(oracle.ongoing_trials.items()):
                if trial.trial_id == request.trial_id:
                    oracle.seen[tuner_id] = time.monotonic()
            return protos.get_service().GetTrialResponse(trial=sent(request.trial_id))

        def GetBestTrials(self, request, context):
            best = oracle.get_best_trials(request.num_trials)
            trials = [sent(trial.trial_id) for trial in best]
            return protos.get_service().GetBestTrialsResponse(trials=trials)

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    protos.get_service_grpc().add_OracleServicer_to_server(Servicer(oracle), server)
    try:
        port = server.add_insecure_port(f"{address[0]}:{address[1]}")
    except RuntimeError:
        port = 0
    if not port:
        raise OSError(f"The chief cannot listen at {address[0]}:{address[1]}; take another port.")
    server.start()
    address = address[0], port
    oracle.broken = None
    try:
        for name in workers.processes if workers else ():
            workers.start(name, address)
        while not (oracle.stop_reason and not oracle.ongoing_trials):
            time.sleep(0.1)
            if oracle.broken is not None:
                raise oracle.broken
            if workers:
                _mourn(oracle, workers, address, report)
            _end_leases(oracle, lease_seconds, report)
            if oracle.budget.left() <= 0 and not oracle.ongoing_trials:
                oracle.stop_reason = oracle.stop_reason or "the time is over"
        report(f"the search ends: {oracle.stop_reason}")
        _farewell(oracle, workers)
    finally:
        if workers:
            workers.stop()
        server.stop(grace=None).wait()


def _mourn(oracle, workers, address, report):
    """Gives up the trials of workers that died, and starts these again."""
    for name in workers.dead():
        if oracle.stop_reason and workers.processes[name].returncode == 0:
            continue
        reason = f"its worker died ({workers.last_words(name)})"
        workers.processes[name] = None
        held = oracle.lose(name, reason)
        report(f"{name} died{' at a trial' if held else ''}: {reason}")
        if oracle.stop_reason and not oracle.ongoing_trials:
            continue
        if workers.restarts[name] < RESTARTS:
            workers.restarts[name] += 1
            workers.start(name, address)
        elif not any(workers.processes.values()):
            raise RuntimeError(
                f"All workers died, the last with {reason}. What was found is kept; their output "
                f"is in {workers.folder}."
            )


def _end_leases(oracle, lease_seconds, report):
    for tuner_id in list(oracle.ongoing_trials):
        silent = time.monotonic() - oracle.seen.get(tuner_id, time.monotonic())
        if silent > lease_seconds:
            report(f"{tuner_id} has been silent for {silent:.0f} s and is given up.")
            oracle.lose(tuner_id, f"its worker was silent for {silent:.0f} s")


def _farewell(oracle, workers):
    """Waits a little for workers to ask for a trial, and to learn that there is none."""
    end = time.monotonic() + FAREWELL_SECONDS
    while time.monotonic() < end:
        here = workers and any(one and one.poll() is None for one in workers.processes.values())
        if not here and (workers or not oracle.tuner_ids):
            return
        time.sleep(0.1)


def worker_address():
    """`(tuner id, ip, port)` that Keras Tuner's environment variables give, or None.

    Raises:
        ValueError: If only some of them are set.
    """
    names = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
    values = [os.environ.get(name) for name in names]
    if not any(values):
        return None
    missing = [name for name, value in zip(names, values, strict=True) if not value]
    if missing:
        raise ValueError(f"Of {', '.join(names)} these are not set: {', '.join(missing)}.")
    if not values[2].isdecimal():
        raise ValueError(f"KERASTUNER_ORACLE_PORT is {values[2]!r}; expected a number.")
    return values[0], values[1], int(values[2])


def die_with_parent():
    """Ends this process, a worker on the chief's machine, when the chief is killed."""
    parent = os.environ.get(PARENT)
    if parent is None or not sys.platform.startswith("linux"):
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != int(parent):
        os._exit(1)
