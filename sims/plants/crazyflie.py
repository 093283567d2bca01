"""A quadrotor of 27 g, a Crazyflie 2.0, that flies to its place: full state, no noise.

J. Eschmann, D. Albani and G. Loianno, "Learning to fly in seconds", IEEE Robotics and Automation Letters 9 (2024): a
rigid body, rotors whose speeds follow their set points with a lag of first order and whose thrust goes with the square
of the speed; masses, inertias, thrust and lag as there. State: position from the target [m], attitude as a quaternion
(w, x, y, z), velocity [m/s], angular velocity in the body's frame [rad/s], speeds of the rotors (0 to 1). Actions: set
points of the rotors, -1 (off) to 1: front right, rear right, rear left, front left. x points ahead, y left, z up.
"""

from neuroctl.maths.logarithm import log1p

ACTIONS = 4
DT_S = 0.01

START = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.667, 0.667, 0.667, 0.667)
STARTS = (
    *((-0.2, 0.2),) * 3,
    (1.0, 1.0), (-0.5, 0.5), (-0.5, 0.5), (-0.3, 0.3),
    *((-0.5, 0.5),) * 3,
    *((-1.0, 1.0),) * 3,
    *((0.4, 0.9),) * 4,
)  # fmt: skip

MASS_KG = 0.027
INERTIA = (3.85e-6, 3.85e-6, 5.9675e-6)  # [kg m^2]
GRAVITY = 9.81
ARM_M = 0.028  # of a rotor along x and along y
MAX_THRUST_N = 0.14883  # of a rotor
YAW_M = 0.005964552  # torque about z for each newton of a rotor
LAG_S = 0.15

FAR_M = 2.0
FAST_M_S = 10.0
SPIN = 35.0  # [rad/s]


def set_point(a):
    """Return the speed that an action asks of a rotor, 0 to 1."""
    speed = 0.5 + 0.5 * a
    speed = 1.0 if speed > 1.0 else speed
    return 0.0 if speed < 0.0 else speed


def thrust(speed):
    """Return a rotor's thrust [N]."""
    return MAX_THRUST_N * speed * speed


def derivative(x, a):
    """Return d/dt of the state."""
    w, i, j, k = x[3], x[4], x[5], x[6]
    p, q, r = x[10], x[11], x[12]
    square = w * w + i * i + j * j + k * k
    f1, f2, f3, f4 = thrust(x[13]), thrust(x[14]), thrust(x[15]), thrust(x[16])
    lift = (f1 + f2 + f3 + f4) / (MASS_KG * square)
    roll, pitch, yaw = ARM_M * (-f1 - f2 + f3 + f4), ARM_M * (-f1 + f2 + f3 - f4), YAW_M * (-f1 + f2 - f3 + f4)
    keep = 0.5 * (1.0 - square)  # draws the quaternion back to length 1
    jx, jy, jz = INERTIA
    return (
        x[7], x[8], x[9],
        0.5 * (-i * p - j * q - k * r) + keep * w,
        0.5 * (w * p + j * r - k * q) + keep * i,
        0.5 * (w * q - i * r + k * p) + keep * j,
        0.5 * (w * r + i * q - j * p) + keep * k,
        2.0 * (i * k + w * j) * lift,
        2.0 * (j * k - w * i) * lift,
        (w * w - i * i - j * j + k * k) * lift - GRAVITY,
        (roll - (jz - jy) * q * r) / jx,
        (pitch - (jx - jz) * r * p) / jy,
        (yaw - (jy - jx) * p * q) / jz,
        (set_point(a[0]) - x[13]) / LAG_S,
        (set_point(a[1]) - x[14]) / LAG_S,
        (set_point(a[2]) - x[15]) / LAG_S,
        (set_point(a[3]) - x[16]) / LAG_S,
    )  # fmt: skip


def observe(x):
    """Return position, rotation matrix by rows, velocity and angular velocity, each as a share of what is large."""
    w, i, j, k = x[3], x[4], x[5], x[6]
    n = 2.0 / (w * w + i * i + j * j + k * k)
    return (
        2.0 * x[0], 2.0 * x[1], 2.0 * x[2],
        1.0 - n * (j * j + k * k), n * (i * j - w * k), n * (i * k + w * j),
        n * (i * j + w * k), 1.0 - n * (i * i + k * k), n * (j * k - w * i),
        n * (i * k - w * j), n * (j * k + w * i), 1.0 - n * (i * i + j * j),
        0.5 * x[7], 0.5 * x[8], 0.5 * x[9], 0.1 * x[10], 0.1 * x[11], 0.1 * x[12],
    )  # fmt: skip


def critic(x):
    """Return the same and the speeds of the rotors."""
    return observe(x) + (x[13], x[14], x[15], x[16])


def done(x):
    """Return whether the craft is lost: 2 m away, faster than 10 m/s or turning by more than 35 rad/s."""
    far = x[0] * x[0] + x[1] * x[1] + x[2] * x[2]
    fast = x[7] * x[7] + x[8] * x[8] + x[9] * x[9]
    spin = x[10] * x[10] + x[11] * x[11] + x[12] * x[12]
    return not (far <= FAR_M * FAR_M and fast <= FAST_M_S * FAST_M_S and spin <= SPIN * SPIN)


def unrest(x):
    """Return 0 for a craft at rest in its place, level."""
    far = x[0] * x[0] + x[1] * x[1] + x[2] * x[2]
    fast = x[7] * x[7] + x[8] * x[8] + x[9] * x[9]
    spin = x[10] * x[10] + x[11] * x[11] + x[12] * x[12]
    turned = x[4] * x[4] + x[5] * x[5] + x[6] * x[6]
    return 5.0 * far + 0.5 * fast + 0.02 * spin + 2.0 * turned / (x[3] * x[3] + turned)


def reward(x, a):
    """Return 1 for a craft at rest in its place, and less the further from that it is."""
    return 1.0 / (1.0 + unrest(x))


def cost(x, a):
    """Return minus the logarithm of the reward: far away it has a slope where the reward has none."""
    return log1p(unrest(x))


def fitness(x, steps, total, recent):
    """Return the sum of rewards."""
    return total
