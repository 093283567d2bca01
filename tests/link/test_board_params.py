"""Parameters in RAM: the same code for all of a shape, the same bits, and never half of an upload."""

import re
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest

import firmware_export
import neuroctl as nc
from firmware_export import boards, param_image, shape_crc32
from tests.firmware.helpers import (
    CC,
    CELLS,
    UNEQUAL,
    batch_source,
    compiled,
    controller,
    extreme_inputs,
    needs_cc,
    run_batch,
)
from tests.link import reference as r

CASES = {name: {"cell": name} for name in CELLS} | {
    "slow": {"dt_s": 1e-6},
    "8-bit": {"weight_bits": 8},
    **{f"{bits}-bit": {"weight_bits": bits} for bits in (4, 3, 2)},
    "16-bit state": {"state_bits": 16},
    "16-bit state, indrnn": {"state_bits": 16, "cell": "indrnn tanh"},
    "identity": {"neurons": 4, "outputs": 4, "readout": "identity"},
    "formats of their own": {"inputs": 3, "outputs": 2, **UNEQUAL},
    "ReLU beyond 1": {"cell": "indrnn", "output_limits": None},
}


def sibling(q):
    """Another controller in the formats of q: all parameters smaller, each by another factor, and taus longer."""
    flat = nc.Controller(q.spec, seed=3).theta.copy()
    rng = np.random.default_rng(1)
    for name, block in q.layout.blocks.items():
        low, high = {"tau_s": (1.0, 1.3), "gain": (0.5, 0.99)}.get(name, (0.8, 0.99))
        flat[block.part] *= rng.uniform(low, high, block.size).astype(np.float32)
    return q.requantize(flat)


