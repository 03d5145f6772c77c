#!/usr/bin/env python3
"""The parts of the benchmarks that decide: order, rule, resumption, report.

usage: harness_test.py BENCH_FOLDER [unittest arguments]
"""

import argparse
import contextlib
import io
import itertools
import json
import pathlib
import sys
import tempfile
import unittest

BENCH = pathlib.Path(sys.argv.pop(1)).resolve()
sys.path.insert(0, str(BENCH))

import run  # noqa: E402 (the folder is an argument)
from harness import (  # noqa: E402
    budget, fingerprint, pairs, plot, report, results, verdict, wrk)
from harness.rows import (  # noqa: E402
    Contestant, DerivedRow, Kind, Measurement, MeasurementFailed, Program, Role, Row, System, Table)

pairs.SETTLE_SECONDS = 0.0


def contestant(name, values, log=None, extra=None, during=contextlib.nullcontext):
    """Gives the values in turn; those of the warm-up are not among them."""
    values = itertools.cycle(values)

    def measure(seconds):
        if seconds == pairs.WARM_UP_SECONDS:
            return Measurement(1.0, "warm-up")
        if log is not None:
            log.append(name)
        return Measurement(next(values), f"load {name} {seconds:g}", extra or {})

    return Contestant(name, measure, during)


def row(name="r", ours=(2.0,), peer=(1.0,), **fields):
    return Row(name, "requests/s", contestant("ours", ours, extra={"cpu": 5.0}),
               contestant("peer", peer), **fields)


class Order(unittest.TestCase):
    def test_each_side_is_first_in_turn(self):
        turns = ["A" if ours else "B" for ours in pairs.order(4)]
        self.assertEqual("".join(turns), "ABBAABBA")

    def test_both_of_a_pair_are_neighbours_in_time(self):
        log = []
        both = Row("r", "x", contestant("A", [1, 2, 3], log), contestant("B", [10, 20, 30], log))
        done = pairs.run_pairs(both, 3, 0.5)
        self.assertEqual("".join(log), "ABBAAB")
        self.assertEqual([m.value for m in done.ours], [1, 2, 3])
        self.assertEqual([m.value for m in done.peer], [10, 20, 30])

    def test_circumstances_are_kept_over_two_measurements_of_one_side(self):
        log = []

        def during(name):
            @contextlib.contextmanager
            def held():
                log.append(f"+{name}")
                yield
                log.append(f"-{name}")
            return held

        both = Row("r", "x", contestant("A", [1], log, during=during("a")),
                   contestant("B", [1], log, during=during("b")))
        pairs.run_pairs(both, 3, 0.5)
        self.assertEqual(" ".join(log), "+a A -a +b B B -b +a A A -a +b B -b")
        self.assertEqual(pairs.changes(3), sum(entry.startswith("+") for entry in log))

    def test_a_control_never_changes_its_circumstances(self):
        entered = []

        @contextlib.contextmanager
        def during():
            entered.append(1)
            yield

        same = contestant("peer", [1], during=during)
        pairs.run_pairs(Row("control", "x", same, same, Role.CONTROL), 9, 0.5)
        self.assertEqual(len(entered), 1)

    def test_a_figure_of_nothing_is_a_failure(self):
        with self.assertRaisesRegex(MeasurementFailed, "measure ours: 0.0"):
            pairs.run_pairs(row(ours=(0.0,)), 3, 0.5)


