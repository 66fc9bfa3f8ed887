"""Matchings of triples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from celosia.models.matchings import matching_boundary


def count(points, size):
    """Ways to choose ``size`` disjoint triples of ``points``."""
    chosen = math.factorial(points) // math.factorial(points - 3 * size)
    return chosen // (6**size * math.factorial(size))


def plainly(points, size):
    """Sets of ``size`` disjoint triples, in order, tried one by one."""
    triples = itertools.combinations(range(points), 3)
    sets = itertools.combinations(triples, size)
    return [
        each for each in sets if len({point for triple in each for point in triple}) == 3 * size
    ]


@pytest.mark.parametrize(("points", "size"), [(6, 2), (7, 2), (9, 3)])
def test_faces_are_found(points, size):
    matrix = matching_boundary(points, size)
    rows, faces = plainly(points, size), plainly(points, size - 1)
    assert matrix.shape == (len(rows), len(faces)) == (count(points, size), count(points, size - 1))
    number = {face: index for index, face in enumerate(faces)}
    expected = [
        sorted(number[row[:each] + row[each + 1 :]] for each in range(size)) for row in rows
    ]
    assert np.array_equal(matrix.columns.reshape(-1, size), expected)


def test_thirteen_points_make_m133_b3():
    """As many 4-matchings as 3-matchings: the rows, columns and nonzeros of m133-b3."""
    assert count(13, 4) == count(13, 3) == 200200
