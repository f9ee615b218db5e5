"""Lists the files that the installed code bases publish, from their own registries, as rows for `published.tsv`.

Runs in the environments of the peers, so it imports no package of this project: `torch_peers.py` and `keras_peers.py`
call `list_published`, and `python -m parity_tests.peers.update_published` writes the table.
"""

import ast
import csv
import importlib
import importlib.util
import math
import re
from contextlib import suppress
from pathlib import Path

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NORMALIZATIONS = {IMAGENET: "imagenet", ((0.5,) * 3, (0.5,) * 3): "half"}
"""The word of `published.py` for the mean and the deviation of pixels from 0 to 1."""

HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")

CLASSES = {"in1k": 1000, "cub": 200, "cifar10": 10, "cifar100": 100, "svhn": 10}
"""The classes of pytorchcv's data sets; all but the first end the names of networks."""

SMALL_IMAGES = ("cifar10", "cifar100", "svhn")
"""Those of 32x32 images."""

OF_TIMM = ("resnet", "senet", "densenet")
"""The modules of timm that have networks of our families."""

OF_TORCHVISION = r"resnet|resnext|wide_resnet|densenet"
OF_PYTORCHCV = r"(ibn_|se|pre|sepre)?res(net|next)|senet|wrn|densenet"
OF_SMP = r"resnet|resnext|se_|senet|densenet"
OF_QUBVEL = r"(se)?resne[xt]t?|senet"
"""How the names of such networks begin in the other code bases."""


def row(source, name, tag, *, url="", repository="", classes=1000, preprocessing="", licence="", accuracy="", **more):
    """One row; the hash in the name of a file is the beginning of its sha256 unless `digits` says another one."""
    found = HASH_IN_NAME.search(url)
    return {
        "source": source,
        "name": name,
        "tag": tag,
        "default": "",
        "repository": repository,
        "url": url,
        "classes": str(classes),
        "preprocessing": preprocessing,
        "licence": licence,
        "accuracy": accuracy,
        **({"hash_algorithm": "sha256", "digits": found[1]} if found else {"hash_algorithm": "", "digits": ""}),
        **more,
    }


def number(value):
    return f"{value:.4f}".rstrip("0").rstrip(".")


def timm():
    """Of each module's own table, which also has files of networks that timm cannot build any more."""
    for module in OF_TIMM:
        for name, known in importlib.import_module(f"timm.models.{module}").default_cfgs.items():
            for tag, config in known.cfgs.items():
                if config.has_weights:
                    yield of_timm(name, tag, config, default=tag == known.tags[0])


def of_timm(name, tag, config, default):
    words = [
        NORMALIZATIONS[tuple(config.mean), tuple(config.std)],
        *(str(config.input_size[1]), config.interpolation, number(config.crop_pct)),
        *([config.crop_mode] if config.crop_mode != "center" else []),
    ]
    repository = config.hf_hub_id or ""
    return row(
        *("timm", name, tag),
        default="yes" if default else "",
        url=config.url or "",
        repository=f"{repository}{name}.{tag}" if repository.endswith("/") else repository,
        classes=config.num_classes,
        preprocessing=" ".join(words),
        licence=config.license or "",
    )


def torchvision():
    import torchvision.models

    for name in torchvision.models.list_models(module=torchvision.models):
        if not re.match(OF_TORCHVISION, name):
            continue
        weights = torchvision.models.get_model_weights(name)
        for each in weights:
            transforms = each.transforms()
            (size,), (resize,) = transforms.crop_size, transforms.resize_size
            yield row(
                *("torchvision", name, each.name),
                default="yes" if each is weights.DEFAULT else "",
                url=each.url,
                preprocessing=f"imagenet {size} {transforms.interpolation.value} {crop_of(size, resize)}",
                licence="not stated (code BSD-3-Clause)",
                accuracy=number(each.meta["_metrics"]["ImageNet-1K"]["acc@1"]),
            )


def crop_of(size, resize):
    """The shortest share of a side that resizes it to these pixels before the crop."""
    for digits in range(2, 8):
        crop = math.floor(size / resize * 10**digits) / 10**digits
        if math.floor(size / crop) == resize:
            return number(crop) if digits <= 4 else f"{crop:.{digits}f}"
    raise ValueError(f"no crop gives {resize} for {size}")


