"""Kernels of five architectures by neural-tangents, whose last release needs an older JAX.

    PYTHON tests/of_neural_tangents.py < inputs > kernels

Inputs are a dictionary of arrays as JSON, by architecture, and so are kernels. PYTHON has
neural-tangents 0.6.5 and JAX 0.4.30.
"""

import json
import sys


def architectures():
    """Return the architectures by name, of layers of neural-tangents."""
    from neural_tangents import stax

    def dense():
        return stax.Dense(1, W_std=1.4, b_std=0.3)

    def conv():
        return stax.Conv(1, (3, 3), padding="SAME", W_std=1.4, b_std=0.3)

    branch = stax.serial(stax.Relu(), dense())
    residual = stax.serial(stax.FanOut(2), stax.parallel(branch, stax.Identity()), stax.FanInSum())
    layers = {
        "relu": [dense(), stax.Relu(), dense(), stax.Relu(), dense()],
        "erf": [dense(), stax.Erf(), dense(), stax.Erf(), dense()],
        "residual": [dense(), residual, residual, stax.Relu(), dense()],
        "layer norm": [dense(), stax.LayerNorm(), stax.Erf(), dense(), stax.Relu(), dense()],
        "convolutions": [conv(), stax.Relu(), conv(), stax.Relu(), stax.GlobalAvgPool(), dense()],
    }
    return {name: stax.serial(*parts)[2] for name, parts in layers.items()}


def main():
    """Read inputs, and write the kernels."""
    import numpy as np

    found = {}
    given = json.load(sys.stdin)
    for name, kernel in architectures().items():
        of_both = kernel(np.array(given[name], np.float32), None, ("nngp", "ntk"))
        found[name] = {key: np.asarray(getattr(of_both, key)).tolist() for key in ("nngp", "ntk")}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
