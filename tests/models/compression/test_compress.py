"""Compression from a float graph to integers: masks hold, codebooks hold, accuracy holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.compression.compress import compress
from celosia.models.compression.lower import layers_of, lower, vectors
from celosia.models.compression.prune import check_balanced, magnitude_mask
from celosia.models.compression.recipe import Balance, Compression, Retraining, Start
from celosia.models.compression.student import Student
from celosia.models.errors import CelosiaError
from celosia.models.formats import Codebook, Fixed
from celosia.models.golden import evaluate
from celosia.models.importer import export_model, import_program
from celosia.models.inputs import dequantise, quantise_inputs
from celosia.models.mlp_zoo import digits_mlp, lenet300, rnet_head
from celosia.models.sparse import SparseLinear
from celosia.models.storage import fingerprint

NONE = Retraining(epochs=0)
SHORT = Retraining(epochs=2, stages=2)


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(18, 24), nn.PReLU(24), nn.Linear(24, 12), nn.ReLU(),
        nn.Linear(12, 5),
    )  # fmt: skip
    graph = import_program(export_model(module.eval(), (torch.randn(1, 2, 3, 3),)), "net")
    return graph, np.random.default_rng(0).normal(size=(96, 2, 3, 3)).astype(np.float32)


def matrices(network):
    assert all(isinstance(op, SparseLinear) for op in network.ops)
    return {op.name: op.matrix.dense() for op in network.ops}


def outputs(network, data):
    codes = evaluate(network, quantise_inputs(network, vectors({network.inputs[0]: data})))
    name = network.outputs[0]
    return dequantise(network, name, codes[name])[:, :, 0, 0]


@pytest.mark.parametrize("clusters", [16, 256, None])
def test_without_pruning_the_network_is_the_float_one(case, clusters):
    """All weights kept and a value for (nearly) each: only roundings are left."""
    graph, data = case
    recipe = Compression(density=1.0, clusters=clusters, weight_bits=10, activation_bits=12)
    network = compress(graph, data, recipe, NONE)
    want = lower(graph).graph
    student = Student(want)
    with torch.no_grad():
        x = torch.from_numpy(vectors({"input": data})["input"])
        wanted = student.forward({"input": x})[network.outputs[0]].numpy()[:, :, 0, 0]
    error = np.abs(outputs(network, data) - wanted).max() / np.abs(wanted).max()
    assert error < {16: 0.2, 256: 0.02, None: 0.02}[clusters]


def test_densities_codebooks_and_scales(case):
    graph, data = case
    recipe = Compression(density=0.2, densities={"5": 0.5}, clusters=8, accumulator_bits=24)
    network = compress(graph, data, recipe, SHORT)
    one, two, three = network.ops
    # Rows with slopes are two, of which as many weights stay as of one.
    for op, kept in ((one, 0.2 * 24 * 18), (two, 0.2 * 12 * 24), (three, 0.5 * 5 * 12)):
        assert len(op.matrix.values) == pytest.approx(kept, rel=0.05)
        assert isinstance(op.format, Codebook)
        assert op.format.bits == 3
        assert op.accumulator_bits(network.tensor(op.input).format) <= 24
    assert (one.low, two.low, three.low) == (0, 0, -128)
    assert network.tensor(one.output).format == Fixed(bits=8, signed=False)
    again = compress(graph, data, recipe, SHORT)
    assert fingerprint(again) == fingerprint(network)


def test_plain_weights(case):
    graph, data = case
    network = compress(graph, data, Compression(clusters=None, weight_bits=5), SHORT)
    for op in network.ops:
        assert op.format == Fixed(bits=5)
        assert np.abs(op.matrix.values).max() >= 8  # no bit is given away


def test_retraining_helps(case):
    graph, data = case
    recipe = Compression(density=0.4)
    wanted = outputs(compress(graph, data, Compression(density=1.0, clusters=256), NONE), data)

    def loss(network):
        return float(((outputs(network, data) - wanted) ** 2).mean())

    plain = loss(compress(graph, data, recipe, NONE))
    assert loss(compress(graph, data, recipe, Retraining(epochs=10, stages=2))) < 0.7 * plain


def test_masks_from_outside_hold(case):
    """Also in a layer whose rows a slope doubles, and the one that reads them."""
    graph, data = case
    rng = np.random.default_rng(1)
    masks = {"1": rng.random((24, 18)) < 0.3, "3": (rng.random((12, 24)) < 0.4).astype(float)}
    network = compress(graph, data, Compression(), SHORT, masks=masks)
    found = matrices(network)
    one, two = masks["1"], masks["3"] != 0
    assert not found["1"][~np.concatenate([one, one])].any()
    assert not found["3"][~np.concatenate([two, two], axis=1)].any()
    assert np.count_nonzero(found["1"]) > 0.9 * 2 * one.sum()


def test_masks_that_do_not_fit_are_refused(case):
    graph, data = case

    def run(masks, **fields):
        compress(graph, data, Compression(**fields), NONE, masks=masks)

    with pytest.raises(CelosiaError, match="a mask for a layer 'fc', the model has '1', '3', '5'"):
        run({"fc": np.ones((24, 18))})
    with pytest.raises(CelosiaError, match="a density for a layer 'fc'"):
        run({}, densities={"fc": 0.5})
    with pytest.raises(CelosiaError, match=r"must have the shape of its weights, \(24, 18\), not"):
        run({"1": np.ones((18, 24))})
    with pytest.raises(CelosiaError, match="must hold 0 and 1 alone, not 2"):
        run({"1": np.full((24, 18), 2)})
    with pytest.raises(CelosiaError, match="layer '1' has a mask and a density"):
        run({"1": np.ones((24, 18))}, densities={"1": 0.5})
    mask = magnitude_mask(np.random.default_rng(2).normal(size=(24, 18)), 0.2)
    with pytest.raises(CelosiaError, match="layer '1' is not balanced over 4 PEs"):
        run({"1": mask}, balance=Balance(pes=4, window=1))


def test_balanced_masks_survive_to_the_integers(case):
    graph, data = case
    balance = Balance(pes=4, window=6)
    network = compress(graph, data, Compression(density=0.3, balance=balance), SHORT)
    for name, matrix in matrices(network).items():
        check_balanced(name, matrix != 0, balance)


def test_rows_may_change_places_before(case):
    """With masks from outside, layers beside them keep their order, and masks hold."""
    graph, data = case
    balance = Balance(pes=4, window=6, permute=True)
    recipe = Compression(density=0.3, balance=balance)
    network = compress(graph, data, recipe, SHORT)
    plain = replace(recipe, balance=replace(balance, permute=False))
    other = compress(graph, data, plain, SHORT)
    assert (matrices(network)["1"] != matrices(other)["1"]).any()
    wanted = outputs(compress(graph, data, Compression(density=1.0, clusters=256), NONE), data)
    assert np.corrcoef(outputs(network, data).ravel(), wanted.ravel())[0, 1] > 0.8
    for name, matrix in matrices(network).items():
        check_balanced(name, matrix != 0, balance)
    # Every second PE's rows of each column: balanced over 4 PEs as they stand, rows in order.
    mask = np.zeros((12, 24), bool)
    mask[::3] = True
    masked = compress(graph, data, recipe, NONE, masks={"3": mask})
    whole = np.concatenate([mask, mask], axis=1)
    assert not matrices(masked)["3"][~whole].any()


def test_data_that_does_not_fit_is_refused(case):
    graph, data = case
    with pytest.raises(CelosiaError, match="must be"):
        compress(graph, data[:, :1], Compression(), NONE)
    with pytest.raises(CelosiaError, match="labels must be int64"):
        compress(graph, data, Compression(), NONE, labels=np.zeros(3, np.int64))
    with pytest.raises(CelosiaError, match="head must be the position of an output"):
        compress(graph, data, Compression(), NONE, head=1)
    recipe = Compression(density=1.0, clusters=None, accumulator_bits=16, activation_bits=16)
    with pytest.raises(CelosiaError, match=r"fits no integers: .*accumulator_bits"):
        compress(graph, data, recipe, NONE)


def test_what_is_learnt_does_not_outgrow_the_accumulators(case):
    graph, _ = case
    for seed in range(4):
        rng = np.random.default_rng(seed)
        data, labels = rng.normal(size=(64, 2, 3, 3)).astype(np.float32), rng.integers(0, 5, 64)
        recipe = Compression(density=0.5, accumulator_bits=17, seed=seed)
        retraining = Retraining(epochs=8, stages=1, learning_rate=0.3)
        network = compress(graph, data, recipe, retraining, labels=labels)
        for op in network.ops:
            assert isinstance(op, SparseLinear)
            assert op.accumulator_bits(network.tensor(op.input).format) <= 17


def test_sums_too_narrow_for_any_weight_are_refused(case):
    """What would only hold zeros is no compressed network."""
    graph, data = case
    recipe = Compression(density=0.1, accumulator_bits=16, activation_bits=16)
    with pytest.raises(CelosiaError, match=r"layer '1' fits no integers: .*accumulator_bits"):
        compress(graph, data, recipe, NONE)


@pytest.mark.parametrize("size", [0.0, 1e-12])
def test_biases_may_be_all_there_is(size):
    """Of weights that change no output nothing need be left."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        module[1].weight *= size
        module[1].bias += 1
    graph = import_program(export_model(module.eval(), (torch.randn(1, 6, 1, 1),)), "net")
    data = np.random.default_rng(0).normal(size=(32, 6, 1, 1)).astype(np.float32)
    network = compress(graph, data, Compression(density=1.0), NONE)
    with torch.no_grad():
        want = module(torch.from_numpy(data)).numpy()
    step = network.tensor(network.outputs[0]).scale
    assert np.abs(outputs(network, data) - want).max() <= 4 * step


