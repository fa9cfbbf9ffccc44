"""The page to play with, in a browser, against the library and against NumPy's own formulas."""

import json
import re
from pathlib import Path

import browser
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.flow.formats.ranges import lost_in
from jaxnn.flow.measure.flow_of_net import flow_of_net

FOLDER = Path(__file__).parent.parent / "docs" / "play"
PAGE = FOLDER / "index.html"
LN10 = np.log(10)
SIX_DIGITS = 4e-7  # of a logarithm to the base of ten: 1e-6 of the number


# What it is made of


def test_it_needs_no_building_and_no_other_host():
    files = sorted(FOLDER.iterdir())
    assert sum(path.stat().st_size for path in files) < 300_000
    assert {path.suffix for path in files} == {".html", ".css", ".js"}
    html = PAGE.read_text(encoding="utf-8")
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', html)
    assert {*loaded} == {"../", "data:,", *(path.name for path in files if path != PAGE)}
    assert "module" not in html  # browsers load none from a disk
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 600, path.name
        assert not re.findall(r"(?:url\(|fetch\(|import[ (]|https?://(?!www\.w3\.org))", text)


def test_each_slider_has_its_label():
    """A label without `for` is that of its first output: the slider behind it would have none."""
    html = PAGE.read_text(encoding="utf-8")
    sliders = re.findall(r'<input type="range" id="([^"]+)"', html)
    assert len(sliders) == 9
    assert sorted(re.findall(r'<label for="([^"]+)">', html)) == sorted(sliders)


# The page, open


@pytest.fixture(scope="module")
def tab(chromium):
    """The page as it is opened from a disk."""
    return opened(chromium, viewport={"width": 1280, "height": 900})


def opened(chromium, **settings):
    tab = browser.Tab(chromium, PAGE, **settings).wait()
    tab.page.set_default_timeout(10_000)
    return tab


def ask(tab, expression, *arguments):
    """Return what a function of the page returns; -inf, inf and nan come through JSON as text."""
    text = tab.page.evaluate(
        f"(given) => JSON.stringify(({expression})(...given), (_, v) => "
        "ArrayBuffer.isView(v) ? [...v] : typeof v === 'number' && !Number.isFinite(v) "
        "? String(v) : v)",
        list(arguments),
    )
    return json.loads(text)


def numbers(values):
    return np.array([float(v) for v in values])


def test_it_works_from_a_disk(tab):
    """Every number of the small network against NumPy's, and nothing said or asked for."""
    assert tab.said == []
    assert {url.split("//")[1].split("/")[-1].split("?")[0] for url in tab.asked} <= {
        path.name for path in FOLDER.iterdir()
    } | {","}
    start = ask(tab, "() => START")
    found = ask(tab, "() => derive(START)")
    x, theta1 = np.array(start["x"]), np.array(start["theta1"])

    def loss(theta0):
        a = 1 / (1 + np.exp(-(x @ theta0 + start["b0"])))
        return np.logaddexp(0, -(a @ theta1 + start["b1"]))  # the label is 1

    theta0 = np.array(start["theta0"])
    assert found["loss"] == pytest.approx(loss(theta0), rel=1e-12)
    for i, j in np.ndindex(3, 4):
        nudge = np.zeros((3, 4))
        nudge[i, j] = 1e-5
        slope = (loss(theta0 + nudge) - loss(theta0 - nudge)) / 2e-5
        assert found["dtheta0"][i][j] == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("weights", ["glorot", "he", "critical", "orthogonal"])
def test_weights_are_as_large_as_their_scheme_says(tab, weights):
    """With a gain of 2; 12 to 9 units, four layers of them, each drawn anew."""
    drawn = "(weights, i) => [...drawWeights(weights, 'sigmoid', 2, 12, 9, streamOf(3, i)).theta]"
    thetas = np.array([ask(tab, drawn, weights, i) for i in range(4)]).reshape(4, 12, 9)
    sigma_w = ask(tab, "() => ACTIVATIONS.sigmoid.critical")
    if weights == "orthogonal":
        products = thetas.mT @ thetas
        assert products == pytest.approx(np.broadcast_to(4 * sigma_w**2 * np.eye(9), (4, 9, 9)))
    else:
        variance = {"glorot": 2 / (12 + 9), "he": 2 / 12, "critical": sigma_w**2 / 12}[weights]
        # 432 entries: the square has a relative deviation of at most √(2/432), three of it.
        assert np.mean(thetas**2) == pytest.approx(4 * variance, rel=0.2)
        assert abs(np.mean(thetas)) < 3 * 2 * np.sqrt(variance / 432)
    assert weights != "glorot" or np.abs(thetas).max() <= 2 * np.sqrt(6 / (12 + 9))
    assert len({theta.tobytes() for theta in thetas}) == 4


