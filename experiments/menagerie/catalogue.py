"""The list of networks, read from their source: which there are, and the lines that each takes.

    networks/of_PACKAGE.py  ->  its table `NETWORKS`  ->  an entry each

An entry of a table is a title with functions that return the model and its inputs, of which the
file's own `arguments(model, xs)` makes what `jaxnn.diagnose` takes; or with one that returns these
arguments; or the options of the file's own `network(name, title, **options)`, among them a title
that is not the name.

Nothing is imported to make the list, so that a network is in it whose package is not installed.
"""

import ast
import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from experiments.menagerie import inputs

FOLDER = Path(__file__).parent / "networks"
# The module that is imported, by the name of the file; those of torch are run by torch.
PACKAGES = {
    "jax": "jax",
    "equinox": "equinox",
    "linen": "flax",
    "nnx": "flax",
    "haiku": "haiku",
    "keras": "keras",
    "jraph": "jraph",
    "diffrax": "diffrax",
    "flowjax": "flowjax",
    "numpyro": "numpyro",
    "equimo": "equimo",
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "transformers": "transformers",
    "vit_pytorch": "vit_pytorch",
    "x_transformers": "x_transformers",
    "diffusers": "diffusers",
    "segmentation_models_pytorch": "segmentation_models_pytorch",
    "denoising_diffusion_pytorch": "denoising_diffusion_pytorch",
    "open_clip": "open_clip",
    "torch_geometric": "torch_geometric",
    "rtdl": "rtdl",
    "rtdl_revisiting_models": "rtdl_revisiting_models",
    "performer_pytorch": "performer_pytorch",
    "perceiver_pytorch": "perceiver_pytorch",
    "linformer": "linformer",
    "conformer": "conformer",
}


@dataclass(frozen=True)
class Entry:
    """A network.

    package: the name of its file, without of_.
    network: its name in the table of the file.
    lines: the statements of its function, and of the helpers of its file that it calls.
    """

    package: str
    network: str
    title: str
    lines: int

    @property
    def is_installed(self) -> bool:
        """True if the package of the network can be imported."""
        return importlib.util.find_spec(PACKAGES[self.package]) is not None

    def arguments(self) -> inputs.Arguments:
        """Return the arguments of `jaxnn.diagnose`."""
        module = importlib.import_module(f"experiments.menagerie.networks.of_{self.package}")
        entry = module.NETWORKS[self.network]
        if isinstance(entry, dict):
            options = {name: value for name, value in entry.items() if name != "title"}
            return module.network(self.network, self.title, **options)
        made = [make() for make in entry[1:]]
        return made[0] if len(made) == 1 else module.arguments(*made)


def find(package: str, network: str) -> Entry:
    """Return a network."""
    return next(entry for entry in of_package(package) if entry.network == network)


def versions() -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    names = metadata.packages_distributions()
    modules = [name for name in dict.fromkeys(PACKAGES.values()) if name in names]
    return {name: metadata.version(names[name][0]) for name in modules}


@cache
def of_package(package: str) -> tuple[Entry, ...]:
    """Return the networks of a package, in the order of its table."""
    tree = ast.parse((FOLDER / f"of_{package}.py").read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    parts = {part.name: part for part in tree.body if isinstance(part, kinds)}
    (table,) = (
        part.value
        for part in tree.body
        if isinstance(part, ast.AnnAssign) and ast.unparse(part.target) == "NETWORKS"
    )
    assert isinstance(table, ast.Dict)
    entries = []
    for key, value in zip(table.keys, table.values, strict=True):
        assert key is not None
        name = ast.literal_eval(key)
        if isinstance(value, ast.Tuple):
            title, function = ast.literal_eval(value.elts[0]), value.elts[1]
            if len(value.elts) == 3:
                function = ast.Tuple([*value.elts[1:], ast.Name("arguments")])
        else:
            title = ast.literal_eval(value).get("title", name)
            function = ast.Name("network")
        entries.append(Entry(package, name, title, _lines(function, parts)))
    return tuple(entries)


def _lines(function: ast.expr, parts: dict[str, ast.FunctionDef | ast.ClassDef]) -> int:
    """Count the statements of a function, without docstrings, and of what it uses of its file."""
    used: set[str] = set()
    waiting: list[ast.AST] = [function]
    while waiting:
        names = {n.id for n in ast.walk(waiting.pop()) if isinstance(n, ast.Name)}
        waiting += [parts[name] for name in names & parts.keys() - used]
        used |= names & parts.keys()
    statements = (n for u in used for n in ast.walk(parts[u]) if isinstance(n, ast.stmt))
    count = sum(
        not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)) for s in statements
    )
    # An expression of the table is a statement; the head of a function is none.
    count += not (isinstance(function, ast.Name) and function.id.startswith("_"))
    return count - len(used & {n for n in parts if isinstance(parts[n], ast.FunctionDef)})
