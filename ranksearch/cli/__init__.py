from ranksearch.cli.app import app, main

__all__ = ["app", "main"]
