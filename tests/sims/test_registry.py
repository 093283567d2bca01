import dataclasses
import sys

import gymnasium
import pytest

import sims
from neuroctl import BackendUnavailable, SpecError, TaskError
from sims import registry


@pytest.mark.parametrize("name", sims.names())
def test_each_task_is_registered_with_gymnasium(name):
    task = sims.get(name)
    assert task.name == name
    registered = gymnasium.registry[task.env_id]
    assert registered.entry_point == task.entry_point
    assert registered.max_episode_steps == task.max_episode_steps
    env = gymnasium.make(task.env_id)
    assert isinstance(sims.make(name).unwrapped, type(env.unwrapped))
    assert env.unwrapped.task is task
    env.close()


def test_registering_again_changes_nothing():
    before = dict(gymnasium.registry)
    registry.register()
    assert dict(gymnasium.registry) == before


def test_environment_comes_with_its_time_limit():
    env = sims.make("cartpole")
    assert isinstance(env, gymnasium.wrappers.TimeLimit)
    env.close()
    env = sims.make("cartpole", max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step([0.0])[3] for _ in range(3)] == [False, False, True]
    env.close()


@pytest.mark.parametrize("use", [sims.get, sims.make, sims.controller_spec, sims.EpisodeReturn])
def test_unknown_task_gets_a_suggestion(use):
    with pytest.raises(
        TaskError, match=r"^task: 'CartPol' is unknown; did you mean 'cartpole'\? allowed: arm, cartpole"
    ):
        use("CartPol")


@pytest.mark.parametrize("bad", ["zzz", "", None, 3, ["cartpole"]])
def test_unknown_task_lists_those_that_exist(bad):
    with pytest.raises(TaskError, match=r"^task: .* is (unknown|not a name); allowed: arm, cartpole"):
        sims.get(bad)


def test_table_and_rows_cannot_be_changed():
    with pytest.raises(TypeError):
        sims.TASKS["mine"] = sims.get("cartpole")
    with pytest.raises(dataclasses.FrozenInstanceError):
        sims.get("cartpole").name = "mine"


@pytest.mark.parametrize("name", sims.names())
def test_controller_spec_fits_its_task(name):
    task, spec = sims.get(name), sims.controller_spec(name, neurons=5)
    assert (spec.inputs, spec.neurons, spec.outputs) == (task.inputs, 5, task.outputs)
    assert spec.dt_s == task.control_dt_s
    assert (spec.input_limits, spec.output_limits) == (task.input_limits, task.output_limits)


def test_controller_spec_of_cartpole():
    spec = sims.controller_spec("cartpole")
    assert (spec.cell, spec.inputs, spec.neurons, spec.outputs, spec.dt_s) == ("ctrnn", 2, 8, 1, 1 / 60)
    assert spec.input_limits == ((-2.4, 2.4), (-0.42, 0.42))
    assert spec.output_limits == ((-10.0, 10.0),)
    with pytest.raises(SpecError, match="neurons"):
        sims.controller_spec("cartpole", neurons=0)


def test_missing_gymnasium_names_the_extra(monkeypatch):
    for module in [name for name in sys.modules if f"{name}.".startswith(("sims.", "neuroctl.sims."))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(BackendUnavailable, match=r"^gymnasium: .*neuroctl\[evolve\]"):
        import sims as _  # noqa: F401


def test_options_follow_a_task_s_name():
    task = sims.get("quadruped,noise=0.5,latency=2,steer=true")
    assert task.options == {"noise": 0.5, "latency": 2, "steer": True}
    env = sims.make("cartpole,noise=0.5").unwrapped
    plain = sims.make("cartpole").unwrapped
    assert (env.reset(seed=1)[0] != plain.reset(seed=1)[0]).all()
    env.close()
    plain.close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cartpole,nois=1", r"options of 'cartpole': 'nois=1'; allowed: noise, latency, strength, randomize"),
        ("cartpole,steer=true", r"options of 'cartpole': 'steer=true'"),
        ("quadruped,noise", r"options of 'quadruped': 'noise'; allowed: noise, latency, strength, randomize, steer"),
        ("walker,noise=1", r"options of 'walker': 'noise=1'; allowed: none"),
        ("cartpole,", r"options of 'cartpole': ''"),
    ],
)
def test_unknown_options_are_refused(name, said):
    with pytest.raises(TaskError, match="^" + said):
        sims.get(name)


@pytest.mark.parametrize("option", ["noise=-1", "latency=0.5", "strength=2", "randomize=1", "noise=much"])
def test_values_beyond_an_option_s_range_are_refused(option):
    with pytest.raises(TaskError, match=f"^{option.partition('=')[0]}: "):
        sims.make(f"cartpole,{option}")
