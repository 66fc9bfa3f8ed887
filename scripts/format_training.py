"""What number formats do to networks: trained once, quantised, fine-tuned, judged, and kept.

Kept is each by the code that it depends on (:mod:`celosia.scripts.sources`): what cannot change
a network or an accuracy does not make it anew.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from celosia.models import storage
from celosia.models.addernet_zoo import adder_net, adder_workload, shift_add_net, shift_add_workload
from celosia.models.archive import export_model
from celosia.models.blueprint import DIGITS, MNIST, RNET, Blueprint
from celosia.models.golden import evaluate
from celosia.models.gradients import Gradient
from celosia.models.importer import import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.network import Network
from celosia.models.qat import Schedule, finetune
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe
from celosia.models.switchable import SwitchableNet
from celosia.models.switchable_export import export_network
from celosia.models.switchable_train import Training, settle, train_switchable
from celosia.models.threads import single_thread
from celosia.models.zoo import (
    DigitsNet,
    ImageData,
    MnistNet,
    Workload,
    digit_data,
    digits,
    mnist,
    mnist_data,
    patch_data,
    rnet,
)
from celosia.scripts.sources import code_digest
from celosia.sim.cache import cached

DEPENDENCIES = ("torch", "numpy", "scikit-learn", "scikit-image", "mlxtend", "facenet-pytorch")
"""Distributions whose version decides about networks, data and accuracies."""

WIDTHS = (4, 5, 6, 7, 8)
"""Of the networks of switchable precision."""

FULL_WIDTH = 16
"""That of the networks which those are measured against: at 16 bits rounding does not show."""


class Layers(enum.Enum):
    """What layers do, each in networks of its own, trained from scratch."""

    PRODUCTS = "products"
    """The workload's network, with batch normalisation and multiplications."""
    DISTANCES = "distances"
    """AdderNet: distances but in the first and last layer."""
    SHIFTS = "shifts"
    """ShiftAddNet: shifts, and distances behind them."""
    SWITCHED = "switched"
    """One network for all of :data:`WIDTHS`, trained with Random Precision Switch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is done to a network.

    Attributes
    ----------
    layers
        What its layers do.
    recipe
        Formats and methods. Of a network of switchable precision its weights' format says
        the width.
    weight_gradient
        What fine-tuning takes the gradient of the weights' rounding to be.
    """

    layers: Layers
    recipe: Recipe
    weight_gradient: Gradient = Gradient.STRAIGHT_THROUGH


