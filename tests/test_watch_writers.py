"""Writers of a watch: what trackers of experiments have of its numbers."""

import json
import struct
import threading
from types import SimpleNamespace

import pytest
from peers import need

from jaxnn.train import to_mlflow, to_tensorboard, to_wandb

EVERY = 2
# As those of a watch are named.
NUMBERS = [
    {"watch/loss": 0.5, "gradient/1 blocks.0/log10_delta": -3.25, "parameters/w/log10_size": 1.0},
    {"watch/loss": 0.25, "gradient/1 blocks.0/log10_delta": -2.5, "parameters/w/log10_size": 1.5},
]


def written(write):
    """Write the numbers of steps 0 and 2 from another thread, as JAX does."""

    def of_steps():
        for i, numbers in enumerate(NUMBERS):
            write(EVERY * i, numbers)

    thread = threading.Thread(target=of_steps)
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (to_tensorboard, "writer: expected a SummaryWriter, with add_scalar"),
        (to_wandb, r"run: expected that of wandb.init\(\), got SimpleNamespace"),
        (to_mlflow, r"run: expected that of mlflow.start_run\(\), got SimpleNamespace"),
    ],
)
def test_what_is_no_tracker_is_said_in_one_sentence(make, sentence):
    with pytest.raises(TypeError, match=f"^{sentence}"):
        make(SimpleNamespace())


def test_a_writer_of_flax_has_another_name_for_it():
    there = []
    written(to_tensorboard(SimpleNamespace(scalar=lambda *of: there.append(of))))
    assert there[1] == ("gradient/1 blocks.0/log10_delta", -3.25, 0)


def steps_of(values):
    """(step, value) of each name, as written."""
    return {
        name: [(EVERY * i, numbers[name]) for i, numbers in enumerate(values)] for name in values[0]
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of other packages
def test_tensorboard_reads_what_is_written(tmp_path):
    need("tensorboard", "torch")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        written(to_tensorboard(writer))
    events = EventAccumulator(str(tmp_path)).Reload()
    there = {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }
    assert there == steps_of(NUMBERS)


def records_of(data):
    """The records in a file of Weights & Biases: pieces in blocks of 2^15, behind a head of 7."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if (left := -at % 2**15) and left < 7:  # too short for the head of a piece
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_reads_what_is_written(tmp_path, monkeypatch):
    need("wandb")
    import wandb
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", dir=tmp_path) as run:
        write = to_wandb(run)
        run.log({"own": 1.0}, step=7)  # the training's own steps are ahead
        written(write)
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    rows = []
    for data in records_of(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append(
                {of.key or "/".join(of.nested_key): json.loads(of.value_json) for of in items}
            )
    there = [row for row in rows if "watch/step" in row]
    assert [row["watch/step"] for row in there] == [0, 2]
    assert [{name: row[name] for name in NUMBERS[0]} for row in there] == NUMBERS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_what_is_written(tmp_path, monkeypatch):
    need("mlflow")
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    experiment = mlflow.set_experiment("watched").experiment_id
    with mlflow.start_run() as run:
        written(to_mlflow(run))
    client = mlflow.MlflowClient()
    there = {
        name: [(of.step, of.value) for of in client.get_metric_history(run.info.run_id, name)]
        for name in NUMBERS[0]
    }
    assert there == steps_of(NUMBERS)
    assert len(client.search_runs([experiment])) == 1  # none of the thread's own