class Rule(unittest.TestCase):
    def test_above_one_is_better_for_every_kind(self):
        self.assertEqual(verdict.pair_ratios(Kind.THROUGHPUT, [3.0], [2.0]), [1.5])
        self.assertEqual(verdict.pair_ratios(Kind.COST, [2.0], [3.0]), [1.5])

    def test_unpaired_figures_are_refused(self):
        with self.assertRaises(ValueError):
            verdict.pair_ratios(Kind.COST, [1.0, 2.0], [1.0])

    def test_summary_is_median_and_range(self):
        self.assertEqual(verdict.summary([1.2, 0.8, 9.0]), verdict.Ratios(1.2, 0.8, 9.0))

    def test_one_row_just_below_the_bar_is_tolerated_when_others_make_up_for_it(self):
        self.assertTrue(verdict.judge(1.0, {"a": 0.97, "b": 1.04}).met)

    def test_a_row_below_the_tolerance_misses_however_good_the_others_are(self):
        judgement = verdict.judge(1.0, {"a": 0.96, "b": 3.0})
        self.assertFalse(judgement.met)
        self.assertEqual(judgement.missed, ["a"])

    def test_a_mean_below_the_bar_misses_though_no_row_does(self):
        judgement = verdict.judge(1.0, {"a": 0.98, "b": 0.99})
        self.assertFalse(judgement.met)
        self.assertEqual(judgement.missed, [])

    def test_the_tolerance_is_a_share_of_the_bar(self):
        self.assertTrue(verdict.row_met(1.94, 2.0))
        self.assertFalse(verdict.row_met(1.93, 2.0))
        self.assertTrue(verdict.judge(0.95, {"a": 0.951}).met)

    def test_geometric_mean(self):
        self.assertAlmostEqual(verdict.geometric_mean([0.5, 2.0]), 1.0)


class Budget(unittest.TestCase):
    def test_all_rows_fit_into_the_time(self):
        rows = [row(str(i)) for i in range(40)] + [row("slow", change_seconds=10.0, length=1.5)]
        seconds = budget.seconds_per_measurement(rows, 9, 885)
        self.assertLessEqual(sum(budget.row_seconds(r, 9, seconds) for r in rows), 885)
        self.assertTrue(budget.SHORTEST <= seconds <= budget.LONGEST)

    def test_few_rows_do_not_get_longer_than_they_need(self):
        self.assertEqual(budget.seconds_per_measurement([row()], 9, 885), budget.LONGEST)

    def test_too_many_rows_are_not_cut_to_nothing(self):
        rows = [row(str(i)) for i in range(400)]
        self.assertEqual(budget.seconds_per_measurement(rows, 9, 885), budget.SHORTEST)

    def test_derived_rows_are_free(self):
        derived = DerivedRow("d", "MiB", "t/r", "rss", 64.0, "limit")
        self.assertEqual(budget.row_seconds(derived, 9, 1.0), 0.0)
        self.assertEqual(budget.seconds_per_measurement([derived], 9, 885), budget.LONGEST)


class Fingerprint(unittest.TestCase):
    def test_order_does_not_matter_and_every_part_does(self):
        base = fingerprint.fingerprint({"a": "1", "b": "2"}, ["nginx 1", "wrk 4"])
        self.assertEqual(base, fingerprint.fingerprint({"b": "2", "a": "1"}, ["wrk 4", "nginx 1"]))
        others = [fingerprint.fingerprint({"a": "1", "b": "3"}, ["nginx 1", "wrk 4"]),
                  fingerprint.fingerprint({"a": "1", "c": "2"}, ["nginx 1", "wrk 4"]),
                  fingerprint.fingerprint({"a": "1", "b": "2"}, ["nginx 2", "wrk 4"]),
                  fingerprint.fingerprint({"a": "1", "b": "2"}, ["nginx 1"])]
        self.assertEqual(len({base, *others}), 5)

    def test_what_only_prints_is_not_part_of_it(self):
        names = {path.name for path in fingerprint.measuring_files(BENCH, "getfile")}
        self.assertIn("pairs.py", names)
        self.assertIn("nginx.conf.in", names)
        self.assertNotIn("report.py", names)


class Chosen(unittest.TestCase):
    def test_the_present_build_goes_before_more_pairs(self):
        entries = {"full": {"fingerprint": "old"}, "quick": {"fingerprint": "new"}}
        self.assertEqual(results.chosen(entries, "new")[0], "quick")
        self.assertEqual(results.chosen(entries, "newer")[0], "full")
        self.assertIsNone(results.chosen({}, "new"))


