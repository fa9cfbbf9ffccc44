"""The columns of a diagnosis's rows.parquet: one row a layer, as `flow.table()` returns them.

Columns with gaps belong to some kinds of networks: those on units to a `jaxnn.Network`, positions
and meeting examples to a user's own layers, a tangent and theory to all but modules of PyTorch.
"""

from experiments.runs.schema import COUNT, FLAG, REAL, TEXT, Column

COLUMNS = {
    "layer": Column(COUNT, "layers", "from 1, next to the input"),
    "name": Column(TEXT, "name", "of the layer"),
    "log10_delta": Column(REAL, "decades", "log₁₀ ‖Δ‖ over the batch; -inf for zero"),
    "log10_largest": Column(REAL, "decades", "log₁₀ of the largest |entry| of Δ"),
    "log10_gain": Column(REAL, "decades", "log₁₀ ‖Δ[l]‖ / ‖Δ[l+1]‖; nan for the last layer"),
    "log10_theta": Column(REAL, "decades", "log₁₀ ‖Δθ‖; nan for a module of PyTorch"),
    "log10_mean_square": Column(REAL, "decades", "log₁₀ of the mean square of the state"),
    "log10_spread": Column(REAL, "decades", "what differs between examples, relative", True),
    "log10_spread_within": Column(REAL, "decades", "between positions of an example", True),
    "log10_branch": Column(REAL, "decades", "what branches add, relative to their stream", True),
    "log10_tangent": Column(REAL, "decades", "log10_spread to first order, without rounding", True),
    "cosine": Column(REAL, "1", "mean cosine between examples", True),
    "rank": Column(REAL, "1", "effective rank of what differs between examples", True),
    "saturated": Column(REAL, "of units", "on a plateau of σ", True),
    "dead": Column(REAL, "of units", "with no slope for any example", True),
    "lost": Column(FLAG, "yes or no", "whether plain backpropagation has no number for Δ"),
    "mixes": Column(FLAG, "yes or no", "whether examples meet in the layer", True),
    "log10_delta_rms": Column(REAL, "decades", "log₁₀ of the root mean square of examples' ‖Δ‖"),
    "log10_delta_theory": Column(REAL, "decades", "the same in theory, if asked for", True),
    "log10_delta_theory_error": Column(REAL, "decades", "its standard error", True),
    "log10_delta_smallest": Column(REAL, "decades", "of the example with the smallest ‖Δ‖"),
    "log10_delta_largest": Column(REAL, "decades", "of the one with the largest"),
}
