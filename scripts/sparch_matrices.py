"""The twenty matrices of SpArch's paper: what is known of them, and stand-ins of the same kinds.

The matrices themselves are of SuiteSparse and SNAP and do not come with Celosia; files of a folder
are taken whole where there are any.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celosia.models.csr import Csr
from celosia.models.errors import CelosiaError
from celosia.models.matchings import matching_boundary
from celosia.models.matrix_market import read_matrix_market
from celosia.models.random_graphs import graph_matrix, mesh_matrix, row_lengths

SEED = 2002
"""Of all stand-ins."""


class Kind(enum.Enum):
    """What a matrix comes from."""

    PLANE = "mesh or roads in a plane"
    SPACE = "mesh in space"
    GRAPH = "directed graph"
    NETWORK = "graph"
    MATCHINGS = "boundary map of matchings of triples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What is known of a matrix, and what its stand-in is made with.

    Attributes
    ----------
    name, kind, rows, nonzeros
        Of the matrix, which is square.
    longest
        Elements of the longest row.
    products
        Of the matrix with itself.
    reach
        Of a mesh, :func:`~celosia.models.random_graphs.mesh_matrix`.
    near, window
        Of a graph, :func:`~celosia.models.random_graphs.graph_matrix`.
    scattered
        Whether numbers of a graph's nodes say nothing of who is near whom.
    least
        Elements of the shortest row.
    """

    name: str
    kind: Kind
    rows: int
    nonzeros: int
    longest: int
    products: int
    reach: float = 1.0
    near: float = 0.0
    window: int = 64
    scattered: bool = False
    least: int = 1

    def share(self, most: int) -> float:
        """Return what part of the matrix makes at most ``most`` products; 1 at most."""
        return min(1.0, most / self.products)

    def matrix(self, most: int) -> Csr:
        """Return a stand-in of at most about ``most`` products.

        Rows are fewer then, as long as those of the matrix and meeting as many elements; only the
        longest are no longer than a fourth of the rows. The boundary map of m133-b3 is itself where
        it is whole; cut, it is a graph.
        """
        rng = np.random.default_rng(SEED)
        if self.kind is Kind.MATCHINGS and self.share(most) == 1:
            found = matching_boundary(13, 4)
            return found.with_values(rng.integers(1, 9, found.nonzeros, endpoint=True))
        mean = self.nonzeros / self.rows
        rows = max(16, math.ceil(4 * mean), round(self.rows * self.share(most)))
        nonzeros = round(mean * rows)
        longest = min(self.longest, max(rows // 4, nonzeros // rows + 1))
        met = self.products / self.nonzeros
        counts = row_lengths(rows, nonzeros, longest, met, least=self.least)
        if self.kind in (Kind.PLANE, Kind.SPACE):
            dimensions = 2 if self.kind is Kind.PLANE else 3
            found = mesh_matrix(counts, dimensions, rng, reach=self.reach)
        else:
            found = graph_matrix(
                rng.permutation(counts), round(met * nonzeros), rng, near=self.near,
                window=self.window, scattered=self.scattered,
            )  # fmt: skip
        return found.with_values(rng.integers(1, 9, found.nonzeros, endpoint=True))


def _of(
    kind: Kind, name: str, rows: int, nonzeros: int, longest: int, products: int, **how: float
) -> Statistics:
    least, window = int(how.pop("least", 1)), int(how.pop("window", 64))
    return Statistics(
        name=name, kind=kind, rows=rows, nonzeros=nonzeros, longest=longest, products=products,
        scattered=kind is Kind.NETWORK, least=least, window=window, **how,
    )  # fmt: skip


# Rows and nonzeros give the densities that are published with the list for eighteen of them.
# Besides are confirmed: by the collections' pages rows and nonzeros of patents_main, web-Google,
# cit-Patents, amazon0312 and p2p-Gnutella31; by KONECT's the longest rows of roadNet-CA and
# web-Google, and roadNet-CA's products (twice its wedges and edges); by the artefact of TeAAL the
# products of wiki-Vote, p2p-Gnutella31, ca-CondMat, poisson3Da and email-Enron; by the file
# ca-CondMat's longest row (279 in its largest component). All else, longest rows and products
# above all, is put down from memory of papers on sparse products (such as Liu and Vinter, IPDPS
# 2014), facebook's products from its triangles and clustering: estimates until someone looks.
# How near elements lie is chosen so that products and the size of the product come out. Sizes are
# confirmed for amazon0312 (14,390,544 elements), web-Google (29,710,164) and roadNet-CA
# (12,908,450) by the README of SpBench, and to two digits by TeAAL's bytes for its five. The
# stand-ins of web-Google, wiki-Vote and webbase-1M have more: 1.4, 1.5 and 1.25 times as many.
# m133-b3 has a row for each of the 200,200 sets of 4 disjoint triples of 13 points, and a column
# for each of as many sets of 3: that is built itself, in an order that may not be the file's.
MATRICES = (
    _of(Kind.SPACE, "2cubes_sphere", 101492, 1647264, 31, 27_450_606, reach=1.5),
    _of(Kind.GRAPH, "amazon0312", 400727, 3200440, 10, 28_390_000, near=0.94, window=32),
    _of(Kind.NETWORK, "ca-CondMat", 23133, 186936, 280, 4_127_524, near=0.98, window=256),
    _of(Kind.SPACE, "cage12", 130228, 2032536, 33, 34_610_826, reach=2.6),
    _of(
        Kind.GRAPH, "cit-Patents", 3774768, 16518948, 770, 82_152_992,
        near=0.78, window=32, least=0,
    ),
    _of(Kind.SPACE, "cop20k_A", 121192, 2624331, 81, 79_883_385, reach=2.0),
    _of(Kind.NETWORK, "email-Enron", 36692, 367662, 1383, 51_501_448, near=0.1),
    _of(Kind.NETWORK, "facebook", 4039, 176468, 1045, 18_806_166, near=0.8, window=512),
    _of(Kind.SPACE, "filter3D", 106437, 2707179, 112, 85_957_185, reach=2.0),
    _of(Kind.MATCHINGS, "m133-b3", 200200, 800800, 4, 3_203_200),
    _of(Kind.PLANE, "mario002", 389874, 2101242, 7, 12_829_364, reach=1.8),
    _of(Kind.SPACE, "offshore", 259789, 4242673, 31, 71_342_515, reach=1.5),
    _of(Kind.GRAPH, "p2p-Gnutella31", 62586, 147892, 78, 538_318, least=0),
    _of(Kind.GRAPH, "patents_main", 240547, 560943, 206, 2_604_790, near=0.85, least=0),
    _of(Kind.SPACE, "poisson3Da", 13514, 352762, 110, 11_768_678, reach=2.1),
    _of(Kind.PLANE, "roadNet-CA", 1971281, 5533214, 12, 17_523_394, reach=3.4, least=0),
    _of(Kind.GRAPH, "scircuit", 170998, 958936, 353, 8_676_313, near=0.95, window=32),
    _of(Kind.GRAPH, "web-Google", 916428, 5105039, 456, 60_687_836, near=0.97, window=128),
    _of(Kind.GRAPH, "webbase-1M", 1000005, 3105536, 4700, 69_524_195, near=0.9, window=1024),
    _of(
        Kind.NETWORK, "wiki-Vote", 8297, 103689, 893, 4_542_805,
        near=0.98, window=1024, least=0,
    ),
)  # fmt: skip
"""The paper's twenty, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A matrix to measure: a file, whole, or a stand-in of about ``most`` products."""

    name: str
    file: Path | None = None
    standin: Statistics | None = None
    most: int = 0

    @property
    def share(self) -> float:
        """What part of the matrix it is."""
        return 1.0 if self.standin is None else self.standin.share(self.most)

    def matrix(self) -> Csr:
        """Return the matrix; raises :class:`CelosiaError` where a file is none."""
        if self.standin is not None:
            return self.standin.matrix(self.most)
        assert self.file is not None
        return read_matrix_market(self.file)


def find_matrices(folder: Path | None, names: Sequence[str], most: int) -> list[Source]:
    """Return the matrices of the benchmark, files before stand-ins.

    All Matrix Market files of ``folder``, whole, and stand-ins of :data:`MATRICES` of about
    ``most`` products; of both only those whose name holds one of ``names``, all for none.

    Raises :class:`CelosiaError` where there is no such folder or a name is unknown.
    """
    if folder is not None and not folder.is_dir():
        raise CelosiaError(f"{folder} is no folder: name one with Matrix Market files")
    paths = [] if folder is None else sorted([*folder.glob("*.mtx"), *folder.glob("*.mtx.gz")])
    known = [
        Source(name=path.name.removesuffix(".gz").removesuffix(".mtx"), file=path) for path in paths
    ]
    known += [Source(name=f"{each.name} (generated)", standin=each, most=most) for each in MATRICES]
    for word in names:
        if not any(word in each.name for each in known):
            raise CelosiaError(
                f"there is no matrix {word!r}: known are {', '.join(each.name for each in known)}"
            )
    return [each for each in known if not names or any(word in each.name for word in names)]
