"""Pictures for people: coloured label maps, comparisons, plots of a run, and the report that gathers them."""