def test_gradients_of_a_codebook_are_summed_by_cluster(case):
    graph, _ = case
    student = Student(lower(graph).graph)
    name = layers_of(student.source)[0].name
    mask = magnitude_mask(student.kept(name), 0.5)
    student.prune(name, mask)
    student.share(name, np.array([-0.2, 0.1, 0.3]))
    weight = student.weight(name)
    weight.retain_grad()
    upstream = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    (weight * upstream).sum().backward()
    places = student.places[name].numpy()
    wanted = [upstream.numpy()[mask & (places == c)].sum() for c in range(3)]
    assert student.tables[name].grad.numpy() == pytest.approx(wanted, rel=1e-5)


def agreement(work, recipe, retraining):
    graph = import_program(export_model(work.model, (work.example,)), work.name)
    network = compress(
        graph, work.training, recipe, retraining, labels=work.training_labels, head=work.head
    )
    codes = evaluate(network, quantise_inputs(network, vectors({"x": work.inputs})["x"]))
    found = [codes[name] for name in network.outputs]
    same = float((work.predict(found) == work.predict(work.run_float())).mean())
    return work.accuracy(found) - work.accuracy(work.run_float()), same


def test_a_quick_digits_mlp_learns_with_a_tenth_of_its_weights():
    work = digits_mlp(epochs=3)
    lost, _ = agreement(work, Compression(), Retraining(epochs=2, stages=2))
    plain, _ = agreement(work, Compression(), NONE)
    assert lost > -0.1 > plain


@pytest.mark.campaign
@pytest.mark.parametrize("start", Start)
def test_digits_within_a_point_of_the_float_network(start):
    lost, same = agreement(digits_mlp(), Compression(start=start), Retraining(epochs=20))
    print(f"digits_mlp {start.value}: accuracy {100 * lost:+.2f} points, agreement {same:.4f}")
    assert lost >= -0.01


@pytest.mark.campaign
def test_lenet_and_r_nets_head():
    densities = {"1": 0.08, "3": 0.09, "5": 0.26}
    lost, same = agreement(lenet300(), Compression(densities=densities), Retraining())
    print(f"lenet300: accuracy {100 * lost:+.2f} points, agreement {same:.4f}")
    assert lost >= -0.01
    _, same = agreement(rnet_head(), Compression(), Retraining())
    print(f"rnet_head: agreement {same:.4f}")
    assert same >= 0.98


def test_r_nets_head_is_r_nets():
    work = rnet_head(copies=1)
    assert len(work.training) == 200
    assert len(work.inputs) == 100
    assert work.accuracy(work.run_float()) == 1.0
    assert not (work.training[:100] == replace(work).inputs).all()
