# %% [markdown]
# # Why does my MLP not train?
#
# A network of 24 hidden sigmoid layers, a common initialisation, a good
# optimiser, and the loss does not move. Is it the step size? The data? This
# tutorial asks the network itself.

# %%
import altair as alt
import jax
import jax.numpy as jnp
import optax

import jaxnn

xs = jax.random.normal(jax.random.key(1), (1024, 2))
# Are the signs equal? No line divides the two classes.
ys = (xs[:, 0] * xs[:, 1] > 0).astype(int)
net = jaxnn.Network(
    sizes=(2, *[32] * 24, 1), activation="sigmoid", task="binary"
)
params = jaxnn.init(
    net, jax.random.key(0), weights="glorot_uniform", stacked=True
)


def train(net, params):
    """Return the loss after each epoch, and the final accuracy."""
    run = jaxnn.fit(
        net,
        params,
        xs,
        ys,
        optax.adam(0.0005),
        epochs=40,
        batch=64,
        key=jax.random.key(2),
    )
    losses = run.losses.mean(axis=1)
    return losses, float(jaxnn.train.evaluate(net, run.params, xs, ys).metric)


before, accuracy = train(net, params)
print(f"loss {before[0]:.3f} → {before[-1]:.3f}, accuracy {accuracy:.2f}")
assert abs(before[-1] - jnp.log(2)) < 0.01  # it says ½ for every example
assert accuracy < 0.6

# %% [markdown]
# A loss of ln 2 = 0.693 is that of a coin toss. The usual advice is to try
# other step sizes for a day.
#
# ## Ask for the gradient of every layer
#
# `jaxnn.gradient_flow` measures it in one backward pass, and `jaxnn.verdict`
# reads the measurement.

# %%
flow = jaxnn.gradient_flow((net, params), xs[:256], ys[:256])
verdict = jaxnn.verdict(flow)
assert verdict.word == "vanishing"
assert -0.7 < verdict.decades < -0.5
assert verdict.network.critical_sigma_w > 10
verdict

# %% [markdown]
# A decade is a factor of ten. Two things are wrong at once. In the *backward*
# pass, each layer takes more than half a decade off the gradient, so the first
# layer learns $10^{14}$ times more slowly than the last. In the *forward* pass,
# the difference between two examples shrinks too, until all of them look alike:
# then there is nothing to learn at the top either.

# %%
first, last = float(flow.log_delta[0]), float(flow.log_delta[-2])
print(f"log₁₀ ‖Δz[1]‖ / ‖Δz[24]‖ = {(first - last) / jnp.log(10):.1f}")
assert (first - last) / jnp.log(10) < -12
jaxnn.chart(flow)

# %% [markdown]
# ## Change one thing
#
# The verdict ends with remedies, best first, each with the rate that theory
# predicts. There are two kinds. A *critical* initialisation chooses the size
# of the weights (of variance $\sigma_w^2$ / fan-in) so that the factor of a
# layer is one. For a sigmoid that is $\sigma_w = 10$, which makes its units
# little more than switches; for a tanh it is $\sigma_w = 1$. A *skip* lets
# signal and gradient pass each layer, whatever the layer does.

# %%
cured = {
    "tanh, orthogonal weights": (
        jaxnn.Network(net.sizes, "tanh", "binary"),
        jaxnn.initializers.orthogonal(1.0),
    ),
    "sigmoid, skip and norm": (
        jaxnn.Network(
            net.sizes,
            "sigmoid",
            "binary",
            hidden=jaxnn.blocks.Residual(jaxnn.blocks.LayerNorm()),
        ),
        "glorot_uniform",
    ),
}
flows, curves = {"sigmoid, as it was": flow}, {"sigmoid, as it was": before}
for name, (other, weights) in cured.items():
    params = jaxnn.init(other, jax.random.key(0), weights=weights, stacked=True)
    flows[name] = jaxnn.gradient_flow((other, params), xs[:256], ys[:256])
    curves[name], accuracy = train(other, params)
    rate = jaxnn.verdict(flows[name]).decades
    print(
        f"{name}: {rate:+.3f} decades a layer; "
        f"loss {curves[name][-1]:.3f}, accuracy {accuracy:.2f}"
    )
    assert abs(jaxnn.verdict(flows[name]).decades) < 0.1
    assert accuracy > 0.9

# %%
jaxnn.chart(*flows.values(), names=[*flows])

# %% [markdown]
# The gradient now has the same size in all layers, and the examples stay
# different. With the same data, optimiser and step size the networks now learn:

# %%
rows = [
    {"network": name, "epoch": epoch, "loss": float(loss)}
    for name, losses in curves.items()
    for epoch, loss in enumerate(losses, 1)
]
alt.Chart(alt.Data(values=rows), width=520, height=220).mark_line(
    strokeWidth=2
).encode(
    alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1)),
    alt.Y("loss:Q", title="loss on the training rows"),
    alt.Color(
        "network:N",
        scale=alt.Scale(
            domain=[*curves], range=["#3b82c4", "#d9662b", "#3a9d5d"]
        ),
        legend=alt.Legend(orient="top", title=None, direction="vertical"),
    ),
)

# %% [markdown]
# For a network that is not a `jaxnn.Network` the questions and the verdict are
# the same: [pre-norm against post-norm](pre_post_norm.md) asks them of Equinox
# modules, and [found and cured](../found-and-cured.md) of a ResNet, a GPT and
# an LSTM.
