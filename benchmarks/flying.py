"""Quadrotors that learn to fly by the gradient through the plant: seconds of training, and steps a second.

python benchmarks/flying.py [--seeds 5] [--threads 1] [--what speed simple honest]

- speed: plant steps a second, forward and back, with an Elman network of 16 neurons in the crazyflie; beside it the
  same gradient by JAX, where it is installed, on one core too
- simple: the crazyflie, which sees all of its state, until 95 of 100 unseen starts end within 0.2 m after 5 s
- honest: the quadrotor with noisy sensors, no velocities, a step of latency, gusts, another craft each time
"""

import argparse
import os
import time

import numpy as np
from neuroctl.sims.plants import crazyflie, quadrotor_sensed

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.train import plant_gradient
from neuroctl.train.by_plant import PlantTraining
from neuroctl.train.plant_settings import PlantSettings

NEAR_M = 0.2


def controller(cell, plant, neurons=16, **fields):
    sizes = {"inputs": len(plant.observe(plant.START)), "outputs": plant.ACTIONS, "dt_s": plant.DT_S}
    return nc.Spec(cell=cell, neurons=neurons, output_limits=((-1, 1),) * plant.ACTIONS, **sizes, **fields)


def speed():
    spec = controller("elman", crazyflie)
    f, theta = plant_gradient(spec, crazyflie, threads=1), nc.train.start(spec, 0)
    starts = f.plant.draw_starts(np.random.default_rng(0), 64).astype(np.float32)
    f(theta, starts, 100)
    took = []
    for _ in range(50):
        began = time.process_time()
        f(theta, starts, 100)
        took.append(time.process_time() - began)
    print(f"gradient, Elman 16, 64 episodes of 100 steps: {6400 / np.median(took) / 1e6:.2f} M steps/s of one core")
    try:
        rate = jax_speed(theta, starts)
        print(f"the same by JAX: {rate / 1e6:.2f} M steps/s; {6400 / np.median(took) / rate:.1f} times as fast")
    except ImportError:
        print("JAX is not installed")


def jax_speed(theta, starts, steps=100):
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp

    c = crazyflie

    def slope(x, s):
        w, i, j, k = x[3], x[4], x[5], x[6]
        p, q, r = x[10], x[11], x[12]
        square = w * w + i * i + j * j + k * k
        f = c.MAX_THRUST_N * x[13:17] ** 2
        lift, keep = f.sum(0) / (c.MASS_KG * square), 0.5 * (1 - square)
        jx, jy, jz = c.INERTIA
        roll, pitch = c.ARM_M * (-f[0] - f[1] + f[2] + f[3]), c.ARM_M * (-f[0] + f[1] + f[2] - f[3])
        yaw = c.YAW_M * (-f[0] + f[1] - f[2] + f[3])
        return jnp.stack([
            x[7], x[8], x[9], 0.5 * (-i * p - j * q - k * r) + keep * w, 0.5 * (w * p + j * r - k * q) + keep * i,
            0.5 * (w * q - i * r + k * p) + keep * j, 0.5 * (w * r + i * q - j * p) + keep * k,
            2 * (i * k + w * j) * lift, 2 * (j * k - w * i) * lift, (w * w - i * i - j * j + k * k) * lift - c.GRAVITY,
            (roll - (jz - jy) * q * r) / jx, (pitch - (jx - jz) * r * p) / jy, (yaw - (jy - jx) * p * q) / jz,
            *((s - x[13:17]) / c.LAG_S),
        ])  # fmt: skip

    def cost(x):
        far, fast, spin = (x[:3] ** 2).sum(0), (x[7:10] ** 2).sum(0), (x[10:13] ** 2).sum(0)
        turned = (x[4:7] ** 2).sum(0)
        return jnp.log1p(5 * far + 0.5 * fast + 0.02 * spin + 2 * turned / (x[3] ** 2 + turned))

    def observe(x):
        w, i, j, k = x[3], x[4], x[5], x[6]
        n = 2 / (w * w + i * i + j * j + k * k)
        return jnp.stack([
            2 * x[0], 2 * x[1], 2 * x[2], 1 - n * (j * j + k * k), n * (i * j - w * k), n * (i * k + w * j),
            n * (i * j + w * k), 1 - n * (i * i + k * k), n * (j * k - w * i), n * (i * k - w * j), n * (j * k + w * i),
            1 - n * (i * i + j * j), 0.5 * x[7], 0.5 * x[8], 0.5 * x[9], 0.1 * x[10], 0.1 * x[11], 0.1 * x[12],
        ])  # fmt: skip

    def mean_cost(p, x):
        def step(carry, _):
            h, x = carry
            h = jnp.tanh(p["W_in"] @ observe(x) + p["U"] @ h + p["bias"][:, None])
            s = jnp.clip(0.5 + 0.5 * (p["W_out"] @ h + p["b_out"][:, None]), 0, 1)
            k1 = slope(x, s)
            k2 = slope(x + 0.5 * c.DT_S * k1, s)
            k3 = slope(x + 0.5 * c.DT_S * k2, s)
            x = x + c.DT_S / 6 * (k1 + 2 * (k2 + k3) + slope(x + c.DT_S * k3, s))
            return (h, x), cost(x).mean()

        first = jnp.zeros((16, x.shape[1]), jnp.float32)
        return jax.lax.scan(step, (first, x), None, length=steps)[1].mean()

    gradient = jax.jit(jax.value_and_grad(mean_cost))
    p = {name: jnp.asarray(value) for name, value in nc.Controller(controller("elman", c), theta).params.items()}
    x = jnp.asarray(starts)
    jax.block_until_ready(gradient(p, x))
    took = []
    for _ in range(20):
        began = time.process_time()
        jax.block_until_ready(gradient(p, x))
        took.append(time.process_time() - began)
    return starts.shape[1] * steps / np.median(took)


