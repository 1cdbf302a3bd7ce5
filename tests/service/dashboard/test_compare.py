"""Studies and trials beside each other."""

from __future__ import annotations

import re

import pytest

from tests.service import synthetic
from tests.service.access_stories import token_for
from tests.service.dashboard.conftest import HOSTILE, text_of


@pytest.fixture
def two(service):
    """Two studies that have ended, of different budgets."""
    first = service.submit(name="half", constraints={"macs": "50%"}, n_trials=5, seed=1)["id"]
    second = service.submit(name="third", constraints={"macs": "33%"}, n_trials=8, seed=2)["id"]
    service.agent().work()
    return first, second


def rows(page):
    """The rows of all tables as lists of what their cells say."""
    found = []
    for row in re.findall(r"(?s)<tr\b.*?</tr>", page.text):
        cells = re.findall(r"(?s)<t[hd]\b[^>]*>(.*?)</t[hd]>", row)
        found.append([" ".join(re.sub(r"(?s)<svg.*?</svg>|<[^>]*>", " ", cell).split()) for cell in cells])
    return found


def test_two_studies_are_put_beside_each_other(service, browser, two):
    page = browser.get("/compare", params={"a": two[0], "b": two[1]})
    told = {row[0]: row[1:] for row in rows(page)}
    studies = [service.study(one) for one in two]
    assert told["Budget"][:2] == ["macs ≤ 50%", "macs ≤ 33%"]
    assert told["Accuracy"][:2] == [f"{study['best_value']:.2%}" for study in studies]
    assert told["Macs that remain"][:2] == [f"{s['best_cost']['macs'] / s['dense']['macs']:.1%}" for s in studies]
    assert told["Best trial"][:2] == [str(study["best_trial"]) for study in studies]


def test_their_best_ranks_are_compared_layer_by_layer(service, browser, two):
    page = browser.get("/compare", params={"a": two[0], "b": two[1]})
    told = {row[0]: row[1:] for row in rows(page)}
    best = [{one["name"]: one for one in service.get(f"/v1/studies/{study}/best")["layers"]} for study in two]
    same = 0
    for name in best[0]:
        (label,) = (one for one in told if one.split(" ")[0] == name)
        difference, (first, second) = label.removeprefix(f"{name} "), told[label]
        for cell, layer in ((first, best[0][name]), (second, best[1][name])):
            assert cell.startswith(layer["choice"]["method"]), name
            assert f"{layer['compressed']['macs'] / layer['dense']['macs']:.1%} of its macs" in cell
        alike = best[0][name]["choice"] == best[1][name]["choice"]
        same += alike
        assert (difference == "same") is alike
        assert difference.startswith("≠") is not alike
    assert f"{same} of {len(best[0])} have the same ranks" in text_of(page)


def test_their_histories_are_drawn_as_they_were(service, browser, two):
    page = browser.get("/compare", params={"a": two[0], "b": two[1]})
    lines = [
        [tuple(float(part) for part in corner.split(",")) for corner in line.split()]
        for line in re.findall(r'<polyline[^>]*points="([^"]+)"', page.text)
    ]
    assert len(lines) == 2
    running = []
    for study in two:
        best = None
        for trial in service.trials(study):
            if trial["state"] == "COMPLETE" and (best is None or trial["value"] > best):
                best = trial["value"]
                running.append((study, trial["number"], best))
    low, high = (pick(value for _, _, value in running) for pick in (min, max))
    for study, line in zip(two, lines, strict=True):
        corners = {(round(x * 8 / 1000), round(high - (y / 300) * (high - low), 3)) for x, y in line}
        for _, number, value in (one for one in running if one[0] == study):
            assert any(at == number and abs(told - value) < 0.002 for at, told in corners), (number, value)
        assert line[-1][0] == pytest.approx(1000 * len(service.trials(study)) / 8)


def test_two_trials_of_a_study_are_put_beside_each_other(service, browser, two):
    page = browser.get("/compare", params={"study": two[1], "a": "0", "b": "3"})
    told = {row[0]: row[1:] for row in rows(page)}
    trials = service.trials(two[1])
    assert told["Macs that remain"][:2] == [
        f"{trials[at]['planned']['macs'] / service.study(two[1])['dense']['macs']:.1%}" for at in (0, 3)
    ]
    assert told["Ranks from"][0] == "same share"
    layers = {label.split(" ")[0]: cells for label, cells in told.items() if label}
    for name, chosen in trials[0]["ranks"].items():
        assert layers[name][0].startswith(f"{chosen['method']}, rank {chosen['rank']}")


