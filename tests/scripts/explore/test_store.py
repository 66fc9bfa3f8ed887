import sqlite3

import pytest
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from celosia.dataflow.explore.outcome import Outcome
from celosia.models.errors import CelosiaError
from celosia.scripts.explore.store import SqlStore, sqlite_url

AREA = {"lut": 10.5, "ff": 3, "dsp": 1, "bram": 0.5}
GOOD = Outcome(area=AREA, cycles=12345, bound=12000, energy=1.25, dram=4096)
BAD = Outcome(area=AREA, problem="layer 'a': one tile needs 5 words, 1 are missing")


def test_outcomes_come_back_from_another_process_of_the_store(tmp_path):
    url = sqlite_url(tmp_path / "s.sqlite")
    with SqlStore(url) as store:
        assert store.known(["a", "b"]) == {}
        store.add("a", GOOD)
        store.add("b", BAD)
        store.add("a", GOOD)  # as another search with the same store would
    with SqlStore(url) as store:
        assert store.known(["a", "b", "c"]) == {"a": GOOD, "b": BAD}
        assert len(store) == 2


def test_more_keys_than_a_database_takes_at_once(tmp_path):
    with SqlStore(sqlite_url(tmp_path / "s.sqlite")) as store:
        for number in range(3):
            store.add(str(number * 700), GOOD)
        found = store.known([str(number) for number in range(2000)])
    assert set(found) == {"0", "700", "1400"}


@pytest.mark.parametrize("url", ["nonsense", "nodatabase://x", "sqlite:///no/such/folder/s.sqlite"])
def test_stores_that_cannot_be_are_refused_in_words(url):
    with pytest.raises(CelosiaError, match="store"):
        SqlStore(url)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "s.sqlite"
    path.write_text("hello" * 100)
    with pytest.raises(CelosiaError, match="not a database"):
        SqlStore(sqlite_url(path))


def test_damaged_outcomes_are_named(tmp_path):
    path = tmp_path / "s.sqlite"
    with SqlStore(sqlite_url(path)) as store:
        store.add("a", GOOD)
    connection = sqlite3.connect(path)
    connection.execute("update celosia_outcomes set outcome = '{\"area\": '")
    connection.commit()
    connection.close()
    with SqlStore(sqlite_url(path)) as store, pytest.raises(CelosiaError, match="key a is damaged"):
        store.known(["a"])


def test_passwords_are_not_shown(tmp_path):
    with pytest.raises(CelosiaError) as caught:
        SqlStore("sqlite://user:secret@host/x")
    assert "secret" not in str(caught.value)


def test_two_processes_may_make_a_store_at_once(tmp_path, monkeypatch):
    url = sqlite_url(tmp_path / "s.sqlite")
    with SqlStore(url) as store:
        store.add("a", GOOD)
    asked = []

    def has_table(*args, **kwargs):
        # The first question comes before the other process has made the table.
        asked.append(args)
        return len(asked) > 1 and known(*args, **kwargs)

    known = SQLiteDialect.has_table
    monkeypatch.setattr(SQLiteDialect, "has_table", has_table)
    with SqlStore(url) as store:
        assert store.known(["a"]) == {"a": GOOD}
    assert len(asked) == 2
