"""What a compression is asked to do: ranges and refusals."""

from __future__ import annotations

import pytest

from celosia.models.compression.recipe import Balance, Compression, Retraining


@pytest.mark.parametrize("density", [0, -0.1, 1.01, float("nan"), "0.1", None])
def test_densities_outside_0_to_1_are_refused(density):
    with pytest.raises(ValueError, match="density must be above 0 and at most 1, not"):
        Compression(density=density)
    with pytest.raises(ValueError, match="density of 'fc1' must be above 0 and at most 1, not"):
        Compression(densities={"fc1": density})


def test_other_numbers_out_of_range_are_refused():
    for clusters in (1, 257, 4.0, True):
        with pytest.raises(ValueError, match="clusters must be 2 to 256, as codes have at most 8"):
            Compression(clusters=clusters)
    for field, value in (
        ("weight_bits", 1), ("activation_bits", 17), ("accumulator_bits", 45), ("seed", -1),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"{field} must be in"):
            Compression(**{field: value})
    with pytest.raises(TypeError, match="balance must be a Balance"):
        Compression(balance=4)
    with pytest.raises(TypeError, match="start must be a Start"):
        Compression(start="linear")
    for field in ("pes", "window"):
        with pytest.raises(ValueError, match=f"{field} must be an integer in"):
            Balance(**{"pes": 4, field: 0})
    with pytest.raises(TypeError, match="permute must be true or false, not 1"):
        Balance(pes=4, permute=1)
    with pytest.raises(ValueError, match=r"pes must be an integer in 1\.\.256, not 257"):
        Balance(pes=257)
    for field, value in (("epochs", -1), ("stages", 0), ("batch", 0)):
        with pytest.raises(ValueError, match=f"{field} must be an integer of"):
            Retraining(**{field: value})
    with pytest.raises(ValueError, match="learning_rate must be positive"):
        Retraining(learning_rate=0)


def test_codes_and_densities_of_layers():
    assert [Compression(clusters=c).code_bits for c in (2, 3, 16, 17, 256)] == [1, 2, 4, 5, 8]
    assert Compression(clusters=None, weight_bits=5).code_bits == 5
    recipe = Compression(density=0.2, densities={"fc1": 0.5})
    assert (recipe.density_of("fc1"), recipe.density_of("fc2")) == (0.5, 0.2)


def test_pruning_is_gradual():
    found = Retraining(stages=4).densities(0.1)
    assert len(found) == 4
    assert found[-1] == pytest.approx(0.1)
    steps = [before - after for before, after in zip((1.0, *found), found, strict=False)]
    assert steps == sorted(steps, reverse=True)
    assert Retraining(epochs=0, stages=4).densities(0.1) == (0.1,)
