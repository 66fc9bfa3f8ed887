"""Other mappers: rows of those that run, reasons for those that do not."""

import json
import sys
from dataclasses import replace

from celosia.scripts import bench_peers
from celosia.scripts.bench_peers import PEERS, Peer


def silent(what, done, total):
    del what, done, total


def test_a_peer_that_runs_gives_rows(monkeypatch, tmp_path):
    said = json.dumps({"searches": [3.0, 2, 1.5]})
    script = f"import os, sys; assert os.listdir(sys.argv[1]); print({said!r})"
    peer = Peer(tool="zigzag", packages=(), interpreter="python3", script=script)
    monkeypatch.setattr(bench_peers, "PEERS", (peer,))
    monkeypatch.setattr(bench_peers, "environment", lambda peer: sys.executable)
    found = bench_peers.bench_peers(silent, ("fc",))
    (row,) = found["peers"]
    assert (row["tool"], row["layer"], row["way"]) == ("zigzag", "fc", "searches")
    assert (row["energy_pj"], row["cycles"], row["cpu_seconds"]) == (3.0, 2, 1.5)
    assert row["our_energy_pj"] == 54872736
    assert found["peers_skipped"] == {}


def test_cycles_of_a_systolic_array_are_beside_the_closed_form(monkeypatch):
    # What SCALE-Sim 3.0.0 says of l4d on architecture A's 16 x 16 array.
    said = json.dumps({"ws": [None, 48639.0, 1], "os": [None, 36607.0, 1]})
    peer = replace(PEERS[-1], script=f"print({said!r})")
    monkeypatch.setattr(bench_peers, "PEERS", (peer,))
    monkeypatch.setattr(bench_peers, "environment", lambda peer: sys.executable)
    rows = bench_peers.bench_peers(silent, ("l4d",))["peers"]
    assert [(row["tool"], row["way"]) for row in rows] == [("scalesim", "ws"), ("scalesim", "os")]
    for row in rows:
        assert row["cycles"] == row["our_cycles"]
        assert row["energy_pj"] is row["our_energy_pj"] is None


def test_a_peer_that_does_not_run_is_left_out_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    absent = Peer(tool="accelforge", packages=(), interpreter="python9.9", script="")
    monkeypatch.setattr(bench_peers, "PEERS", (absent,))
    found = bench_peers.bench_peers(silent, ("fc",))
    assert found == {
        "peers": [],
        "peers_skipped": {"accelforge": "there is no python9.9 on the path"},
    }
    broken = Peer(tool="zigzag", packages=(), interpreter="x", script="raise SystemExit('no')")
    monkeypatch.setattr(bench_peers, "PEERS", (broken,))
    monkeypatch.setattr(bench_peers, "environment", lambda peer: sys.executable)
    assert "failed: no" in bench_peers.bench_peers(silent, ("fc",))["peers_skipped"]["zigzag"]
