"""Claims that wait, over real sockets."""

from __future__ import annotations

import threading
import time

from tests.service import synthetic
from tests.service.agent import Agent


def test_a_waiting_claim_is_woken_by_new_work(process):
    agent = Agent(process.http)
    agent.work()
    claimed = {}

    def wait() -> None:
        claimed["job"] = agent.claim(wait=15)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)
    process.http.post("/v1/models?name=m", content=synthetic.model_document(salt=50))
    waiting.join()
    assert claimed["job"]["task"]["kind"] == "inspect"  # by itself it would have looked again after a minute
    agent.complete(claimed["job"])


def test_a_waiting_claim_ends_without_work(process):
    agent = Agent(process.http)
    agent.work()
    began = time.monotonic()
    assert agent.claim(wait=0.5) is None
    assert time.monotonic() - began > 0.4


def test_a_waiting_claim_ends_when_its_worker_leaves(process):
    agent = Agent(process.http, name="leaving")
    agent.work()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(agent.claim(wait=60)))
    waiting.start()
    time.sleep(0.3)
    assert process.http.delete("/v1/workers/leaving").status_code == 204
    waiting.join(20)
    assert answers == [None]


def test_a_waiting_claim_ends_when_its_worker_is_drained(process):
    agent = Agent(process.http, name="drained")
    agent.work()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(agent.claim(wait=60)))
    waiting.start()
    time.sleep(0.3)
    assert process.http.post("/v1/workers/drained/drain").status_code == 204
    waiting.join(20)
    assert answers == [None]
