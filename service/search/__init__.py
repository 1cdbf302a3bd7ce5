"""Planning: which ranks to try next. Plain computations over a model's profile; no tables, no web.

Legend: a *site* is a layer that may be factorised; its *options* are the points of one rank grid, ascending in
cost, with the dense layer on top; a *position* is the index of an option. ``n`` sites have positions ``(n,)``.
"""
