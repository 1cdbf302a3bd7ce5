from ranksearch.client.client import Client

__all__ = ["Client"]
