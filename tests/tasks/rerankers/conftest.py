"""Queries with candidates, and a world in which more than the cosine says what is right."""

import numpy as np
import pytest

from tasks.rerankers import Asked, Found, Lesson


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def make_case():
    def make(seed=0, count=20, dim=8):
        rng = np.random.default_rng(seed)
        query, items = unit(rng.normal(size=dim)), unit(rng.normal(size=(count, dim)))
        order = np.argsort(-(items @ query), kind="stable")
        ids = tuple(f"i{row:02}" for row in range(count))
        return Asked(query, "a cat"), Found(ids, items[order], (items @ query)[order].astype(np.float32))

    return make


@pytest.fixture(scope="session")
def make_lessons():
    """Items of 6 kinds; the first coordinates say the kind, others blur the cosine. `alone`: no kind is known."""

    def make(count, seed=0, candidates=30, blur=1.3, answerable=1.0):
        rng = np.random.default_rng(seed)
        kinds = np.eye(6)
        lessons = []
        for number in range(count):
            kind = rng.integers(0, 6)
            query = unit(np.concatenate([kinds[kind], blur * rng.normal(size=10) / np.sqrt(10)]))
            others = rng.integers(0, 6, candidates)
            if rng.random() > answerable:
                others[others == kind] = (kind + 1) % 6
            items = unit(
                np.concatenate(
                    [kinds[others], blur * rng.normal(size=(candidates, 10)) / np.sqrt(10)], axis=1
                )
            )
            order = np.argsort(-(items @ query), kind="stable")
            found = Found(
                tuple(f"{number}-{i:02}" for i in range(candidates)),
                items[order],
                (items @ query)[order].astype(np.float32),
                facts={"same": (others == kind)[order].astype(np.float32)},
            )
            lessons.append(Lesson(Asked(query), found, (others == kind)[order], group=f"g{number // 2}"))
        return lessons

    return make


@pytest.fixture(scope="session")
def lessons(make_lessons):
    return make_lessons(60)
