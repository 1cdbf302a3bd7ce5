import json

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.model_summaries import summarise_model
from ranksearch.contracts.tensorfile import read_header
from ranksearch.documents import load, pack, pack_state_dict
from tests.ranksearch.documents.networks import assert_same_outputs, randomised

IMAGES = torch.randn(2, 3, 32, 32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return randomised(torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=7))


@pytest.fixture(scope="module")
def document(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("registry") / "m.safetensors"
    name = "torchvision:shufflenet_v2_x0_5"
    return pack_state_dict(name, network.state_dict(), IMAGES, path, num_classes=7)


@pytest.fixture
def rewritten(document, tmp_path):
    def write(change_tensors=None, **changes):
        tensors = load_file(document)
        if change_tensors is not None:
            change_tensors(tensors)
        save_file(tensors, tmp_path / "m.safetensors", {**read_header(document).metadata, **changes})
        return tmp_path / "m.safetensors"

    return write


def code_of(path):
    with pytest.raises(DocumentError) as caught:
        load(path)
    return caught.value.code


def test_outputs_are_the_original_s(network, document):
    assert_same_outputs(network, load(document), torch.randn(3, 3, 32, 32))


def test_it_is_summarised(network, document):
    summary = summarise_model(document)
    assert (summary.kind, summary.architecture) == ("registry", "torchvision:shufflenet_v2_x0_5")
    assert summary.outputs[0].shape == (7,)
    assert summary.params == sum(parameter.numel() for parameter in network.parameters())


def test_it_has_input_specs(document):
    assert load(document).input_specs[0].shape == (3, 32, 32)


def test_parameters_can_be_trained(document):
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in load(document).parameters())


def test_it_can_be_packed_as_a_graph(network, document, tmp_path):
    assert_same_outputs(network, load(pack(load(document), IMAGES, tmp_path / "g.safetensors")), IMAGES)


@pytest.mark.parametrize(
    "name",
    [
        "shufflenet_v2_x0_5",
        "torchvision:os",
        "torchvision:../x",
        "timm:resnet18",
        "",
        "torchvision:get_model",
        "torchvision:ssd300_vgg16",
    ],
)
def test_an_unknown_architecture_is_refused(rewritten, name):
    assert code_of(rewritten(architecture=name)) == "document_unknown_architecture"


@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": 10**9},
        {"num_classes": "7"},
        {"num_classes": True},
        {"weights": "DEFAULT"},
        {"weights_backbone": "DEFAULT"},
        {"norm_layer": "eval"},
        {"progress": True},
        {"aux_logits": True},
        {"__class__": 1},
        [],
        5,
    ],
)
def test_an_unknown_option_is_refused(rewritten, options):
    assert code_of(rewritten(options=json.dumps(options))) == "document_header_invalid"


def test_other_options_than_the_weights_are_refused(rewritten):
    assert code_of(rewritten(options='{"num_classes": 8}')) == "document_wrong_shape"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda held: held.pop("fc.weight"), "document_missing_tensor"),
        (lambda held: held.update(more=torch.zeros(1)), "document_graph_invalid"),
        (lambda held: held.update({"fc.bias": torch.zeros(7, dtype=torch.int64)}), "document_wrong_dtype"),
        (lambda held: held["fc.bias"].fill_(float("nan")), "document_not_finite"),
    ],
)
def test_wrong_tensors_are_refused(rewritten, change, code):
    assert code_of(rewritten(change)) == code


def test_a_state_dict_that_does_not_fit_is_not_written(network, tmp_path):
    with pytest.raises(DocumentError, match="wrong shape"):
        pack_state_dict("torchvision:shufflenet_v2_x0_5", network.state_dict(), IMAGES, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_segmentation_network_s_outputs_are_described(tmp_path):
    name = "lraspp_mobilenet_v3_large"
    state = torchvision.models.get_model(name, weights=None, weights_backbone=None).state_dict()
    path = pack_state_dict(f"torchvision:{name}", state, torch.randn(2, 3, 64, 64), tmp_path / "m.safetensors")
    assert summarise_model(path).outputs[0].shape == (21, 64, 64)


@pytest.mark.parametrize("name", ["regnet_x_400mf", "swin_t", "googlenet"])
def test_an_architecture_that_computes_while_it_is_built(tmp_path, name):
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    network = randomised(torchvision.models.get_model(name, weights=None, **options))
    images = torch.randn(2, 3, 64, 64)
    given = {"aux_logits": False} if name == "googlenet" else {}
    path = pack_state_dict(f"torchvision:{name}", network.state_dict(), images, tmp_path / "m.safetensors", **given)
    assert_same_outputs(network, load(path), images)
