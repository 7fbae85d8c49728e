"""The index calculus: nodes, functions, and the operations on them. It knows no layer."""
