"""Systems that are not Linux, simulated: what they lack is hidden, see ``tests/elsewhere.py``."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

STEP = """
import numpy as np, neuroctl as nc
ctl = nc.Controller(nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.02, input_limits=((-1, 1),)), seed=1)
q = ctl.quantize()
q.step_int(q.quantize_input(np.zeros(1, np.float32)))
ctl.save("c.npz")
assert nc.load("c.npz").step(np.zeros(1, np.float32)) == ctl.step(np.zeros(1, np.float32))
"""
COMMAND = "import sys; from neuroctl.__main__ import main; main(sys.argv[1:])"


def run(folder, text, *arguments, code=0):
    prelude = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import tests.elsewhere;"
    done = subprocess.run(
        [sys.executable, "-c", prelude + text, *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_step_quantize_save_export_and_evolve(tmp_path):
    run(tmp_path, STEP)
    run(tmp_path, COMMAND, "export", "c.npz", "--out", "firmware")
    assert (tmp_path / "firmware" / "ctl.h").is_file()
    search = ("--generations", "2", "--population", "4", "--neurons", "2", "--out", "study")
    done = run(tmp_path, COMMAND, "evolve", "two-poles", *search, "--workers", "1")
    assert "study: not locked, as this system has no fcntl" in " ".join(done.stderr.split())
    assert (tmp_path / "study" / "best.npz").is_file()


def test_the_default_number_of_workers_is_that_of_the_cores(tmp_path):
    text = "from neuroctl.console import worker_count; import os; assert worker_count(0) == os.cpu_count()"
    run(tmp_path, text)


def test_simulated_boards_say_what_they_need(tmp_path):
    run(tmp_path, STEP)
    done = run(tmp_path, COMMAND, "link", "sim", "c.npz", code=1)
    assert done.stderr == "error: boards: simulated ones need pseudo-terminals, which this system does not have\n"


@pytest.mark.parametrize("module", ["neuroctl.sims", "neuroctl.firmware_export", "neuroctl.evolve", "neuroctl.bench"])
def test_imports(tmp_path, module):
    run(tmp_path, f"import {module}")


LOOP = """
import os, signal, threading, numpy as np, neuroctl as nc
for name in ("sched_setaffinity", "sched_setscheduler", "sched_getscheduler", "SCHED_FIFO", "SCHED_RESET_ON_FORK"):
    delattr(os, name)
from neuroctl.realtime import Loop, System, read_log
ctl = nc.Controller(nc.Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.002))
fill, off = (lambda u: u.fill(0.5)), []
for path in ("run.npz", "run.mcap"):
    loop = Loop(ctl, read=fill, write=lambda y: None, log=path, system=System(cpu=0, fifo=10))
    report = loop.run(ticks=20)
    assert report.ok and len(read_log(path)) == report.ticks, report.text()
print(*report.messages, sep="\\n")
write = lambda y: signal.raise_signal(signal.SIGTERM)
report = Loop(ctl, read=fill, write=write, safe=lambda: off.append(1)).run()
assert (report.reason, off) == ("SIGTERM", [1])
"""


def test_a_loop_runs_and_says_what_it_goes_without(tmp_path):
    lines = run(tmp_path, LOOP).stdout.splitlines()
    assert lines == [
        "cpu: the thread is not bound to core 0: this system has no sched_setaffinity",
        "fifo: the thread does not run under SCHED_FIFO: this system has no sched_setscheduler",
    ]
