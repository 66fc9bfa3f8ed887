import torch
from torch import nn

from celosia.models.archive import export_model
from celosia.models.formats import Fixed
from celosia.models.importer import import_program
from celosia.models.network import Conv
from celosia.models.networks.catalogue import QUICK
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe
from celosia.models.sensitivity import Sensitivity


def test_layers_that_matter_keep_their_bits() -> None:
    torch.manual_seed(20261121)
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.randint(-7, 8, (8, 4, 3, 3)) / 7.0)  # 4 bits are all it needs
        model[0].weight[:, 0, 0, 0] = 1.0
    x = torch.randn(4, 4, 8, 8)
    graph = import_program(export_model(model.eval(), (x[:1],)))
    found = Sensitivity(graph, {next(iter(graph.inputs)): x.numpy()}, Fixed(bits=4), QUICK)
    assert found.sizes == {"0": 288, "2": 576}
    assert found.error(()) == 0
    assert found.error(("0",)) < 1e-9 < 1e-4 < found.error(("2",))
    assert found.choose(1e-6) == ("0",)
    assert found.choose(1.0) == ("0", "2")
    assert found.choose(1e-6, {"0": 1e-7, "2": 1e-12}) == ("0",)  # the first is passed over
    fed = Sensitivity(graph, {next(iter(graph.inputs)): x.numpy()}, Fixed(bits=4), Recipe())
    assert fed.error(()) == 0
    assert fed.error(("2",)) < 0.7 * found.error(("2",))  # what errors do is made good for
    network = quantize(graph, x.numpy(), QUICK, layers={"0": Fixed(bits=3)})
    formats = [set(op.formats) for op in network.ops if isinstance(op, Conv)]
    assert formats[0] == {Fixed(bits=3)} != formats[1]
    weights = network.ops[0].weights  # type: ignore[union-attr]
    assert (weights.min(), weights.max()) == (-4, 3)
