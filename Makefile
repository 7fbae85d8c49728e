# The same as `python3 make.py run` and so on, for those who have Make.
PYTHON ?= python3

.PHONY: run test setup
run:
	$(PYTHON) make.py run
test:
	$(PYTHON) make.py test
setup:
	$(PYTHON) make.py setup
