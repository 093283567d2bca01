"""Plants, controllers and clocks that a test steers."""

import numpy as np

import neuroctl as nc

SPEC = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=2, dt_s=0.01, output_limits=((-1.0, 1.0), (0.0, 2.0)))
FAST = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=0.001, output_limits=((-1.0, 1.0),))


class FakeClock:
    """Time that passes only where a test lets it: in sleeps, and where ``t`` is moved on."""

    def __init__(self):
        self.t = 1_000_000_000
        self.sleeps, self.longest = 0, 0.0

    def now(self):
        return self.t

    def cpu(self):
        return 0

    def sleep(self, seconds):
        self.sleeps, self.longest = self.sleeps + 1, max(self.longest, seconds)
        self.t += round(seconds * 1e9)

    def pass_s(self, seconds):
        self.t += round(seconds * 1e9)


def fake():
    """Return a loop's options for a fake clock of its own; spinning would never end in it."""
    return {"clock": FakeClock(), "spin_s": 0.0}


class Echo:
    """A controller whose outputs are set by the test."""

    def __init__(self, spec=SPEC, y=0.5):
        self.spec, self.fault, self.resets, self.seen = spec, False, 0, []
        self.y = np.full(spec.outputs, y, np.float32)

    def reset(self):
        self.resets += 1

    def step(self, u):
        self.seen.append(u.copy())
        return self.y


class Recorder:
    """A plant that keeps what it is told; ``on_read`` and ``on_write`` are called with the tick's number."""

    def __init__(self, on_read=None, on_write=None, inputs=0.25):
        self.on_read, self.on_write, self.inputs = on_read, on_write, inputs
        self.reads, self.written, self.events = 0, [], []

    def read(self, u):
        self.reads += 1
        u[:] = self.inputs
        return None if self.on_read is None else self.on_read(self.reads - 1, u)

    def write(self, y):
        self.events.append("write")
        self.written.append(y.copy())
        if self.on_write is not None:
            self.on_write(len(self.written) - 1, y)


class WithSafe(Recorder):
    """One that has its own way to be safe."""

    def safe(self):
        self.events.append("safe")
