"""The cache of compiled code is a convenience: damaged, foreign or unwritable, it costs time and nothing else."""

import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuroctl.maths import codecache
from neuroctl.maths.jit import jit_integer

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="the JIT is disabled: nothing is cached"
)
# Small enough to compile in a second or so: a cell's helper, and a generated module.
PROGRAM = """
import numpy as np
from neuroctl.backends.kernels import build
from neuroctl.maths.jit import jit_integer
from neuroctl.maths.fixed import round_shift
text = "from neuroctl.maths.jit import jit_integer\\n@jit_integer\\ndef twice(x):\\n    return 2 * x\\n"
module = build(text, "twice")
print(int(round_shift(np.int64(7), np.int64(1))), module.twice(21), module.__file__)
hits = [sum(f.stats.cache_hits.values()) for f in (round_shift, module.twice)]
print(hits)
"""
OTHER_USER = 65534
WARNING = re.compile(r"RuntimeWarning: the cache of compiled code: .*; it is compiled anew, see NUMBA_CACHE_DIR\n")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Return a cache folder that is used again and again, since files lie by their path, and a copy of it."""
    folder, copy = (tmp_path_factory.mktemp("cache") / name for name in ("used", "copy"))
    assert run(folder).hits == [0, 0]
    assert run(folder).hits == [1, 1]
    shutil.copytree(folder, copy)
    return folder, copy


@pytest.fixture
def cache(filled):
    """Return a filled cache folder."""
    folder, copy = filled
    shutil.rmtree(folder)
    return shutil.copytree(copy, folder)


class run:
    """One process, what it printed, and the warnings."""

    def __init__(self, folder, prefix=(), program=PROGRAM, root=ROOT):
        done = subprocess.run(
            [*prefix, sys.executable, "-c", program], cwd=root, capture_output=True, text=True,
            env=os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(root), "HOME": "/nowhere"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        values, hits = done.stdout.splitlines()
        assert values.startswith("4 42 ")
        self.file = values.split()[2]
        self.hits = eval(hits)
        self.warnings, self.stderr = WARNING.findall(done.stderr), done.stderr
        assert "Traceback" not in done.stderr and len(self.warnings) <= 1


def files(folder, kind):
    return sorted(folder.rglob(f"*.{kind}"))


def test_an_edit_in_another_file_is_noticed(tmp_path):
    """A callee's code is in its caller's: Numba alone would load what the old one gave."""
    shutil.copytree(ROOT / "neuroctl", tmp_path / "neuroctl", ignore=shutil.ignore_patterns("__pycache__"))
    hits = [run(tmp_path / "cache", root=tmp_path).hits[0] for _ in range(2)]
    with open(tmp_path / "neuroctl/maths/scalars.py", "a") as file:
        file.write("# edited\n")
    hits.append(run(tmp_path / "cache", root=tmp_path).hits[0])
    assert hits == [0, 1, 0]


def test_sources_below_folders_count(monkeypatch, tmp_path):
    """Code of the day before would be loaded silently if a folder were left out."""
    inner = tmp_path / "neuroctl/cells/fixed"
    inner.mkdir(parents=True)
    monkeypatch.setattr(codecache, "__file__", str(tmp_path / "neuroctl/maths/codecache.py"))
    hashes = []
    for text in ("a", "b"):
        (inner / "new.py").write_text(text)
        hashes.append(codecache.sources.__wrapped__())
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", ["empty", "cut off", "one bit"])
def test_damaged_files_are_compiled_anew(cache, kind, damage):
    """A power failure leaves files empty or cut off; machine code of which one bit is wrong may do anything."""
    for path in files(cache, kind):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes({"empty": b"", "cut off": content[: len(content) // 2], "one bit": content}[damage])
    first = run(cache)
    assert first.hits == [0, 0] and len(first.warnings) == 1
    assert re.match(r"<string>:\d+: RuntimeWarning", first.stderr)  # the user's own line
    second = run(cache)
    assert second.hits == [1, 1] and not second.warnings


def test_code_of_another_version_is_not_read(tmp_path, recwarn):
    """Numba writes an index before the data that it names: another process would have run what lay there before."""
    old, new = (codecache._Files(tmp_path, "f-1.hashed", stamp) for stamp in ("old", "new"))
    old.save("key", "code of old sources")
    assert old.load("key") == "code of old sources" and new.load("key") is None
    new._save_index({"key": old._load_index()["key"]})  # as if the other process had come so far
    assert new.load("key") is None
    new.save("key", "code of new sources")
    assert new.load("key") == "code of new sources" and old.load("key") is None
    new.save("other key", "more")
    assert new.load("key") == "code of new sources" and new.load("other key") == "more"
    assert not recwarn.list


def test_two_processes_that_store_at_once(tmp_path, monkeypatch):
    """Numba numbers the data: both took 1, and one signature's code was loaded for the other's."""
    one, two = (codecache._Files(tmp_path, "f-1.hashed", "same") for _ in range(2))
    write, read = one._save_data, two._load_index

    def meanwhile(*data):
        monkeypatch.setattr(two, "_load_index", dict)  # read before the first wrote anything
        two.save("second", "code of the second")
        monkeypatch.setattr(two, "_load_index", read)
        write(*data)

    monkeypatch.setattr(one, "_save_data", meanwhile)
    one.save("first", "code of the first")
    assert two.load("first") in (None, "code of the first")
    assert two.load("second") in (None, "code of the second")


def test_code_of_earlier_versions_is_removed(tmp_path):
    """Each upgrade would leave the code of each function behind."""
    for version in range(3):
        written = codecache._Files(tmp_path, "f-1.hashed", version)
        for signature in range(2):
            written.save((signature, version), "code")
    codecache._Files(tmp_path, "g-1.hashed", 3).save("key", "code")
    assert len(files(tmp_path, "nbc")) == 3 and len(files(tmp_path, "nbi")) == 2
    assert written.load((0, 2)) == written.load((1, 2)) == "code"


def test_a_generated_module_is_never_trusted_by_its_name(cache):
    (path,) = cache.glob("neuroctl-kernels/*.py")
    text = path.read_text()
    for wrong in ("", text[:-9], "raise SystemExit('foreign')\n" + text):
        path.write_text(wrong)
        assert run(cache).file == str(path)
        assert path.read_text() == text


BEYOND = """
import numpy as np
from neuroctl.backends.kernels import build
text = "from neuroctl.maths.jit import jit_integer\\n@jit_integer\\ndef sixth(x):\\n    return x[5]\\n"
sixth = build(text, "sixth").sixth
try:
    print(sixth(np.arange(9)[:3]), sum(sixth.stats.cache_hits.values()))
