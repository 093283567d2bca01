"""The header as text and as C: warnings, C++, several in one program, determinism."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import firmware_export
import neuroctl as nc
from firmware_export.emit.parts import STORAGE_BYTES
from firmware_export.targets import TARGETS
from neuroctl.maths.fixed import LOGISTIC_TABLE
from neuroctl.quant import WEIGHT_BITS
from tests.firmware.helpers import (
    CC,
    CELLS,
    CXX,
    FILES,
    SANITIZE,
    STRICT_C,
    STRICT_CXX,
    UNEQUAL,
    batch_source,
    compiled,
    controller,
    extreme_inputs,
    members,
    mixed_bits,
    needs_cc,
    needs_cxx,
    run_batch,
)

SHAPES = {
    "usual": {},
    "one neuron, one input": {"neurons": 1, "inputs": 1},
    "odd sizes": {"neurons": 5, "inputs": 3, "outputs": 3},
    "identity": {"neurons": 4, "outputs": 4, "readout": "identity"},
    "identity, limits": {"neurons": 3, "outputs": 3, "readout": "identity", "output_limits": ((0.2, 0.4),) * 3},
    "8-bit weights": {"weight_bits": 8},
    **{f"{bits}-bit weights": {"weight_bits": bits} for bits in (4, 3, 2)},
    **{f"{cell}, mixed bits": {"cell": cell, "weight_bits": mixed_bits(cell)} for cell in ("ctrnn", "indrnn")},
    "negative frac_bits": {"input_limits": ((-1e6, 1e6),) * 2, "output_limits": ((-2e5, 2e5),)},
    "mixed limits": {"outputs": 2, "output_limits": ((-1.0, 2.0), (0.0, 3.0))},
    "no limits of outputs": {"output_limits": None},
    "recorded inputs": {"calibrated": True, "input_limits": None},
    "16-bit state": {"state_bits": 16},
    "formats of their own": {"inputs": 3, "outputs": 2, **UNEQUAL},
    "formats of their own, dense": {"inputs": 3, "outputs": 2, "encoder": (4,), "head": (3,), "cell": "gru", **UNEQUAL},
    **{name: {"cell": name} for name in CELLS},
    **{f"{name}, odd": {"cell": name, "neurons": 5, "inputs": 3, "outputs": 3} for name in CELLS},
}


@pytest.fixture(params=SHAPES, ids=list(SHAPES))
def exported(request, tmp_path):
    q = controller(**SHAPES[request.param])
    return q, firmware_export.export(q, tmp_path / "fw", name="pilot")


@needs_cc
def test_compiles_as_c_without_a_warning(exported, tmp_path):
    """Every optimization level sees other warnings; the example runs, and its self-test passes."""
    _, header = exported
    example = header.with_name("pilot_example.c")
    for level in ("-O0", "-O2", "-O3"):
        flags = [*STRICT_C, level, f"-I{header.parent}"]
        program = compiled(CC, flags, example.read_text(), tmp_path)
        done = subprocess.run([program], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        assert len(done.stdout.splitlines()) == 1 + 10, "the safe outputs, then ten steps"
    compiled(CC, [*STRICT_C, "-std=c11", "-ffreestanding", "-c"], f'#include "{header}"\n', tmp_path)


@needs_cxx
def test_compiles_as_cpp_and_gives_the_same_bits(exported, tmp_path):
    q, header = exported
    program = compiled(CXX, STRICT_CXX, batch_source([header], [q]), tmp_path)
    inputs = extreme_inputs(q.spec.inputs, 50, 0)
    ((outputs, _),) = run_batch(program, [q], [inputs])
    q.reset()
    assert np.array_equal(outputs, q.rollout_int(inputs))


@needs_cc
def test_macros_say_what_the_controller_is(exported, tmp_path):
    q, header = exported
    names = ("INPUTS", "OUTPUTS", "NEURONS", "IN_FRAC_BITS", "OUT_FRAC_BITS", "DT_US", "MODEL_CRC32")
    own = {f"{kind}_FRAC_BITS": len(form.extra) for kind, form in (("IN", q.formats["u"]), ("OUT", q.formats["out"]))}
    names = [name if not own.get(name) else f"{name}[{k}]" for name in names for k in range(own.get(name) or 1)]
    body = "\n".join(f'    printf("%ld\\n", (long)PILOT_{name});' for name in names)
    body += '\n    printf("%s %lu\\n", PILOT_VERSION, (unsigned long)sizeof(pilot_state_t));'
    source = f'#include <stdio.h>\n#include "{header}"\nint main(void) {{\n{body}\n    return 0;\n}}\n'
    printed = subprocess.run([compiled(CC, ["-std=c99"], source, tmp_path)], capture_output=True, text=True).stdout
    spec = q.spec
    frac_bits = [*np.atleast_1d(q.formats["u"].entry_frac_bits), *np.atleast_1d(q.formats["out"].entry_frac_bits)]
    numbers = [spec.inputs, spec.outputs, spec.neurons, *frac_bits, 20000, q.model_crc32]
    sizes = {"int16_t": 2, "uint16_t": 2, "int32_t": 4}
    state_bytes = 4 + -(-sum(sizes[f.storage] * f.words for f in members(q)) // 4) * 4
    assert printed.split() == [*map(str, numbers), nc.__version__, str(state_bytes)]


def test_text_says_formats_ranges_and_bounds(exported):
    q, header = exported
    text = header.read_text()
    for name, (low, high) in q.bounds.items():
        assert re.search(rf"{re.escape(name)} +{low} to +{high}\n", text)
    for limits in (q.spec.input_limits, q.spec.output_limits):
        for low, high in limits or ():
            assert f": {low:g} to {high:g}, as integers" in text
    assert "float" not in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert all(len(line) <= 132 for line in text.splitlines())
    assert text.isascii()


def test_table_is_the_one_that_python_uses():
    runtime = Path(firmware_export.__file__).parent / "runtime" / "nc_fixed.h"
    body = re.search(r"nc_pieces\[22\] = \{(.*?)\n\};", runtime.read_text(), re.DOTALL).group(1)
    assert [int(number) for number in re.findall(r"-?\d+", body)] == LOGISTIC_TABLE.ravel().tolist()


def test_same_bytes_from_any_folder_on_any_day(tmp_path, monkeypatch):
    first = firmware_export.export(controller(calibrated=True), tmp_path / "a").parent
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    second = firmware_export.export(controller(calibrated=True), os.path.join("..", "b c")).parent
    contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (first, second)]
    assert sorted(contents[0]) == FILES
    assert contents[0] == contents[1]
    assert not any(str(tmp_path).encode() in content for content in contents[0].values())


def test_targets_differ_in_comments_only(tmp_path):
    texts = {
        target: firmware_export.export(controller(), tmp_path / target, target=target).read_text() for target in TARGETS
    }
    code = {re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL) for text in texts.values()}
    assert len(code) == 1
    assert all(f"Target: {target}." in text for target, text in texts.items())


@needs_cc
def test_outputs_may_overwrite_inputs(tmp_path):
    q = controller(3, 2, 2)
    header = firmware_export.export(q, tmp_path / "fw")
    source = batch_source([header], [q]).replace(
        "ctl_step(&s, in, out);", "for (int k = 0; k < 2; k++) out[k] = in[k];\n"
    )
    source = source.replace("out[k] = in[k];\n", "out[k] = in[k];\n            ctl_step(&s, out, out);\n")
    inputs = extreme_inputs(2, 100, 0)
    ((outputs, _),) = run_batch(compiled(CC, ["-std=c99", "-O2"], source, tmp_path), [q], [inputs])
    q.reset()
    assert np.array_equal(outputs, q.rollout_int(inputs))


@needs_cc
def test_headers_of_different_versions_refuse_each_other(tmp_path):
    first = firmware_export.export(controller(), tmp_path / "a", name="a")
    second = firmware_export.export(controller(), tmp_path / "b", name="b")
    first.write_text(first.read_text().replace("NC_FIXED_VERSION 2", "NC_FIXED_VERSION 3").replace("!= 2", "!= 3"))
    (tmp_path / "both.c").write_text(f'#include "{first}"\n#include "{second}"\n')
    done = subprocess.run([CC, "-std=c99", "-fsyntax-only", str(tmp_path / "both.c")], capture_output=True, text=True)
    assert done.returncode != 0
    assert "different neuroctl versions" in done.stderr


@needs_cc
def test_selftest_notices_a_changed_vector(tmp_path):
    header = firmware_export.export(controller(), tmp_path / "fw")
    text = header.read_text()
    for table in ("selftest_in", "selftest_out", "selftest_y"):
        changed = re.sub(
            rf"(ctl_{table}\[.*?\{{\s+)(-?\d+)", lambda m: m[1] + str(int(m[2]) ^ 64), text, flags=re.DOTALL
        )
        assert changed != text
        header.write_text(changed)
        source = f'#include "{header}"\nint main(void) {{ return ctl_selftest(); }}\n'
        assert subprocess.run([compiled(CC, ["-std=c99"], source, tmp_path)]).returncode > 0


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4"])
@pytest.mark.parametrize("level", ["-O0", "-Os", "-O3"])
def test_compiles_with_the_other_cross_compiler(cpu, level, tmp_path):
    flags = [*STRICT_C, level, f"-mcpu={cpu}", "-mthumb", "-ffreestanding", "-fno-omit-frame-pointer", "-c"]
    headers = [
        firmware_export.export(controller(7, 3, 2, weight_bits=bits), tmp_path / f"w{bits}", name=f"w{bits}")
        for bits in WEIGHT_BITS
    ]
    source = "".join(f'#include "{header}"\n' for header in headers)
    passed = " + ".join(f"w{bits}_selftest()" for bits in WEIGHT_BITS)
    source += f"int all(void);\nint all(void) {{ return {passed}; }}\n"
    compiled("arm-none-eabi-gcc", flags, source, tmp_path)


@needs_cc
def test_names_that_differ_in_case_alone_refuse_each_other(tmp_path):
    first = firmware_export.export(controller(), tmp_path / "a", name="pilot")
    second = firmware_export.export(controller(), tmp_path / "b", name="Pilot")
    (tmp_path / "both.c").write_text(f'#include "{first}"\n#include "{second}"\n')
    done = subprocess.run([CC, "-std=c99", "-fsyntax-only", str(tmp_path / "both.c")], capture_output=True, text=True)
    assert done.returncode != 0
    assert "differ in case alone" in done.stderr


@needs_cc
@pytest.mark.parametrize("cell", CELLS)
def test_a_saved_state_goes_on_where_it_was(cell, tmp_path):
    """Saved half way, restored into another instance: the same outputs. Another controller's state is refused."""
    q, other = (controller(5, 2, 2, cell=cell, seed=seed) for seed in (1, 2))
    headers = [
        firmware_export.export(q, tmp_path / "a", name="a"),
        firmware_export.export(other, tmp_path / "b", name="b"),
    ]
    source = f"""#include <string.h>
#include "{headers[0]}"
#include "{headers[1]}"
int main(void) {{
    static a_state_t first, second, saved;
    b_state_t foreign;
    a_in_t in[A_INPUTS];
    a_out_t out[A_OUTPUTS], again[A_OUTPUTS];
    int t, i;
    a_init(&first);
    for (t = 0; t < 40; t++) {{
        if (t == 20) {{
            saved = first;
            a_init(&second);
            if (a_restore(&second, &saved) != 0) return 1;
        }}
        for (i = 0; i < A_INPUTS; i++) in[i] = (a_in_t)((t * 7919 + i * 104729) % 65536 - 32768);
        a_step(&first, in, out);
        if (t >= 20) {{
            a_step(&second, in, again);
            if (memcmp(out, again, sizeof out) != 0 || memcmp(&first, &second, sizeof first) != 0) return 2;
        }}
    }}
    b_init(&foreign);
    memset(&saved, 0, sizeof saved);
    memcpy(&saved, &foreign, sizeof saved < sizeof foreign ? sizeof saved : sizeof foreign);
    if (a_restore(&second, &saved) != 1) return 3;
    return memcmp(&first, &second, sizeof first) == 0 ? 0 : 4;
}}
"""
    assert subprocess.run([compiled(CC, ["-std=c99", "-O2"], source, tmp_path)]).returncode == 0


