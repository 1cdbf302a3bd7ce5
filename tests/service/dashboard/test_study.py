"""The pages of one study, as the service renders them."""

from __future__ import annotations

import json
import re

import pytest
from sqlalchemy import update

from service.storage.tables import StudyRow
from tests.service.access_stories import token_for
from tests.service.dashboard.conftest import text_of


@pytest.fixture
def study(service):
    made = service.submit(n_trials=8, name="halved")["id"]
    agent = service.agent(measure=lambda _job: {"seconds": {"validation": 0.7, "decomposition": 1.5, "total": 2.2}})
    agent.work(limit=7)
    agent.fail(agent.must_claim("trial"), code="evaluation_out_of_memory", detail="the device has no memory left")
    agent.must_claim("trial")
    return made


def rows(answer):
    """Numbers of the trials in the table."""
    return [int(number) for number in re.findall(r'<tr id="trial-(\d+)"', answer.text)]


def test_the_overview_says_how_it_goes(browser, study):
    text = text_of(browser.get(f"/studies/{study}"))
    assert "halved" in text
    assert "7 of 8" in text
    assert "macs ≤ 50%" in text
    assert "0 pruned" in text


def test_what_was_asked_for_is_shown(browser, study):
    assert "n trials 8" in text_of(browser.get(f"/studies/{study}"))


def test_the_part_that_changes_is_small_and_by_itself(browser, study):
    whole, part = (browser.get(f"/studies/{study}{path}").text for path in ("", "/summary"))
    assert 'id="study"' in part
    assert "<html" not in part
    assert len(part) < len(whole)
    assert "Progress" not in browser.get(f"/studies/{study}/summary?tab=trials").text


def test_the_best_ranks_can_be_copied_as_json(service, browser, study):
    page = browser.get(f"/studies/{study}").text
    shown = re.search(r'<pre id="best-json"[^>]*>(.*?)</pre>', page, re.DOTALL)[1]
    assert json.loads(shown.replace("&#34;", '"')) == service.get(f"/v1/studies/{study}/best")["ranks"]


def test_the_best_ranks_as_python_are_a_program(service, browser, study):
    page = browser.get(f"/studies/{study}").text
    shown = re.search(r'<pre id="best-python"[^>]*>(.*?)</pre>', page, re.DOTALL)[1]
    source = shown.replace("&#34;", '"').replace("&#39;", "'")
    assignment = re.search(r"^ranks = (\{.*?^\})$", source, re.DOTALL | re.MULTILINE)[1]
    assert eval(assignment) == service.get(f"/v1/studies/{study}/best")["ranks"]  # noqa: S307 - it is a program
    compile(source, "snippet", "exec")


def test_before_the_first_trial_the_pages_say_what_will_stand_there(service, browser):
    fresh = service.submit()["id"]
    assert "once the first one has ended" in text_of(browser.get(f"/studies/{fresh}"))
    assert "No trial yet" in text_of(browser.get(f"/studies/{fresh}/trials"))
    assert "as soon as its ranks are chosen" in text_of(browser.get(f"/studies/{fresh}/trials"))
    assert "No trial has ended yet" in text_of(browser.get(f"/studies/{fresh}/layers"))


def test_the_table_is_sorted_and_filtered_by_its_address(service, browser, study):
    path = f"/studies/{study}/trials"
    assert rows(browser.get(path)) == list(range(8))
    values = {trial["number"]: trial["value"] for trial in service.trials(study)}
    by_value = rows(browser.get(f"{path}?sort=value&order=desc"))
    assert by_value[:6] == sorted(range(6), key=lambda number: -values[number])
    assert rows(browser.get(f"{path}?state=FAIL")) == [6]
    assert rows(browser.get(f"{path}?origin=sampler&state=COMPLETE")) == [2, 3, 4, 5]


def test_the_headings_lead_to_the_other_order(browser, study):
    page = browser.get(f"/studies/{study}/trials?sort=value&state=COMPLETE").text
    assert f'href="/studies/{study}/trials?state=COMPLETE&amp;sort=value&amp;order=desc"' in page
    assert 'aria-sort="ascending"' in page


