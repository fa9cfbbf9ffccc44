"""The singular values of a Network's Jacobian; `passes/spectrum.py` has the derivation."""

from ..models import Model, as_network
from ..passes.backprop import Batch
from ..passes.spectrum import Spectrum, spectrum_of_net


def spectrum(model: Model, xs: Batch) -> Spectrum:
    """Return the logarithms of the singular values of ∂z[L]/∂z[1] of each example.

    J = F[1] ⋯ F[L-1] with F[l] = diag(σ′(z[l])) θ[l] of shape (n[l], n[l+1]), of other kinds of
    blocks F[l] = ∂z[l+1]/∂z[l]; it is the identity if there is no hidden layer. It has
    n = min(n[1], n[L]) singular values. Those that vanish because of a narrow layer, dead units
    (σ′ = 0) or zero weights are exactly zero.

    Accuracy: ln s has the error of changing each weight by the float's rounding of the largest
    weight in its row of θ, no matter how small s is compared with the others; an SVD of the product
    would have that rounding times the ratio of the largest s to this one. The error grows with the
    condition of the factors: for 300 Gaussian layers of 5 units it is 1e-13 to 2e-12 in float64,
    3e-5 to 1e-2 in float32. A factor that is singular by cancellation, not by zeros, gives a small
    s instead of 0; a σ′ below the normal floats counts as 0; and ln s is itself rounded, -7000 in
    float32 to 2e-4. For 16-bit parameters the computation is in float32.

    Args:
        model: a pair (net, params) of a Network, with L pairs (θ, b), any of them runs.
        xs: B examples, (B, n[0]).

    Returns:
        Spectrum: natural logarithms (B, n), and each example's mean and variance of s², the
        spectrum of JJᵀ. The variance is relative to the square of the mean, as in Pennington,
        Schoenholz & Ganguli 2017 (arXiv:1711.04735): for m factors of a wide critical network 0
        (linear, orthogonal), m (linear, Gaussian; relu, orthogonal) or 2m (relu, Gaussian).

    Raises:
        ValueError: as `jaxnn.trace`; also, outside `jit`, if a z[l] has left the range of the
            float. Inside `jit` the results are then nan.
        TypeError: as `jaxnn.trace`; a model that is no Network.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, *[8] * 100, 8), activation="tanh", task="regression")
        >>> weights = jaxnn.initializers.orthogonal(0.1)
        >>> params = jaxnn.init(net, jax.random.key(0), weights, stacked=True)
        >>> s = jaxnn.flow.spectrum((net, params), jnp.zeros((2, 3)))
        >>> s.log_singular_values.shape
        (2, 8)
        >>> round(float(s.log_singular_values[0, 7] / jnp.log(10)), 3)  # 100 times a tenth, log10
        -100.0
    """
    return spectrum_of_net(*as_network(model, xs), xs)
