"""A process that runs a loop until it is hit: ``python -m tests.realtime.process HOST LOG``."""

import asyncio
import signal
import sys
import time

from neuroctl.realtime import Loop
from tests.realtime.pieces import FAST, Echo, WithSafe


def main(host, path):
    def on_write(tick, y):
        if tick == 0:
            print("ticking", flush=True)
        if tick == 20 and host in ("hang", "hang-watched"):
            time.sleep(20)

    plant = WithSafe(on_write=on_write)
    if host == "hang-safe":
        plant.safe = lambda: time.sleep(20)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    limit = 300 if host == "strict" else None
    loop = Loop(Echo(FAST), plant, log=path, overrun_limit=limit, watchdog_s=0.3 if host != "hang" else 10.0)
    if host in ("start", "orphan"):
        loop.start()
        if host == "orphan":
            time.sleep(0.2)
            return
        loop.join()
    elif host == "async":
        asyncio.run(loop.run_async())
    else:
        try:
            loop.run()
        except KeyboardInterrupt:
            pass
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    print(f"{loop.report.reason} safe {plant.events[-1] == 'safe'} restored {before == after}")


main(*sys.argv[1:])