@dataclass(frozen=True, slots=True, kw_only=True)
class Epochs:
    """Passes over the training data: fine-tuning, and training of kinds of networks."""

    tuning: int
    slow_tuning: int
    distances: int
    shifts: int
    switched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A workload to try formats on.

    Attributes
    ----------
    train
        Returns the workload with its own network, for a seed.
    network
        Returns that network, untrained; None where it comes trained.
    data
        Returns its images, of which a part is for the test.
    blueprint
        What networks of other kinds of layers are made from.
    epochs
        How long they are trained.
    """

    train: Callable[[int], Workload]
    network: Callable[[], nn.Module] | None
    data: Callable[[], ImageData]
    blueprint: Blueprint
    epochs: Epochs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """Accuracies (0..1) of one seed, and the network that was fine-tuned."""

    real: float
    quantised: float
    tuned: float
    network: Network


def _rnet(seed: int) -> Workload:
    """Return R-Net, judged on the patches that it is not fine-tuned on."""
    inputs, labels = patch_data().part(test=True)
    return replace(rnet(), inputs=inputs, labels=labels)


SUBJECTS = {
    "rnet": Subject(
        train=_rnet,
        network=None,
        data=functools.cache(patch_data),
        blueprint=RNET,
        epochs=Epochs(tuning=6, slow_tuning=3, distances=20, shifts=20, switched=30),
    ),
    "digits": Subject(
        train=lambda seed: digits(seed=seed),
        network=DigitsNet,
        data=functools.cache(digit_data),
        blueprint=DIGITS,
        epochs=Epochs(tuning=3, slow_tuning=1, distances=8, shifts=8, switched=12),
    ),
    "mnist": Subject(
        train=lambda seed: mnist(seed=seed),
        network=MnistNet,
        data=functools.cache(mnist_data),
        blueprint=MNIST,
        epochs=Epochs(tuning=2, slow_tuning=1, distances=6, shifts=6, switched=8),
    ),
}
"""The workloads by name."""


def learn(task: Task, name: str, seed: int) -> Outcome:
    """Return what comes of ``task`` on the workload ``name``, 0 to 2^15 being the seed.

    Raises
    ------
    CelosiaError
        If data is missing, or the cache cannot be written.
    """
    if task.layers is Layers.SWITCHED:
        return _switched(name, seed)[task.recipe.weights[0].format.bits]

    def build(folder: Path) -> None:
        _keep(folder, _quantised(task, name, seed))

    return _kept(cached(_key("tuned", (task, name, seed)), build))


def _quantised(task: Task, name: str, seed: int) -> Outcome:
    work, epochs = _trained(task.layers, name, seed), SUBJECTS[name].epochs
    slow = task.layers is not Layers.PRODUCTS
    schedule = Schedule(
        epochs=epochs.slow_tuning if slow else epochs.tuning,
        batch=32 if len(work.training) < 1000 else 64,
        seed=seed,
        weight_gradient=task.weight_gradient,
        refresh=1,
    )
    with single_thread():
        graph = import_program(export_model(work.model, (work.example,)), work.name)
        plain = quantize(graph, work.calibration, task.recipe)
        tuned = finetune(
            graph, work.training, task.recipe, schedule, work.training_labels, work.head
        )
        return Outcome(
            real=work.accuracy(work.run_float()),
            quantised=_accuracy(work, plain),
            tuned=_accuracy(work, tuned),
            network=tuned,
        )


def _trained(layers: Layers, name: str, seed: int) -> Workload:
    """Return the workload with its float network, from what was kept if it was."""
    subject = SUBJECTS[name]
    if layers is Layers.PRODUCTS:
        if subject.network is None:
            return subject.train(seed)
        model, train = subject.network(), subject.train
    elif layers is Layers.DISTANCES:
        model = adder_net(subject.blueprint)
        train = functools.partial(_adder, subject)
    else:
        model = shift_add_net(subject.blueprint)
        train = functools.partial(_shift_add, subject)

    def build(folder: Path) -> None:
        torch.save(train(seed).model.state_dict(), folder / "weights.pt")

    made_from = layers.value, name, seed, subject.blueprint, subject.epochs
    folder = cached(_key("float", made_from, adder_workload.__module__), build)
    model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return subject.data().workload(name, model)


def _adder(subject: Subject, seed: int) -> Workload:
    return adder_workload(subject.data(), subject.blueprint, subject.epochs.distances, seed)


def _shift_add(subject: Subject, seed: int) -> Workload:
    return shift_add_workload(subject.data(), subject.blueprint, subject.epochs.shifts, seed)


def _switched(name: str, seed: int) -> dict[int, Outcome]:
    """Return the outcome at each width of one network, from what was kept if it was.

    It is measured against a network of one width, 16 bits, and quantised without training is that
    one, with statistics of its normalisations at the width.
    """

    def build(folder: Path) -> None:
        with single_thread():
            for width, outcome in zip(WIDTHS, _switched_outcomes(name, seed), strict=True):
                (folder / str(width)).mkdir()
                _keep(folder / str(width), outcome)

    folder = cached(_key("switched", (name, seed)), build)
    return {width: _kept(folder / str(width)) for width in WIDTHS}


def _switched_outcomes(name: str, seed: int) -> Iterator[Outcome]:
    subject = SUBJECTS[name]
    data = subject.data()
    inputs, labels = (torch.from_numpy(part) for part in data.part(test=False))
    # Enough batches of few images: the last of an epoch is left out where it is not full.
    training = Training(
        epochs=subject.epochs.switched, seed=seed + 1, batch=32 if len(inputs) < 1000 else 64
    )

    def trained(widths: Sequence[int]) -> SwitchableNet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = SwitchableNet(subject.blueprint, widths)
        train_switchable(model, inputs, labels, training)
        return model

    def judged(model: SwitchableNet, width: int) -> tuple[Network, float]:
        network = export_network(model, width, name)
        return network, _accuracy(data.workload(name, model), network)

    full, model = trained((FULL_WIDTH,)), trained(WIDTHS)
    images, classes = (torch.from_numpy(part) for part in data.part(test=True))
    with torch.no_grad():
        right = full(images, FULL_WIDTH).argmax(dim=1) == classes
    for width in WIDTHS:
        plain = SwitchableNet(subject.blueprint, (width,))
        renamed = {
            key.replace(f"norms.{FULL_WIDTH}.", f"norms.{width}."): value
            for key, value in full.state_dict().items()
        }
        plain.load_state_dict(renamed)
        settle(plain, inputs, training.batch)
        network, tuned = judged(model, width)
        yield Outcome(
            real=float(right.double().mean()),
            quantised=judged(plain, width)[1],
            tuned=tuned,
            network=network,
        )


def _accuracy(work: Workload, network: Network) -> float:
    codes = evaluate(network, quantise_inputs(network, work.inputs))
    return work.accuracy([codes[name] for name in network.outputs])


def _keep(folder: Path, outcome: Outcome) -> None:
    storage.save(outcome.network, folder / "network.npz")
    numbers = {field: getattr(outcome, field) for field in ("real", "quantised", "tuned")}
    (folder / "accuracy.json").write_text(json.dumps(numbers))


def _kept(folder: Path) -> Outcome:
    numbers = json.loads((folder / "accuracy.json").read_text())
    return Outcome(**numbers, network=storage.load(folder / "network.npz"))


def _key(kind: str, made_from: tuple[object, ...], module: str = __name__) -> str:
    """Return a cache key for what ``module`` makes of ``made_from``, values with a whole repr."""
    versions = []
    for name in DEPENDENCIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    text = repr((code_digest(module), versions, kind, made_from))
    return f"formats-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:40]}"
