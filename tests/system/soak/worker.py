"""``python -m tests.system.soak.worker URL TOKEN NAME``: works without torch, and through everything.

It claims, holds the job for a moment, hands in a made-up result, and never gives up on a service that is away.
"""

from __future__ import annotations

import random
import sys
import time

import httpx

from tests.service.agent import Agent

AWAY = 0.05


def main(url: str, token: str, name: str) -> None:
    rng = random.Random(name)  # noqa: S311 - no secret
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=15) as http:
        agent = Agent(http, name)
        while True:
            try:
                job = agent.claim(wait=1)
                if job is not None:
                    time.sleep(rng.uniform(0, 0.1))
                    hand_in(agent, job)
            except (httpx.TransportError, AssertionError):  # away, or an answer that says so
                time.sleep(AWAY)


def hand_in(agent: Agent, job: dict) -> None:
    """Until it is taken or not wanted any more."""
    while True:
        try:
            answer = agent.post(job, "complete", outcome=agent.outcome(job))
        except (httpx.TransportError, AssertionError):
            time.sleep(AWAY)
            continue
        if answer.status_code < 500:
            return
        time.sleep(AWAY)


if __name__ == "__main__":
    main(*sys.argv[1:])
