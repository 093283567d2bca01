"""Each package as a project, built as it stands: by PlatformIO itself, and by doubles of ESP-IDF's and Zephyr's CMake.

PlatformIO comes from the package index, but it downloads platforms, toolchains and its SCons: a platform of a few lines
takes their place here, with this machine's AVR-GCC, Arduino's core as Debian has it, and SCons from the package index.
ESP-IDF and Zephyr are on no index: the doubles keep their documented rules about components, modules and requirements.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import firmware_export
from tests.firmware.helpers import controller

CORE = Path("/usr/share/arduino/hardware/arduino/avr")
PIO = shutil.which("pio")
needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed: project NOT built")
needs_pio = pytest.mark.skipif(PIO is None, reason="platformio is not installed: its projects were NOT read")
needs_core = pytest.mark.skipif(
    not CORE.exists() or shutil.which("avr-g++") is None, reason="arduino-core-avr is not installed: project NOT built"
)


def run(*command, cwd, env=None):
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- PlatformIO --------------------------------------------------------------------------------------------------

PLATFORM = """
from SCons.Script import Default, DefaultEnvironment
env = DefaultEnvironment()
env.Replace(AR="avr-ar", AS="avr-as", CC="avr-gcc", CXX="avr-g++", RANLIB="avr-ranlib", SIZETOOL="avr-size")
env.Replace(PROGSUFFIX=".elf", ARFLAGS=["rc"])
env.Append(
    CFLAGS=["-std=gnu11"], CXXFLAGS=["-std=gnu++11", "-fpermissive"], ASPPFLAGS=["-mmcu=atmega328p"],
    CCFLAGS=["-mmcu=atmega328p", "-Os", "-ffunction-sections", "-fdata-sections"],
    LINKFLAGS=["-mmcu=atmega328p", "-Wl,--gc-sections"],
    CPPDEFINES=[("F_CPU", "16000000L"), ("ARDUINO", 10819), "ARDUINO_ARCH_AVR"],
)
Default(env.BuildProgram())
"""
FRAMEWORK = f"""
from SCons.Script import DefaultEnvironment
env = DefaultEnvironment()
env.Append(CPPPATH=["{CORE}/cores/arduino", "{CORE}/variants/standard"])
core = env.BuildLibrary("$BUILD_DIR/core", "{CORE}/cores/arduino", "+<*> -<WString.cpp>")
env.Append(LIBS=[core])
"""
BOARD = {
    "build": {"core": "arduino", "f_cpu": "16000000L", "mcu": "atmega328p", "variant": "standard"},
    "frameworks": ["arduino"],
    "name": "Arduino Uno",
    "upload": {"maximum_ram_size": 2048, "maximum_size": 32256},
    "url": "",
    "vendor": "",
}


def installed(folder, kind, name, version, manifest):
    """Lay a package down as PlatformIO's package manager would have."""
    folder.mkdir(parents=True)
    (folder / ("platform.json" if kind == "platform" else "package.json")).write_text(json.dumps(manifest))
    spec = {"owner": "platformio", "id": None, "name": name, "requirements": None, "uri": None}
    (folder / ".piopm").write_text(json.dumps({"type": kind, "name": name, "version": version, "spec": spec}))


@pytest.fixture(scope="module")
def platformio(tmp_path_factory):
    """PlatformIO's environment with a platform ``atmelavr`` and its SCons in place of the downloads."""
    home = tmp_path_factory.mktemp("platformio")
    python = Path(PIO).read_text().splitlines()[0].removeprefix("#!")
    program = "from platformio.dependencies import get_core_dependencies as d; import os, SCons; "
    program += "print(d()['tool-scons']); print(os.path.dirname(os.path.dirname(SCons.__file__)))"
    requirement, place = run(python, "-c", program, cwd=home).split("\n")[:2]
    version = requirement.lstrip("~^=")
    scons = home / "packages/tool-scons"
    installed(scons, "tool", "tool-scons", version, {"name": "tool-scons", "version": version, "system": "*"})
    text = f"import sys\nsys.path.insert(0, {place!r})\nfrom SCons.Script.Main import main\nmain()\n"
    (scons / "scons.py").write_text(text)
    platform = home / "platforms/atmelavr"
    manifest = {"name": "atmelavr", "title": "AVR", "version": "5.0.0", "packages": {}}
    manifest["frameworks"] = {"arduino": {"script": "builder/arduino.py"}}
    installed(platform, "platform", "atmelavr", "5.0.0", manifest)
    for file, content in {
        "builder/main.py": PLATFORM, "builder/arduino.py": FRAMEWORK, "boards/uno.json": json.dumps(BOARD)
    }.items():  # fmt: skip
        (platform / file).parent.mkdir(exist_ok=True)
        (platform / file).write_text(content)
    return {"PLATFORMIO_CORE_DIR": str(home), "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no"}


