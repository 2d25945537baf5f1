"""Convex quadratic programs with bounds on each unknown and on their sum."""

import torch
from torch import Tensor

__all__ = ["minimise_in_box"]

_RIDGE = 1e-10  # times the mean of the diagonal: selects the solution of the smallest norm and keeps steps regular
_TO_THE_BOUND = 0.995  # largest step, as a share of the distance to the nearest bound


def minimise_in_box(
    k: Tensor, c: Tensor, upper: float, low: float, high: float, steps: int = 100, tolerance: float = 1e-10
) -> tuple[Tensor, float]:
    """Minimise 1/2 b' K b - c' b under 0 <= b_i <= upper and low <= sum_i b_i <= high.

    A primal-dual interior-point method with Mehrotra's predictor and corrector: each step factorises one matrix of K's
    size, and a few dozen steps reach the rounding error even if K is badly conditioned.

    Args:
        k: K, positive semi-definite, ``(N, N)``, double; another N^2 numbers are held in memory.
        c: ``(N,)``, double.
        upper: bound of each unknown, > 0.
        low: smallest sum, >= 0 and <= N upper.
        high: largest sum, >= low and > 0.
        steps: largest number of steps.
        tolerance: largest distance of the value from the minimum, relative to 1 + |minimum|.

    Returns:
        b, ``(N,)``, and an upper bound on the distance of the value from the minimum, on that relative scale.

    References:
        Mehrotra, On the Implementation of a Primal-Dual Interior Point Method, SIAM Journal on Optimization 2 (1992);
        Nocedal and Wright, Numerical Optimization, second edition, algorithm 16.4.

    Examples:
        >>> k, c = torch.eye(2, dtype=torch.double), torch.tensor([2.0, 0.5], dtype=torch.double)
        >>> b, _ = minimise_in_box(k, c, upper=1.0, low=0.0, high=2.0)
        >>> [round(value, 4) for value in b.tolist()]
        [1.0, 0.5]
    """
    n = len(c)
    if n * upper <= low:  # the only feasible point
        return torch.full_like(c, upper), 0.0
    state = _State(k, c, upper, low, min(high, n * upper))
    for _ in range(steps):
        if state.gap() <= tolerance:
            break
        state.step()
    return state.b(), state.gap()


