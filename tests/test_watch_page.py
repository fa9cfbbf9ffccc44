"""The live page of a watched training: its numbers, its server, and itself in a browser."""

import http.client
import io
import json
import socket
import sys
import threading
from contextlib import closing

import browser
import numpy as np
import pytest

from experiments import watch
from experiments.__main__ import main
from experiments.watch import server
from experiments.watch.page import ARRAYS, DIFFERENCE, LAYERS, page
from jaxnn.watching import read_watch
from jaxnn.watching.journal import FILE

START = {
    "kind": "start", "schema": 1, "time": 0, "every": 10, "dtype": "float32",
    "layers": [{"layer": i, "name": name, "size": 4} for i, name in ((1, "a<b>"), (2, "head"))],
    "parameters": [{"layer": 1, "path": "['w']", "shape": [4, 4]}],
    "heads": [], "experts": [],
}  # fmt: skip


def measured(step, delta, loss=1.0):
    return {
        "kind": "measurement", "step": step, "time": 0, "loss": loss, "word": "steady",
        "decades": 0.1, "total": 0.2, "after": True,
        "layers": {"log10_delta": [delta, "-Infinity"], "log10_mean_square": [0.5, None]},
        "parameters": {"log10_delta": [-1.0], "log10_size": [1.0], "log10_update": [-2.0]},
        "heads": {}, "experts": {},
    }  # fmt: skip


def alarm(step, text):
    return {"kind": "alarm", "step": step, "time": 0, "rule": "update", "layer": 1,
            "path": "['w']", "text": text}  # fmt: skip


def record(folder, *lines):
    folder.mkdir(exist_ok=True)
    with (folder / FILE).open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return folder


def page_of(*folders):
    return page(folders, [read_watch(folder) for folder in folders])


def cells(made, name, **wanted):
    frame = made.data[name]
    for column, value in wanted.items():
        frame = frame.filter(frame[column] == value)
    return frame


def test_a_map_has_each_number_at_its_layer_and_step(tmp_path):
    made = page_of(record(tmp_path / "one", START, measured(0, -3.0), measured(10, -4.0)))
    gradient = cells(made, "layers", quantity=LAYERS["log10_delta"].name)
    assert gradient.select("place", "name", "left", "right", "size", "size_is").rows() == [
        (1, "a<b>", 0.0, 10.0, -3.0, "number"),
        (2, "head", 0.0, 10.0, -float("inf"), "zero"),
        (1, "a<b>", 10.0, 20.0, -4.0, "number"),
        (2, "head", 10.0, 20.0, -float("inf"), "zero"),
    ]
    ratio = cells(made, "arrays", quantity="update / size: log₁₀")
    assert ratio.select("name", "size").rows() == 2 * [("['w']", -3.0)]
    assert made.answer[:2] == ("No alarm.", "well")
    assert [choice.name for choice in made.choices] == ["layers", "arrays"]


def test_a_layer_without_a_number_is_left_out_of_a_map(tmp_path):
    made = page_of(record(tmp_path / "one", START, measured(0, -3.0), measured(10, -4.0)))
    signal = cells(made, "layers", quantity=LAYERS["log10_mean_square"].name)
    assert signal.select("place", "step", "size").rows() == [(1, 0, 0.5), (1, 10, 0.5)]
    broken = measured(0, None)
    broken["parameters"] = {name: [None] for name in broken["parameters"]}
    made = page_of(record(tmp_path / "two", START, broken))  # no number from the first step on
    assert set(cells(made, "arrays")["size_is"]) == {"nan"}


def test_without_the_numbers_after_a_step_there_is_no_map_of_updates(tmp_path):
    first, second = ({**measured(step, -3.0), "after": False} for step in (0, 10))
    for line, size in ((first, "-Infinity"), (second, 1.0)):
        line["parameters"] = {
            "log10_delta": [-1.0], "log10_size": [size], "log10_update": [None],
        }  # fmt: skip
    made = page_of(record(tmp_path / "one", START, first, second))
    (arrays,) = (choice for choice in made.choices if choice.name == "arrays")
    assert arrays.options == (ARRAYS["log10_delta"].name, ARRAYS["log10_size"].name)
    assert set(cells(made, "arrays", quantity=arrays.options[0])["size_is"]) == {"number"}


