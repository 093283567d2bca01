"""Fuzz the board's link for a while: ``python -m tests.link.fuzz 300``."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.firmware.helpers import controller
from tests.link import reference as r
from tests.link.board import exported, fuzzer

FLAGS = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-g")


def seeds(q, folder):
    """Inputs to begin with: whole sessions, framed by the harness or as they go over the wire."""
    seed = r.folded(q.model_crc32)
    requests = [(r.HELLO, 0, b""), (r.START, 0, bytes([1, 1, 1, 0, 0, 0, 0, 0])), (r.STEP, 3, bytes(2 * q.spec.inputs))]
    requests += [(r.START, 0, bytes([2, 0, 0, 0, 0, 0, 0, 0])), (r.DRIVE, 0, bytes(2 * q.spec.outputs))]
    requests += [
        (r.STATE, 0, b""),
        (r.PING, 0, b"echo"),
        (r.START, 0, bytes([3, 1, 1, 0, 0, 0, 0, 0])),
        (r.STOP, 0, b""),
    ]
    requests += [(r.PARAM, 0, b"\1" + bytes(4) + b"data"), (r.PARAM, 0, b"\2")]
    framed = b"".join(bytes([kind, flags, len(payload)]) + payload for kind, flags, payload in requests)
    wire = b"".join(
        r.frame(kind, seq, payload, 0xFFFF if kind == r.HELLO else seed, flags)
        for seq, (kind, flags, payload) in enumerate(requests, 1)
    )
    (folder / "framed").write_bytes(b"\0" + framed)
    (folder / "wire").write_bytes(b"\1" + wire)


def main(seconds):
    """Return the fuzzer's exit code."""
    with tempfile.TemporaryDirectory() as place:
        q = controller()
        program = fuzzer(exported(q, Path(place) / "fw"), "clang", FLAGS)
        (Path(place) / "corpus").mkdir()
        seeds(q, Path(place) / "corpus")
        options = [f"-max_total_time={seconds}", "-max_len=2048", "-print_final_stats=1", f"-artifact_prefix={place}/"]
        return subprocess.run([program, *options, str(Path(place) / "corpus")]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