def pytorchcv():
    from pytorchcv.models.common import model_store

    table = Path(model_store.__file__).with_name("model_metainfos.csv").read_text()
    for each in csv.DictReader(table.splitlines()):
        name = each["model_name"]
        data = "in1k" if each["test_dataset"] == "in1k" else name.rpartition("_")[2]
        if not re.match(OF_PYTORCHCV, name) or data not in CLASSES or each["error_value"] == "NA":
            continue
        error = int(each["error_value"])
        size, crop = (
            (224, "0.875") if each["img_size"] == "NA" else (each["img_size"], number(float(each["img_scale"])))
        )
        file_name = f"{name}-{error:04d}-{each['checksum'][:8]}.pth.zip"
        yield row(
            *("pytorchcv", name, data),
            default="yes",
            url=f"{model_store.imgclsmob_repo_url}/releases/download/{each['repo_release_tag']}/{file_name}",
            classes=CLASSES[data],
            preprocessing="cifar 32 none 1" if data in SMALL_IMAGES else f"imagenet {size} bilinear {crop}",
            licence="not stated (code MIT)",
            accuracy="" if data == "in1k" else number(100 - error / 100),  # of ImageNet, the table has the top-5 error
            hash_algorithm="sha1",
            digits=each["checksum"],
        )


def pretrainedmodels():
    from pretrainedmodels.models import senet

    for name, files in senet.pretrained_settings.items():
        for tag, settings in files.items():
            yield row(
                *("pretrainedmodels", name, tag),
                default="yes",
                url=settings["url"],
                classes=settings["num_classes"],
                preprocessing=f"imagenet {settings['input_size'][1]} bilinear 0.875",
                licence="not stated (code BSD-3-Clause)",
            )


def monai():
    from monai.networks.nets import senet

    for name, url in senet.SE_NET_MODELS.items():
        yield row(
            *("monai", name, "imagenet"),
            default="yes",
            url=url,
            preprocessing="imagenet 224 bilinear 0.875",
            licence="not stated",
        )


def smp():
    from segmentation_models_pytorch.encoders import encoders

    for name, encoder in encoders.items():
        if not re.match(OF_SMP, name):
            continue
        for tag, settings in encoder["pretrained_settings"].items():
            yield row(
                *("smp", name, tag),
                default="yes" if tag == "imagenet" else "",
                repository=f"{settings['repo_id']}@{settings['revision']}",
                preprocessing="imagenet 224 bilinear 0.875",
                licence="see the hub card",
            )


def qubvel():
    package = Path(importlib.util.find_spec("classification_models").origin).parent
    tree = ast.parse((package / "weights.py").read_text())
    collection = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "WEIGHTS_COLLECTION"
    )
    for each in collection:
        name, top = each["model"], each["include_top"]
        if not re.match(OF_QUBVEL, name):
            continue
        raw = re.fullmatch(r"(se)?resnet(18|34)|resnet(50|101|152)", name)  # these have a norm of the images
        yield row(
            *("qubvel", name, each["dataset"] + ("" if top else "_no_top")),
            default="yes" if top and each["dataset"] == "imagenet" else "",
            url=each["url"],
            classes=each["classes"] if top else 0,
            preprocessing=f"{'raw' if raw else 'imagenet'} 224 bilinear 0.875",
            licence="not stated (code MIT)",
            hash_algorithm="md5",
            digits=each["md5"],
        )


REGISTRIES = {
    "torch": (timm, torchvision, pytorchcv, pretrainedmodels, monai, smp),
    "keras": (qubvel,),
}
"""The registries that can be listed in each environment."""


def list_published(environment):
    """The rows of every registry of an environment."""
    return [each for registry in REGISTRIES[environment] for each in registry()]


def list_networks(sources, every):
    """The tensors of the networks that code bases can build, by code base and name.

    Args:
        sources: Some of "timm", "torchvision" and "pytorchcv".
        every: Whether to build all networks, and not only those of modules and names like ours.
    """
    import timm
    import torch
    import torchvision
    from pytorchcv.model_provider import _models, get_model

    of_torchvision = torchvision.models.list_models(module=torchvision.models)
    known = {
        "timm": (timm.create_model, [name for module in OF_TIMM for name in timm.list_models(module=module)]),
        "torchvision": (
            torchvision.models.get_model,
            [name for name in of_torchvision if re.match(OF_TORCHVISION, name)],
        ),
        "pytorchcv": (get_model, [name for name in _models if re.match(OF_PYTORCHCV, name)]),
    }
    others = {"timm": timm.list_models(), "torchvision": of_torchvision, "pytorchcv": list(_models)} if every else {}
    networks = {}
    with torch.device("meta"):
        for source in sources:
            build, names = known[source]
            networks |= {f"{source} {name}": describe(build(name)) for name in names}
            for name in set(others.get(source, ())) - set(names):
                with suppress(RuntimeError):  # initial values that need memory; such networks are none of ours
                    networks[f"{source} {name}"] = describe(build(name))
    return networks


def describe(model):
    """The shapes of a network's tensors, the pool that strides in its second stage, and the classes of its layers."""
    striding = next(iter(getattr(model, "layer2", [])), None)
    pool = type(getattr(striding, "aa", None)).__name__
    return {
        "shapes": {key: list(tensor.shape) for key, tensor in model.state_dict().items()},
        "antialias": {"AvgPool2d": "mean", "BlurPool2d": "blur"}.get(pool, "none"),
        "layers": sorted({type(layer).__name__ for layer in model.modules()}),
    }
