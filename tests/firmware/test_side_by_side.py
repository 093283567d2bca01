"""Several exports in one firmware: the link's code once, and names that hide each other refused."""

import os
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

import firmware_export
from firmware_export.packages import PACKAGES
from tests.firmware.helpers import CC, STRICT_C, controller, needs_cc

BOTH = """#include <left_link.h>
#include <right_link.h>
static int read_in(void *user, int16_t *in) { (void)user; in[0] = 0; return 0; }
static void write_out(void *user, const int16_t *out) { (void)user; (void)out; }
static void transmit(void *user, const uint8_t *bytes, size_t size) { (void)user; (void)bytes; (void)size; }
int main(void)
{
    static left_link_t one;
    static right_link_t two;
    const nc_link_board_t board = {read_in, write_out, transmit, NULL, NULL};
    left_link_init(&one, &board);
    right_link_init(&two, &board);
    nc_link_tick(&one.link, 5);
    nc_link_tick(&two.link, 5);
    return left_selftest() + right_selftest() + (one.link.mode | two.link.mode);
}
"""
COMPILERS = [name for name in ("gcc", "clang", "tcc") if shutil.which(name)] or [CC]


def exported(place, package, name, seed):
    """Export a controller; returns the folders of headers, and the C files."""
    folder = place / f"{name}{seed}"
    firmware_export.export(controller(4, 1, 1, seed=seed), folder, name=name, package=package)
    form = PACKAGES[package]
    files = [file.format(name=name) for file in (form.header, form.source, *form.files) if file]
    c_files = [folder / file for file in files if Path(file).parts[0] in ("src", "nc_link.c") and file.endswith(".c")]
    return [folder / Path(form.header).parent], c_files


def build(compiler, places, sources, main, folder, *flags):
    """Compile each file apart, with the headers of all, and link the objects."""
    (folder / "main.c").write_text(main)
    objects = []
    for k, source in enumerate([folder / "main.c", *sources]):
        objects.append(str(folder / f"{k}.o"))
        command = [compiler, *flags, *(f"-I{place}" for place in places), "-c", str(source), "-o", objects[-1]]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            return done
    command = [compiler, *flags, *objects, "-o", str(folder / "all")]
    return subprocess.run(command, capture_output=True, text=True)


@needs_cc
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("package", PACKAGES)
def test_two_exports_link_and_run(package, compiler, tmp_path):
    """As Arduino, PlatformIO, Zephyr and ESP-IDF do it: each library's C compiled and linked, nc_link.c twice."""
    left, right = (exported(tmp_path, package, name, seed) for seed, name in enumerate(("left", "right")))
    for flags in ([], ["-O2"], *([["-O2", "-flto"]] if compiler == "gcc" else [])):
        done = build(
            compiler,
            left[0] + right[0],
            left[1] + right[1],
            BOTH,
            tmp_path,
            *flags,
        )
        assert done.returncode == 0, done.stderr
        assert subprocess.run([tmp_path / "all"]).returncode == 0


@needs_cc
def test_exports_of_different_link_versions_do_not_share_code(tmp_path):
    """Each takes its own nc_link.c where they are apart; in one file the headers refuse each other."""
    (places, sources), (other_places, other_sources) = (
        exported(tmp_path, "arduino", name, seed) for seed, name in enumerate(("left", "right"))
    )
    version = int(re.search(r"NC_LINK_VERSION (\d+)", (places[0] / "nc_link.h").read_text())[1])
    for file in other_places[0].iterdir():
        if "link" in file.name:
            text = re.sub(r"(NC_LINK_VERSION (?:!= )?)\d+", rf"\g<1>{version + 1}", file.read_text())
            file.write_text(re.sub(rf"(nc_link_\w+_){version}\b", rf"\g<1>{version + 1}", text))
    done = build(CC, places + other_places, sources, BOTH, tmp_path)
    assert "another neuroctl version than right_link.h" in done.stderr
    for k, source in enumerate([*sources, *other_sources]):
        place = source.parent
        subprocess.run([CC, f"-I{place}", "-c", str(source), "-o", str(tmp_path / f"p{k}.o")], check=True)
    names = subprocess.run(["nm", *tmp_path.glob("p*.o")], capture_output=True, text=True).stdout
    assert {f"nc_link_tick_{version}", f"nc_link_tick_{version + 1}"} <= set(names.split())


