"""Output and exit statuses of the command."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import se_spec
import se_weights
from parity_tests.support.cases import skip_without, small_network
from se_cli.presentation.graph_picture import draw_graph
from se_spec import Graph, Node
from se_spec.layers import Add, ReLU, Scale
from se_weights.dialects import DIALECTS


def se_resnet(*arguments, folder: Path | None = None, **variables) -> subprocess.CompletedProcess:
    environment = {**os.environ, "NO_COLOR": "1", **variables}
    command = [sys.executable, "-m", "se_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.pth"
    se_weights.write(small_network().checkpoint, path)
    return path


def test_list_takes_a_pattern():
    ran = se_resnet("list", "se_resnet5*")
    assert ran.returncode == 0
    assert "28,071,976" in ran.stdout
    assert "se_resnet56_cifar" in ran.stdout
    assert "se_resnet101" not in ran.stdout


def test_list_prints_json():
    facts = json.loads(se_resnet("list", "--json").stdout)
    assert facts["schema"] == 1
    assert [found["name"] for found in facts["architectures"]] == se_spec.list_architectures()


def test_inspect_describes_a_file(file):
    short = se_resnet("inspect", file).stdout
    assert len(short.splitlines()) < 12
    assert 'create_model("se_resnet50", depths=(1, 2, 1), ' in short
    ran = se_resnet("inspect", file, "--tensors")
    assert ran.returncode == 0
    for text in ("torch", "layer2.1.se.fc1.weight", "(12, 48)", se_weights.file_sha256(file)):
        assert text in ran.stdout
    facts = json.loads(se_resnet("inspect", file, "--json").stdout)
    assert facts["dialect"] == "torch"
    assert facts["architecture"] == small_network().architecture.to_dict()
    assert len(facts["tensors"]) == len(small_network().weights)


def test_inspect_draws_the_graph_and_overwrites_a_picture_only_if_told(file, tmp_path):
    picture = tmp_path / "graph.svg"
    assert se_resnet("inspect", file, "--picture", picture).returncode == 0
    svg = "{http://www.w3.org/2000/svg}"
    drawn = ElementTree.fromstring(picture.read_text())
    nodes = se_weights.read(file).architecture.graph.nodes
    texts = [text.text for text in drawn.iter(f"{svg}text")]
    assert texts[::3] == ["images", *(node.path for node in nodes)]
    edges = sum(len(node.inputs) for node in nodes)
    arcs, lines = (list(drawn.iter(f"{svg}{kind}")) for kind in ("path", "line"))
    assert len(arcs) + len(lines) == edges
    assert len(arcs) == sum(isinstance(node.operation, Add | Scale) for node in nodes) + sum(
        node.path.endswith("downsample.0") for node in nodes
    )
    assert len({arc.get("d") for arc in arcs}) == len(arcs)
    picture.write_text("kept")
    assert "already exists" in se_resnet("inspect", file, "--picture", picture).stderr
    assert picture.read_text() == "kept"
    assert se_resnet("inspect", file, "--picture", picture, "--force").returncode == 0
    assert se_resnet("inspect", file, "--force").returncode == 2


def test_an_output_that_skips_one_row_is_drawn_as_an_arc():
    graph = Graph((Node("a", ReLU(), ("images",)), Node("b", ReLU(), ("a",)), Node("c", Add(), ("b", "a"))))
    drawn = draw_graph(graph, (3, 8, 9))
    assert drawn.count("<line") == 3
    assert drawn.count("<path") == 1


def test_inspect_lists_the_operations_of_the_graph(file):
    listed = se_resnet("inspect", file, "--graph").stdout.splitlines()
    found = json.loads(se_resnet("inspect", file, "--graph", "--json").stdout)
    architecture = se_spec.Architecture.from_dict(found["architecture"])
    assert [each["path"] for each in found["graph"]] == [node.path for node in architecture.graph.nodes]
    assert sum(each["parameters"] for each in found["graph"]) == found["parameters"]
    assert sum(each["multiply_adds"] for each in found["graph"]) == se_spec.multiply_adds(architecture)
    assert found["graph"][-1]["output"] == [architecture.num_classes]
    assert listed[-1].split() == [
        *(str(len(architecture.graph.nodes)), "operations", "of", "3x224x224"),
        *(f"{number:,}" for number in (found["parameters"], se_spec.multiply_adds(architecture))),
    ]


def test_convert_and_compare_agree_across_formats(file, tmp_path):
    target = tmp_path / "small.weights.h5"
    ran = se_resnet("convert", file, target)
    assert ran.returncode == 0, ran.stderr
    assert "read back and equal" in ran.stdout
    ran = se_resnet("compare", file, target)
    assert ran.returncode == 0
    assert "same weights" in ran.stdout


def test_compare_lists_what_differs(file, tmp_path):
    weights = {name: array.copy() for name, array in small_network().weights.items()}
    weights["fc.bias"][2] += 1
    weights["bn1.bias"] = weights["bn1.bias"].astype(np.float64)
    other = tmp_path / "other.npz"
    se_weights.write(se_weights.Checkpoint(small_network().architecture, weights), other)
    ran = se_resnet("compare", file, other)
    assert ran.returncode == 1
    assert "~ fc.bias 1 of 5 values differ, by up to 1" in ran.stdout
    assert "! bn1.bias float32(8,) against float64(8,)" in ran.stdout
    assert ran.stdout.splitlines()[-1].startswith("2 differences in ")
    within = se_resnet("compare", file, other, "--tolerance", 1)
    assert (within.returncode, within.stdout.splitlines()) == (0, [within.stdout.splitlines()[-1]])
    assert "equal within 1: " in within.stdout
    assert "of which 2 differ" in within.stdout
    assert se_resnet("compare", file, other, "--tolerance", 0.99).returncode == 1
    facts = json.loads(se_resnet("compare", file, other, "--json").stdout)
    assert facts["same"] is False
    assert len(facts["differences"]) == 2


@skip_without("torch")
def test_parity_prints_a_table_and_json(file):
    arguments = ("parity", file, "--frameworks", "torch", "--modes", "eager", "--size", "33x21", "--batch", "3")
    ran = se_resnet(*arguments)
    assert ran.returncode == 0, ran.stderr
    assert "torch eager" in ran.stdout
    assert "parity holds" in ran.stdout
    assert max(map(len, ran.stdout.partition("process")[0].splitlines())) <= 80
    plan, *steps = ran.stderr.splitlines()
    assert plan == "torch: eager; float64, float32; images 3 x 33x21; 4 steps, about 1 minute on two cores"
    assert [step.partition(" ")[0] for step in steps] == ["1/4", "2/4", "3/4", "4/4"]
    facts = json.loads(se_resnet(*arguments, "--all", "--json").stdout)
    assert facts["schema"] == 1
    assert facts["cases"]["3 x 33x21"]["images"] == [3, 3, 33, 21]
    assert [run["dtype"] for run in facts["runs"]] == ["float64", "float32", "bfloat16"]
    assert all(run["passed"] and run["share"] <= run["limit"] for run in facts["runs"])


EAGER = ("--frameworks", "torch", "--modes", "eager", "--size", "33x26", "--batch", "2")


@skip_without("torch")
def test_parity_reports_what_changed_since_a_golden_file(file, tmp_path):
    golden = tmp_path / "golden.json"
    assert se_resnet("parity", file, *EAGER, "--golden", golden).returncode == 0
    ran = se_resnet("parity", file, "--against", golden, "--json")  # runs what the golden file holds
    facts = json.loads(ran.stdout)
    assert ran.returncode == 0
    assert [moved["same_bits"] for moved in facts["against"]["moved"]] == [True] * 2
    assert len(facts["runs"]) == 2
    assert se_resnet("parity", file, *EAGER, "--golden", golden).returncode == 6

    kept = json.loads(golden.read_text())
    kept["runs"][1]["logits"][0][0] += 1.0
    golden.write_text(json.dumps(kept))
    ran = se_resnet("parity", file, *EAGER, "--against", golden)
    assert ran.returncode == 1
    assert "since the golden" in ran.stdout
    first = kept["runs"][0]
    for runs in ([], [{**first, "run": "torch eager, int8, 1 x 33x26"}]):
        golden.write_text(json.dumps({**kept, "runs": runs}))
        ran = se_resnet("parity", file, "--against", golden)
        assert ran.returncode == 3
        assert "no runs" in ran.stderr
    name = next(iter(kept["cases"]))
    changes = {"cases": {name: 3}}, {"runs": [7]}, {"runs": [{**first, "logits": ["a"]}]}, {"environments": {"a": 1}}
    for broken in ({}, *({**kept, **change} for change in changes)):
        golden.write_text(json.dumps(broken))
        ran = se_resnet("parity", file, *EAGER, "--against", golden)
        assert ran.returncode == 3
        assert "not a golden" in ran.stderr
        assert "Traceback" not in ran.stderr


@skip_without("torch")
@pytest.mark.skipif(not find_spec("matplotlib"), reason="the report extra is not installed here")
def test_parity_diagnoses_every_layer_and_writes_a_report(file, tmp_path):
    page = tmp_path / "out.html"
    ran = se_resnet("parity", file, *EAGER, "--dtype", "float32", "--stress", "--report", page, "--json")
    facts = json.loads(ran.stdout)
    assert ran.returncode == 0, facts["says"]
    assert set(facts["cases"]) > {"dead channels", "denormal images"}
    (diagnosis,) = facts["diagnoses"]
    assert diagnosis["healthy"]
    assert {found["dtype"] for found in diagnosis["found"]} == {"float64", "float32"}
    text = page.read_text()
    assert "Parity holds" in text
    assert "--stress --report" in text
    assert text.count("<svg") == text.count('role="img" aria-label="') == 3
    assert "prefers-color-scheme: dark" in text
    assert not any(link in text for link in ("<script", "<link", "<img", 'src="', 'href="http'))


@skip_without("torch")
def test_parity_compares_training(file):
    ran = se_resnet("parity", file, *EAGER, "--dtype", "float64", "--train")
    assert ran.returncode == 0, ran.stdout
    assert "torch adamw" in ran.stdout
    assert "every loss, gradient, weight and statistic is within its limit" in ran.stdout


@skip_without("torch")
def test_parity_runs_a_named_architecture():
    ran = se_resnet(
        "parity", "se_resnet20_cifar", "--frameworks", "torch", "--modes", "eager", "--dtype", "float32", "--quiet"
    )
    assert (ran.returncode, ran.stdout) == (0, "")


STATUSES = [
    (("list", "--nonsense"), 2, "No such option"),
    (("nonsense",), 2, "No such command"),
    (("parity", "se_resnet51"), 2, "did you mean"),
    (("parity", "se_resnet18", "--size", "0x3"), 2, "HEIGHTxWIDTH"),
    (("parity", "se_resnet18", "--frameworks", "mxnet"), 2, "not one of torch, tf, flax"),
    (("parity", "se_resnet18", "--frameworks", "torch", "--modes", "jit"), 2, "has none of jit"),
    (("parity", "se_resnet18", "--python", "torch"), 2, "FRAMEWORK=PATH"),
    (("parity", "se_resnet18", "--batch", "0"), 2, "not a number of images"),
    (("parity", "se_resnet18", "--report", "absent/out.html"), 6, "no folder absent"),
    (("inspect", "broken.pth"), 3, "not a complete zip archive"),
    (("inspect", "wrong.npz"), 3, "- bn1.weight"),
    (("inspect", "evil.pth"), 4, "the pickle imports"),
    (("inspect", "weights.onnx"), 5, "no suffix that names a format"),
    (("convert", "small.pth", "a.weights.h5", "--dialect", "gluon"), 5, "no dialect 'gluon'"),
    (("inspect", "absent.pth"), 6, "there is no file absent.pth"),
    (("inspect", "absent.onnx"), 6, "there is no file absent.onnx"),
    (("inspect", "timm/seresnet50.a1_in1k"), 6, "repository of the Hugging Face hub must be downloaded first"),
    (("parity", "absent.pth"), 6, "absent.pth"),
    (("convert", "small.pth", "taken.npz"), 6, "already exists"),
    (("convert", "small.pth", "small.pth", "--force"), 6, "source itself"),
    (("convert", "small.pth", "nowhere/a.npz"), 6, "not a folder"),
    (("inspect", "folder.pth"), 6, "folder.pth is not a file"),
    (("convert", "folder.pth", "out"), 2, "add --batch"),
    (("convert", "--batch", "absent", "out"), 6, "there is no folder or list absent"),
    (("parity", "se_resnet18", "--frameworks", "keras", "--modes", "linen"), 2, "tf has none of"),
]


@pytest.fixture
def folder(tmp_path, file):
    (tmp_path / "broken.pth").write_bytes(file.read_bytes()[:1000])
    (tmp_path / "taken.npz").write_bytes(b"precious")
    (tmp_path / "weights.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    (tmp_path / "folder.pth").mkdir()
    weights = dict(small_network().weights)
    del weights["bn1.weight"]
    np.savez(tmp_path / "wrong.npz", **weights)
    with zipfile.ZipFile(tmp_path / "evil.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'true'\ntR.")
    return tmp_path


@pytest.mark.parametrize(("arguments", "status", "message"), STATUSES)
def test_every_failure_has_its_exit_status_and_message(folder, arguments, status, message):
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    ran = se_resnet(*arguments, folder=folder)
    assert ran.returncode == status, ran.stderr
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_failure_is_printed_as_json(folder):
    ran = se_resnet("inspect", "broken.pth", "--json", folder=folder)
    error = json.loads(ran.stdout)
    assert error["schema"] == 1
    assert error["error"]["status"] == ran.returncode == 3
    assert error["error"]["kind"] == "MalformedFile"


def test_a_missing_extra_is_named(folder):
    """TensorFlow, Keras and torch are hidden from the process, as if they were not installed."""
    (folder / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name in ('keras', 'tensorflow', 'torch') else find(name, *rest)\n"
    )
    ran = se_resnet("convert", "small.pth", "a.keras", folder=folder, PYTHONPATH=str(folder))
    assert ran.returncode == 5
    assert "pip install '.[tf]' in a clone" in ran.stderr
    ran = se_resnet("parity", "se_resnet18", "--frameworks", "torch", folder=folder, PYTHONPATH=str(folder))
    assert ran.returncode == 5
    assert "pip install '.[torch]' in a clone" in ran.stderr
    assert se_resnet("demo", folder=folder, PYTHONPATH=str(folder)).returncode == 5


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
sys.argv = ["se-resnet", "convert", "small.pth", "{target}"]
from se_cli.main import run
run()
"""