# Against the library


@pytest.mark.slow
def test_every_delta_of_the_small_network_is_the_library_s(tab):
    keys = [f"theta0.{i}.{j}" for i, j in np.ndindex(3, 4)]
    keys += [f"{kind}.{j}" for kind in ("b0", "z1", "a1", "theta1") for j in range(4)]
    keys += [f"x.{i}" for i in range(3)] + ["b1", "z2"]
    chains = """(state, keys) => {
        const numbers = derive(state);
        return keys.map((key) => {
            const { value, factors, terms } = chainOf(key, numbers, state);
            const product = (many) => many.reduce((all, factor) => all * factor.value, 1);
            const sum = terms?.reduce((all, term) => all + product(term.factors), 0);
            return [value, terms ? sum : product(factors)];
        });
    }"""
    rng = np.random.default_rng(0)
    activations = ask(tab, "() => Object.keys(ACTIVATIONS)")
    assert len(activations) == 5
    for draw in range(50):
        activation = activations[draw % 5]
        theta0, b0, x = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=3)
        theta1, b1, y = rng.normal(size=4), rng.normal(), draw % 2
        state = {"x": x, "y": y, "theta0": theta0, "b0": b0, "theta1": theta1, "b1": b1}
        state = {k: np.asarray(v).tolist() for k, v in state.items()} | {"activation": activation}
        net = jaxnn.Network((3, 4, 1), activation, "binary")
        params = ((theta0, b0), (theta1[:, None], np.array([b1])))
        d = jaxnn.deltas(net, params, x, y)
        expected = [d.theta[0], d.b[0], d.z[0], d.a[1], d.theta[1], d.a[0], d.b[1], d.z[1]]
        expected = np.concatenate([np.ravel(v) for v in expected])
        for found in np.array(ask(tab, chains, state, keys)).T:
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


PROGRAMS = (
    # activation, block, width: the library compiles a program for each
    ("sigmoid", "prenorm", 12),
    ("tanh", "plain", 64),
    ("relu", "scaled", 16),
    ("elu", "skip", 8),
    ("selu", "norm", 21),
)
DEEPEST = 200
SCALED = 150  # hidden layers of all networks with skips of 1/√L, which is a part of the program


def block_of(name):
    scaled = jaxnn.blocks.Residual(scale=1 / np.sqrt(SCALED))
    norm = jaxnn.blocks.LayerNorm()
    return {
        "plain": jaxnn.blocks.Dense(),
        "skip": jaxnn.blocks.Residual(),
        "scaled": scaled,
        "norm": norm,
        "prenorm": jaxnn.blocks.Residual(norm),
    }[name]


def settings_of(rng, activation, block, width):
    """Return random settings of the page."""
    depth = SCALED if block == "scaled" else int(rng.integers(2, DEEPEST + 1))
    return {
        "activation": activation,
        "block": block,
        "weights": str(rng.choice(["glorot", "he", "critical", "orthogonal"])),
        "gain": float(2 ** rng.uniform(-2, 2)),
        "depth": depth,
        "width": width,
        "seed": int(rng.integers(1, 1000)),
    }


MEASURED = """(settings, name) => {
    const { xs, ys } = drawPoints(name, 8, settings.seed);
    const network = drawNetwork(settings);
    const { way, changes, ...flow } = measure(network, xs, ys);
    const lost = FORMATS.map((format) => lostIn(format, flow.largest));
    const thetas = network.layers.map((layer) => layer.theta);
    return { xs, ys, lost, thetas, ...flow };
}"""


def flow_of_library(compiled, settings, found):
    """Return the library's flow of the network that the page has drawn, of its points."""
    depth, width = settings["depth"], settings["width"]
    net = jaxnn.Network(
        (2, *[width] * DEEPEST, 1), settings["activation"], "binary", block_of(settings["block"])
    )
    first, *inner, last = map(numbers, found["thetas"])
    run = np.zeros((DEEPEST - 1, width, width))
    run[: depth - 1] = np.reshape(inner, (depth - 1, width, width))
    params = (
        jaxnn.network.Layer(first.reshape(2, width), np.zeros(width)),
        jaxnn.network.Layer(run, np.zeros((DEEPEST - 1, width))),
        jaxnn.network.Layer(last.reshape(width, 1), np.zeros(1)),
    )
    xs, ys = numbers(found["xs"]).reshape(-1, 2), numbers(found["ys"])
    return compiled(net, params, xs, ys, depth=depth)


