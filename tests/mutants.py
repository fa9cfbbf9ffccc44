"""Mutants: faults put into copies of the source, each of which the tests must see.

    python tests/mutants.py                 # all
    python tests/mutants.py --today         # those whose day it is; fourteen days cover all
    python tests/mutants.py sigmoid lock    # those with one of these words in their name
    python tests/mutants.py --passed        # the suite has just passed

Each mutant replaces one piece of text in one file. It dies if pytest then reports a failed test.
Any other end is an error of the list, not a death: a test module that cannot be imported, a fixture
that raises, a test that does not exist, a run that takes longer than the limit. What breaks is
printed and run once more. The same tests must pass on an unchanged copy first. The exit code is 0
if every mutant dies. Mutants whose tests need a package that is not installed are left out, by
name; with JAXNN_PEERS set that is a failure.

pytest does not collect this file. A refactoring that moves or rewrites a mutated line has to change
its entry too; the check for that comes before any test is run.
"""

import argparse
import gc
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from five_per_cent import FACTORS

ROOT = Path(__file__).resolve().parents[1]
OURS = (ROOT, ROOT / "tests")
COPIED = ("jaxnn", "experiments", "tests", "docs", "mkdocs.yml", "pyproject.toml")
COPIED += (
    "examples",
    ".ci",
    ".github",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "CITATION.cff",
)
DAYS = 14  # of which --today takes one, as conftest.py does of slow tests
LIMIT = 300  # seconds for one mutant, many times what any takes: a slow machine kills none
# Each run of tests is a fork of a process that has imported what takes long and is not ours, and
# has started no thread.
SERVER = multiprocessing.get_context("forkserver")
PRELOADED = ["jax", "optax", "chex", "polars", "altair", "scipy.special", "sklearn.compose", "rich"]
PRELOADED += ["beartype", "tyro"]
FAILED = 1  # pytest's exit code if tests ran and some of them failed


class Mutant(NamedTuple):
    """A fault, and the tests that must see it.

    name: the fault in words.
    path: the file.
    old, new: `old` occurs exactly once in the file and is replaced by `new`.
    tests: node ids for pytest, separated by spaces; the cheapest that see it.
    needs: a package without which those tests are skipped; then the mutant is left out.
    """

    name: str
    path: str
    old: str
    new: str
    tests: str
    needs: str = ""


