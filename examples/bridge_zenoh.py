"""A controller on Zenoh: float32 inputs on robot/observation, float32 outputs on robot/action (pip: eclipse-zenoh).

python examples/bridge_zenoh.py best.npz tcp/127.0.0.1:7447     # Ctrl-C ends; ROS 2 joins by zenoh-bridge-ros2dds
"""

import argparse
import queue
import sys

import numpy as np
import zenoh

import neuroctl as nc


def serve(controller, endpoint, samples=None):
    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("listen/endpoints", f'["{endpoint}"]')
    config.insert_json5("scouting/multicast/enabled", "false")
    u, arrived = np.zeros(controller.spec.inputs, controller.spec.dtype), queue.SimpleQueue()
    with zenoh.open(config) as session:
        action = session.declare_publisher("robot/action")
        session.declare_subscriber("robot/observation", lambda sample: arrived.put(sample.payload.to_bytes()))
        print(f"listening on {endpoint}", flush=True)
        while samples is None or samples > 0:
            data = arrived.get()
            samples = samples and samples - 1
            if len(data) == 4 * len(u):
                u[:] = np.frombuffer(data, "<f4")
                action.put(controller.step(u).astype("<f4").tobytes())
            else:
                print(f"dropped: {len(data)} bytes; allowed: {4 * len(u)}", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("controller", type=nc.load)
    parser.add_argument("endpoint")
    parser.add_argument("samples", type=int, nargs="?")
    asked = parser.parse_args()
    serve(asked.controller, asked.endpoint, asked.samples)
