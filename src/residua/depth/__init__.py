"""Depth: scores from statistics, a frozen plan, surgery on a model."""
