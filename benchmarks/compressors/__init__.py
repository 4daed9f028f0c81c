"""What others send in place of a gradient, beside whom subspaces are measured; not of the library.

A compressor takes the gradients of K workers, trees with a leading axis K, and gives what all of
them then apply. It is simulated on one device, and says what a worker would send and receive.
"""

from compressors.base import Compressor, Cost, all_gather, all_reduce
from compressors.lowrank import PowerSGD
from compressors.plain import Full, Int8, SignSGD
from compressors.sparse import RandomK, TopK

__all__ = [
    "Compressor",
    "Cost",
    "Full",
    "Int8",
    "PowerSGD",
    "RandomK",
    "SignSGD",
    "TopK",
    "all_gather",
    "all_reduce",
]
