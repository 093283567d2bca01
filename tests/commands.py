"""Commands run as a user runs them: a process each, its exit code, and its one-line errors.

Importing Numba, PyBullet and the rest takes about two seconds of a core. So a server imports them once and forks for
each command: the child has arguments, folder, environment and streams of its own, and all that was imported. Where the
environment says otherwise how Python or Numba start, and in tests of what a command imports, it is a new process.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

_SERVER = """
import contextlib, gc, importlib, json, os, runpy, sys, traceback, warnings
for name in ("neuroctl.cli.evolving", "neuroctl.cli.running", "neuroctl.realtime", "sims.registry", "cma", "pybullet"):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
import neuroctl.errors
neuroctl.errors._NOT_USERS += ("<string>",)  # this text stands for what starts Python
import numba
numba.njit(lambda: None)()  # a process's first function takes half a second more, loaded from the cache or compiled
gc.collect()
gc.freeze()

def run(order):
    for stream, number in ((order["out"], 1), (order["err"], 2)):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    sys.path[0] = order["cwd"]
    sys.argv = ["", *order["arguments"]]
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    except SystemExit as ending:
        code = ending.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
        return 0 if code is None else code if isinstance(code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = run(json.loads(line))
        finally:
            import atexit
            atexit._run_exitfuncs()
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


_TERMINAL = {"COLUMNS": "120", "TERM": "dumb"}


class _Server:
    """The process that forks; begun with the first command."""

    def __init__(self):
        self.settings = _settings()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | _TERMINAL,
        )  # fmt: skip
        atexit.register(self._process.kill)

    def run(self, arguments, module, cwd, environment):
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            for stream in (out, err):
                stream.touch()
            order = {"arguments": arguments, "module": module, "cwd": str(cwd or Path.cwd())}
            order |= {"out": str(out), "err": str(err), "environment": environment}
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            return SimpleNamespace(returncode=code, stdout=out.read_text(), stderr=err.read_text())


def _settings():
    return {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "NUMBA"))}


@cache
def _server():
    return _Server()


def command(*arguments, module="neuroctl", cwd=None):
    """Run ``python -m MODULE ARGUMENTS``; returns its exit code and what it wrote."""
    arguments = [str(argument) for argument in arguments]
    environment = os.environ | _TERMINAL
    if _settings() == _server().settings:
        return _server().run(arguments, module, cwd, environment)
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True, text=True, timeout=300, cwd=cwd, env=environment,
    )  # fmt: skip


def neuroctl(*arguments, code=0, module="neuroctl", cwd=None):
    """Run a command that ends with this code. A search takes one worker, unless it says how many."""
    if arguments[:1] == ("evolve",) and not {"--workers", "--cluster", "--help"} & set(arguments):
        arguments += ("--workers", "1")  # the bits are those of any number
    done = command(*arguments, module=module, cwd=cwd)
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def one_line_error(done, *words):
    """The last line of stderr is the error; there is no traceback."""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]
