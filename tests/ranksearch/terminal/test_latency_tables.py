from rich.console import Console

from ranksearch.contracts.latency import LatencyReport
from ranksearch.terminal.latency_tables import latency_table, layer_latencies_table
from tests.ranksearch import wire


def lines(table, width=90):
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def report(*rows, **members):
    return LatencyReport.model_validate(wire.latency_report(*rows, **members))


def test_a_way_of_running_takes_one_line_of_ninety_columns():
    rows = [wire.latency_row(runtime, batch) for runtime in ("torch", "onnxruntime") for batch in (1, 32)]
    shown = lines(latency_table(report(*rows)))
    assert len([line for line in shown if "1.50×" in line]) == 4
    assert "ONNX Runtime" in shown[3]


def test_it_says_under_which_conditions_and_how_to_read_it():
    shown = "\n".join(lines(latency_table(report())))
    assert "cpu, float32, 2 CPU threads, torch 2.14.1" in shown
    assert "load of the machine before: 0.5 on 8 cores" in shown
    assert "95 % interval" in shown


def test_devices_and_dtypes_have_columns_where_there_are_several():
    gpu = wire.latency_row(device="H100", dtype="float16", threads=None)
    assert "dtype" not in lines(latency_table(report()))[0]
    shown = lines(latency_table(report(gpu, wire.latency_row())), 120)
    assert "dtype" in shown[0]
    assert "float16" in shown[1]


def test_what_cannot_be_told_apart_is_marked():
    layers = [wire.layer_latency("conv", (1.0, 1.0), (2.0, 1.0))]
    shown = lines(layer_latencies_table(report(layers=layers)))
    assert shown[1].split() == ["conv", "cp3", "7", "25%", "≈", "100%", "50%"]


def test_texts_of_a_worker_cannot_steer_the_terminal():
    row = wire.latency_row(measured=None, why_not="\x1b[31mred")
    assert "\x1b" not in "\n".join(lines(latency_table(report(row))))


def test_ranks_of_several_axes_are_told():
    choice = {"method": "tucker2", "ranks": {"out": 32, "in": 24}}
    shown = lines(layer_latencies_table(report(layers=[wire.layer_latency("conv", choice=choice)])))
    assert "tucker2 out 32, in 24" in shown[1]
