from __future__ import annotations

from data.seeds import LIMIT, derive_key, derive_seed


def test_seeds_differ_by_seed_purpose_and_number() -> None:
    seeds = {
        derive_seed(seed, purpose, number)
        for seed in range(5)
        for purpose in ("step", "weights")
        for number in range(50)
    }
    assert len(seeds) == 500
    assert all(0 <= seed < LIMIT for seed in seeds)


def test_seeds_do_not_change() -> None:
    # With other values, saved runs would resume with other random numbers.
    assert derive_seed(0, "step", 1) == 499503789
    assert derive_key(7, "sample a") == 0xBD734305F91491AB8F7A79058EEAFC2D


def test_the_largest_seed_fits_jittor_with_many_ranks() -> None:
    assert LIMIT + 6000 * 2591 < 2**31


def test_names_of_any_bytes_have_a_key() -> None:
    assert derive_key(0, "\udcba\udcfe") != derive_key(0, "\udcba")
