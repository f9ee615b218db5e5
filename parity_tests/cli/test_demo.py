"""The demo writes a self-contained report, whose accuracies and differences are within their limits."""

import json
import re
import subprocess
import sys

import pytest

import se_weights
from parity_tests.support.cases import skip_without
from parity_tests.support.tolerances import FLOAT32_LOGITS, FLOAT64_LOGITS
from se_demo.run import MODELS
from se_parity.report.palette import LIGHT


@skip_without("torch")
@skip_without("tf")
@skip_without("flax")
@pytest.mark.sweep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("model", MODELS)
def test_the_demo_report_shows_that_no_label_changes(tmp_path, model):
    command = [sys.executable, "-m", "se_cli", "demo", "--model", model, "--out", str(tmp_path), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    facts = json.loads(ran.stdout)
    assert {key: facts[key] for key in facts if key not in ("schema", "report")} == json.loads(
        (tmp_path / "report.json").read_text()
    )
    assert [evaluation["file"] for evaluation in facts["evaluations"]] == [
        "digits.pth",
        "digits.safetensors",
        "digits.weights.h5",
        "digits.msgpack",
    ]
    for evaluation in facts["evaluations"]:
        assert evaluation["accuracy"] >= 0.97
        assert evaluation["labels_that_differ"] == 0
        assert 0 < evaluation["float32"]["share"] <= FLOAT32_LOGITS
        assert 0 < evaluation["float64"]["share"] <= FLOAT64_LOGITS
    hashes = {se_weights.weights_sha256(se_weights.read(tmp_path / e["file"]).weights) for e in facts["evaluations"]}
    assert len(hashes) == 1
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == page.count('role="img" aria-label="') == 4
    assert "prefers-color-scheme: dark" in page
    assert "var(--torch)" in page
    assert not set(LIGHT.values()) & set(re.findall(r"(?<=: )#[0-9a-f]{6}", page.partition("</style>")[2]))
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
