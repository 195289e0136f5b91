"""From opened gradients to the head: what a semi-honest developer can compute from its own view of the joint steps.

The opened gradient of a row with features x and label y is

    u = g sum_j s_j v_j        g = sigmoid(z) - y,  s_j = [x . w_j + b_j > 0],  v_j = w2_j w_j

so a unit's direction v_j is also the normal of the plane that switches it on and off. Three stages, each from the one
before:

1. Row space. The rows' directions span the v_j: a singular value decomposition leaves `hidden` dimensions, in which
   they are whitened as far as noise and the head's own movement allow.
2. Units, in two ways.
   Flips: two rows that lie close together (one image in two epochs) mostly differ in few units. Where it is one, their
   two gradients span a plane that contains v_j, whatever their g; many such planes, of different images, have that one
   direction in common. A direction counts if one threshold explains on which side of it those rows lie.
   Isolation: a direction to which all v_k but one are orthogonal has the value 0 on all rows on which that one is off.
   Iteratively reweighted least squares finds such directions (the sparsest vectors of a subspace; Spielman, Wang and
   Wright 2012), from random half spaces in which the unit may be off; where it is on then gives its plane.
3. All of it. With the units' states known, g and v_j follow by alternating least squares, the thresholds from the
   states; one unknown factor and b2 by fitting g = sigmoid(z) - y.

Gradient descent on the whole head goes on from there (`head_fit`). Nothing is proved: what it finds is a lower bound of
what is there to be found.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from amint_mpc.bench.head_fit import OpenedRows, fit_error
from amint_mpc.models.head_weights import HeadWeights

Array = NDArray[np.float64]

NEIGHBOURS = 3
PLANES = 12_000
"""At most so many pairs of rows are compared with each other, those with the smallest change first."""
WHITENING = 1e-4
"""Added to each variance of the rows' directions: below it lies noise, most of it from the head's movement."""
COMMON = 0.998
"""Cosine from which two planes have a direction in common."""
SUPPORT = 6
"""A direction counts from so many planes on: three meet by chance."""
ALIKE = 0.95
"""Cosine from which two directions are one."""
ROUNDS = 3
ENOUGH = 0.75
"""Share of units from which on isolation is not tried."""


@dataclass(frozen=True)
class Gates:
    """Units' planes: unit j is on where x . normals[j] > thresholds[j]. normals [m, F] of length 1, thresholds [m]."""

    normals: Array
    thresholds: Array

    def __len__(self) -> int:
        return len(self.normals)

    def __add__(self, other: Gates) -> Gates:
        """Those of the other that are not here yet, too."""
        new = [i for i, n in enumerate(other.normals) if not len(self) or np.abs(self.normals @ n).max() < ALIKE]
        normals = np.concatenate([self.normals, other.normals[new]])
        return Gates(normals, np.concatenate([self.thresholds, other.thresholds[new]]))

    def on(self, x: Array) -> Array:
        """States [n, m], 0 or 1."""
        return (x @ self.normals.T > self.thresholds).astype(np.float64)


@dataclass(frozen=True)
class Recovered:
    """weights: None where no unit was found. units: how many of them were."""

    weights: HeadWeights | None
    units: int


def recover(rows: OpenedRows, hidden: int, budget_s: float, seed: int = 0) -> Recovered:
    """Stages 1 to 3; of the two ways to units, and both together, the one whose head fits best.

    Args:
        hidden: units of the head, which is public. budget_s: for the isolation. seed: of its starts.
    """
    x, members = rows.features.double().numpy(), rows.members.numpy()
    u = np.where(members[:, None], -rows.gradients.double().numpy(), rows.gradients.double().numpy())  # |g| sum s v
    sizes = np.linalg.norm(u, axis=1)
    clear = sizes > np.quantile(sizes, 0.1)  # of the others the rounding is too large a part
    x, u, members = x[clear], u[clear], members[clear]
    space = RowSpace(u, hidden)
    sets = [flips(x, space, members)]
    if len(sets[0]) < ENOUGH * hidden:
        alone = isolated(x, space, budget_s, np.random.default_rng(seed))
        sets += [alone, alone + sets[0]]
    best, least = Recovered(None, 0), np.inf
    for gates in sets:
        if len(gates):
            gates = Gates(gates.normals[:hidden], gates.thresholds[:hidden])
            weights = assemble(x, u, members, gates, hidden)
            if (error := fit_error(weights, rows)) < least:
                best, least = Recovered(weights, len(gates)), error
    return best


