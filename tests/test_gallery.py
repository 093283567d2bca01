"""The gallery says what the task table says."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("pybullet")

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def gallery():
    spec = importlib.util.spec_from_file_location("make_gallery", DOCS / "make_gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(gallery):
    assert gallery.PAGE.read_text() == gallery.page(), "run: python docs/make_gallery.py"


def test_every_figure_is_over_the_starts_that_the_page_names(gallery):
    figures = gallery.json.loads(gallery.FIGURES.read_text())
    assert {row["starts"] for row in figures.values()} == {len(gallery.UNSEEN)}
    assert f"seeds {gallery.UNSEEN[0]} to {gallery.UNSEEN[-1]}" in gallery.PAGE.read_text()


def test_every_task_has_its_picture_and_every_controller_its_command(gallery):
    for name in gallery.BULLET:
        assert (DOCS / "images" / f"{name}.png").is_file()
    pretrained = {file.stem for file in gallery.CONTROLLERS.glob("*.npz")}
    figures = gallery.json.loads(gallery.FIGURES.read_text())
    assert pretrained == {name for name, row in figures.items() if "made_by" in row}
    assert all(figures[name]["made_by"].startswith("neuroctl evolve ") for name in pretrained)


def test_controllers_that_ship_earn_what_the_page_says(gallery):
    figures = gallery.json.loads(gallery.FIGURES.read_text())
    assert gallery.CONTROLLERS.is_dir()
    for file in sorted(gallery.CONTROLLERS.glob("*.npz")):
        mean, worst = (float(part.strip("()")) for part in figures[file.stem]["float"].split())
        scores = gallery.sims.score(file.stem, gallery.sims.pretrained(file.stem), gallery.UNSEEN[:2])
        assert scores.mean() >= min(worst, 0.9 * mean), file.stem
        assert file.stat().st_size < 150_000
