"""A backbone and a data set for tl_lab, in a package of their own."""