def cut(text):
    """Generated text without the numbers of tables and vectors, and without what names the model."""
    text = re.sub(r"= \{\n.*?\n *\};", "= {};", text, flags=re.DOTALL)
    text = re.sub(r"#define \w+_(MODEL|LAYOUT)_CRC32 .*", "", text)
    text = re.sub(r"\b0x[0-9A-Fa-f]+UL", "", text)
    return re.sub(r"/\*\*? @file.*?\*/", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("case", CASES)
def test_equal_shapes_have_equal_code(case, tmp_path):
    """The tunable form by its text, for parameters that the constant form would fold into the code."""
    q = controller(**CASES[case])
    other = sibling(q)
    assert other.model_crc32 != q.model_crc32
    assert shape_crc32(other) == shape_crc32(q)
    assert len(param_image(other)) == len(param_image(q))
    for place in ("ctl_tunable.h", "ctl_link.h"):
        texts = []
        for k, entry in enumerate((q, other)):
            folder = firmware_export.export(entry, tmp_path / str(k), force=True).parent
            text = (folder / place).read_text()
            text = re.sub(r"static const int32_t reach\[\].*?\};", "", text, flags=re.DOTALL)
            texts.append(cut(text))
        assert texts[0] == texts[1]
    manifest = (tmp_path / "0" / "ctl.json").read_text()
    assert f'"shape_crc32":{shape_crc32(q)}' in manifest
    assert f"#define CTL_SHAPE_CRC32 0x{shape_crc32(q):08X}UL" in (tmp_path / "0" / "ctl.h").read_text()
    assert f"#define CTL_PARAM_BYTES {len(param_image(q))}UL" in (tmp_path / "0" / "ctl.h").read_text()


def test_other_shapes_have_another_crc():
    q = controller()
    others = [controller(neurons=9), controller(weight_bits=8), controller(dt_s=0.01), controller(cell="elman")]
    assert len({shape_crc32(entry) for entry in (q, *others)}) == 5


@needs_cc
@pytest.mark.parametrize("flags", [(), ("-DNC_PORTABLE",)])
@pytest.mark.parametrize("case", CASES)
def test_both_forms_give_the_same_bits(case, flags, tmp_path):
    q = controller(**CASES[case])
    header = firmware_export.export(q, tmp_path / "fw")
    program = compiled(CC, ["-std=c99", "-O2", "-DCTL_TUNABLE", *flags], batch_source([header], [q]), tmp_path)
    inputs = extreme_inputs(q.spec.inputs, 300, 2)
    ((outputs, _),) = run_batch(program, [q], [inputs])
    q.reset()
    assert np.array_equal(outputs, q.rollout_int(inputs))


@needs_cc
@pytest.mark.parametrize("case", CASES)
def test_an_upload_makes_the_board_the_other_controller(case):
    """0 differing bits after it; and it may be undone."""
    q = controller(**CASES[case])
    other = sibling(q)
    rng = np.random.default_rng(0)
    with boards.start(q) as board, r.Client(board.port) as client:
        assert client.hello()["capabilities"] == 1
        for entry in (other, q):
            image = param_image(entry)
            assert client.upload(image, entry.model_crc32, shape_crc32(entry)) == struct.pack("<BI", 2, len(image))
            assert client.hello().items() >= {"mode": r.IDLE, "reason": 0, "model_crc32": entry.model_crc32}.items()
            client.start(r.STEPPING)
            entry.reset()
            for _ in range(100):
                u = rng.integers(-32768, 32768, q.spec.inputs).astype(np.int32)
                got = np.frombuffer(client.step(u), "<i2")
                assert got.tolist() == entry.step_int(u).tolist()


@needs_cc
def test_nothing_but_a_whole_upload_changes_a_step():
    """In the middle of one, after one whose CRC-32 is wrong, and after pieces out of order: the old bits."""
    q = controller()
    other = sibling(q)
    image, shape = param_image(other), shape_crc32(q)
    rng = np.random.default_rng(0)
    with boards.start(q) as board, r.Client(board.port) as client:
        client.hello()
        client.start(r.STEPPING)
        q.reset()

        def steps():
            for _ in range(10):
                u = rng.integers(-32768, 32768, 2).astype(np.int32)
                assert np.frombuffer(client.step(u), "<i2").tolist() == q.step_int(u).tolist()

        begin = struct.pack("<BIIII", 0, len(image), zlib.crc32(image), other.model_crc32, shape)
        data = struct.pack("<BI", 1, 0) + image[:100]
        assert client.ask(r.PARAM, data)[0] == r.PARAM_ORDER
        assert client.ask(r.PARAM, b"\2")[0] == r.PARAM_ORDER
        steps()
        assert client.upload(image[:-1], other.model_crc32, shape)[0] == r.PARAM_SIZE
        assert client.upload(image, other.model_crc32, shape ^ 1)[0] == r.PARAM_SHAPE
        steps()
        assert client.ask(r.PARAM, begin) == struct.pack("<BI", 0, 0)
        assert client.ask(r.PARAM, data) == struct.pack("<BI", 1, 100)
        steps()
        assert client.ask(r.PARAM, b"\2")[0] == r.PARAM_SIZE
        assert client.ask(r.PARAM, data)[0] == r.PARAM_ORDER
        assert client.ask(r.PARAM, struct.pack("<BI", 1, 101) + image[101:110])[0] == r.PARAM_ORDER
        assert client.ask(r.PARAM, struct.pack("<BI", 1, 100) + image[100:200]) == struct.pack("<BI", 1, 200)
        steps()
        assert client.upload(image, other.model_crc32, shape, zlib.crc32(image) ^ 1)[0] == r.PARAM_CRC
        assert client.ask(r.PARAM, b"\2")[0] == r.PARAM_ORDER
        steps()
        assert client.ask(r.PARAM, b"\3later")[0] == r.BAD_VALUE
        assert client.ping()["mode"] == r.STEPPING
        assert client.hello()["model_crc32"] == q.model_crc32


@needs_cc
def test_too_many_bytes_are_refused():
    q = controller()
    image = param_image(q)
    with boards.start(q) as board, r.Client(board.port) as client:
        client.hello()
        client.upload(image, q.model_crc32, shape_crc32(q), commit=False)
        assert client.ask(r.PARAM, struct.pack("<BI", 1, len(image)) + b"\1")[0] == r.PARAM_SIZE


@needs_cc
def test_a_commit_whose_answer_was_lost_may_be_repeated():
    """It is of the old model's seed, and still the same request."""
    q = controller()
    other = sibling(q)
    image = param_image(other)
    with boards.start(q) as board, r.Client(board.port) as client:
        client.hello()
        client.upload(image, other.model_crc32, shape_crc32(q), commit=False)
        client.seq += 1
        for _ in range(2):
            client.send(r.frame(r.PARAM, client.seq, b"\2", client.seed))
            assert client.await_answer()[3] == struct.pack("<BI", 2, len(image))
        assert client.hello()["model_crc32"] == other.model_crc32


@needs_cc
def test_a_state_is_refused_that_the_new_parameters_do_not_reach():
    q = controller()
    small = q.requantize(nc.Controller(q.spec, seed=3).theta * shrink(q))
    assert small.bounds["y"][1] < q.bounds["y"][1] // 2
    reach = struct.pack("<i", q.bounds["y"][1])
    with boards.start(q) as board, r.Client(board.port) as client:
        client.hello()
        state = client.ask(r.STATE)
        assert client.ask(r.STATE, reach + state[4:]) == b""
        client.upload(param_image(small), small.model_crc32, shape_crc32(q))
        assert client.ask(r.STATE, reach + state[4:])[0] == r.BAD_VALUE


def shrink(q):
    """Weights a tenth, all else as it is."""
    factors = np.ones(q.layout.size, np.float32)
    for name in ("W", "W_in"):
        factors[q.layout[name].part] = 0.1
    return factors


@pytest.mark.skipif(shutil.which("avr-gcc") is None, reason="avr-gcc is not installed: the refusal was NOT tested")
def test_an_avr_says_that_it_has_no_room(tmp_path):
    firmware_export.export(controller(), tmp_path)
    (tmp_path / "x.c").write_text('#define CTL_TUNABLE\n#include "ctl_link.h"\n')
    command = ["avr-gcc", "-std=gnu99", "-mmcu=atmega328p", "-c", "x.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "CTL_TUNABLE: this core keeps tables in flash" in done.stderr
