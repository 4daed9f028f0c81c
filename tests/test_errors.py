"""Names that aren't known: the same words wherever one is given."""

from __future__ import annotations

import pytest

from subspace.errors import InvalidInput, lookup, one_of

NAMES = ("whole", "layer", "Leaf")


def test_a_known_name_is_handed_back():
    assert one_of("kind", "layer", NAMES) == "layer"
    assert lookup("depth", 11, {11: "a", 13: "b"}) == "a"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("layers", "kind: unknown kind 'layers'; did you mean 'layer'? choose from: "),
        ("LEAF", "kind: unknown kind 'LEAF'; did you mean 'Leaf'? choose from: "),
        ("x", "kind: unknown kind 'x'; choose from: "),
        (None, "kind: unknown kind None; choose from: "),
    ],
)
def test_another_name_is_told_the_nearest_and_all(name, said):
    with pytest.raises(InvalidInput) as caught:
        one_of("kind", name, NAMES)
    assert str(caught.value) == said + "whole, layer, Leaf"
