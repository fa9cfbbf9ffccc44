"""Kinds of blocks, a file each: what a layer computes, and its reverse rule by hand."""

from .batch_norm import BatchNorm as BatchNorm
from .block import Block as Block
from .block import Gradient as Gradient
from .block import rows_meet as rows_meet
from .dense import DENSE as DENSE
from .dense import Dense as Dense
from .infinite_width import Ensemble as Ensemble
from .infinite_width import Moments as Moments
from .infinite_width import Theory as Theory
from .infinite_width import theory_of as theory_of
from .norm import LayerNorm as LayerNorm
from .norm import RMSNorm as RMSNorm
from .post_norm import PostNorm as PostNorm
from .residual import Residual as Residual
