"""What kills do to a study on the cart-pole in PyBullet: nothing. Prints what was done and what came of it.

    python benchmarks/faults.py

First a worker is killed with SIGKILL every 5 s for a minute, in a pool and on Ray; then a whole study at 20 random
moments, and each is resumed. Every result is compared, bit for bit, with that of a study left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES = ("best.npz", "population.npz")


def command(folder: Path, *options: str) -> list[str]:
    study = ["evolve", "cartpole", "--neurons", "4", "--seed", "3", "--out", str(folder), "--workers", "2"]
    return [sys.executable, "-m", "neuroctl", *study, *options]


def run(folder: Path, *options: str) -> None:
    """Run a study to its end."""
    subprocess.run(command(folder, *options), check=True, capture_output=True, timeout=900)


def outcome(folder: Path) -> str:
    """Return a digest of what a study found: its history but for the times, its best, its last population."""
    rows = [line.rpartition(",")[0] for line in (folder / "history.csv").read_text().splitlines()]
    digest = hashlib.sha256("\n".join(rows).encode())
    for name in FILES:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def workers_of(pid: int, word: str) -> list[int]:
    """Return the processes below one whose command line holds a word."""
    workers, parents = [], [pid]
    while parents:
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", ",".join(map(str, parents))], capture_output=True, text=True
        ).stdout
        rows = [line.strip().partition(" ") for line in listed.splitlines()]
        workers += [int(row[0]) for row in rows if word in row[2]]
        parents = [int(row[0]) for row in rows]
    return workers


def kill_workers(folder: Path, word: str, seconds: float, every: float, *options: str) -> int:
    """Run a study and kill one of its workers now and then; return how many."""
    study = subprocess.Popen(command(folder, *options), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    killed, end = 0, time.monotonic() + seconds
    while study.poll() is None:
        time.sleep(every)
        workers = workers_of(study.pid, word) if time.monotonic() < end else []
        if workers:
            os.kill(random.choice(workers), signal.SIGKILL)
            killed += 1
    errors = study.communicate()[1]
    if study.returncode:
        raise RuntimeError(f"the study ended with exit code {study.returncode}: {errors[-500:]}")
    return killed


def kill_study(folder: Path, after_s: float, *options: str) -> int:
    """Kill a study after a while, and run the rest; return how many generations it had."""
    study = subprocess.Popen(
        command(folder, *options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(after_s)
    os.kill(study.pid, signal.SIGKILL)
    study.wait()
    history = folder / "history.csv"
    done = len(history.read_text().splitlines()) - 1 if history.exists() else 0
    run(folder, *options, *(["--resume"] if (folder / "study.json").exists() else []))
    return done


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long workers are killed")
    parser.add_argument("--kills", type=int, default=20, help="studies that are killed")
    arguments = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        long = ("--episodes", "16", "--generations", "135")
        run(root / "long", *long)
        expected = outcome(root / "long")
        for name, word, options in (("a pool", "spawn_main", ()), ("Ray", "ray::_Actor", ("--cluster", "local"))):
            folder = root / name.replace(" ", "-")
            killed = kill_workers(folder, word, arguments.seconds, 5.0, *long, *options)
            same = outcome(folder) == expected
            bad += not same
            print(f"workers of {name} killed: {killed}; result {'the same' if same else 'ANOTHER'}", flush=True)
        short = ("--generations", "60")
        begin = time.monotonic()
        run(root / "short", *short)
        whole_s, expected = time.monotonic() - begin, outcome(root / "short")
        clock, same_count, done = random.Random(1), 0, []
        for k in range(arguments.kills):
            done.append(kill_study(root / f"killed-{k}", clock.uniform(0.3, whole_s), *short))
            same_count += outcome(root / f"killed-{k}") == expected
        bad += same_count != arguments.kills
        print(f"studies killed after {done} generations and resumed: {same_count} of {arguments.kills} the same")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