@pytest.mark.slow
def test_the_flow_of_fifty_random_settings_is_the_library_s(tab):
    rng = np.random.default_rng(35)
    compiled = jax.jit(flow_of_net)
    compared = 0
    while compared < 50:
        settings = settings_of(rng, *PROGRAMS[compared % len(PROGRAMS)])
        name = ("moons", "spirals")[compared % 2]
        found = ask(tab, MEASURED, settings, name)
        signal, gradient = numbers(found["signal"]), numbers(found["gradient"])
        # Rounding grows as a gradient does, relative to the signal; beyond six digits nothing is
        # determined, whoever computes it.
        amplified = gradient[:-2] - gradient[-2] + signal[:-2] - signal[-2]
        if np.max(amplified, initial=0) > 7:
            continue
        flow = flow_of_library(compiled, settings, found)
        layers = [*range(settings["depth"]), DEEPEST]
        for ours, theirs in (
            ("gradient", flow.log_delta),
            ("largest", flow.log_largest),
            ("signal", flow.log_mean_square / 2),
        ):
            expected = np.asarray(theirs)[layers] / LN10
            np.testing.assert_allclose(numbers(found[ours]), expected, rtol=0, atol=SIX_DIGITS,
                                       err_msg=f"{ours} of {settings}")  # fmt: skip
        largest = np.asarray(flow.log_largest)[layers]
        formats = ("float16", "bfloat16", "float32")
        lost = [lost_in(name, np.arange(len(layers)), largest) or 0 for name in formats]
        assert found["lost"] == lost
        # Of what differs between examples that is left which rounding does not make.
        expected = np.asarray(flow.log_spread)[layers] / LN10
        clear = expected > -8
        np.testing.assert_allclose(
            numbers(found["spread"])[clear], expected[clear], rtol=0, atol=SIX_DIGITS
        )
        saturated = np.asarray(flow.units.saturated)[layers[:-1]]
        np.testing.assert_allclose(numbers(found["saturated"]), saturated, atol=1e-12)
        compared += 1


@pytest.mark.slow
def test_the_line_of_theory_is_the_library_s(tab):
    given = ask(tab, "() => ACTIVATIONS")
    known = {"tanh": 1, "relu": np.sqrt(2), "elu": 1}
    for name, of_page in given.items():
        expected = known.get(name) or jaxnn.theory.meanfield.critical_sigma_w(name, 0.0)
        assert of_page["critical"] == pytest.approx(float(expected), rel=1e-9), name
        z = jnp.linspace(-8, 8, 4001)
        steepest = float(jnp.max(jnp.abs(jaxnn.network.find_activation(name).prime(z))))
        assert of_page["steepest"] == pytest.approx(steepest, rel=1e-6), name
    line = "(name, ...others) => predict(ACTIVATIONS[name], ...others)"
    depth, q0 = 60, 0.7
    for name, sigma_w, block in (
        ("sigmoid", 10.0, jaxnn.blocks.Dense()),
        ("selu", 0.8, jaxnn.blocks.Residual(jaxnn.blocks.LayerNorm(), 0.5)),
    ):
        is_skip = isinstance(block, jaxnn.blocks.Residual)
        skip, is_norm = (block.scale, True) if is_skip else (0, False)
        sigmas = [0.9, *[sigma_w] * depth]
        found = ask(tab, line, name, sigmas, skip, is_norm, q0, depth)
        ensemble = (name, jnp.array(sigmas[:-1]), 0.0, q0, depth)
        q = jaxnn.theory.meanfield.lengths(*ensemble, hidden=block)
        delta = jaxnn.theory.meanfield.log_delta(*ensemble, hidden=block)
        for ours, theirs in (("signal", np.log(q) / 2), ("gradient", delta)):
            expected = np.asarray(theirs) / LN10
            np.testing.assert_allclose(numbers(found[ours]), expected, rtol=0, atol=SIX_DIGITS)


# What people do with it


