"""Planning: which ranks to try next. Plain computations over a model's profile; no tables, no web.

Legend: a *site* is a layer that may be factorised; its *options* are the points of its rank grids and the dense
layer, and a *position* is the number of an option among them. A *chain* is a part of a site's options in order of
cost, the dense layer on top, and a *level* is the place of an option on it. A *selection* is one method for every
site, and so one chain. ``n`` sites have positions, levels and selections ``(n,)``.
"""
