"""A training of a transformer over words with Adam, with a watch or without."""

from experiments.bench import transformer
from experiments.bench.watched import training
from experiments.bench.workload import Workload


def workload(
    blocks: int, width: int, tokens: int, batch: int, words: int, steps: int, every: int
) -> Workload:
    """Return a training of so many steps."""
    of = transformer.draw_over_words(blocks, width, tokens, batch, words, stacked=True)
    return training(transformer.logits, transformer.loss, of, steps, every)
