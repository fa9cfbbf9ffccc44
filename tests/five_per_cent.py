"""Factors of the theory: an error of five per cent in any of them must be seen by a quick test.

`old` is the factor as it stands in its file, where it occurs once; the mutant is 1.05 times it.
"""

from typing import NamedTuple


class Factor(NamedTuple):
    """A factor of a formula, where it stands, and the quick tests that see an error of it.

    name: the factor in words.
    path: the file.
    old: its text.
    tests: node ids for pytest.
    new: what is wrong by five per cent, if `old` is more than the factor alone.
    """

    name: str
    path: str
    old: str
    tests: str
    new: str = ""


THEORY, FIELD = "tests/test_theory.py::", "tests/test_meanfield.py::"
FORMULAS = f"{THEORY}test_each_block_has_its_formulas"
KERNELS = f"{FIELD}test_closed_forms[0.3-relu]"
OWN_C = f"{THEORY}test_a_batch_norm_at_its_own_correlation"
ROWS = f"{THEORY}test_moments_over_a_normalised_batch"
MANY = f"{THEORY}test_the_factor_far_from_the_ends[relu-1.3-0.4-block4-None-1.46694220692426]"
BAND = f"{THEORY}test_the_band_of_residual_blocks_layer_by_layer[relu]"
SMOOTH = f"{THEORY}test_the_band_of_residual_blocks_layer_by_layer[tanh]"
PLAIN_BAND = f"{FIELD}test_the_band_adds_up_what_each_layer_adds[relu]"
SLOPE = f"{FIELD}test_the_band_of_finite_width[relu-5.0]"
FOLLOW = f"{THEORY}test_layers_follow_one_another[residual]"
TAILORED = f"{THEORY}test_a_tailored_slope_takes_c_from_0_to_eta"
CHAOS = f"{FIELD}test_order_chaos_and_what_diverges"
SKIP_BATCH = f"{THEORY}test_a_batch_norm_in_a_skip_connection"

ENSEMBLE, MEANFIELD = "jaxnn/theory/ensemble.py", "jaxnn/theory/meanfield.py"
WIDTH, SPHERE = "jaxnn/theory/finite_width.py", "jaxnn/theory/sphere.py"
BLOCKS = "jaxnn/network/blocks/"
DENSE, RESIDUAL, NORM = (f"{BLOCKS}{name}.py" for name in ("dense", "residual", "norm"))
POST, BATCH = (f"{BLOCKS}{name}.py" for name in ("post_norm", "batch_norm"))

_GAUSSIAN = "expectation(self.activation, q, lambda f, z, g: f."
_INNER = "theory_of(self.inner)."

