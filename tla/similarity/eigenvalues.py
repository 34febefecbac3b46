"""Eigenvalues of a symmetric matrix, and as many of its eigenvectors as are asked for.

SVCCA keeps a few of a layer's directions (9 to 120 of DenseNet-201's up to 1920 hold 99 % of the variance). On the CPU the
matrix is therefore made tridiagonal once, which gives all eigenvalues, and then only the vectors that are wanted are
computed: that takes a third of the time of all vectors.
"""

import torch
from torch import Tensor

WHOLE = 128  # rows up to which all eigenvectors are worked out at once


class Spectrum:
    """Eigenvalues, descending, of a symmetric float64 matrix that does not change meanwhile."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        if len(matrix) > WHOLE and matrix.device.type == "cpu":
            from scipy.linalg import eigvalsh_tridiagonal, lapack
            from threadpoolctl import threadpool_limits

            with threadpool_limits(1, "blas"):  # scipy's threads would fight with torch's over the cores, and lose time
                work = int(lapack.dsytrd_lwork(len(matrix), lower=1)[0])
                reflectors, diagonal, beside, scales, _ = lapack.dsytrd(matrix.numpy(), lower=1, lwork=work)
                values = eigvalsh_tridiagonal(diagonal, beside)
            self._reduced = reflectors[1:, :-1], diagonal, beside, scales
            self._vectors: Tensor | None = None
            self.values = torch.from_numpy(values[::-1].copy())
        else:
            self._decompose()

    def vectors(self, count: int) -> Tensor:
        """The eigenvectors (rows, count) of the largest eigenvalues."""
        if self._vectors is None and 2 * count > len(self.values):
            self._decompose()
        return self._largest(count) if self._vectors is None else self._vectors[:, :count]

    def _decompose(self) -> None:
        values, vectors = torch.linalg.eigh(self._matrix)
        self.values, self._vectors = values.flip(0), vectors.flip(1)

    def _largest(self, count: int) -> Tensor:
        from scipy.linalg import eigh_tridiagonal, lapack
        from threadpoolctl import threadpool_limits

        reflectors, diagonal, beside, scales = self._reduced
        last = len(diagonal) - 1
        chosen = (last - count + 1, last)
        with threadpool_limits(1, "blas"):
            _, vectors = eigh_tridiagonal(diagonal, beside, select="i", select_range=chosen, lapack_driver="stemr")
            back, _, _ = lapack.dormqr("L", "N", reflectors, scales, vectors[1:], lwork=64 * count)
        vectors[1:] = back
        return torch.from_numpy(vectors[:, ::-1].copy())
