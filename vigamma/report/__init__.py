"""The report of a run as an HTML page: modules compute the values, templates hold the HTML."""
