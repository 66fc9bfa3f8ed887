"""Deep Compression: pruning, weight sharing and retraining, to networks of compressed layers.

Han et al., "Deep Compression" (ICLR 2016), and what an engine of many PEs wants besides: masks of
which each PE has its equal share, and rows that change places until each has.
"""
