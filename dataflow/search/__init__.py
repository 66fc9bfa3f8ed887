"""Search on the dense engine: the mapping of a network that an objective likes best.

.. code-block:: sh

    python -c "
    from celosia.dataflow.memory import DDR4
    from celosia.dataflow.presets import preset
    from celosia.dataflow.search import map_network
    from celosia.models.storage import load
    mapped = map_network(load('network.celosia'), preset('zcu102'), DDR4)
    print(mapped.costs)"
"""

from celosia.dataflow.search.bound import Bound, Reason, lower_bound
from celosia.dataflow.search.network import Judged, Mapped, MappedStep, judge, map_network
from celosia.dataflow.search.objective import CYCLES, DRAM, EDP, ENERGY, Costs, Objective
from celosia.dataflow.search.pricing import Priced, Pricer

__all__ = [
    "CYCLES",
    "DRAM",
    "EDP",
    "ENERGY",
    "Bound",
    "Costs",
    "Judged",
    "Mapped",
    "MappedStep",
    "Objective",
    "Priced",
    "Pricer",
    "Reason",
    "judge",
    "lower_bound",
    "map_network",
]
