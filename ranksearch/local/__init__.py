"""The service and its workers as child processes on this machine: what ``ranksearch up`` does."""

from ranksearch.local.child import Child
from ranksearch.local.deployment import LocalDeployment

__all__ = ["Child", "LocalDeployment"]