class RowSpace:
    """Stage 1. Args: u: [n, F], rows oriented so that a unit that is on adds a positive multiple of its v."""

    def __init__(self, u: Array, hidden: int) -> None:
        directions = u / np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-300)
        variances, vectors = np.linalg.eigh(directions.T @ directions / len(u))
        self._basis = vectors[:, ::-1][:, :hidden]
        noise = 4 * max(variances[::-1][min(hidden, len(variances) - 1)], 0.0) if len(variances) > hidden else 0.0
        self._scale = 1 / np.sqrt(variances[::-1][:hidden].clip(0) + max(WHITENING, noise))
        rows = directions @ self._basis * self._scale
        self.rows: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def direction(self, whitened: Array) -> Array:
        """Of length 1 in the space of the features, [F]."""
        found: Array = self._basis @ (whitened / self._scale)
        return found / np.linalg.norm(found)

    def inside(self, x: Array) -> Array:
        """Coordinates of features in the row space, [n, hidden]."""
        coordinates: Array = x @ self._basis
        return coordinates

    def outside(self, inner: Array) -> Array:
        """The direction in the features' space that has these coordinates, [F], of length 1."""
        found: Array = self._basis @ inner
        return found / np.linalg.norm(found)


# ------------------------------------------------------------------------------------------------ flips


def flips(x: Array, space: RowSpace, members: NDArray[np.bool_]) -> Gates:
    """Stage 2, from rows that lie close together."""
    pairs = _close_pairs(x, members)
    first, second = space.rows[pairs[:, 0]], space.rows[pairs[:, 1]]
    rest = second - (second * first).sum(1, keepdims=True) * first
    change = np.linalg.norm(rest, axis=1)
    order = np.argsort(change)
    order = order[change[order] > 1e-9][:PLANES]
    pairs, planes = pairs[order], np.stack([first[order], rest[order] / change[order, None]], axis=2)  # [p, hidden, 2]
    met = _meetings(planes)
    pool, normals, thresholds, support = np.ones(len(planes), bool), [], [], []
    degrees = np.array([len(others) for others in met])
    while degrees.size and degrees.max() >= 2:
        start = int(degrees.argmax())
        chosen = np.array([start, *(q for q in met[start] if pool[q])])
        for _ in range(5):
            v = np.linalg.eigh(np.einsum("nik,njk->ij", planes[chosen], planes[chosen]))[1][:, -1]
            inside = np.square(np.einsum("nik,i->nk", planes, v)).sum(1)
            chosen = np.flatnonzero(inside > COMMON**2)
            if len(chosen) < SUPPORT:
                break
        gone = np.union1d(chosen, [start])
        for plane in gone[pool[gone]]:
            degrees[met[plane]] -= 1
        pool[gone], degrees[gone] = False, -1
        if len(chosen) < SUPPORT:
            continue
        found = _plane_of(x, space, pairs[chosen], v)
        if found is not None:
            normals.append(found[0])
            thresholds.append(found[1])
            support.append(len(chosen))
    best = Gates(np.zeros((0, x.shape[1])), np.zeros(0))
    for i in np.argsort(support)[::-1]:
        best = best + Gates(normals[i][None], np.array([thresholds[i]]))
    return best


