"""What separates two classes of latents, from their n×n Gram matrix alone.

n latents span n dimensions at most, of the D = C·h·w that they have: so every linear classifier whose normal lies in
their span is f(x) = Σ a_i ⟨x_i, x⟩ + b, and a solver that sees K = X Xᵀ finds the very hyperplane that one with X does.
Each fit takes K (n, n) and which latents are of the class (n,), and gives a (n,) and b.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import Tensor

Array: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.bool_]
BLOCK = 1024  # numbers of each latent that are taken together: n·1024 in double precision are what is held besides
REGULARISATION = 1.0  # scikit-learn's C, the first implementation's


@dataclass(frozen=True)
class Separator:
    """f(x) = Σ a_i ⟨x_i, x⟩ + b, above 0 for the class."""

    a: Array
    b: float

    def decide(self, products: Array) -> Array:
        """f (m,) of m latents whose products with the n fitted ones are given, (m, n)."""
        return products @ self.a + self.b

    def norm(self, gram: Array) -> float:
        """Of the normal Σ a_i x_i."""
        return float(np.sqrt(max(0.0, self.a @ gram @ self.a)))


Fit: TypeAlias = Callable[[Array, Labels], Separator]


def gram(latents: Tensor) -> Array:
    """K = X Xᵀ (n, n) of latents (n, D) of any precision.

    Summed in double precision: latents of one seed differ by little, and what separates them is a difference of large
    numbers.
    """
    total = np.zeros((len(latents), len(latents)), order="F")
    for part in latents.split(BLOCK, dim=1):
        total = dsyrk(1.0, part.double().numpy().T, trans=1, beta=1.0, c=total, overwrite_c=1)  # its upper triangle
    return np.triu(total) + np.triu(total, 1).T


def normals(latents: Tensor, coefficients: Array) -> Tensor:
    """Xᵀ a (D, m) for m lists of coefficients (n, m), in float32."""
    factors = torch.from_numpy(coefficients)
    return torch.cat([(part.double().T @ factors).float() for part in latents.split(BLOCK, dim=1)])


def svm(gram: Array, positive: Labels) -> Separator:
    """The linear support vector machine, by libsvm on the precomputed kernel."""
    machine = SVC(kernel="precomputed", C=REGULARISATION).fit(gram, positive)
    a = np.zeros(len(gram))
    a[machine.support_] = machine.dual_coef_[0]
    return Separator(a, float(machine.intercept_[0]))


def logistic(gram: Array, positive: Labels) -> Separator:
    """Logistic regression with the same regularisation, in the n dimensions that the latents span.

    With K = U S Uᵀ the rows of U √S are the latents in an orthonormal basis of their span, and a normal β there is
    Xᵀ a with a = U β / √S.
    """
    size, basis = np.linalg.eigh(gram)
    spanned = size > 1e-9 * size[-1]
    root, basis = np.sqrt(size[spanned]), basis[:, spanned]
    model = LogisticRegression(C=REGULARISATION, solver="newton-cholesky").fit(basis * root, positive)
    return Separator(basis @ (model.coef_[0] / root), float(model.intercept_[0]))


def means(gram: Array, positive: Labels) -> Separator:
    """The difference of the class means μ₁ − μ₀, with the boundary half-way between them."""
    own, others = positive / positive.sum(), ~positive / (~positive).sum()
    a = own - others
    return Separator(a, float(-(a @ gram @ (own + others)) / 2))


FITS: dict[str, Fit] = {"svm": svm, "logistic": logistic, "means": means}