@pytest.mark.parametrize("target", ["a.safetensors", "a.npz", "a.weights.h5", "a.msgpack"])
def test_a_full_disk_leaves_no_temporary_file(folder, target):
    script = FULL_DISK.format(target=target)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=folder)
    assert ran.returncode == 6, ran.stderr
    assert "Traceback" not in ran.stderr
    assert not [path for path in folder.iterdir() if path.name.endswith(target)]


@skip_without("torch")
def test_an_interrupt_ends_with_130_and_no_half_written_file(file):
    command = [sys.executable, "-m", "se_cli", "parity", str(file), "--frameworks", "torch"]
    default_handler = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job would ignore it
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=default_handler
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and not children.read_text():  # until its worker has started
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors


@skip_without("torch")
def test_an_interrupted_parity_shows_the_runs_that_were_finished(file):
    command = [sys.executable, "-m", "se_cli", "parity", str(file), "--frameworks", "torch", "--modes", "eager,compile"]
    default_handler = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=default_handler
    )
    while "torch compile" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "torch eager" in output
    assert "interrupted after 1 runs, of which 0 failed" in output
    assert "Traceback" not in errors


@pytest.fixture
def ambiguous(tmp_path):
    """A seresnet50 of pytorchcv, whose tensors also match a seresnet50b."""
    known = se_spec.architecture("se_resnet50", depths=(1, 1), widths=(16, 32), num_classes=3, se_bias=True)
    words = DIALECTS["pytorchcv"]
    rng = np.random.default_rng(0)
    path = tmp_path / "seresnet50.npz"
    np.savez(path, **{name: rng.normal(size=shape).astype("f4") for name, shape in words.shapes(known).items()})
    return path