def test_two_trainings_have_a_map_of_their_difference(tmp_path):
    one = record(tmp_path / "one", START, measured(0, -3.0), measured(10, -4.0))
    two = record(tmp_path / "two", START, measured(10, -1.5), measured(20, -2.0))
    made = page_of(one, two)
    gradient = cells(made, "layers", quantity=LAYERS["log10_delta"].name, run=DIFFERENCE, place=1)
    assert gradient.select("step", "size").rows() == [(10, 2.5)]
    assert made.choices[0].options == ("one", "two", DIFFERENCE)
    axis = made.panels[0].chart.to_dict()["layer"][0]["encoding"]["y"]["axis"]
    assert all(f'"{name}": [' in axis["labelExpr"] for name in ("one", "two"))  # its own layers
    assert made.data["steps"]["training"].to_list() == ["one", "one", "two", "two"]


def test_the_last_alarm_is_the_answer_and_the_first_of_all(tmp_path):
    lines = (START, measured(0, -3.0), alarm(0, "Step 0: early."), measured(10, -4.0))
    made = page_of(record(tmp_path / "one", *lines, alarm(10, "Step 10: late.")))
    assert made.answer == (
        "Step 10: late.", "ill", "The gradient is steady at step 10; 2 alarms so far.",
    )  # fmt: skip
    assert made.verdicts == ("Step 10: late.", "Step 0: early.")


