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

from celosia.dataflow.search.network import Mapped, map_network
from celosia.dataflow.search.objective import CYCLES, DRAM, EDP, ENERGY, Costs, Objective

__all__ = ["CYCLES", "DRAM", "EDP", "ENERGY", "Costs", "Mapped", "Objective", "map_network"]
