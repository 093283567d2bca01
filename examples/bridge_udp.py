"""A controller for a peer that sends observations as UDP datagrams: float32 inputs in, float32 outputs back.

python examples/bridge_udp.py best.npz 9000             # on 127.0.0.1; an empty datagram resets, Ctrl-C ends
"""

import argparse
import socket
import sys

import numpy as np

import neuroctl as nc


def serve(controller, address, datagrams=None):
    u = np.zeros(controller.spec.inputs, controller.spec.dtype)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(address)
        print(f"listening on {door.getsockname()[0]}:{door.getsockname()[1]}", flush=True)
        while datagrams is None or datagrams > 0:
            data, peer = door.recvfrom(4 * len(u) + 1)
            datagrams = datagrams and datagrams - 1
            if len(data) == 4 * len(u):
                u[:] = np.frombuffer(data, "<f4")
                door.sendto(controller.step(u).astype("<f4").tobytes(), peer)
            elif not data:
                controller.reset()
            else:
                print(f"dropped: {len(data)} bytes; allowed: {4 * len(u)}, or 0 to reset", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("controller", type=nc.load)
    parser.add_argument("port", type=int)
    parser.add_argument("datagrams", type=int, nargs="?")
    asked = parser.parse_args()
    serve(asked.controller, ("127.0.0.1", asked.port), asked.datagrams)
