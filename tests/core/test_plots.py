"""Pictures that move: what a viewer makes of them."""

import inspect

import numpy as np
import pytest

from neuroctl import plots

image = pytest.importorskip("PIL.Image")


@pytest.mark.parametrize("hz", [10, 15, 30, 48, 60, 120])
def test_a_film_lasts_as_long_as_its_episode(tmp_path, hz):
    every = plots.frame_every(1 / hz)
    frames = [np.full((8, 8, 3), 5 * k, np.uint8) for k in range(40)]
    plots.gif(frames, tmp_path / "a.gif", frame_s=every / hz)
    with image.open(tmp_path / "a.gif") as film:
        shown_ms = []
        for k in range(film.n_frames):
            film.seek(k)
            shown_ms.append(film.info["duration"])
    assert sum(shown_ms) == pytest.approx(1000 * 40 * every / hz, abs=10)
    assert min(shown_ms) >= 20


def test_all_pictures_are_named_in_one_place():
    """Wherever a picture is drawn, it is asked for as ``neuroctl.plots.<name>``."""
    modules = (plots.episodes, plots.loops, plots.quantization, plots.studies)
    drawn = {name for module in modules for name, made in vars(module).items() if public(module, name, made)}
    assert drawn < set(plots.__all__)


def public(module, name, made):
    return inspect.isfunction(made) and made.__module__ == module.__name__ and not name.startswith("_")
