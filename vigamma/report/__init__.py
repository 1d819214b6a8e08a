"""A page about a run: modules gather values, and the templates beside them hold all the HTML."""
