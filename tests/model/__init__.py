"""The formal model of ``spec/model``, checked, and compared with the code."""
