"""All the agents of one machine, one for each device, as one worker that starts and stops together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["Crew"]

_LOOK_FOR_SIGNALS_SECONDS = 0.5


class Works(Protocol):
    """What a crew needs of an agent."""

    def run(self) -> None:
        """Work until stopped, or until there is nothing more to do for it."""

    def stop(self) -> None:
        """Finish as soon as possible. Safe in a signal handler."""


class Crew:
    """Runs agents side by side.

    What ends one of them for good, such as a token that is refused, ends all: they have it in common.

    Args:
        agents: at least one.
    """

    def __init__(self, agents: Sequence[Works]) -> None:
        self._agents = agents
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._working, args=(agent.run,), name=f"agent-{number}", daemon=True)
            for number, agent in enumerate(agents)
        ]

    def stop(self) -> None:
        """Have all finish as soon as possible. Safe in a signal handler."""
        for agent in self._agents:
            agent.stop()

    def run(self) -> None:
        """Work until all have finished; to be called from the main thread, which goes on taking signals.

        Raises:
            BaseException: what the first one ended with that did not finish by itself.
        """
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            while thread.is_alive():
                # Python's handlers run in this thread alone, and a signal that the system delivered to another one
                # does not wake it.
                thread.join(_LOOK_FOR_SIGNALS_SECONDS)
        if self._errors:
            raise self._errors[0]

    def _working(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._errors.append(error)
            self.stop()
