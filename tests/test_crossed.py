from tests.crossed import crossed


def test_every_value_is_taken_and_every_combination_on_demand():
    rows = crossed("ab", "xyz", full=False)
    assert [set(column) for column in zip(*rows, strict=True)] == [set("ab"), set("xyz")]
    assert len(rows) == 3
    assert len(set(crossed("ab", "xyz", full=True))) == 6
