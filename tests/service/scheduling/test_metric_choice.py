import pytest

from ranksearch.contracts.dataset_summaries import DatasetSummary
from ranksearch.contracts.model_summaries import TensorSpec
from service.scheduling.metric_choice import default_metric, fitting_metrics, measure_of
from tests.service import synthetic

LOGITS = ("output", (10,), "float32")
MAP = ("out", (5, 8, 8), "float32")
BOX = ("box", (4,), "float16")
BEST = ("best", (), "int64")
NUMBER = ("output", (1,), "float32")
DISTANCE = ("output", (), "float32")
NO_LOGITS = [[MAP], [MAP, BOX], [LOGITS, BOX], [NUMBER], [DISTANCE], [BEST, MAP]]


def answering(*outputs, **more):
    """The profile of a model with these outputs."""
    specs = [TensorSpec(name=name, shape=shape, dtype=dtype) for name, shape, dtype in outputs]
    profile = synthetic.profile(**more)
    return profile.model_copy(update={"outputs": specs, "output_shapes": [list(spec.shape) for spec in specs]})


@pytest.fixture
def data(service):
    """The summary of a data set, as uploaded."""

    def data(labels):
        told = service.upload_dataset(synthetic.dataset_document(labels=labels)).json()["summary"]
        return DatasetSummary.model_validate(told)

    return data


@pytest.mark.parametrize("labels", [None, 10])
def test_a_classifier_is_judged_by_divergence(data, labels):
    assert default_metric(data(labels), answering(LOGITS), smallest=False) == "kl"


def test_the_smallest_classifier_is_judged_by_accuracy_where_there_are_labels(data):
    assert default_metric(data(10), answering(LOGITS), smallest=True) == "accuracy"
    assert default_metric(data(None), answering(LOGITS), smallest=True) == "kl"


@pytest.mark.parametrize("smallest", [False, True])
@pytest.mark.parametrize("outputs", NO_LOGITS)
def test_what_is_no_classifier_of_one_output_is_judged_by_its_outputs(data, outputs, smallest):
    assert default_metric(data(10), answering(*outputs), smallest=smallest) == "outputs"


def test_whole_numbers_alone_leave_the_features(data):
    assert default_metric(data(None), answering(BEST), smallest=False) == "features"


def test_a_profile_of_before_tells_by_its_shapes(data):
    assert default_metric(data(None), synthetic.profile(), smallest=False) == "kl"
    assert default_metric(data(None), synthetic.profile(outputs=(5, 8, 8)), smallest=False) == "outputs"


@pytest.mark.parametrize(
    ("outputs", "labels", "fitting"),
    [
        ([LOGITS], 10, {"accuracy", "kl", "loss", "features", "outputs"}),
        ([LOGITS], None, {"kl", "features", "outputs"}),
        ([LOGITS, BOX], 10, {"accuracy", "kl", "loss", "features", "outputs"}),
        ([MAP, BEST], 10, {"kl", "features", "outputs"}),
        ([NUMBER], 10, {"features", "outputs"}),
        ([MAP, DISTANCE], 10, {"features", "outputs"}),
        ([BEST], 10, {"features"}),
    ],
)
def test_what_can_be_asked_for_follows_from_the_outputs_and_the_labels(data, outputs, labels, fitting):
    assert set(fitting_metrics(data(labels), answering(*outputs))) == fitting


@pytest.mark.parametrize(
    ("metric", "outputs", "mend"),
    [
        ("accuracy", [MAP], "outputs"),
        ("kl", [NUMBER], "outputs"),
        ("kl", [BEST], "features"),
        ("outputs", [BEST], "features"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_with_one_that_does(service, metric, outputs, mend):
    service.prepare(profile=answering(*outputs))
    answer = service.http.post("/v1/studies", json=service.request(metric=metric))
    assert (answer.status_code, answer.json()["code"]) == (422, "metric_does_not_fit")
    assert f'"{mend}"' in answer.json()["mend"]
    assert outputs[0][0] in answer.json()["got"]
    assert service.submit(metric=mend)["metric"] == mend


def test_the_table_of_layers_is_measured_in_terms_of_the_study():
    assert [measure_of(metric) for metric in ("accuracy", "kl", "loss", "features", "outputs")] == [
        "logits", "logits", "logits", "outputs", "outputs",
    ]  # fmt: skip


def test_the_sensitivity_task_says_what_is_measured(service):
    service.prepare(profile=answering(MAP))
    study = service.submit(metric=None, warm_starts=["greedy"])
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    job = agent.must_claim("sensitivity")
    assert job["task"]["measure"] == "outputs"
    agent.complete(job)
    told = service.http.get(f"/v1/studies/{study['id']}/sensitivity").json()
    assert (told["state"], told["measure"]) == ("measured", "outputs")


PAIR = [("rgb", (3, 8, 8)), ("speed", (2,))]


def taking(*inputs, **more):
    """The profile of a model with these inputs."""
    specs = [TensorSpec(name=name, shape=shape, dtype="float32") for name, shape in inputs]
    profile = synthetic.profile(**more)
    return profile.model_copy(update={"inputs": specs, "input_shapes": [list(shape) for _, shape in inputs]})


def test_a_model_of_several_inputs_takes_a_data_set_of_them_in_any_order(service):
    service.prepare(profile=taking(*PAIR), inputs=list(reversed(PAIR)))
    assert service.submit()["metric"]


@pytest.mark.parametrize("inputs", [None, PAIR[:1], [*PAIR, ("more", (1,))], [PAIR[0], ("speed", (3,))]])
def test_a_data_set_of_other_inputs_is_refused(service, inputs):
    service.prepare(profile=taking(*PAIR), inputs=inputs)
    answer = service.http.post("/v1/studies", json=service.request())
    assert (answer.status_code, answer.json()["code"]) == (422, "dataset_shape_mismatch")
    assert answer.json()["expected"] == "rgb [3, 8, 8], speed [2]"


def test_a_data_set_of_several_inputs_does_not_fit_a_model_of_one(service):
    service.prepare(inputs=PAIR)
    answer = service.http.post("/v1/studies", json=service.request())
    assert (answer.status_code, answer.json()["code"]) == (422, "dataset_shape_mismatch")
