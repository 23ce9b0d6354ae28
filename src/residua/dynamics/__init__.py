"""Residuals as a dynamical system: map, continuous-time reading, interactions, points of rest."""
