"""The names that files, tables and settings share: splits, protocols, distances and columns.

Imports nothing, so that a stage without arrays can use them.
"""

SPLITS = ("train", "query", "query_partial", "gallery")
PROTOCOLS = {"full": "query", "partial": "query_partial"}  # protocol: the split of its queries
DISTANCES = ("global", "local", "dmli")  # those with a file of their own
RERANKED = ("global", "dmli", "global_dmli")
COLUMNS = ("global", "local", "dmli", "global_dmli", "global_rk", "dmli_rk", "global_dmli_rk")