LINK_OF_VERSION = {3: 0x9C217E00}
"""CRC-32 of what exports of one NC_LINK_VERSION share."""


def test_a_link_whose_structs_change_gets_another_version():
    """One firmware keeps one nc_link.c for all exports of a version, so that their structs have to be the same."""
    header = Path(firmware_export.__file__).with_name("runtime") / "nc_link.h"
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
    version = int(re.search(r"NC_LINK_VERSION (\d+)", text)[1])
    structs = re.findall(r"^typedef struct \{.*?^\} \w+;", text, re.DOTALL | re.MULTILINE)
    functions = re.findall(r"^\w[\w *]*\bnc_link_\w+\([^;{]*\);", text, re.MULTILINE)
    room = re.findall(r"^#define NC_LINK_(?:MOST_DATA|MOST_ECHO|FRAME_BYTES|WIRE_BYTES|MORE)\b.*", text, re.MULTILINE)
    assert (len(structs), len(functions), len(room)) == (6, 5, 5)
    shared = zlib.crc32(" ".join(" ".join([*structs, *functions, *room]).split()).encode())
    assert LINK_OF_VERSION.get(version) == shared, (
        "a struct, a function or the room for frames of nc_link.h changed: raise NC_LINK_VERSION, and the number in "
        f"the names below it, unless this is a new one already; then put it here: {{VERSION: 0x{shared:08X}}}"
    )
    suffixes = re.findall(r"^#define nc_link_\w+ nc_link_\w+_(\d+)$", text, re.MULTILINE)
    assert set(map(int, suffixes)) == {version} and len(suffixes) == len(functions)


@needs_cc
@pytest.mark.parametrize("file", ["ctl.h", "ctl_link.h"])
def test_two_controllers_of_one_name_in_one_file_are_an_error(file, tmp_path):
    """The second header's guard would hide it without a word."""
    folders = [exported(tmp_path, "header", "ctl", seed)[0][0] for seed in (0, 1)]
    done = build(CC, [], [], "".join(f'#include "{folder / file}"\n' for folder in folders), tmp_path)
    assert "two controllers are named ctl" in done.stderr
    again = build(CC, [], [], f'#include "{folders[0] / file}"\n' * 2 + "int main(void) { return 0; }\n", tmp_path)
    assert again.returncode in (0, 1)
    assert "#error" not in again.stderr


@needs_cc
@pytest.mark.parametrize("package", [name for name in PACKAGES if PACKAGES[name].source and name != "arduino"])
def test_a_source_that_finds_the_other_controllers_header_is_an_error(package, tmp_path):
    """Headers in ``include``: the first folder on the path serves both."""
    (first, sources), (second, others) = (exported(tmp_path, package, "ctl", seed) for seed in (0, 1))
    done = build(CC, first + second, [others[0]], "int main(void) { return 0; }\n", tmp_path)
    assert "ctl.h is of another controller" in done.stderr
    tunable = build(CC, first + second, [others[0]], "int main(void) { return 0; }\n", tmp_path, "-DCTL_TUNABLE")
    assert "is of another controller" in tunable.stderr
    assert build(CC, second + first, [others[0]], "int main(void) { return 0; }\n", tmp_path).returncode == 0


@needs_cc
def test_the_links_code_is_still_strict_c(tmp_path):
    _, sources = exported(tmp_path, "arduino", "left", 0)
    link = next(source for source in sources if source.name == "nc_link.c")
    done = subprocess.run([CC, *STRICT_C, "-c", str(link), "-o", os.devnull], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