def test_a_row_says_why_a_trial_failed_and_where_the_time_went(browser, study):
    text = text_of(browser.get(f"/studies/{study}/trials"))
    assert "the device has no memory left" in text
    assert "decomposition 1.5 s, validation 0.7 s" in text


def test_the_table_has_pages(service, browser, monkeypatch, study):
    monkeypatch.setattr("service.dashboard.study._ROWS", 3)
    seen, path = [], f"/studies/{study}/trials?sort=value"
    while path:
        page = browser.get(path)
        seen.append(rows(page))
        link = re.search(r'rel="next" href="([^"]+)"', page.text)
        path = link and link[1].replace("&amp;", "&")
    assert [len(some) for some in seen] == [3, 3, 2]
    assert sorted(number for some in seen for number in some) == list(range(8))


def test_a_filter_that_nothing_fits_leads_back(browser, study):
    text = text_of(browser.get(f"/studies/{study}/trials?state=PRUNED"))
    assert "No such trial" in text
    assert "See all of them" in text


def test_one_trial_says_what_every_layer_became(service, browser, study):
    text = text_of(browser.get(f"/studies/{study}/trials/2"))
    (trial,) = [one for one in service.trials(study) if one["number"] == 2]
    for name, choice in trial["ranks"].items():
        assert f"{name} conv2d {choice['method']}, rank {choice['rank']}" in text
    assert f"{trial['value']:.2%}" in text
    assert "ranks from: search" in text


def test_one_trial_can_be_copied_as_json(service, browser, study):
    page = browser.get(f"/studies/{study}/trials/2").text
    shown = re.search(r'<pre id="trial-json"[^>]*>(.*?)</pre>', page, re.DOTALL)[1]
    copied = json.loads(shown.replace("&#34;", '"'))
    told = service.get(f"/v1/studies/{study}/trials/2")
    assert (copied["ranks"], copied["value"]) == (told["ranks"], told["value"])


def test_a_failed_trial_says_what_was_wrong(browser, study):
    assert "the device has no memory left" in text_of(browser.get(f"/studies/{study}/trials/6"))


@pytest.mark.parametrize("path", ["/trials/99", "/trials/nothing", "/trials/-1"])
def test_a_trial_that_is_not_there_is_a_page(browser, study, path):
    answer = browser.get(f"/studies/{study}{path}")
    assert answer.status_code in {404, 422}
    assert "<html" in answer.text


def test_who_may_only_read_sees_no_buttons(service, stranger, study):
    token = token_for(service, "eva", "vision", "read")
    with service.backend.writing() as session:
        session.execute(update(StudyRow).where(StudyRow.id == study).values(project_id="prj_vision"))
    assert stranger.post("/v1/session", json={"token": token}).status_code == 201
    page = stranger.get(f"/studies/{study}")
    assert page.status_code == 200
    assert "hx-post" not in page.text
    assert "/submit?from=" not in page.text


def test_files_are_listed_with_their_trial_format_and_parity_and_the_others_can_be_asked_for(service, browser):
    made = service.submit(n_trials=2)["id"]
    service.agent().work()
    best = service.study(made)["best_trial"]
    page = browser.get(f"/studies/{made}")
    assert f"Trial {best}, model document compressed.safetensors" in text_of(page)
    assert "the same as the network on 20 images, exactly" in text_of(page)
    assert re.findall(r'data-trial="(\d+)" data-format="(\w+)"', page.text) == [(str(best), "pt2"), (str(best), "onnx")]


def test_the_page_of_a_trial_offers_its_network(service, browser):
    made = service.submit(n_trials=2)["id"]
    service.agent().work()
    other = 1 - service.study(made)["best_trial"]
    page = browser.get(f"/studies/{made}/trials/{other}").text
    offered = re.findall(r'data-trial="(\d+)" data-format="(\w+)"', page)
    assert offered == [(str(other), made_as) for made_as in ("document", "pt2", "onnx")]


def test_a_file_that_failed_says_why_and_can_be_made_again(service, browser):
    made, agent = service.submit(n_trials=1)["id"], service.agent()
    agent.work(2)
    agent.fail(agent.must_claim("compress"), detail="no memory")
    page = browser.get(f"/studies/{made}")
    assert "no memory Make it again" in text_of(page)
