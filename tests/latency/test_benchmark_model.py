"""What is read from the prints of benchmark_model; they are in its format, with figures made up for these tests."""

import pytest
from fake_phone import PRINTS

from rtseg_jax.latency.benchmark_model import OperatorTime, last_words, parse_report, parse_summary, unknown_flags

GPU = (PRINTS / "gpu.txt").read_text()


def test_a_recent_version_tells_percentiles():
    report = parse_report(GPU)
    assert (report.runs, report.min_ms, report.mean_ms) == (25, 20.48, 20.8214)
    assert (report.p5_ms, report.median_ms, report.p95_ms) == (20.49, 20.736, 21.504)
    assert (report.init_ms, report.peak_mb) == (1204.57, None)
    assert report.applied == "completely"
    assert report.delegated == ("TfLiteGpuDelegateV2: 97 of 97 nodes in 1 partitions",)
    assert (report.operators, report.inside_delegate) == ((), ())


def test_an_old_version_tells_less_and_large_numbers_with_exponents():
    report = parse_report((PRINTS / "cpu_old.txt").read_text())
    assert (report.runs, report.min_ms, report.mean_ms) == (15, 1302.016, 1304.02)
    assert (report.p5_ms, report.median_ms, report.p95_ms, report.peak_mb) == (None, None, None, None)
    assert report.applied == "partially"
    assert report.delegated == ("TfLiteXNNPackDelegate: 52 of 65 nodes in 6 partitions",)


def test_profile_and_peak_memory():
    report = parse_report((PRINTS / "profile.txt").read_text())
    assert report.peak_mb == 13.1797
    assert report.operators == (
        OperatorTime("TfLiteXNNPackDelegate", 1, 1.049),
        OperatorTime("RESIZE_BILINEAR", 2, 0.151),
    )
    assert report.inside_delegate == (
        OperatorTime("Convolution (NHWC, F32) IGEMM", 12, 0.8),
        OperatorTime("Add (ND, F32) Elementwise", 8, 0.2),
    )
    assert (report.runs, report.median_ms) == (401, 1.25)


def test_a_table_ends_at_an_empty_line():
    table = "== Summary by node type ==\n\t[Node type]\t[count]\t[avg ms]\n\tCONV_2D\t2\t0.5\n\nTimings\n"
    assert parse_summary(table + table.replace("CONV_2D", "ADD")) == (OperatorTime("CONV_2D", 2, 0.5),)
    assert parse_summary("") == ()


def test_runs_that_are_all_the_same():
    before, _, after = GPU.rpartition("count=25")
    same = before + "count=25 curr=20480(all same) p5=20480 median=20480 p95=20480\n" + after.partition("\n")[2]
    report = parse_report(same)
    assert (report.runs, report.min_ms, report.median_ms) == (25, 20.48, 20.48)


@pytest.mark.parametrize("length", [0, GPU.index("count=24"), GPU.index("Inference timings")])
def test_output_that_was_cut_off_has_no_figures(length: int):
    assert parse_report(GPU[:length]) is None


def test_a_delegate_that_took_nothing():
    refused = "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.\n"
    lines = [refused if "Explicitly applied" in line else line for line in GPU.splitlines(keepends=True)]
    assert parse_report("".join(lines)).applied == "not"
    assert parse_report("".join(line for line in lines if line != refused)).applied is None


def test_ignored_flags():
    assert unknown_flags(GPU) is None
    assert unknown_flags("WARN: Unconsumed cmdline flags: --xnnpack_force_fp16=true\n") == "--xnnpack_force_fp16=true"


def test_last_words_are_the_last_error():
    assert last_words("INFO: a\nERROR: Failed to load model\nBenchmarking failed.\n") == "ERROR: Failed to load model"
    assert last_words("error: closed\n\n") == "error: closed"
    assert last_words("") == "nothing"
