# %% [markdown]
# # A gradient of 10 to the power of −6279
#
# The smallest normal number of float32 is about $10^{-38}$, of float64 about
# $10^{-308}$. In a sigmoid network of 10,000 layers the gradient of the first
# layer is some six thousand decades (factors of ten) below one. This tutorial
# measures it, in float32, and compares it with theory.

# %%
import altair as alt
import jax
import jax.numpy as jnp
import numpy as np

import jaxnn

WIDTH, LN10 = 256, float(np.log(10))
xs = jax.random.normal(jax.random.key(1), (8, 10))

# %% [markdown]
# ## Where plain floats end
#
# First a network of 100 layers, the ordinary way. A gradient of ordinary size
# enters at the top; what arrives at each layer?

# %%
shallow = jaxnn.Network(
    sizes=(10, *[WIDTH] * 100, 1), activation="sigmoid", task="regression"
)
params = jaxnn.init(shallow, jax.random.key(0), stacked=True)
first, others, last = jaxnn.deltas(
    shallow, params, xs[0], jnp.zeros(1)
).z  # 1, 99 and 1 layers
# ‖Δz[1]‖ … ‖Δz[100]‖
plain = np.linalg.norm(np.float64([first, *others]), axis=1)
zeros = np.count_nonzero(plain == 0)
print(
    f"{zeros} of {len(plain)} layers have a gradient of exactly zero in float32"
)
assert 20 < zeros < 60

# %% [markdown]
# These layers are not dead: their gradient is a number, but float32 cannot
# represent it. Training such a layer does *nothing*, and no message says so.
#
# ## One exponent for each example
#
# The backward pass is linear: double the gradient at the top, and every
# gradient below doubles too. So it may be multiplied by any power of two at
# any layer, as long as the powers are counted. That is all that
# `jaxnn.gradient_flow` does: after each layer it brings the row of an example
# back to a size near one, and an integer counts the powers of two that were
# taken out. Multiplying by powers of two is exact, so within the range of the
# float the result is that of plain backpropagation to the last bit.

# %%
flow = jaxnn.gradient_flow((shallow, params), xs[:1], jnp.zeros((1, 1)))
measured = np.float64(flow.log_delta[:-1]) / LN10
for layer in (100, 80, 60, 40, 20, 1):
    print(
        f"layer {layer:3}: plain {plain[layer - 1]:8.2e}, "
        f"log₁₀ measured {measured[layer - 1]:.3f}"
    )
inside = plain > 1e-35
np.testing.assert_allclose(measured[inside], np.log10(plain[inside]), atol=1e-3)
assert inside.sum() > 40
assert measured[0] < -60

# %% [markdown]
# ## Ten thousand layers
#
# Equal layers are stacked into a *run*, which the device loops over, so that a
# program for 10,000 layers compiles as fast as one for ten. Their weights
# would take 2.6 GB: `lazy=True` keeps the key and draws each matrix again
# where it is used, and `memory="sqrt"` keeps the state of every hundredth
# layer and computes those between a second time.

# %%
deep = jaxnn.Network(
    sizes=(10, *[WIDTH] * 10_000, 1), activation="sigmoid", task="regression"
)
params = jaxnn.init(deep, jax.random.key(0), lazy=True)
cotangent = jnp.ones((8, 1)) / 8
flow = jaxnn.gradient_flow(
    (deep, params), xs, cotangent=cotangent, memory="sqrt"
)
decades = flow.log_delta / LN10
lost = int(jnp.sum(flow.lost))
print(f"log₁₀ ‖Δz[1]‖ / ‖Δz[10000]‖ = {float(decades[0] - decades[-2]):.0f}")
print(f"plain float32 has no number in {lost} of {len(decades)} layers")
assert abs(float(decades[0] - decades[-2]) + 6279) < 5
assert lost > 9900

# %% [markdown]
# ## What theory says
#
# Let the weights have variance $\sigma_w^2/n$, with $n$ inputs to each unit.
# In the limit of infinite width every layer multiplies $\mathrm{E}\|\Delta
# z\|^2$ by $\chi = \sigma_w^2\, \mathrm{E}[\sigma'(z)^2]$, with $z$ Gaussian
# (Schoenholz et al. 2017). A network of finite width loses a little more,
# because a product of random numbers is typically smaller than its mean;
# `log_delta_band` computes this bias.

# %%
ensemble = ("sigmoid", 1.0, 0.0, 1.0)  # σ, σ_w, σ_b, mean square of the input
predicted = jaxnn.theory.meanfield.log_delta(*ensemble, 10_000) / LN10
theory = predicted[0]
bias = (
    jaxnn.theory.meanfield.log_delta_band(*ensemble, WIDTH, 10_000).bias[0]
    / LN10
)
measured = float(decades[0] - decades[-2])
print(
    f"theory of infinite width {theory:.0f}, "
    f"for {WIDTH} units {bias:+.1f}: {theory + bias:.0f}"
)
print(f"measured {measured:.0f}")
assert abs(measured - float(theory + bias)) < 5

# %%
rows = jnp.arange(0, 10_000, 100)
points = [
    {"layer": int(i) + 1, "decades": float(decades[i] - decades[-2])}
    for i in rows
]
line = [{"layer": int(i) + 1, "decades": float(predicted[i])} for i in rows]
axes = alt.X("layer:Q"), alt.Y("decades:Q", title="log₁₀ ‖Δz[l]‖ / ‖Δz[10000]‖")
alt.layer(
    alt.Chart(alt.Data(values=points))
    .mark_point(size=14, color="#3b82c4")
    .encode(*axes),
    alt.Chart(alt.Data(values=line))
    .mark_line(strokeDash=[5, 3], color="#d9662b")
    .encode(*axes),
    alt.Chart(alt.Data(values=[{"decades": -38}]))
    .mark_rule(strokeDash=[2, 3], strokeWidth=2, color="#d0343f")
    .encode(axes[1]),
    width=520,
    height=240,
    title="Points: measured. Dashed: theory. Dotted: where float32 ends.",
)

# %% [markdown]
# One straight line over six thousand decades: a product with one factor for
# each layer, all factors equal. The dotted line at the top is where float32
# ends. Plain backpropagation would show you only the little that lies above
# it.