@needs_pio
@needs_core
@pytest.mark.parametrize("sketch", ["loop", "link"])
def test_platformio_builds_the_examples_as_they_stand(sketch, platformio, tmp_path):
    firmware_export.export(controller(5, 3, 2), tmp_path / "fw", name="pilot", package="platformio")
    project = tmp_path / "fw/examples" / sketch
    said = json.loads(run(PIO, "project", "config", "--json-output", cwd=project, env=platformio))
    assert {name for name, _ in said} == {"platformio", "env", "env:uno", "env:esp32dev"}
    said = run(PIO, "run", cwd=project, env=platformio)
    assert re.search(r"uno +SUCCESS", said)
    assert (project / ".pio/build/uno/program.elf").is_file()


# --- ESP-IDF -----------------------------------------------------------------------------------------------------

IDF = """
# Components are main, the extra folders that hold a CMakeLists.txt, and esp_timer and freertos of the system. main is
# linked to all of them, unless it says itself what it requires: then to those, by the names of their folders.
function(idf_component_register)
    cmake_parse_arguments(a "" "" "SRCS;INCLUDE_DIRS;REQUIRES;PRIV_REQUIRES" ${ARGN})
    get_filename_component(name ${CMAKE_CURRENT_SOURCE_DIR} NAME)
    add_library(component_${name} STATIC ${a_SRCS})
    target_include_directories(component_${name} PUBLIC ${a_INCLUDE_DIRS})
    foreach(needed ${a_REQUIRES} ${a_PRIV_REQUIRES})
        target_link_libraries(component_${name} PUBLIC component_${needed})
    endforeach()
    set_property(GLOBAL APPEND PROPERTY components component_${name})
    set_property(GLOBAL PROPERTY requires_${name} "${a_REQUIRES}${a_PRIV_REQUIRES}")
endfunction()

macro(project name)
    _project(${name} C)
    add_library(component_esp_timer STATIC $ENV{IDF_PATH}/system.c)
    target_include_directories(component_esp_timer PUBLIC $ENV{IDF_PATH}/include)
    set_property(GLOBAL APPEND PROPERTY components component_esp_timer)
    set(count 0)
    foreach(folder ${CMAKE_CURRENT_SOURCE_DIR}/main ${EXTRA_COMPONENT_DIRS})
        get_filename_component(folder ${folder} ABSOLUTE)
        math(EXPR count "${count} + 1")
        add_subdirectory(${folder} component${count})
    endforeach()
    get_property(all GLOBAL PROPERTY components)
    get_property(own GLOBAL PROPERTY requires_main)
    if(NOT own)
        list(REMOVE_ITEM all component_main)
        target_link_libraries(component_main PUBLIC ${all})
    endif()
    add_executable(${name} $ENV{IDF_PATH}/start.c)
    target_link_libraries(${name} component_main)
endmacro()
"""
IDF_FILES = {
    "tools/cmake/project.cmake": IDF,
    "include/esp_timer.h": """#include <stdint.h>
typedef struct esp_timer *esp_timer_handle_t;
typedef struct { void (*callback)(void *arg); void *arg; int method; const char *name; int skip; }
    esp_timer_create_args_t;
typedef int esp_err_t;
esp_err_t esp_timer_create(const esp_timer_create_args_t *args, esp_timer_handle_t *out);
esp_err_t esp_timer_start_periodic(esp_timer_handle_t timer, uint64_t period_us);
#define ESP_ERROR_CHECK(x) (void)(x)
""",
    "include/freertos/FreeRTOS.h": """#include <stdint.h>
#define configMAX_PRIORITIES 25
#define portMAX_DELAY 0xffffffffUL
#define pdTRUE 1
#define pdPASS 1
""",
    "include/freertos/task.h": """typedef struct task *TaskHandle_t;
void xTaskNotifyGive(TaskHandle_t task);
uint32_t ulTaskNotifyTake(int clear, uint32_t ticks);
int xTaskCreate(void (*code)(void *), const char *name, uint32_t stack, void *arg, unsigned rank, TaskHandle_t *out);
TaskHandle_t xTaskGetCurrentTaskHandle(void);
void vTaskDelete(TaskHandle_t task);
""",
    "system.c": """#include <stdio.h>
#include <stdlib.h>
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
static esp_timer_create_args_t timer;
static int task, given, steps;
esp_err_t esp_timer_create(const esp_timer_create_args_t *args, esp_timer_handle_t *out)
{ timer = *args; *out = NULL; return 0; }
esp_err_t esp_timer_start_periodic(esp_timer_handle_t handle, uint64_t period_us)
{ (void)handle; printf("period %d\\n", (int)period_us); return 0; }
void xTaskNotifyGive(TaskHandle_t to) { if (to == (TaskHandle_t)&task) given++; }
uint32_t ulTaskNotifyTake(int clear, uint32_t ticks)
{
    int taken;
    (void)clear; (void)ticks;
    if (steps++ == 5) { printf("steps %d\\n", steps - 1); exit(0); }
    timer.callback(timer.arg);
    taken = given;
    given = 0;
    return (uint32_t)taken;
}
int xTaskCreate(void (*code)(void *), const char *name, uint32_t stack, void *arg, unsigned rank, TaskHandle_t *out)
{ (void)rank; (void)out; printf("task %s %d\\n", name, (int)stack); code(arg); return pdPASS; }
TaskHandle_t xTaskGetCurrentTaskHandle(void) { return (TaskHandle_t)&task; }
void vTaskDelete(TaskHandle_t gone) { (void)gone; printf("deleted\\n"); exit(1); }
""",
    "start.c": "void app_main(void);\nint main(void) { app_main(); return 2; }\n",
}

