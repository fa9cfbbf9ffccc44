# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""The article as a live page: move a slider, and every number of the network follows.

    python -m pip install -e ".[live]"
    python -m marimo run docs/article_live.py

What is computed stands in functions that a test can call; the cells at the end only show it.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="The article, live")

with app.setup:
    from functools import cache
    from html import escape
    from itertools import pairwise

    import altair as alt
    import jax
    import jax.numpy as jnp
    import marimo as mo
    import numpy as np

    import jaxnn
    from jaxnn.flow.view.chart import svg
    from jaxnn.flow.view.drawing import NEGATIVE, POSITIVE, draw, number

    SIZES = (3, 4, 1)
    ACTIVATIONS = ("sigmoid", "tanh", "relu", "gelu", "selu", "softsign", "identity")
    WEIGHTS = [f"θ[{i}]_{j + 1}{k + 1}" for i in (0, 1) for j, k in np.ndindex(*SIZES[i : i + 2])]
    DRAWN = "as drawn"
    SIGMA_B = 0.2  # of the biases of the small network; the deep one has none
    # The deep network: hidden layers of one width, of which a slider uses the first.
    WIDTH, ROOM, EXAMPLES = 64, 100, 8
    LN10 = float(np.log(10))
    STYLE = """<style>
    .live {width: 100%; max-width: 1000px; margin: 0 auto; overflow-x: auto; text-align: center}
    .live.wide svg, .live.narrow svg {display: block; margin: 0 auto}
    .live.narrow {display: none}
    @media (max-width: 760px) {.live.wide {display: none} .live.narrow {display: block}}
    .live table {width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums}
    .live th {font-weight: 400; text-align: left; padding: 2px 8px}
    .live td {padding: 3px 8px; width: 25%; text-align: left}
    .live .bar {height: 9px; border-radius: 2px; min-width: 1px}
    .live.charts {display: flex; flex-wrap: wrap; gap: 16px 48px; justify-content: center}
    </style>"""


@app.function
def parameters(seed, scale, chosen=None, value=0.0):
    """Return ((θ[0], b[0]), (θ[1], b[1])): Gaussian, of variance scale² / fan-in.

    Args:
        seed: of the draw.
        scale: σ_w of the weights.
        chosen: a name of `WEIGHTS`, of the one weight that is set by hand.
        value: of that weight.
    """
    rng = np.random.default_rng(seed)
    layers, names = [], iter(WEIGHTS)
    for n, m in pairwise(SIZES):
        theta = scale / n**0.5 * rng.normal(size=(n, m))
        for j, k in np.ndindex(n, m):
            if next(names) == chosen:
                theta[j, k] = value
        layers.append((jnp.asarray(theta, jnp.float32), biases(rng, m)))
    return tuple(layers)


@app.function
def biases(rng, m):
    """Return m biases of standard deviation `SIGMA_B`."""
    return jnp.asarray(SIGMA_B * rng.normal(size=m), jnp.float32)


@app.function
def network(activation):
    """Return the article's network with this activation."""
    return jaxnn.Network(sizes=SIZES, activation=activation, task="binary")


@app.function
def drawn(activation, params, x, y):
    """Return the network with all of its numbers as HTML, for a wide screen and for a phone."""
    net, x = network(activation), jnp.asarray(x, jnp.float32)
    wide, narrow = (draw(net, params, x, y, narrow=way).svg for way in (False, True))
    return f'{STYLE}<div class="live wide">{wide}</div><div class="live narrow">{narrow}</div>'


@app.function
def factors(activation, params, x, y):
    """Return (Δz[2], θ[1]_k, σ′(z[1]_k), Δz[1]_k) for each hidden unit k, (4, 4)."""
    net, x = network(activation), jnp.asarray(x, jnp.float32)
    deltas, trace = jaxnn.deltas(net, params, x, y), jaxnn.trace(net, params, x)
    theta = params[1][0][:, 0]
    slope = net.activation.prime(trace.z[0])
    return np.stack([jnp.full(4, deltas.z[1][0]), theta, slope, deltas.z[0]], axis=1)


