"""A network of scikit-learn on the same rows: layers, activation, step size, batches and epochs."""

import warnings

import numpy as np

from experiments.train.loop import Recipe

# scikit-learn's names by ours.
ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic", "identity": "identity"}


def rival(recipe: Recipe, rate: float, metric: str) -> str:
    """Train `MLPClassifier` or `MLPRegressor` by adam; return its metric in a sentence."""
    from sklearn import neural_network

    net, (x, y) = recipe.net, recipe.sets["training"]
    is_number = net.task.name == "regression"
    name = "MLPRegressor" if is_number else "MLPClassifier"
    theirs = getattr(neural_network, name)(
        net.sizes[1:-1],
        ACTIVATIONS[net.activation_name],
        alpha=0,
        batch_size=recipe.batch,
        learning_rate_init=rate,
        max_iter=recipe.epochs,
        n_iter_no_change=recipe.epochs + 1,
        random_state=0,
    )
    held_out, (xs, ys) = list(recipe.sets.items())[-1]
    with warnings.catch_warnings():  # that all epochs were used is meant, and nan is told
        warnings.simplefilter("ignore")
        try:
            value = theirs.fit(x, y).score(xs, ys)
        except ValueError:  # its numbers have left their range
            value = np.nan
    return f"{held_out}: {metric} {value:.4g} of scikit-learn's {name}, with all epochs of adam"
