"""A training of a transformer over words with Adam, with a watch or without."""

from experiments.bench import transformer
from experiments.bench.watched import training
from experiments.bench.workload import Workload


def workload(
    blocks: int, width: int, tokens: int, batch: int, words: int, steps: int, every: int
) -> Workload:
    """Return a training of so many steps.

    Args:
        blocks: of the transformer.
        width: channels.
        tokens: of each example.
        batch: examples.
        words: of the vocabulary.
        steps: of a repetition.
        every: steps from one measurement to the next; 0 without a watch.
    """
    of = transformer.draw_over_words(blocks, width, tokens, batch, words, stacked=True)
    return training(transformer.logits, transformer.loss, of, steps, every)
