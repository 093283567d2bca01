"""The house itself: direction of imports, sizes of files, and what the README shows."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("neuroctl", "sims", "firmware_export")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_imports_go_one_way():
    lint = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or shutil.which("lint-imports")
    assert lint, "import-linter is not installed: pip install -e '.[dev]'"
    done = subprocess.run([lint, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_no_file_is_long():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: n for name, n in lengths.items() if n > 500} == {}


def test_cells_and_vectors_are_short():
    """A cell is an equation and its genome, in an hour's reading; what grows belongs to what cells share."""
    cells = [*(ROOT / "neuroctl/cells").rglob("*.py"), ROOT / "neuroctl/maths/vectors.py"]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in cells}
    assert {name: n for name, n in lengths.items() if n > 320} == {}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def imports_of(name, path):
    """Return the modules of ours that a module imports, wherever in its text."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            imported |= {full if (full := f"{base}.{alias.name}") in MODULES else base for alias in node.names}
    return (imported & set(MODULES)) - {name}


def test_no_two_modules_import_each_other():
    """Nor by way of others, nor inside functions, where a circle is only put off."""
    graph = {name: imports_of(name, path) for name, path in MODULES.items()}
    while graph:
        ends = {name for name, imported in graph.items() if not imported & set(graph)}
        if not ends:
            break
        graph = {name: imported for name, imported in graph.items() if name not in ends}
    callers = {name for imported in graph.values() for name in imported}
    assert sorted(name for name in graph if name in callers) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_assert_and_no_pickle(path):
    """A user's mistake is never caught by an assert, and no file of ours is a pickle."""
    text = path.read_text()
    assert not [node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Assert)]
    assert not re.search(r"pickle\.(load|dump)s?\(|allow_pickle=True", text)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_writers_ask_what_they_replace(path):
    """Files that users name are written by ``io.atomic_write``, or opened at ``io.output_file``."""
    if path.is_relative_to(ROOT / "firmware_export"):  # scratch folders; an export's files have rules of their own
        return
    opened = re.compile(r'(?<!fd)open\(.*"[rbt+]*[wax+][rbt+]*"|\.write_(text|bytes)\(')
    asked = re.compile(r"output_file\(|_claim\(")  # a log claims its file, which asks too
    assert not [line for line in path.read_text().splitlines() if opened.search(line) and not asked.search(line)]


def test_arrays_are_saved_in_one_place():
    """`savez` takes other arguments in NumPy 2.0 than in 2.2."""
    assert [path.name for path in SOURCES if re.search(r"np\.savez|np\.save\(", path.read_text())] == ["io.py"]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_examples_run(page, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks or page.name != "README.md"
    for block in blocks:
        assert len(block.splitlines()) <= 14
        if "import torch" in block:
            pytest.importorskip("torch", reason="the page imports its networks")
        if "from ncps" in block and find_spec("ncps") is None:
            continue  # an optional package of one block
        done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_contributing_names_what_is_there():
    """Files that the checklists name exist, and hold the table named before them."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    files = [path.relative_to(ROOT).as_posix() for path in (*SOURCES, *(ROOT / "tests").rglob("*.py"))]
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    assert len(named) > 20
    assert [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)] == []
    tables = re.findall(r"`(_?[A-Z][A-Z_]+)`\s+\(`([\w/]+\.py)`\)", text)
    assert len(tables) > 10
    for table, file in tables:
        assert re.search(rf"^{table}\b", (ROOT / file).read_text(), re.MULTILINE), (table, file)


def test_every_console_command_in_the_readme_exists():
    text = (ROOT / "README.md").read_text()
    used = set(re.findall(r"^neuroctl (\w+)", text, re.MULTILINE)) | set(re.findall(r"&& neuroctl (\w+)", text))
    listed = subprocess.run([sys.executable, "-m", "neuroctl", "--help"], capture_output=True, text=True).stdout
    assert used
    assert not [name for name in used if f" {name} " not in listed]


def test_extras_that_errors_name_bring_what_is_missing():
    """An error says `pip install 'neuroctl[X]'`: X, or an extra that it brings along, has the package."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    def packages(extra):
        inner = [re.match(r"neuroctl\[(.*)]", entry) for entry in extras[extra]]
        return set(extras[extra]).union(*(packages(name) for match in inner if match for name in match[1].split(",")))

    names = {"PIL": "pillow", "serial": "pyserial", "pybullet_data": "pybullet", "tensorboardX": "tensorboardX"}
    names |= {"zstandard": "mcap", "lz4": "mcap"}  # which brings them
    calls = re.compile(r'require\("(\w+)[\w.]*", "([\w-]+)"\)|\("(\w+)", "(sim|viz)"\)')
    named = {(m[1] or m[3], m[2] or m[4]) for path in SOURCES for m in calls.finditer(path.read_text())}
    assert len(named) > 15
    for module, extra in named - {("neuroctl", "evolve"), ("neuroctl", "export")}:
        wanted = names.get(module, module).replace("_", "-").lower()
        assert any(re.match(rf"{re.escape(wanted)}(\[|>|$)", entry.lower()) for entry in packages(extra)), (
            module,
            extra,
        )
