"""Tasks simulated with PyBullet, one a file."""
