"""Networks whose blocks can say what they cost. Importing this room does not import torch."""

from autofuse.networks.cost import build_network, network_cost
from autofuse.networks.topologies import TOPOLOGIES, topology

__all__ = ["TOPOLOGIES", "build_network", "network_cost", "topology"]
