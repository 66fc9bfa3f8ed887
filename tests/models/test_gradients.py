"""Gradient estimators against their formulas, through autograd."""

import pytest
import torch

from celosia.models.gradients import Gradient, pass_gradient

X = torch.tensor([-6.0, -2.0, -0.4, 0.0, 1.3, 3.0, 4.0, 12.0], dtype=torch.float64)
EXPECTED = {
    Gradient.STRAIGHT_THROUGH: [1, 1, 1, 1, 1, 1, 1, 1],
    Gradient.PIECEWISE_LINEAR: [0, 1, 1, 1, 1, 1, 0, 0],
    Gradient.MAGNITUDE_AWARE: [2 / 6, 1, 1, 1, 1, 1, 3 / 4, 3 / 12],
}


@pytest.mark.parametrize("gradient", Gradient)
def test_formulas(gradient: Gradient) -> None:
    x = X.clone().requires_grad_()
    rounded = torch.round(X.clamp(-2, 3))
    result = pass_gradient(x, rounded, -2.0, 3.0, gradient)
    assert torch.equal(result, rounded)
    upstream = torch.arange(1.0, 9.0, dtype=torch.float64)
    torch.autograd.backward(result, upstream)
    torch.testing.assert_close(
        x.grad, upstream * torch.tensor(EXPECTED[gradient], dtype=torch.float64)
    )


def test_magnitude_aware_is_the_derivative_of_a_scaled_identity() -> None:
    """``clip(x) = a x`` with a = clip(x) / x held fixed: autograd's derivative of that."""
    x = X.clone().requires_grad_()
    share = torch.where(X == 0, torch.ones_like(X), X.clamp(-2, 3) / torch.where(X == 0, 1, X))
    torch.autograd.backward((share * x).sum())
    factor = Gradient.MAGNITUDE_AWARE.factor(X, -2.0, 3.0)
    torch.testing.assert_close(factor, x.grad)


def test_limits_of_rows() -> None:
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    high = torch.tensor([[1.5], [0.5]])
    factor = Gradient.MAGNITUDE_AWARE.factor(x, -high, high)
    torch.testing.assert_close(factor, torch.tensor([[1.0, 0.75], [0.5, 0.25]]))


def test_a_range_that_ends_at_0() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0])
    assert Gradient.MAGNITUDE_AWARE.factor(x, 0.0, 2.0).tolist() == [0.0, 1.0, 1.0]
    assert Gradient.PIECEWISE_LINEAR.factor(x, 0.0, 2.0).tolist() == [0.0, 1.0, 1.0]
