"""What the tests of the board's side share: exported folders, programs made of them, and a board in this process."""

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

import firmware_export
from tests.firmware.helpers import CC, SANITIZE, STRICT_C, controller
from tests.link import reference as r

HERE = Path(__file__).parent
DT_US = 20_000
EMERGENCY = 77
SAFE, FAR = [0, 0], [20000, -20000]
READ = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int16))
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int16))
TRANSMIT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint8), ctypes.c_size_t)
MICROSECONDS = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)
needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed: the board was NOT emulated"
)


def exported(q, folder, name="ctl"):
    firmware_export.export(q, folder, name=name)
    return folder


def fuzzer(folder, compiler=CC, flags=(*SANITIZE, "-DFUZZ_MAIN"), name="ctl", level="-O1"):
    """Build ``fuzz_link.c`` with the controller of an export folder, whose parameters are in RAM."""
    big = name.upper()
    (folder / "model.h").write_text(
        f'#define {big}_TUNABLE\n#include "{name}_link.h"\n'
        f"typedef {name}_link_t model_link_t;\n#define model_link_init {name}_link_init\n"
        f"#define model_live {name}_live\n"
        f"#define MODEL_INPUTS {big}_INPUTS\n#define MODEL_OUTPUTS {big}_OUTPUTS\n"
    )
    strict = [flag for flag in STRICT_C if "conversion" not in flag and "cast-qual" not in flag]
    command = [compiler, *strict, level, *flags, f"-I{folder}", str(HERE / "fuzz_link.c"), str(folder / "nc_link.c")]
    done = subprocess.run([*command, "-o", str(folder / "fuzz")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "fuzz"


def build(folder, *flags):
    """Compile the link as a library of this process; the compiler's result."""
    command = [CC, "-std=c99", "-shared", "-fPIC", *flags, f"-I{folder}", str(HERE / "stopping.c"), "nc_link.c"]
    return subprocess.run([*command, "-o", "board.so"], cwd=folder, capture_output=True, text=True)


def library_of(q, folder):
    done = build(exported(q, folder))
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(folder / "board.so"))
    library.board_wait_us.restype = ctypes.c_uint32
    return library


class LibraryBoard:
    """A board in this process. It can stop itself in ``read``, ``write`` or ``transmit``, each time from now on."""

    def __init__(self, library, has_clock=True):
        self.library, self.written, self.sent = library, [], []
        self.stops_in, self.depth, self.deepest = None, 0, 0
        self.seed, self.seq, self.now_us = None, 0, 0
        clock = MICROSECONDS(lambda _: self.now_us & 0xFFFFFFFF) if has_clock else MICROSECONDS()
        self.callbacks = READ(self.read), WRITE(self.write), TRANSMIT(self.transmit), clock
        library.board_start(*self.callbacks)
        self.ask(r.HELLO)
        self.seed = r.folded(struct.unpack_from("<I", self.sent[-1][3], 4)[0])

    def stop_if(self, where):
        if where == self.stops_in and self.depth < 20:
            self.depth += 1
            self.deepest = max(self.depth, self.deepest)
            self.library.board_stop(EMERGENCY)
            self.depth -= 1

    def read(self, _, inputs):
        self.stop_if("read")
        inputs[0], inputs[1], inputs[2] = 20000, -20000, 5000
        return 0

    def write(self, _, outputs):
        before = outputs[:2]
        self.stop_if("write")
        assert outputs[:2] == before, "the outputs changed while they were written"
        self.written.append(before)

    def transmit(self, _, data, size):
        self.sent.append(r.parse(bytes(data[:size]).strip(b"\0"), 0xFFFF, self.seed or 0xFFFF))
        self.stop_if("transmit")

    def frame(self, kind, payload=b""):
        self.seq += 1
        return r.frame(kind, self.seq, payload, 0xFFFF if kind == r.HELLO else self.seed)

    def feed(self, data):
        self.library.board_feed(data, ctypes.c_size_t(len(data)))

    def ask(self, kind, payload=b""):
        self.feed(self.frame(kind, payload))
        return self.sent[-1]

    def start(self, mode, timeout_us=10_000_000):
        return self.ask(r.START, struct.pack("<BBHI", mode, 0, 1, timeout_us))

    def tick(self, count):
        for _ in range(count):
            self.library.board_tick(ctypes.c_uint32(self.now_us))
            self.now_us += DT_US

    def says(self):
        reason, ticks = ctypes.c_uint32(), ctypes.c_uint32()
        mode = self.library.board_says(ctypes.byref(reason), ctypes.byref(ticks))
        return mode, reason.value, ticks.value

    def ask_to_move(self):
        """What moves the motors in the mode that was started."""
        self.tick(1)
        if self.mode == r.STEPPING:
            return self.ask(r.STEP, struct.pack("<3h", 20000, -20000, 5000))
        if self.mode == r.DRIVING:
            return self.ask(r.DRIVE, struct.pack("<2h", *FAR))
        return None


__all__ = [
    "DT_US",
    "EMERGENCY",
    "FAR",
    "HERE",
    "SAFE",
    "LibraryBoard",
    "build",
    "controller",
    "exported",
    "fuzzer",
    "library_of",
    "needs_qemu",
]
