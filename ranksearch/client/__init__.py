from ranksearch.client.client import Client
from ranksearch.client.handle import StudyHandle

__all__ = ["Client", "StudyHandle"]
