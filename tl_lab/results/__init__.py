"""The outputs of runs, and their tables, figures and reports.

Import modules individually (``from tl_lab.results.report.writing import write_report``), so that the report and the
console need neither torch nor Lightning.
"""