class _State:
    """Unknowns b and their sum t with the constraint 1'b = t, and two multipliers per unknown, one for each bound.

    The sum is fixed if low and high are equal, because it then has no interior.
    """

    def __init__(self, k: Tensor, c: Tensor, upper: float, low: float, high: float) -> None:
        n = len(c)
        self.k, self.c, self.upper = k, c, upper
        self.fixed = not high > low
        self.pairs = 2 * (n if self.fixed else n + 1)
        self.ridge = _RIDGE * float(k.diagonal().mean())
        self.floor = torch.cat([torch.zeros_like(c), c.new_tensor([low])])
        self.ceiling = torch.cat([torch.full_like(c, upper), c.new_tensor([high])])
        total = low if self.fixed else min(max(float(n), low + 0.1 * (high - low)), high - 0.1 * (high - low))
        self.x = torch.cat([torch.full_like(c, min(total / n, 0.9 * upper)), c.new_tensor([total])])
        size = float((k @ self.x[:-1] - c).abs().mean()) + 1e-3
        self.lower_price, self.upper_price = torch.full_like(self.x, size), torch.full_like(self.x, size)
        self.y = c.new_zeros(())
        if self.fixed:
            self.lower_price[-1] = self.upper_price[-1] = 0.0

    def b(self) -> Tensor:
        """Return the unknowns, clipped to their bounds."""
        return self.x[:-1].clamp(0, self.upper)

    def residuals(self) -> tuple[Tensor, Tensor]:
        """Return the residuals of stationarity for each unknown, and that of the constraint on the sum."""
        b = self.x[:-1]
        slope = torch.cat([self.k @ b + self.ridge * b - self.c - self.y, self.y[None]])
        dual = slope - self.lower_price + self.upper_price
        if self.fixed:
            dual[-1] = 0.0
        return dual, b.sum() - self.x[-1]

    def _room(self) -> tuple[Tensor, Tensor]:
        return self.x - self.floor, self.ceiling - self.x

    def gap(self) -> float:
        """Bound the distance to the minimum by the complementarity and the possible effect of the residuals."""
        below, above = self._room()
        dual, primal = self.residuals()
        b = self.x[:-1]
        value = float(0.5 * b @ (self.k @ b) - self.c @ b)
        off = float((self.lower_price * below + self.upper_price * above).sum())
        off += float(dual.abs().max()) * float(b.sum() + 2 * self.ceiling[-1]) + float(primal.abs() * self.y.abs())
        return off / (1 + abs(value))

    def step(self) -> None:
        """Take one predictor-corrector step."""
        below, above = self._room()
        if self.fixed:
            below[-1] = above[-1] = 1.0  # never at a bound
        newton = _Newton(self, below, above)
        mean = float((self.lower_price * below + self.upper_price * above).sum()) / self.pairs
        nothing = torch.zeros_like(below)
        dx, _, d_lower, d_upper = newton.direction(nothing, nothing)
        a, d = self._lengths(below, above, dx, d_lower, d_upper)
        reached = ((self.lower_price + d * d_lower) * (below + a * dx)).sum()
        reached += ((self.upper_price + d * d_upper) * (above - a * dx)).sum()
        goal = torch.full_like(below, mean * (float(reached) / self.pairs / mean) ** 3 if mean > 0 else 0.0)
        lower_goal, upper_goal = goal - dx * d_lower, goal + dx * d_upper
        if self.fixed:
            lower_goal[-1] = upper_goal[-1] = 0.0
        dx, dy, d_lower, d_upper = newton.direction(lower_goal, upper_goal)
        a, d = (_TO_THE_BOUND * length for length in self._lengths(below, above, dx, d_lower, d_upper))
        self.x, self.y = self.x + a * dx, self.y + d * dy
        self.lower_price, self.upper_price = self.lower_price + d * d_lower, self.upper_price + d * d_upper

    def _lengths(
        self, below: Tensor, above: Tensor, dx: Tensor, d_lower: Tensor, d_upper: Tensor
    ) -> tuple[float, float]:
        """Find the largest step lengths of unknowns and multipliers, at most 1."""
        ahead = min(_longest(below, dx), _longest(above, -dx))
        return ahead, min(_longest(self.lower_price, d_lower), _longest(self.upper_price, d_upper))


class _Newton:
    """Newton's equations at a state, factorised once and solved for several products of slack and multiplier."""

    def __init__(self, state: _State, below: Tensor, above: Tensor) -> None:
        self.state, self.below, self.above = state, below, above
        self.lower_slope, self.upper_slope = state.lower_price / below, state.upper_price / above
        weights = self.lower_slope + self.upper_slope
        factor = state.k.clone()
        factor.diagonal().add_(weights[:-1] + state.ridge)
        self.factor = torch.linalg.cholesky_ex(factor)[0]
        self.of_ones = self._solve(torch.ones_like(state.c))
        self.of_sum = torch.zeros_like(state.y) if state.fixed else 1 / weights[-1]
        self.dual, self.primal = state.residuals()

    def _solve(self, right: Tensor) -> Tensor:
        return torch.cholesky_solve(right[:, None], self.factor)[:, 0]

    def direction(self, lower_goal: Tensor, upper_goal: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the changes of the unknowns, of the multiplier of the sum, and of those of lower and upper bounds."""
        lower_rest = lower_goal / self.below - self.state.lower_price
        upper_rest = upper_goal / self.above - self.state.upper_price
        right = lower_rest - upper_rest - self.dual
        solved = self._solve(right[:-1])
        dy = (self.of_sum * right[-1] - solved.sum() - self.primal) / (self.of_ones.sum() + self.of_sum)
        dx = torch.cat([solved + dy * self.of_ones, (self.of_sum * (right[-1] - dy))[None]])
        return dx, dy, lower_rest - self.lower_slope * dx, upper_rest + self.upper_slope * dx


def _longest(value: Tensor, change: Tensor) -> float:
    falling = change < 0
    return min(1.0, float((value[falling] / -change[falling]).min())) if bool(falling.any()) else 1.0
