"""The service and its workers as child processes on this machine: what ``ranksearch up`` does."""

from ranksearch.local.child import Child, module_environment
from ranksearch.local.deployment import LocalDeployment
from ranksearch.local.extras import check_service, check_worker

__all__ = ["Child", "LocalDeployment", "check_service", "check_worker", "module_environment"]
