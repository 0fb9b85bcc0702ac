"""Start a command in several processes on this machine, by torch's elastic launcher."""

import logging
import os
import signal
import sys
import tempfile
from dataclasses import fields

from nanoldm.utils.errors import TrainingError
from nanoldm.utils.limits import within
from nanoldm.utils.terminal import stop_signals

MOST_PROCESSES = 1024
SHUTDOWN = 120  # seconds that a process has after Ctrl-C to write its checkpoint


def launch(arguments: list[str], processes: int) -> None:
    """Run `nanoldm` with these arguments in so many processes, and end as they end.

    Each has its part of the CPU threads, unless $OMP_NUM_THREADS is set.
    Raises TrainingError if one is killed.
    """
    within("processes", processes, 1, MOST_PROCESSES)
    import torch
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // processes)))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    signals = ",".join(each.name for each in stop_signals())
    newer = {"shutdown_timeout": SHUTDOWN, "signals_to_handle": signals}
    known = {field.name for field in fields(LaunchConfig)}
    with tempfile.TemporaryDirectory() as logs:
        config = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=processes, max_restarts=0,
                              rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id="nanoldm",
                              local_addr="localhost", logs_specs=DefaultLogsSpecs(log_dir=logs),
                              **{name: value for name, value in newer.items() if name in known})
        try:
            elastic_launch(config, sys.executable)("-m", "nanoldm", *arguments)
        except SignalException:  # Ctrl-C, which process 0 has reported
            sys.exit(130)
        except ChildFailedError as error:
            end({number: failure.exitcode for number, failure in error.failures.items()})


def end(codes: dict[int, int]) -> None:
    """End with the exit code of the processes that failed, which have explained it.

    Raises TrainingError if one was killed: the others fail when they miss it.
    """
    for number, code in codes.items():
        if code < 0 and code != -signal.SIGTERM:  # the launcher stops the others by SIGTERM
            name = signal.Signals(-code).name
            raise TrainingError(f"process {number} was killed ({name}), and the others were "
                                "stopped: the same command continues a training from its last "
                                "checkpoint")
    sys.exit(next((code for code in codes.values() if code > 0), 1))
