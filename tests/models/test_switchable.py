"""Switchable precision: the published quantiser, its training, integer networks of each width."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from celosia.models.blueprint import Blueprint, Stage
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.golden import evaluate
from celosia.models.inputs import quantise_inputs
from celosia.models.network import Conv
from celosia.models.switchable import (
    Observer,
    SwitchableNet,
    Zero,
    affine,
    levels,
)
from celosia.models.switchable_export import export_network
from celosia.models.switchable_train import (
    Attack,
    Training,
    infer_random,
    perturb,
    random_widths,
    train_switchable,
)
from celosia.models.threads import single_thread
from celosia.models.zoo import digit_data

STAGES = (
    Stage(channels=8),
    Stage(channels=8, residual=True, pool=True),
    Stage(channels=12, stride=2),
)
BLUEPRINT = Blueprint(shape=(1, 8, 8), stages=STAGES, classes=10)
WIDTHS = (4, 5, 8, 12)


def test_worked_example() -> None:
    """Of the range -0.5 to 1."""
    x = torch.tensor([-0.5, -0.12, 0.0, 0.33, 1.0], dtype=torch.float64)
    for bits, codes in ((2, [0, 1, 1, 2, 3]), (4, [0, 4, 5, 8, 15]), (8, [0, 65, 85, 141, 255])):
        step, _ = levels(x[0], x[-1], bits, Zero.FREE, signed=True)
        found = affine(x, x[0], x[-1], bits)
        torch.testing.assert_close(found, torch.tensor(codes) * step - 0.5)


def test_gradient_passes() -> None:
    x = torch.tensor([-3.0, 0.2, 5.0], requires_grad=True)
    torch.autograd.backward(affine(x, torch.tensor(-1.0), torch.tensor(1.0), 4).sum())
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("bits", [2, 4, 9, 16])
def test_zero_is_a_level(bits: int) -> None:
    for low, high in ((-1.0, 2.0), (-2.0, 1.0), (0.3, 2.0), (-2.0, -0.1), (0.0, 0.0)):
        ends = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
        x = torch.linspace(low, high, 101, dtype=torch.float64)
        found = affine(x, *ends, bits, Zero.LEVEL)
        step, first = levels(*ends, bits, Zero.LEVEL, signed=True)
        codes = torch.round(found / step)
        torch.testing.assert_close(found, codes * step)
        assert codes.min() >= first
        assert codes.max() < -first
        assert (found - x).abs().max() <= step / 2 + 1e-12
        assert affine(0 * x, *ends, bits, Zero.LEVEL).abs().max() == 0


def test_running_range() -> None:
    observer = Observer(Zero.FREE, signed=True)
    observer(torch.tensor([-1.0, 3.0]), 4)
    observer(torch.tensor([0.0, 10.0]), 4)
    assert observer.low.item() == pytest.approx(0.1 * 0.9 * -1.0)
    assert observer.high.item() == pytest.approx(-0.09 + 0.1 * 0.9 * 4.0 + 0.9 * 10.0)
    observer.eval()
    assert observer(torch.tensor([100.0]), 4).item() == pytest.approx(observer.high.item())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def trained() -> tuple[SwitchableNet, torch.Tensor, torch.Tensor]:
    images, labels = (torch.from_numpy(part[:512]) for part in digit_data().part(test=False))
    return network(images, labels), images, labels


def network(
    images: torch.Tensor, labels: torch.Tensor, attack: Attack | None = None, seed: int = 7
) -> SwitchableNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SwitchableNet(BLUEPRINT, WIDTHS)
        train_switchable(model, images, labels, Training(epochs=3, seed=seed, attack=attack))
    return model


Trained = tuple[SwitchableNet, torch.Tensor, torch.Tensor]


def test_every_width_learns(trained: Trained) -> None:
    model, images, labels = trained
    for width in WIDTHS:
        assert (model(images, width).argmax(dim=1) == labels).float().mean() > 0.8


def test_each_width_has_its_own_normalisation(trained: Trained) -> None:
    norms = trained[0].blocks[0].norms
    means = [norms[str(width)].running_mean for width in WIDTHS]
    assert not torch.equal(means[0], means[-1])


def test_training_is_deterministic(trained: Trained) -> None:
    again = network(*trained[1:])
    for one, two in zip(trained[0].state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_inference_draws_a_width_for_each_image(trained: Trained) -> None:
    model, images, _ = trained
    widths = random_widths(model, 64, seed=9)
    assert set(widths) == set(WIDTHS)
    assert random_widths(model, 8, seed=9).tolist() == widths[:8].tolist()
    scores = infer_random(model, images[:64], seed=9)
    for index in range(0, 64, 9):
        with torch.no_grad():
            alone = model(images[index : index + 1], int(widths[index]))[0]
        torch.testing.assert_close(scores[index], alone)


def test_attack_stays_near_and_hurts(trained: Trained) -> None:
    model, images, labels = trained[0], trained[1][:128], trained[2][:128]
    attack = Attack(epsilon=0.1, step=0.03, steps=5)
    for widths in ((4,), WIDTHS):
        generator = torch.Generator().manual_seed(0)
        changed = perturb(model, images, labels, attack, widths, generator)
        assert (changed - images).abs().max() <= 0.1 + 1e-6
        assert changed.min() >= 0
        assert changed.max() <= 1
        right = (model(images, 4).argmax(dim=1) == labels).float().mean()
        assert (model(changed, 4).argmax(dim=1) == labels).float().mean() < right - 0.2


def test_adversarial_training_runs() -> None:
    images, labels = (torch.from_numpy(part[:128]) for part in digit_data().part(test=False))
    plain, hard = network(images, labels), network(images, labels, Attack(steps=1))
    assert not torch.equal(plain.classes.weight, hard.classes.weight)


@pytest.mark.parametrize("width", [4, 5, 8])
def test_integer_network_computes_the_same(trained: Trained, width: int) -> None:
    model, images, _ = trained
    exported = export_network(model, width, "digits")
    assert exported.name == f"digits_w{width}"
    assert exported.tensor("stage0").format == Fixed(bits=width, signed=False)
    codes = quantise_inputs(exported, images.numpy())
    values = evaluate(exported, codes)
    name = "input"
    for index, block in enumerate(model.blocks):
        # Each stage from the integer network's codes: roundings would move more and more.
        x = torch.from_numpy(values[name] * exported.tensor(name).scale).to(torch.float32)
        name = f"stage{index}_pool" if STAGES[index].pool else f"stage{index}"
        with torch.no_grad():
            wanted = block(x, width).numpy() / exported.tensor(name).scale
        # A bias is a whole number of products: a few roundings go the other way.
        difference = np.abs(values[name] - np.rint(wanted))
        assert difference.max() <= 1
        assert difference.mean() < 0.05
    with torch.no_grad():
        scores = model(images, width).numpy()
    integer = values["scores"].reshape(len(images), -1)
    assert (integer.argmax(1) == scores.argmax(1)).mean() > 0.98
    assert any(isinstance(op, Conv) and op.residual for op in exported.ops)


def test_negative_and_vanishing_normalisations(trained: Trained) -> None:
    model = SwitchableNet(BLUEPRINT, WIDTHS)
    model.load_state_dict(trained[0].state_dict())
    model.eval()
    norm = model.blocks[0].norms["4"]
    with torch.no_grad():
        norm.weight[0], norm.weight[1], norm.bias[1] = -0.7, 0.0, 0.5
    exported = export_network(model, 4)
    images = trained[1][:32]
    found = evaluate(exported, quantise_inputs(exported, images.numpy()))["stage0"]
    with torch.no_grad():
        wanted = model.blocks[0](model.entry(images, 4), 4).numpy()
    scale = exported.tensor("stage0").scale
    assert np.abs(found * scale - wanted).max() <= scale * 1.01


def test_what_has_no_integer_network() -> None:
    free = SwitchableNet(BLUEPRINT, WIDTHS, Zero.FREE)
    with pytest.raises(CelosiaError, match=r"Zero\.LEVEL"):
        export_network(free, 4)
    model = SwitchableNet(BLUEPRINT, WIDTHS)
    for width in (6, 12):
        with pytest.raises(CelosiaError, match=r"choose one of \[4, 5, 8\]"):
            export_network(model, width)


def test_wrong_arguments() -> None:
    for widths in ((), (4, 4), (1, 4), (4, 17)):
        with pytest.raises(ValueError, match="widths must be"):
            SwitchableNet(BLUEPRINT, widths)
    with pytest.raises(ValueError, match="at least one stage"):
        Blueprint(shape=(1, 8, 8), stages=(), classes=10)
    with pytest.raises(ValueError, match="residual stage must have its input's 1 channels, not 8"):
        SwitchableNet(replace(BLUEPRINT, stages=(Stage(channels=8, residual=True),)), WIDTHS)
    with pytest.raises(ValueError, match="stride 1, not 2"):
        Stage(channels=8, residual=True, stride=2)
    with pytest.raises(ValueError, match="odd kernel"):
        Stage(channels=8, kernel=2)
    model = SwitchableNet(BLUEPRINT, WIDTHS)
    with pytest.raises(ValueError, match=r"width must be one of \(4, 5, 8, 12\), not 7"):
        model(torch.zeros(1, 1, 8, 8), 7)
    with pytest.raises(ValueError, match="must be positive"):
        Attack(steps=0)
    with pytest.raises(ValueError, match="batch at least 2"):
        Training(batch=1)
    with pytest.raises(ValueError, match="needs as many images, not 3"):
        train_switchable(model, torch.zeros(3, 1, 8, 8), torch.zeros(3).long(), Training())


@pytest.mark.campaign
def test_random_precision_switch_resists_attacks() -> None:
    """An attack on one width fools that width more often than the random switch.

    Digits, widths 4..8, seeds 1..3, 10 epochs of adversarial training with 3 steps.
    """
    data = digit_data()
    images, labels = (torch.from_numpy(part) for part in data.part(test=False))
    tests, truth = (torch.from_numpy(part) for part in data.part(test=True))
    same, switched = [], []
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        model = SwitchableNet(BLUEPRINT, (4, 5, 6, 7, 8))
        hard = Attack(epsilon=0.1, step=0.05, steps=3)
        train_switchable(model, images, labels, Training(epochs=10, seed=seed, attack=hard))
        generator = torch.Generator().manual_seed(seed)
        strong = Attack(epsilon=0.15, step=0.02, steps=20)
        for width in model.widths:
            changed = perturb(model, tests, truth, strong, (width,), generator)
            with torch.no_grad():
                same.append(float((model(changed, width).argmax(1) == truth).float().mean()))
            random = infer_random(model, changed, seed)
            switched.append(float((random.argmax(1) == truth).float().mean()))
    print(f"attacked width {np.mean(same):.4f}, random switch {np.mean(switched):.4f}")
    assert np.mean(switched) > np.mean(same)