@pytest.mark.slow
def test_a_network_is_judged_cured_and_trained(chromium):
    tab = opened(chromium, viewport={"width": 1280, "height": 900})
    page = tab.page
    assert page.inner_text("#verdict .headline").startswith("The gradient vanishes: layer 1 gets ")
    assert "float16 from layer" in page.inner_text("#verdict-more")
    number = r"(\d+\.\d+)"
    why = rf"\({number}, at most ¼\) × its weights \({number}\) = {number}; measured: {number}"
    values = re.search(why, page.inner_text(".why")).groups()
    slope, weights, product, rate = map(float, values)
    assert slope * weights == pytest.approx(product, rel=0.01) == pytest.approx(rate, rel=0.03)
    page.wait_for_function("document.querySelectorAll('.cures .good').length > 0")
    sick = ask(tab, "() => deep.flow.gradient")
    page.click("#one-step")
    assert "After 1 step " in page.inner_text("#train-text")

    page.click(".cures button:has-text('Orthogonal weights')")
    page.wait_for_selector(".verdict.steady")
    cured = ask(tab, "() => deep.flow.gradient")
    assert numbers(sick)[0] + 10 < numbers(cured)[0]
    assert page.input_value("#weights") == "orthogonal"
    page.click(".cures button:has-text('Back')")
    page.wait_for_selector(".verdict.vanishing")

    page.select_option("#activation", "tanh")
    page.select_option("#weights", "critical")
    page.locator("#depth").fill("8")
    page.wait_for_function("deep.settings.depth === 8 && deep.network.layers.length === 9")
    page.click("#run")
    page.wait_for_function("deep.flow.accuracy > 0.95", timeout=60_000)
    page.click("#run")
    assert page.inner_text("#run") == "Go on"
    assert re.search("After [0-9]+ steps (9[5-9]|100) % of the", page.inner_text("#train-text"))
    assert tab.said == []


@pytest.mark.slow
def test_training_follows_the_gradient(tab):
    """One step of gradient descent changes the loss by -rate ‖Δ‖², to first order."""
    step = """(block, activation) => {
        const network = drawNetwork({ activation, block, weights: "critical", gain: 1, depth: 5,
                                      width: 8, seed: 4 });
        const data = drawPoints("spirals", 20, 2);
        const rate = 1e-6;
        const { loss, changes } = measure(network, data.xs, data.ys, true);
        const square = changes.reduce((sum, { theta, b }) =>
            sum + dot(theta, theta) + dot(b, b), 0);
        trainingStep(network, data, { name: "sgd", rate, steps: 0 });
        return [(measure(network, data.xs, data.ys).loss - loss) / rate, square];
    }"""
    for block in ask(tab, "() => Object.keys(BLOCKS)"):
        for activation in ("tanh", "elu"):
            slope, square = ask(tab, step, block, activation)
            assert slope == pytest.approx(-square, rel=1e-3), (block, activation)


# Screens and readers


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_can_be_read(chromium, scheme, width):
    settings = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    tab = opened(chromium, **settings)
    page = tab.page
    page.click("#guess button[data-sign='show']")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.wait_for_function("!document.querySelector('#cures').innerText.includes('…')")
    colours = page.evaluate(
        """() => [...document.querySelectorAll("body *")]
            .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
            .filter((e) => e.getClientRects().length && !e.closest("title, option"))
            .map((e) => {
                const style = getComputedStyle(e);
                let behind = e;
                const seen = (node) => getComputedStyle(node).backgroundColor;
                while (behind.parentElement && /, 0\\)$/.test(seen(behind)))
                    behind = behind.parentElement;
                const ink = e.closest("svg") ? style.fill : style.color;
                return [e.textContent.trim().slice(0, 30), ink, seen(behind)];
            })"""
    )
    assert len(colours) > 100
    for text, ink, paper in colours:
        assert browser.contrast(ink, paper) >= 4.5, (text, ink, paper)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input, select, button")]
            .filter((e) => !(e.closest("label")?.innerText.trim() || e.innerText?.trim()
                || e.getAttribute("aria-label"))).map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    pictures = page.locator("svg, canvas")
    assert all(label for label in pictures.evaluate_all(
        "all => all.map(e => e.getAttribute('role') === 'img' && e.getAttribute('aria-label'))"
    ))  # fmt: skip
    small = page.evaluate(
        """() => [...document.querySelectorAll("select, button, input")]
            .filter((e) => e.getClientRects().length && e.getBoundingClientRect().height < 18)
            .map((e) => e.outerHTML)"""
    )
    assert small == []
    assert tab.said == []
