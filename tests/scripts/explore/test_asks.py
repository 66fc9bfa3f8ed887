"""What can be asked for, on networks that do not come along: objectives, dataflows, workers."""

import json

import pytest

from celosia.dataflow.accelerator_file import load_accelerator
from celosia.dataflow.arrange import arrange
from celosia.dataflow.compile import compile_network
from celosia.dataflow.dataflows import Dataflow
from celosia.dataflow.explore.outcome import FRONT, Quantity
from celosia.dataflow.mapping import load_mapping
from celosia.dataflow.memory import DDR4
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.timing import timing
from celosia.models.formats import parse_format
from celosia.models.random_network import random_network
from celosia.models.storage import load, save
from celosia.scripts.cli import run_command

FORMATS = tuple(parse_format(name) for name in ("fixed4", "pot_4"))
SIZES = {
    "columns": "4,8", "lanes": "8", "pixels": "1,2", "data_bits": "64", "post_lanes": "4",
    "activations": "1024", "weights": "512", "accumulators": "256", "constants": "64",
    "residuals": "512", "outputs": "512", "activation_banks": "1", "scalable": "none",
}  # fmt: skip
SMALL = [f"--fix={name}={values}" for name, values in SIZES.items()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with three networks, and a store that all searches of this module share."""
    made = tmp_path_factory.mktemp("asks")
    for seed in (6, 7, 11):
        save(random_network(seed, FORMATS), made / f"{seed}.celosia")
    return made


def explore(capsys, folder, seed, *arguments, workers=1, out="out", candidates=4):
    every = [*SMALL, *arguments, f"--candidates={candidates}", f"--workers={workers}", "--json"]
    place = ["-o", str(folder / out)]
    assert run_command(["explore", str(folder / f"{seed}.celosia"), *every, *place]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("objective", [q for q in Quantity if q is not Quantity.ACCURACY])
def test_the_best_has_the_most_or_the_least_of_what_is_asked_for(capsys, folder, objective):
    value = explore(capsys, folder, 7, f"--objective={objective.value}")
    order = dict.fromkeys((objective, *FRONT))

    def rank(entry):
        # Equal ones are told apart by what else the front is over, in its order.
        return [-entry[q.value] if q.wanted_large else entry[q.value] for q in order]

    assert len(value["points"]) >= 2
    assert rank(value["best"]) == min(rank(entry) for entry in value["points"])
    accelerator = load_accelerator(folder / "out" / "accelerator.toml")
    mapping = load_mapping(folder / "out" / "mapping.json")
    program = compile_network(load(folder / "7.celosia"), accelerator, mapping)
    assert timing(program, DDR4).cycles == value["best"]["cycles"]


@pytest.mark.parametrize("dataflow", Dataflow)
def test_each_dataflow_is_kept_to(capsys, folder, dataflow):
    value = explore(capsys, folder, 11, f"--dataflow={dataflow.value}", candidates=2)
    assert value["dataflow"] == dataflow.value
    mapping = load_mapping(folder / "out" / "mapping.json")
    accelerator = load_accelerator(folder / "out" / "accelerator.toml")
    arrangement = arrange(load(folder / "11.celosia"), accelerator)
    for step in arrangement.lowered.steps:
        plan = StepPlan(step, arrangement, accelerator)
        assert dataflow.admits(plan, mapping.layer(step.name))


def test_workers_and_their_number_change_nothing(capsys, folder):
    one, two = (
        explore(capsys, folder, 6, workers=count, out=f"by{count}", candidates=6)
        for count in (1, 2)
    )
    for found in (one, two):
        assert found["search"].pop("evaluated") == 6
        for key in ("seconds", "evaluated_per_s"):
            del found["search"][key]
        del found["files"]
    assert one == two
    for name in ("accelerator.toml", "mapping.json", "network.celosia"):
        assert (folder / "by1" / name).read_bytes() == (folder / "by2" / name).read_bytes()
