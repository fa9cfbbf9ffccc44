"""Training on the digits with scikit-learn's MLPClassifier."""

import warnings
from pathlib import Path

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from experiments.bench import inputs
from experiments.bench.worker import Workload


def training(hidden: list[int], batch: int, epochs: int) -> Workload:
    """Return fits in float32, without decay of weights and early stopping."""
    x, y = inputs.standardised("digits")
    warnings.simplefilter("ignore", ConvergenceWarning)  # that all epochs were used is meant

    def classifier(epochs: int, **more: object) -> MLPClassifier:
        return MLPClassifier(
            hidden,
            batch_size=batch,
            alpha=0,
            learning_rate_init=inputs.RATE,
            epsilon=inputs.EPSILON,
            max_iter=epochs,
            n_iter_no_change=epochs + 1,
            random_state=0,
            **more,
        )

    def run() -> object:
        return classifier(epochs).fit(x, y)

    def numbers(folder: Path) -> list[float]:
        params, given = inputs.read(folder)
        # A step too small to change anything makes the arrays that the given weights go into.
        model = classifier(1, shuffle=False, warm_start=True).set_params(learning_rate_init=1e-30)
        model.fit(given["x"], given["y"])
        model.coefs_, model.intercepts_ = ([v[i].copy() for v in params] for i in (0, 1))
        model.set_params(learning_rate_init=inputs.RATE).fit(given["x"], given["y"])
        return [float(model.loss_curve_[-1]), *inputs.in_short(model.coefs_)]

    return Workload(run, numbers)