MUTANTS = (
    # The reverse pass
    Mutant(
        "θ is reshaped instead of transposed on the way down",
        "jaxnn/network/blocks/dense.py",
        "matmul(delta, layer.theta.T)",
        "matmul(delta, layer.theta.reshape(layer.theta.shape[::-1]))",
        "tests/test_article.py"
        "::test_gradient_of_an_early_layer_is_a_product_with_one_factor_a_layer",
    ),
    Mutant(
        "the gradient of a batch lacks 1/B",
        "jaxnn/passes/backprop.py",
        "net.task.delta_z(z, ys) / len(ys)",
        "net.task.delta_z(z, ys)",
        "tests/test_training.py::test_batches_that_fit_and_that_do_not[16-8]",
    ),
    Mutant(
        "the derivative along labels lacks 1/B",
        "jaxnn/passes/backprop.py",
        "net.task.delta_y(top.m, ys) / len(ys)",
        "net.task.delta_y(top.m, ys)",
        "tests/test_backprop.py::test_inputs_and_labels_have_gradients_too[binary]",
    ),
    Mutant(
        "the derivative along a direction skips the inputs",
        "jaxnn/passes/backprop.py",
        "if not isinstance(v, SymbolicZero):",
        "if not isinstance(v, SymbolicZero) and v is not towards[1]:",
        "tests/test_backprop.py::test_forward_mode_goes_through_the_rule_too[None]",
    ),
    Mutant(
        "the flow of a batch lacks 1/B",
        "jaxnn/flow/measure/gradient_flow.py",
        "delta.m / len(ys)",
        "delta.m",
        "tests/test_flow.py::test_a_cotangent_takes_the_place_of_the_loss",
    ),
    Mutant(
        "the forward pass leaves out the top layer of a run whose depth is given",
        "jaxnn/passes/walk.py",
        "loop(0, used, body, (state, records))",
        "loop(0, used if downwards else used - 1, body, (state, records))",
        "tests/test_training.py::test_runs_and_depth_equal_single_layers[5-3]",
    ),
    Mutant(
        "the reverse pass leaves out the lowest layer of a run",
        "jaxnn/passes/walk.py",
        "loop(0, used, body, (state, records))",
        "loop(0, used - 1 if downwards else used, body, (state, records))",
        "tests/test_training.py::test_runs_and_depth_equal_single_layers[5-3]",
    ),
    Mutant(
        "the flow begins one layer too high in a run",
        "jaxnn/passes/walk.py",
        "used - 1 - step if downwards",
        "used - step if downwards",
        "tests/test_signal.py::test_within_range_the_flow_is_that_of_plain_backprop",
    ),
    Mutant(
        "flows of several depths begin a layer too low",
        "jaxnn/passes/walk.py",
        "entry(kept[run].z, depth)",
        "entry(kept[run].z, depth - 1)",
        "tests/test_runs.py::test_several_depths_are_a_flow_of_each[plain]",
    ),
    Mutant(
        "a sweep that is measured in parts loses depths",
        "experiments/depth/experiment.py",
        "networks.depths[first::parts]",
        "networks.depths[first :: parts + 1]",
        "tests/test_depth.py::test_depths_measured_apart_are_the_same_sweep",
    ),
    Mutant(
        "the gain of the last layer that depth uses is taken against one that it does not",
        "jaxnn/flow/measure/network_flow.py",
        "jnp.where(places == unused - 1, end, places + 1)",
        "places + 1",
        "tests/test_runs.py::test_depth_is_data[sigmoid]",
    ),
    # The file for newcomers
    Mutant(
        "the newcomer's recursion leaves out the slope of the units",
        "examples/backprop_by_hand.py",
        "* sigmoid_prime(z[layer])",
        "* 0.25",
        "tests/test_by_hand.py::test_every_number_of_one_example_is_the_library_s",
    ),
    Mutant(
        "the newcomer's batch lacks 1/B",
        "examples/backprop_by_hand.py",
        "(a[top] - y) / len(y)",
        "a[top] - y",
        "tests/test_by_hand.py::test_a_batch_and_a_step_are_the_library_s",
    ),
    Mutant(
        "the newcomer's step climbs",
        "examples/backprop_by_hand.py",
        "b - rate * delta_b",
        "b + rate * delta_b",
        "tests/test_by_hand.py::test_a_batch_and_a_step_are_the_library_s",
    ),
    Mutant(
        "the newcomer's sizes of layers are sums",
        "examples/backprop_by_hand.py",
        "jnp.max(jnp.abs(delta))",
        "jnp.sum(jnp.abs(delta))",
        "tests/test_by_hand.py::test_the_sizes_of_thirty_layers_are_the_library_s",
    ),
    Mutant(
        "the newcomer's file imports the library",
        "examples/backprop_by_hand.py",
        "import jax.numpy as jnp\n",
        "import jax.numpy as jnp\n\nimport jaxnn  # noqa: F401\n",
        "tests/test_by_hand.py::test_it_is_short_and_imports_no_library",
    ),
    # Block floating point
    Mutant(
        "the logarithm of a block float has the wrong sign of the exponent",
        "jaxnn/arrays/rows.py",
        "log + exponent.astype(log.dtype) * LN2",
        "log - exponent.astype(log.dtype) * LN2",
        "tests/test_flow.py::test_it_measures_the_gradient_of_the_mean_loss[relu]",
    ),
    Mutant(
        "renormalising counts one power of two too many",
        "jaxnn/arrays/rows.py",
        "v.e + up)",
        "v.e + up + 1)",
        "tests/test_numbers.py::test_renormalising_changes_the_form_and_not_the_number",
    ),
    Mutant(
        "rows are aligned to the smallest exponent",
        "jaxnn/arrays/rows.py",
        "jnp.max(exponent, axis=-1)",
        "jnp.min(exponent, axis=-1)",
        "tests/test_numbers.py::test_aligned_rows_are_exact_within_the_range_of_the_dtype",
    ),
    Mutant(
        "a small aᵀ is stored column by column and taken for rows",
        "jaxnn/arrays/loops.py",
        "barrier(a).T.reshape(-1)",
        "barrier(a).reshape(-1)",
        "tests/test_numbers.py::test_the_sum_over_rows_is_that_of_numpy[small]",
    ),
    Mutant(
        "a large sum over rows takes one of the factors upside down",
        "jaxnn/arrays/loops.py",
        "return product(a.T, delta, keep_right=True)",
        "return product(a[::-1].T, delta, keep_right=True)",
        "tests/test_numbers.py::test_the_sum_over_rows_is_that_of_numpy[large]",
    ),
    Mutant(
        "a module of ours that is missing is taken for a package",
        "experiments/__main__.py",
        'in ("experiments", "jaxnn"):',
        'in ("jaxnn",):',
        "tests/test_command.py::test_a_package_that_an_experiment_misses_is_one_sentence",
    ),
    # The distribution
    Mutant(
        "a page says to install another project's distribution",
        "docs/article_live.py",
        '-e ".[live]"',
        '"jax' + 'nn[live]"',
        "tests/test_distribution.py::test_no_text_installs_what_has_another_project_s_name",
    ),
    Mutant(
        "an extra is added to a copy that does not run",
        "jaxnn/distribution.py",
        "if Path(str(found.locate_file(PACKAGE.name))).resolve() != PACKAGE.resolve():",
        "if False:",
        "tests/test_distribution.py::"
        "test_a_folder_without_metadata_or_with_another_s_gets_the_packages",
    ),
    Mutant(
        "a message shows the secret of a URL",
        "jaxnn/distribution.py",
        "if user or parts.password or parts.query:",
        "if False:",
        "tests/test_distribution.py::test_the_command_names_what_was_installed",
    ),
    Mutant(
        "a shell takes a folder's name apart",
        "jaxnn/distribution.py",
        "else shlex.quote(word)",
        "else word",
        "tests/test_distribution.py::test_a_checkout_is_installed_where_it_is",
    ),
    Mutant(
        "nobody hears of another project's files",
        "jaxnn/distribution.py",
        'file.startswith(f"{PACKAGE.name}/")',
        "False",
        "tests/test_distribution.py::"
        "test_another_project_s_files_are_warned_of_before_they_are_read",
    ),
    Mutant(
        "a run has the version of what is installed by the name",
        "experiments/runs/runtime.py",
        '"jaxnn": jaxnn.__version__',
        '"jaxnn": metadata.version("jax")',
        "tests/test_command.py::test_a_run_has_the_version_of_the_code_that_runs",
    ),
    Mutant(
        "the library does not declare what it imports",
        "pyproject.toml",
        '    "jaxtyping>=0.3",\n',
        "",
        "tests/test_dependencies.py::test_the_library_needs_what_it_imports_and_nothing_else",
    ),
    Mutant(
        "the library imports what only an extra brings",
        "jaxnn/train/scores.py",
        "import numpy as np\n",
        "import numpy as np\nimport optax  # noqa: F401\n",
        "tests/test_dependencies.py::test_the_library_needs_what_it_imports_and_nothing_else",
    ),
    Mutant(
        "the experiments declare what they do not import",
        "pyproject.toml",
        '    "jinja2>=3.1",\n',
        '    "jinja2>=3.1",\n    "jsonschema>=4",\n',
        "tests/test_dependencies.py::test_experiments_need_what_they_import_and_nothing_else",
    ),
    Mutant(
        "two extras ask for different versions",
        "pyproject.toml",
        'charts = ["altair>=5.5"',
        'charts = ["altair>=5.4"',
        "tests/test_dependencies.py::test_a_distribution_has_one_least_version",
    ),
    Mutant(
        "a release does not wait for the gate",
        ".github/workflows/release.yml",
        "    needs: gate\n",
        "",
        "tests/test_distribution.py::test_the_gate_comes_before_a_release",
    ),
    # The flow
    Mutant(
        "a unit is dead if one example has no slope there",
        "jaxnn/flow/measure/network_flow.py",
        "jnp.max(size, axis=0)",
        "jnp.min(size, axis=0)",
        "tests/test_flow.py::test_saturated_and_dead_units_are_counted[relu]",
    ),
    Mutant(
        "the mean square of b is that of its first unit",
        "jaxnn/flow/measure/network_flow.py",
        "at_least_float32(units.b)",
        "at_least_float32(units.b[..., :1])",
        "tests/test_flow.py::test_it_measures_the_gradient_of_the_mean_loss[relu]",
    ),
    Mutant(
        "Δz counts as lost only where its own layer is out of range",
        "jaxnn/arrays/rows.py",
        "(places <= highest) & used",
        "~in_range & used",
        "tests/test_flow.py::test_lost_on_the_way_is_lost_in_every_layer_below",
    ),
    Mutant(
        "layers that depth leaves out count as lost, and so do those below them",
        "jaxnn/arrays/rows.py",
        "jnp.where(~in_range & used, places, -1)",
        "jnp.where(~in_range, places, -1)",
        "tests/test_runs.py::test_depth_is_data[sigmoid]",
    ),
    Mutant(
        "less memory: the forward pass ends a segment one layer early",
        "jaxnn/passes/walk.py",
        "jnp.minimum((i + 1) * size, used)",
        "jnp.minimum((i + 1) * size - 1, used)",
        "tests/test_signal.py::test_less_memory_with_a_depth_that_is_known[7]",
    ),
    # What is left of the examples
    Mutant(
        "a log-norm of squares that leave the range",
        "jaxnn/arrays/rows.py",
        "log_size(as_one_row(floats))",
        "log_size(ScaledRows(floats, jnp.zeros((), jnp.int32)))",
        "tests/test_flow.py::test_log_norm_over_the_whole_range_of_float32",
    ),
    Mutant(
        "a narrow array next to a wide one leaves its range",
        "jaxnn/arrays/rows.py",
        "min([bias, *(_format(v)[1] for v in others)]) - 1",
        "bias - 1",
        "tests/test_numbers.py::test_arrays_of_several_widths_share_an_exponent",
    ),
    Mutant(
        "the layers of a repeated pattern are recorded one kind after the other",
        "jaxnn/flow/record/layer_record.py",
        "jnp.stack(v, axis=1), *of_layers",
        "jnp.stack(v, axis=0), *of_layers",
        "tests/test_chain.py::test_layers_of_many_kinds",
    ),
    Mutant(
        "a tangent loses its exponent",
        "jaxnn/flow/record/example_spread.py",
        "renormalised(ScaledRows(t, e)) if t",
        "(renormalised(ScaledRows(t, e)).m, e) if t",
        "tests/test_what_is_left.py::test_it_measures_spread_cosine_rank_and_tangent[relu-sqrt]",
    ),
    Mutant(
        "a rank counts rounding",
        "jaxnn/flow/record/example_spread.py",
        "spread > NOISE * eps, rank",
        "spread > 0, rank",
        "tests/test_what_is_left.py::test_where_examples_become_rounding_the_tangent_keeps_its_rate",
    ),
    Mutant(
        "the theory of spread is that of its square",
        "experiments/depth/theory.py",
        "0.5 * np.log10(np.maximum(share * apart",
        "np.log10(np.maximum(share * apart",
        "tests/test_depth.py::test_what_is_left_of_the_examples",
    ),
    Mutant(
        "a layer with a reverse rule alone ends in JAX's own message",
        "jaxnn/flow/measure/chain_flow.py",
        'if not options.tangent or "custom_vjp" not in str(error):',
        "if True:",
        "tests/test_what_is_left.py::test_a_layer_with_a_reverse_rule_alone_has_no_tangent",
    ),
    Mutant(
        "every layer is taken for one that keeps its examples apart",
        "jaxnn/flow/measure/layer_vjp.py",
        "if keeps_apart(lambda delta: vjp.pull(delta)[1], vjp.made):",
        "if True:",
        "tests/test_chain.py::test_clipped_gradients",
    ),
    Mutant(
        "a reshape may bring examples together",
        "jaxnn/jaxpr/example_independence.py",
        "if n == shape[axis] and prod(new[:i]) == before]",
        "if n == shape[axis]]",
        "tests/test_apart.py",
    ),
    Mutant(
        "a sum over examples is taken for one of each",
        "jaxnn/jaxpr/example_independence.py",
        "if axis is None or axis in dropped:",
        "if axis is None:",
        "tests/test_apart.py",
    ),
    Mutant(
        "a product of examples with each other is taken for one of each",
        "jaxnn/jaxpr/example_independence.py",
        "if axis is None or axis in contracted[i]:",
        "if axis is None:",
        "tests/test_apart.py",
    ),
    Mutant(
        "a reverse rule that adds a number is taken for a linear one",
        "jaxnn/jaxpr/example_independence.py",
        "axes = {axis for axis, is_zero in pairs if not is_zero}",
        "axes = {axis for axis, _ in pairs if axis is not None}",
        "tests/test_apart.py",
    ),
    Mutant(
        "a constant of the user's is taken for no Δ",
        "jaxnn/jaxpr/example_independence.py",
        "return all(v in zeros or axes.get(v) == 0 for v in flat.outputs)",
        "return all(axes.get(v, 0) == 0 for v in flat.outputs)",
        "tests/test_apart.py",
    ),
    Mutant(
        "examples in the place of others are taken for apart",
        "jaxnn/jaxpr/example_independence.py",
        "return all(v in zeros or axes.get(v) == 0 for v in flat.outputs)",
        "return all(v in zeros or v in axes for v in flat.outputs)",
        "tests/test_apart.py",
    ),
    Mutant(
        "a run of some rows of the benchmark drops the others from the page",
        "docs/tables.py",
        'read(kind, data) if settings.get("row") else []',
        "[]",
        "tests/test_docs.py::test_a_run_of_the_benchmark_becomes_a_table",
    ),
    Mutant(
        "a first repetition is one of a process that has compiled",
        "experiments/bench/pairs.py",
        'FRESH = {"cold": cold, "first": first}',
        'FRESH = {"cold": cold}',
        "tests/test_bench.py::test_a_first_repetition_is_that_of_a_process_of_its_own",
    ),
    Mutant(
        "a ratio of bytes is upside down",
        "experiments/bench/pairs.py",
        "summary([taken[0] / taken[1]])",
        "summary([taken[1] / taken[0]])",
        "tests/test_bench.py::test_a_row_of_bytes_compares_what_programs_take",
    ),
    Mutant(
        "floats of 8 bits are taken as a state",
        "jaxnn/arrays/rows.py",
        "return is_float(v) and v.dtype.itemsize < 2",
        "return is_float(v) and v.dtype.itemsize < 1",
        "tests/test_chain.py::test_what_cannot_be_measured_is_named",
    ),
    Mutant(
        "whether a rule is linear is tried where float8 has no numbers",
        "jaxnn/flow/measure/layer_vjp.py",
        "PART = 2.0**-3",
        "PART = 2.0**-10",
        "tests/test_chain.py::test_floats_of_8_bits_are_for_the_inside_of_layers",
    ),
    # A function cut into layers
    Mutant(
        "a U-Net of two levels becomes one layer",
        "jaxnn/chain/cut_points.py",
        "low < i < j < high",
        "low < i < j < low",
        "tests/test_cut.py::test_what_takes_several_streams[shallow_u_net]",
    ),
    Mutant(
        "a bias goes to the layer above",
        "jaxnn/chain/cut_points.py",
        "elif end is not None and network.is_bias(between):",
        "elif False:",
        "tests/test_cut.py::test_where_a_network_is_cut",
    ),
    Mutant(
        "riders count in the size of a state",
        "jaxnn/chain/state.py",
        "(False,) * len(floats(state.riders))",
        "(True,) * len(floats(state.riders))",
        "tests/test_states.py::test_riders_are_in_no_state",
    ),
    Mutant(
        "riders have no Δ",
        "jaxnn/flow/measure/layer_vjp.py",
        "            if i is not None:\n                below[i] = added",
        "            if False:\n                below[i] = added",
        "tests/test_states.py::test_riders_are_in_no_state",
    ),
    Mutant(
        "streams share an exponent however far apart they are",
        "jaxnn/flow/measure/layer_vjp.py",
        "alike = everywhere(jnp.all(jnp.stack(near)))",
        "alike = jnp.array(True)",
        "tests/test_states.py::test_two_streams_made_by_one_layer",
    ),
    Mutant(
        "the rate follows all streams",
        "jaxnn/flow/measure/chain_flow.py",
        "main = each[0] if with_main_first(step.out) else whole",
        "main = whole",
        "tests/test_states.py::test_several_streams",
    ),
    Mutant(
        "the main stream is the first made",
        "jaxnn/chain/cut_points.py",
        "main = max(into, key=network.age)",
        "main = min(into, key=network.age)",
        "tests/test_states.py::test_several_streams",
    ),
    Mutant(
        "a step of a scan fills the place of another",
        "jaxnn/chain/cutting.py",
        "return lax.dynamic_update_index_in_dim(whole, x, at, min(axis, 1))",
        "return lax.dynamic_update_index_in_dim(whole, x, 0 * at, min(axis, 1))",
        "tests/test_states.py::test_scans_over_time[False]",
    ),
    Mutant(
        "a layer has the time of the step after it",
        "jaxnn/jaxpr/scan_splitting.py",
        "return ends, (_only(carries, by_step),",
        "return ends, (_only(ends, by_step),",
        "tests/test_states.py::test_carries_without_a_gradient[False]",
    ),
    Mutant(
        "a time of the batch's size is data of a layer",
        "jaxnn/jaxpr/scan_splitting.py",
        "(on_xs or v not in sized)",
        "(on_xs or bool(sized))",
        "tests/test_states.py::test_a_time_that_a_scan_carries_is_no_stream",
    ),
    Mutant(
        "a carry that one of two branches changes passes as unchanged",
        "jaxnn/jaxpr/scan_splitting.py",
        "if i is None or {i, *rest} != {i} else 1 + i",
        "if i is None else 1 + i",
        "tests/test_states.py::test_a_carry_that_every_branch_hands_on",
    ),
    Mutant(
        "the main array of a solver's state is its last",
        "jaxnn/chain/scan_runs.py",
        "if is_program else max(into)]",
        "if False else max(into)]",
        "tests/test_solvers.py::test_the_steps_of_an_adaptive_solver_are_layers",
    ),
    Mutant(
        "a time that a scan carries is a stream",
        "jaxnn/jaxpr/scan_splitting.py",
        "            if any(moved):",
        "            if all(moved):",
        "tests/test_states.py::test_a_time_that_a_scan_carries_is_no_stream",
    ),
    Mutant(
        "a time of learned steps is a stream",
        "jaxnn/jaxpr/scan_splitting.py",
        "for absent in (0, 1):",
        "for absent in (0,):",
        "tests/test_states.py::test_a_step_size_that_is_learned",
    ),
    Mutant(
        "what a scan makes of a parameter takes the weights of all layers",
        "jaxnn/jaxpr/scan_params.py",
        "apart = {v for v in inputs.stacks if",
        "apart = {v for v in () if",
        "tests/test_states.py::test_a_step_size_that_is_learned",
    ),
    Mutant(
        "the first of two scans takes what it does not need",
        "jaxnn/jaxpr/scan_splitting.py",
        "flags.append(not (itself or any(compress(out, made))))",
        "flags.append(False)",
        "tests/test_states.py::test_a_step_size_that_is_learned",
    ),
    Mutant(
        "every step stores the outputs of all steps",
        "jaxnn/flow/measure/layer_vjp.py",
        "changes[i] and i < len(changes) - ridden and i not in filled",
        "changes[i] and i < len(changes) - ridden",
        "tests/test_states.py::test_what_steps_share_is_stored_once[all]",
    ),
    Mutant(
        "every segment stores the riders",
        "jaxnn/passes/walk.py",
        "        return above, _of_layer(z, stored)",
        "        return above, _of_layer(z, stored and (True,) * len(stored))",
        "tests/test_states.py::test_what_steps_share_is_stored_once[sqrt]",
    ),
    Mutant(
        "the outputs of later steps are in the state of an earlier one",
        "jaxnn/flow/measure/layer_vjp.py",
        "whole[leaf] = jnp.where(is_below.reshape(shape), whole[leaf], empty)",
        "whole[leaf] = jnp.where(is_below.reshape(shape), whole[leaf], whole[leaf])",
        "tests/test_states.py::test_scans_over_time[False]",
    ),
    Mutant(
        "a function that takes neither batch nor example is told each='example'",
        "jaxnn/chain/chain.py",
        "        except Exception:\n            return None\n        said",
        "        except Exception:\n            pass\n        said",
        "tests/test_cut.py::test_what_takes_one_example_is_told_to_say_so",
    ),
    Mutant(
        "a scan that cannot be a run is one layer without a word",
        "jaxnn/chain/cut_points.py",
        "return most.scan is None and MOST_IN_A_ROW",
        "return MOST_IN_A_ROW",
        "tests/test_cut.py::test_what_cannot_be_cut_says_what_to_hand_over",
    ),
    Mutant(
        "the squares of a large array are taken for in range",
        "jaxnn/arrays/rows.py",
        "fits = jnp.all((square > least) & (square < jnp.inf))",
        "fits = jnp.all(square < jnp.inf)",
        "tests/test_numbers.py::test_sizes_of_large_arrays_beyond_their_squares",
    ),
    Mutant(
        "of complex parameters the real part alone counts",
        "jaxnn/arrays/rows.py",
        "jnp.stack([v.real, v.imag], axis=-1)",
        "v.real",
        "tests/test_states.py::test_complex_parameters",
    ),
    Mutant(
        "the loss of a graph takes its output as a batch of one",
        "jaxnn/flow/measure/chain_flow.py",
        "self.loss(jax.tree.map(lambda v: v[0], output), ys)",
        "self.loss(output, ys)",
        "tests/test_states.py::test_a_graph_is_measured_as_one",
    ),
    Mutant(
        "layers of one name are not told apart",
        "jaxnn/chain/names.py",
        'name if counts[name] == 1 else f"{name}#{seen[name]}"',
        "name",
        "tests/test_states.py::test_names_are_those_of_the_weights",
    ),
    Mutant(
        "a layer that cuts name begins where it should end",
        "jaxnn/chain/cutting.py",
        "ends = modules[i] is not None and [modules[i]] != following",
        "ends = bool(following) and following[0] not in (None, modules[i])",
        "tests/test_states.py::test_layers_end_with_the_modules_that_cuts_name",
    ),
    Mutant(
        "every layer takes the same entry of a rider",
        "jaxnn/chain/dependence.py",
        "number = np.asarray(start[cut[0]], np.int32)",
        "number = np.asarray(0, np.int32)",
        "tests/test_states.py::test_layers_that_take_entries_of_a_rider_are_equal",
    ),
    Mutant(
        "an input that a skip carries is no state",
        "jaxnn/chain/cutting.py",
        "places = Places(with_roots(network), most)",
        "places = Places(network, most)",
        "tests/test_roots.py::test_the_first_block_is_cut_like_the_others",
    ),
    Mutant(
        "a bias of attention is the state below the second block",
        "jaxnn/chain/input_streams.py",
        "common = own & products & ~met[operation]",
        "common = own & products",
        "tests/test_roots.py::test_what_is_no_state_rides",
    ),
    Mutant(
        "what equal layers share is copied for each",
        "jaxnn/chain/parameter_handover.py",
        "each[0] if len({*each}) == 1 else None",
        "None",
        "tests/test_states.py::test_what_equal_layers_share_is_not_copied",
    ),
    Mutant(
        "layers are equal whatever their reverse rules",
        "jaxnn/jaxpr/program.py",
        "text += str(rules)",
        "pass",
        "tests/test_cut.py::test_equal_are_layers_of_one_program_and_one_rule",
    ),
    Mutant(
        "a framework is the user's code where it lies outside of the environment",
        "jaxnn/jaxpr/source_location.py",
        "for name in FRAMEWORKS)",
        "for name in ())",
        "tests/test_frames.py::test_a_framework_is_no_user_s_wherever_it_lies[flax]",
    ),
    Mutant(
        "a package behind a link is the user's code",
        "jaxnn/jaxpr/source_location.py",
        "str(Path(path).resolve())",
        "path",
        "tests/test_frames.py::test_links_are_followed_on_both_sides",
    ),
    Mutant(
        "an installed package on the path is the user's code",
        "jaxnn/jaxpr/source_location.py",
        'bool(folder) and any(Path(folder).glob("*.dist-info"))',
        "False",
        "tests/test_frames.py::test_an_installed_package_is_no_user_s[None]",
    ),
    Mutant(
        "an installed model is named after a package that it uses",
        "jaxnn/jaxpr/source_location.py",
        "candidates[-1] if",
        "candidates[0] if",
        "tests/test_frames.py::test_a_model_that_is_installed_is_named_after_its_outermost_line",
    ),
    Mutant(
        "a layer is named after the line that hands the function over",
        "jaxnn/jaxpr/program.py",
        "takewhile(lambda frame: frame.file_name != CALLER, frames)",
        "frames",
        "tests/test_frames.py::test_a_model_that_is_installed_is_named_after_its_outermost_line",
    ),
    Mutant(
        "the axis of the examples is the first",
        "jaxnn/chain/dependence.py",
        "axes[v] = differing[0]",
        "axes[v] = 0",
        "tests/test_cut.py::test_examples_on_another_axis",
    ),
    Mutant(
        "a scan downwards is gone through upwards",
        "jaxnn/chain/scan_runs.py",
        "[:: -1 if self.scan.reverse else 1]",
        "",
        "tests/test_cut.py::test_delta_of_a_scan_belongs_to_what_was_handed_over[scaled-True]",
    ),
    Mutant(
        "a tangent scans over the weights of tied layers, which have none",
        "jaxnn/passes/walk.py",
        "of_layer(state, run.per_layer, length=run.k)",
        "of_layer(state, run.per_layer)",
        "tests/test_tied.py::test_weights_tied_over_steps_without_data[run]",
    ),
    Mutant(
        "an array that layers share is drawn again for each",
        "jaxnn/curing/weights.py",
        "if is_meant(uses) and uses not in drawn:",
        "if is_meant(uses):",
        "tests/test_tied.py::test_a_tied_array_is_changed_once",
    ),
    Mutant(
        "a row of labels meets a column of outputs",
        "jaxnn/chain/label_pairs.py",
        "if other is not None and other in labels and",
        "if other is not None and other not in labels and",
        "tests/test_losses.py::test_pairs_are_refused_where_a_flow_is_measured",
    ),
    Mutant(
        "layers that take entries of one array by index are steps",
        "jaxnn/chain/parameter_handover.py",
        "layer if source.by_index else None",
        "None",
        "tests/test_tied.py::test_each_layer_has_its_own_entry_of_a_stack[less mean-by_scan]",
    ),
    Mutant(
        "Δ of a scan belongs to what is made of its parameters",
        "jaxnn/jaxpr/scan_params.py",
        "return self.moved(self.selected(v)) is not None or self.is_rearranged(v)",
        "return True",
        "tests/test_cut.py::test_delta_of_a_scan_belongs_to_what_was_handed_over[scaled-False]",
    ),
    Mutant(
        "parts of a parameter that is needed in two ways count apart",
        "jaxnn/jaxpr/scan_params.py",
        "if seen & behind_leaf:",
        "if False:",
        "tests/test_cut.py::test_delta_of_a_scan_belongs_to_what_was_handed_over"
        "[less_their_mean-False]",
    ),
    Mutant(
        "the entries of a slice are those of the whole",
        "jaxnn/jaxpr/scan_params.py",
        "tuple(start[0] + stride[0] * i for i in rows)",
        "rows",
        "tests/test_cut.py::test_delta_of_a_scan_belongs_to_what_was_handed_over[sliced-False]",
    ),
    # Parameters in and out of a chain
    Mutant(
        "the layers of a pattern take each other's parameters",
        "jaxnn/chain/parameter_handover.py",
        "stacked(links[i::p]) for i in range(p)",
        "stacked(links[i::p][::-1]) for i in range(p)",
        "tests/test_handover.py::test_the_flow_of_other_parameters_is_theirs",
    ),
    Mutant(
        "an entry of a stack is the next one",
        "jaxnn/chain/parameter_handover.py",
        "np.int32(rows[0]), 1)",
        "np.int32(rows[0] + 1), 1)",
        "tests/test_handover.py::test_within_grad_jit_and_vmap",
    ),
    Mutant(
        "copies of a parameter may differ",
        "jaxnn/chain/parameter_handover.py",
        "if not np.all(same):",
        "if False:",
        "tests/test_handover.py::test_copies_that_differ",
    ),
    Mutant(
        "copies that differ are no nan under jit",
        "jaxnn/chain/parameter_handover.py",
        "off = jnp.where(same, 0, jnp.nan)",
        "off = jnp.where(same, 0, 0)",
        "tests/test_handover.py::test_copies_of_rows_that_differ[rows]",
    ),
    Mutant(
        "what no layer has is zero",
        "jaxnn/chain/parameter_handover.py",
        "if len(found) < len(every) and like is None:",
        "if False:",
        "tests/test_handover.py::test_rows_that_data_tell",
    ),
    Mutant(
        "parameters of another chain are taken",
        "jaxnn/chain/parameter_handover.py",
        "if _described(params) != _described(expected):",
        "if False:",
        "tests/test_handover.py::test_the_user_s_pytree_comes_back",
    ),
    Mutant(
        "parameters may have another dtype",
        "jaxnn/chain/parameter_handover.py",
        "if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):",
        "if ours.shape != theirs.shape:",
        "tests/test_handover.py::test_what_does_not_fit",
    ),
    Mutant(
        "another function in a pair is overlooked",
        "jaxnn/chain/parameter_handover.py",
        "            if ours != theirs:\n",
        "            if False:\n",
        "tests/test_handover.py::test_what_does_not_fit",
    ),
    Mutant(
        "a path has the entry of the run in reverse",
        "jaxnn/chain/parameter_handover.py",
        "return j if self.rows is None else self.rows[j or 0]",
        "return j if self.rows is None else self.rows[-1 - (j or 0)]",
        "tests/test_handover.py::test_a_scan_downwards",
    ),
    Mutant(
        "numbers of a part are those of the whole",
        "jaxnn/chain/parameter_handover.py",
        "for i in np.unique(of):",
        "for i in np.unique(of)[:1]:",
        "tests/test_handover.py::test_parameters_that_are_moved[beside]",
    ),
    Mutant(
        "layers by name go by the order of the dict that comes",
        "jaxnn/chain/chain.py",
        "return [_with_leaf(layers[key]) for key in self.keys]",
        "return [_with_leaf(v) for v in layers.values()]",
        "tests/test_handover.py::test_pairs_runs_and_names",
    ),
    Mutant(
        "a function in a pair gives its own arrays as the layer's",
        "jaxnn/chain/chain.py",
        "return jax.tree.unflatten(structure, [Static(f), params])",
        "return layer",
        "tests/test_handover.py::test_pairs_runs_and_names",
    ),
    Mutant(
        "a function is traced again for every flow",
        "jaxnn/chain/chain.py",
        "if batch not in self.batches:",
        "if True:",
        "tests/test_handover.py::test_a_function_takes_any_batch",
    ),
    Mutant(
        "a batch of another size takes the programs of the first",
        "jaxnn/chain/chain.py",
        "batch == self.of.batch:",
        "True:",
        "tests/test_handover.py::test_a_function_takes_any_batch",
    ),
    Mutant(
        "another network for another batch is overlooked",
        "jaxnn/chain/chain.py",
        "if (chain.names, chain.handover) != (self.names, self.handover):",
        "if False:",
        "tests/test_handover.py::test_a_batch_that_a_function_does_not_take",
    ),
    Mutant(
        "a mask of the batch's size is a parameter",
        "jaxnn/chain/cutting.py",
        "if rows is None and (v in riders or not network.is_of_params(v))",
        "if rows is None and v in riders",
        "tests/test_handover.py::test_data_of_the_size_of_the_batch",
    ),
    Mutant(
        "a loop over a stack hands all of it to every layer",
        "jaxnn/jaxpr/program.py",
        'if eqn.primitive.name == "unstack":',
        "if False:",
        "tests/test_handover.py::test_paths_of_a_dict",
    ),
    # Grids, tables and streams, verdicts
    Mutant(
        "the scale 1/sqrt(L) is 1/L",
        "experiments/learning/kinds.py",
        "1 / math.sqrt(depth)",
        "1 / depth",
        "tests/test_kinds.py::test_a_name_is_a_block",
    ),
    Mutant(
        "the counts of a grid's axes are added up",
        "experiments/runs/grid.py",
        "if math.prod(axes) > MOST_VALUES",
        "if sum(axes) > MOST_VALUES",
        "tests/test_grid.py::test_a_grid_has_a_most",
    ),
    Mutant(
        "an encoding that the user names does not count",
        "experiments/learning/reading.py",
        "utf8(content) if how.encoding is None else in_utf8(content, how.encoding)",
        "utf8(content)",
        "tests/test_reading.py::test_an_encoding_of_the_user_overrules",
    ),
    Mutant(
        "the remedies of a verdict come worst first",
        "jaxnn/flow/verdict/network_advice.py",
        "key=lambda remedy: abs(remedy.decades)",
        "key=lambda remedy: -abs(remedy.decades)",
        "tests/test_verdict.py::test_remedies_are_those_of_theory_best_first",
    ),
    Mutant(
        "a reader that closes a pipe is an error",
        "jaxnn/cli/printing.py",
        "            _drop(self.fileno())\n            return len(data)",
        "            raise",
        "tests/test_streams.py::test_a_pipe_that_nobody_reads",
    ),
    # A network of the user's own code
    Mutant(
        "an error of the user's code is placed where it was called, not where it arose",
        "jaxnn/cli/source.py",
        "{Path(own[-1].filename).name}:{own[-1].lineno}",
        "{Path(own[0].filename).name}:{own[0].lineno}",
        "tests/test_diagnose.py::test_a_mistake_in_the_code_is_one_sentence",
    ),
    Mutant(
        "the command says done after a mistake",
        "jaxnn/cli/command.py",
        "FAILED, USER_MISTAKE, INTERRUPTED = 1, loading.USER_MISTAKE, loading.INTERRUPTED",
        "FAILED, USER_MISTAKE, INTERRUPTED = 1, 0, loading.INTERRUPTED",
        "tests/test_command.py::test_mistakes_are_one_sentence",
    ),
    Mutant(
        "a platform that is known and not there is a traceback",
        "jaxnn/cli/platforms.py",
        "except (RuntimeError, AssertionError) as error:",
        "except RuntimeError as error:",
        "tests/test_command.py::test_a_platform_that_is_known_and_not_there_is_one_sentence",
    ),
    Mutant(
        "a variance beyond the floats is drawn as zeros",
        "jaxnn/network/initializers.py",
        "fits = scale == 0 or _fits(scale, dtype)",
        "fits = True",
        "tests/test_initializers.py"
        "::test_sigma_w_whose_square_no_float_holds_is_drawn_nevertheless",
    ),
    Mutant(
        "Ctrl-C is lost while rich is imported",
        "experiments/runs/signals.py",
        "except Exception:  # whatever it is, the process ends",
        "except OSError:",
        "tests/test_sweep.py::test_ctrl_c_ends_the_process_whatever_is_half_imported",
    ),
    Mutant(
        "a size that is zero is no number in the table of a diagnosis",
        "jaxnn/cli/diagnosis.py",
        'return "infinite" if value > 0 else "zero"',
        'return "infinite" if value > 0 else "no number"',
        "tests/test_command.py::test_numbers_as_text",
    ),
    Mutant(
        "a drawn edge has the numbers of the edge beside it",
        "jaxnn/flow/view/drawing.py",
        "theta, change = float(numbers.theta[i][j, k])",
        "theta, change = float(numbers.theta[i][j, 0])",
        "tests/test_drawing.py::test_every_number_is_drawn",
    ),
    Mutant(
        "a chart on a page has ink of its own, which is black on a dark page",
        "jaxnn/flow/view/chart.py",
        'return text.replace(INK, "currentColor")',
        'return text.replace(INK, "black")',
        "tests/test_drawing.py::test_charts_stand_on_one_page",
    ),
    Mutant(
        "the random loss of a diagnosis is that of one seed",
        "jaxnn/diagnosis.py",
        "ys, loss = jax.random.key(seed), random_loss",
        "ys, loss = jax.random.key(0), random_loss",
        "tests/test_diagnose.py::test_every_form_has_the_rows_of_a_direct_call[without_loss]",
    ),
    Mutant(
        "the options of a command go before what the user's function says",
        "jaxnn/cli/contract.py",
        "**options | arguments(returned, of)",
        "**arguments(returned, of) | options",
        "tests/test_diagnose.py::test_every_form_has_the_rows_of_a_direct_call[seeded]",
    ),
    Mutant(
        "a setting of a diagnosis that does nothing is ignored",
        "jaxnn/chain/models.py",
        '    if each != "batch":',
        "    if False:",
        "tests/test_diagnose.py::test_a_mistake_in_the_code_is_one_sentence",
    ),
    # Kinds of blocks
    Mutant(
        "a block on the way up leaves exponents behind that do not follow its numbers",
        "jaxnn/passes/walk.py",
        "return renormalised(with_exponents(above)), _with_exponents(saved)",
        "return with_exponents(above), _with_exponents(saved)",
        "tests/test_blocks.py::test_a_signal_that_shrinks_past_a_skip_is_measured",
    ),
    Mutant(
        "the gate of the worked example lets all of the gradient past",
        "examples/own_block.py",
        "plus(scaled(delta, self.g), scaled(delta_a, slope(sigma, z)))",
        "plus(delta, scaled(delta_a, slope(sigma, z)))",
        "tests/test_own_block.py::test_the_gradient_and_the_flow_are_those_of_jax[tanh]",
    ),
    Mutant(
        "the theory of the worked example forgets the weights",
        "examples/own_block.py",
        "return self.g**2 + (1 - self.g) ** 2 * ensemble.sigma_w**2 * ensemble.slope_square(q)",
        "return self.g**2 + (1 - self.g) ** 2 * ensemble.slope_square(q)",
        "tests/test_own_block.py"
        "::test_its_theory_is_that_of_a_residual_block_of_another_scale[tanh]",
    ),
    Mutant(
        "nothing goes past the branch of a residual block on the way down",
        "jaxnn/network/blocks/residual.py",
        "return gradient, plus(delta, below)",
        "return gradient, below",
        "tests/test_blocks.py::test_the_reverse_rule_is_right[hidden0-tanh-binary]",
    ),
    Mutant(
        "the branch of a residual block forgets its scale on the way down",
        "jaxnn/network/blocks/residual.py",
        "saved, scaled(delta, self.scale))",
        "saved, delta)",
        "tests/test_blocks.py::test_the_reverse_rule_is_right[hidden0-tanh-binary]",
    ),
    Mutant(
        "the way back through an RMS norm keeps what goes along z",
        "jaxnn/network/blocks/rms_norm.py",
        "(d - z_hat * along)",
        "d",
        "tests/test_blocks.py::test_the_reverse_rule_is_right[hidden1-relu-multiclass]",
    ),
    Mutant(
        "the way back through a layer norm keeps the mean",
        "jaxnn/network/blocks/layer_norm.py",
        "d - jnp.mean(d, axis=1, keepdims=True) - z_hat",
        "d - z_hat",
        "tests/test_blocks.py::test_the_reverse_rule_is_right[hidden3-sigmoid-binary]",
    ),
    Mutant(
        "a batch norm takes the mean over the units",
        "jaxnn/network/blocks/batch_norm.py",
        "m - jnp.mean(m, axis=0, keepdims=True)",
        "m - jnp.mean(m, axis=1, keepdims=True)",
        "tests/test_blocks.py::test_the_reverse_rule_is_right[hidden2-tanh-regression]",
    ),
    Mutant(
        "the way back through a batch norm keeps what goes along z",
        "jaxnn/network/blocks/batch_norm.py",
        "- z_hat * along",
        "",
        "tests/test_blocks.py::test_the_reverse_rule_is_right[hidden2-tanh-regression]",
    ),
    Mutant(
        "a norm after a block is left out on the way down",
        "jaxnn/network/blocks/post_norm.py",
        "_NORMS[self.norm].back(normed, delta)",
        "delta",
        "tests/test_blocks.py::test_the_reverse_rule_is_right[hidden3-sigmoid-binary]",
    ),
    Mutant(
        "rows that a block saved have no exponents where z has them",
        "jaxnn/passes/walk.py",
        "return renormalised(with_exponents(above)), _with_exponents(saved)",
        "return renormalised(with_exponents(above)), saved",
        "tests/test_blocks.py::test_a_block_of_the_user_s_own[relu]",
    ),
    Mutant(
        "a layer gets what the block saved of the one above",
        "jaxnn/passes/walk.py",
        "barrier(entry(own, j))",
        "barrier(Saved(entry(own.z, j), entry(own.extra, j + 1)))",
        "tests/test_blocks.py::test_a_block_of_the_user_s_own[relu]",
    ),
    Mutant(
        "the z that goes into a run is brought into the range of its dtype",
        "jaxnn/passes/walk.py",
        "saved._replace(z=first)",
        "saved",
        "tests/test_signal.py",
    ),
    Mutant(
        "the size of z multiplies Δz behind a norm",
        "jaxnn/network/blocks/norm.py",
        "ScaledRows(delta.m, delta.e - e)",
        "ScaledRows(delta.m, delta.e + e)",
        "tests/test_blocks.py::test_a_norm_knows_no_size[hidden1]",
    ),
    Mutant(
        "a block's ε is added once more",
        "jaxnn/network/blocks/norm.py",
        "square + eps *",
        "square + 2 * eps *",
        "tests/test_blocks.py::test_the_reverse_rule_is_right[hidden1-relu-multiclass]",
    ),
    # Activations and tasks
    Mutant(
        "σ′ of sigmoid squares the wrong term",
        "jaxnn/network/activations.py",
        "e / jnp.square(1 + e)",
        "e / (1 + jnp.square(e))",
        "tests/test_activations.py::test_prime_is_jax_s_derivative_also_at_a_kink[sigmoid]",
    ),
    Mutant(
        "σ′ of leaky_relu is the left slope at the kink",
        "jaxnn/network/activations.py",
        "_step(z, z >= 0, LEAKY_SLOPE)",
        "_step(z, z > 0, LEAKY_SLOPE)",
        "tests/test_activations.py::test_prime_is_jax_s_derivative_also_at_a_kink[leaky_relu]",
    ),
    Mutant(
        "σ′ of gelu has the wrong sign of the density",
        "jaxnn/network/activations.py",
        "_normal_cdf(z) + _finite(z) * density",
        "_normal_cdf(z) - _finite(z) * density",
        "tests/test_activations.py::test_prime_is_jax_s_derivative_also_at_a_kink[gelu]",
    ),
    Mutant(
        "Δz[L] of a regression is twice as large",
        "jaxnn/network/tasks.py",
        "delta_z=_z_minus_y,",
        "delta_z=lambda z, y: 2 * (z - y),",
        "tests/test_tasks.py::test_loss_and_its_derivatives_equal_optax[regression]",
    ),
    Mutant(
        "Δz[L] of a binary task has σ(z) instead of σ(-z)",
        "jaxnn/network/tasks.py",
        "- y * lax.logistic(-z)",
        "- y * lax.logistic(z)",
        "tests/test_tasks.py::test_loss_and_its_derivatives_equal_optax[binary]",
    ),
    Mutant(
        "classes are swapped: the first label is the last output",
        "jaxnn/network/tasks.py",
        "jax.nn.one_hot(y, n_out",
        "jax.nn.one_hot(n_out - 1 - y, n_out",
        "tests/test_tasks.py::test_labels_of_three_outputs[task2-y2-rows2]",
    ),
    Mutant(
        "a class that does not exist costs nothing under jit",
        "jaxnn/network/tasks.py",
        "return jnp.where(((y >= 0) & (y < n_out))[..., None], rows, jnp.nan)",
        "return rows",
        "tests/test_tasks.py::test_wrong_labels_are_nan_under_jit",
    ),
    Mutant(
        "binary labels beyond 0 and 1 have a loss under jit",
        "jaxnn/network/tasks.py",
        "return jnp.where((rows >= 0) & (rows <= 1), rows, jnp.nan)",
        "return rows",
        "tests/test_tasks.py::test_wrong_labels_are_nan_under_jit",
    ),
    Mutant(
        "a label that does not exist counts as a class in the accuracy",
        "jaxnn/train/scores.py",
        "jnp.where(labelled, correct.astype(z.dtype), jnp.nan)",
        "correct.astype(z.dtype)",
        "tests/test_tasks.py::test_wrong_labels_are_nan_under_jit",
    ),
    # Initialisation
    Mutant(
        "fan_in and fan_out are exchanged",
        "jaxnn/network/initializers.py",
        "fan_in, fan_out = _fans(shape)",
        "fan_out, fan_in = _fans(shape)",
        "tests/test_initializers.py::test_every_name_has_its_variance",
    ),
    Mutant(
        "biases have the standard deviation σ_b²",
        "jaxnn/network/initializers.py",
        '_Plain("normal", _scale("biases", biases))',
        '_Plain("normal", _scale("biases", biases) ** 2)',
        "tests/test_initializers.py::test_biases_by_name_number_or_callable",
    ),
    Mutant(
        "layers of one shape are drawn from one key",
        "jaxnn/network/params.py",
        "jax.random.fold_in(run.key, run.first + j)",
        "jax.random.fold_in(run.key, run.first)",
        "tests/test_initializers.py::test_layers_draw_apart_and_do_not_depend_on_the_depth",
    ),
    Mutant(
        "θ and b of a layer are drawn from one key",
        "jaxnn/network/params.py",
        "key_theta, key_b = jax.random.split(key)",
        "key_theta, key_b = key, key",
        "tests/test_initializers.py::test_theta_and_b_are_drawn_apart",
    ),
    # Compiling
    Mutant(
        "a program serves other static arguments than it was compiled for",
        "jaxnn/arrays/compiled.py",
        "jitted((structure, tuple(others)), arrays)",
        "jitted(vars(program).setdefault(structure, (structure, tuple(others))), arrays)",
        "tests/test_initializers.py::test_biases_by_name_number_or_callable",
    ),
    # Depth
    Mutant(
        "depth counts the layers of the run alone",
        "jaxnn/network/checks.py",
        "outside = len(params) - 2",
        "outside = 0",
        "tests/test_runs.py::test_depth_counts_all_hidden_layers",
    ),
    Mutant(
        "a traced depth below the least wraps around",
        "jaxnn/network/checks.py",
        "value.astype(int) - outside",
        "(value - outside).astype(int)",
        "tests/test_runs.py::test_depth_counts_all_hidden_layers",
    ),
    Mutant(
        "fit counts the hidden layers outside of the run twice",
        "jaxnn/train/fitting.py",
        "optimizer, epochs, batch, depth, room",
        "optimizer, epochs, batch, used, room",
        "tests/test_training.py::test_runs_and_depth_equal_single_layers[5-3]",
    ),
    Mutant(
        "a divergence is looked for in a network of another depth",
        "jaxnn/train/divergence.py",
        "xs, ys, depth=depth, examples=False)",
        "xs, ys, depth=used, examples=False)",
        "tests/test_training.py::test_a_divergence_is_that_of_the_depth_in_use",
    ),
    # A watch of a training
    Mutant(
        "a watch measures every step once parameters are nan",
        "jaxnn/train/watch.py",
        "lambda: _is_finite(params) & ~_is_finite((after, value)),",
        "lambda: ~_is_finite((after, value)),",
        "tests/test_watch.py"
        "::test_the_first_step_whose_numbers_are_not_finite_is_measured_and_none_after_it",
    ),
    Mutant(
        "a watch takes an infinite sum for a finite one",
        "jaxnn/train/watch.py",
        "jnp.sum(jnp.abs(at_least_float32(v))) < jnp.inf",
        "jnp.sum(jnp.abs(at_least_float32(v))) <= jnp.inf",
        "tests/test_watch.py"
        "::test_the_first_step_whose_numbers_are_not_finite_is_measured_and_none_after_it",
    ),
    Mutant(
        "a writer of CSV repeats the head",
        "jaxnn/train/writers.py",
        "            if is_new:",
        "            if True:",
        "tests/test_writers.py::test_a_csv_file_is_appended_to",
    ),
    Mutant(
        "a writer gets the size of an update instead of its ratio to the weights",
        "jaxnn/train/writers.py",
        "for name, value in ratios(row).items():",
        "for name, value in (ratios(row) | {'log10_update_ratio': row['log10_update']}).items():",
        "tests/test_watch.py"
        "::test_a_writer_is_given_the_numbers_of_each_measurement_by_their_names",
    ),
    Mutant(
        "a factor of the stream is no matter to a skip connection",
        "jaxnn/recognition/skips.py",
        'SUMS = ("add", "add_any")',
        'SUMS = ("add", "add_any", "mul")',
        "tests/test_skips.py"
        "::test_a_skip_is_a_sum_of_an_array_as_it_came_in_and_of_what_is_made_of_the_state",
    ),
    Mutant(
        "either of two arrays of a state is the stream",
        "jaxnn/recognition/skips.py",
        "if len(streams) == 1 and others:",
        "if streams and others:",
        "tests/test_skips.py"
        "::test_a_skip_is_a_sum_of_an_array_as_it_came_in_and_of_what_is_made_of_the_state",
    ),
    Mutant(
        "what branches add is not relative to their stream",
        "jaxnn/recognition/skips.py",
        "return jnp.where(stream > -jnp.inf, branch - stream, jnp.nan)",
        "return jnp.where(stream > -jnp.inf, branch, jnp.nan)",
        "tests/test_skips.py::test_what_branches_add_is_that_of_the_states_in_a_list_and_in_a_scan",
    ),
    Mutant(
        "a residual block of a Network is recorded at its neighbours too",
        "jaxnn/flow/measure/network_flow.py",
        "np.array([isinstance(next(blocks), Residual) for _ in range(k)])",
        "np.array([next(blocks) is not None for _ in range(k)])",
        "tests/test_skips.py::test_what_residual_blocks_add_is_that_of_their_states[tanh-False]",
    ),
    Mutant(
        "a sum of torch with a factor is a skip connection",
        "jaxnn/pytorch/skips.py",
        "len(terms) > 1 and node._saved_alpha == 1",
        "len(terms) > 1",
        "tests/test_skips.py::test_what_branches_of_a_module_of_torch_add_is_that_of_its_states",
    ),
    Mutant(
        "a branch that adds nothing once gives an alarm",
        "jaxnn/train/alarms.py",
        "np.flatnonzero((branch < least).all(axis=0))",
        "np.flatnonzero((branch < least).any(axis=0))",
        "tests/test_alarms.py::test_what_is_no_fault_gives_no_alarm",
    ),
    Mutant(
        "a branch that was never there gives an alarm",
        "jaxnn/train/alarms.py",
        "gone = np.flatnonzero(most >= least)",
        "gone = np.flatnonzero(most < np.inf)",
        "tests/test_alarms.py::test_what_is_no_fault_gives_no_alarm",
    ),
    Mutant(
        "the update of a watch is the parameter after the step",
        "jaxnn/flow/measure/updates.py",
        "return after - before",
        "return after",
        "tests/test_watch.py::test_a_line_has_the_gradient_and_the_update_of_its_step",
    ),
    Mutant(
        "a training that goes on keeps lines that it repeats",
        "jaxnn/train/watched.py",
        'if v["step"] < step]',
        'if v["step"] <= step]',
        "tests/test_watch.py"
        "::test_a_line_cut_short_is_skipped_and_a_training_goes_on_from_a_checkpoint",
    ),
    Mutant(
        "what follows from nan gives alarms too",
        "jaxnn/train/alarms.py",
        'if "nonfinite" in spoken:',
        'if "nothing" in spoken:',
        "tests/test_alarms.py::test_what_is_not_finite_is_the_last_alarm",
    ),
    Mutant(
        "a branch that starts at zero gives an alarm",
        "jaxnn/train/alarms.py",
        "zero = np.isneginf(delta).all(axis=0)",
        "zero = np.isneginf(delta).any(axis=0)",
        "tests/test_alarms.py::test_what_is_no_fault_gives_no_alarm",
    ),
    Mutant(
        "a frozen weight counts as rounded away",
        "jaxnn/train/alarms.py",
        'still &= np.isfinite(seen.earlier("parameters", "log10_update")).any(axis=0)',
        "still &= True",
        "tests/test_alarms.py::test_what_is_no_fault_gives_no_alarm",
    ),
    Mutant(
        "a jump counts as steady growth",
        "jaxnn/train/alarms.py",
        "(rest <= 0.1 * growth)",
        "(rest <= growth)",
        "tests/test_alarms.py::test_what_is_no_fault_gives_no_alarm",
    ),
    Mutant(
        "a comparison has the change the wrong way round",
        "jaxnn/flow/verdict/comparison.py",
        "other[column] - v",
        "v - other[column]",
        "tests/test_compared.py::test_what_changed_is_named_with_its_layer_and_its_decades",
    ),
    Mutant(
        "a watch of torch compares parameters with themselves",
        "jaxnn/train/torch_watch.py",
        "own[path].detach().clone()",
        "own[path].detach()",
        "tests/test_watch.py"
        "::test_a_watch_of_a_module_of_torch_has_the_update_and_leaves_the_training_as_it_is",
        "torch",
    ),
    Mutant(
        "a watch that goes on forgets the theory of the start",
        "jaxnn/train/recorder.py",
        "if extras.theory is None:",
        "if False:",
        "tests/test_watch.py::test_what_is_recorded_besides_is_that_of_the_states",
    ),
    Mutant(
        "a watch takes numbers that are spread over devices as they lie",
        "jaxnn/train/watch.py",
        "whole(v).astype(widest)",
        "v.astype(widest)",
        "tests/test_sharded.py::test_a_watch_of_a_spread_training",
    ),
    Mutant(
        "exponents of entries are those above a share",
        "jaxnn/flow/formats/format_loss.py",
        "exponents = np.array(sorted(counts), float)",
        "exponents = np.array(sorted(counts, reverse=True), float)",
        "tests/test_watch.py::test_what_is_recorded_besides_is_that_of_the_states",
    ),
    Mutant(
        "a training that goes on begins its file again",
        "jaxnn/train/journal.py",
        '.open("ab", buffering=0)',
        '.open("wb", buffering=0)',
        "tests/test_watch.py"
        "::test_a_training_that_is_killed_goes_on_from_its_checkpoint_with_all_rows",
    ),
    Mutant(
        "a trainer's watch takes the inputs of an evaluation",
        "jaxnn/train/callbacks.py",
        "if self.is_heard and module.training:",
        "if self.is_heard:",
        "tests/test_trainers.py"
        "::test_the_events_of_hugging_face_s_trainer_make_the_record_of_a_watch",
        "torch",
    ),
    Mutant(
        "a tracker that ends the program ends the training",
        "jaxnn/train/recorder.py",
        "FAULTS = (Exception, SystemExit)",
        "FAULTS = (Exception,)",
        "tests/test_survival.py::test_a_writer_and_a_callback_that_fail_are_said_once",
    ),
    Mutant(
        "a watch says at each step that it failed",
        "jaxnn/train/recorder.py",
        "if self.failures[part] == 1 and",
        "if self.failures[part] and",
        "tests/test_survival.py::test_a_writer_and_a_callback_that_fail_are_said_once",
    ),
    Mutant(
        "half of a line stays where there is no room for all",
        "jaxnn/train/journal.py",
        "            file.truncate(size)",
        "            pass",
        "tests/test_survival.py::test_lines_that_a_full_disk_has_no_room_for_are_written_later",
    ),
    Mutant(
        "two processes write to one folder",
        "jaxnn/train/journal.py",
        "return error.errno not in HELD",
        "return True",
        "tests/test_survival.py::test_a_folder_is_that_of_one_process",
    ),
    Mutant(
        "an earlier watch writes to the folder of a later one",
        "jaxnn/train/journal.py",
        "if _writers.get(self.folder) is not self:",
        "if _writers.get(self.folder) is None:",
        "tests/test_survival.py::test_a_later_watch_of_a_program_takes_the_folder",
    ),
    Mutant(
        "an ensemble is measured as one training",
        "jaxnn/train/watch.py",
        "return jnp.zeros((), jnp.float32), False",
        "return jnp.ones((), jnp.float32), False",
        "tests/test_survival.py::test_members_of_an_ensemble_are_not_mixed",
    ),
    Mutant(
        "an ensemble that is measured by nobody is not said",
        "jaxnn/train/watch.py",
        "step[0] if is_batched[0] else step,",
        "1,",
        "tests/test_survival.py::test_members_of_an_ensemble_are_not_mixed",
    ),
    Mutant(
        "columns of a damaged line are not counted",
        "jaxnn/train/reading.py",
        'f"{part}: ")) != count:',
        'f"{part}: ")) < 0:',
        "tests/test_damaged_records.py::test_a_damaged_line_is_skipped_with_one_warning",
    ),
    Mutant(
        "the address of the live page waits in a pipe",
        "experiments/watch/server.py",
        ", flush=True)  # now",
        ")  # now",
        "tests/test_live_page.py::test_the_address_is_printed_before_the_page_is_served",
    ),
    # Coordinate checks
    Mutant(
        "no state changes in a width check",
        "jaxnn/train/widths.py",
        "for both in ((states, before.states), (now, before.learned))",
        "for both in ((states, states), (now, before.learned))",
        "tests/test_widths.py::test_sizes_and_changes_are_those_of_a_plain_loop",
    ),
    Mutant(
        "the error of an exponent counts its line as a number more",
        "jaxnn/train/widths.py",
        "(y.size - 2)",
        "(y.size - 1)",
        "tests/test_widths.py::test_exponents_and_words_are_those_of_the_parametrisation",
    ),
    Mutant(
        "a state that grows before the first step is called steady",
        "jaxnn/train/widths.py",
        'if start.word == "growing"\n            else change.word',
        "if False\n            else change.word",
        "tests/test_widths.py::test_words_of_what_can_come",
    ),
    Mutant(
        "a width that leaves the range counts in the line",
        "jaxnn/train/widths.py",
        "known = ~np.array(self._out_of_range)",
        "known = np.ones(len(self.widths), bool)",
        "tests/test_widths.py::test_words_of_what_can_come",
    ),
    Mutant(
        "layers of a run that change their state are one loop",
        "jaxnn/chain/apply.py",
        "if types_of(after) == types_of(state):",
        "if True:",
        "tests/test_widths.py::test_equal_layers_that_change_the_shape_of_a_state_are_no_loop",
    ),
    # Training
    Mutant(
        "an optimiser is taken for a State",
        "jaxnn/train/steps.py",
        "if not isinstance(state, State):",
        "if state is None:",
        "tests/test_training.py::test_a_wrong_order_is_one_sentence",
    ),
    Mutant(
        "fit looks at its optimiser after the data",
        "jaxnn/train/fitting.py",
        "    check_optimizer(optimizer)\n",
        "",
        "tests/test_training.py::test_a_wrong_order_is_one_sentence",
    ),
    Mutant(
        "the smaller last batch is dropped",
        "jaxnn/train/steps.py",
        "        if rest:",
        "        if rest > batch:",
        "tests/test_training.py::test_optimisers_that_ask_for_more_get_it",
    ),
    Mutant(
        "every epoch has the order of the first",
        "jaxnn/train/steps.py",
        "jax.random.fold_in(key, step)",
        "jax.random.fold_in(key, 0)",
        "tests/test_training.py::test_every_example_has_its_turn_in_an_order_that_is_uniform",
    ),
    Mutant(
        "the optimiser's state is not carried over to the next step",
        "jaxnn/train/steps.py",
        "State(moved, inner, state.key",
        "State(moved, state.opt_state, state.key",
        "tests/test_training.py::test_optimisers_that_ask_for_more_get_it",
    ),
    Mutant(
        "early stopping waits one epoch too long",
        "jaxnn/train/fitting.py",
        "self.waited < patience",
        "self.waited <= patience",
        "tests/test_training.py::test_early_stopping_gives_back_the_best_epoch",
    ),
    Mutant(
        "the best epoch is named but the parameters are those of the last",
        "jaxnn/train/fitting.py",
        "if self.best.waited == 0:",
        "if self.best.waited >= 0:",
        "tests/test_training.py::test_early_stopping_gives_back_the_best_epoch",
    ),
    Mutant(
        "R² compares with a mean over outputs instead of examples",
        "jaxnn/train/scores.py",
        "jnp.mean(ys, axis=0, keepdims=True)",
        "jnp.mean(ys, axis=1, keepdims=True)",
        "tests/test_training.py::test_scores_equal_scikit_learn_s[regression-3]",
    ),
    Mutant(
        "divergence names the layer below",
        "jaxnn/train/divergence.py",
        "int(np.argmin(step.z)) + 1",
        "int(np.argmin(step.z))",
        "tests/test_training.py::test_what_is_not_finite_is_said_in_a_sentence[signal-False]",
    ),
    # Theory, spectrum, verdict
    Mutant(
        "χ is taken with σ instead of σ′",
        "jaxnn/theory/ensemble.py",
        "f.prime(z) ** 2)",
        "f.sigma(z) ** 2)",
        "tests/test_meanfield.py::test_closed_forms[0.3-relu]",
    ),
    Mutant(
        "the length map lacks σ_b²",
        "jaxnn/network/blocks/dense.py",
        "ensemble.sigma_w**2 * ensemble.square(q) + ensemble.sigma_b**2",
        "ensemble.sigma_w**2 * ensemble.square(q)",
        "tests/test_meanfield.py::test_fixed_points_known_in_advance",
    ),
    Mutant(
        "a skip connection adds the length of its branch without c²",
        "jaxnn/network/blocks/residual.py",
        "return q * self._kept(ensemble, q) + self.scale**2 * inner",
        "return q * self._kept(ensemble, q) + inner",
        "tests/test_theory.py::test_each_block_has_its_formulas[residual]",
    ),
    Mutant(
        "the factor of a norm is not divided by the size of z",
        "jaxnn/network/blocks/norm.py",
        "theory_of(self.inner).factor(ensemble, self._q_hat(q), c) / (q + self.eps)",
        "theory_of(self.inner).factor(ensemble, self._q_hat(q), c)",
        "tests/test_theory.py::test_each_block_has_its_formulas[rms]",
    ),
    Mutant(
        "two rows of a batch norm are independent",
        "jaxnn/theory/sphere.py",
        "middle = -z1[:, None] / own**2",
        "middle = 0 * z1[:, None]",
        "tests/test_theory.py::test_moments_over_a_normalised_batch",
    ),
    Mutant(
        "the logarithm of a singular value has the wrong sign of the exponent",
        "jaxnn/passes/spectrum.py",
        "jnp.log(s) + LN2 * e.astype(s.dtype)",
        "jnp.log(s) - LN2 * e.astype(s.dtype)",
        "tests/test_spectrum.py::test_moments_survive_underflow",
    ),
    Mutant(
        "a rate that is not told from zero has a word",
        "jaxnn/flow/verdict/rates.py",
        "if abs(rate) < CLEAR * error:",
        "if False:",
        "tests/test_verdict.py::test_what_is_not_told_from_zero_is_no_verdict_on_the_weights",
    ),
    Mutant(
        "weights that are nan are lost by number formats",
        "jaxnn/flow/formats/ranges.py",
        "np.isfinite(log_largest) & ((log_largest < low) | (log_largest > high))",
        "~np.isneginf(log_largest) & ~((log_largest >= low) & (log_largest <= high))",
        "tests/test_verdict.py::test_what_is_no_number_is_not_lost_by_a_format",
    ),
    Mutant(
        "a gradient that is no number has one in every format",
        "jaxnn/flow/formats/ranges.py",
        "return highest(used, np.isnan(log_largest) | np.isposinf(log_largest))",
        "return None",
        "tests/test_verdict.py::test_what_is_no_number_is_not_lost_by_a_format",
    ),
    Mutant(
        "a layer that does nothing among many that do is named",
        "jaxnn/flow/verdict/findings.py",
        "if abs(change.decades) >= STANDS_OUT",
        "if True",
        "tests/test_chain.py::test_the_layer_that_changes_the_gradient_most_is_named",
    ),
    Mutant(
        "a word needs no factor of ten",
        "jaxnn/flow/verdict/rates.py",
        "abs(total) <= DECADES",
        "abs(total) <= 0",
        "tests/test_verdict.py::test_a_word_takes_a_factor_of_ten_and_three_standard_errors",
    ),
    Mutant(
        "the whole network is told as its repeated layers alone",
        "jaxnn/flow/verdict/rates.py",
        "total=_sum(gain[np.isfinite(gain)])",
        "total=_sum(factors)",
        "tests/test_verdict.py::test_the_whole_network_is_told_and_what_the_rest_adds",
    ),
    Mutant(
        "the rest is never told",
        "jaxnn/flow/verdict/verdict.py",
        "max(SPOKEN, SMALL_PART *",
        "max(99, SMALL_PART *",
        "tests/test_verdict.py::test_the_whole_network_is_told_and_what_the_rest_adds",
    ),
    Mutant(
        "a tenth of what the others do is told apart",
        "jaxnn/flow/verdict/verdict.py",
        "SMALL_PART = 0.1",
        "SMALL_PART = 0.0",
        "tests/test_verdict.py::test_a_small_rest_is_not_spoken_of",
    ),
    Mutant(
        "the rest is named by its largest change of either sign",
        "jaxnn/flow/verdict/verdict.py",
        "key=lambda change: change.decades * np.sign(rest)",
        "key=lambda change: abs(change.decades)",
        "tests/test_verdict.py::test_a_small_rest_is_not_spoken_of",
    ),
    Mutant(
        "a head that takes a hundred thousand is steady",
        "jaxnn/flow/verdict/rates.py",
        "abs(rate.total - rate.repeated) >= MOST_ONCE",
        "abs(rate.total - rate.repeated) >= 99",
        "tests/test_verdict.py::test_what_is_done_once_is_steady_up_to_a_thousand_and_then_erratic",
    ),
    Mutant(
        "the norm behind an embedding is an alarm",
        "jaxnn/flow/verdict/rates.py",
        "MOST_ONCE = 3.0",
        "MOST_ONCE = 1.0",
        "tests/test_verdict.py::test_what_is_done_once_is_steady_up_to_a_thousand_and_then_erratic",
    ),
    Mutant(
        "a head above layers that all differ is an alarm",
        "jaxnn/flow/verdict/rates.py",
        "    if not alike:\n",
        "    if False:\n",
        "tests/test_verdict.py::test_a_head_above_layers_that_all_differ_is_no_alarm",
    ),
    Mutant(
        "a rest that vanishes between steady layers is steady",
        "jaxnn/flow/verdict/rates.py",
        "for word in (every.word, _word_alone(",
        "for word in (every.word, str(",
        "tests/test_verdict.py::test_a_rest_that_vanishes_between_steady_layers_is_no_steady_network",
    ),
    Mutant(
        "what all layers do together is no verdict",
        "jaxnn/flow/verdict/rates.py",
        "for word in (every.word, _word_alone(",
        'for word in ("", _word_alone(',
        "tests/test_verdict.py::test_a_rest_that_vanishes_between_steady_layers_is_no_steady_network",
    ),
    Mutant(
        "nothing needs to change in a network that takes ten million once",
        "jaxnn/flow/verdict/verdict.py",
        "usual and steady and not self.unreached and not abs(self.rest) >= MOST_ONCE",
        "usual and steady and not self.unreached",
        "tests/test_verdict.py::test_one_hidden_layer_and_a_head_of_nearly_nothing_is_not_well",
    ),
    Mutant(
        "parameters are blamed for what the data did",
        "jaxnn/flow/verdict/findings.py",
        "        return Origin(data.name, (Finding(",
        '        return Origin("", (Finding(',
        "tests/test_given.py::test_data_are_named_and_nothing_that_follows_from_them",
    ),
    Mutant(
        "a loss below the range of float16 is computed in float16 again",
        "jaxnn/flow/record/loss.py",
        "    wide = _in_float32(top)\n    try:",
        "    wide = top\n    try:",
        "tests/test_given.py::test_independence_a_derivative_of_zero_and_the_range_of_a_format_are_told_apart",
    ),
    Mutant(
        "a loss that is nan is not looked at",
        "jaxnn/flow/record/given.py",
        "if np.isfinite(loss) and not is_undefined:",
        "if not is_undefined:",
        "tests/test_given.py::test_the_first_that_is_broken_is_named",
    ),
    Mutant(
        "a gradient of zero needs no change",
        "jaxnn/flow/verdict/verdict.py",
        "usual and steady and not self.unreached and not",
        "usual and steady and not",
        "tests/test_verdict.py::test_a_gradient_of_zero_is_never_said_to_need_no_change",
    ),
    Mutant(
        "a rest that is ill is left out of a cure",
        "jaxnn/flow/verdict/rates.py",
        "return judge(rest, rate.stretches, np.arange(len(gain) + 1)).stretches",
        "return rate.stretches",
        "tests/test_verdict.py::test_the_layers_to_change_are_all_if_the_rest_alone_is_ill",
    ),
    Mutant(
        "one layer counts into the rate of the others",
        "jaxnn/flow/verdict/rates.py",
        "np.delete(np.arange(len(factors)), out)",
        "np.arange(len(factors))",
        "tests/test_verdict.py::test_one_or_two_layers_are_no_rate",
    ),
    Mutant(
        "attention and MLP in turn are scatter",
        "jaxnn/flow/verdict/rates.py",
        "off = factors - _means(factors, phase)",
        "off = factors - np.mean(factors)",
        "tests/test_verdict.py::test_a_pattern_has_one_rate_and_no_error_of_its_own",
    ),
    Mutant(
        "a constant rate is a power law of depth",
        "jaxnn/flow/verdict/rates.py",
        "if fit is not None and _is_clear(fit, constant, len(flat))",
        "if fit is not None",
        "tests/test_verdict.py::test_a_power_law_of_depth_is_no_exponential",
    ),
    Mutant(
        "a law of depth need not make the total",
        "jaxnn/flow/verdict/rates.py",
        "for fit in clear if fit.makes_total",
        "for fit in clear",
        "tests/test_verdict.py::test_a_law_that_does_not_make_the_total_is_none",
    ),
    Mutant(
        "steps that restore a gradient are outliers",
        "jaxnn/flow/verdict/rates.py",
        "    if _restore(factors, out):",
        "    if False:",
        "tests/test_verdict.py::test_a_saw_tooth_that_ends_where_it_began_is_steady",
    ),
    Mutant(
        "layers repeat only one by one",
        "jaxnn/flow/verdict/rates.py",
        "LONGEST_PATTERN = 8",
        "LONGEST_PATTERN = 1",
        "tests/test_verdict.py::test_layers_that_repeat_are_found_among_others",
    ),
    Mutant(
        "a format is spoken of though scaling the loss helps",
        "jaxnn/flow/formats/ranges.py",
        "layer is None or (scaled is not None and name not in own)",
        "layer is None",
        "tests/test_verdict.py::test_a_format_is_spoken_of_where_scaling_the_loss_is_no_help",
    ),
    Mutant(
        "weights that act critical within their error are advised again",
        "jaxnn/flow/verdict/network_advice.py",
        "self.critical_sigma_w is not None and not self._is_at(self.critical_sigma_w)",
        "self.critical_sigma_w is not None",
        "tests/test_verdict.py::test_critical_weights_are_told_that_width_is_what_is_left",
    ),
    Mutant(
        "an array of another size than in other layers is not named",
        "jaxnn/flow/verdict/findings.py",
        "len(far) <= max(1, len(known) // 4)",
        "len(far) < 0",
        "tests/test_causes.py::test_an_array_of_another_size_is_named",
    ),
    Mutant(
        "a router that does not learn is not named",
        "jaxnn/flow/verdict/findings.py",
        "STARVED = 4.0",
        "STARVED = 40.0",
        "tests/test_causes.py::test_a_router_of_equal_experts_does_not_learn",
    ),
    Mutant(
        "an array that gets little in every layer is named",
        "jaxnn/flow/verdict/findings.py",
        "(below - usual >= UNUSUAL)",
        "(below >= UNUSUAL)",
        "tests/test_causes.py::test_what_gets_little_in_every_layer_is_named_if_it_is_next_to_nothing",
    ),
    Mutant(
        "an array that gets next to nothing in every layer is not named",
        "jaxnn/flow/verdict/findings.py",
        "HOPELESS = 6.0",
        "HOPELESS = 60.0",
        "tests/test_causes.py::test_what_gets_little_in_every_layer_is_named_if_it_is_next_to_nothing",
    ),
    Mutant(
        "a head of zeros above the last cut is a loss that depends on nothing",
        "jaxnn/flow/verdict/findings.py",
        "        above = last\n",
        "        above = None\n",
        "tests/test_causes.py::test_a_head_of_zeros_above_the_last_cut_is_named",
    ),
    Mutant(
        "weights of a branch that starts at zero are named",
        "jaxnn/flow/verdict/findings.py",
        "zero_weights(arrays, layer) or zero_gains(arrays, layer)",
        "zero_weights(arrays, layer)",
        "tests/test_causes.py::test_a_branch_that_starts_at_zero_leaves_its_weights_without_gradient",
    ),
    Mutant(
        "saturated attention is not named",
        "jaxnn/flow/verdict/findings.py",
        "(largest[own] > LOGIT)",
        "(largest[own] < LOGIT)",
        "tests/test_causes.py::test_saturated_attention_is_named",
    ),
    Mutant(
        "what saturated attention explains is said again",
        "jaxnn/flow/verdict/findings.py",
        "for i, below in behind.items() if i not in told}",
        "for i, below in behind.items()}",
        "tests/test_causes.py::test_saturated_attention_is_named",
    ),
    Mutant(
        "a remedy names another scale than theory has",
        "jaxnn/flow/verdict/network_advice.py",
        'f"Residual(scale={self.layers}**-0.5)"',
        'f"Residual(scale={self.layers}**-0.25)"',
        "tests/test_advice.py::test_what_a_verdict_advises_does_what_theory_says[relu-relu-5]",
    ),
    Mutant(
        "the compiler works out the mask of a whole batch",
        "jaxnn/recognition/attention.py",
        "products = barrier({v: zeros(1, types[v])[0] for v in attention.products})",
        "products = {v: zeros(1, types[v])[0] for v in attention.products}",
        "tests/test_folding.py",
    ),
    Mutant(
        "masked keys count in the entropy of attention",
        "jaxnn/recognition/attention.py",
        "counts & (logits > least)",
        "logits > -jnp.inf",
        "tests/test_attention.py::test_attention_is_recognised[by_einsum-seen0-1]",
    ),
    Mutant(
        "keys of a block that is masked as a whole count in the entropy of attention",
        "jaxnn/recognition/attention.py",
        "counts & (logits > least)",
        "counts",
        "tests/test_attention.py::test_attention_is_recognised[in_blocks-seen7-1]",
    ),
    Mutant(
        "blocks of keys are attentions of their own",
        "jaxnn/recognition/attention.py",
        "graph.divisions(softmax.total) or softmax",
        "softmax",
        "tests/test_attention.py::test_attention_is_recognised[in_blocks-seen7-1]",
    ),
    Mutant(
        "queries that are parameters are heads",
        "jaxnn/recognition/attention.py",
        " or not learned.isdisjoint(axes[i])",
        "",
        "tests/test_attention.py::test_attention_is_recognised[learned-seen6-1]",
    ),
    Mutant(
        "experts of a list may share their arrays",
        "jaxnn/recognition/routers.py",
        "if len(several) == count and len(together) == sum(map(len, several)) > 0:",
        "if several:",
        "tests/test_routers.py::test_what_is_no_router",
    ),
    Mutant(
        "experts of a list are those of a stack alone",
        "jaxnn/recognition/routers.py",
        "return made.inputs if len(made.inputs) == count else (v,)",
        "return (v,)",
        "tests/test_routers.py::test_experts_may_be_a_list[listed_and_stacked-sigmoid]",
    ),
    Mutant(
        "a query that sees one key counts as saturated",
        "jaxnn/flow/record/heads.py",
        "choice = count > 1",
        "choice = count > 0",
        "tests/test_attention.py::test_attention_is_recognised[by_einsum-seen0-1]",
    ),
    Mutant(
        "a product of the state and a parameter makes attention",
        "jaxnn/recognition/attention.py",
        "return all(map(graph.depends, step.inputs))",
        "return any(map(graph.depends, step.inputs))",
        "tests/test_attention.py::test_what_is_no_attention",
    ),
    Mutant(
        "groups of heads are in another order than the heads",
        "jaxnn/recognition/attention.py",
        "    heads.sort(key=numbers.__getitem__)\n",
        "",
        "tests/test_attention.py::test_attention_is_recognised[grouped-seen3-2]",
    ),
    Mutant(
        "heads that share an axis with the examples are one",
        "jaxnn/jaxpr/axis_kinds.py",
        "                if factor.size % need:  # no product of whole factors\n",
        "                if True:\n",
        "tests/test_attention.py::test_attention_is_recognised[by_hand-seen1-1]",
    ),
    Mutant(
        "the load of experts is that of those before them, too",
        "jaxnn/recognition/routers.py",
        "value[None] == each",
        "value[None] <= each",
        "tests/test_routers.py::test_routers_are_recognised[dispatches-1]",
    ),
    Mutant(
        "a gate of heads is a router",
        "jaxnn/jaxpr/axis_kinds.py",
        "        if all(v in self.known for v in step.inputs):\n",
        "        if step.inputs:\n",
        "tests/test_routers.py::test_what_is_no_router",
    ),
    Mutant(
        "a router is blamed for experts that do not learn",
        "jaxnn/flow/verdict/findings.py",
        "learned = learned[np.isfinite(learned)]",
        "learned = learned[~np.isnan(learned)]",
        "tests/test_causes.py::test_dead_units_beside_a_skip_connection_get_no_gradient",
    ),
    Mutant(
        "a few tokens that go to one expert are an alarm",
        "jaxnn/flow/verdict/findings.py",
        "if tokens < FEW_TOKENS or",
        "if tokens < 0 or",
        "tests/test_causes.py::test_experts_that_all_tokens_go_to",
    ),
    Mutant(
        "Δ of a position is that of an example alone",
        "jaxnn/flow/record/positions.py",
        "jnp.sum(jnp.square(m * factor), axis=",
        "jnp.sum(jnp.square(m * factor)[:1], axis=",
        "tests/test_causes.py::test_layers_that_average_all_tokens_make_them_equal",
    ),
    Mutant(
        "what differs at a position is next to the largest of all positions",
        "jaxnn/flow/record/example_spread.py",
        "jnp.max(jnp.abs(values), axis=over, keepdims=True, initial=0.0)",
        "jnp.max(jnp.abs(values), keepdims=True, initial=0.0)",
        "tests/test_causes.py::test_layers_that_average_all_tokens_make_them_equal",
    ),
    Mutant(
        "what differs is not read where some of it is",
        "jaxnn/flow/verdict/findings.py",
        "apart[read].any() or not apart.any()",
        "apart[read].all() or not apart.any()",
        "tests/test_causes.py::test_what_differs_between_examples_is_not_read",
    ),
    Mutant(
        "the largest of several positions is the only one",
        "jaxnn/flow/verdict/findings.py",
        "second - largest > np.log(ALONE)",
        "second - largest > 0",
        "tests/test_causes.py::test_the_only_position_that_gets_a_gradient",
    ),
    Mutant(
        "a bias of zeros is a layer of zero weights",
        "jaxnn/flow/verdict/findings.py",
        "own & arrays.weights & np.isneginf(arrays.size)",
        "own & np.isneginf(arrays.size)",
        "tests/test_verdict.py::test_the_network_of_the_article_is_well",
    ),
    Mutant(
        "half of the smallest number of a format is kept",
        "jaxnn/flow/formats/format_loss.py",
        "zero = (top - kind.lowest + 2) * PARTS - 1",
        "zero = (top - kind.lowest + 2) * PARTS",
        "tests/test_entries.py::test_every_float16_goes_where_a_conversion_takes_it",
    ),
    Mutant(
        "the tie above the largest number of an odd mantissa is kept",
        "jaxnn/flow/formats/number_formats.py",
        "(most / step) % 2 == 1",
        "False",
        "tests/test_entries.py::test_every_float16_goes_where_a_conversion_takes_it",
    ),
    Mutant(
        "entries of examples are counted as if all had one exponent",
        "jaxnn/flow/formats/entries.py",
        "k + jnp.concatenate(exponents)[:, None]",
        "k",
        "tests/test_entries.py::test_shares_are_those_of_an_emulated_pass",
    ),
    Mutant(
        "layers of a run are counted one behind the other, not in turn with their arrays",
        "jaxnn/flow/formats/entries.py",
        "            parts.append(jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), own))\n",
        "            parts.append(jax.tree.map(\n"
        "                lambda v: v.swapaxes(0, 1).reshape(-1, *v.shape[2:]), own))\n",
        "tests/test_entries.py::test_arrays_of_a_state_are_counted_together",
    ),
    Mutant(
        "layers with more arrays come last",
        "jaxnn/flow/formats/entries.py",
        "[np.argsort(order)]",
        "",
        "tests/test_entries.py::test_arrays_of_a_state_are_counted_together",
    ),
    Mutant(
        "a number that is smaller next to a larger one is the largest",
        "jaxnn/flow/formats/entries.py",
        "(a[0] > b[0]) | ((a[0] == b[0]) & (a[1] >= b[1]))",
        "a[1] >= b[1]",
        "tests/test_entries.py::test_arrays_of_a_state_are_counted_together",
    ),
    Mutant(
        "a histogram under a higher exponent stays where it was",
        "jaxnn/flow/formats/entries.py",
        "jnp.arange(OCTAVES, dtype=jnp.int32) + by",
        "jnp.arange(OCTAVES, dtype=jnp.int32)",
        "tests/test_entries.py::test_histograms_of_several_arrays_are_one",
    ),
    Mutant(
        "the shared scale of MXFP8 brings the largest to 1",
        "jaxnn/flow/formats/number_formats.py",
        "exponent_of(most) - E4M3.highest",
        "exponent_of(most)",
        "tests/test_entries.py::test_shares_are_those_of_an_emulated_pass",
    ),
    Mutant(
        "NVFP4 has blocks of 32",
        "jaxnn/flow/formats/number_formats.py",
        "MXFP8, NVFP4 = 32, 16",
        "MXFP8, NVFP4 = 32, 32",
        "tests/test_entries.py::test_shares_are_those_of_an_emulated_pass",
    ),
    Mutant(
        "the scale of a block of NVFP4 is not rounded",
        "jaxnn/flow/formats/number_formats.py",
        "rounded = jnp.round(x * power_of_two(-step, x)) * power_of_two(step, x)",
        "rounded = x",
        "tests/test_entries.py::test_scales_of_blocks_are_rounded_as_a_conversion_does",
    ),
    Mutant(
        "a scale of the loss is judged by Δ of states alone",
        "jaxnn/flow/formats/format_loss.py",
        "for each in full) for k in scales]",
        "for each in full[:1]) for k in scales]",
        "tests/test_entries.py::test_a_window_of_scales_is_found_by_trying",
    ),
    Mutant(
        "the best scale of the loss is the least that does",
        "jaxnn/flow/formats/format_loss.py",
        "best = len(scales) - 1 - int(np.argmax(least[::-1]))",
        "best = int(np.argmax(least))",
        "tests/test_entries.py::test_most_entries_may_be_lost_though_the_largest_is_not",
    ),
    Mutant(
        "entries that are nan are kept by every format",
        "jaxnn/flow/formats/format_loss.py",
        "self.known = np.isfinite(top) & np.isfinite(squares).all(axis=1)",
        "self.known = np.isfinite(top)",
        "tests/test_entries.py::test_an_array_with_no_number_has_no_shares_and_zeros_lose_nothing",
    ),
    Mutant(
        "each format of a plan has a scale of the loss of its own",
        "jaxnn/flow/verdict/format_plan.py",
        "chosen = min((rows(scaled, k) for k in ks), key=_cost)",
        "chosen = next(rows(scaled, k) for k in ks)",
        "tests/test_plan.py::test_one_scale_of_the_loss_serves_all_layers_or_none",
    ),
    Mutant(
        "equal neighbours of a plan are a line each",
        "jaxnn/flow/verdict/format_plan.py",
        "groupby(rows, _in_words)",
        "((_in_words(row), [row]) for row in rows)",
        "tests/test_plan.py::test_equal_neighbours_are_one_line",
    ),
    Mutant(
        "layer 1 of a post-norm network is like the others",
        "jaxnn/flow/verdict/rates.py",
        "return int(normed and len(used) > FEW_LAYERS)",
        "return 0",
        "tests/test_draws.py::test_the_first_layer_is_not_like_those_behind_a_norm",
    ),
    Mutant(
        "a module that cannot be followed has no attention",
        "jaxnn/flow/view/table.py",
        "    if not flow.is_read:\n",
        "    if False:\n",
        "tests/test_causes.py::test_a_flow_without_programs_has_no_tables_of_what_is_recognised_in_them",
    ),
    Mutant(
        "masked keys count in the entropy of attention in PyTorch",
        "jaxnn/pytorch/operations.py",
        "            seen = own > own.amax(-1, keepdim=True) + MASKED",
        "            seen = own > -np.inf",
        "tests/test_torch_attention.py::test_attention_is_recognised[by_einsum-seen3-1-1]",
    ),
    Mutant(
        "saturated logits count as masked in PyTorch",
        "jaxnn/pytorch/operations.py",
        "            own = without[i : i + count]",
        "            own = values",
        "tests/test_torch_attention.py::test_attention_is_recognised[of_all-seen7-1-100]",
    ),
    Mutant(
        "products written into a buffer change it twice",
        "jaxnn/pytorch/operations.py",
        "            if origin.without is None and tensor.is_floating_point():",
        "            if False:",
        "tests/test_torch_attention.py::test_attention_is_recognised[into_a_buffer-seen6-1-1]",
    ),
    Mutant(
        "a softmax over features is attention in PyTorch",
        "jaxnn/pytorch/operations.py",
        "(len(of.given) == 1 and kinds[axis] in of.given)",
        "(len(of.given) == 1)",
        "tests/test_torch_attention.py::test_learned_queries",
    ),
    Mutant(
        "examples and heads in one axis are heads",
        "jaxnn/pytorch/operations.py",
        "        if batch == [0] and whole and axis:",
        "        if False:",
        "tests/test_torch_attention.py::test_attention_is_recognised[examples_and_heads_in_one-seen5-1-1]",
    ),
    Mutant(
        "heads after queries are rows",
        "jaxnn/pytorch/operations.py",
        "        heads = [i for i in batch if i]",
        "        heads = [1]",
        "tests/test_torch_attention.py::test_attention_is_recognised[heads_after_queries-seen4-1-1]",
    ),
    Mutant(
        "groups of heads of a kernel are in another order",
        "jaxnn/pytorch/operations.py",
        "k = k.repeat_interleave(q.shape[-3] // k.shape[-3], dim=-3)",
        "k = k.repeat(1, q.shape[-3] // k.shape[-3], 1, 1)",
        "tests/test_torch_attention.py::test_attention_is_recognised[fused_in_groups-seen2-2-1]",
    ),
    Mutant(
        "a classifier is a router of the blocks below it",
        "jaxnn/pytorch/operations.py",
        "(left, right) if not of.depends for",
        "(left, right) for",
        "tests/test_torch_attention.py::test_a_classifier_is_no_router",
    ),
    Mutant(
        "logits of a softmax by hand in PyTorch are read without their largest",
        "jaxnn/pytorch/operations.py",
        "            logits = of.shift.added_to(exponents)",
        "            pass",
        "tests/test_torch_attention.py::test_a_softmax_by_hand_is_read_as_torch_s_own[False]",
    ),
    Mutant(
        "keys whose powers a softmax by hand in PyTorch leaves out count",
        "jaxnn/pytorch/operations.py",
        "            without = without.masked_fill(of.without_product(numerators) == 0, -np.inf)",
        "            pass",
        "tests/test_torch_attention.py::test_a_softmax_by_hand_is_read_as_torch_s_own[True]",
    ),
    Mutant(
        "a softmax by hand over features is attention in PyTorch",
        "jaxnn/pytorch/operations.py",
        "        if not _attends(powers.of, powers.kinds, axis):",
        "        if False:",
        "tests/test_torch_attention.py::test_what_is_no_softmax_by_hand",
    ),
    Mutant(
        "squares of small positions in PyTorch leave the range",
        "jaxnn/pytorch/backward_passes.py",
        "        if np.abs(e).max(initial=0) <= most // 4:",
        "        if True:",
        "tests/test_torch_attention.py::test_sizes_of_positions_far_apart",
    ),
    Mutant(
        "channels in front are positions",
        "jaxnn/pytorch/hooks.py",
        "    return 1 if is_first and not",
        "    return -1 if is_first and not",
        "tests/test_torch_attention.py::test_positions[pixels]",
    ),
    Mutant(
        "a loop that may attend is not named",
        "jaxnn/recognition/attention.py",
        'counts["dot_general"] > 1 and counts["exp"]',
        'counts["dot_general"] > 9 and counts["exp"]',
        "tests/test_attention.py::test_loops_and_kernels_that_may_attend_are_named",
    ),
    Mutant(
        "a single position is equal to all others",
        "jaxnn/flow/record/positions.py",
        " and max(arrays[0].shape[1:-1]) > 1",
        "",
        "tests/test_causes.py::test_a_single_position_is_no_fault",
    ),
    Mutant(
        "steps of a recurrent network are layers",
        "jaxnn/flow/verdict/verdict.py",
        'kind = "step" if self.step else "layer"',
        'kind = "layer"',
        "tests/test_causes.py::test_steps_of_a_recurrent_network_are_no_layers",
    ),
    Mutant(
        "a run that shares its parameters and has no data is not measured",
        "jaxnn/flow/measure/parameter_sizes.py",
        "v if v.m.ndim == one.m.ndim else v._replace(e=every)",
        "v._replace(e=every)",
        "tests/test_causes.py::test_steps_of_a_recurrent_network_are_no_layers",
    ),
    Mutant(
        "vanishing and exploding are exchanged",
        "jaxnn/flow/verdict/rates.py",
        '"exploding" if rate > 0',
        '"exploding" if rate < 0',
        "tests/test_verdict.py::test_a_word_takes_a_factor_of_ten_and_three_standard_errors",
    ),
    # Chains
    Mutant(
        "where examples of a chain meet, each keeps an exponent of its own",
        "jaxnn/flow/measure/layer_vjp.py",
        "one = mixes | everywhere",
        "one = everywhere",
        "tests/test_chain.py::test_batch_statistics",
    ),
    Mutant(
        "whether examples meet in a run is tried in its first layer alone",
        "jaxnn/flow/measure/layer_vjp.py",
        "mixes, linear = of(_average(layer), state)",
        "mixes, linear = of(layer.at(0), state)",
        "tests/test_chain.py::test_a_run_whose_first_layer_has_a_gate_that_is_closed[False]",
    ),
    Mutant(
        "of the layers of a run with integers one alone is tried",
        "jaxnn/flow/measure/layer_vjp.py",
        "jax.lax.map(lambda j: of(layer.at(j), state), jnp.arange(layer.k))",
        "jax.lax.map(lambda j: of(layer.at(j), state), jnp.arange(1))",
        "tests/test_chain.py::test_a_run_whose_first_layer_has_a_gate_that_is_closed[True]",
    ),
    Mutant(
        "examples of a chain that meet in one direction alone are not seen",
        "jaxnn/flow/measure/layer_vjp.py",
        "jnp.any(jnp.where(half, largest_of(other), largest_of(whole)) > 0)",
        "jnp.any(jnp.where(half, 0, largest_of(whole)) > 0)",
        "tests/test_chain.py::test_batch_statistics_in_a_branch_that_some_examples_drop",
    ),
    Mutant(
        "examples of torch that meet in one direction alone are not seen",
        "jaxnn/pytorch/backward_passes.py",
        "return [np.flatnonzero(odd), np.flatnonzero(~odd)]",
        "return [np.flatnonzero(odd)]",
        "tests/test_pytorch.py::test_batch_norm_in_a_branch_that_some_examples_drop",
    ),
    Mutant(
        "the menagerie takes a parameter array for one that is not used",
        "experiments/menagerie/of_jax.py",
        "if not own and norm == 0.0:",
        "if not own or norm == 0.0 or name:",
        "tests/test_menagerie.py::test_every_array_is_compared",
    ),
    Mutant(
        "the menagerie compares no layer",
        "experiments/menagerie/of_jax.py",
        "differences |= _layer_by_layer(flow, norms, rounding(dtype))",
        "_layer_by_layer(flow, norms, rounding(dtype))",
        "tests/test_menagerie.py::test_each_wrong_number_of_a_layer_is_seen",
    ),
    Mutant(
        "a plain gradient of the menagerie's ends at each layer",
        "experiments/menagerie/of_layers.py",
        "x = link(filled, x)",
        "x = link(filled, jax.lax.stop_gradient(x))",
        "tests/test_menagerie.py::test_every_array_is_compared",
    ),
    Mutant(
        "what differs from plain gradients is called measured",
        "experiments/menagerie/experiment.py",
        "MEASURED if right else DIFFERS",
        "MEASURED",
        "tests/test_menagerie.py::test_a_number_that_is_not_plain_gradients_is_a_failure",
    ),
    Mutant(
        "examples of a chain share an exponent however far apart they are",
        "jaxnn/flow/measure/layer_vjp.py",
        "one = mixes | everywhere(jnp.all((scale >= _room(m)) | (most == 0)))",
        "one = jnp.array(True)",
        "tests/test_chain.py::test_examples_far_apart",
    ),
    Mutant(
        "a network is cut between two meshes",
        "jaxnn/chain/dependence.py",
        "            or not is_on_mesh(t)\n",
        "",
        "tests/test_mesh.py::test_no_state_is_on_another_mesh",
    ),
    Mutant(
        "the axis of the examples is sought with one more than devices can share",
        "jaxnn/arrays/spread.py",
        "return int(jax.sharding.get_abstract_mesh().size) or 1",
        "return 1",
        "tests/test_mesh.py::test_examples_along_another_axis",
    ),
    Mutant(
        "programs know nothing of what is spread over devices",
        "jaxnn/arrays/spread.py",
        "sharding = sharding_of(spec, like) if any(spec) or axes is not None else None",
        "sharding = None",
        "tests/test_mesh.py::test_a_chain_on_explicit_axes[function]",
    ),
    Mutant(
        "what a loop writes is spread as its buffer is",
        "jaxnn/arrays/loops.py",
        "    values = spread(values, (None, *spec_of(value)), value)\n",
        "",
        "tests/test_mesh.py::test_what_layers_spread_goes_on_spread",
    ),
    Mutant(
        "parameters may be spread in another way than when the network was cut",
        "jaxnn/jaxpr/program.py",
        "if spec_of(v) != spec_of(own):",
        "if False:",
        "tests/test_mesh.py::test_parameters_spread_later_than_the_cut",
    ),
    Mutant(
        "inside shard_map the gradients of a chain are added up over devices",
        "jaxnn/flow/measure/layer_vjp.py",
        "trained = [[vary_over(v, apart) for v in vs] for vs in trained]",
        "",
        "tests/test_mesh.py::test_a_chain_in_shard_map",
    ),
    Mutant(
        "where examples meet over devices, each device has an exponent of its own",
        "jaxnn/flow/measure/layer_vjp.py",
        "common = highest(jnp.max(e))",
        "common = jnp.max(e)",
        "tests/test_sharded.py::test_a_batch_in_shard_map_is_that_of_the_device",
    ),
    Mutant(
        "the head of a network is computed up twice",
        "jaxnn/flow/measure/layer_vjp.py",
        "return self.is_top and self.is_alone",
        "return False and self.is_alone",
        "tests/test_costs.py::test_a_head_is_computed_up_once",
    ),
    Mutant(
        "the largest number of an array is that of all arrays measured with it",
        "jaxnn/arrays/rows.py",
        "total(jnp.where(is_of, of_strips[None], 0), axis=1)",
        "total(jnp.where(True, jnp.broadcast_to(of_strips, is_of.shape), 0), axis=1)",
        "tests/test_numbers.py::test_arrays_whose_norms_are_taken_together",
    ),
    Mutant(
        "the reverse rule of a small layer is compiled for each place that calls it",
        "jaxnn/flow/measure/layer_vjp.py",
        "delta, self.is_alone and vjp.is_small)",
        "delta, False)",
        "tests/test_costs.py::test_the_reverse_rule_of_a_layer_is_compiled_once",
    ),
    Mutant(
        "where examples are far apart, Δ of a small layer's parameters is that of all exponents",
        "jaxnn/flow/measure/layer_vjp.py",
        "return [jnp.where(i == 0, v, first) for v, first in chosen], below",
        "return [v for v, first in chosen], below",
        "tests/test_chain.py::test_examples_far_apart",
    ),
    Mutant(
        "zeros behind a small state count in its size",
        "jaxnn/flow/record/state_record.py",
        "(counts.max() / counts)",
        "(counts / counts)",
        "tests/test_state_records.py::test_states_together_are_each_by_itself",
    ),
    Mutant(
        "what differs between the examples of a small state is that of all its arrays",
        "jaxnn/flow/record/state_record.py",
        "of_all[i] = of_all[i]._replace(examples=record.examples)",
        "of_all[i] = of_all[i]._replace(entries=record.entries)",
        "tests/test_state_records.py::test_states_together_have_the_numbers_of_numpy",
    ),
    Mutant(
        "each number of a state has a copy of the state",
        "jaxnn/flow/record/state_record.py",
        "arrays, e = barrier(as_one_row(",
        "arrays, e = (as_one_row(",
        "tests/test_costs.py::test_a_head_takes_little_memory",
    ),
    Mutant(
        "what the reverse rules of all layers need is stored on the way up",
        "jaxnn/flow/measure/layer_vjp.py",
        "if not self.is_top:",
        "if False:",
        "tests/test_chain.py::test_unequal_layers_take_the_memory_of_plain_gradients",
    ),
    Mutant(
        "a gradient is spread in another way than its parameter",
        "jaxnn/train/steps.py",
        "    gradient = jax.tree.map(pcast_like, gradient, params)\n",
        "",
        "tests/test_mesh.py::test_training_on_explicit_axes[rows]",
    ),
    Mutant(
        "numbers that are of no mesh are computed on the one that is set",
        "jaxnn/arrays/compiled.py",
        "with jax.disable_jit(False), on_no_mesh(), transfers():",
        "with jax.disable_jit(False), transfers():",
        "tests/test_mesh.py::test_explicit_axes[run-gradient_flow]",
    ),
    Mutant(
        "what differs between examples is taken between units",
        "jaxnn/flow/record/example_spread.py",
        "_spread(rows, 0, ",
        "_spread(rows, 1, ",
        "tests/test_chain.py::test_what_differs_between_examples",
    ),
    Mutant(
        "examples are lost one layer sooner than they are",
        "jaxnn/flow/formats/ranges.py",
        "first = int(apart.max()) + 1",
        "first = int(apart.max())",
        "tests/test_chain.py::test_rounding_has_no_rank",
    ),
    # Sweeps and their seeds
    Mutant(
        "every seed of a depth sweep has the batch of the first",
        "experiments/learning/networks.py",
        "np.random.default_rng(seed).permutation",
        "np.random.default_rng(networks.seeds[0]).permutation",
        "tests/test_depth.py::test_each_seed_has_a_batch_of_its_own",
    ),
    Mutant(
        "every seed on a device is the first one there",
        "experiments/runs/devices.py",
        "lambda each: f(*each, *same)",
        "lambda _: f(*jax.tree.map(lambda v: v[0], own), *same)",
        "tests/test_depth.py::test_each_seed_draws_parameters_of_its_own",
    ),
    Mutant(
        "every round is the first one",
        "experiments/runs/devices.py",
        "for each in zip(*rounds, strict=True)",
        "for each in [next(zip(*rounds))] * len(rounds[0])",
        "tests/test_depth.py::test_measurements_are_one_round_or_each_one_of_its_own",
    ),
    Mutant(
        "entries that only fill the devices count as results",
        "experiments/runs/devices.py",
        "lambda values: values[first], self.get_entries",
        "lambda values: values, self.get_entries",
        "tests/test_depth.py::test_entries_that_only_fill_the_devices_are_dropped",
    ),
    Mutant(
        "a seed that two devices have is measured by the first alone",
        "experiments/learning/networks.py",
        "lambda values: values[entries, columns], results",
        "lambda values: values[entries[:, :1], columns], results",
        "tests/test_depth.py::test_devices_divide_the_depths_of_a_seed_that_both_have",
    ),
    Mutant(
        "a kept draw serves a deeper network",
        "experiments/learning/networks.py",
        "self._last[0] != (dataset, drawn)",
        "replace(self._last[0][1], depths=()) != replace(drawn, depths=())",
        "tests/test_depth.py::test_a_kept_draw_is_what_a_cell_would_draw_itself",
    ),
    Mutant(
        "columns of a bundled table are scaled to variance 1, not to a sum of squares of 1",
        "experiments/learning/bundled.py",
        " / x.std(axis=0) / np.sqrt(len(x))",
        " / x.std(axis=0)",
        "tests/test_data.py::test_bundled_sets_are_scikit_learn_s[diabetes]",
    ),
    Mutant(
        "a room is larger than the deepest network needs",
        "experiments/learning/networks.py",
        "_room(max(run, deepest - 1), 4))",
        "_room(max(run, deepest - 1), 16))",
        "tests/test_depth.py::test_few_rooms_and_none_larger_than_the_deepest_network_needs",
    ),
    Mutant(
        "what is needed at the end is not imported meanwhile",
        "experiments/runs/ahead.py",
        "_pool.submit(partial(importlib.import_module, module))",
        "pass",
        "tests/test_ahead.py::test_a_module_is_imported_meanwhile",
    ),
    Mutant(
        "a prepared program is not the one that is called",
        "experiments/learning/networks.py",
        "program or partial(measuring, examples=networks.examples)",
        "program or partial(measuring, examples=not networks.examples)",
        "tests/test_ahead.py::test_a_cell_calls_the_programs_that_were_prepared_for_it[float32]",
    ),
    Mutant(
        "a remedy is measured by another program than was prepared",
        "experiments/remedies/cells.py",
        "networks.prepare(self._dataset, drawn, measuring)",
        "networks.prepare(self._dataset, drawn)",
        "tests/test_ahead.py::test_a_remedy_is_measured_by_the_program_that_was_prepared_for_it",
    ),
    Mutant(
        "a thread compiles in float32 for a run in float64",
        "experiments/runs/ahead.py",
        "with jax.enable_x64(wide):",
        "with jax.enable_x64(False):",
        "tests/test_ahead.py::test_a_cell_calls_the_programs_that_were_prepared_for_it[float64]",
    ),
    Mutant(
        "a script that was damaged where it is kept goes into pages",
        "experiments/pages/engine.py",
        "if digest == _digest(script):",
        "if digest:",
        "tests/test_engine.py::test_vega_is_bundled_once_and_again_if_what_was_kept_is_damaged",
    ),
    Mutant(
        "what the drawing process draws is lost once it has gone",
        "experiments/pages/engine.py",
        "            return here()",
        "            raise",
        "tests/test_engine.py",
    ),
    Mutant(
        "the critical σ_w behind a norm is that of a plain layer",
        "jaxnn/theory/meanfield.py",
        "return 1 / jnp.sqrt(chi(activation, 1.0, q, hidden=hidden))",
        "return 1 / jnp.sqrt(chi(activation, 1.0, q))",
        "tests/test_meanfield.py::test_critical_sigma_w_behind_a_norm",
    ),
    Mutant(
        "behind a norm the verdict advises the critical σ_w of a plain layer",
        "jaxnn/flow/verdict/network_advice.py",
        "meanfield.critical_sigma_w(activation, sigma_b, hidden=hidden)",
        "meanfield.critical_sigma_w(activation, sigma_b)",
        "tests/test_verdict.py::test_behind_a_norm_the_critical_sigma_w_is_that_of_the_norm",
    ),
    Mutant(
        "weights that are critical behind their norm are advised again",
        "jaxnn/flow/verdict/network_advice.py",
        "if sigma_w is None or self._is_at(sigma_w):",
        "if sigma_w is None:",
        "tests/test_verdict.py::test_behind_a_norm_the_critical_sigma_w_is_that_of_the_norm",
    ),
    Mutant(
        "the output takes in σ of the deepest layer whatever the depth",
        "jaxnn/passes/walk.py",
        "elif choices and depth is not None:",
        "elif False:",
        "tests/test_lists.py::test_a_depth_takes_the_start_of_the_lists",
    ),
    Mutant(
        "all layers of a network have its first activation",
        "jaxnn/passes/walk.py",
        '(ACTIVATIONS["identity"], *net.activations)',
        '(ACTIVATIONS["identity"], *net.activations[:1] * len(net.activations))',
        "tests/test_lists.py::test_the_gradient_is_that_of_a_plain_pass",
    ),
    Mutant(
        "what a kind of layer saves in a run of several is lost",
        "jaxnn/passes/walk.py",
        "tuple(extra if p == own else _zeros(v) for p, v in places.items())",
        "tuple(_zeros(v) for v in places.values())",
        "tests/test_lists.py::test_the_gradient_is_that_of_a_plain_pass",
    ),
    Mutant(
        "the spectrum takes the layers of a run for equal",
        "jaxnn/passes/spectrum.py",
        "in groupby(each[i : i + k]):",
        "in groupby([0] * k):",
        "tests/test_lists.py::test_the_spectrum_of_a_run_is_that_of_its_layers",
    ),
    Mutant(
        "a block of a list stands between layers of two widths",
        "jaxnn/network/network.py",
        "if block != DENSE and below != above:",
        "if False:",
        "tests/test_lists.py::test_a_list_that_does_not_fit",
    ),
    Mutant(
        "a list of equal entries is another network",
        "jaxnn/network/lists.py",
        "return values[0] if len(set(values)) == 1 else values",
        "return values",
        "tests/test_lists.py::test_a_list_of_equal_entries_is_the_network_given_once",
    ),
    Mutant(
        "a list is homogeneous where one of its activations is",
        "jaxnn/network/network.py",
        "return all(sigma.homogeneous",
        "return any(sigma.homogeneous",
        "tests/test_lists.py::test_each_layer_has_its_own",
    ),
    Mutant(
        "examples meet in no layer after the second",
        "jaxnn/network/checks.py",
        "next(filter(rows_meet, net.blocks), None)",
        "next(filter(rows_meet, net.blocks[:2]), None)",
        "tests/test_lists.py::test_a_block_stands_where_the_widths_agree",
    ),
    Mutant(
        "a run is drawn from the distribution of its first layer",
        "jaxnn/network/initializers.py",
        "groupby(stretch, key=draw)",
        "groupby(stretch, key=lambda i: draw(2))",
        "tests/test_lists.py::test_each_layer_is_drawn_from_its_own_distribution",
    ),
    Mutant(
        "of a first and a last layer of one shape the first is drawn",
        "jaxnn/network/initializers.py",
        "(jax.random.fold_in(key, i)) for i in stretch]",
        "(jax.random.fold_in(key, i)) for i in [*stretch][:1]]",
        "tests/test_lists.py::"
        "test_a_network_of_one_width_with_one_hidden_layer_has_both_of_its_layers",
    ),
    Mutant(
        "in theory a layer has the weights of the one below",
        "jaxnn/theory/layers.py",
        "jnp.append(v[1:], v[-1])",
        "v",
        "tests/test_lists.py::test_theory_follows_the_layers_one_by_one",
    ),
    Mutant(
        "in theory a layer takes in σ of the z that comes out",
        "jaxnn/theory/layers.py",
        "list(zip(blocks, sigmas, strict=False))",
        "list(zip(blocks, sigmas[1:], strict=False))",
        "tests/test_lists.py::test_theory_follows_the_layers_one_by_one",
    ),
    Mutant(
        "a batch norm among other blocks has a theory",
        "jaxnn/theory/arguments.py",
        "meeting is not None and len(set(blocks)) > 1",
        "False",
        "tests/test_lists.py::test_where_theory_has_no_lists",
    ),
    Mutant(
        "activations that differ have one critical σ_w",
        "jaxnn/flow/verdict/network_advice.py",
        "if not isinstance(activation, Activation):\n        return None",
        "activation = activation[0] if isinstance(activation, tuple) else activation",
        "tests/test_lists.py::test_a_verdict_says_of_lists_what_it_can",
    ),
    Mutant(
        "the last layer of looks-linear weights is one between hidden layers",
        "jaxnn/network/initializers.py",
        "replace(scheme, first=i == 0, last=i == top)",
        "replace(scheme, first=i == 0)",
        "tests/test_initializers.py::test_looks_linear_weights_are_mirrored_and_pair_units",
    ),
    Mutant(
        "looks-linear units are not mirrored",
        "jaxnn/network/initializers.py",
        "jnp.concatenate([top, -top], axis=-2)",
        "jnp.concatenate([top, top], axis=-2)",
        "tests/test_initializers.py::test_looks_linear_weights_make_a_deep_relu_network_linear",
    ),
    Mutant(
        "a kept draw serves another table of the same shape",
        "experiments/learning/networks.py",
        "self._last[0] != (dataset, drawn)",
        "self._last[0][1] != drawn",
        "tests/test_depth.py::test_a_kept_draw_is_not_that_of_another_table",
    ),
    Mutant(
        "a cell of a resumed sweep is measured with another cell's seed",
        "experiments/runs/sweep.py",
        "measure_cell(cells[i])",
        "measure_cell(cells[missing[:i].count(True)])",
        "tests/test_sweep.py::test_a_sweep_goes_on_where_it_failed[3]",
    ),
    Mutant(
        "a resumed training run shuffles with another key",
        "experiments/train/loop.py",
        "jax.random.wrap_key_data(self.state.key)",
        "jax.random.key(0)",
        "tests/test_train.py::test_a_resumed_run_ends_in_the_same_best_epoch",
    ),
    Mutant(
        "every epoch of a descent has the batches of the first",
        "experiments/learning/descent.py",
        "np.arange(-(-steps // per_epoch))",
        "np.zeros(-(-steps // per_epoch), int)",
        "tests/test_trainability.py"
        "::test_a_network_is_trained_as_a_plain_loop_of_jax_grad_trains_it[4]",
    ),
    Mutant(
        "a checkpoint that failed is tried again at once",
        "experiments/train/loop.py",
        "        self.epoch = progress.epoch\n",
        "",
        "tests/test_train.py::test_a_checkpoint_that_fails_is_not_tried_again",
    ),
    Mutant(
        "freed memory goes back to the system",
        "experiments/runs/heap.py",
        "mallopt(number, value)",
        "mallopt(number, 0)",
        "tests/test_memory.py::test_freed_memory_is_kept",
    ),
    Mutant(
        "the memory that a thread has freed goes back to the system",
        "experiments/runs/heap.py",
        "KEPT, PAD = 1 << 30, 1 << 26",
        "KEPT, PAD = 1 << 30, 1 << 17",
        "tests/test_memory.py::test_freed_memory_is_kept",
    ),
    Mutant(
        "the first layers are cut from the end of the deepest network",
        "experiments/learning/networks.py",
        "itemgetter(slice(room))",
        "itemgetter(slice(-room, None))",
        "tests/test_depth.py::test_a_network_is_the_start_of_the_deepest_one",
    ),
    Mutant(
        "theory is compiled ahead for other numbers than it gets",
        "experiments/depth/theory.py",
        "program.prepare(*[np.float64(1)] * 3)",
        "program.prepare(*[np.float32(1)] * 3)",
        "tests/test_ahead.py::test_theory_calls_the_program_that_was_prepared_for_it",
    ),
    Mutant(
        "the exported network is that of the last epoch instead of the best",
        "experiments/train/loop.py",
        "if progress.best.epoch == epoch:",
        "if progress.best.epoch is not None:",
        "tests/test_train.py::test_a_resumed_run_ends_in_the_same_best_epoch",
    ),
    Mutant(
        "the end of a grid's range is left out",
        "experiments/runs/grid.py",
        "values[-1] + by) <= end",
        "values[-1] + by) < high",
        "tests/test_grid.py::test_numbers_are_those_a_user_would_write[texts2-expected2]",
    ),
    Mutant(
        "a depth trains even if a shallower one does not",
        "experiments/trainability/report.py",
        'pl.col("trained").cum_min()',
        'pl.col("trained")',
        "tests/test_trainability.py::test_the_ridge_is_found",
    ),
    Mutant(
        "the gradient of a remedy is that over the output's, not the last hidden layer's",
        "experiments/remedies/cells.py",
        "lax.dynamic_index_in_dim(log_delta, depth - 1, keepdims=False)",
        "log_delta[-1]",
        "tests/test_remedies.py::test_what_is_measured_is_the_plain_recursion",
    ),
    Mutant(
        "a distance counts a pair of an example with itself",
        "experiments/remedies/cells.py",
        "/ (count - 1)",
        "/ count",
        "tests/test_remedies.py::test_the_distance_is_one_minus_the_mean_correlation_of_pairs",
    ),
    Mutant(
        "a skip connection carries no correlation in theory",
        "experiments/remedies/theory.py",
        "through = q[i - 1] / q[i]",
        "through = 0.0",
        "tests/test_remedies.py"
        "::test_correlations_in_closed_form_are_those_of_the_library_s_map[pre_norm]",
    ),
    Mutant(
        "theory of a remedy that depends on depth is that of the deepest network",
        "experiments/remedies/table.py",
        "not callable(self.sigma) and self.kind.scale != BY_DEPTH",
        "not callable(self.sigma)",
        "tests/test_remedies.py::test_each_remedy_is_what_its_name_says",
    ),
    Mutant(
        "a law holds within twice its tolerance",
        "experiments/laws/power.py",
        "self.excess <= self.high",
        "self.excess <= 2 * self.high",
        "tests/test_laws.py::test_what_holds_is_within_the_tolerance",
    ),
    Mutant(
        "units of residual blocks forget their slopes from layer to layer",
        "jaxnn/theory/finite_width.py",
        "(4 * s * share +",
        "(4 * s * mu1 +",
        "tests/test_theory.py::test_the_band_of_residual_blocks_layer_by_layer[relu]",
    ),
    Mutant(
        "slopes of units with a skip connection correlate by q, not by its root",
        "jaxnn/theory/finite_width.py",
        "c = jnp.exp(0.5 * jnp.minimum(log_q[at] - log_q, 0))",
        "c = jnp.exp(jnp.minimum(log_q[at] - log_q, 0))",
        "tests/test_theory.py::test_the_band_of_residual_blocks_layer_by_layer[relu]",
    ),
    Mutant(
        "the mean of a logarithm counts what two layers add together",
        "jaxnn/theory/finite_width.py",
        "return from_the_top(alone), ",
        "return from_the_top(alone + 2 * t * shared), ",
        "tests/test_theory.py::test_the_band_of_residual_blocks_layer_by_layer[relu]",
    ),
    Mutant(
        "the power law of a norm with a skip has the depth's gamma functions upside down",
        "experiments/laws/norm_with_skip.py",
        "gammaln(last + chi) - gammaln(last)",
        "gammaln(last) - gammaln(last + chi)",
        "tests/test_laws.py::test_a_power_law_is_the_product_of_its_blocks",
    ),
    Mutant(
        "rows count by their squares in their mean correlation",
        "experiments/laws/passes.py",
        "z / np.linalg.norm(z, axis=-1, keepdims=True)",
        "z / np.sqrt(np.mean(np.sum(z**2, axis=-1, keepdims=True), axis=-2, keepdims=True))",
        "tests/test_laws.py::test_the_mean_correlation_of_rows_is_that_of_every_pair",
    ),
    Mutant(
        "the bias of a sample's correlation lacks the covariance of the two squares",
        "experiments/laws/tailored.py",
        "0.75 * fourth + 0.25 * mixed",
        "fourth",
        "tests/test_laws.py::test_the_bias_of_a_linear_network_s_correlation",
    ),
    Mutant(
        "two depths share a step size where they share η√L",
        "experiments/laws/step_size.py",
        "round(math.log2(blocks) / 2)",
        "round(math.log2(blocks) * 0)",
        "tests/test_laws.py::test_step_sizes_that_two_depths_share",
    ),
    Mutant(
        "a ratio of the benchmark is upside down",
        "experiments/bench/pairs.py",
        "[one / other for one, other in times]",
        "[other / one for one, other in times]",
        "tests/test_bench.py::test_a_ratio_is_our_seconds_over_theirs",
    ),
    # Data, measures, models
    Mutant(
        "a separator inside quotes counts as one",
        "experiments/learning/records.py",
        "np.flatnonzero((block == ord(separator)) & (is_inside == 0))",
        "np.flatnonzero(block == ord(separator))",
        "tests/test_reading.py::test_structure_is_seen_across_chunks",
    ),
    Mutant(
        "quotes are forgotten from chunk to chunk",
        "experiments/learning/records.py",
        "inside, before = is_inside[-1], before",
        "inside, before = np.uint8(0), before",
        "tests/test_reading.py::test_structure_is_seen_across_chunks",
    ),
    Mutant(
        "an array is read before what it claims is checked",
        "experiments/learning/arrays.py",
        "left_out = _check_arrays(path, wanted)",
        "left_out = ()",
        "tests/test_reading.py::test_an_archive_larger_than_memory_is_refused_before_it_is_read",
    ),
    Mutant(
        "an amount in brackets is above zero",
        "experiments/learning/written.py",
        'pl.col("open", "minus").is_not_null()',
        'pl.col("minus").is_not_null()',
        "tests/test_written.py::test_what_people_write_is_read_and_said",
    ),
    Mutant(
        "a comma before three digits is a decimal sign, whatever the other columns have",
        "experiments/learning/written.py",
        "if len(others) == 1:",
        "if not others:",
        "tests/test_written.py::test_what_people_write_is_read_and_said",
    ),
    Mutant(
        "a date of two readings is taken as day first",
        "experiments/learning/dates.py",
        "if len(fitting) == 2 and not dots",
        "if len(fitting) == 3 and not dots",
        "tests/test_written.py::test_what_may_be_two_things_is_refused_and_each_way_out_works",
    ),
    Mutant(
        "an offset from UTC is added",
        "experiments/learning/dates.py",
        "times = times - (offset",
        "times = times + (offset",
        "tests/test_written.py::test_what_people_write_is_read_and_said",
    ),
    Mutant(
        "a first line of numbers has the names of columns",
        "experiments/learning/header.py",
        "kind.is_numeric() if column.dtype.is_numeric()",
        "False if column.dtype.is_numeric()",
        "tests/test_written.py::test_a_header_that_is_missing_is_refused_and_both_ways_out_work",
    ),
    Mutant(
        "a feature that falls as the target ascends is not said",
        "experiments/learning/leaks.py",
        "np.all(steps >= 0) or np.all(steps <= 0)",
        "np.all(steps >= 0)",
        "tests/test_written.py::test_a_feature_that_determines_the_target_is_said",
    ),
    Mutant(
        "a file that was changed since the run wrote it is not seen",
        "experiments/runs/store.py",
        "            if not same:\n",
        "            if name == RUN:\n",
        "tests/test_store.py::test_a_file_that_was_changed_since_is_named_and_written_anew",
    ),
    Mutant(
        "digests of before stay while files are written anew",
        "experiments/runs/store.py",
        "if self._described is not None and name != RUN:",
        "if self._described is not None and name == RUN:",
        "tests/test_store.py::test_a_file_that_was_changed_since_is_named_and_written_anew",
    ),
    Mutant(
        "code that ends the program has no sentence",
        "jaxnn/cli/source.py",
        "if isinstance(error, SystemExit):",
        "if isinstance(error, SystemError):",
        "tests/test_sentences.py::test_code_that_ends_is_a_sentence_with_an_end",
    ),
    Mutant(
        "numbers of NumPy alone reach JAX",
        "jaxnn/arrays/compiled.py",
        'dtype.char in "gG"',
        'dtype.char in "G"',
        "tests/test_sentences.py::test_numbers_that_jax_has_not",
    ),
    Mutant(
        "a picture that is not laid out passes",
        "experiments/pages/engine.py",
        "min(float(size[1]), float(size[2])) < LEAST",
        "min(float(size[1]), float(size[2])) < 1",
        "tests/test_engine.py::test_what_the_engine_draws_is_checked",
    ),
    Mutant(
        "a picture without marks passes",
        "experiments/pages/engine.py",
        "if MARKS.search(made.svg) is None:",
        "if not made.svg:",
        "tests/test_engine.py::test_what_the_engine_draws_is_checked",
    ),
    Mutant(
        "each class is held out with as many rows",
        "experiments/learning/splits.py",
        "count = max(1, round(fraction * int(np.count_nonzero(labels == label))))",
        "count = max(1, out // len(np.unique(labels)))",
        "tests/test_encoding.py::test_each_part_has_its_share_of_each_class",
    ),
    Mutant(
        "missing values are filled by all rows",
        "experiments/learning/splits.py",
        "Encoder.fitted(table.frame[rest], table.missing)",
        "Encoder.fitted(table.frame, table.missing)",
        "tests/test_train.py::test_what_is_held_out_does_not_reach_the_training_rows",
    ),
    Mutant(
        "a text that no training row has is the last one",
        "experiments/learning/encoding.py",
        "default=-1)",
        "default=len(self.values) - 1)",
        "tests/test_encoding.py::test_features_are_those_of_scikit_learn",
    ),
    Mutant(
        "rows of the test set are trained on",
        "experiments/learning/splits.py",
        '_held_out("validation", table, rest,',
        '_held_out("validation", table, every,',
        "tests/test_train.py::test_what_is_held_out_does_not_reach_the_training_rows",
    ),
    Mutant(
        "features are standardised by all rows",
        "experiments/learning/splits.py",
        "Scaler.fitted(x[rest])",
        "Scaler.fitted(x)",
        "tests/test_train.py::test_what_is_held_out_does_not_reach_the_training_rows",
    ),
    Mutant(
        "AUC counts ties as lost",
        "experiments/learning/measures.py",
        "(below + upto)",
        "(below + below)",
        "tests/test_train.py::test_auc_is_that_of_scikit_learn_with_ties_too",
    ),
    Mutant(
        "predict takes columns by position instead of by name",
        "experiments/learning/encoding.py",
        "c.encoded(frame[c.name]) for c in self.columns",
        "c.encoded(frame.to_series(i)) for i, c in enumerate(self.columns)",
        "tests/test_predict.py::test_columns_are_taken_by_name_and_answers_have_the_target_s_units",
    ),
    Mutant(
        "a square θ is not transposed for PyTorch",
        "experiments/learning/model.py",
        'values.T if layout == "torch" else values',
        'values.T if layout == "torch" and len(set(values.shape)) > 1 else values',
        "tests/test_model.py::test_a_model_is_what_its_file_says[multiclass-sizes0-tanh-torch]",
    ),
    # Runs, files and pages
    Mutant(
        "a run that fails leaves an empty folder",
        "experiments/runs/experiment.py",
        "    not_drawn = write(store, conclusion, started, finished, experiment.defaults)\n",
        "    if conclusion.failure is not None:\n"
        "        raise runtime.FailedError(conclusion.failure)\n"
        "    not_drawn = write(store, conclusion, started, finished, experiment.defaults)\n",
        "tests/test_depth.py::test_a_failure_is_raised_when_the_folder_is_filled",
    ),
    Mutant(
        "verdicts are printed but not stored",
        "experiments/runs/experiment.py",
        "verdicts=conclusion.verdicts",
        "verdicts=[]",
        "tests/test_depth.py::test_a_failure_is_raised_when_the_folder_is_filled",
    ),
    Mutant(
        "a file is renamed before it is on the disk",
        "experiments/runs/files.py",
        "sync(temporary)",
        "pass",
        "tests/test_store.py::test_a_file_is_synced_before_it_has_its_name_and_its_folder_after",
    ),
    Mutant(
        "a file is copied to its name instead of renamed",
        "experiments/runs/files.py",
        "temporary.replace(path)",
        "path.write_bytes(content)",
        "tests/test_store.py::test_a_file_is_synced_before_it_has_its_name_and_its_folder_after",
    ),
    Mutant(
        "the checksum of a cell is not compared",
        "experiments/runs/store.py",
        "if path.name == _name_of(cell, content):",
        "if content:",
        "tests/test_store.py::test_a_broken_part_is_found_said_and_gone",
    ),
    Mutant(
        "a run with other settings is continued",
        "experiments/runs/store.py",
        "if differing:",
        "if False:",
        "tests/test_store.py::test_other_settings_are_refused_with_the_difference",
    ),
    Mutant(
        "two processes may write into one folder",
        "experiments/runs/store.py",
        "self._lock.acquire(timeout=0)",
        "pass",
        "tests/test_store.py::test_one_process_at_a_time",
    ),
    Mutant(
        "nan reaches a chart as a number",
        "experiments/pages/charts.py",
        "pl.when(number.is_finite()).then(number.round_sig_figs(DIGITS))",
        "number.round_sig_figs(DIGITS)",
        "tests/test_trainability.py::test_the_picture_has_the_curves_of_the_depth_scale[xi_c2]",
    ),
    Mutant(
        "a name can end the script of a page",
        "experiments/pages/web.py",
        "text.translate(ESCAPES)",
        "text",
        "tests/test_report.py::test_json_in_a_script_is_the_same_json_without_a_tag",
    ),
    Mutant(
        "a name in a page is markup",
        "experiments/pages/web.py",
        "autoescape=True",
        "autoescape=False",
        "tests/test_report.py::test_every_text_of_the_page_is_escaped",
    ),
    Mutant(
        "a name steers the terminal",
        "jaxnn/texts.py",
        'c if _shows(c) else "�" for c in text',
        "c for c in text",
        "tests/test_show.py::test_a_name_does_not_steer_the_terminal_or_the_table",
    ),
    Mutant(
        "a name turns the text around it",
        "jaxnn/texts.py",
        '("Cc", "Cf", "Cs", "Zl", "Zp")',
        '("Cc", "Cs", "Zl", "Zp")',
        "tests/test_texts.py::test_what_cannot_be_shown_is_replaced",
    ),
    Mutant(
        "a character that XML forbids and Unicode has not is shown",
        "jaxnn/texts.py",
        "return not (hidden or no_character)",
        "return not hidden",
        "tests/test_texts.py::test_every_clean_character_has_a_place_in_xml",
    ),
    Mutant(
        "an ideographic space in a name is replaced",
        "jaxnn/texts.py",
        "return not (hidden or no_character)",
        "return character.isprintable() or not (no_character or hidden or character.isspace())",
        "tests/test_texts.py::test_what_can_be_shown_stays",
    ),
    Mutant(
        "two names become one when they are cleaned",
        "jaxnn/texts.py",
        "        while name in texts:",
        "        while False:",
        "tests/test_texts.py::test_texts_that_differ_still_differ_and_are_renamed_wherever_they_stand",
    ),
    Mutant(
        "a name in a chart ends the process of its user",
        "jaxnn/flow/view/chart.py",
        "return drawable(_in_script(rows))",
        "return _in_script(rows)",
        "tests/test_texts.py::test_a_chart_holds_no_text_that_ends_the_process",
    ),
    Mutant(
        "a name ends the script of a chart's page",
        "jaxnn/flow/view/chart.py",
        '.replace("</", "<\\u200d/")',
        "",
        "tests/test_texts.py::test_a_name_does_not_end_the_script_of_a_saved_chart",
    ),
    Mutant(
        "a title ends the process that makes a chart for a page",
        "jaxnn/flow/view/chart.py",
        "= drawable(chart.to_dict())",
        "= chart.to_dict()",
        "tests/test_texts.py::test_a_chart_for_a_page_is_cleaned",
    ),
    Mutant(
        "a class's name ends the process that draws",
        "experiments/pages/engine.py",
        "    arguments = drawable(arguments)\n",
        "",
        "tests/test_engine.py::test_a_process_that_ended_by_itself_is_done_without",
    ),
    Mutant(
        "an emoji in a long name is cut in two",
        "experiments/pages/engine.py",
        "    from jaxnn.texts import drawable  # here and above, for it imports JAX\n",
        "    from jaxnn.texts import cleaned as drawable\n",
        "tests/test_engine.py::test_a_process_that_ended_by_itself_is_done_without",
    ),
    Mutant(
        "the data of a chart's page have other names than its words",
        "experiments/pages/charts.py",
        "web.in_script(cleaned(spec))",
        "web.in_script(spec)",
        "tests/test_texts.py::test_pages_are_clean_in_their_words_and_in_their_data",
    ),
    Mutant(
        "the data of a report cannot be written",
        "experiments/pages/report.py",
        "inside = cleaned(",
        "inside = dict(",
        "tests/test_texts.py::test_pages_are_clean_in_their_words_and_in_their_data",
    ),
    Mutant(
        "the words of a page cannot be written",
        "experiments/pages/web.py",
        "**cleaned(values)",
        "**values",
        "tests/test_texts.py::test_pages_are_clean_in_their_words_and_in_their_data",
    ),
    Mutant(
        "a cell steers the terminal",
        "experiments/pages/tables.py",
        "(clean(c) if isinstance(c, str) else c for c in cells)",
        "cells",
        "tests/test_texts.py::test_tables_sentences_and_logs_of_experiments_steer_no_terminal",
    ),
    Mutant(
        "a table is wider than a narrow terminal",
        "experiments/runs/streams.py",
        "len(columns[-1]) > 1 and excess([*columns[-1], column]) > 0",
        "len(columns[-1]) > 1 and excess([first, column]) > 0",
        "tests/test_texts.py::test_a_table_comes_in_parts_where_the_terminal_is_narrow",
    ),
    Mutant(
        "the layers are wider than a narrow terminal",
        "jaxnn/cli/diagnosis.py",
        "_width(names, *part, column) > width",
        "_width(*part, column) > width",
        "tests/test_texts.py::test_the_layers_come_in_parts_where_the_terminal_is_narrow",
    ),
    Mutant(
        "a bar is wider than a narrow terminal",
        "experiments/runs/progress.py",
        "if console.width < BAR_FROM:",
        "if console.width < 0:",
        "tests/test_sweep.py::test_a_narrow_terminal_has_the_bar_and_the_time",
    ),
    Mutant(
        "a share that is small is spelled as none",
        "jaxnn/texts.py",
        "if 0 < share < 1e-5:",
        "if share == 1e-5:",
        "jaxnn/texts.py::jaxnn.texts.percent",
    ),
    Mutant(
        "one is counted as several",
        "jaxnn/texts.py",
        "    if count == 1:",
        "    if count == 0:",
        "tests/test_texts.py::test_one_is_no_plural",
    ),
    Mutant(
        "an array is told entry by entry",
        "jaxnn/texts.py",
        "if dtype is not None and isinstance(shape, tuple) and shape:",
        "if dtype == 0:",
        "tests/test_sentences.py::test_what_was_given_is_told_on_one_line",
    ),
    Mutant(
        "an export is found by type checkers alone",
        "jaxnn/__init__.py",
        '        "flow.view.chart": "chart",\n',
        "",
        "tests/test_package.py::test_python_finds_each_export_where_type_checkers_do",
    ),
    Mutant(
        "a guard against transfers stops what hands over NumPy's arrays",
        "jaxnn/arrays/compiled.py",
        'if getattr(jax.config, _GUARD, None) in (None, "allow"):',
        "if True:",
        "tests/test_compilations.py::test_a_guard_against_transfers_by_mistake_stops_no_call[forward]",
    ),
    Mutant(
        "a sentence steers the terminal",
        "experiments/runs/streams.py",
        "Text(clean(line))",
        "Text(line)",
        "tests/test_texts.py::test_tables_sentences_and_logs_of_experiments_steer_no_terminal",
    ),
    Mutant(
        "a line of the log steers the terminal",
        "experiments/__main__.py",
        "return clean_lines(super().format(record))",
        "return super().format(record)",
        "tests/test_texts.py::test_tables_sentences_and_logs_of_experiments_steer_no_terminal",
    ),
    Mutant(
        "a folder with brackets in its name cannot be shown",
        "experiments/show.py",
        "pl.read_parquet(path, glob=False)",
        "pl.read_parquet(path)",
        "tests/test_show.py::test_a_folder_is_no_pattern",
    ),
    Mutant(
        "layers of the verdict have names that steer the terminal",
        "jaxnn/flow/verdict/verdict.py",
        "names=cleaned(flow.names)",
        "names=flow.names",
        "tests/test_texts.py::test_a_diagnosis_prints_and_shows_clean_names",
    ),
    Mutant(
        "a panel of a file with a control character in its name is empty",
        "experiments/peers/picture.py",
        'alt.FieldEqualPredicate(field="data", equal=data)',
        "f'datum.data == \\'{data}\\''",
        "tests/test_texts.py::test_a_panel_shows_the_rows_of_its_file_whatever_the_file_is_called",
    ),
    Mutant(
        "every death of the drawing process is lack of memory",
        "experiments/pages/engine.py",
        'if by == "SIGKILL" or SHORT_OF_MEMORY.search(words):',
        "if True:",
        "tests/test_engine.py::test_a_death_is_told_by_its_signal_and_last_words",
    ),
    Mutant(
        "the drawing process dies without a word",
        "experiments/pages/engine.py",
        "        self._printed.seek(0)\n",
        "",
        "tests/test_engine.py::test_a_death_is_told_by_its_signal_and_last_words",
    ),
    Mutant(
        "what ends the drawing process is drawn here, and ends the run",
        "experiments/pages/engine.py",
        "            if process.death() is None:\n",
        "            if True:\n",
        "tests/test_engine.py::test_a_death_is_told_by_its_signal_and_last_words",
    ),
    Mutant(
        "a picture that is not drawn takes the report with it",
        "experiments/runs/experiment.py",
        "        except engine.NotDrawnError as error:\n",
        "        except ZeroDivisionError as error:\n",
        "tests/test_depth.py::test_a_picture_that_cannot_be_drawn_takes_nothing_with_it",
    ),
    Mutant(
        "the picture of a stopped run stands in for one that is not drawn",
        "experiments/runs/experiment.py",
        "                store.remove(name)  # what a stopped run may have left\n",
        "                pass\n",
        "tests/test_depth.py::test_a_picture_that_cannot_be_drawn_takes_nothing_with_it",
    ),
    Mutant(
        "a report says nothing of a picture that is not drawn",
        "experiments/pages/report.py",
        'not_drawn = run.get("not_drawn", [])',
        "not_drawn = []",
        "tests/test_depth.py::test_a_picture_that_cannot_be_drawn_takes_nothing_with_it",
    ),
    # Dead and exploded networks, and noise
    Mutant(
        "a gradient of zero is drawn as an infinite one",
        "experiments/pages/charts.py",
        '.then(pl.lit("zero"))',
        '.then(pl.lit("inf"))',
        "tests/test_depth.py::test_zero_inf_and_nan_stand_at_the_edge",
    ),
    Mutant(
        "a layer counts as dead if any of its units is",
        "jaxnn/flow/verdict/network_advice.py",
        'f["dead"][hidden] == 1)',
        'f["dead"][hidden] > 0)',
        "tests/test_verdict.py::test_a_layer_of_dead_units_is_named_and_no_weights_are_advised",
    ),
    Mutant(
        "a difference within the noise of the seeds counts",
        "experiments/peers/report.py",
        'row["difference"] < -ERRORS * row["error"]',
        'row["difference"] < 0',
        "tests/test_peers.py::test_the_verdict_is_one_sentence",
    ),
    # Networks of PyTorch
    Mutant(
        "weights of PyTorch are reshaped instead of transposed",
        "jaxnn/pytorch/conversion.py",
        "_values(linear.weight).T.copy()",
        "_values(linear.weight).reshape(linear.in_features, -1)",
        "tests/test_pytorch.py::test_a_sequential_becomes_a_network",
    ),
    Mutant(
        "a LeakyReLU of another slope is taken for ours",
        "jaxnn/pytorch/conversion.py",
        "if getattr(child, setting) != expected:",
        "if type(getattr(child, setting)) is not type(expected):",
        "tests/test_pytorch.py::test_what_does_not_fit_a_network_is_named",
    ),
    Mutant(
        "a hook of torch watches what goes into a cut",
        "jaxnn/pytorch/hooks.py",
        "tensors_in(output) if",
        "tensors_in(args) if",
        "tests/test_pytorch.py::test_a_transformer_is_measured_as_plain_hooks_do",
        needs="torch",
    ),
    Mutant(
        "what one output of torch is computed from counts in it twice",
        "jaxnn/pytorch/hooks.py",
        "changed = _copied(output)",
        "changed = output",
        "tests/test_pytorch.py::test_the_state_of_an_lstm_is_its_output_and_its_memory[3]",
        needs="torch",
    ),
    Mutant(
        "a gradient of torch is scaled without counting the power of two",
        "jaxnn/pytorch/backward_passes.py",
        "total = total - by",
        "pass",
        "tests/test_pytorch.py::test_a_transformer_is_measured_as_plain_hooks_do",
        needs="torch",
    ),
    Mutant(
        "a loss of derivatives has another input of torch than its own",
        "jaxnn/pytorch/inputs.py",
        "x = x if x.requires_grad else x.detach()",
        "x = x.detach()",
        "tests/test_torch_inputs.py::test_a_loss_of_derivatives_by_the_input",
        needs="torch",
    ),
    Mutant(
        "what reversible blocks of torch add to a user's gradient stays there",
        "jaxnn/pytorch/restore.py",
        "own_gradients((*parameters, *buffers, *inputs, *others))",
        "own_gradients(())",
        "tests/test_torch_functions.py::test_reversible_blocks",
        needs="torch",
    ),
    Mutant(
        "parameters of a reversible block of torch have no layer",
        "jaxnn/pytorch/autograd_gates.py",
        "functions.setdefault(edge[0], set()).add(above)",
        "pass",
        "tests/test_torch_functions.py::test_reversible_blocks",
        needs="torch",
    ),
    Mutant(
        "a buffer of torch that is nan is not named",
        "jaxnn/pytorch/module.py",
        "tensors = (*module.named_parameters(), *module.named_buffers())",
        "tensors = (*module.named_parameters(),)",
        "tests/test_torch_broken.py::test_what_is_broken_is_named_and_the_rest_measured",
        needs="torch",
    ),
    Mutant(
        "a scaled gradient of torch that overflows is one that something clips",
        "jaxnn/pytorch/backward_consensus.py",
        "for going in (found, *seconds)",
        "for going in (found,)",
        "tests/test_torch_broken.py::test_what_is_broken_is_named_and_the_rest_measured",
        needs="torch",
    ),
    Mutant(
        "the layers of torch come from the last to the first",
        "jaxnn/flow/measure/torch_flow.py",
        "lambda v: v[1:], every",
        "lambda v: v[:0:-1], every",
        "tests/test_pytorch.py::test_a_transformer_is_measured_as_plain_hooks_do",
        needs="torch",
    ),
    Mutant(
        "the flow of torch is not compared with its plain pass",
        "jaxnn/pytorch/backward_consensus.py",
        "_differ(plain.log, found.log, of.tolerance) & known",
        "np.zeros_like(known)",
        "tests/test_pytorch.py::test_clipped_gradients_are_an_error[1]",
        needs="torch",
    ),
    Mutant(
        "the flow of torch is not compared where plain numbers end",
        "jaxnn/pytorch/backward_consensus.py",
        "[] if known.all() else",
        "[] if True else",
        "tests/test_pytorch.py::test_clipped_gradients_are_an_error[1e-33]",
        needs="torch",
    ),
    Mutant(
        "a gradient of torch is scaled where paths lead around",
        "jaxnn/pytorch/autograd_gates.py",
        "return not any(above > at",
        "return True or any(above > at",
        "tests/test_pytorch.py::test_a_cut_inside_a_skip_connection_is_measured",
        needs="torch",
    ),
    Mutant(
        "a path of torch around a state to the input counts as one to a state",
        "jaxnn/pytorch/autograd_gates.py",
        "at > below > 0 for",
        "at > below >= 0 for",
        "tests/test_pytorch.py::test_the_state_of_an_lstm_is_its_output_and_its_memory[300]",
        needs="torch",
    ),
    Mutant(
        "of several outputs of a cut of torch the first is always the state",
        "jaxnn/pytorch/autograd_gates.py",
        "return with_parts if",
        "return found if",
        "tests/test_pytorch.py::test_the_state_of_an_lstm_is_its_output_and_its_memory[300]",
        needs="torch",
    ),
    Mutant(
        "what one step of torch adds to a parameter counts at the next one too",
        "jaxnn/pytorch/backward_passes.py",
        "if lower and again else []",
        "if False else []",
        "tests/test_pytorch.py::test_the_state_of_an_lstm_is_its_output_and_its_memory[300]",
        needs="torch",
    ),
    Mutant(
        "of what several layers add to a parameter of torch the last part is taken",
        "jaxnn/pytorch/backward_passes.py",
        "if name in self.parts:\n            m, e",
        "if False:\n            m, e",
        "tests/test_pytorch.py::test_the_state_of_an_lstm_is_its_output_and_its_memory[300]",
        needs="torch",
    ),
    Mutant(
        "of what several steps add to the input of torch the last part is taken",
        "jaxnn/pytorch/backward_passes.py",
        "if self.entered is not None:",
        "if False:",
        "tests/test_pytorch.py::test_time_is_depth",
        needs="torch",
    ),
    Mutant(
        "parameters of torch have plain numbers beyond the range",
        "jaxnn/pytorch/backward_consensus.py",
        "    lost = [\n",
        "    lost = [] and [\n",
        "tests/test_pytorch.py::test_parameters_beyond_the_range_shared_and_without_a_gradient",
        needs="torch",
    ),
    Mutant(
        "a layer of torch has Δθ of a parameter that others share",
        "jaxnn/flow/measure/torch_flow.py",
        "len(layers[name]) > 1",
        "len(layers[name]) > 9",
        "tests/test_pytorch.py::test_parameters_beyond_the_range_shared_and_without_a_gradient",
        needs="torch",
    ),
    Mutant(
        "numbers of torch that have left the range between gates are taken",
        "jaxnn/pytorch/backward_consensus.py",
        "good[own] = fine[own].all(axis=1)",
        "pass",
        "tests/test_pytorch.py::test_what_leaves_the_range_between_cuts_is_not_measured",
        needs="torch",
    ),
    Mutant(
        "what is not measured of torch has the numbers of some pass",
        "jaxnn/flow/measure/torch_flow.py",
        ">= unmeasured",
        "> -1",
        "tests/test_pytorch.py::test_what_leaves_the_range_between_cuts_is_not_measured",
        needs="torch",
    ),
    Mutant(
        "the verdict calls a gradient undefined that is not measured",
        "jaxnn/flow/verdict/verdict.py",
        "np.arange(flow.unmeasured, len(out))",
        "np.arange(len(out))",
        "tests/test_pytorch.py::test_what_leaves_the_range_between_cuts_is_not_measured",
        needs="torch",
    ),
    Mutant(
        "a loss of torch that is small is lost between gates",
        "jaxnn/pytorch/backward_consensus.py",
        "elif gates[0] in loose or not normal.all():",
        "elif False:",
        "tests/test_pytorch.py::test_around_cuts_the_size_of_the_loss_changes_nothing[float16]",
        needs="torch",
    ),
    Mutant(
        "a power of two of torch beyond the range is cut to what is in it",
        "jaxnn/pytorch/backward_passes.py",
        "for part in (by,) if np.abs(by).max() <= most else",
        "for part in (np.clip(by, -most, most),) if most else",
        "tests/test_pytorch.py::test_around_cuts_the_size_of_the_loss_changes_nothing[bfloat16]",
        needs="torch",
    ),
    Mutant(
        "the second scaling of torch is the first once more",
        "jaxnn/pytorch/backward_passes.py",
        "np.asarray(-k + more[at])",
        "np.asarray(-k)",
        "tests/test_pytorch.py::test_clipped_gradients_are_an_error[1e-33]",
        needs="torch",
    ),
    Mutant(
        "the second scaling of torch has the power 0 too",
        "jaxnn/pytorch/backward_passes.py",
        "np.asarray(1 + np.cumsum(",
        "np.asarray(np.cumsum(",
        "tests/test_pytorch.py::test_the_powers_of_the_second_scaling_differ",
    ),
    Mutant(
        "the second scaling of torch has the same powers at each layer",
        "jaxnn/pytorch/backward_passes.py",
        ".integers(1, POWERS, of)",
        ".integers(1, POWERS, of)[:1].repeat(of[0], 0)",
        "tests/test_pytorch.py::test_the_powers_of_the_second_scaling_differ",
    ),
    Mutant(
        "examples of torch that meet have exponents of their own",
        "jaxnn/pytorch/backward_consensus.py",
        "if wrong is not None and meeting:",
        "if False:",
        "tests/test_pytorch.py::test_batch_norm_brings_examples_to_one_exponent",
        needs="torch",
    ),
    Mutant(
        "where examples of torch meet is not looked for on paths to the input",
        "jaxnn/pytorch/backward_passes.py",
        "wanted = [*below_at, *([0] if at in descent.enters_at else [])]",
        "wanted = below_at or [0]",
        "tests/test_pytorch.py::test_batch_norm_below_and_inside_a_skip_connection[1]",
        needs="torch",
    ),
    Mutant(
        "a short list of torch comes before a long one",
        "jaxnn/pytorch/cuts.py",
        "-each[0].equal",
        "each[0].equal",
        "tests/test_pytorch.py::test_cuts_are_found[two-towers]",
        needs="torch",
    ),
    Mutant(
        "modules of torch that lie side by side are layers",
        "jaxnn/pytorch/block_choice.py",
        "        return all((at, at - 1)",
        "        return True or all((at, at - 1)",
        "tests/test_pytorch.py::test_cuts_are_found[two-towers]",
        needs="torch",
    ),
    Mutant(
        "the stages of a network of torch are one of them",
        "jaxnn/pytorch/block_choice.py",
        "if goes_on and other",
        "if False and other",
        "tests/test_pytorch.py::test_cuts_are_found[stages]",
        needs="torch",
    ),
    Mutant(
        "two towers of torch are one",
        "jaxnn/pytorch/block_choice.py",
        "if both and both.is_in_a_row and",
        "if both and",
        "tests/test_pytorch.py::test_cuts_are_found[two-towers]",
        needs="torch",
    ),
    Mutant(
        "a list on one branch of torch is taken for the network",
        "jaxnn/pytorch/block_choice.py",
        "return chain if chain.is_stream and not",
        "return chain if False and not",
        "tests/test_pytorch.py::test_cuts_are_found[branches]",
        needs="torch",
    ),
    Mutant(
        "modules of torch in a list of lists are not looked at",
        "jaxnn/pytorch/cuts.py",
        "all(map(is_never_called, children.values()))",
        "False",
        "tests/test_torch_choice.py::test_blocks_are_found_in_lists_that_are_never_called",
        needs="torch",
    ),
    Mutant(
        "layers of torch with few of the parameters are the network",
        "jaxnn/flow/verdict/unseen.py",
        "of.share + without >= MOST",
        "of.share + without >= 0",
        "tests/test_torch_choice.py::test_layers_with_few_of_the_parameters_are_a_warning_with_a_way_out",
        needs="torch",
    ),
    Mutant(
        "what leads around a recurrent module of torch is time in it",
        "jaxnn/pytorch/recurrent.py",
        "tensor.view_as(tensor) if",
        "tensor if",
        "tests/test_torch_choice.py::test_time_inside_a_module_is_the_first_finding[around]",
        needs="torch",
    ),
    Mutant(
        "what is behind a detach of torch is not used",
        "jaxnn/pytorch/gradient_reach.py",
        "bits |= self.of(tensor)",
        "bits = 0",
        "tests/test_torch_choice.py::test_where_the_gradient_stops_is_the_first_finding[detach]",
        needs="torch",
    ),
    Mutant(
        "frozen layers of torch at the top stop the gradient",
        "jaxnn/pytorch/gradient_reach.py",
        "calls.first.get(name, np.inf) < first",
        "calls.first.get(name, np.inf)",
        "tests/test_torch_choice.py::test_parts_that_the_loss_does_not_use_are_a_note",
        needs="torch",
    ),
    Mutant(
        "a * in a name of torch stands for several levels",
        "jaxnn/pytorch/cuts.py",
        "len(parts) == len(patterns) and",
        "",
        "tests/test_pytorch.py::test_cuts_by_pattern",
        needs="torch",
    ),
    Mutant(
        "names of torch need what torch.compile puts into them",
        "jaxnn/pytorch/cuts.py",
        "if part != COMPILED",
        "if part",
        "tests/test_pytorch.py::test_cuts_by_pattern",
        needs="torch",
    ),
    Mutant(
        "a flow of torch is that of the mode it is called in",
        "jaxnn/pytorch/module.py",
        "with torch.inference_mode(False), torch",
        "with torch",
        "tests/test_pytorch.py::test_modes_of_torch_are_named",
        needs="torch",
    ),
    Mutant(
        "torch's own criterion gets an output that is no tensor",
        "jaxnn/pytorch/module.py",
        "if is_own and",
        "if False and",
        "tests/test_pytorch.py::test_a_loss_of_the_module_s_own[output]",
        needs="torch",
    ),
    Mutant(
        "a loss that a module of torch returns is not seen",
        "jaxnn/pytorch/module.py",
        "    return value if has_gradient(value)",
        "    return None and value if has_gradient(value)",
        "tests/test_pytorch.py::test_a_loss_of_the_module_s_own[one]",
        needs="torch",
    ),
    Mutant(
        "steps of torch count as examples",
        "jaxnn/pytorch/module.py",
        "if mixes and state.cut in orders",
        "if False and state.cut in orders",
        "tests/test_pytorch.py::test_steps_before_examples_are_named",
        needs="torch",
    ),
    Mutant(
        "hooks of a parameter of torch are called by a flow",
        "jaxnn/pytorch/restore.py",
        "hooks += [getattr(p, name) for p in parameters for name in OF_TENSORS]",
        "",
        "tests/test_pytorch.py::test_the_user_s_backward_hooks_are_not_called_and_stay[False]",
        needs="torch",
    ),
    Mutant(
        "a cut of torch that returns what comes in is left before it is reached",
        "jaxnn/pytorch/autograd_gates.py",
        "                    at = state\n",
        "                    at = state\n                    break\n",
        "tests/test_pytorch.py::test_cuts_that_return_what_comes_in",
        needs="torch",
    ),
    Mutant(
        "a flow of torch moves torch's random state on",
        "jaxnn/pytorch/restore.py",
        "(torch.set_rng_state, (torch.get_rng_state(),)),",
        "",
        "tests/test_pytorch.py::test_a_training_goes_on_as_if_nothing_had_been_measured[False]",
        needs="torch",
    ),
    Mutant(
        "a flow of torch moves NumPy's random state on",
        "jaxnn/pytorch/restore.py",
        "(np.random.set_state, (np.random.get_state(),)),",
        "",
        "tests/test_pytorch.py::test_a_training_goes_on_as_if_nothing_had_been_measured[False]",
        needs="torch",
    ),
    Mutant(
        "a flow of torch moves Python's random state on",
        "jaxnn/pytorch/restore.py",
        "(random.setstate, (random.getstate(),)),",
        "",
        "tests/test_pytorch.py::test_random_states_of_python_and_of_devices_are_put_back",
        needs="torch",
    ),
    Mutant(
        "a flow of torch moves a GPU's random state on",
        "jaxnn/pytorch/restore.py",
        '("cpu", "meta")',
        '("cpu", "meta", "cuda")',
        "tests/test_pytorch.py::test_random_states_of_python_and_of_devices_are_put_back",
        needs="torch",
    ),
    Mutant(
        "a flow of torch that fails moves random states on",
        "jaxnn/pytorch/restore.py",
        "    finally:\n        for put_back",
        "    except ValueError:\n        raise\n    else:\n        for put_back",
        "tests/test_pytorch.py::test_a_training_goes_on_as_if_nothing_had_been_measured[True]",
        needs="torch",
    ),
    Mutant(
        "buffers that forward assigns stay assigned after a flow of torch",
        "jaxnn/pytorch/restore.py",
        "for kept in (m._buffers, m._non_persistent_buffers_set)",
        "for kept in (m._non_persistent_buffers_set,)",
        "tests/test_pytorch.py::test_buffers_are_the_same_tensors_with_the_same_values",
        needs="torch",
    ),
    Mutant(
        "the name of a new buffer is left after a flow of torch",
        "jaxnn/pytorch/restore.py",
        "for kept in (m._buffers, m._non_persistent_buffers_set)",
        "for kept in (m._buffers,)",
        "tests/test_pytorch.py::test_buffers_are_the_same_tensors_with_the_same_values",
        needs="torch",
    ),
    Mutant(
        "buffers that forward changes in place stay changed after a flow of torch",
        "jaxnn/pytorch/restore.py",
        "buffer.copy_(value)",
        "pass",
        "tests/test_pytorch.py::test_buffers_are_the_same_tensors_with_the_same_values",
        needs="torch",
    ),
    Mutant(
        "buffers stay changed after a flow of torch that fails",
        "jaxnn/pytorch/restore.py",
        "    finally:\n        for kept, old in registered",
        "    except ValueError:\n        raise\n    else:\n        for kept, old in registered",
        "tests/test_pytorch.py::test_a_training_goes_on_as_if_nothing_had_been_measured[True]",
        needs="torch",
    ),
    Mutant(
        "a user's backward hooks are called by a flow of torch",
        "jaxnn/pytorch/restore.py",
        "            kept.clear()\n        yield",
        "            pass\n        yield",
        "tests/test_pytorch.py::test_the_user_s_backward_hooks_are_not_called_and_stay[False]",
        needs="torch",
    ),
    Mutant(
        "hooks of all modules of torch are called by a flow",
        "jaxnn/pytorch/restore.py",
        'hooks += [common[f"_global{name}"] for name in BACKWARD]',
        "",
        "tests/test_pytorch.py::test_the_user_s_backward_hooks_are_not_called_and_stay[False]",
        needs="torch",
    ),
    Mutant(
        "a user's backward hooks are gone after a flow of torch",
        "jaxnn/pytorch/restore.py",
        "kept.update(old | added)",
        "kept.update(added)",
        "tests/test_pytorch.py::test_the_user_s_backward_hooks_are_not_called_and_stay[False]",
        needs="torch",
    ),
    Mutant(
        "a user's backward hooks are gone after a flow of torch that fails",
        "jaxnn/pytorch/restore.py",
        "    finally:\n        for kept, old in taken",
        "    except ValueError:\n        raise\n    else:\n        for kept, old in taken",
        "tests/test_pytorch.py::test_the_user_s_backward_hooks_are_not_called_and_stay[True]",
        needs="torch",
    ),
    Mutant(
        "a backward hook that forward adds in a flow of torch is gone",
        "jaxnn/pytorch/restore.py",
        "kept.update(old | added)",
        "kept.update(old)",
        "tests/test_pytorch.py::test_a_backward_hook_that_forward_puts_on_a_module_stays",
        needs="torch",
    ),
    # The site
    Mutant(
        "a law that does not hold is printed as one that does",
        "docs/tables.py",
        'if record["holds"] != "yes":',
        'if record["holds"] == "false":',
        "tests/test_docs.py::test_a_run_of_laws_becomes_a_table",
    ),
    Mutant(
        "a style sheet from another host is no request",
        "docs/hooks.py",
        "canonical|next|prev|alternate",
        "canonical|stylesheet|next|prev|alternate",
        "tests/test_docs.py::test_what_a_page_would_load_from_another_host",
    ),
    # What a stopped run has not measured
    Mutant(
        "a stopped run is taken for a whole one",
        "experiments/runs/missing.py",
        "return self.measured < self.planned",
        "return False",
        "tests/test_stopped.py::test_a_stopped_run_says_everywhere_what_is_missing[laws]",
    ),
    Mutant(
        "the measured cells are named as the missing ones",
        "experiments/runs/missing.py",
        "            if not there\n",
        "            if there\n",
        "tests/test_stopped.py::test_places_name_only_what_differs_and_stand_for_rows",
    ),
    Mutant(
        "a run without any cell concludes",
        "experiments/runs/experiment.py",
        "all(result is None for result in results)",
        "not results",
        "tests/test_stopped.py::test_a_run_that_was_stopped_before_its_first_cell_concludes_nothing",
    ),
    Mutant(
        "a picture does not say what it lacks",
        "experiments/pages/charts.py",
        "    if figure.note:\n",
        "    if not figure.note:\n",
        "tests/test_stopped.py::test_a_stopped_run_says_everywhere_what_is_missing[laws]",
    ),
    Mutant(
        "a page does not say at its top what it lacks",
        "experiments/pages/report.html.jinja",
        "{% if note %}",
        "{% if false %}",
        "tests/test_stopped.py::test_a_stopped_run_says_everywhere_what_is_missing[remedies]",
    ),
    Mutant(
        "the command does not say that it was stopped",
        "experiments/runs/experiment.py",
        "[conclusion.missing.sentence] if conclusion.missing else []",
        "[]",
        "tests/test_stopped.py::test_a_stopped_run_says_everywhere_what_is_missing[laws]",
    ),
    Mutant(
        "run.json does not hold what is missing",
        "experiments/runs/experiment.py",
        '{"missing": missing.as_dict()} if missing else {}',
        "{}",
        "tests/test_stopped.py::test_a_stopped_run_says_everywhere_what_is_missing[laws]",
    ),
    Mutant(
        "a remedy that was not trained is no cure",
        "experiments/remedies/report.py",
        "if deepest in case.missing.get(ACCURACY, ())]",
        "if not case]",
        "tests/test_stopped.py::test_a_remedy_that_was_not_trained_is_no_failure",
    ),
    Mutant(
        "a line that ends early has the decades of the deepest",
        "experiments/remedies/picture.py",
        "if depth < drawn.depths[-1]",
        "if depth > drawn.depths[-1]",
        "tests/test_stopped.py::test_a_line_that_ends_early_is_not_said_to_end_at_the_deepest",
    ),
    Mutant(
        "a depth that was not measured does not interrupt the ridge",
        "experiments/trainability/report.py",
        "first = unmeasured[0] if unmeasured else math.inf",
        "first = math.inf",
        "tests/test_stopped.py::test_a_depth_between_others_that_is_missing_is_no_part_of_the_map",
    ),
    Mutant(
        "the ridge ends where the run was stopped",
        "experiments/trainability/report.py",
        " or not unmeasured\n",
        " or bool(top)\n",
        "tests/test_stopped.py::test_a_map_ends_where_networks_do_not_train_or_says_that_it_may_go_on",
    ),
    Mutant(
        "the tiles of a map reach over what was not measured",
        "experiments/trainability/picture.py",
        "report.gaps(rows, missing).with_columns",
        "report.gaps(rows, missing).clear().with_columns",
        "tests/test_stopped.py::test_a_depth_between_others_that_is_missing_is_no_part_of_the_map",
    ),
    Mutant(
        "a rate of a shallow network passes for the deepest",
        "experiments/depth/report.py",
        "    if deeper.is_empty():\n",
        "    if True:\n",
        "tests/test_stopped.py::test_a_rate_says_which_depth_it_is_of",
    ),
    Mutant(
        "a case of which nothing was measured has no verdict",
        "experiments/depth/report.py",
        '*(f"{name}: not measured" for name in unmeasured(cases, gaps))',
        "",
        "tests/test_stopped.py::test_a_rate_says_which_depth_it_is_of",
    ),
    Mutant(
        "a spectrum of some seeds passes for all",
        "experiments/spectrum/report.py",
        "unmeasured.pop(names, 0)",
        "0 * unmeasured.pop(names, 0)",
        "tests/test_stopped.py::test_a_spectrum_of_some_seeds_says_of_how_many",
    ),
    Mutant(
        "laws that were not measured are not counted",
        "experiments/laws/report.py",
        "    if missing:\n",
        "    if not missing:\n",
        "tests/test_stopped.py::test_laws_that_were_not_measured_are_counted_as_that",
    ),
    Mutant(
        "a row with cases that were not timed meets its goal",
        "experiments/bench/report.py",
        '        return None, f"',
        '        return True, f"',
        "tests/test_stopped.py::test_a_row_with_cases_that_were_not_timed_has_met_no_goal",
    ),
    Mutant(
        "the mean of some cases passes for that of all",
        "experiments/bench/report.py",
        "row.overall is not None and row.name not in without",
        "row.overall is not None",
        "tests/test_stopped.py::test_a_row_with_cases_that_were_not_timed_has_met_no_goal",
    ),
    Mutant(
        "a comparison of some seeds passes for all",
        "experiments/peers/report.py",
        'of {planned} measured" if unmeasured else ""',
        'of {planned} measured" if not measured else ""',
        "tests/test_stopped.py::test_peers_of_some_seeds_say_of_how_many",
    ),
    Mutant(
        "a stopped training is whole",
        "experiments/train/report.py",
        "    if outcome.ended is not None:\n        return NOTHING",
        "    if outcome.epochs:\n        return NOTHING",
        "tests/test_train.py::test_a_stopped_run_goes_on_as_if_nothing_had_happened",
    ),
    Mutant(
        "a stopped run beside another has empty cells",
        "experiments/show.py",
        'sign = tables.NOT_MEASURED if run.stopped else ""',
        'sign = ""',
        "tests/test_show.py::test_beside_another_a_stopped_run_has_signs_where_it_has_no_numbers",
    ),
    # The user's own experiments and networks, and two runs side by side
    Mutant(
        "a difference of the same seeds has the errors of other seeds",
        "experiments/runs/comparison.py",
        "if one.seeds.keys() == other.seeds.keys():",
        "if False:",
        "tests/test_show.py::test_the_difference_of_the_same_seeds_is_that_seed_by_seed",
    ),
    Mutant(
        "a median has the error of a mean",
        "experiments/runs/comparison.py",
        "math.sqrt(math.pi / 2)}",
        "1.0}",
        "tests/test_show.py::test_the_difference_of_other_seeds_has_the_errors_of_both",
    ),
    Mutant(
        "a difference of one standard error is marked",
        "experiments/runs/comparison.py",
        "CLEAR = 2 ",
        "CLEAR = 1 ",
        "tests/test_show.py::test_the_difference_of_other_seeds_has_the_errors_of_both",
    ),
    Mutant(
        "a seed without a number is one of several",
        "experiments/runs/comparison.py",
        "len(s) > 1 and np.isfinite(s).all()",
        "len(s) > 1",
        "tests/test_show.py::test_without_several_numbers_no_difference_is_called_clear",
    ),
    Mutant(
        "the spread of a few seeds is taken for that of all",
        "experiments/runs/comparison.py",
        "    return float(np.std(values, ddof=1)) / math.sqrt(len(values))",
        "    return float(np.std(values)) / math.sqrt(len(values))",
        "tests/test_show.py::test_the_error_of_a_mean_is_that_of_its_seeds",
    ),
    Mutant(
        "examples of a seed are taken for seeds",
        "experiments/runs/comparison.py",
        '        .group_by("name", "at", "seed", maintain_order=True)\n'
        '        .agg(pl.col("value").mean())\n',
        "",
        "tests/test_show.py::test_several_examples_of_a_seed_are_one_number_for_the_error",
    ),
    Mutant(
        "a file that git does not follow is said to be that of the commit",
        "experiments/runs/commits.py",
        "changed or not followed}",
        "changed}",
        "tests/test_commits.py::test_a_file_that_git_does_not_follow_is_not_that_of_the_commit",
    ),
    Mutant(
        "a run in a git hook has the commit of the hook",
        "experiments/runs/commits.py",
        'if not name.startswith("GIT_")',
        "",
        "tests/test_commits.py::test_the_repository_of_a_hook_is_not_that_of_the_file",
    ),
    Mutant(
        "results that git does not follow make a tree dirty",
        "experiments/runs/commits.py",
        '"--untracked-files=no"',
        '"--untracked-files=all"',
        "tests/test_commits.py::test_a_clean_tree_and_a_changed_one",
    ),
    Mutant(
        "a folder has code run by naming it",
        "experiments/runs/own.py",
        "if str(Path(path).resolve()) not in _known():",
        "if False:",
        "tests/test_own.py::test_a_folder_from_elsewhere_runs_no_code",
    ),
    Mutant(
        "a run of a file goes on with another one",
        "experiments/runs/experiment.py",
        '{"experiment_sha256": self.own.checksum}',
        "{}",
        "tests/test_own.py::test_a_file_that_has_changed_is_shown_and_not_gone_on_with",
    ),
    Mutant(
        "a file that has changed is not said to have",
        "experiments/show.py",
        "own.changed(self.experiment, self.says)",
        '""',
        "tests/test_own.py::test_a_file_that_has_changed_is_shown_and_not_gone_on_with",
    ),
    Mutant(
        "an experiment of the user's own stays imported",
        "experiments/__main__.py",
        "        own.close()\n",
        "        pass\n",
        "tests/test_own.py::test_the_experiment_of_the_guide_from_start_to_show",
    ),
    Mutant(
        "what a file says of its settings has a line of code",
        "experiments/runs/own.py",
        "if preparing and frames and",
        "if False and frames and",
        "tests/test_own.py::test_a_mistake_before_anything_is_measured",
    ),
    Mutant(
        "a mistake in a file keeps its traceback while it is measured",
        "experiments/__main__.py",
        "        return _say(_of_own_code(error), FAILED)\n    finally:",
        "        raise\n    finally:",
        "tests/test_own.py::test_a_mistake_while_it_is_measured",
    ),
    Mutant(
        "the experiments' own code is taken for the user's",
        "jaxnn/cli/source.py",
        "is_library(filename) or _is_below(filename, source.ours)",
        "is_library(filename)",
        "tests/test_depth_of_user.py::test_a_mistake_that_a_larger_network_shows_is_one_sentence",
    ),
    Mutant(
        "the rate of a user's network is that of its first layers",
        "experiments/depth/report.py",
        'inside = pl.col("layer") < last_hidden(deepest)',
        'inside = pl.col("layer") < pl.col("depth")',
        "tests/test_depth_of_user.py::test_layers_need_not_count_depths",
    ),
    Mutant(
        "a user's network is drawn up to its depth",
        "experiments/depth/lines.py",
        'thinned(rows.with_columns(last=LAST_HIDDEN), points, pl.col("last"))',
        "thinned(rows.with_columns(last=LAST_HIDDEN), points)",
        "tests/test_depth_of_user.py::test_layers_need_not_count_depths",
    ),
    Mutant(
        "options that a user's network has no use for are ignored",
        "experiments/runs/runtime.py",
        "and getattr(settings, each.name) != each.default",
        "and False",
        "tests/test_depth_of_user.py::test_a_mistake_is_one_sentence_before_anything_is_written",
    ),
    Mutant(
        "what build returns is looked at when the folder is there",
        "experiments/depth/of_user.py",
        '        contract.arguments(_built(plan, cells[0], settings.seed), f"{code}()")\n',
        "",
        "tests/test_depth_of_user.py::test_a_mistake_is_one_sentence_before_anything_is_written",
    ),
    Mutant(
        "networks of two names have nothing to compare",
        "experiments/depth/report.py",
        'if all(rows["weights"].eq(ITS_OWN).all() for rows in runs):',
        "if False:",
        "tests/test_depth_of_user.py::test_two_networks_are_compared_whatever_their_names_are",
    ),
    Mutant(
        "every seed builds the first network",
        "experiments/depth/of_user.py",
        "plan.build[0](depth=cell.depth, width=cell.width, seed=seed)",
        "plan.build[0](depth=cell.depth, width=cell.width, seed=0)",
        "tests/test_depth_of_user.py::test_the_rows_are_those_of_the_chain_rule",
    ),
    Mutant(
        "the verdict on a network of the user's own has the theory of another depth",
        "experiments/depth/report.py",
        'pl.col("depth") == deepest["depth"][0]',
        'pl.col("depth") == theory["depth"].min()',
        "tests/test_depth_of_user.py::test_theory_stands_next_to_every_depth",
    ),
    Mutant(
        "the band of a user's network is that of the mean of all draws",
        "experiments/depth/of_user.py",
        "error * theory.replicas**0.5,",
        "error,",
        "tests/test_depth_of_user.py::test_theory_stands_next_to_every_depth",
    ),
    Mutant(
        "a measurement five errors apart from its theory is not told so",
        "experiments/learning/words.py",
        "ERRORS = 3.0",
        "ERRORS = 5.0",
        "tests/test_depth.py::test_a_theory_that_is_more_than_three_errors_off_says_so[tanh]",
    ),
    Mutant(
        "the theory of tanh has the bias of relu's width",
        "experiments/depth/theory.py",
        "band.bias if known else jnp.zeros(depth)",
        "band.bias",
        "tests/test_depth.py::test_a_theory_that_is_more_than_three_errors_off_says_so[tanh]",
    ),
    # The wide twin
    Mutant(
        "a twin draws the same numbers up and down",
        "jaxnn/theory/twin/draws.py",
        "return _by_root(fold_in(key, 1), axes",
        "return _by_root(fold_in(key, 0), axes",
        "tests/test_twin.py::test_draws_on_the_way_down_are_new_ones[axes0]",
    ),
    Mutant(
        "the transpose of a weight has other blocks than the weight",
        "jaxnn/theory/twin/draws.py",
        "block = source if self.turned else here",
        "block = here",
        "tests/test_twin.py::test_a_weight_has_one_draw_in_a_layer[names0]",
    ),
    Mutant(
        "a weight that the steps of a scan share, or several products, is drawn for each",
        "jaxnn/theory/twin/program.py",
        "entries = self.entries.get(place)",
        "entries = None",
        "tests/test_twin.py::test_a_weight_has_one_draw_in_a_layer[names0]",
    ),
    Mutant(
        "signals are not compared with theory",
        "jaxnn/flow/verdict/theory_departure.py",
        "down, up = parting(flow), signal_parting(flow)",
        "down, up = parting(flow), None",
        "tests/test_twin.py::test_a_sentence_says_where_theory_and_measurement_part",
    ),
    Mutant(
        "the mean square of a draw by the root is five per cent too large",
        "jaxnn/theory/twin/draws.py",
        "* jnp.sqrt(drawn)[:, None, None]",
        "* jnp.sqrt(1.05 * drawn)[:, None, None]",
        "tests/test_twin_closed.py::test_every_activation_has_its_closed_form[tanh]",
    ),
    Mutant(
        "the mean square of a draw by mixture is five per cent too large",
        "jaxnn/theory/twin/draws.py",
        "return _mean_of_blocks(one, MIXED)",
        "return 1.05**0.5 * _mean_of_blocks(one, MIXED)",
        "tests/test_twin_closed.py::test_convolutions_have_the_closed_form_of_dense_layers",
    ),
    Mutant(
        "the band of layers of several widths is that of the first",
        "jaxnn/theory/meanfield.py",
        "each = layers.each(spread, q) / (4 * n)",
        "each = layers.each(spread, q) / (4 * n.ravel()[0])",
        "tests/test_lists.py::test_the_band_of_layers_that_differ",
    ),
    Mutant(
        "replicas of a wide twin do not make it wider than a network",
        "experiments/laws/wide_twin.py",
        "parts = setup.replicas / setup.seeds + 1 / setup.draws",
        "parts = 100 * setup.replicas / setup.seeds + 1 / setup.draws",
        "tests/test_wide_twin.py::test_a_small_network_follows_its_twin_and_no_other[mixer]",
    ),
    Mutant(
        "theory is differentiated by parameters as its draws are",
        "jaxnn/flow/measure/chain_flow.py",
        "params, xs, cotangent = map(_without_derivative, (params, xs, cotangent))",
        "xs, cotangent = map(_without_derivative, (xs, cotangent))",
        "tests/test_twin.py::test_theory_has_no_derivative",
    ),
    Mutant(
        "a twin sums the squares of weights instead of their mean",
        "jaxnn/theory/twin/draws.py",
        "mean = jnp.mean(squares, axis=(1, 2))[:, None]",
        "mean = jnp.sum(squares, axis=(1, 2))[:, None]",
        "tests/test_twin.py::test_a_draw_has_the_covariance_of_the_product_up_and_down[dense]",
    ),
    Mutant(
        "replicas of a mixture are their own sources",
        "jaxnn/theory/twin/draws.py",
        "(jnp.arange(len(x), dtype=jnp.uint32) + start) % len(x)",
        "(jnp.arange(len(x), dtype=jnp.uint32) + 0 * start) % len(x)",
        "tests/test_twin.py::test_a_draw_has_the_covariance_of_the_product_up_and_down[mixture]",
    ),
    Mutant(
        "experts of a replica take the rows of others",
        "jaxnn/theory/twin/program.py",
        "    alone = sizes.kind == STATE",
        "    alone = False",
        "tests/test_twin.py::test_rows_have_the_draw_of_their_expert[True]",
    ),
    Mutant(
        "rows of an expert begin where the one before begins",
        "jaxnn/theory/twin/program.py",
        "(row >= ends - sizes) & (row < ends)",
        "(row >= ends - 2 * sizes) & (row < ends)",
        "tests/test_twin.py::test_rows_have_the_draw_of_their_expert[True]",
    ),
    Mutant(
        "a norm divides by a length that does not vary",
        "jaxnn/theory/meanfield.py",
        "variance = variance + norm_variance(growth)",
        "variance = variance + 0 * norm_variance(growth)",
        "tests/test_theory.py::test_the_band_behind_a_norm_has_its_variance_on_top",
    ),
    Mutant(
        "draws of a band have the signs of the network",
        "jaxnn/flow/theory/finite_width_band.py",
        "jnp.asarray(v) * jax.random.rademacher(own, jnp.shape(v), v.dtype)",
        "jnp.asarray(v) + 0 * jax.random.rademacher(own, jnp.shape(v), v.dtype)",
        "tests/test_twin.py::test_the_band_of_draws_is_that_of_its_closed_form_and_of_new_networks",
    ),
    Mutant(
        "replicas of a table have the same signs",
        "jaxnn/theory/twin/draws.py",
        "signs(hashed(fold_in(of_block, r), gather",
        "signs(hashed(fold_in(of_block, 0 * r), gather",
        "tests/test_twin.py::test_an_entry_of_a_table_has_one_sign_in_a_replica",
    ),
    Mutant(
        "a flow parts from theory if it only touches it on the way",
        "jaxnn/flow/verdict/theory_departure.py",
        "np.logical_and.accumulate(off | ~known | _crosses(apart, off))",
        "off | ~known | _crosses(apart, off)",
        "tests/test_twin.py::test_a_sentence_says_where_theory_and_measurement_part",
    ),
    Mutant(
        "a mean over draws of a twin compiles a program for each of its operations",
        "jaxnn/flow/measure/theory_flow.py",
        "_mean(several, twin.replicas, np))",
        "_mean(several, twin.replicas, jnp))",
        "tests/test_compilations.py::test_theory_compiles_few_programs_whatever_its_flow_has",
    ),
    Mutant(
        "a flow that crosses its theory follows it down to there",
        "jaxnn/flow/verdict/theory_departure.py",
        "= signs[low] != signs[high]",
        "= False",
        "tests/test_twin.py::test_a_sentence_says_where_theory_and_measurement_part",
    ),
    Mutant(
        "a tall matrix has the factor of its first part alone",
        "jaxnn/theory/twin/draws.py",
        "return triangular(halves.reshape(n, -1, f))",
        "return halves[:n]",
        "tests/test_twin.py::test_a_tall_matrix_has_the_triangular_factor_of_its_parts",
    ),
    Mutant(
        "a correlation length is the mean of lengths that draws have one by one",
        "jaxnn/flow/theory/correlation.py",
        "np.log(of[:, end].sum() / of[:, 0].sum())",
        "np.log(of[:, end] / of[:, 0]).mean()",
        "tests/test_correlation.py::test_a_length_is_that_of_what_two_paths_differ_by",
    ),
    Mutant(
        "twins whose draws differ below have other draws above too",
        "jaxnn/theory/twin/wide.py",
        "(below + order < apart)",
        "(0 * order < apart)",
        "tests/test_correlation.py::test_a_length_is_that_of_mean_field_theory",
    ),
    Mutant(
        "a rate that is zero within its errors counts as a crossing",
        "jaxnn/flow/theory/critical.py",
        "KNOWN = 3.0",
        "KNOWN = 0.0",
        "tests/test_critical.py::test_a_rate_that_crosses_zero_is_told_from_one_that_does_not",
    ),
    Mutant(
        "a factor on the weights of one layer of a run is on those of all",
        "jaxnn/flow/theory/critical.py",
        "by_layer = meant.reshape(-1, *[1] * (v.ndim - 1)) if place.of_run else meant[0]",
        "by_layer = meant.any()",
        "tests/test_critical.py::test_weights_are_multiplied_by_their_paths_and_nothing_else",
    ),
    Mutant(
        "remedies of one's own: rows of a batch are those of the first",
        "experiments/remedies/of_user/training.py",
        "lambda v: v[rows], trees) if self.data.size else trees",
        "lambda v: v[: len(rows)], trees) if self.data.size else trees",
        "tests/test_remedies_of_user.py::test_a_training_is_that_of_a_plain_loop",
    ),
    Mutant(
        "remedies of one's own: a point of a curve is passed over",
        "experiments/remedies/of_user/training.py",
        "np.split(rows, self.rule.points[1:-1])",
        "np.split(rows, self.rule.points[2:-1])",
        "tests/test_remedies_of_user.py::test_a_training_is_that_of_a_plain_loop",
    ),
    Mutant(
        "remedies of one's own: the step size with the largest loss is the best",
        "experiments/remedies/rates.py",
        "    sign = 1 if what == ACCURACY else -1\n    value = pl.when",
        "    sign = 1\n    value = pl.when",
        "tests/test_remedies_of_user.py::test_the_best_step_size_is_that_of_the_mean_over_seeds",
    ),
    Mutant(
        "remedies of one's own: a training that has diverged has the best step size",
        "experiments/remedies/rates.py",
        ".otherwise(-math.inf)\n    means",
        ".otherwise(math.inf)\n    means",
        "tests/test_remedies_of_user.py::test_the_best_step_size_is_that_of_the_mean_over_seeds",
    ),
    Mutant(
        "a remedy counts with the first of its step sizes, not the best",
        "experiments/remedies/rates.py",
        '.sort("value", "rate", descending=[True, False])',
        '.sort("value", "rate", descending=[False, False])',
        "tests/test_remedies.py::test_the_verdicts_name_gradient_correlation_and_accuracy",
    ),
    Mutant(
        "a remedy counts with the best of some step sizes where others were not tried",
        "experiments/remedies/rates.py",
        'on=NETWORK, how="anti")',
        'on=NETWORK, how="left").select(rows.columns)',
        "tests/test_stopped.py::test_a_remedy_that_was_not_trained_is_no_failure",
    ),
    Mutant(
        "remedies of one's own: gradients are not those relative to the last layer",
        "experiments/remedies/of_user/report.py",
        'pl.col("value").sort_by("layer").last().over',
        'pl.col("value").sort_by("layer").first().over',
        "tests/test_remedies_of_user.py::test_the_best_step_size_is_that_of_the_mean_over_seeds",
    ),
    Mutant(
        "a picture of a page stays black where the page is dark",
        "docs/hooks.py",
        r'(fill|stroke)="(?:black|#000)"',
        r'(fill|stroke)="(?:ebony|#000)"',
        "tests/test_docs.py::test_a_picture_is_part_of_its_page_in_the_ink_of_the_page",
    ),
    Mutant(
        "a label of a drawn network names the edge of another pair",
        "jaxnn/flow/view/drawing.py",
        "ends = SUBSCRIPTS[j + 1] + SUBSCRIPTS[k + 1]",
        "ends = SUBSCRIPTS[k + 1] + SUBSCRIPTS[j + 1]",
        "tests/test_drawing.py::test_a_label_names_its_edge_and_stands_in_front_of_its_unit",
    ),
    Mutant(
        "a law whose full run has no power says none",
        "docs/tables.py",
        'if name == "laws" and (data / "power.csv").exists()',
        "if False",
        "tests/test_docs.py::test_every_law_says_its_papers_and_what_it_would_see",
    ),
    Mutant(
        "a chart of a tutorial is as wide on a phone",
        "docs/notebooks.py",
        'made["width"] = min(spec["width"], PLOT)',
        'made["width"] = spec["width"]',
        "tests/test_tutorials.py::test_a_page",
    ),
    Mutant(
        "the picture before and after has its first layer on the right",
        "docs/before_after.py",
        "return LEFT + (layer - 1)",
        "return LEFT + (count - layer)",
        "tests/test_docs.py::test_the_picture_before_and_after_is_that_of_its_numbers",
    ),
    Mutant(
        "cures: of torch the bias of a branch is left",
        "jaxnn/pytorch/autograd_parts.py",
        "    if node.name() in PRODUCTS:\n        return own",
        "    if node.name() in PRODUCTS:\n        return set(sorted(own)[-1:])",
        "tests/test_cures.py::test_the_branches_of_a_module_of_torch",
        needs="torch",
    ),
    Mutant(
        "cures: of torch other units get what a module has overwritten",
        "jaxnn/curing/hooks.py",
        "            activation.inplace = False\n",
        "            pass\n",
        "tests/test_cures.py::test_modules_of_torch_with_other_units",
        needs="torch",
    ),
    Mutant(
        "cures: attention of Equinox is not drawn as PyTorch draws it",
        "experiments/cures/network_equinox.py",
        "1.5**0.5 * w",
        "w",
        "tests/test_cures.py::test_a_recipe_is_one_network_in_all_frameworks",
        needs="torch",
    ),
    Mutant(
        "cures: the output of a network is a signal between its layers",
        "jaxnn/curing/cures.py",
        "< max(len(patient.layers) - 1, 1))",
        "< len(patient.layers))",
        "tests/test_cures.py::test_the_signal_is_that_between_layers",
    ),
    Mutant(
        "cures: biases of zeros are drawn as a matrix that is no number",
        "jaxnn/curing/weights.py",
        """stays 0.
    \"\"\"
    if not v.any():
""",
        """stays 0.
    \"\"\"
    if v is None:
""",
        "tests/test_cures.py::test_arrays_of_zeros_stay_as_they_are",
    ),
    Mutant(
        "cures: a slow cure is within the bar",
        "experiments/cures/report.py",
        'is_cured and case.before["seconds"] <= TIME',
        "is_cured",
        "tests/test_cures.py::test_the_bar_is_a_rate_and_a_time",
    ),
    Mutant(
        "tables: a rival that loses examples stands as one that does not",
        "docs/tables.py",
        'is_lost = record["works"] != "True" and',
        'is_lost = record["works"] == "lost" and',
        "tests/test_docs.py::test_runs_of_cures_become_two_tables",
    ),
    Mutant(
        "cures: of torch a skip is closed",
        "jaxnn/curing/hooks.py",
        "return args[0] + scale * output",
        "return scale * output",
        "tests/test_cures.py::test_blocks_of_torch_with_a_skip_or_a_norm",
        needs="torch",
    ),
    Mutant(
        "cures: steps of a recurrent network are layers with weights of their own",
        "jaxnn/chain/parameter_places.py",
        "len(of_entry) > 1 for",
        "len(of_entry) > 99 for",
        "tests/test_cures.py::test_steps_that_share_their_weights_are_told_from_layers",
    ),
    Mutant(
        "cures: what goes into a reduction is a unit",
        "jaxnn/curing/units.py",
        "return not goes_on and ends(v)",
        "return not goes_on",
        "tests/test_cures.py::test_the_units_of_a_layer",
    ),
    Mutant(
        "cures: a linear function is a unit",
        "jaxnn/curing/units.py",
        "if not is_linear or any(u in curved for u in free):",
        "if True:",
        "tests/test_cures.py::test_the_units_of_a_layer",
    ),
    Mutant(
        "cures: mirrored weights are of one sign",
        "jaxnn/curing/weights.py",
        "np.concatenate([rows, -rows], into)",
        "np.concatenate([rows, rows], into)",
        "tests/test_cures.py::test_mirrored_matrices_make_relu_linear",
    ),
    Mutant(
        "cures: a delta-orthogonal kernel has its matrix in a corner",
        "jaxnn/curing/weights.py",
        "(n - 1) // 2 for i, n",
        "0 for i, n",
        "tests/test_cures.py::test_delta_orthogonal_kernels_are_found_and_keep_every_picture",
    ),
    Mutant(
        "streams of a run are not those of its layers in a row",
        "jaxnn/flow/measure/chain_flow.py",
        "axis = 1 if is_run(layer) else 0",
        "axis = 0",
        "tests/test_states.py::test_several_streams",
    ),
    Mutant(
        "cures: that which leaves fewer directions is the better",
        "jaxnn/curing/cures.py",
        "cure.net is not net, -steps",
        "cure.net is not net, steps",
        "tests/test_cures.py"
        "::test_of_equal_rates_that_which_leaves_more_directions_is_the_better_cure",
    ),
    Mutant(
        "cures: a mirrored kernel has its matrix everywhere",
        "jaxnn/curing/weights.py",
        "lambda one: mirrored(rng, one, axes)",
        "lambda one: mirrored(rng, one)",
        "tests/test_advice.py::test_an_advice_that_is_followed_does_what_it_promises[kernels]",
    ),
    Mutant(
        "cures: DeepNorm's factor is β/α",
        "jaxnn/curing/cures.py",
        "to_digits(count**-0.75 / 2)",
        "to_digits(count**-0.5 / 2)",
        "tests/test_advice.py::test_an_advice_that_is_followed_does_what_it_promises[post-norm]",
    ),
    Mutant(
        "cures: the gain that is said is a factor of what there was",
        "jaxnn/curing/cures.py",
        "gain = to_digits(scaled.factor * std)",
        "gain = to_digits(scaled.factor)",
        "tests/test_advice.py::test_orthogonal_weights_have_the_gain_that_is_said",
    ),
    Mutant(
        "cures: a name of some layers stands for those of all",
        "jaxnn/curing/words.py",
        "own = differing and len(alike) > len(values)",
        "own = False",
        "tests/test_advice.py::test_names_and_numbers_in_words_are_read_as_they_were_meant",
    ),
    Mutant(
        "widths: an array departs from others of any shape",
        "jaxnn/train/widths.py",
        "tuple(len({*axis}) > 1 for axis in zip(*of_widths, strict=True))",
        "()",
        "tests/test_widths.py::test_the_array_that_departs_from_others_like_it_is_named",
    ),
    Mutant(
        "widths: a network that ignores the width is steady",
        "jaxnn/train/widths.py",
        "all(len({*of_widths}) == 1 for of_widths in self.shapes)",
        "not any(len({*of_widths}) == 1 for of_widths in self.shapes)",
        "tests/test_widths.py"
        "::test_a_network_that_ignores_width_or_seed_is_no_sign_of_a_parametrisation",
    ),
    Mutant(
        "cures: of torch a norm in a branch is one behind its sum",
        "jaxnn/pytorch/autograd_parts.py",
        "below[u] & ~below[under[-1]] & norms",
        "below[u] & norms",
        "tests/test_cures.py::test_a_norm_behind_a_sum_of_torch_is_found",
        needs="torch",
    ),
    Mutant(
        "cures: of torch a function other than relu is looked over",
        "jaxnn/pytorch/autograd_parts.py",
        "return applied.count(RELU) if is_linear else None",
        "return applied.count(RELU)",
        "tests/test_cures.py::test_kernels_and_relu_of_torch_are_found",
        needs="torch",
    ),
    Mutant(
        "cures: of torch a grouped convolution has a kernel",
        "jaxnn/pytorch/autograd_parts.py",
        "node.name() == CONVOLUTION and node._saved_groups == 1",
        "node.name() == CONVOLUTION",
        "tests/test_cures.py::test_kernels_and_relu_of_torch_are_found",
        needs="torch",
    ),
    Mutant(
        "cures: a norm inside of a branch is one behind its sum",
        "jaxnn/curing/branches.py",
        "any(v in above[first] or last in above[v] for v in norms)",
        "bool(norms)",
        "tests/test_cures.py::test_a_norm_behind_a_sum_is_found",
    ),
    Mutant(
        "cures: a branch goes on below its own start",
        "jaxnn/curing/branches.py",
        "if step is None or v == u:",
        "if step is None:",
        "tests/test_cures.py::test_the_branches_of_a_layer",
    ),
    Mutant(
        "cures: the bias of a branch is left",
        "jaxnn/curing/branches.py",
        "bias = bias.union(",
        "bias = set().intersection(",
        "tests/test_cures.py::test_the_branches_of_a_layer",
    ),
    Mutant(
        "cures: any sum is a skip",
        "jaxnn/curing/branches.py",
        "if u in above[v] else set()",
        "if True else set()",
        "tests/test_cures.py::test_the_branches_of_a_layer",
    ),
    Mutant(
        "cures: a rate is searched on one side alone",
        "jaxnn/curing/search.py",
        "for direction in (1, -1) if first[1] < 0 else (-1, 1):",
        "for direction in (1,):",
        "tests/test_cures.py::test_a_root_is_found_on_either_side_with_few_measurements",
    ),
    Mutant(
        "cures: two rates say nothing of the place of the root",
        "jaxnn/curing/search.py",
        "part = a[1] / (a[1] - b[1])",
        "part = 0.4",
        "tests/test_cures.py::test_a_layer_of_one_product_says_where_its_root_is",
    ),
    Mutant(
        "cures: the search ends where the signal leaves the range",
        "jaxnn/curing/search.py",
        "if step <= np.log(STEP):",
        "if step:",
        "tests/test_cures.py::test_a_root_below_an_overflow_is_found",
    ),
    Mutant(
        "cures: steps of a search do not grow",
        "jaxnn/curing/search.py",
        "if slope > 0 else 2 * step",
        "if slope > 0 else step",
        "tests/test_cures.py::test_a_rate_that_no_factor_changes_is_left_soon",
    ),
    Mutant(
        "cures: factors by layer that equal the one factor are said too",
        "jaxnn/curing/cures.py",
        "before = [start] if is_tried else []",
        "before = []",
        "tests/test_cures.py::test_factors_by_layer_that_are_those_of_a_change_before_are_left_out",
    ),
    Mutant(
        "cures: a router that learns no more is cured",
        "jaxnn/curing/cures.py",
        "cure = replace(cure, works=False, reason=CANCELLED)",
        "pass",
        "tests/test_cures.py::test_no_size_helps_a_router_whose_experts_are_equal",
    ),
    Mutant(
        "cures: a format holds what is hardly above its least number",
        "jaxnn/curing/numbers.py",
        "least = (low + np.log(numbers / (1 - KEEP)) / 2 - log) / LN2",
        "least = (low - log) / LN2",
        "tests/test_cures.py::test_formats_hold_the_norm_of_each_layer",
    ),
    Mutant(
        "cures: a step goes with the gradient",
        "jaxnn/curing/steps.py",
        "v - (eta * jnp.sign(g))",
        "v + (eta * jnp.sign(g))",
        "tests/test_cures.py::test_the_step_that_raises_the_loss",
    ),
    Mutant(
        "cures: a norm is put in front of a norm",
        "jaxnn/curing/cures.py",
        "for cure in each if not _changes_nothing(cure, patient)]",
        "for cure in each]",
        "tests/test_cures.py::test_a_norm_that_is_there_is_not_advised_again",
    ),
    Mutant(
        "remedies: all cures are tried on every seed",
        "experiments/remedies/of_user/plan.py",
        "kinds = KINDS if self.kinds is None else self.kinds",
        "kinds = KINDS",
        "tests/test_remedies_of_user.py::test_a_network_is_trained_as_it_is_and_cured",
    ),
    Mutant(
        "cures: without a root the smallest factor is taken",
        "jaxnn/curing/search.py",
        "best = _nearest_good(of_log, way) or min(way, key=_size)",
        "best = min(way, key=_size)",
        "tests/test_cures.py::test_without_a_root_the_nearest_good_factor_is_taken",
    ),
    Mutant(
        "cures: a factor for each layer grows what is too large",
        "jaxnn/curing/search.py",
        "factors * np.exp(-by)",
        "factors * np.exp(by)",
        "tests/test_cures.py::test_factors_by_layer_are_corrected_one_by_one",
    ),
    Mutant(
        "cures: every array of a branch's layer is multiplied",
        "jaxnn/curing/weights.py",
        "if only is None or at in only]",
        "]",
        "tests/test_cures.py::test_branches_that_explode",
    ),
    Mutant(
        "cures: those that fail come first",
        "jaxnn/curing/cures.py",
        "return not cure.works, max(",
        "return cure.works, max(",
        "tests/test_cures.py::test_branches_that_explode",
    ),
    Mutant(
        "cures: orthogonal matrices lose their size",
        "jaxnn/curing/weights.py",
        "np.sqrt(np.sum(np.square(v)) / np.sum(np.square(q)))",
        "1.0",
        "tests/test_cures.py::test_orthogonal_matrices_keep_their_mean_square",
    ),
    # The power of laws
    Mutant(
        "numbers of the same draws are independent",
        "experiments/laws/power.py",
        "np.square(samples @ samples.T)",
        "np.eye(len(samples))",
        "tests/test_power.py::test_comparisons_of_the_same_draws_are_one",
    ),
    Mutant(
        "few repetitions have a normal error",
        "experiments/laws/power.py",
        "if freedom <= 0 or not t:",
        "if freedom <= 1 or not t:",
        "tests/test_power.py::test_a_normal_deviation_is_as_rare_as_student_s[1]",
    ),
    Mutant(
        "the power is that of an error of one sign",
        "experiments/laws/power.py",
        "for sign in (1.0, -1.0)",
        "for sign in (-1.0,)",
        "tests/test_power.py::test_a_bound_is_seen_from_both_sides",
    ),
    Mutant(
        "a bias that is allowed counts as noise in χ²",
        "experiments/laws/power.py",
        "max(0.0, abs(self.excess) - self.allowed)",
        "abs(self.excess)",
        "tests/test_power.py::test_the_power_is_the_smallest_error_that_is_seen",
    ),
    Mutant(
        "a law holds whatever its χ² is",
        "experiments/laws/law.py",
        'bool(self.rows["holds"].all()) and self.together.holds',
        'bool(self.rows["holds"].all())',
        "tests/test_power.py::test_small_deviations_of_one_side_are_seen_together",
    ),
    Mutant(
        "the logarithm of a mean is the mean of the logarithms",
        "experiments/laws/law.py",
        "of_mean._replace(value=top + math.log(mean))",
        "of_mean._replace(value=float(np.mean(values)))",
        "tests/test_power.py::test_the_logarithm_of_a_mean_has_the_error_of_the_mean",
    ),
    Mutant(
        "an error of a formula moves no prediction",
        "experiments/laws/power.py",
        "excess=self.excess - self.gain * f",
        "excess=self.excess",
        "tests/test_power.py::test_the_power_is_the_smallest_error_that_is_seen",
    ),
    Mutant(
        "a product is pulled by its first factor alone",
        "experiments/laws/orthogonal_learning.py",
        "powers[::-1], powers) / factors",
        "powers[-1:], powers[:1])",
        "tests/test_laws.py::test_a_product_of_balanced_factors_moves_as_it_alone_says",
    ),
    Mutant(
        "a product has learned when half of the loss is left",
        "experiments/laws/orthogonal_learning.py",
        "while losses[-1] > LEFT * losses[0]",
        "while losses[-1] > 0.5 * losses[0]",
        "tests/test_laws.py::test_what_is_not_in_the_target_falls_by_a_power_of_time[2]",
    ),
    Mutant(
        "a first step falls with the length of one way alone",
        "experiments/laws/step_size.py",
        "(blocks - 1) / 2 *",
        "(blocks - 1) *",
        "tests/test_laws.py::test_every_block_adds_the_same_to_the_first_step",
    ),
    Mutant(
        "depths are compared between order and chaos",
        "experiments/laws/trainability.py",
        "if (v < CRITICAL) == (w < CRITICAL)",
        "if w > v",
        "tests/test_laws.py::test_depths_are_compared_within_a_phase",
    ),
    Mutant(
        "a ratio of depths is upside down",
        "experiments/laws/trainability.py",
        "mean_of(crossings[w] / crossings[v])",
        "mean_of(crossings[v] / crossings[w])",
        "tests/test_laws.py::test_depths_that_go_like_the_reach_have_its_ratio",
    ),
    Mutant(
        "steps of a finite size learn as late as in theory",
        "experiments/laws/orthogonal_learning.py",
        "return STEP / 2 * (",
        "return 0 * (",
        "tests/test_laws.py::test_steps_of_a_finite_size_learn_sooner",
    ),
    Mutant(
        "the largest value of few units lies beyond the edge",
        "experiments/laws/jacobian_spectrum.py",
        "end + TRACY_WIDOM * (n * k)",
        "end - TRACY_WIDOM * (n * k)",
        "tests/test_laws.py::test_the_largest_value_of_a_wishart_matrix",
    ),
    Mutant(
        "the spectrum of few units has the variance of many",
        "experiments/laws/jacobian_spectrum.py",
        "a + b + a / n, b + 2 * a / n**2",
        "a + b, b",
        "tests/test_laws.py::test_the_variance_of_a_spectrum_of_few_units",
    ),
    Mutant(
        "the length of few units is biased by their variance alone",
        "experiments/laws/finite.py",
        "first[i] * biases[i] + second[i]",
        "second[i]",
        "tests/test_laws.py::test_the_bias_of_a_length_in_closed_form",
    ),
    # Two inputs, dropout and derivatives of the theory
    Mutant(
        "dropout leaves slopes as they are",
        "jaxnn/theory/ensemble.py",
        "f.prime(z) ** 2) / self.keep",
        "f.prime(z) ** 2)",
        "tests/test_pairs.py::test_two_lengths_and_two_masks",
    ),
    Mutant(
        "with dropout one input is as ordered as without",
        "jaxnn/theory/meanfield.py",
        "((factor > 1) | (keep < 1))",
        "(factor > 1)",
        "tests/test_pairs.py::test_dropout_has_a_fixed_point_of_its_own",
    ),
    Mutant(
        "a second input has the length of the first",
        "jaxnn/theory/pairs.py",
        "q, other = (jnp.maximum(first_w**2 * v + first_b**2, _least()) for v in (q0, q0_other))",
        "q, other = (jnp.maximum(first_w**2 * v + first_b**2, _least()) for v in (q0, q0))",
        "tests/test_pairs.py::test_two_lengths_and_two_masks",
    ),
    Mutant(
        "an inner skip connection keeps twice what it keeps of the first input",
        "jaxnn/theory/pairs.py",
        "(gains[0] + gains[1])",
        "(2 * gains[0])",
        "tests/test_pairs.py::test_two_lengths_in_every_block",
    ),
    Mutant(
        "a residual network comes to its limit as a plain one",
        "jaxnn/theory/pairs.py",
        "jnp.sqrt(1 - c**2))",
        "1)",
        "tests/test_pairs.py::test_where_a_residual_network_leaves_two_inputs[0.5]",
    ),
    Mutant(
        "a fixed point moves as if its slope were upside down",
        "jaxnn/theory/quadrature.py",
        "y / slope(jnp.ones_like(y))",
        "y * slope(jnp.ones_like(y))",
        "tests/test_pairs.py::test_a_fixed_point_is_differentiated_as_an_implicit_function",
    ),
    Mutant(
        "a correlation stands still at its end",
        "jaxnn/theory/ensemble.py",
        "size * slope * tangents[1]",
        "jnp.where(c < 1, size * slope * tangents[1], 0)",
        "tests/test_pairs.py::test_the_derivative_of_a_correlation_at_its_end",
    ),
    Mutant(
        "a run of some laws replaces all",
        "docs/tables.py",
        'if record["law"] not in measured',
        "if False",
        "tests/test_docs.py::test_a_run_of_some_laws_replaces_theirs",
    ),
    Mutant(
        "attention is over as many tokens as there are others",
        "experiments/laws/attention_length.py",
        "(tokens - 1) * np.log1p",
        "tokens * np.log1p",
        "tests/test_laws_beyond_layers.py::test_two_tokens_share_attention_by_a_sigmoid",
    ),
    Mutant(
        "a gate's slope is that of a sigmoid, not its square",
        "experiments/laws/recurrence.py",
        "(DENSITY @ (u * (1 - u)) ** 2)",
        "(DENSITY @ (u * (1 - u)))",
        "tests/test_laws_beyond_layers.py::test_gates_by_scipy_s_integrals",
    ),
    Mutant(
        "Δ of queries falls with what tokens differ by, not with its square",
        "experiments/laws/rank_collapse.py",
        "mean * u**2 * squares",
        "mean * u * squares",
        "tests/test_laws_beyond_layers.py::test_queries_of_tokens_that_are_alike_by_hand",
    ),
    Mutant(
        "what tokens differ by has as many directions as there are tokens",
        "experiments/laws/rank_collapse.py",
        "    p = tokens - 1\n",
        "    p = tokens\n",
        "tests/test_laws_beyond_layers.py::test_attention_takes_what_tokens_differ_by_to_its_cube",
    ),
    Mutant(
        "an error of theory is a part of theory",
        "experiments/laws/transformer_moments.py",
        "np.expm1(-by_group",
        "np.expm1(by_group",
        "tests/test_laws_beyond_layers.py::test_errors_are_parts_of_what_is_measured",
    ),
    Mutant(
        "a wave fades as with two taps",
        "experiments/laws/delta_orthogonal.py",
        "(1 + 2 * math.cos(2 * math.pi / positions)) / TAPS",
        "math.cos(2 * math.pi / positions)",
        "tests/test_laws_beyond_layers.py::test_a_wave_fades_by_the_eigenvalue_of_a_mean_over_neighbours",
    ),
    Mutant(
        "all of a random gradient of few channels is across the signal",
        "experiments/laws/delta_orthogonal.py",
        "(1 - 1 / n) * across + across**3 / n",
        "across",
        "tests/test_laws_beyond_layers.py::test_few_channels_slow_tanh_down",
    ),
    # Factors of the theory
    *(
        Mutant(
            f"5 % more of {factor.name}",
            factor.path,
            factor.old,
            factor.new or f"1.05 * {factor.old}",
            factor.tests,
        )
        for factor in FACTORS
    ),
    Mutant(
        "a sweep is answered by the slowest of its networks",
        "experiments/depth/report.py",
        "            most = max(group, key=lambda case: abs(case.decades))",
        "            most = min(group, key=lambda case: abs(case.decades))",
        "tests/test_depth.py::test_a_sweep_is_answered_in_two_sentences",
    ),
    Mutant(
        "an exploding network of a sweep is not in the answer",
        "experiments/depth/report.py",
        '    return sentences[0], "ill", "".join(sentences[1:])',
        '    return sentences[0], "ill", ""',
        "tests/test_depth.py::test_a_sweep_is_answered_in_two_sentences",
    ),
    Mutant(
        "a subtitle is paler than can be read",
        "jaxnn/flow/view/chart.py",
        '"subtitleColor": INK',
        '"subtitleColor": MUTED',
        "tests/test_drawing.py::test_charts_stand_on_one_page",
    ),
    # The page to play with
    Mutant(
        "play: a sigmoid's slope has one factor too few",
        "docs/play/maths.js",
        "return e / ((1 + e) * (1 + e));",
        "return e / (1 + e);",
        "tests/test_play.py::test_it_works_from_a_disk",
    ),
    Mutant(
        "play: the error at the top has the wrong sign",
        "docs/play/article.js",
        "const dz2 = y ? -sigmoid(-z2) : yHat;",
        "const dz2 = y ? sigmoid(-z2) : yHat;",
        "tests/test_play.py::test_it_works_from_a_disk",
    ),
    Mutant(
        "play: the page is a module, which no disk serves",
        "docs/play/index.html",
        '<script defer src="maths.js">',
        '<script type="module" src="maths.js">',
        "tests/test_play.py::test_it_needs_no_building_and_no_other_host",
    ),
    Mutant(
        "play: the slope of the loss has the wrong sign for the label 0",
        "docs/play/article.js",
        ": 1 / sigmoid(-z2);",
        ": -1 / sigmoid(-z2);",
        "tests/test_play.py::test_every_delta_of_the_small_network_is_the_library_s",
    ),
    Mutant(
        "play: nothing comes back through a skip",
        "docs/play/network.js",
        "below[k] += delta[k];",
        "below[k] += 0;",
        "tests/test_play.py::test_training_follows_the_gradient",
    ),
    Mutant(
        "play: the way back through a norm keeps the mean",
        "docs/play/network.js",
        "(delta[k] - mean - zHat[k] * along)",
        "(delta[k] - zHat[k] * along)",
        "tests/test_play.py::test_training_follows_the_gradient",
    ),
    Mutant(
        "play: an exponent is taken out and not noted",
        "docs/play/maths.js",
        "exponents[b] += e;",
        "exponents[b] += 0;",
        "tests/test_play.py::test_training_follows_the_gradient",
    ),
    Mutant(
        "play: norms of examples are added, not their squares",
        "docs/play/maths.js",
        "10 ** (2 * (log - top))",
        "10 ** (log - top)",
        "tests/test_play.py::test_the_flow_of_fifty_random_settings_is_the_library_s",
    ),
    Mutant(
        "play: the lowest layer that leaves a format is named",
        "docs/play/theory.js",
        "for (let l = largest.length; l >= 1; l--)",
        "for (let l = 1; l <= largest.length; l++)",
        "tests/test_play.py::test_the_flow_of_fifty_random_settings_is_the_library_s",
    ),
    Mutant(
        "play: theory does not divide by what a norm divides by",
        "docs/play/theory.js",
        "if (norm) chi /= q;",
        "",
        "tests/test_play.py::test_the_line_of_theory_is_the_library_s",
    ),
    Mutant(
        "play: a new question comes with its answer",
        "docs/play/small.js",
        "if (key !== small.key) small.open = false;",
        "",
        "tests/test_play.py::test_a_sign_is_guessed_first",
    ),
    Mutant(
        "play: a gradient that vanishes is called steady",
        "docs/play/theory.js",
        "total < -1)",
        "total < -100)",
        "tests/test_play.py::test_a_network_is_judged_cured_and_trained",
    ),
    Mutant(
        "play: Adam does not unbias its square",
        "docs/play/network.js",
        "Math.sqrt(square[k] / unbiasSquare)",
        "Math.sqrt(square[k])",
        "tests/test_play.py::test_adam_takes_the_steps_of_its_paper",
    ),
    Mutant(
        "play: quiet text cannot be read",
        "docs/play/play.css",
        "--quiet: #57606a;",
        "--quiet: #98a0a8;",
        "tests/test_play.py::test_it_can_be_read[390-light]",
    ),
    Mutant(
        "the live page's difference is the first training less the second",
        "experiments/watch/page.py",
        '        moved = [(pl.col(f"{c}_2") - pl.col(c)).alias(c) for c in quantities]',
        '        moved = [(pl.col(c) - pl.col(f"{c}_2")).alias(c) for c in quantities]',
        "tests/test_live_page.py::test_two_trainings_have_a_map_of_their_difference",
    ),
    Mutant(
        "the live page draws a layer without a number in red",
        "experiments/watch/page.py",
        'how="semi", maintain_order="left"',
        'how="left", maintain_order="left"',
        "tests/test_live_page.py::test_a_layer_without_a_number_is_left_out_of_a_map",
    ),
    Mutant(
        "a live page without any number has no map",
        "experiments/watch/page.py",
        "(whole if own.is_empty() else own)",
        "own",
        "tests/test_live_page.py::test_a_layer_without_a_number_is_left_out_of_a_map",
    ),
    Mutant(
        "a thinned live page leaves out the last measurement",
        "experiments/watch/page.py",
        "        if (steps - 1 - i // places) % every == 0",
        "        if (i // places) % every == 0",
        "tests/test_live_page.py::test_of_many_measurements_some_are_drawn_with_the_last_one",
    ),
    Mutant(
        "the live page is for other sites too",
        "experiments/watch/server.py",
        '        if self.headers.get("Host") not in self.server.hosts:',
        '        if self.headers.get("Host") is None:',
        "tests/test_live_page.py::test_the_server_answers_with_what_is_new",
    ),
    Mutant(
        "the live page's state does not see what is added",
        "experiments/watch/server.py",
        '    return "-".join(f"{file.st_size}.{file.st_mtime_ns}" for file in files)',
        '    return "-".join(f"{file.st_ino}" for file in files)',
        "tests/test_live_page.py::test_the_server_answers_with_what_is_new",
    ),
)