@app.function
def bars(rows):
    """Return the factors of each hidden unit and their product as a table of bars in HTML."""
    largest = float(np.max(np.abs(rows), initial=1.0, where=np.isfinite(rows)))
    heads = ("Δz[2]", "× θ[1]", "× σ′(z[1])", "= Δz[1]")
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr>{''.join(bar(float(value), largest, k, i) for i, value in enumerate(row))}</tr>"
        for k, row in enumerate(rows)
    )
    return f'{STYLE}<div class="live"><table><tr>{head}</tr>{body}</table></div>'


@app.function
def bar(value, largest, k, i):
    """Return factor i of unit k as a cell of a table: a number over a bar."""
    colour = POSITIVE if value >= 0 else NEGATIVE
    share = 100 * abs(value) / largest if np.isfinite(value) else 100
    return (
        f'<td data-name="factor {k} {i}">{number(value)}<div class="bar" '
        f'style="width:{share:.1f}%;background:{colour}"></div></td>'
    )


@app.function
@cache
def deep_flow(activation):
    """Return a compiled function of σ_w and the depth: one program for all their values."""
    net = jaxnn.Network((WIDTH, *[WIDTH] * ROOM, 1), activation, "regression")
    unit = jaxnn.init(
        net, jax.random.key(0), weights=jaxnn.initializers.gaussian(1.0), stacked=True
    )
    xs = jax.random.normal(jax.random.key(1), (EXAMPLES, WIDTH))
    cotangent = jax.random.normal(jax.random.key(2), (EXAMPLES, 1))

    @jax.jit
    def flow(sigma_w, depth):
        params = tuple(jaxnn.network.Layer(sigma_w * theta, b) for theta, b in unit)
        return jaxnn.flow.at_depths((net, params), xs, cotangent=cotangent, depth=depth)

    return flow


@app.function
def depths(activation, sigma_w, depth):
    """Return log₁₀ ‖Δz[l]‖ / ‖Δz[depth]‖ of the hidden layers 1 … depth: measured, and by theory.

    Args:
        activation: its name.
        sigma_w: of the Gaussian weights.
        depth: the number of hidden layers, from 2 to `ROOM`.
    """
    log_delta = np.asarray(deep_flow(activation)(float(sigma_w), depth).log_delta)[:depth]
    theory = np.asarray(
        jaxnn.theory.meanfield.log_delta(activation, float(sigma_w), 0.0, 1.0, ROOM)
    )
    theory = theory[:depth]  # a layer does not know how many come after it
    return (log_delta - log_delta[-1]) / LN10, (theory - theory[-1]) / LN10


@app.function
def charts(measured, theory):
    """Return the gradient against depth, and the factor of each layer, as HTML."""
    layers = range(1, len(measured) + 1)
    columns = {"measured": measured, "theory": theory}
    lines = [
        {"layer": layer, "of": name, "decades": float(value)}
        for name, values in columns.items()
        for layer, value in zip(layers, values, strict=True)
        if np.isfinite(value)
    ]
    factors = [
        {"layer": layer, "of": name, "decades": float(value)}
        for name, values in columns.items()
        for layer, value in zip(layers, -np.diff(values), strict=False)
        if np.isfinite(value)
    ]
    x = alt.X("layer:Q", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False))
    size = {"width": 270, "height": 200}
    points = alt.Chart().transform_filter("datum.of == 'measured'")
    dashes = alt.Chart().transform_filter("datum.of == 'theory'")
    y = alt.Y("decades:Q", title="log₁₀ ‖Δz[l]‖ / ‖Δz[L]‖")
    gradient = alt.layer(
        points.mark_line(color=POSITIVE, point=alt.OverlayMarkDef(size=14, color=POSITIVE)),
        dashes.mark_line(color=NEGATIVE, strokeDash=[5, 3], strokeWidth=2),
        data=alt.Data(values=lines),
        title=alt.Title("Gradient", subtitle="points: measured; dashed: theory"),
    ).encode(x, y)
    y = alt.Y("decades:Q", title="decades, log₁₀ of the factor", scale=alt.Scale(zero=True))
    each = alt.layer(
        points.mark_bar(color=POSITIVE, width=max(1, 200 / len(measured))),
        dashes.mark_line(color=NEGATIVE, strokeDash=[5, 3], strokeWidth=2),
        data=alt.Data(values=factors),
        title=alt.Title("Factor of each layer", subtitle="bars: measured; dashed: theory"),
    ).encode(x, y)
    pictures = "".join(f"<div>{svg(chart.properties(**size))}</div>" for chart in (gradient, each))
    return f'{STYLE}<div class="live charts">{pictures}</div>'