def _close_pairs(x: Array, members: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Each row with its nearest ones of the same label, [p, 2], each pair once."""
    points, found = torch.from_numpy(x).float(), []
    for start in range(0, len(x), 1000):
        distances = torch.cdist(points[start : start + 1000], points)
        here = torch.arange(len(distances))
        distances[here, here + start] = torch.inf
        near = distances.topk(min(NEIGHBOURS, len(x) - 1), largest=False).indices
        found.append(torch.stack([(here + start)[:, None].expand_as(near), near], dim=2).reshape(-1, 2))
    pairs: NDArray[np.int64] = np.unique(np.sort(torch.cat(found).numpy(), axis=1), axis=0)
    alike: NDArray[np.int64] = pairs[members[pairs[:, 0]] == members[pairs[:, 1]]]
    return alike


def _meetings(planes: Array) -> list[list[int]]:
    """For each plane those that have a direction in common with it, which is not that of a row itself."""
    a, b = (torch.from_numpy(planes[:, :, k].copy()).float() for k in range(2))
    met: list[list[int]] = []
    for start in range(0, len(a), 1000):
        part = slice(start, start + 1000)
        aa, ab, ba, bb = a[part] @ a.T, a[part] @ b.T, b[part] @ a.T, b[part] @ b.T
        # the larger singular value of [[aa, ab], [ba, bb]], and the angles of its vectors against a
        even, odd = torch.hypot((aa + bb) / 2, (ba - ab) / 2), torch.hypot((aa - bb) / 2, (ba + ab) / 2)
        one, other = torch.atan2(ba + ab, aa - bb), torch.atan2(ba - ab, aa + bb)
        away = ((one + other) / 2).sin().abs().minimum(((one - other) / 2).sin().abs()) > 0.5
        hit = (even + odd > COMMON) & away
        here = torch.arange(len(hit))
        hit[here, here + start] = False
        met += [row.nonzero()[:, 0].tolist() for row in hit]
    return met


def _plane_of(x: Array, space: RowSpace, pairs: NDArray[np.int64], v: Array) -> tuple[Array, float] | None:
    """Normal and threshold of the unit with this direction, if one threshold explains nearly all pairs."""
    first, second = space.rows[pairs[:, 0]], space.rows[pairs[:, 1]]
    step = ((second - (second * first).sum(1, keepdims=True) * first) @ v) * 1.0
    normal = space.direction(v)
    at = x[pairs] @ normal  # [p, 2]
    moved = at[:, 1] - at[:, 0]
    # v is added where the unit is on: with w2 > 0 on the side of larger x . v, else on the other one
    agree = np.sign(step) * np.sign(moved)
    side = 1.0 if agree.sum() > 0 else -1.0
    low, high = np.sort(side * at, axis=1).T
    ends = np.sort(np.concatenate([low, high]))
    middles = (ends[:-1] + ends[1:]) / 2
    explained = (low < middles[:, None]) & (middles[:, None] < high)
    best = int(explained.sum(1).argmax())
    if (agree == side).mean() < 0.95 or explained[best].mean() < 0.3:
        return None
    return side * normal, float(middles[best])


# ------------------------------------------------------------------------------------------------ isolation


def isolated(x: Array, space: RowSpace, budget_s: float, random: np.random.Generator) -> Gates:
    """Stage 2, by the sparsest directions of the row space, until time is up or nothing new comes."""
    white = np.linalg.inv(np.linalg.cholesky(space.rows.T @ space.rows / len(space.rows))).T
    c = space.rows @ white
    inner = space.inside(x)
    inner = inner - inner.mean(0)
    gram = inner.T @ inner
    gram += 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    gates, tried, end = Gates(np.zeros((0, x.shape[1])), np.zeros(0)), 0, time.monotonic() + budget_s
    while time.monotonic() < end and len(gates) < c.shape[1]:
        tried += 1
        guess, most = random.standard_normal(inner.shape[1]), random.uniform(0.2, 0.5)
        if tried % 2:  # away from the units that are known
            known = np.linalg.qr(space.inside(gates.normals).T)[0]
            guess = guess - known @ (known.T @ guess)
        score = inner @ guess
        for turn in range(14):  # rows in which the unit is off, and a direction of their own: each from the other
            off = np.argsort(score)[: int(min(most, 0.15 + 0.03 * turn) * len(score))]
            a = np.linalg.eigh(c[off].T @ c[off])[1][:, 0]
            size = np.minimum(np.abs(c @ a), 2.0)
            labels = (size > np.median(size)).astype(float) if turn > 8 else size
            score = inner @ np.linalg.solve(gram, inner.T @ (labels - labels.mean()))
        size = np.abs(c @ _sparsest(c, a))
        on = size > 0.05
        if not 0.1 < on.mean() < 0.8:
            continue
        normal = space.outside(_separating(inner, on))
        threshold, errors = _threshold(x @ normal, on.astype(float), np.ones(len(x)))
        if errors < 0.05:
            gates = gates + Gates(normal[None], np.array([threshold]))
    return gates


def _sparsest(c: Array, a: Array) -> Array:
    """From a direction to the nearest one with a locally smallest sum of |c . a|, by reweighted least squares."""
    width = 0.3
    for _ in range(40):
        weights = 1 / np.maximum(np.abs(c @ a), width)
        new = np.linalg.eigh((c * weights[:, None]).T @ c)[1][:, 0]
        new *= np.sign(new @ a) or 1.0
        still, a = np.linalg.norm(new - a) < 1e-3, new
        if still:
            if width <= 1e-3:
                break
            width = max(width / 4, 1e-3)
    return a


def _separating(inner: Array, on: NDArray[np.bool_]) -> Array:
    """A direction along which the rows that are on lie above the others: logistic regression by Newton's steps."""
    x = np.c_[inner / inner.std(), np.ones(len(inner))]
    w = np.zeros(x.shape[1])
    for _ in range(12):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(len(w))
        w = w - np.linalg.solve(hessian, x.T @ (p - on) + 1e-3 * w)
    return w[:-1]


def _threshold(along: Array, on: Array, weights: Array) -> tuple[float, float]:
    """Where states, 0 or 1, go from off to on along a direction, and the share of rows, by weight, that contradict."""
    order = np.argsort(along)
    below, above = np.cumsum((on * weights)[order]), np.cumsum(((1 - on) * weights)[order][::-1])[::-1]
    cost = np.concatenate([[0.0], below]) + np.concatenate([above, [0.0]])
    cut = int(cost.argmin())
    ends = np.concatenate([[along[order[0]] - 1], along[order], [along[order[-1]] + 1]])
    return float((ends[cut] + ends[cut + 1]) / 2), float(cost[cut] / weights.sum())


# ------------------------------------------------------------------------------------------------ the whole head


def assemble(x: Array, u: Array, members: NDArray[np.bool_], gates: Gates, hidden: int) -> HeadWeights:
    """Stage 3. Units that are missing stay at zero."""
    amount = np.linalg.norm(u, axis=1)
    gates, amount = _oriented(x, u, gates, amount)
    for _ in range(ROUNDS):
        on = gates.on(x)
        v = _lengths(on, gates.normals, u, amount)[:, None] * gates.normals
        amount = _amounts(on, v, u)
        on = _states(on, v, u, amount)
        lengths = np.linalg.norm(v, axis=1)
        sides = np.where((v * gates.normals).sum(1) >= 0, 1.0, -1.0)
        normals = sides[:, None] * v / np.maximum(lengths, 1e-300)[:, None]
        weights = amount / amount.mean()
        gates = Gates(normals, np.array([_threshold(x @ n, on[:, j], weights)[0] for j, n in enumerate(normals)]))
    factor, b2 = _scale(np.maximum(x @ normals.T - gates.thresholds, 0) @ (sides * lengths), amount, members)
    w1, b1, w2 = np.zeros((x.shape[1], hidden)), np.zeros(hidden), np.zeros(hidden)
    # only the product of a unit's two layers shows; gradient descent keeps |w1|^2 - w2^2 where the first weights had it
    products, found = lengths * factor, len(gates)
    upper = np.sqrt(np.sqrt(1 + products**2) - 1)
    lower = products / np.maximum(upper, 1e-300)
    w1[:, :found], b1[:found], w2[:found] = normals.T * lower, -gates.thresholds * lower, sides * upper
    return HeadWeights(*map(torch.from_numpy, (w1, b1, w2, np.array(b2))))


def _oriented(x: Array, u: Array, gates: Gates, amount: Array) -> tuple[Gates, Array]:
    """Turn the planes of units that are on where they are said to be off.

    s v = v - (1 - s) v: a state that is the wrong way round leaves its v in a constant part, which there should not be.
    """
    basis = np.linalg.svd(gates.normals, full_matrices=False)[2]
    on = np.c_[gates.on(x), np.ones((len(x), len(basis)))]
    normals = np.concatenate([gates.normals, basis])
    for _ in range(4):
        parts = _lengths(on, normals, u, amount)[:, None] * normals
        amount = _amounts(on, parts, u)
    v, rest = parts[: len(gates)], parts[len(gates) :].sum(0)
    wrong = np.zeros(len(gates), bool)
    while True:  # the set of v that takes most from the constant part, one after the other
        gain = np.where(wrong, 2 * v @ rest, -2 * v @ rest) - np.square(v).sum(1)
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        rest = rest - v[best] if wrong[best] else rest + v[best]
        wrong[best] = not wrong[best]
    turned = np.where(wrong, -1.0, 1.0)
    return Gates(gates.normals * turned[:, None], gates.thresholds * turned), amount


def _lengths(on: Array, normals: Array, u: Array, amount: Array) -> Array:
    """a [m] with u = amount * sum_j on_j a_j normals_j, least squares."""
    weighted = on * amount[:, None]
    gram = (weighted.T @ weighted) * (normals @ normals.T)
    found: Array = np.linalg.solve(
        gram + 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram)), ((weighted.T @ u) * normals).sum(1)
    )
    return found