def test_a_file_that_matches_two_dialects_is_listed_and_not_converted(ambiguous, tmp_path):
    for option in (["--graph"], ["--picture", tmp_path / "graph.svg"]):  # which needs to know the network
        assert se_resnet("inspect", ambiguous, *option).returncode == 2
    assert not (tmp_path / "graph.svg").exists()
    listed = se_resnet("inspect", ambiguous, "--json")
    assert listed.returncode == 0
    assert list(json.loads(listed.stdout)["candidates"]) == ["pytorchcv", "pytorchcv-b"]
    target = tmp_path / "a.safetensors"
    ran = se_resnet("convert", ambiguous, target)
    assert ran.returncode == 2
    assert "pytorchcv: " in ran.stderr
    assert "stride_in=conv2" in ran.stderr
    assert not target.exists()
    assert se_resnet("convert", ambiguous, target, "--dialect", "pytorchcv-b").returncode == 0
    assert json.loads(se_resnet("inspect", target, "--json").stdout)["architecture"]["stride_in"] == "conv2"
    for command in ("compare", "parity"):
        subjects = [ambiguous, target] if command == "compare" else [ambiguous, "--frameworks", "", "--size", "1"]
        assert se_resnet(command, *subjects).returncode == 2
    same = se_resnet("compare", ambiguous, target, "--dialect", "pytorchcv-b")
    assert same.returncode == 0, same.stdout
    other = se_resnet("compare", ambiguous, target, "--dialect", "pytorchcv")
    assert other.returncode == 1
    assert "! stride_in conv1 against conv2" in other.stdout