# --- Zephyr ------------------------------------------------------------------------------------------------------

ZEPHYR = """
# The configuration of the application decides whether a module's CMakeLists.txt adds a library to its program.
project(zephyr C)
file(STRINGS ${CMAKE_SOURCE_DIR}/prj.conf lines REGEX "^CONFIG_")
foreach(line ${lines})
    string(REGEX MATCH "^(CONFIG_[A-Z0-9_]+)=(.*)" line ${line})
    set(${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
endforeach()
set(base ${CMAKE_CURRENT_LIST_DIR})
add_executable(app ${base}/system.c)
target_include_directories(app PRIVATE ${base}/include)
function(zephyr_include_directories)
    foreach(folder ${ARGN})
        target_include_directories(app PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/${folder})
        include_directories(${CMAKE_CURRENT_SOURCE_DIR}/${folder})
    endforeach()
endfunction()
macro(zephyr_library)
    add_library(module_library STATIC)
    target_link_libraries(app PRIVATE module_library)
endmacro()
function(zephyr_library_sources)
    target_sources(module_library PRIVATE ${ARGN})
endfunction()
set(CMAKE_POLICY_DEFAULT_CMP0076 NEW)
foreach(module ${ZEPHYR_EXTRA_MODULES})
    add_subdirectory(${module} module)
endforeach()
"""
ZEPHYR_FILES = {
    "share/cmake/Zephyr/ZephyrConfig.cmake": ZEPHYR,
    "share/cmake/Zephyr/include/zephyr/kernel.h": """#include <stddef.h>
#include <stdint.h>
struct k_timer { int unused; };
typedef struct { int64_t ticks; } k_timeout_t;
#define K_USEC(t) ((k_timeout_t){ (int64_t)(t) })
#define K_TIMER_DEFINE(name, expiry, stop) struct k_timer name
#define ARG_UNUSED(x) (void)(x)
void printk(const char *fmt, ...);
void k_timer_start(struct k_timer *timer, k_timeout_t duration, k_timeout_t period);
uint32_t k_timer_status_sync(struct k_timer *timer);
uint64_t k_us_to_ticks_ceil64(uint64_t us);
uint64_t k_ticks_to_us_near64(uint64_t ticks);
""",
    "share/cmake/Zephyr/system.c": """#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <zephyr/kernel.h>
static int steps;
void printk(const char *fmt, ...) { va_list list; va_start(list, fmt); vprintf(fmt, list); va_end(list); }
void k_timer_start(struct k_timer *timer, k_timeout_t duration, k_timeout_t period)
{ (void)timer; (void)duration; printf("period %d\\n", (int)period.ticks); }
uint32_t k_timer_status_sync(struct k_timer *timer)
{ (void)timer; if (steps++ == 5) { printf("steps 5\\n"); exit(0); } return 1; }
uint64_t k_us_to_ticks_ceil64(uint64_t us) { return (us * TICKS + 999999) / 1000000; }
uint64_t k_ticks_to_us_near64(uint64_t ticks) { return (ticks * 1000000 + TICKS / 2) / TICKS; }
""",
}


