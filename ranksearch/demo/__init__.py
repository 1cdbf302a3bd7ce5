"""The demonstration: ``ranksearch demo``, or ``make demo`` in a checkout.

Everything in it is the product: the service and the worker that ``ranksearch up`` starts, the documents and the
client that users have.
"""

from ranksearch.demo.story import run

__all__ = ["run"]
