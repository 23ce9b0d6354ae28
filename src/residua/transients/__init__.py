"""What the transients do: attribution of logits, separation of classes, perturbations and noise."""
