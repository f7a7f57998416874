"""Loss landscape and gradient fidelity of a trained network: which rule's gradient tells the truth, and where."""