class ListError(Exception):
    """A mutant that cannot be applied, or tests that say nothing about it."""


class Result(NamedTuple):
    """The end of a run of tests.

    code: pytest's exit code, None if it was stopped at the limit.
    failed: the tests that failed.
    broken: those with an error before or after them, and files that cannot be collected.
    """

    code: int | None
    failed: list[str]
    broken: list[str]
    output: str
    seconds: float


class Ends:
    """A plugin of pytest that notes how tests end: what pytest prints is for people."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.broken: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            (self.failed if report.when == "call" else self.broken).append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.append(report.nodeid)


def mutated(mutant: Mutant) -> str:
    """The text of the file with the fault.

    Raises:
        ListError: `old` does not occur exactly once, or there is no such file.
    """
    try:
        text = (ROOT / mutant.path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ListError(f"{mutant.name}: there is no file {mutant.path}") from None
    count = text.count(mutant.old)
    if count != 1:
        raise ListError(
            f"{mutant.name}: expected {mutant.old!r} exactly once in {mutant.path}, found it "
            f"{count} times"
        )
    return text.replace(mutant.old, mutant.new)


def copy(source: Path, folder: Path, *ignored: str) -> None:
    """Copy what the tests need; files keep their times, and so their bytecode stays valid."""
    for name in COPIED:
        if (source / name).is_dir():
            ignore = shutil.ignore_patterns(*ignored)
            shutil.copytree(source / name, folder / name, ignore=ignore)
        else:
            shutil.copy2(source / name, folder)


def run_tests(
    folder: Path,
    programs: Path | None,
    tests: list[str],
    limit: float,
    *options: str,
    bytecode: bool = False,
) -> Result:
    """Run pytest in a copy, on its own jaxnn and experiments whatever is installed.

    With `bytecode` Python stores its bytecode in the copy, and JAX its compiled programs in
    `programs`, if there is such a folder. A copy of that starts sooner, and compiles only what its
    fault changes: the bytecode of the mutated file does not count there, since the file is newer.
    """
    arguments = ["-q", "-n0", "-m", "slow or not slow", *options, *tests]
    for plugin in ("cacheprovider", "hypothesispytest"):  # the other would be imported for nothing
        arguments += ["-p", f"no:{plugin}"]
    output = folder / "output.txt"
    process = SERVER.Process(
        target=_run_pytest, args=(folder, programs, arguments, bytecode, output)
    )
    begun = time.monotonic()
    process.start()
    try:
        process.join(limit)
        code = process.exitcode
    finally:
        if process.is_alive():  # the limit, or Ctrl-C
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
    text = output.read_text(errors="replace") if output.exists() else ""
    ends = folder / "ends.json"
    failed, broken = json.loads(ends.read_text()) if ends.exists() else ([], [])
    return Result(code, failed, broken, text, time.monotonic() - begun)


def _run_pytest(
    folder: Path, programs: Path | None, arguments: list[str], bytecode: bool, output: Path
) -> None:
    """Be the process of one run: a group of its own, in its copy, with its output in a file."""
    os.setsid()
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    sys.path[:] = [str(folder), *(place for place in sys.path if Path(place) not in OURS)]
    os.environ["PYTHONPATH"] = str(folder)  # for the processes that tests start
    os.environ["PYTHONDONTWRITEBYTECODE"] = "" if bytecode else "1"
    os.environ["JAXNN_TEST_CACHE"] = "" if programs is None else str(programs)
    # A mutant has to be seen by a test and not by a type.
    os.environ["JAXNN_TYPES"] = "no"
    if not bytecode:
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "inf"  # they are only read
    sys.dont_write_bytecode = not bytecode
    gc.freeze()  # what is preloaded is not garbage
    ends = Ends()
    code = pytest.main(arguments, plugins=[ends])
    (folder / "ends.json").write_text(json.dumps([ends.failed, ends.broken]))
    sys.exit(code)


def failure(result: Result) -> str | None:
    """The first test that failed, None if none did or something else went wrong.

    An error of a test that failed is one of its clearing up, and nothing else is wrong.
    """
    errors = set(result.broken) - set(result.failed)
    return result.failed[0] if result.code == FAILED and result.failed and not errors else None


def ending(result: Result) -> str:
    """The end of a run without a failed test."""
    if result.code is None:
        return f"ERROR: its tests did not end within {LIMIT} s"
    if result.code == 0:
        return "LIVES: its tests pass"
    return f"ERROR: its tests broke (exit code {result.code}):\n{last_lines(result.output)}"


def last_lines(text: str) -> str:
    """The last lines of a run, indented: all that is known of it where it cannot be repeated."""
    return "\n".join(f"    {line[:160]}" for line in text.splitlines()[-40:])


def check_unchanged(mutants: list[Mutant], unchanged: Path, programs: Path, workers: int) -> None:
    """Run the tests of all mutants on an unchanged copy, and store its bytecode and programs.

    Raises:
        ListError: they do not pass.
    """
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests.split()))
    several = (f"-n{workers}",) if workers > 1 else ()
    limit = LIMIT * len(mutants)
    result = run_tests(unchanged, programs, tests, limit, *several, bytecode=True)
    if result.code != 0:
        raise ListError(f"the tests do not pass on an unchanged copy:\n{result.output}")
    (programs / "gw0").mkdir(parents=True, exist_ok=True)  # if it had nothing to do
    for program in programs.glob("gw[1-9]*/*"):  # mutants have one worker each, and look in gw0
        program.replace(programs / "gw0" / program.name)
    print(f"unchanged: {result.output.strip().splitlines()[-1]}", flush=True)


def collect(mutants: list[Mutant], unchanged: Path) -> None:
    """Like `check_unchanged` where the tests have just passed: find them, and store the bytecode.

    Raises:
        ListError: a test that does not exist, or cannot be imported.
    """
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests.split()))
    result = run_tests(unchanged, None, tests, LIMIT, "--collect-only", bytecode=True)
    if result.code != 0:
        raise ListError(f"tests that do not exist:\n{result.output}")
    print(f"unchanged: {result.output.strip().splitlines()[-1]}", flush=True)


def die(
    mutants: list[Mutant], unchanged: Path, programs: Path | None, workers: int, verbose: bool
) -> list[Mutant]:
    """Run the tests of each mutant, print a line each, and return those that do not die."""

    def one(mutant: Mutant) -> Result:
        with TemporaryDirectory(prefix="mutants-") as name:
            folder = Path(name)
            copy(unchanged, folder)
            (folder / mutant.path).write_text(mutated(mutant), encoding="utf-8")
            return run_tests(folder, programs, mutant.tests.split(), LIMIT, "-x")

    def twice(mutant: Mutant) -> Result:
        """Once more if tests broke: that says nothing of the fault, and may be the machine's."""
        result = one(mutant)
        if failure(result) is not None or result.code in (0, None):
            return result
        print(f"once more, {mutant.name}: {ending(result)}", flush=True)
        return one(mutant)

    survivors = []
    with ThreadPoolExecutor(workers) as pool:
        runs = {pool.submit(twice, mutant): mutant for mutant in mutants}
        try:
            for done, run in enumerate(as_completed(runs), 1):
                mutant, result = runs[run], run.result()
                test = failure(result)
                if test is None:
                    survivors.append(mutant)
                count = f"{done:{len(str(len(mutants)))}} of {len(mutants)}"
                how = ending(result) if test is None else f"dies of {test.partition('::')[2]}"
                print(f"{count}  {result.seconds:5.1f} s  {mutant.name}: {how}", flush=True)
                if verbose:
                    print(result.output, flush=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():  # Ctrl-C
                os.killpg(process.pid, signal.SIGKILL)
    return survivors


def chosen(words: list[str], today: bool) -> list[Mutant]:
    """The mutants with one of the words in their name, or all; of them, if asked, today's share."""
    day = date.today().timetuple().tm_yday % DAYS
    mutants = [
        mutant
        for i, mutant in enumerate(MUTANTS)
        if (not words or any(word.lower() in mutant.name.lower() for word in words))
        and (not today or i % DAYS == day)
    ]
    if not mutants:
        raise ListError(f"no mutant has a name with {' or '.join(words) or 'any word'} in it")
    return mutants


def main(arguments: list[str] | None = None) -> int:
    """Run the mutants and return the exit code."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(
        prog="python tests/mutants.py",
        description="Put faults into copies of the source and check that the tests see them.",
    )
    parser.add_argument("words", nargs="*", help="only mutants with one of these in their name")
    parser.add_argument("--today", action="store_true", help="only a share, chosen by the date")
    parser.add_argument(
        "--passed", action="store_true", help="the suite has just passed on this tree"
    )
    parser.add_argument(
        "--workers", type=int, default=cores, metavar="N", help=f"side by side; default {cores}"
    )
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what pytest prints")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error(f"--workers: expected at least 1, got {options.workers}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # copies are removed then too
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    SERVER.set_forkserver_preload(PRELOADED)

    try:
        for mutant in MUTANTS:
            mutated(mutant)
        mutants = chosen(options.words, options.today)
        if options.list:
            print(*(mutant.name for mutant in mutants), sep="\n")
            return 0
        left_out = [mutant for mutant in mutants if mutant.needs and not find_spec(mutant.needs)]
        mutants = [mutant for mutant in mutants if mutant not in left_out]
        if not mutants:
            raise ListError(f"all of them need {left_out[0].needs}, which is not installed")
        begun = time.monotonic()
        with TemporaryDirectory(prefix="mutants-") as name:
            unchanged, programs = Path(name, "unchanged"), Path(name, "programs")
            unchanged.mkdir()
            copy(ROOT, unchanged, "__pycache__")
            if options.passed:
                collect(mutants, unchanged)
            else:
                check_unchanged(mutants, unchanged, programs, options.workers)
            stored = None if options.passed else programs
            survivors = die(mutants, unchanged, stored, options.workers, options.verbose)
    except ListError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    seconds = time.monotonic() - begun
    print(f"{len(mutants) - len(survivors)} of {len(mutants)} mutants die ({seconds:.0f} s)")
    for mutant in left_out:
        print(f"left out, since {mutant.needs} is not installed: {mutant.name}")
    return 1 if survivors or (left_out and os.environ.get("JAXNN_PEERS")) else 0


if __name__ == "__main__":
    sys.exit(main())