def system(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def built(project, folder, env, *flags):
    """Configure and build a project outside its folder."""
    options = ["-Wall", "-Wextra", "-Werror", *flags]
    run("cmake", "-S", project, "-B", folder, f"-DCMAKE_C_FLAGS={' '.join(options)}", cwd=folder.parent, env=env)
    run("cmake", "--build", folder, cwd=folder.parent, env=env)


@needs_cmake
@pytest.mark.parametrize("folder", ["fw", "motor-control"])
def test_the_esp_idf_example_builds_and_steps_in_a_folder_of_any_name(folder, tmp_path):
    """A component's name is its folder's, which the example cannot know: main has to require all."""
    firmware_export.export(controller(), tmp_path / folder, name="pilot", package="espidf")
    env = {"IDF_PATH": str(system(tmp_path / "idf", IDF_FILES))}
    built(tmp_path / folder / "examples/loop", tmp_path / "build", env)
    said = run(tmp_path / "build/pilot_loop", cwd=tmp_path)
    assert re.fullmatch(r"task pilot \d+\nperiod 20000\nsteps 5\n", said)


@needs_cmake
@pytest.mark.parametrize(("ticks", "warned"), [(10_000, False), (32_768, False), (60, True)])
def test_the_zephyr_sample_builds_and_steps(ticks, warned, tmp_path):
    firmware_export.export(controller(), tmp_path / "fw", name="pilot", package="zephyr")
    env = {"ZEPHYR_BASE": str(system(tmp_path / "zephyr", ZEPHYR_FILES))}
    built(tmp_path / "fw/samples/loop", tmp_path / "build", env, f"-DTICKS={ticks}")
    said = run(tmp_path / "build/app", cwd=tmp_path)
    assert ("longer by over 0.1 %" in said) == warned
    assert said.endswith("period 20000\nsteps 5\n")


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
@pytest.mark.parametrize("level", ["-O0", "-Os", "-O2"])
@pytest.mark.parametrize("cell", ["ctrnn", "indrnn", "elman", "jordan", "gru", "hopfield synchronous"])
def test_stacks_of_the_examples_hold_the_self_test(cell, level, tmp_path):
    """Zephyr's main thread has 1,024 bytes by default; the self-test of 200 neurons takes a multiple."""
    folder = tmp_path / "fw"
    firmware_export.export(controller(200, 3, 2, cell=cell, weight_bits=8), folder, name="pilot", package="zephyr")
    flags = ["-mcpu=cortex-m4", "-mthumb", level, "-fstack-usage", f"-I{folder / 'include'}", "-c"]
    run("arm-none-eabi-gcc", *flags, folder / "src/pilot.c", cwd=tmp_path)
    frames = {line.split("\t")[0].rpartition(":")[2]: int(line.split("\t")[1]) for line in _usage(tmp_path)}
    deepest = frames["pilot_selftest"] + sum(v for k, v in frames.items() if k != "pilot_selftest" and "_init" not in k)
    stack = int(re.search(r"CONFIG_MAIN_STACK_SIZE=(\d+)", (folder / "samples/loop/prj.conf").read_text())[1])
    assert deepest + 512 <= stack
    firmware_export.export(controller(200, 3, 2, cell=cell, weight_bits=8), tmp_path / "idf", package="espidf")
    text = (tmp_path / "idf/examples/loop/main/main.c").read_text()
    assert int(re.search(r"STACK_BYTES (\d+)", text)[1]) >= stack + 1024


def _usage(folder):
    return (folder / "pilot.su").read_text().splitlines()
