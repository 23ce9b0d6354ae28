"""Whether what a figure shows in a browser is what it must show."""

from itertools import product

import numpy as np
import pytest


def every_figure(opened, figures, expected):
    """Compare figures, by name, as they open, and for several options of each choice."""
    wrong = {}
    for name, figure in figures.items():
        try:
            assert name in expected, "nothing says what it must show"
            opened.show(figure)
            for options in [{}, *some(opened.choices(figure))]:
                chosen, traces = opened.seen(figure, options)
                compare(traces, expected[name](chosen), str(chosen))
        except AssertionError as error:
            wrong[name] = str(error)
    assert not wrong, "\n".join(f"{name}: {words}" for name, words in wrong.items())


def some(choices):
    """Return the first, middle and last option of each choice with those of the others."""
    of_each = [sorted({0, n // 2, n - 1}) for n in choices.values()]
    return [dict(zip(choices, options, strict=True)) for options in product(*of_each)]


def compare(traces, expected, where):
    left = list(traces)
    for want in expected:
        names = want["name"] if isinstance(want["name"], tuple) else (want["name"],)
        same = [t for t in left if t["kind"] == want["kind"] and t["name"] in names]
        assert same, (
            f"{where}: no {want['kind']} {names} in {[(t['kind'], t['name']) for t in left]}"
        )
        left.remove(same[0])
        for key in sorted(set(want) - {"kind", "name"}):
            SAME.get(key, same_values)(same[0].get(key), want[key], f"{where}: {key} of {names}")
    assert not left, f"{where}: {[(t['kind'], t['name']) for t in left]} beside what is expected"


def same_values(got, want, where):
    want = np.asarray(want)
    if want.dtype.kind == "U":
        assert got == want.tolist(), where
    else:
        got, want = np.array(got, dtype=float), np.where(np.isfinite(want), want, np.nan)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7, err_msg=where)


def same_scale(got, want, where):
    """Colours: blue above 0 and orange below, or more ink for more, or just the ends of the scale."""
    *ends, lowest, highest = got
    if want not in ("diverging", "grey"):
        assert (lowest, highest) == pytest.approx(want), where
        return
    low, high = (np.array([int(c[k : k + 2], 16) for k in (1, 3, 5)]) for c in ends)
    if want == "grey":
        assert low.sum() > high.sum(), where
        return
    assert low[0] > low[2], where
    assert high[2] > high[0], where
    assert lowest == pytest.approx(-highest), where


SAME = {"scale": same_scale}
