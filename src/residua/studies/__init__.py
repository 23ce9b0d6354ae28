"""One short file per experiment; results are small JSON files, one for each network and seed."""
