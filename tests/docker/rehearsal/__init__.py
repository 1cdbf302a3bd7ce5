"""docker/README.md, followed word for word on machines made for it: ``make rehearsal``.

The machines are Debian systems of their own in namespaces of this one, each with its own files, processes, addresses
and, where the guide asks for it, its own Docker engine: what is built, started and said there is what a newcomer would
see. Images of other projects are stood in for (``standins``): package indexes are asked, a registry of images is not.

::

    guide      the guide's commands, by section
    network    a network of this machine's own, with a way out to package indexes
    machine    one Debian system on it
    images     the stand-ins for other projects' images
    __main__   who does what, in the guide's order, and what must be seen
"""