@app.function
def said(measured, theory):
    """Return the deep network's gradient in one sentence of Markdown."""
    decades, expected = float(measured[0]), float(theory[0])
    rate = decades / (len(measured) - 1)
    if np.isnan(decades):
        return "Going forward the signal leaves float32, so that there is no gradient to measure."
    if np.isinf(decades):
        return "The gradient of the first layer is exactly zero."
    word = "is steady" if abs(decades) < 1 else "vanishes" if decades < 0 else "explodes"
    gone = " Plain float32 could not write it." if not -37.9 < decades < 38.5 else ""
    return (
        f"Over {len(measured)} hidden layers of {WIDTH} units the gradient **{word}**: "
        f"<span data-name='decades'>{decades:+.2f}</span> decades, {rate:+.3f} a layer; theory of "
        f"infinite width says {expected:+.2f}.{gone}"
    )


@app.cell(hide_code=True)
def _():
    mo.md("""
    # The article's network, live

    Three inputs, four hidden units, one output. On every edge stands θ and below it Δθ, the change
    of the loss for a unit more of this weight; in every unit z, a = σ(z) and Δz, which is Δb too.
    Blue is positive, orange negative; a line is as thick as its weight is large.
    """)
    return


@app.cell(hide_code=True)
def _():
    inputs = [
        mo.ui.slider(-3, 3, 0.1, value, label=f"x{i}", show_value=True)
        for i, value in enumerate((0.5, -1.0, 2.0), 1)
    ]
    x1, x2, x3 = inputs
    label = mo.ui.radio({"0": 0, "1": 1}, value="1", label="y", inline=True)
    seed = mo.ui.slider(0, 50, 1, 0, label="draw of the weights", show_value=True)
    scale = mo.ui.slider(0, 6, 0.1, 1.5, label="their scale σ_w", show_value=True)
    chosen = mo.ui.dropdown([DRAWN, *WEIGHTS], value=DRAWN, label="one weight by hand")
    value = mo.ui.slider(-4, 4, 0.1, 1.0, label="its value", show_value=True)
    activation = mo.ui.dropdown(ACTIVATIONS, value="sigmoid", label="activation σ")
    mo.vstack(
        [
            mo.hstack([*inputs, label], wrap=True, justify="start", gap=1.5),
            mo.hstack([activation, seed, scale], wrap=True, justify="start", gap=1.5),
            mo.hstack([chosen, value], wrap=True, justify="start", gap=1.5),
        ]
    )
    return activation, chosen, label, scale, seed, value, x1, x2, x3


@app.cell(hide_code=True)
def _(activation, chosen, label, scale, seed, value, x1, x2, x3):
    params = parameters(seed.value, scale.value, chosen.value, value.value)
    example = activation.value, params, (x1.value, x2.value, x3.value), label.value
    mo.Html(drawn(*example))
    return (example,)


@app.cell(hide_code=True)
def _(example):
    mo.vstack(
        [
            mo.md(
                """
                ## A product of factors

                On its way back the error Δz[2] = ŷ − y is multiplied by a weight and by the slope
                of a unit. Each row is one hidden unit. A sigmoid's slope is at most ¼: make the
                weights larger, and it is smaller still, because the unit saturates.
                """
            ),
            mo.Html(bars(factors(*example))),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## One such factor a layer

    A deep network with the same activation, and Gaussian weights of variance σ_w² / fan-in. Its
    gradient is a product with one factor a layer; mean-field theory computes the factor without
    any network. Try a tanh at σ_w = 1, a relu at √2 = 1.41, and a little beside these.
    """)
    return


@app.cell(hide_code=True)
def _():
    sigma_w = mo.ui.slider(0.5, 4, 0.05, 1.0, label="σ_w", show_value=True)
    depth = mo.ui.slider(2, ROOM, 1, 40, label="hidden layers", show_value=True)
    mo.hstack([sigma_w, depth], wrap=True, justify="start", gap=1.5)
    return depth, sigma_w


@app.cell(hide_code=True)
def _(activation, depth, sigma_w):
    flow = depths(activation.value, sigma_w.value, depth.value)
    mo.vstack([mo.md(said(*flow)), mo.Html(charts(*flow))])
    return


if __name__ == "__main__":
    app.run()