def near(spec, plant, theta, starts, steps, threads):
    """Return the share of episodes that last and end near the target."""
    run = get("cpu").rollout(spec, theta, plant, steps, starts=starts, threads=threads)
    return float(((run.steps >= steps) & (np.square(run.final[:3]).sum(axis=0) < NEAR_M**2)).mean())


def fly(spec, plant, steps, settings, seed, threads):
    """Train until 95 of 100 starts, which nothing is trained or chosen by, are near; without the time of looking."""
    training = PlantTraining(spec, plant, steps, settings, seed=seed, threads=threads)
    training.warm_up()
    progress = training.begin(training.first())
    judged = training.plant.draw_starts(np.random.default_rng(1000), 100)
    others = training.plant.draw_starts(np.random.default_rng(2000), 1000)
    near(spec, plant, progress.theta, judged, steps, threads)
    cpu, share = 0.0, 0.0
    while share < 0.95 and training.over(progress) is None:
        began = time.process_time()
        progress = training.epoch(progress)
        cpu += time.process_time() - began
        share = near(spec, plant, progress.theta, judged, steps, threads)
    last = progress.rows[-1]
    rest = near(spec, plant, progress.theta, others, steps, threads)
    print(
        f"  {spec.cell} seed {seed}: {share:.2f} after {cpu:.3f} s of processor time, {last.elapsed_s:.3f} s of clock, "
        f"{last.epoch} epochs, {last.steps / 1e6:.2f} M steps; of 1000 others {rest:.3f}",
        flush=True,
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--what", nargs="*", default=["speed", "simple", "honest"])
    arguments.add_argument("--cells", nargs="*", default=["elman", "ctrnn"])
    given = arguments.parse_args()
    if "speed" in given.what:
        speed()
    for what, plant, steps, settings in (
        ("simple", crazyflie, 500, PlantSettings(epochs=40)),
        ("honest", quadrotor_sensed, 600, PlantSettings(epochs=150, horizon=400, learning_rate=3e-3, decay=0.99)),
    ):
        if what in given.what:
            print(f"{what}, {plant.__name__.rpartition('.')[2]}, until 95 of 100 unseen starts end within {NEAR_M} m")
            for cell in given.cells:
                for seed in range(given.seeds):
                    fly(controller(cell, plant), plant, steps, settings, seed, given.threads)


if __name__ == "__main__":
    main()