def test_of_many_measurements_some_are_drawn_with_the_last_one(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.watch.page.MOST_CELLS", 4)
    lines = (measured(step, -3.0) for step in range(9))
    made = page_of(record(tmp_path / "one", START, *lines))
    assert cells(made, "layers")["step"].unique().sort().to_list() == [0, 8]


def test_measurements_that_are_drawn_stay_while_others_come(tmp_path, monkeypatch):
    """So that a page needs new ones alone: 4 of 8, then every fourth of 9."""
    monkeypatch.setattr("experiments.watch.page.MOST_CELLS", 8)
    one = record(tmp_path / "one", START)
    drawn = []
    for step in range(9):
        record(one, measured(step, -3.0))
        drawn.append(cells(page_of(one), "layers")["step"].unique().sort().to_list())
    assert drawn[4:] == [[0, 2, 4], [0, 2, 4, 5], [0, 2, 4, 6], [0, 2, 4, 6, 7], [0, 4, 8]]


def test_an_array_that_starts_at_zero_is_grey_and_colours_end_where_alarms_begin(tmp_path):
    first = measured(0, -3.0)
    first["parameters"] |= {"log10_size": ["-Infinity"]}
    made = page_of(record(tmp_path / "one", START, first, measured(10, -4.0)))
    ratio = cells(made, "arrays", quantity=ARRAYS["log10_ratio"].name)
    assert ratio["size_is"].to_list() == ["zero", "number"]
    (panel,) = (panel for panel in made.folded if panel.title == "Parameter arrays")
    (scale,) = (
        layer["encoding"]["color"]["scale"]
        for layer in panel.chart.to_dict()["layer"]
        if "scale" in layer["encoding"]["color"]
    )
    assert f'"{ARRAYS["log10_ratio"].name}" ? -4.69897' in scale["domainMin"]["expr"]
    assert f'"{ARRAYS["log10_ratio"].name}" ? -1' in scale["domainMax"]["expr"]
    assert (
        "a<b>" in made.panels[0].chart.to_dict()["layer"][0]["encoding"]["y"]["axis"]["labelExpr"]
    )


def test_what_lies_below_and_above_the_layers_is_in_their_map(tmp_path):
    layers = [{"layer": i, "name": f"blocks.{i - 1}", "size": 4} for i in (1, 2)]
    paths = {"embed.weight": 1, "blocks.0.w": 1, "blocks.1.w": 2, "head.weight": 3, "head.bias": 3}
    arrays = [{"layer": i, "path": path, "shape": [4, 4]} for path, i in paths.items()]
    heads = [{"layer": i, "attention": 1, "head": head} for i in (1, 2) for head in (1, 2)]
    line = measured(0, -3.0) | {"log10_delta_input": -5.0, "rate": 0.1}
    line["parameters"] = {name: [-1.0, -1.0, -1.0, 0.0, "-Infinity"] for name in line["parameters"]}
    line["layers"]["log10_theta"] = [-1.0, -2.0]
    line["heads"] = {name: [1.0] * 4 for name in ("largest_logit", "entropy", "most_entropy")}
    start = START | {"layers": layers, "parameters": arrays, "heads": heads}
    made = page_of(record(tmp_path / "one", start, line))
    theta = cells(made, "layers", quantity=LAYERS["log10_theta"].name)
    assert theta.select("name", "size").rows() == [
        ("embed", -1.0), ("blocks.0", -1.0), ("blocks.1", -2.0), ("head", 0.0),
    ]  # fmt: skip
    delta = cells(made, "layers", quantity=LAYERS["log10_delta"].name)
    assert delta.select("name", "size").rows()[0] == ("inputs", -5.0)
    assert cells(made, "heads")["name"].unique(maintain_order=True).to_list() == [
        f"blocks.{block}, head {head}" for block in (0, 1) for head in (1, 2)
    ]
    assert [panel.title for panel in made.panels][1:] == [
        "Loss", "Gradient of all parameters", "Learning rate",
    ]  # fmt: skip
    assert made.data["gradients"]["value"][0] == pytest.approx(np.log10(1 + 3 * 0.01) / 2)


def test_the_page_opens_on_the_training_with_the_worst_alarms(tmp_path):
    well = record(tmp_path / "well", START, measured(0, -3.0))
    ill = record(tmp_path / "ill", START, measured(0, -3.0), alarm(0, "Step 0: one."))
    worst = {**alarm(0, "Step 0: last."), "rule": "nonfinite"}
    ended = record(tmp_path / "ended", START, measured(0, -3.0, loss=-1.0), worst)
    made = page_of(well, ill)
    assert (made.choices[0].value, made.answer.text) == ("ill", "ill: Step 0: one.")
    many = record(ill, alarm(1, "Step 1: two."), alarm(2, "Step 2: three."))
    assert page_of(many, ended, well).choices[0].value == "ended"
    logarithmic = [
        "log" in str(page_of(folder).panels[1].chart.to_dict()["layer"][1]["encoding"]["y"])
        for folder in (well, ended)
    ]
    assert logarithmic == [True, False]


def test_runs_under_one_folder_are_compared(tmp_path):
    runs = [record(tmp_path / name, START, measured(0, -3.0)) for name in ("one", "three", "two")]
    request = watch.prepare(watch.Settings(folders=(tmp_path,)))
    assert request.folders == tuple(runs)
    assert page_of(*request.folders).choices[0].options == ("one", "three", "two")


def test_nothing_is_measured_yet(tmp_path):
    one = record(tmp_path / "one", START)
    assert page_of(one).answer.text == "Nothing is measured yet."
    record(one, alarm(0, "Step 0: the inputs are nan or infinite."))
    assert page_of(one).answer == (
        "Step 0: the inputs are nan or infinite.", "ill", "Nothing is measured yet.",
    )  # fmt: skip


def test_of_two_trainings_one_has_measured_nothing_yet(tmp_path):
    one, two = record(tmp_path / "one", START, measured(0, -3.0)), record(tmp_path / "two", START)
    for folders in ((one, two), (two, one)):
        made = page_of(*folders)
        gradient = cells(made, "layers", quantity=LAYERS["log10_delta"].name)
        assert gradient.select("run", "step", "place").rows() == [("one", 0, 1), ("one", 0, 2)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "folders: expected that of a watched training, or several, got none"),
        (["{tmp}/none"], "has no watch.jsonl"),
        (["{tmp}/one", "{tmp}/one"], "folders: expected each once, got"),
        (["{tmp}/one", "--port", "70000"], "port: expected a number from 0 to 65535, got 70000"),
        (["{tmp}/one", "--out", "{tmp}/one/watch.jsonl"], "add --overwrite"),
        (["{tmp}/one", "--out", "{tmp}/no/page.html"], "No such file"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, capsys, monkeypatch, arguments, sentence):
    monkeypatch.setattr("experiments.pages.web.library", lambda: "")
    record(tmp_path / "one", START, measured(0, -3.0))
    code = main(["watch", *(argument.format(tmp=tmp_path) for argument in arguments)])
    said = capsys.readouterr().err
    assert code in (1, 2)
    assert said.startswith("error: ")
    assert sentence in said
    assert said.count("\n") == 1


def test_a_page_is_written_that_asks_nobody(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.pages.web.library", lambda: "")
    record(tmp_path / "one", START, measured(0, -3.0))
    assert main(["watch", str(tmp_path / "one"), "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "connect-src" not in text
    assert "<b>" not in text  # of the layer's name
    assert "No alarm." in text


@pytest.fixture
def serving(tmp_path):
    folder = record(tmp_path / "one", START, measured(0, -3.0))
    with server.Server((folder,), 0) as served:
        threading.Thread(target=served.serve_forever, args=(0.05,), daemon=True).start()
        yield folder, served
        served.shutdown()


def ask(served, path, host=None):
    with closing(http.client.HTTPConnection("127.0.0.1", served.server_address[1])) as connection:
        connection.request("GET", path, headers={"Host": host or served.hosts[0]})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_the_server_answers_with_what_is_new(serving, monkeypatch):
    monkeypatch.setattr("experiments.pages.web.library", lambda: "")
    folder, served = serving
    status, text = ask(served, "/")
    assert (status, "connect-src" in text) == (200, True)
    assert f'"live":"{server.state((folder,))}"' in text
    fresh = json.loads(ask(served, "/now?")[1])
    assert fresh["answer"]["text"] == "No alarm."
    assert json.loads(ask(served, f"/now?{fresh['state']}")[1]) == {"state": fresh["state"]}
    record(folder, measured(10, -4.0), alarm(10, "Step 10: late."))
    again = json.loads(ask(served, f"/now?{fresh['state']}")[1])
    assert again["answer"]["text"] == "Step 10: late."
    steps = again["data"]["steps"]
    assert (steps["kept"], steps["columns"]["step"]) == (1, [10])
    assert json.loads(ask(served, "/now?older")[1])["data"]["steps"]["columns"]["step"] == [0, 10]
    assert ask(served, "/watch.jsonl")[0] == 404
    # A name that leads here from elsewhere.
    assert ask(served, "/", host="example.org:80")[0] == 403
    (folder / FILE).unlink()
    assert ask(served, "/now?")[0] == 503


def test_a_tab_that_is_closed_while_the_page_loads_leaves_no_traceback(
    serving, monkeypatch, capsys
):
    def closed(*_):
        raise BrokenPipeError

    monkeypatch.setattr(server.Handler, "_answer", closed)
    with closing(socket.create_connection(serving[1].server_address)) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(1) == b""
    assert capsys.readouterr().err == ""


def test_a_damaged_line_is_said_once_by_the_command(serving, capsys):
    folder, served = serving
    record(folder, alarm(10, None))
    watch.prepare(watch.Settings(folders=(folder,)))
    said = capsys.readouterr().err
    assert said.startswith(f"warning: line 3 of {folder / FILE}: expected a text as text, got None")
    assert ask(served, "/now?")[0] == 200
    assert capsys.readouterr().err == ""


def test_the_address_is_printed_before_the_page_is_served(tmp_path, monkeypatch):
    folder, pipe = record(tmp_path / "one", START), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe))
    told = []
    serving = "experiments.watch.server.Server.serve_forever"
    monkeypatch.setattr(serving, lambda served: told.append((pipe.getvalue(), served.address)))
    server.serve((folder,), 0)
    ((printed, address),) = told
    assert printed.decode().startswith(f"{address} shows it while it trains")


def test_a_port_that_is_taken_is_said(serving):
    _, served = serving
    port = served.server_address[1]
    with pytest.raises(OSError, match=f"port: {port} cannot be used .* choose another, or 0"):
        watch.run(watch.Settings(port=port))


@pytest.mark.slow
def test_the_page_of_fifty_measurements_of_twenty_layers_is_small(tmp_path):
    """Numbers that look measured: those that repeat would be packed away."""
    rng = np.random.default_rng(0)
    places = [{"layer": i, "name": f"block {i}", "size": 64} for i in range(1, 21)]
    arrays = [{"layer": i, "path": f"[{i}]", "shape": [64, 64]} for i in range(1, 21)]
    columns = [name for name in LAYERS if "exponent" not in name]
    lines = [measured(10 * step, 0.0, loss=rng.normal()) for step in range(50)]
    for line in lines:
        line["layers"] = {name: rng.normal(size=20).tolist() for name in columns}
        line["parameters"] = {name: rng.normal(size=20).tolist() for name in line["parameters"]}
    folder = record(tmp_path / "one", START | {"layers": places, "parameters": arrays}, *lines)
    assert len(server.written((folder,)).encode()) < 550_000  # Vega-Embed is 406


@pytest.mark.slow
def test_the_page_follows_the_training(serving, chromium):
    """In a browser: a new measurement and an alarm show without a reload, on a phone too."""
    folder, served = serving
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    opened = browser.Tab(chromium, served.address, **phone)
    tab = opened.page
    tab.wait_for_selector("html[data-state]", state="attached")
    before = tab.get_attribute("html", "data-state")
    assert tab.inner_text("#answer").startswith("No alarm.")
    drawn = "#chart-0 .mark-rect.role-mark path"
    assert tab.locator(drawn).count() == 2
    tab.evaluate("window.same = true")
    record(folder, measured(10, -4.0), alarm(10, "Step 10: <i>late</i>."))
    tab.wait_for_selector(f"html:not([data-state='{before}'])", state="attached")
    assert tab.evaluate("window.same")
    assert tab.inner_text("#answer").startswith("Step 10: <i>late</i>.")
    assert tab.inner_text("#verdicts") == "Step 10: <i>late</i>."
    assert tab.locator(drawn).count() == 4
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    served.shutdown()
    served.server_close()
    tab.wait_for_selector("html[data-live='no']", state="attached")
    assert "server has ended" in tab.inner_text("#note")
    assert [text for text in opened.said if "ERR_CONNECTION" not in text] == []
