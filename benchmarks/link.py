"""Round trip of a 24-byte frame over a pseudo-terminal: a STEP of 8 inputs, answered by one of 8 outputs.

    python benchmarks/link.py                   # the other end: a Python process that reads, checks and answers frames
    python benchmarks/link.py --board host      # the firmware, built for this machine, with a CTRNN of 8 neurons
    python benchmarks/link.py --board qemu-m4 --trips 2000
    python benchmarks/link.py --json

The time is that of ``Link.step``: encode, write, wait, read, decode, check. A serial line adds 2.1 ms for 24 bytes each
way at 115,200 baud, 0.26 ms at 921,600.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
import tty
from collections.abc import Iterator

import numpy as np

import neuroctl as nc
from neuroctl.link import Link, Mode
from neuroctl.link.frames import MIN_BODY_BYTES, Decoder, encode
from neuroctl.link.protocol import ANSWER, HELLO_SEED, Hello, Reason, Type, fold, request_fits

LINES = 8
MODEL = 0x12345678


@contextlib.contextmanager
def answering_process() -> Iterator[str]:
    master, slave = os.openpty()
    tty.setraw(slave)
    if (child := os.fork()) == 0:
        answer(master)
    yield os.ttyname(slave)
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(master)
    os.close(slave)


def answer(master: int) -> None:
    hello = Hello(1, 0, Mode.IDLE, Reason.RESET, MODEL, 0, 1000, 0, 0, LINES, LINES, 8, 0, 12, 12, "answers")
    answers = {Type.HELLO: hello.pack(), Type.STEP: bytes(2 * LINES)}
    decoder = Decoder(fold(MODEL), hello.sizes, request_fits)
    while True:
        for frame in decoder.feed(os.read(master, 4096)):
            seed = HELLO_SEED if frame.type == Type.HELLO else fold(MODEL)
            os.write(master, encode(frame.type | ANSWER, frame.seq, 0, answers.get(frame.type, b""), seed))


@contextlib.contextmanager
def board(kind: str) -> Iterator[str]:
    if kind == "python":
        with answering_process() as port:
            yield port
        return
    from firmware_export import boards

    limits = ((-1.0, 1.0),) * LINES
    spec = nc.Spec(cell="ctrnn", inputs=LINES, neurons=8, outputs=LINES, dt_s=0.001, input_limits=limits)
    with boards.start(nc.Controller(spec, seed=0).quantize(), kind) as started:
        yield started.port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", default="python", choices=["python", "host", "qemu-m4"])
    parser.add_argument("--trips", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    inputs = bytes(range(1, 2 * LINES + 1))
    with board(args.board) as port, Link(port) as link:
        wire_bytes = len(encode(Type.STEP, 0, 0, inputs, 0))
        link.start(Mode.STEP, timeout_s=2.0)
        times_us = np.empty(args.trips)
        for index in range(-200, args.trips):
            begin = time.perf_counter()
            link.step(inputs)
            times_us[max(index, 0)] = 1e6 * (time.perf_counter() - begin)
        figures = {
            "board": args.board,
            "bytes": wire_bytes,
            "answer_bytes": MIN_BODY_BYTES + 2 + 2 * LINES,
            "trips": args.trips,
            "median_us": float(np.median(times_us)),
            "p99_us": float(np.percentile(times_us, 99)),
            "worst_us": float(times_us.max()),
            "lost": link.stats.lost,
            "retried": link.stats.retried,
        }
    if args.json:
        print(json.dumps(figures, indent=1))
        return
    print(
        f"{wire_bytes} bytes there, {figures['answer_bytes']} back, {args.trips} round trips, other end: {args.board}"
    )
    print(f"median {figures['median_us']:.1f} us, p99 {figures['p99_us']:.1f} us, worst {figures['worst_us']:.0f} us")


if __name__ == "__main__":
    main()
