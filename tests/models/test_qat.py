"""Fine-tuning: nearer to the float graph, deterministic, never worse."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.errors import CelosiaError
from celosia.models.find_scales import ScaleMethod
from celosia.models.golden import evaluate
from celosia.models.gradients import Gradient
from celosia.models.graph import FloatGraph, evaluate_float
from celosia.models.importer import export_model, import_program
from celosia.models.inputs import dequantise, quantise_inputs
from celosia.models.network import Conv, Network
from celosia.models.qat import Schedule, finetune
from celosia.models.quantize import Recipe, quantize
from celosia.models.recipe import Assignment, parse_blocks, parse_elements, parse_mix
from celosia.models.storage import fingerprint
from celosia.models.student import Student
from celosia.models.zoo import Workload, digits, mnist


@pytest.fixture(scope="module")
def case() -> tuple[FloatGraph, np.ndarray]:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.PReLU(6), nn.MaxPool2d(2), nn.Conv2d(6, 8, 2), nn.ReLU6(),
        nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip
    graph = import_program(export_model(module.eval(), (torch.randn(1, 2, 8, 8),)))
    data = np.random.default_rng(0).normal(size=(64, 2, 8, 8)).astype(np.float32)
    return graph, data


def distance(graph: FloatGraph, network: Network, data: np.ndarray) -> float:
    wanted = evaluate_float(graph, {next(iter(graph.inputs)): torch.from_numpy(data)})
    name = network.outputs[0]
    codes = evaluate(network, quantise_inputs(network, data))[name]
    return float(((dequantise(network, name, codes) - wanted[name].numpy()) ** 2).mean())


RECIPE = Recipe(activation_bits=8, error_feedback=False)


def test_training_helps_and_is_deterministic(case: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = case
    before = quantize(graph, data, RECIPE)
    after = finetune(graph, data, RECIPE, Schedule(epochs=15))
    assert distance(graph, after, data) < 0.9 * distance(graph, before, data)
    again = finetune(graph, data, RECIPE, Schedule(epochs=15))
    assert fingerprint(after) == fingerprint(again)


def test_labels_are_used(case: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = case
    labels = np.arange(64) % 3
    network = finetune(graph, data, RECIPE, Schedule(epochs=1), labels=labels)
    assert network.outputs == graph.outputs


def test_never_worse(case: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = case
    start = quantize(graph, data, RECIPE)
    wild = finetune(graph, data, RECIPE, Schedule(epochs=1, learning_rate=100.0))
    assert distance(graph, wild, data) <= distance(graph, start, data)


@pytest.mark.parametrize("gradient", Gradient)
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(weights=parse_mix("fixed4"), scale=ScaleMethod.OCTAV, error_feedback=False),
        Recipe(
            weights=parse_mix("pot_4:60,fixed4:25,fixed8:15"),
            assignment=Assignment.HESSIAN,
            error_feedback=False,
        ),
        Recipe(
            weights=parse_mix("esb4_1"),
            blocks=parse_blocks("ue4m3:4"),
            uneven_vectors=True,
            error_feedback=False,
        ),
    ],
    ids=["octav", "rmsmp", "nvfp4"],
)
def test_every_format_and_gradient(
    case: tuple[FloatGraph, np.ndarray], recipe: Recipe, gradient: Gradient
) -> None:
    graph, data = case
    schedule = Schedule(epochs=8, refresh=2, learning_rate=1e-2, weight_gradient=gradient)
    after = finetune(graph, data, recipe, schedule)
    assert distance(graph, after, data) <= distance(graph, quantize(graph, data, recipe), data)
    first = next(op for op in after.ops if isinstance(op, Conv))
    assert set(first.formats) <= {share.format for share in recipe.weights}
    assert (first.scales is None) == (recipe.blocks is None)


def test_rows_change_their_formats_while_training(case: tuple[FloatGraph, np.ndarray]) -> None:
    """After a refresh the formats are those that the learnt weights would be given."""
    graph, data = case
    recipe = Recipe(
        weights=parse_mix("pot_4:60,fixed4:25,fixed8:15"),
        assignment=Assignment.HESSIAN,
        error_feedback=False,
    )
    student = Student(
        graph,
        quantize(graph, data, recipe),
        recipe,
        Gradient.STRAIGHT_THROUGH,
        Gradient.PIECEWISE_LINEAR,
    )
    before = dict(student.plan.rows)
    with torch.no_grad():
        for weight in student.weights.values():
            weight[0] *= 5.0
    student.refresh({next(iter(graph.inputs)): data})
    assert any(rows.formats != before[name].formats for name, rows in student.plan.rows.items())
    assert any((rows.scale != before[name].scale).any() for name, rows in student.plan.rows.items())


def test_wrong_arguments(case: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = case
    with pytest.raises(CelosiaError, match="labels must be int64 of shape"):
        finetune(graph, data, RECIPE, Schedule(), labels=np.zeros(3, dtype=np.int64))
    with pytest.raises(CelosiaError, match="head must be"):
        finetune(graph, data, RECIPE, Schedule(), head=1)
    with pytest.raises(ValueError, match="refresh must not be negative, not -1"):
        Schedule(refresh=-1)
    with pytest.raises(TypeError, match="weight_gradient must be a Gradient"):
        Schedule(weight_gradient="ste")  # type: ignore[arg-type]
    for fields in ({"epochs": 0}, {"batch": 0}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError, match="must be positive"):
            Schedule(**fields)


def test_nothing_to_train() -> None:
    graph = import_program(export_model(torch.nn.ReLU(), (torch.randn(1, 3, 4, 4),)))
    data = np.random.default_rng(0).normal(size=(4, 3, 4, 4)).astype(np.float32)
    with pytest.raises(CelosiaError, match="no weights to fine-tune"):
        finetune(graph, data, Recipe(), Schedule(epochs=1))


SEEDS = (0, 1, 2)
"""Of the float network and of its fine-tuning."""


def accuracies(
    trained: Callable[..., Workload], seed: int, recipes: dict[str, tuple[Recipe, Gradient]]
) -> dict[str, float]:
    """Return the test accuracy after 8 epochs of fine-tuning with each recipe."""
    work = trained(seed=seed)
    graph = import_program(export_model(work.model, (work.example,)), work.name)
    found = {}
    for name, (recipe, gradient) in recipes.items():
        schedule = Schedule(epochs=8, batch=64, seed=seed, refresh=1, weight_gradient=gradient)
        network = finetune(graph, work.training, recipe, schedule, work.training_labels)
        codes = evaluate(network, quantise_inputs(network, work.inputs))
        found[name] = work.accuracy([codes[output] for output in network.outputs])
    print(work.name, seed, found)
    return found


def w4a4(
    mix: str,
    scale: ScaleMethod = ScaleMethod.MSE,
    gradient: Gradient = Gradient.STRAIGHT_THROUGH,
) -> tuple[Recipe, Gradient]:
    recipe = Recipe(
        weights=parse_mix(mix), activation_bits=4, output_bits=8, error_feedback=False,
        scale=scale, activation_scale=scale,
    )  # fmt: skip
    return recipe, gradient


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("trained", [digits, mnist])
def test_octav_is_no_worse_than_the_largest_value(trained: Callable[..., Workload]) -> None:
    recipes = {
        "max": w4a4("fixed4", ScaleMethod.MAX),
        "octav": w4a4("fixed4", ScaleMethod.OCTAV, gradient=Gradient.MAGNITUDE_AWARE),
    }
    found = [accuracies(trained, seed, recipes) for seed in SEEDS]
    assert np.mean([f["octav"] for f in found]) >= np.mean([f["max"] for f in found])


@pytest.mark.campaign
def test_msq_is_within_a_point_of_fixed_point() -> None:
    recipes = {"fixed": w4a4("fixed4"), "msq": w4a4("sp2_4:60,fixed4:40")}
    found = [accuracies(digits, seed, recipes) for seed in SEEDS]
    assert np.mean([f["msq"] for f in found]) >= np.mean([f["fixed"] for f in found]) - 0.01


@pytest.mark.parametrize(
    ("weights", "blocks", "elements"),
    [
        ("esb4_1", "e8m0_3:4", "esb4_1"),
        ("esb4_1", "ue4m3:4", "esb4_1"),
        ("fixed3", "uint4:4/6", "ufixed3"),
    ],
)
def test_elements_are_trained(
    weights: str, blocks: str, elements: str, case: tuple[FloatGraph, np.ndarray]
) -> None:
    """With scales that are made for each input: no worse, and of the same formats."""
    graph, data = case
    recipe = Recipe(
        weights=parse_mix(weights), blocks=parse_blocks(blocks), elements=parse_elements(elements),
        uneven_vectors=True, error_feedback=False,
    )  # fmt: skip
    plain = quantize(graph, data, recipe)
    tuned = finetune(graph, data, recipe, Schedule(epochs=3, batch=16))
    assert any(tensor.scaling is not None for tensor in tuned.tensors)
    assert distance(graph, tuned, data) < distance(graph, plain, data)
