"""Stand-ins for modules of PyTorch, with what `jaxnn.as_network` reads of them."""

import numpy as np


class Tensor:
    """A tensor with NumPy's numbers."""

    def __init__(self, values):
        self.values = values
        self.dtype = f"torch.{values.dtype}"

    def element_size(self):
        return self.values.itemsize

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.values


class Module:
    """A module of torch.nn by the name of its class, with these attributes."""

    def __new__(cls, kind, **attributes):
        module = object.__new__(type(kind, (Module,), {"__module__": "torch.nn.modules"}))
        module.__dict__.update(attributes)
        return module

    def __init__(self, kind, **attributes):
        pass

    def register_forward_hook(self, hook):
        raise NotImplementedError


def linear(rng, n, m, bias=True):
    weight = Tensor(rng.normal(size=(m, n)).astype(np.float32))
    b = Tensor(rng.normal(size=m).astype(np.float32)) if bias else None
    return Module("Linear", in_features=n, out_features=m, weight=weight, bias=b)


def sequential(*children):
    named = [("", None), *((str(i), child) for i, child in enumerate(children))]
    return Module("Sequential", named_modules=lambda remove_duplicate: named)