@needs_cc
@pytest.mark.parametrize("tunable", [False, True], ids=["constants", "tunable"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_damaged_saved_state_is_refused(cell, tunable, tmp_path):
    """Each bit of what ``save`` wrote; without its CRC-32, each word beyond what steps reach: else sums overflow."""
    q = controller(5, 2, 2, cell=cell)
    header = firmware_export.export(q, tmp_path / "a", name="a")
    fields = members(q)
    state_bytes = 4 + sum(STORAGE_BYTES[m.storage] * m.words for m in fields)
    beyond = "".join(
        f"    for (i = 0; i < {m.words}; i++) TRY({m.storage}, {m.name}{'[i]' if m.size else ''}, {value});\n"
        for m in fields
        for value in (min(low for low, _ in m.ranges) - 1, max(high for _, high in m.ranges) + 1)
    )
    source = f"""#include <string.h>
#include "{header}"
#define TRY(type, member, value) do {{ \\
        damaged = plain; \\
        damaged.member = (type)(value); \\
        if (damaged.member == (value) && a_restore(&s, &damaged) == 0) return 4; }} while (0)
int main(void) {{
    static a_state_t s, plain, saved, damaged;
    a_in_t in[A_INPUTS] = {{0}};
    a_out_t out[A_OUTPUTS];
    unsigned long byte, bit;
    int i;
    a_init(&s);
    for (i = 0; i < 20; i++) a_step(&s, in, out);
    plain = s;
    a_save(&saved, &s);
    if (a_restore(&s, &saved) != 0 || memcmp(&s, &plain, sizeof s) != 0) return 1;
    if (a_restore(&s, &plain) != 0) return 2;
    for (byte = 0; byte < {state_bytes}u; byte++)
        for (bit = 0; bit < 8; bit++) {{
            damaged = saved;
            ((unsigned char *)&damaged)[byte] ^= (unsigned char)(1u << bit);
            if (a_restore(&s, &damaged) == 0) return 3;
        }}
{beyond}
    return memcmp(&s, &plain, sizeof s) == 0 ? 0 : 5;
}}
"""
    flags = ["-std=c99", "-O1", *SANITIZE[:2], *(["-DA_TUNABLE"] if tunable else []), f"-I{header.parent}"]
    program = compiled(CC, flags, source, tmp_path)
    assert subprocess.run([program]).returncode == 0


@pytest.mark.skipif(shutil.which("avr-nm") is None, reason="avr-gcc is not installed")
@pytest.mark.parametrize("cell", CELLS)
def test_avr_needs_no_float(cell, tmp_path):
    """What the object asks its library for are shifts and products of whole numbers."""
    header = firmware_export.export(controller(cell=cell), tmp_path / "fw")
    (tmp_path / "all.c").write_text(
        f'#include "{header}"\nvoid step(ctl_state_t *s, const int16_t *in, int16_t *out);\n'
        "void step(ctl_state_t *s, const int16_t *in, int16_t *out) { ctl_step(s, in, out); }\n"
    )
    flags = ["-mmcu=atmega328p", "-O2", "-c", "all.c", "-o", "all.o"]
    subprocess.run(["avr-gcc", "-std=c99", *flags], cwd=tmp_path, check=True)  # knows no __flash: tables in RAM
    subprocess.run(["avr-gcc", "-std=gnu99", *flags], cwd=tmp_path, check=True)
    names = subprocess.run(["avr-nm", "-u", "all.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert not re.search(r"sf2|sf3|sfsi|sisf|float|div", names), names
