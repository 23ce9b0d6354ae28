"""Pages and tables from results; nothing is computed here."""
