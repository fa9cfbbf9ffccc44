"""Kinds of blocks by name."""

import pytest

import jaxnn
from experiments.learning.kinds import BY_DEPTH, BlockKind, kind_of, kinds


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("dense", jaxnn.blocks.Dense()),
        ("residual", jaxnn.blocks.Residual(scale=0.5)),
        ("residual(rms_norm)", jaxnn.blocks.Residual(jaxnn.blocks.RMSNorm(), 0.5)),
        ("batch_norm(layer_norm)", jaxnn.blocks.BatchNorm(jaxnn.blocks.LayerNorm())),
        ("post_norm", jaxnn.blocks.PostNorm(jaxnn.blocks.Residual(scale=0.5))),
        (
            "post_norm(residual(layer_norm))",
            jaxnn.blocks.PostNorm(jaxnn.blocks.Residual(jaxnn.blocks.LayerNorm(), 0.5)),
        ),
    ],
)
def test_a_name_is_a_block(name, block):
    assert BlockKind(name, "0.5").of(7) == block
    assert BlockKind(name, BY_DEPTH).of(4) == block


def test_a_scale_counts_where_there_is_a_branch():
    found = kinds(["dense", "residual", "post_norm", "rms_norm", "dense"], ["1", "0.50", "1/√L"])
    texts = [kind.text for kind in found]
    scaled = [f"{name}{scale}" for name in ("residual", "post_norm") for scale in SCALES]
    assert texts == ["dense", *scaled, "rms_norm"]
    assert [kind_of(text) for text in texts] == list(found)


SCALES = ("", ", 0.5", f", {BY_DEPTH}")


@pytest.mark.parametrize(
    ("name", "scale", "sentence"),
    [
        ("resnet", "1", r"^hidden: there is no 'resnet'; choose some of dense, .* or one"),
        ("dense(residual)", "1", r"^hidden: there is no 'dense\(residual\)'"),
        ("residual(", "1", r"^hidden: there is no 'residual\('"),
        ("residual(norm)", "1", "^hidden: there is no 'norm'"),
        ("residual", "1/L", r"^scale: expected numbers or 1/sqrt\(L\), got '1/L'"),
        ("residual", "inf", "^scale: expected numbers or"),
    ],
)
def test_what_is_no_kind(name, scale, sentence):
    with pytest.raises(ValueError, match=sentence):
        kinds([name], [scale])
