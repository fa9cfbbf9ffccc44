"""Networks of 100 layers on the digits, as PyTorch draws them, and initialised by three rivals.

    python -m pip install -e ".[experiments]"
    python -m experiments cures examples/a_hundred_layers.py:tanh
    python -m experiments cures examples/a_hundred_layers.py:tanh_anyinit

Each function returns a network for `jaxnn.diagnose`, with digits and a loss: 100 layers of 64 units
and a readout of 10. Of `tanh` the command trains what PyTorch draws by default,
and what cures it; of `tanh_orthogonal`, `tanh_lsuv` and `tanh_anyinit` what the rivals make of it.

Orthogonal: matrices times the gain that PyTorch recommends for the activation, that of relu for
gelu. LSUV (Mishkin & Matas 2016): orthogonal matrices, each divided by the deviation of its
outputs, from the first layer to the last. The third rival is the package anyinit, 0.4.0.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

DEPTH, WIDTH, PIXELS, CLASSES, BATCH = 100, 64, 64, 10, 128
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "sigmoid": jax.nn.sigmoid,
}


def first(p: Any, x: Any) -> Any:
    """Return z of the first layer."""
    return x @ p["w"] + p["b"][None]


def dense(sigma: Callable[..., Any], p: Any, z: Any) -> Any:
    """Return z of a layer, of that below."""
    return sigma(z) @ p["w"] + p["b"][None]


GAINS = {"tanh": 5 / 3, "relu": 2**0.5, "gelu": 2**0.5, "sigmoid": 1.0}
# One function for each activation, so that equal layers are known to be equal.
LAYERS = {name: partial(dense, sigma) for name, sigma in ACTIVATIONS.items()}
SIZES = [(PIXELS, WIDTH), *[(WIDTH, WIDTH)] * (DEPTH - 1), (WIDTH, CLASSES)]


def weights(seed: int) -> list[dict[str, np.ndarray]]:
    """Return weights and biases uniform in ±1/√fan_in, as PyTorch draws them by default."""
    rng = np.random.default_rng(seed)
    return [
        {
            "w": (rng.uniform(-1, 1, (n, m)) / n**0.5).astype(np.float32),
            "b": (rng.uniform(-1, 1, m) / n**0.5).astype(np.float32),
        }
        for n, m in SIZES
    ]


def examples(seed: int) -> np.ndarray:
    """Return a batch of normal inputs."""
    x = np.random.default_rng(seed).normal(size=(BATCH, PIXELS))
    return x.astype(np.float32)


def network(name: str, params: list[Any]) -> dict[str, Any]:
    """Return layers, the digits and their loss."""
    x, y = load_digits(return_X_y=True)
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)  # of some pixels all are 0
    return {
        "model": list(zip([first, *[LAYERS[name]] * DEPTH], params, strict=True)),
        "xs": x.astype(np.float32),
        "ys": y.astype(np.int32),
        "loss": optax.softmax_cross_entropy_with_integer_labels,
    }


def by_default(name: str, seed: int = 0) -> dict[str, Any]:
    """Return the network that PyTorch draws."""
    return network(name, weights(seed))


def orthogonal(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Return a random matrix with orthogonal columns, or rows, of length 1."""
    q = np.linalg.qr(rng.normal(size=(max(n, m), min(n, m))))[0]
    return q if n >= m else q.T


def by_orthogonal(name: str, seed: int = 0) -> dict[str, Any]:
    """Return the network of orthogonal matrices times a gain, without biases."""
    rng = np.random.default_rng(seed)
    made = [{"w": GAINS[name] * orthogonal(rng, n, m), "b": np.zeros(m)} for n, m in SIZES]
    return network(name, jax.tree.map(np.float32, made))


def by_lsuv(name: str, seed: int = 0) -> dict[str, Any]:
    """Return the network of LSUV."""
    rng, z, made = np.random.default_rng(seed), examples(seed), []
    for i, (n, m) in enumerate(SIZES):
        q = orthogonal(rng, n, m)
        out = (z if i == 0 else np.asarray(ACTIVATIONS[name](z))) @ q
        made.append({"w": q / out.std(), "b": np.zeros(m)})
        z = out / out.std()
    return network(name, jax.tree.map(np.float32, made))


def by_anyinit(name: str, seed: int = 0) -> dict[str, Any]:
    """Return the network of anyinit, which measures a module of PyTorch."""
    import anyinit
    import torch

    torch.manual_seed(seed)
    units = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
    units |= {"gelu": torch.nn.GELU, "sigmoid": torch.nn.Sigmoid}
    modules = [torch.nn.Linear(n, m) for n, m in SIZES]
    between = [module for one in modules[1:] for module in (units[name](), one)]
    module = torch.nn.Sequential(modules[0], *between)
    anyinit.initialize(module, "empirical", torch.tensor(examples(seed)))
    params = [
        {"w": one.weight.detach().numpy().T.copy(), "b": one.bias.detach().numpy().copy()}
        for one in modules
    ]
    return network(name, params)


for activation in ACTIVATIONS:
    globals()[activation] = partial(by_default, activation)
    globals()[f"{activation}_orthogonal"] = partial(by_orthogonal, activation)
    globals()[f"{activation}_lsuv"] = partial(by_lsuv, activation)
    globals()[f"{activation}_anyinit"] = partial(by_anyinit, activation)
