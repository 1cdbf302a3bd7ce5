"""The real child under the real sandbox, in which the evaluation is replaced by whatever code a test sends it.

That is what an attacker has who found a hole in the arithmetic: Python in the evaluating process.
"""

from __future__ import annotations

import json
import uuid

from ranksearch.contracts.errors import RankSearchError
from tests.worker.stand_ins import SHA, job
from worker.evaluator import EvaluationFailed, Evaluator

# Takes the place of worker.evaluation, so that torch need not be loaded.
BOOT = f"""
import sys, types

def evaluate(session, assignment, tell=None):
    import json
    from worker.protocol import Report
    scope = {{"output": assignment.output, "result": None}}
    try:
        exec(assignment.files[{SHA!r}].read_text(), scope)
        result = scope["result"]
    except BaseException as error:
        result = type(error).__name__
    problem = dict(type="urn:x", title="t", status=500, code="evaluation_failed", detail=json.dumps(result))
    return Report(number=assignment.number, problem=problem)

module = types.ModuleType("worker.evaluation")
module.Session = lambda **options: types.SimpleNamespace(
    factors=types.SimpleNamespace(), device_problem=lambda: None
)
module.evaluate = evaluate
sys.modules["worker.evaluation"] = module
{{preparation}}
from worker.child import main
main()
"""


class HostileEvaluator(Evaluator):
    """Its child does what :meth:`attack` says. ``preparation``: code that runs before the child confines itself."""

    def __init__(self, *, scripts, preparation="", **options):
        scripts.mkdir(exist_ok=True)
        super().__init__(reads=[scripts], **options)
        self._scripts = scripts
        self._preparation = preparation

    def _command_line(self, workspace):
        command = super()._command_line(workspace)
        start = command.index("-m")
        return [*command[:start], "-c", BOOT.replace("{preparation}", self._preparation), *command[start + 2 :]]

    def attack(self, code, **values):
        """What the code left in ``result``, or the name of what it raised. ``values`` are its global names."""
        script = self._scripts / uuid.uuid4().hex
        script.write_text("".join(f"{name} = {value!r}\n" for name, value in values.items()) + code, "utf-8")
        with self.output() as output:
            try:
                self.run(job().task, {SHA: script}, output, lambda: False)
            except EvaluationFailed as failed:
                if failed.retry:  # the child's end, not its answer
                    raise
                return json.loads(failed.error.detail)
        raise AssertionError("an attack is answered by a problem")

    def lacks(self, name):
        """Why a measure is not in force; None where it is."""
        try:
            measures = {measure.name: measure for measure in self.confinement()}
        except RankSearchError as error:
            return str(error)
        return None if measures[name].in_force else measures[name].reason