def test_a_network_that_a_code_base_cannot_run_is_not_written_in_its_dialect(ambiguous, tmp_path):
    source, target = tmp_path / "a.safetensors", tmp_path / "b.pth"
    assert se_resnet("convert", ambiguous, source, "--dialect", "pytorchcv").returncode == 0
    ran = se_resnet("convert", source, target, "--dialect", "timm")
    assert ran.returncode == 5
    assert "stride_in is conv1, and conv2 in timm" in ran.stderr
    assert not target.exists()


def test_a_reordering_is_made_on_request_and_recorded(ambiguous, tmp_path):
    target = tmp_path / "rgb.safetensors"
    ran = se_resnet("convert", ambiguous, target, "--source-dialect", "pytorchcv", "--rgb-input")
    assert "input channels from BGR to RGB" in ran.stdout.replace("\n", " ")
    assert "BGR to RGB" in json.loads(se_resnet("inspect", target, "--json").stdout)["metadata"]["reordered"]
    ran = se_resnet("convert", target, tmp_path / "b.safetensors", "--standard-classes")
    assert ran.returncode == 5
    assert "1000 classes" in ran.stderr


def test_keras_2_files_are_read_but_not_written(file, tmp_path):
    ran = se_resnet("convert", file, tmp_path / "a.h5")
    assert ran.returncode == 5
    assert ".weights.h5" in ran.stderr