FACTORS = (
    Factor("E[σ²]", ENSEMBLE, f"{_GAUSSIAN}sigma(z) ** 2)", KERNELS),
    Factor("E[σ′²]", ENSEMBLE, f"{_GAUSSIAN}prime(z) ** 2)", KERNELS),
    Factor(
        "E[σ σ̃]", ENSEMBLE, "expectation_of_two(activation.sigma, activation.kinks, q, at,", KERNELS
    ),
    Factor(
        "E[σ′ σ̃′]",
        ENSEMBLE,
        "expectation_of_two(self.activation.prime, self.activation.kinks, q, c,",
        f"{FORMULAS}[dense]",
    ),
    Factor("σ_w² in q", DENSE, "ensemble.sigma_w**2 * ensemble.square(q)", KERNELS),
    Factor("σ_w² in q c", DENSE, "ensemble.sigma_w**2 * ensemble.product(q, c)", KERNELS),
    Factor("σ_w² in χ", DENSE, "ensemble.sigma_w**2 * ensemble.slope_square(q)", KERNELS),
    Factor(
        "σ_w² of a tangent",
        DENSE,
        "ensemble.sigma_w**2 * ensemble.slope_product(q, c)",
        f"{FORMULAS}[dense]",
    ),
    *(
        Factor(
            f"a branch's c² in its {of}", RESIDUAL, f"{_INNER}{of}{args}", f"{FORMULAS}[residual]"
        )
        for of, args in (
            ("length", "(ensemble, q)"),
            *((of, "(ensemble, q, c)") for of in ("covariance", "factor", "tangent")),
        )
    ),
    Factor(
        "what a skip connection keeps twice",
        RESIDUAL,
        "2 * self.scale * theory_of",
        FORMULAS,
    ),
    Factor(
        "what an inner skip connection adds",
        RESIDUAL,
        "return 1 + self.scale",
        FORMULAS,
        "return 1 + 1.05 * self.scale",
    ),
    *(
        Factor(
            f"a norm's {of}", NORM, f"{_INNER}{of}(ensemble, self._q_hat(q){c})", f"{FORMULAS}[rms]"
        )
        for of, c in (("length", ""), ("covariance", ", c"), ("factor", ", c"), ("tangent", ", c"))
    ),
    Factor(
        "what a norm keeps of a skip connection",
        NORM,
        f"{_INNER}skip_gain(",
        FORMULAS,
    ),
    Factor("ε of a norm over q", NORM, "self.eps / q)", f"{FORMULAS}[rms]"),
    *(
        Factor(f"a post norm's {of}", POST, f"inner.{of}(ensemble, q, c)", f"{FORMULAS}[post]")
        for of in ("covariance", "factor", "tangent")
    ),
    Factor(
        "what a post norm keeps of a skip connection",
        POST,
        "inner.skip_gain(ensemble, q)",
        FORMULAS,
    ),
    Factor(
        "a batch norm's E[σ²]", BATCH, "ensemble.sigma_w**2 * self._moments(ensemble).square", OWN_C
    ),
    Factor(
        "a batch norm's E[σ σ̃]",
        BATCH,
        "ensemble.sigma_w**2 * self._moments(ensemble).product",
        OWN_C,
    ),
    Factor("a batch norm's κ", BATCH, "ensemble.sigma_w**2 * self._moments(ensemble).kappa", OWN_C),
    Factor("κ over B - 3", SPHERE, "kappa / (batch - 3)", ROWS),
    Factor("E[σ²] over rows", SPHERE, "jnp.square(f),", ROWS),
    Factor("E[σ σ̃] over rows", SPHERE, "f * jnp.sum(w2 * other, axis=1)", ROWS),
    Factor("E[σ′ σ̃′] in κ", SPHERE, "slope * jnp.sum(w2 * slopes, axis=1)", ROWS),
    Factor("E[z z̃ σ′ σ̃′] in κ", SPHERE, "z1 * slope * jnp.sum(", ROWS),
    Factor("E[(B-1-z²) σ′²] in κ", SPHERE, "(batch - 1 - jnp.square(z1))", ROWS),
    Factor("E[σ²] over many rows", SPHERE, "Moments(square,", MANY, "Moments(1.05 * square,"),
    Factor("E[σ]² over many rows", SPHERE, "mean**2, kappa)", MANY),
    Factor("E[σ′²] over many rows", SPHERE, "mean**2, kappa)", MANY, "mean**2, 1.05 * kappa)"),
    Factor("q of the inputs", MEANFIELD, "first_w**2 * q0 + shared", FOLLOW),
    Factor("c of the inputs", MEANFIELD, "first_w**2 * q0 * c0", SKIP_BATCH),
    Factor("½ ln χ", MEANFIELD, "0.5 * jnp.log(layers.each(factor, q, c))", FOLLOW),
    Factor("ξ", MEANFIELD, "-1 / jnp.log(jnp.abs(slope))", CHAOS),
    Factor("dq′/dq in ξ_q", MEANFIELD, "sigma_w**2 * slope)", CHAOS),
    Factor("c/4n of a plain layer", MEANFIELD, "layers.each(spread, q) / (4 * n)", PLAIN_BAND),
    Factor("3 μ₂/μ₁² in c", MEANFIELD, "3 * mu2 / mu1**2", PLAIN_BAND),
    Factor("the bias of a slope", MEANFIELD, "-c / (4 * width)", SLOPE),
    Factor("the deviation of a slope", MEANFIELD, "0.5 * jnp.sqrt(1.2 * c", SLOPE),
    Factor(
        "the lag of residual blocks",
        MEANFIELD,
        "lag / (4 * n)",
        BAND,
        "1.05 * lag / (4 * n)",
    ),
    Factor("the variance of residual blocks", MEANFIELD, "variance / (4 * n)", BAND),
    Factor("c² σ_w² of residual blocks", MEANFIELD, "jnp.square(scales * layers.sigma_w)", BAND),
    Factor(
        "the critical σ_w",
        MEANFIELD,
        "1 / jnp.sqrt(chi(activation",
        f"{FIELD}test_critical_erf_against_its_closed_form",
    ),
    Factor("the curvature of a tailored map", MEANFIELD, "k / math.pi", TAILORED),
    Factor("a tailored slope", MEANFIELD, "(1 - high) / (1 +", TAILORED),
    Factor(
        "the gain of a tailored unit",
        "jaxnn/theory/tailored.py",
        "math.sqrt(2 / (1 + slope**2))",
        TAILORED,
    ),
    Factor("4 s ρ of a residual block", WIDTH, "4 * s * share", BAND),
    Factor("2 s² μ₂ of a residual block", WIDTH, "2 * s**2 * mu2", BAND),
    Factor("the variance of the mean slope", WIDTH, "t**2 * (mu2 - mu1**2)", BAND),
    Factor("what two layers add together", WIDTH, "2 * t * shared", BAND),
    Factor("the part of a branch", WIDTH, "t = s / (1 + w)", BAND, "t = 1.05 * s / (1 + w)"),
    Factor("what a gradient grew by above", WIDTH, "jnp.log1p(w))[1:]", BAND),
    Factor(
        "the branch a gradient enters",
        WIDTH,
        "place < last, s, 1 / mu1",
        BAND,
        "place < last, 1.05 * s, 1 / mu1",
    ),
    Factor("the output layer a gradient enters", WIDTH, "1 / mu1)", BAND),
    Factor("the arcsine of two slopes", WIDTH, "jnp.square(high - low)", BAND),
    Factor("two slopes by quadrature", WIDTH, "jnp.sum(of_g *", SMOOTH, "1.05 * jnp.sum(of_g *"),
)
