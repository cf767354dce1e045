"""The names that the stages from extract to tables share, each in its order: splits, protocols,
distances, columns.
"""

SPLITS = ("query", "query_partial", "gallery")  # whose features are extracted
PROTOCOLS = {"full": "query", "partial": "query_partial"}  # protocol: the split of its queries
DISTANCES = ("global", "local", "dmli")  # the matrices between queries and gallery
RERANKED = ("global", "dmli", "global_dmli")  # the distances that are re-ranked
COLUMNS = (*DISTANCES, "global_dmli", *(f"{name}_rk" for name in RERANKED))  # of the tables