class Runs(unittest.TestCase):
    """run.Run over a system of fakes."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.program = self.folder / "program"
        self.program.write_text("a build")
        self.log = []

    def system(self, values=(2.0,), with_peer=True):
        ours = contestant("ours", values, self.log, {"rss": 32.0})
        peer = contestant("peer", [1.0], self.log)
        table = Table("A table", "About it.", Kind.THROUGHPUT, 1.0, [
            Row("first", "requests/s", ours, peer, quick=True, needs=["program"]),
            Row("second", "requests/s", ours, peer, needs=["program", "peer"]),
            Row("control", "requests/s", peer, peer, Role.CONTROL, needs=["peer"])])
        memory = Table("Memory", "Of it.", Kind.COST, 1.0, [
            DerivedRow("peak", "MiB", "a-table/first", "rss", 64.0, "limit")])
        programs = [Program("program", str(self.program), "program 1", "program is not built"),
                    Program("peer", "/bin/true" if with_peer else None, "peer 1",
                            "peer is not installed")]
        return System("fake", programs, contextlib.nullcontext(), [table, memory])

    def run_it(self, system, **options):
        options = argparse.Namespace(**{
            "results": self.folder, "mode": "quick" if options.get("quick") else "full",
            "quick": False, "fresh": False, "only": "", "pairs": 3, "minutes": 15.0, **options})
        self.log.clear()
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            done = run.Run(system, options)
            done.run()
            done.close()
        self.printed = out.getvalue()
        return done

    def doc(self):
        return json.loads((self.folder / "fake.json").read_text())

    def test_a_second_run_measures_nothing_that_is_finished(self):
        self.run_it(self.system())
        self.assertEqual(len(self.log), 18)
        self.assertIn("fake, A table: bar met: geometric mean 2.000", self.printed)
        self.run_it(self.system())
        self.assertEqual(self.log, [])
        self.assertIn("finished a-table/second", self.printed)

    def test_fresh_measures_again(self):
        self.run_it(self.system())
        self.run_it(self.system(), fresh=True, only="second")
        self.assertEqual(len(self.log), 6)

    def test_another_build_is_measured_again(self):
        self.run_it(self.system())
        self.program.write_text("another build")
        self.run_it(self.system())
        self.assertEqual(len(self.log), 18)

    def test_quick_is_one_row_and_does_not_replace_a_full_figure(self):
        self.run_it(self.system(), quick=True)
        self.assertEqual(len(self.log), 6)
        self.assertIn("bar met so far, on 1 of 2 rows", self.printed)
        self.run_it(self.system())
        self.assertEqual(len(self.log), 18)
        self.run_it(self.system(), quick=True)
        self.assertEqual(self.log, [])
        self.assertEqual(sorted(self.doc()["rows"]["a-table/first"]), ["full", "quick"])

    def test_a_missing_peer_skips_its_rows_by_name(self):
        done = self.run_it(self.system(with_peer=False))
        self.assertIn("skipped  a-table/second: peer is not installed", self.printed)
        self.assertEqual(set(self.doc()["skipped"]), {"a-table/second", "a-table/control"})
        self.assertEqual(done.failed, [])
        self.run_it(self.system())
        self.assertEqual(self.doc()["skipped"], {})

    def test_a_failed_row_is_named_and_the_others_go_on(self):
        done = self.run_it(self.system(values=[2.0, 2.0, 2.0, 0.0]))
        self.assertEqual(done.failed, ["a-table/second"])
        self.assertIn("FAILED   a-table/second: measure ours: 0.0", self.printed)
        self.assertEqual(set(self.doc()["rows"]),
                         {"a-table/first", "a-table/control", "memory/peak"})

    def test_a_missed_bar_is_no_failure(self):
        done = self.run_it(self.system(values=[0.9]))
        self.assertEqual(done.failed, [])
        self.assertIn("bar missed: geometric mean 0.900, bar 1.00; rows below 0.97: first; second",
                      self.printed)

    def test_what_does_not_fit_into_the_time_is_named(self):
        done = self.run_it(self.system(), minutes=0.1)
        self.assertEqual(done.remaining, ["a-table/second", "a-table/control"])
        self.assertIn("remaining, the time of 0.1 minutes is over", self.printed)
        self.run_it(self.system())
        self.assertEqual(len(self.log), 12)

    def test_a_derived_row_is_held_against_its_limit(self):
        self.run_it(self.system())
        entry = self.doc()["rows"]["memory/peak"]["full"]
        self.assertEqual(entry["ours"]["values"], [32.0] * 3)
        self.assertIn("fake, Memory: bar met: geometric mean 2.000", self.printed)

    def test_rows_that_the_table_has_no_more_are_dropped(self):
        self.run_it(self.system())
        system = self.system()
        system = System("fake", system.programs, system.ground,
                        [Table("A table", "", Kind.THROUGHPUT, 1.0, system.tables[0].rows[:1])])
        self.run_it(system)
        self.assertEqual(set(self.doc()["rows"]), {"a-table/first"})

    def test_the_report_needs_nothing_but_the_result_file(self):
        self.run_it(self.system(with_peer=False))
        text = report.system_markdown(self.doc(), {"a-table": "results/x.svg"}, "It lost because…")
        self.assertIn("## fake", text)
        self.assertIn("| first | 2 requests/s | 1 requests/s | 2.00 [2.00–2.00] | 1.00 | met | 3 "
                      "| `load ours 1`<br>`load peer 1` |", text)
        self.assertIn("| second | – | – | – | – | skipped: peer is not installed | – |", text)
        self.assertIn("![A table](results/x.svg)", text)
        self.assertIn("### Notes\n\nIt lost because…", text)
        self.assertIn("| program | program 1 |", text)

    def test_the_report_says_which_rows_are_of_an_earlier_build(self):
        self.run_it(self.system())
        self.program.write_text("another build")
        self.run_it(self.system(), only="control")
        text = report.system_markdown(self.doc(), {}, "")
        self.assertIn("| met | 3, earlier build |", text)
        self.assertIn("**not measured on this build**", text)
        self.assertIn("Control, the peer against itself: 1.00 [1.00–1.00].", text)


class Text(unittest.TestCase):
    def test_figures_carry_three_digits(self):
        for value, text in ((0, "0"), (0.01234, "0.0123"), (12.345, "12.3"), (123.4, "123"),
                            (17234.0, "17 200"), (1234567.0, "1 230 000")):
            self.assertEqual(report.figure(value), text)

    def test_an_aim_is_told_apart_from_the_bar(self):
        entry = {"fingerprint": "f", "ours": {"values": [1.2], "extra": {}, "command": ""},
                 "peer": {"values": [1.0], "extra": {}, "command": ""}}
        table = {"title": "T", "slug": "t", "about": "", "kind": "throughput", "bar": 1.0,
                 "columns": [],
                 "rows": [{"key": "t/r", "name": "r", "unit": "x", "role": "bar", "aim": 1.3}]}
        doc = {"fingerprint": "f", "rows": {"t/r": {"full": entry}}, "skipped": {}}
        view = report.TableView(doc, table)
        self.assertTrue(view.judgement().met)
        self.assertEqual(view.aims(),
                         ["aim 1.30 (1 row): geometric mean 1.200, not reached"])

    def test_a_limit_row_may_have_an_aim_and_no_bar(self):
        entry = {"fingerprint": "f", "date": "", "commit": "",
                 "ours": {"values": [0.9], "extra": {}, "command": ""},
                 "peer": {"values": [1.0], "extra": {}, "command": ""}}
        table = {"title": "T", "slug": "t", "about": "", "kind": "throughput", "bar": 1.0,
                 "columns": [],
                 "rows": [{"key": "t/r", "name": "r", "unit": "x", "role": "limit", "aim": 1.0}]}
        view = report.TableView(
            {"fingerprint": "f", "rows": {"t/r": {"full": entry}}, "skipped": {}}, table)
        self.assertIsNone(view.judgement())
        self.assertEqual(view.verdict(), "no bar: beside limits only")
        self.assertEqual(view.aims(), ["aim 1.00 (1 row): geometric mean 0.900, not reached"])
        self.assertEqual(report.row_cells(view, table["rows"][0])[4:6], ["aim 1.00", "limit"])

    def test_cells_cannot_break_a_markdown_table(self):
        self.assertEqual(report._line(["a | b", "c"]), "| a \\| b | c |")

    def test_a_plot_has_a_point_for_each_row_and_the_bar(self):
        ratios = verdict.Ratios(1.1, 0.9, 1.3)
        text = plot.script("Title", "ours / peer", 0.95,
                           [plot.Point('a "row"', ratios, True), plot.Point("b", ratios, False)],
                           pathlib.Path("/x/y.svg"))
        self.assertIn('set output "/x/y.svg"', text)
        self.assertIn('"a \\"row\\"" 2, "b" 1', text)
        self.assertIn("1.1 2 0.9 1.3", text)
        self.assertIn("set arrow from 0.95, graph 0", text)

    def test_the_command_of_a_row_can_be_pasted(self):
        load = wrk.Load("/4KiB.bin", 32, False, 4096)
        self.assertEqual(load.command(0.6), "timeout -s INT 0.6 wrk -t2 -c32 -d2 --timeout 20 "
                                            "-H 'Connection: close' http://$SERVER/4KiB.bin")


class Systems(unittest.TestCase):
    """What holds for the tables of every system."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()  # a table may build a peer there
        self.addCleanup(folder.cleanup)
        self.nowhere = pathlib.Path(folder.name)

    def test_rows_have_names_controls_and_a_quick_one(self):
        for name in run.known_systems():
            with self.subTest(name):
                module = __import__(f"{name}.table", fromlist=["system"])
                for quick in (False, True):
                    system = module.system(self.nowhere, self.nowhere, quick)
                    rows = [(t, r) for t in system.tables for r in t.rows]
                    keys = [table.key(r) for table, r in rows]
                    self.assertEqual(len(keys), len(set(keys)))
                    programs = {p.name for p in system.programs}
                    for table in system.tables:
                        judged = [r for r in table.rows if r.role is Role.BAR]
                        self.assertTrue(any(r.quick for r in judged or table.rows), table.title)
                        measured = budget.measured(table.rows)
                        controls = [r for r in measured if r.role is Role.CONTROL]
                        self.assertTrue(controls or not measured, table.title)
                        for r in controls:
                            self.assertIs(r.ours, r.peer)
                        for r in measured:
                            self.assertLessEqual(set(r.needs), programs)
                        for r in set(table.rows) - set(measured):
                            self.assertIn(r.source, keys)

    def test_a_run_of_all_rows_fits_into_its_time(self):
        for name in run.known_systems():
            module = __import__(f"{name}.table", fromlist=["system"])
            for mode in ("full", "quick"):
                with self.subTest(name, mode=mode):
                    system = module.system(self.nowhere, self.nowhere, mode == "quick")
                    rows = [r for _, r in system.rows(mode == "quick")]
                    time = run.MINUTES[mode] * 60 - run.RESERVE_SECONDS
                    seconds = budget.seconds_per_measurement(rows, run.PAIRS[mode], time)
                    needed = sum(budget.row_seconds(r, run.PAIRS[mode], seconds) for r in rows)
                    self.assertLessEqual(needed, time)


if __name__ == "__main__":
    unittest.main()
