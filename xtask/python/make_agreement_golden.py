"""Writes what krippendorff and scipy make of judgments by several labelers: alpha, nominal and ordinal, and tau-b.

    python xtask/python/make_agreement_golden.py fixtures/agreement.json

A unit is what was judged; null is a judgment that is missing. Where a figure is not defined, it is null. Needs krippendorff
and scipy; made with krippendorff 0.9.0 and scipy 1.17.1.
"""

import json
import math
import sys

import krippendorff
import numpy
import scipy.stats

# The example of Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C: four observers, twelve units.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def random_judgments(seed, labelers, units, values, missing, noise):
    """Labelers who know the truth and are wrong now and then."""
    draw = numpy.random.default_rng(seed)
    truth = draw.integers(values, size=units)
    rows = []
    for _ in range(labelers):
        wrong = draw.random(units) < noise
        row = numpy.where(wrong, draw.integers(values, size=units), truth)
        rows.append([None if lost else int(value) for lost, value in zip(draw.random(units) < missing, row)])
    return rows


def alpha(judgments, level):
    data = numpy.array([[math.nan if value is None else value for value in row] for row in judgments])
    return krippendorff.alpha(reliability_data=data, level_of_measurement=level)


def tau_b(a, b):
    value = scipy.stats.kendalltau(a, b, variant="b").statistic
    return None if math.isnan(value) else float(value)


def main(path):
    judgments = [
        PUBLISHED,
        random_judgments(1, 2, 30, 3, 0.0, 0.3),
        random_judgments(2, 3, 40, 3, 0.3, 0.2),
        random_judgments(3, 5, 25, 7, 0.5, 0.5),
        random_judgments(4, 2, 50, 2, 0.1, 1.0),
    ]
    draw = numpy.random.default_rng(5)
    places = [([0, 1, 2, 3], [0, 1, 2, 3]), ([0, 1, 2, 3], [3, 2, 1, 0]), ([0, 0, 1], [0, 1, 1]), ([0, 0], [0, 1])]
    for length in [3, 4, 6, 9, 12, 16]:
        for values in [2, 4, 16]:
            places.append(tuple(draw.integers(values, size=length).tolist() for _ in range(2)))
    golden = {
        "alpha": [
            {"judgments": rows, "nominal": alpha(rows, "nominal"), "ordinal": alpha(rows, "ordinal")} for rows in judgments
        ],
        "tau_b": [{"a": a, "b": b, "tau_b": tau_b(a, b)} for a, b in places],
    }
    with open(path, "w") as file:
        json.dump(golden, file)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
