"""Confines the evaluating process: whatever a hostile network makes it do, it can do little.

The agent makes a :class:`Policy` from its :class:`SandboxOptions`; the child applies it to itself with :func:`confine`
before torch is loaded, tries each measure by what it should prevent, and says which are in force. ``docs/sandbox.md``
has the threat model.

::

    arguments       on the command line
    └ options       what the operator decides
    policy          what may be done
    ├ readable      the files that Python, torch and a device need
    └ memory        how much there is, and is held
    confinement     the order, and the account of it
    ├ limits        memory, files, core dumps, who is ended first
    ├ namespaces    a network namespace without a network
    ├ privileges    no capabilities, none to be gained, no dumps, the end with the agent
    ├ landlock      which files
    ├ seccomp       which system calls ← system_calls, their numbers
    └ probes        what gets through
"""

from worker.sandbox.arguments import add_sandbox_arguments, sandbox_options
from worker.sandbox.confinement import confine, hide_from_others, switched_off
from worker.sandbox.memory import memory_held
from worker.sandbox.options import SandboxOptions
from worker.sandbox.policy import Policy

__all__ = [
    "Policy",
    "SandboxOptions",
    "add_sandbox_arguments",
    "confine",
    "hide_from_others",
    "memory_held",
    "sandbox_options",
    "switched_off",
]
