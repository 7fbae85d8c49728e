"""What is shown of a program: NumPy modules, LaTeX, formulas in a terminal."""
