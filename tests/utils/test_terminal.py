"""Closed streams, pipes that end, encodings without our characters, Ctrl-C: the real command line.
"""

import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from nanoldm.data import load
from nanoldm.data.npz import save_npz
from nanoldm.utils.images import to_float
from nanoldm.utils.terminal import quiet

COMMAND = [sys.executable, "-m", "nanoldm"]
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX's streams and signals")


@posix
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_command_without_standard_streams_does_its_work(closed, trained_run, tmp_path):
    line = f"{sys.executable} -m nanoldm sample {trained_run} --n 2 --steps 2 --threads 1 {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True,
                          timeout=120)
    assert (done.returncode, [file.name for file in tmp_path.iterdir()]) == (0, ["samples.png"])
    assert "Traceback" not in done.stderr


@posix
def test_a_pipe_that_ends_stops_nothing_without_output(trained_run, tmp_path):
    command = f"{' '.join(COMMAND)} sample {trained_run} --n 2 --steps 2 --threads 1 --npz two.npz"
    line = f"({command}; echo $? >&2) | true"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True,
                          timeout=120)
    assert done.stderr == "0\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["samples.png", "two.npz"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_an_output_on_a_full_disk_is_one_line_and_a_failure():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "recipes"], stdout=full, stderr=subprocess.PIPE, text=True,
                              timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("nanoldm: the output: No space left on device: make room")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_an_error_that_cannot_be_printed_keeps_its_exit_code():
    with open("/dev/full", "w") as full:
        assert subprocess.run([*COMMAND, "nosuch"], stdout=subprocess.PIPE, stderr=full,
                              timeout=60).returncode == 2


def test_help_ends_on_the_narrowest_terminal():
    done = subprocess.run([*COMMAND, "sample", "--help"], env=os.environ | {"COLUMNS": "1"},
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Generate new images" in done.stdout) == (0, True)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_results_and_help_survive_any_encoding_of_the_output(
    encoding, tiny_features, digits, tmp_path
):
    save_npz(tmp_path / "größe.npz", to_float(load(f"folder:{digits}", 8)[0].images[:40]))
    for arguments in (["evaluate", "--samples", "größe.npz", "--features", tiny_features,
                       "--threads", "1"], ["--help"]):
        with open(tmp_path / "log", "wb") as log:
            done = subprocess.run([*COMMAND, *map(str, arguments)], cwd=tmp_path,
                                  env=os.environ | {"PYTHONIOENCODING": encoding}, stdout=log,
                                  stderr=subprocess.PIPE, timeout=120)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "log").stat().st_size > 500
    assert (tmp_path / "evaluation" / "größe" / "report.html").exists()


LOST = """
import signal, sys, threading, time, weakref
from nanoldm.utils.terminal import interruptible
class Thing: pass
def callback(_):
    signal.raise_signal(signal.SIGINT)      # as if Ctrl-C came just now
    time.sleep(0.001)
try:
    with interruptible():
        thing = Thing(); reference = weakref.ref(thing, callback)
        del thing
        for _ in range(500): time.sleep(0.01)
        print("went on")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_that_python_would_lose_is_raised_again():
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_command_with_one_line_and_leaves_no_half_file(number, trained_run, tmp_path):
    process = subprocess.Popen([*COMMAND, "sample", str(trained_run), "--n", "100000", "--threads",
                                "1"], cwd=tmp_path, text=True,
                               env=os.environ | {"TQDM_MININTERVAL": "0.1"}, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    while "sampling" not in process.stderr.readline(9):
        time.sleep(0.01)
    process.send_signal(number)
    rest = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert rest.splitlines()[-1].startswith("nanoldm: interrupted: ")
    assert list(tmp_path.iterdir()) == []


def test_quiet_leaves_the_logging_of_a_program_as_it_was():
    logging.disable(logging.WARNING)
    try:
        with quiet():
            assert logging.root.manager.disable == logging.CRITICAL
        assert logging.root.manager.disable == logging.WARNING
    finally:
        logging.disable(logging.NOTSET)