def test_what_differs_is_told_by_more_than_colour(browser, two):
    page = browser.get("/compare", params={"a": two[0], "b": two[1]})
    for row in re.findall(r'(?s)<tr class="differs">.*?</tr>', page.text):
        assert "≠" in row
    assert "a full line" in text_of(page)
    assert "a dashed line" in text_of(page)


def test_a_study_without_a_best_trial_has_figures_alone(service, browser, two):
    third = service.submit(name="not begun", n_trials=2)["id"]
    page = browser.get("/compare", params={"a": two[0], "b": third})
    assert page.status_code == 200
    assert "<polyline" not in page.text
    assert "not begun" in text_of(page)


def test_models_of_other_layers_are_compared_by_names(service, browser, two):
    other = service.upload_model(synthetic.model_document(salt=4)).json()["id"]
    profile = synthetic.profile([synthetic.site("layer0.conv", 9_000, 90), synthetic.site("elsewhere", 9_000, 90)])
    agent = service.agent("inspector", profile=profile)
    agent.complete(agent.must_claim("inspect"))
    third = service.submit(name="another network", model=other, n_trials=2)["id"]
    service.agent("again", profile=profile).work()
    told = {row[0]: row[1:] for row in rows(browser.get("/compare", params={"a": two[0], "b": third}))}
    assert told["elsewhere ≠ only in B"][0] == "no such layer"
    assert told["layer1.conv ≠ only in A"][1] == "no such layer"


def forms(page):
    """What the forms of a page send, by their headings: the fields' names, and what is chosen already."""
    found = {}
    for form in re.findall(r"(?s)<form\b.*?</form>", page.text):
        title = re.search(r"<h2[^>]*>(.*?)</h2>", form)[1]
        fields = dict.fromkeys(re.findall(r'<select[^>]* name="(\w+)"', form), "")
        for select in re.findall(r"(?s)<select\b.*?</select>", form):
            if chosen := re.search(r'value="([^"]*)" selected', select):
                fields[re.search(r'name="(\w+)"', select)[1]] = chosen[1]
        for field in re.findall(r"<input\b[^>]*>", form):
            fields[re.search(r'name="(\w+)"', field)[1]] = re.search(r'value="([^"]*)"', field)[1]
        found[title] = fields
    return found


def test_without_a_choice_two_studies_or_two_trials_are_chosen(service, browser):
    assert "It takes two studies, or two trials of one" in text_of(browser.get("/compare"))
    first = service.submit(name="one")["id"]
    assert set(forms(browser.get("/compare"))) == {"Two trials of a study"}
    service.submit(name="two")
    assert forms(browser.get("/compare")) == {
        "Two studies": {"a": "", "b": ""},
        "Two trials of a study": {"study": "", "a": "", "b": ""},
    }
    chosen = forms(browser.get("/compare", params={"a": first}))
    assert chosen["Two studies"] == {"a": first, "b": ""}
    assert chosen["Two trials of a study"]["study"] == first


def test_of_one_study_its_best_trial_is_what_another_is_compared_with(service, browser, two):
    best = str(service.study(two[0])["best_trial"])
    assert forms(browser.get("/compare", params={"study": two[0]})) == {
        "Two trials of a study": {"study": two[0], "a": best, "b": ""}
    }


def test_the_same_twice_is_told(browser, two):
    assert "A and B are the same" in text_of(browser.get("/compare", params={"a": two[0], "b": two[0]}))
    assert "A and B are the same" not in text_of(browser.get("/compare", params={"a": two[0], "b": two[1]}))


@pytest.mark.parametrize(("b", "status"), [("99", 404), ("x", 422), ("²", 422), ("99999999999", 422)])
def test_a_trial_that_is_none_is_a_problem_page(browser, two, b, status):
    assert browser.get("/compare", params={"study": two[0], "a": "0", "b": b}).status_code == status


def test_other_projects_see_none_of_it(stranger, service, two):
    stranger.post("/v1/session", json={"token": token_for(service, "eve", "other")})
    assert stranger.get("/compare", params={"a": two[0], "b": two[1]}).status_code == 404
    assert stranger.get("/compare", params={"study": two[0], "a": "0", "b": "1"}).status_code == 404


def test_names_are_shown_as_they_are(service, browser, two):
    third = service.submit(name=HOSTILE)["id"]
    text = browser.get("/compare", params={"a": two[0], "b": third}).text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
