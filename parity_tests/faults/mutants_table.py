"""Runs every mutant and writes docs/about/mutants.md: `python -m parity_tests.faults.mutants_table`."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import se_spec
from parity_tests.faults.antialias_mutants import ANTIALIAS_MUTANTS
from parity_tests.faults.densenet_mutants import DENSENET_MUTANTS
from parity_tests.faults.gate_mutants import GATE_MUTANTS
from parity_tests.faults.mutants import MUTANTS
from parity_tests.faults.preactivation_mutants import PREACTIVATION_MUTANTS
from parity_tests.faults.shared_norm_mutants import SHARED_NORM_MUTANTS
from parity_tests.faults.training_mutants import TRAINING_MUTANTS
from se_parity import Case, Worker, compare, sample_images, trained_like_weights
from se_parity.diagnose.explain import explain
from se_parity.diagnose.localise import localise_loaded
from se_parity.judge.expected import ExpectedLogits, expected_logits
from se_parity.recipe import Recipe
from se_parity.train.check_training import ExpectedTraining, check_training, expected_training
from se_parity.train.explain_training import explain_training

WORKER_PROGRAM = "parity_tests.faults.planted_worker"

ALL_MUTANTS = (
    MUTANTS | ANTIALIAS_MUTANTS | GATE_MUTANTS | PREACTIVATION_MUTANTS | SHARED_NORM_MUTANTS | DENSENET_MUTANTS
)

RECIPES = {
    "sgd": Recipe(weight_decay=1e-3),
    "adamw": Recipe("adamw", learning_rates=(1e-3, 3e-4) * 5, weight_decay=1e-2),
}


@dataclass(frozen=True)
class MutantResult:
    """What the parity check and the diagnosis say about a mutant.

    Attributes:
        caught: Whether the parity check fails.
        measure: The value that fails, with its difference and its limit.
        place: Path of the first faulty layer, or name of the first wrong tensor.
        named: Name of the fault, where the diagnosis reproduces it.
        nearness: How much better this fault reproduces the output than the next one, in words.
    """

    caught: bool
    measure: str
    place: str
    named: str
    nearness: str


@cache
def case() -> Case:
    """Square matrices and kernels, three equal blocks in a stage, gates with biases: each of them shows some fault."""
    settings = {"depths": (1, 3, 1), "widths": (8, 12, 16), "num_classes": 5, "reduction": 1, "se_bias": True}
    architecture = se_spec.architecture("se_resnet50", **settings)
    weights = trained_like_weights(architecture)
    return Case("mutants", architecture, weights, sample_images(architecture, 2, 64, 49)).astype("float64")


@cache
def dense_case() -> Case:
    """Odd sides before every transition, and gates that see all new features."""
    sizes = {"block_config": (2, 3, 1), "growth_rate": 8, "num_init_features": 12, "bn_size": 2}
    architecture = se_spec.architecture("se_densenet121", **sizes, small_inputs=True, num_classes=5, reduction=2)
    weights = trained_like_weights(architecture)
    return Case("dense mutants", architecture, weights, sample_images(architecture, 2, 31, 45)).astype("float64")


@cache
def blurred_case() -> Case:
    """Odd sides, at whose ends reflection and zeros differ."""
    settings = {"depths": (1, 1), "widths": (8, 12), "num_classes": 5, "se": True, "reduction": 4}
    architecture = se_spec.architecture("resnetblur18", **settings)
    weights = trained_like_weights(architecture)
    return Case("blurred mutants", architecture, weights, sample_images(architecture, 2, 45, 31)).astype("float64")


@cache
def eca_case() -> Case:
    """As many channels as a kernel of three and one of five have."""
    settings = {"depths": (1, 1), "widths": (8, 200), "num_classes": 5, "squeeze": "eca"}
    architecture = se_spec.architecture("se_resnet18", **settings)
    weights = trained_like_weights(architecture)
    return Case("ECA mutants", architecture, weights, sample_images(architecture, 2, 45, 31)).astype("float64")


@cache
def preactivated_case() -> Case:
    """A convolution in the first shortcut, none in the second, and a norm on the images."""
    settings = {"depths": (2, 1), "widths": (8, 12), "num_classes": 5, "reduction": 4, "se_bias": True}
    where = {"shortcut": {"where": "stages"}, "input_norm": True}
    architecture = se_spec.architecture("se_preresnet18", **settings, **where)
    weights = trained_like_weights(architecture)
    return Case("preactivated mutants", architecture, weights, sample_images(architecture, 2, 45, 31)).astype("float64")


@cache
def shared_norm_case() -> Case:
    settings = {"depths": (2, 1), "widths": (8, 12), "num_classes": 5, "reduction": 4, "shared_norms": True}
    architecture = se_spec.architecture("se_resnet18", **settings)
    weights = trained_like_weights(architecture)
    return Case("shared norm mutants", architecture, weights, sample_images(architecture, 2, 45, 31)).astype("float64")


CASES = (
    (DENSENET_MUTANTS, dense_case),
    (ANTIALIAS_MUTANTS, blurred_case),
    (GATE_MUTANTS, eca_case),
    (PREACTIVATION_MUTANTS, preactivated_case),
    (SHARED_NORM_MUTANTS, shared_norm_case),
)


def case_of(name: str) -> Case:
    """The network in which a mutant is planted."""
    return next((make for mutants, make in CASES if name in mutants), case)()


@cache
def expected(known: Case) -> ExpectedLogits:
    return expected_logits(known, "float64")


@cache
def training_answer(optimiser: str, dtype: str, offset: float, shared_norms: bool) -> ExpectedTraining:
    settings = {"depths": (1, 2, 1), "widths": (8, 12, 16), "num_classes": 5, "reduction": 4, "se_bias": True}
    settings |= {"stem": "3x3", "conv_bias": True, "shared_norms": shared_norms}
    architecture = se_spec.architecture("se_resnet50", **settings)
    weights = trained_like_weights(architecture)
    weights["conv1.bias"] = weights["conv1.bias"] + np.float32(offset)
    known = Case("training mutants", architecture, weights, sample_images(architecture, 4, 33, 26)).astype(dtype)
    return expected_training(known, RECIPES[optimiser], dtype)


def run_mutant(name: str) -> MutantResult:
    mutant, known = ALL_MUTANTS[name], case_of(name)
    answer = expected(known)
    with Worker(mutant.framework, variables={"PLANTED": name}, program=WORKER_PROGRAM) as worker:
        worker.load(known.architecture, mutant.weights(known.weights), "float64")
        localisation = localise_loaded(worker, known, "float64")
    off, limit = compare(answer.logits, localisation.logits).share, answer.limit
    layers = localisation.failing_layers
    explanation = explain(known, localisation)[0]
    return MutantResult(
        caught=off > limit,
        measure=f"logits, {off:.1e} of {limit:.0e}",
        place=layers[0].path if layers else "",
        named=explanation.fault if explanation.reproduces else "",
        nearness=explanation.margin_text,
    )


def run_training_mutant(name: str) -> MutantResult:
    mutant = TRAINING_MUTANTS[name]
    known = training_answer(mutant.optimiser, mutant.dtype, mutant.offset, mutant.shared_norms)
    with Worker(mutant.framework, variables={"PLANTED": name}, program=WORKER_PROGRAM) as worker:
        training = check_training(worker, known, mutant.dtype)
        first, explanations = training.first_failure, explain_training(known, training)
    nearest = explanations[0] if explanations and explanations[0].reproduces else None
    return MutantResult(
        caught=first is not None,
        measure=f"{first.kind} of step {first.step}, {first.share:.1e} of {first.limit:.0e}" if first else "nothing",
        place=first.name if first else "",
        named=nearest.fault if nearest else "",
        nearness=nearest.margin_text if nearest else "",
    )


def table_row(name: str, result: MutantResult, why: str) -> str:
    place = f"`{result.place}`" if result.place else "the network as a whole"
    named = f"{result.named}, {result.nearness}" if result.named else f"not named: {why}"
    return f"| {name} | {result.measure} | {place} | {named} |"


def main() -> None:
    rows = [table_row(name, run_mutant(name), mutant.why) for name, mutant in ALL_MUTANTS.items()]
    training = [table_row(name, run_training_mutant(name), mutant.why) for name, mutant in TRAINING_MUTANTS.items()]
    mutants = [*ALL_MUTANTS.values(), *TRAINING_MUTANTS.values()]
    named = sum(bool(mutant.fault) for mutant in mutants)
    lines = [
        "# What catches each planted fault",
        "",
        f"{len(mutants)} faults, planted one at a time; all are caught, and {named} are named by `--explain`.",
        "Written by `python -m parity_tests.faults.mutants_table`; `make faults` checks it. Differences",
        "are shares of the range, followed by their limit.",
        "",
        "## In weights, models, images and arithmetic",
        "",
        "| fault | caught by | first layer that is wrong by itself | named |",
        "|---|---|---|---|",
        *rows,
        "",
        "## In training",
        "",
        "The logits before training cannot show these: losses, gradients, statistics and weights do.",
        "",
        "| fault | caught by | tensor | named |",
        "|---|---|---|---|",
        *training,
    ]
    path = Path(__file__).parents[2] / "docs" / "about" / "mutants.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