except IndexError as error:
    print(error, sum(sixth.stats.cache_hits.values()))
"""


def test_code_with_bounds_checks_is_apart_from_code_without(tmp_path):
    """Compiled, loaded, and beside the other kind, an access beyond an array's end is found where it is asked for."""
    printed = []
    for checked in ("0", "1", "1", "0"):
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_BOUNDSCHECK": checked}
        command = [sys.executable, "-c", BEYOND]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=True)
        printed.append(done.stdout.strip())
    message = "index is out of bounds"
    assert printed == ["5 0", f"{message} 0", f"{message} 1", "5 1"]


@jit_integer
def sixth(x):
    return x[5]


def test_a_run_that_was_asked_to_checks_bounds():
    asked = os.environ.get("NUMBA_BOUNDSCHECK", "0") != "0"
    with pytest.raises(IndexError) if asked else contextlib.nullcontext():
        assert sixth(np.arange(9)[:3]) == 5


def test_files_are_private(cache):
    written = [*files(cache, "nbi"), *files(cache, "nbc"), *files(cache, "py")]
    assert len(written) >= 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
    assert not files(cache, "tmp")


NO_OVERRIDE = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
needs_setpriv = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can make files of other users"
)


@needs_setpriv
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_files_of_another_user_are_not_read(cache, mode):
    """Unreadable ones, such as a module that root generated, nor readable ones: loading them runs code."""
    for path in cache.rglob("*.*"):
        os.chown(path, OTHER_USER, OTHER_USER)
        path.chmod(mode)
    first = run(cache, NO_OVERRIDE)
    assert first.hits == [0, 0] and len(first.warnings) == 1
    assert run(cache, NO_OVERRIDE).hits == [1, 1]


@needs_setpriv
def test_a_folder_that_cannot_be_written_is_read(cache):
    """As in a read-only container whose image was filled."""
    for path in [cache, *cache.rglob("*")]:
        if path.is_dir():
            path.chmod(0o555)
    done = run(cache, NO_OVERRIDE)
    assert done.hits == [1, 1] and not done.warnings


@needs_setpriv
def test_without_any_folder_code_is_compiled_in_memory(tmp_path):
    """Numba itself raises "no locator available" when a module with a jitted function is imported."""
    nowhere = """
import numba.core.caching as caching
for kind in caching.CompileResultCacheImpl._locator_classes:
    kind.from_function = classmethod(lambda *_: None)
"""
    tmp_path.chmod(0o555)
    done = run(tmp_path / "none", NO_OVERRIDE, program=nowhere + PROGRAM)
    assert done.hits == [0, 0] and len(done.warnings) == 1
    assert done.file.startswith("<twice_")


def test_ctrl_c_in_the_first_compilation(tmp_path):
    """It comes through when the function is compiled: raised in the middle, it left Numba broken or was lost."""
    program = """
import signal
import numpy as np
from numba.core import event
from neuroctl.maths.fixed import round_shift

class CtrlC(event.Listener):
    def on_start(self, _):
        signal.raise_signal(signal.SIGINT)

    def on_end(self, _):
        pass

with event.install_listener("numba:compile", CtrlC()):
    try:
        round_shift(np.int64(7), np.int64(1))
        print("lost")
    except KeyboardInterrupt:
        print(int(round_shift(np.int64(7), np.int64(1))), "42 -")
print(len(round_shift.signatures))
"""
    assert run(tmp_path / "cache", program=program).hits == 1


def test_signals_are_held_until_the_end_of_a_block():
    from neuroctl.maths.codecache import signals_held

    reached = []
    with pytest.raises(KeyboardInterrupt), signals_held():
        signal.raise_signal(signal.SIGINT)
        reached.append("first is held")
    with pytest.raises(KeyboardInterrupt), signals_held(), signals_held():
        signal.raise_signal(signal.SIGINT)
        reached.append("inner block holds")
        signal.raise_signal(signal.SIGINT)
        reached.append("never")
    assert reached == ["first is held", "inner block holds"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_is_told_once_that_compilation_takes_longer_than_a_second(monkeypatch):
    clock, told = [0.0], []
    monkeypatch.setattr(codecache.time, "perf_counter", lambda: clock[0])
    compiling = codecache.Compiling()
    compiling.tell = lambda: told.append(clock[0])
    with compiling.during():  # loads take their time too
        clock[0] = 5.0
    for _ in range(2):
        with compiling.during():
            clock[0] += 0.3
            with compiling.during():
                compiling.missed()
                clock[0] += 0.6
    assert told == [clock[0]]
    with compiling.during():
        compiling.missed()
        clock[0] += 9.0
    assert len(told) == 1
    compiling = codecache.Compiling()
    compiling.tell = lambda: told.append(clock[0])
    with compiling.during():
        compiling.missed()
        clock[0] += 2.0
        compiling.missed()
        assert told[1:] == [clock[0]]
