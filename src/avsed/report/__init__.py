"""A report of trained and evaluated systems: one page to read, and each of its figures as a file.

``loading`` reads what a training and ``avsed evaluate`` left; ``numbers`` is where scores come from; ``errors``, ``confusion`` and
``curves`` are mathematics; the modules named ``*_figures`` and ``timelines`` draw, all in the one ``style``; ``page`` writes HTML;
``making`` puts it together.
"""
