// A shared library needs one source; all of this one comes from the static library of the ops layer.