def _amounts(on: Array, v: Array, u: Array) -> Array:
    """|g| of each row up to one factor, [n]: at least 0."""
    said = on @ v
    found: Array = np.maximum((said * u).sum(1), 0) / np.maximum(np.square(said).sum(1), 1e-300)
    return found


def _states(on: Array, v: Array, u: Array, amount: Array) -> Array:
    """States that explain the rows better: in each row the one that helps most is changed, a few times over."""
    on, squares = on.copy(), np.square(v).sum(1)
    rows = np.arange(len(on))
    for _ in range(6):
        left = u - amount[:, None] * (on @ v)
        gain = 2 * amount[:, None] * (left @ v.T) * (1 - 2 * on) - np.square(amount)[:, None] * squares
        best = gain.argmax(1)
        change = gain[rows, best] > 0
        on[rows[change], best[change]] = 1 - on[rows[change], best[change]]
    return on


def _scale(z: Array, amount: Array, members: NDArray[np.bool_]) -> tuple[float, float]:
    """factor and b2 with |sigmoid(factor z + b2) - y| = amount / factor, on a logarithmic scale, by a search."""
    label = np.where(members, 1.0, -1.0)
    use = amount > 0
    best = (np.inf, 1.0, 0.0)
    for factor in np.geomspace(amount.max() / 1.0, amount.max() * 1e3, 200):
        g = np.clip(amount[use] / factor, 1e-9, 1 - 1e-9)
        wanted = label[use] * np.log((1 - g) / g)  # the logit that this |g| stands for
        b2 = float(np.median(wanted - factor * z[use]))
        error = float(np.median(np.abs(wanted - factor * z[use] - b2)))
        best = min(best, (error, float(factor), b2))
    return best[1], best[2]
